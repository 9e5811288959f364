"""What the variants of a study scored, and how they compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .. import runner
from ..cohort.looks import FILE
from ..console import markdown, say
from ..datalists import load
from ..errors import InputError
from ..evaluation.auc import Components, averaged, components, interval_of
from ..evaluation.comparisons import paired_components
from ..evaluation.estimates import NAN, Comparison, Estimate, Floats, defined, in_words
from ..files import read_json, resolved, write_csv, write_json, write_text
from ..report.inputs.columns import KEY
from ..report.inputs.predictions import read_predictions
from .experiments import Experiment, cache_dir, cohort_title, datalist_path, is_phantom, markdown_table
from .experts import youden_threshold

COLUMNS = (
    *("variant", "meaning", "cohort", "phantom", "n_patients", "n_slices", "seeds"),
    *("auc", "auc_low", "auc_high", "auc_note", "auc_lowest_seed", "auc_highest_seed"),
    *("against", "difference", "difference_low", "difference_high", "difference_note", "p_value"),
    *("sensitivity", "specificity", "grade_1_auc", "minutes"),
)


@dataclass(frozen=True)
class Trained:
    """One training and what it scored.

    Attributes:
        threshold: logit with the highest Youden index on the validation slices.
        minutes: the training took.
        scored: slices by cohort, ``testing`` for the held-out ones: label, logit, patient_id, what identifies a slice,
            and ``grade``, NaN where nobody recorded one; sorted.
        tasks: mean class accuracy and κ of each further task by cohort.
    """

    threshold: float
    minutes: float
    scored: dict[str, pd.DataFrame]
    tasks: dict[str, dict[str, tuple[float | None, float | None]]]


def train_localiser(folder: Path, cohort: str, seed: int) -> str:
    """Train the localiser of a study once, and return its checkpoint."""
    model, done = folder / "models" / "model.pt", folder / "trained.json"
    about = {"datalist": str(resolved(datalist_path(cohort))), "seed": seed}
    if done.is_file():
        if read_json(done) != about:
            raise InputError(f"{folder} holds the localiser of another cohort or seed; choose another --out")
        return str(model)
    say("the localiser of the canal")
    runner.run_config(
        ["train.json", "canal/train.json"],
        dataset_dir=cohort,
        output_dir=str(folder),
        ckpt_dir=str(model.parent),
        seed=seed,
        resume=model.with_name("model_last.pt").is_file(),
    )
    write_json(done, about)
    return str(model)


def external_name(cohort: str) -> str:
    """Return what an external cohort is called: the name of its folder, also where that is given as ``.``."""
    return resolved(cohort).name


def score_external(experiment: Experiment, cohort: str) -> None:
    """Evaluate a trained experiment on another cohort, once."""
    folder = experiment.folder / external_name(cohort)
    if (folder / "metrics.json").is_file():
        return
    runner.run_config(
        [*experiment.configs, "evaluate.json"],
        dataset_dir=cohort,
        output_dir=str(folder),
        ckpt_dir=str(experiment.folder / "models"),
        cache_dir=cache_dir(experiment),
        validate__section="testing",
        **experiment.overrides,
        **experiment.evaluation,
    )


def read_trained(experiment: Experiment, externals: Sequence[str]) -> Trained:
    """Read what a finished experiment scored."""
    folder = experiment.folder
    places = {"testing": (folder, experiment.cohort)}
    places |= {external_name(one): (folder / external_name(one), one) for one in externals}
    scored, tasks = {}, {}
    for name, (place, cohort) in places.items():
        frame = read_predictions(place / "predictions.csv").slices
        key = [*KEY, "slice_index"]
        entries = load(datalist_path(cohort), "testing")
        known = [{**{one: entry.get(one, "") for one in key}, "grade": entry.get("grade")} for entry in entries]
        grades = pd.DataFrame(known).astype({"slice_index": float, "grade": float})
        merged = frame.drop(columns="grade", errors="ignore").merge(grades, on=key, how="left", validate="1:1")
        scored[name] = merged.sort_values(key).reset_index(drop=True)
        about = read_json(place / "metrics.json").get("tasks", {})
        tasks[name] = {
            task: (one["mean_class_accuracy"]["value"], one["kappa"]["value"]) for task, one in about.items()
        }
    return Trained(youden_threshold(folder), float(read_json(folder / "result.json")["minutes"]), scored, tasks)


def logits_of(several: Sequence[Trained], cohort: str) -> Floats:
    """Return the logits of the trainings of a variant, (S, N).

    Raises:
        InputError: they scored different slices.
    """
    first = several[0].scored[cohort]
    for one in several[1:]:
        if not one.scored[cohort][[*KEY, "label"]].equals(first[[*KEY, "label"]]):
            raise InputError(f"the trainings scored different slices of {cohort}: files of the cohort have changed")
    return np.stack([one.scored[cohort]["logit"].to_numpy(float) for one in several])


def compare(
    name: str, variants: Mapping[str, Mapping[str, Any]], trainings: Mapping[str, Sequence[Trained]], cohort: str
) -> dict[str, Any]:
    """Return the row of a variant on a cohort."""
    about = variants[name]
    source = trainings[about.get("ensemble_of", name)]
    frame, logits = source[0].scored[cohort], logits_of(source, cohort)
    thresholds = np.array([one.threshold for one in source])
    if "ensemble_of" in about:
        logits, thresholds = logits.mean(axis=0, keepdims=True), thresholds.mean(keepdims=True)
    label, patients = frame["label"].to_numpy(int), frame["patient_id"].to_numpy(str)
    parts = [components(label, one, patients) for one in logits]
    own = averaged(parts)
    estimate = interval_of(own, len(label))
    difference = Comparison(NAN, NAN, NAN, 0, 0)
    if "against" in about:
        rivals = logits_of([source[0], *trainings[about["against"]]], cohort)[1:]
        rival = averaged([components(label, one, patients) for one in rivals])
        difference = paired_components(own, rival, len(label))
    called = logits >= thresholds[:, None]
    aucs = [one.auc for one in parts]
    return {
        "variant": name,
        "meaning": about.get("meaning", ""),
        "cohort": cohort,
        "n_patients": estimate.n_patients,
        "n_slices": estimate.n_slices,
        "seeds": len(source),
        **named("auc", estimate),
        "auc_lowest_seed": min(aucs),
        "auc_highest_seed": max(aucs),
        "against": about.get("against", ""),
        **named("difference", difference),
        "p_value": defined(difference.p_value),
        "sensitivity": defined(called[:, label == 1].mean()),
        "specificity": defined(1 - called[:, label == 0].mean()),
        "grade_1_auc": defined(grade_1(label, logits, patients, frame["grade"].to_numpy(float)).auc),
        "minutes": sum(one.minutes for one in source) if "ensemble_of" not in about else 0.0,
    }


def grade_1(label: NDArray[np.int64], logits: Floats, patients: NDArray[np.str_], grade: Floats) -> Components:
    """Compare compressed slices with those of grade 1 alone, the hardest of the others."""
    kept = (label == 1) | (grade == 1)
    return averaged([components(label[kept], one[kept], patients[kept]) for one in logits])


def named(name: str, estimate: Estimate) -> dict[str, Any]:
    """Return the value of an estimate, the ends of its interval, and why something is missing, as columns."""
    leaf = estimate.leaf()
    return {name: leaf["value"], **{f"{name}_{one}": leaf[one] for one in ("low", "high", "note")}}


def write_tables(
    path: Path, cohort: str, variants: Mapping[str, Mapping[str, Any]], trainings: Mapping[str, Sequence[Trained]]
) -> str:
    """Write ablation.csv, and ablation.md with a table for each cohort; returns the latter's text."""
    ready = {name: one for name, one in variants.items() if trainings[one.get("ensemble_of", name)]}
    cohorts = list(next(iter(several for several in trainings.values() if several))[0].scored)
    phantom = "yes" if is_phantom(cohort) else "no"
    rows = [{**compare(name, ready, trainings, one), "phantom": phantom} for one in cohorts for name in ready]
    write_csv(path.with_suffix(".csv"), COLUMNS, rows)
    parts = []
    for one in cohorts:
        own = [row for row in rows if row["cohort"] == one]
        where = "held-out patients" if one == "testing" else f"external cohort {markdown(one)}"
        title = f"{cohort_title(cohort)}, {where}: {own[0]['n_patients']} patients, {own[0]['n_slices']} slices"
        names = ("variant", "AUC (95 % interval)", "seeds", "against", "difference (95 % interval)", "p")
        columns = (*names, "sensitivity", "specificity", "grade 1")
        parts += [title[0].upper() + title[1:], markdown_table(columns, [row_of(row) for row in own])]
    parts += task_table(ready, trainings)
    n = sum(len(several) for several in trainings.values())
    parts.append(
        f"{n} network{' was' if n == 1 else 's were'} scored on the same held-out patients, and each is a look "
        f"(`{FILE}` beside the datalist counts them). The best of them was found on these patients: measure its "
        "accuracy on others."
    )
    meanings = "\n".join(f"- `{name}`: {markdown(one.get('meaning', ''))}" for name, one in ready.items())
    text = "\n\n".join([meanings, *parts]) + "\n"
    write_text(path.with_suffix(".md"), text)
    say(f"\n{text}")
    return text


