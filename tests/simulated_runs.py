"""Runs and cohorts on disk, from simulated scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit

from bundle import populations

READERS = {"dr_a": 0.08, "dr_b": 0.14}  # share of slices they get wrong


def predictions(cohort: populations.Cohort, prefix: str, second: bool = False) -> pd.DataFrame:
    """A predictions.csv of simulated slices, one series per patient."""
    logit = cohort.second if second else cohort.logits
    index = np.arange(len(logit)) - np.searchsorted(cohort.patients, cohort.patients)
    frame = pd.DataFrame({"patient_id": [f"{prefix}{code:04d}" for code in cohort.patients]})
    frame["series_uid"] = "1.2." + frame["patient_id"].str[1:] + f".{ord(prefix)}"
    frame["sop_uid"] = frame["series_uid"] + "." + pd.Series(index).astype(str)
    return frame.assign(frame="", slice_index=index, label=cohort.labels, logit=logit, probability=expit(logit))


def add_tasks(run: Path, seed: int, shift: float = 0.0) -> None:
    """Add grade, kind and T2 signal to a run's predictions and to its readers' rows; the first reader reads twice.

    Args:
        run: written by `write`.
        seed: of everything.
        shift: what is added to the scores of the higher classes.
    """
    rng = np.random.default_rng([seed, 3])
    frame = pd.read_csv(run / "predictions.csv", dtype=str, keep_default_na=False)
    sick = frame["label"].to_numpy() == "1"
    truth = {
        "grade": np.where(sick, rng.integers(2, 4, len(frame)), rng.integers(0, 2, len(frame))),
        "kind": np.where(sick, rng.integers(1, 3, len(frame)), 0),
        "t2_signal": np.where(sick, rng.integers(0, 2, len(frame)), 0),
    }
    names = {"grade": list("0123"), "kind": ["none", "partial", "circumferential"], "t2_signal": ["no", "yes"]}
    for task, true in truth.items():
        classes = np.array(names[task])
        score = 2.0 * (np.arange(len(classes)) == true[:, None]) + rng.normal(size=(len(frame), len(classes)))
        chance = (
            expit(score[:, [1]] - score[:, [0]])
            if task == "t2_signal"
            else np.exp(score + shift * np.arange(len(classes)))
        )
        chance = chance / (1 if task == "t2_signal" else chance.sum(axis=1, keepdims=True))
        called = (chance[:, 0] > 0.5).astype(int) if task == "t2_signal" else chance.argmax(axis=1)
        frame[task] = np.where(rng.random(len(frame)) < 0.1, "", classes[true])  # nobody recorded some
        frame[f"{task}_called"] = classes[called]
        columns = [f"{task}_probability"] if task == "t2_signal" else [f"{task}_probability_{one}" for one in classes]
        frame[columns] = chance.astype(str)
    frame.to_csv(run / "predictions.csv", index=False)
    table = pd.read_csv(run / "labels.csv", dtype=str, keep_default_na=False)
    exact = {uid: number for number, uid in enumerate(frame["sop_uid"])}
    rows = table["sop_uid"].map(exact).to_numpy()
    for task, true in truth.items():
        wrong = rng.random(len(table)) < 0.1
        called = np.where(wrong, rng.integers(0, len(names[task]), len(table)), true[rows])
        table[task] = np.array(names["kind"])[called] if task == "kind" else called.astype(str)
    table.to_csv(run / "labels.csv", index=False)


def patients(ids: list[str], rng: np.random.Generator) -> pd.DataFrame:
    """A patients.csv; the first patient's age and mJOA are not recorded."""
    n = len(ids)
    frame = pd.DataFrame({"patient_id": ids, "site": rng.choice(["north", "south"], n)})
    frame["region"] = rng.choice(["Europe", "Asia", "North America"], n)
    frame["age"] = np.clip(rng.normal(56, 14, n), 20, 90).round().astype(int).astype(str)
    frame["sex"] = rng.choice(["F", "M"], n)
    frame["weight"], frame["height"] = rng.normal(75, 12, n).round(), rng.normal(170, 9, n).round() / 100
    frame["mjoa"] = rng.integers(8, 19, n).astype(str)
    frame.loc[0, ["age", "mjoa"]] = ["", "unknown"]
    return frame


def geometry(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """A geometry.csv with geometry, disc level and scanner."""
    index = frame["slice_index"].to_numpy()
    maker = {name: rng.choice(["Maker A", "Maker B", "Maker C"]) for name in frame["patient_id"].unique()}
    table = frame[["series_uid", "sop_uid", "frame"]].assign(position_mm=3.6 * index, thickness_mm=3.0)
    levels = np.array(["C2/C3", "C3/C4", "C4/C5", "C5/C6", "C6/C7", "C7/T1"])
    return table.assign(level=levels[np.minimum(index // 7, 5)], manufacturer=frame["patient_id"].map(maker))


def labels(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """A labels.csv with the reference and two readers, the first of whom read twice."""
    base = frame[["patient_id", "series_uid", "sop_uid"]]
    rows = [base.assign(rater="consensus", reading=1, role="reference", status="evaluable", label=frame["label"])]
    for reader, wrong in READERS.items():
        for reading in (1, 2) if reader == "dr_a" else (1,):
            call = np.where(rng.random(len(frame)) < wrong, 1 - frame["label"], frame["label"])
            status = np.where(rng.random(len(frame)) < 0.02, "motion", "evaluable")
            call = np.where(status == "evaluable", call.astype(str), "")
            rows.append(base.assign(rater=reader, reading=reading, role="reader", status=status, label=call))
    return pd.concat(rows)


def write(folder: Path, k: int, seed: int, prefix: str = "p", everything: bool = True, **facts: object) -> Path:
    """Write a run that is its own cohort.

    Args:
        folder: where to.
        k: patients to test; half as many validate.
        seed: of everything.
        prefix: first letter of the patient_ids.
        everything: whether to write validation predictions, geometry.csv and labels.csv too.
        facts: for run.json.
    """
    folder.mkdir(parents=True)
    population, rng = populations.POPULATIONS["like the paper"], np.random.default_rng([seed, 1])
    frame = predictions(populations.draw(np.random.default_rng(seed), k, population), prefix)
    frame.to_csv(folder / "predictions.csv", index=False)
    patients(sorted(frame["patient_id"].unique()), rng).to_csv(folder / "patients.csv", index=False)
    (folder / "run.json").write_text(json.dumps({"model_version": "0.1.0", "pos_weight": 3.8, "seed": seed, **facts}))
    if everything:
        validating = populations.draw(np.random.default_rng([seed, 2]), max(k // 2, 20), population)
        predictions(validating, chr(ord(prefix) + 1)).to_csv(folder / "predictions_validation.csv", index=False)
        geometry(frame, rng).to_csv(folder / "geometry.csv", index=False)
        labels(frame, rng).to_csv(folder / "labels.csv", index=False)
    return folder


def as_predict_output(run: Path, folder: Path) -> Path:
    """Write a run as ``predict`` would, one folder per series, without labels."""
    frame = pd.read_csv(run / "predictions.csv", dtype=str, keep_default_na=False)
    for series, own in frame.groupby("series_uid"):
        (folder / series).mkdir(parents=True)
        own.drop(columns="label").to_csv(folder / series / "slices.csv", index=False)
        (folder / series / "summary.json").write_text("{}")
    table = pd.DataFrame({"status": "scored", "folder": frame["series_uid"].unique()})
    table.to_csv(folder / "series.csv", index=False)
    return folder
