"""One network per rater: what the tables hold, what is refused before any training, and a real, tiny run."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL
from csv_rows import read_rows, write_rows
from PIL import Image

from scripts import runner
from scripts.__main__ import main
from scripts.cohort.labels import read_labels
from scripts.errors import InputError
from scripts.evaluation.agreement import kappa
from scripts.records import slice_key
from scripts.study import experiments, experts, rater_folds

TINY = {**SMALL, "architecture": "timm:test_resnet", "max_epochs": 1, "min_epochs": 1}
CALL = {"folds": 2, "validation": 0.5, "seed": 4, "overrides": json.dumps(TINY)}


@pytest.fixture
def own(cohort, tmp_path) -> Path:
    """The phantom cohort in a folder of the test's own; images are links."""
    folder = tmp_path / "own"
    shutil.copytree(cohort / "dicom", folder / "dicom", copy_function=os.link)
    for name in ("datalist.json", "labels.csv"):
        shutil.copy(cohort / name, folder)
    return folder


def readings(folder: Path, names: str = "") -> rater_folds.Readings:
    table = folder / "labels.csv"
    return rater_folds.readings_of(rater_folds.read_entries(folder / "datalist.json"), read_labels(table), names, table)


def test_every_rater_trains_on_their_own_labels_of_the_same_patients_and_all_slices_are_tested_once(own):
    found = readings(own)
    planned = rater_folds.plan(found, own, folds=2, validation=0.5, seed=4)
    assert [(one.rater, one.number) for one in planned] == [(f"rater_{n}", fold) for n in (1, 2, 3) for fold in (1, 2)]
    said = {(one.rater, one.key): one for one in read_labels(own / "labels.csv") if one.reading == "1"}
    for fold in (1, 2):
        same = [one.sections for one in planned if one.number == fold]
        for section in ("training", "validation", "testing"):
            assert len({tuple(sorted({entry["patient_id"] for entry in one[section]})) for one in same}) == 1
    for one in planned:
        for section in ("training", "validation"):
            labels = [said[one.rater, slice_key(entry)] for entry in one.sections[section]]
            for name in ("label", "grade", "kind", "t2_signal"):
                assert [entry[name] for entry in one.sections[section]] == [getattr(label, name) for label in labels]
    for rater in found.first:
        tested = [slice_key(entry) for one in planned if one.rater == rater for entry in one.sections["testing"]]
        assert sorted(tested) == [slice_key(entry) for entry in found.entries]
    people = [
        {section: {entry["person"] for entry in entries} for section, entries in one.sections.items()}
        for one in planned
    ]
    assert all(not one["testing"] & (one["training"] | one["validation"]) for one in people)


def test_a_rater_counts_by_the_first_reading_and_not_where_the_slice_is_not_evaluable(own):
    rows = read_rows(own / "labels.csv")
    repeated = next(row for row in rows if row["rater"] == "rater_3" and row["reading"] == "2")
    key = slice_key(repeated)
    first = next(row for row in rows if row["rater"] == "rater_3" and row["reading"] == "1" and slice_key(row) == key)
    repeated["label"] = str(1 - int(first["label"]))
    gone = next(row for row in rows if row["rater"] == "rater_1" and slice_key(row) != key)
    gone |= {"status": "motion", "label": "", "grade": "", "kind": "", "t2_signal": ""}
    write_rows(own / "labels.csv", rows)
    found = readings(own)
    assert found.first["rater_3"][key].label == int(first["label"])
    assert slice_key(gone) not in found.first["rater_1"]
    number = [slice_key(entry) for entry in found.entries].index(key)
    one, other = found.repeats["rater_3 (1)", "rater_3 (2)"]
    assert (one[number], other[number]) == (int(first["label"]), int(repeated["label"]))


def label(row: int, rater: str, call: int, reading: str = "1") -> dict[str, object]:
    place = {"patient_id": f"P{row % 5}", "series_uid": f"1.{row % 5}", "sop_uid": f"1.2.{row}", "frame": ""}
    return {**place, "rater": rater, "reading": reading, "role": "reader", "status": "evaluable", "label": call}