def row_of(row: Mapping[str, Any]) -> list[str]:
    """Return the cells of a variant in ablation.md."""
    ends = row["auc_lowest_seed"], row["auc_highest_seed"]
    spread = f"{ends[0]:.3f} to {ends[1]:.3f}" if ends[0] < ends[1] else "one"
    shares = [number(row[name], 2) for name in ("sensitivity", "specificity")]
    auc = with_interval(row, "auc", "")
    if not row["against"]:
        return [row["variant"], auc, spread, "", "", "", *shares, number(row["grade_1_auc"])]
    difference = with_interval(row, "difference", "+")
    return [
        *(row["variant"], auc, spread, row["against"], difference, number(row["p_value"])),
        *(*shares, number(row["grade_1_auc"])),
    ]


def with_interval(row: Mapping[str, Any], name: str, sign: str) -> str:
    """Return a value with its interval, or with the reason that there is none."""
    leaf = {"value": row[name], **{one: row[f"{name}_{one}"] for one in ("low", "high", "note")}}
    return in_words(leaf, 3, sign)


def number(value: float | None, digits: int = 3) -> str:
    """Return a number for people."""
    return "undefined" if value is None else f"{value:.{digits}f}"


def task_table(variants: Mapping[str, Any], trainings: Mapping[str, Sequence[Trained]]) -> list[str]:
    """Return a table of mean class accuracy and κ of further tasks over the seeds; nothing where there is none."""
    names = list(
        dict.fromkeys(task for several in trainings.values() for one in several for task in one.tasks["testing"])
    )
    if not names:
        return []
    lines = []
    for name in variants:
        several = trainings[name]
        for cohort in several[0].tasks if several and several[0].tasks["testing"] else ():
            cells = []
            for task in names:
                measured = [one.tasks[cohort].get(task, (None, None)) for one in several]
                accuracy, kappa = (mean_of([pair[place] for pair in measured]) for place in (0, 1))
                cells.append(f"{number(accuracy)}, κ {number(kappa)}")
            lines.append([name, cohort, *cells])
    table = markdown_table(["variant", "cohort", *names], lines)
    return ["Mean class accuracy and κ of the further tasks against the reference, mean over the seeds", table]


def mean_of(values: Sequence[float | None]) -> float | None:
    """Return the mean of the values that are defined; None where none is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