def test_the_tables_hold_the_kappa_of_every_pair_on_the_slices_that_both_called(tmp_path, capsys):
    """Three raters, one of whom read half of the slices, and networks that answer as another rater would."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 60)
    calls = {name: np.where(rng.random(60) < wrong, 1 - truth, truth) for name, wrong in (("a", 0.1), ("b|c", 0.2))}
    rows = [label(i, name, int(call)) for name, own in calls.items() for i, call in enumerate(own)]
    rows += [label(i, "half", int(truth[i])) for i in range(30)] + [
        label(i, "a", int(truth[i]), "2") for i in range(60)
    ]
    table = write_rows(tmp_path / "labels.csv", rows)
    entries = sorted((label(i, "", int(truth[i])) for i in range(60)), key=slice_key)
    found = rater_folds.readings_of(entries, read_labels(table), "", table)
    order = [int(entry["sop_uid"].split(".")[-1]) for entry in entries]
    networks = {"a": calls["b|c"][order], "b|c": np.full(60, np.nan), "half": truth[order]}
    networks["b|c"][:40] = calls["a"][order][:40]
    networks = {name: own.astype(float) for name, own in networks.items()}
    result = experts.agreement(found, networks)
    patients = np.array([f"P{i % 5}" for i in range(60)])
    assert result["raters", "a", "b|c"] == kappa(calls["a"][order], calls["b|c"][order], patients[order])
    read = np.array(order) < 30
    expected = kappa(calls["a"][order][read], truth[order][read], patients[order][read])
    assert result["raters", "a", "half"] == expected
    assert result["network", "a", "b|c"].value == 1  # it answers as that rater does
    assert result["network", "a", "b|c"].n_slices == 60
    assert result["network", "b|c", "a"].n_slices == 40
    assert result["readings", "a (1)", "a (2)"].value == pytest.approx(kappa(calls["a"], truth, patients).value)
    others = [result["network", one, other].value for one in networks for other in networks if one != other]
    assert result["mean", "networks", "other raters"].value == pytest.approx(np.mean(others))
    experts.write(tmp_path, "Title", result, list(found.first), {"phantom": True})
    written = {(row["what"], row["first"], row["second"]): row for row in read_rows(tmp_path / "experts.csv")}
    assert written.keys() == result.keys()
    for names, one in result.items():
        assert float(written[names]["kappa"]) == pytest.approx(one.value)
        assert (int(written[names]["slices"]), int(written[names]["patients"])) == (one.n_slices, one.n_patients)
        assert (written[names]["low"] == "") == np.isnan(one.low) == (written[names]["note"] != "")
    text = (tmp_path / "experts.md").read_text()
    assert "| network of b\\|c | " in text
    # the matrix of raters is the same on both sides of its diagonal
    lines = [line.split(" | ") for line in text.replace("b\\|c", "bc").splitlines() if line.startswith("| ")]
    matrix = [[cell.strip(" |") for cell in line[1:]] for line in lines[2:5]]
    assert all(matrix[i][j] == matrix[j][i] for i in range(3) for j in range(3))
    assert [matrix[i][i] for i in range(3)] == ["-"] * 3
    with Image.open(tmp_path / "experts.png") as picture:
        assert min(picture.size) > 200


@pytest.mark.parametrize(
    ("changes", "rows", "message"),
    [
        ({"raters": "rater_1,rater_9"}, {}, r"labels.csv has no rater rater_9; it has rater_1, rater_2, rater_3"),
        ({"raters": "rater_1"}, {}, r"expected two raters or more, each once, to compare; got rater_1 "),
        ({"raters": "rater_1,rater_1"}, {}, "each once"),
        ({}, {"label": "0", "grade": "0", "kind": "none"}, r"rater rater_2 calls all 60 slices not compressed"),
        ({}, {"status": "motion", "label": ""}, r"rater rater_2 has read no slice .*--raters rater_1,rater_3"),
        ({"folds": 11}, {}, r"expected 2 to \d+ folds for \d+ (patients|persons), got 11"),
        ({"seed": 0}, {}, r"of fold \d holds .* by the labels of rater rater_\d; take fewer --folds"),
        ({"folds": 1}, {}, "--folds must be a whole number from 2"),
        ({"validation": 1.0}, {}, "--validation must be a share between 0 and 1"),
        ({"overrides": '{"image_size": 3}'}, {}, "image_size"),
        ({"overrides": '{"ckpt_dir": "x"}'}, {}, "--overrides names ckpt_dir"),
        ({"labels": "nowhere.csv"}, {}, "nowhere.csv cannot be read"),
    ],
    ids=str,
)
def test_what_cannot_be_compared_is_refused_before_anything_is_trained_or_written(
    own, tmp_path, monkeypatch, changes, rows, message
):
    monkeypatch.setattr(experiments, "run_experiment", lambda _: pytest.fail("trained"))
    labels = read_rows(own / "labels.csv")
    for row in labels:
        if row["rater"] == "rater_2":
            row |= rows
    write_rows(own / "labels.csv", labels)
    before = sorted(own.iterdir())
    with pytest.raises(InputError, match=message):
        experts.experts(str(own), out=str(tmp_path / "out"), **{**CALL, **changes})
    assert sorted(own.iterdir()) == before
    assert not (tmp_path / "out").exists()


def test_a_datalist_of_that_name_that_is_not_ours_is_left_alone(own, tmp_path):
    foreign = own / "experts_rater_1_1of2_seed4.json"
    foreign.write_text("{}")
    with pytest.raises(InputError, match=r"experts_rater_1_1of2_seed4.json is in the way"):
        experts.experts(str(own), out=str(tmp_path / "out"), **CALL)
    assert foreign.read_text() == "{}"


def test_raters_and_their_networks_are_compared_in_one_command_that_can_be_interrupted(own, tmp_path, monkeypatch):
    pytest.importorskip("timm", reason="timm comes with the extra timm; its test networks have few weights")
    trained: list[str] = []
    original, out = runner.run_config, tmp_path / "out"

    def counting(files, **overrides):
        trained.extend([str(Path(overrides["output_dir"]).relative_to(out))] if "evaluate.json" not in files else [])
        return original(files, **overrides)

    def stopped(experiment):
        if experiment.folder.parts[-2:] == ("rater_3", "fold_1"):
            raise KeyboardInterrupt
        return run_experiment(experiment)

    monkeypatch.setattr(runner, "run_config", counting)
    run_experiment = experiments.run_experiment
    options = [f"--{name}={value}" for name, value in {**CALL, "raters": "rater_1,rater_3", "out": out}.items()]
    with monkeypatch.context() as patch:
        patch.setattr(experiments, "run_experiment", stopped)
        assert main(["experts", str(own), *options]) == 130
    assert not (out / "experts.csv").exists()
    assert main(["experts", str(own), *options]) == 0
    assert trained == [f"{rater}/fold_{fold}" for rater in ("rater_1", "rater_3") for fold in (1, 2)]
    rows = {(row["what"], row["first"], row["second"]): row for row in read_rows(out / "experts.csv")}
    assert {row["phantom"] for row in rows.values()} == {"yes"}
    found = readings(own, "rater_1,rater_3")
    expected = kappa(*map(found.calls_of, found.first), found.patients)
    assert float(rows["raters", "rater_1", "rater_3"]["kappa"]) == pytest.approx(expected.value)
    content = json.loads((out / "experts.json").read_text())
    thresholds = content["threshold_logits"]["rater_1"]
    calls = {
        slice_key(row): float(float(row["logit"]) >= threshold)
        for fold, threshold in enumerate(thresholds, start=1)
        for row in read_rows(out / "rater_1" / f"fold_{fold}" / "predictions.csv")
    }
    assert len(calls) == 60
    expected = kappa(found.calls(calls), found.calls_of("rater_3"), found.patients)
    assert float(rows["network", "rater_1", "rater_3"]["kappa"]) == pytest.approx(expected.value)
    assert content["raters"]["rater_1"] == {"n_patients": 10, "n_slices": 60, "n_compressed_slices": len(
        [one for one in found.first["rater_1"].values() if one.label])}  # fmt: skip
    assert "synthetic phantom" in (out / "experts.md").read_text()
