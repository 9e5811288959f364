"""The report's section on further tasks: how well, how honestly, and beside the raters."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
import simulated_runs
from scipy.special import expit
from sklearn.metrics import (
    balanced_accuracy_score,
    brier_score_loss,
    cohen_kappa_score,
    confusion_matrix,
    roc_auc_score,
)

from scripts.errors import InputError
from scripts.report.command import report
from scripts.report.inputs.cohorts import read_cohort
from scripts.report.tasks import task_results

CLASSES = {"grade": list("0123"), "kind": ["none", "partial", "circumferential"], "t2_signal": ["no", "yes"]}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a network with four tasks, whose readers graded, too."""
    folder = simulated_runs.write(tmp_path_factory.mktemp("tasks") / "run", 30, 41, phantom=True)
    simulated_runs.add_tasks(folder, 41)
    return folder


@pytest.fixture(scope="module")
def out(run):
    report(str(run), out=str(run.parent / "out"))
    return run.parent / "out"


@pytest.fixture(scope="module")
def content(out):
    return json.loads((out / "report.json").read_text())


@pytest.fixture(scope="module")
def slices(run):
    return pd.read_csv(run / "predictions.csv", dtype=str, keep_default_na=False)


def edited(run, tmp_path, change):
    """Copy of a run's tables with changed predictions."""
    (tmp_path / "run").mkdir()
    for name in ("predictions.csv", "patients.csv", "labels.csv"):
        (tmp_path / "run" / name).write_bytes((run / name).read_bytes())
    frame = pd.read_csv(run / "predictions.csv", dtype=str, keep_default_na=False)
    change(frame).to_csv(tmp_path / "run" / "predictions.csv", index=False)
    return tmp_path / "run"


def results_of(folder):
    return task_results(read_cohort("internal", folder, None, None))[0]


@pytest.mark.parametrize("task", CLASSES)
def test_the_numbers_of_a_task_equal_another_librarys(content, slices, task):
    found, own = content["tasks"][task], slices[slices[task] != ""]
    true, called = own[task], own[f"{task}_called"]
    assert found["classes"] == CLASSES[task]
    assert (found["n_slices"], found["n_without_label"]) == (len(own), len(slices) - len(own))
    assert found["n_patients"] == own["patient_id"].nunique()
    assert found["confusion_matrix"] == confusion_matrix(true, called, labels=CLASSES[task]).tolist()
    assert found["mean_class_accuracy"]["value"] == pytest.approx(balanced_accuracy_score(true, called))
    numbers = [[CLASSES[task].index(one) for one in column] for column in (true, called)]
    weights = "quadratic" if task == "grade" else None
    assert found["kappa"]["value"] == pytest.approx(cohen_kappa_score(*numbers, weights=weights))
    for leaf in (found["mean_class_accuracy"], found["kappa"], *found["class_accuracy"].values()):
        assert leaf["low"] < leaf["value"] < leaf["high"]


def test_a_binary_task_has_an_auc_with_an_interval_and_the_others_none(content, slices):
    own = slices[slices["t2_signal"] != ""]
    auc = content["tasks"]["t2_signal"]["auc"]
    assert auc["value"] == pytest.approx(
        roc_auc_score(own["t2_signal"] == "yes", own["t2_signal_probability"].astype(float))
    )
    assert auc["low"] < auc["value"] < auc["high"]
    assert "auc" not in content["tasks"]["grade"]


@pytest.mark.parametrize("task", CLASSES)
def test_each_probability_is_judged_against_the_share_of_its_class(content, slices, task):
    found, own = content["tasks"][task]["calibration"], slices[slices[task] != ""]
    judged = (
        {"yes": "t2_signal_probability"}
        if task == "t2_signal"
        else {one: f"{task}_probability_{one}" for one in CLASSES[task]}
    )
    assert list(found) == list(judged)
    for one, column in judged.items():
        brier = brier_score_loss(own[task] == one, own[column].astype(float))
        assert found[one]["brier"]["value"] == pytest.approx(brier)
        assert 0 <= found[one]["ece"]["value"] < 0.5
        assert found[one]["slope"]["low"] < found[one]["slope"]["high"]


def test_raters_stand_beside_the_network_with_their_own_second_reading(run, content, slices):
    labels = pd.read_csv(run / "labels.csv", dtype=str, keep_default_na=False)
    rows = {(row["first"], row["second"]): row for row in content["tasks"]["grade"]["raters"]}
    assert set(rows) == {("consensus", "dr_a"), ("consensus", "dr_b"), ("dr_a", "dr_b"), ("dr_a (1)", "dr_a (2)")}
    own = labels[(labels["rater"] == "dr_a") & (labels["status"] == "evaluable")]
    first, second = (own[own["reading"] == name].set_index("sop_uid")["grade"] for name in "12")
    both = first.index.intersection(second.index)
    row = rows["dr_a (1)", "dr_a (2)"]
    expected = cohen_kappa_score(first[both].astype(int), second[both].astype(int), weights="quadratic")
    assert row["kappa"]["value"] == pytest.approx(expected)
    assert row["mean_class_accuracy"]["value"] == pytest.approx(balanced_accuracy_score(first[both], second[both]))
    assert row["kappa"]["n_slices"] == len(both) < len(slices)


def test_without_two_readings_the_section_says_so(run, tmp_path):
    folder = edited(run, tmp_path, lambda frame: frame)
    table = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    table[(table["rater"] == "dr_b")].assign(kind="").to_csv(folder / "labels.csv", index=False)
    found = results_of(folder)
    assert found["grade"]["raters"] == []
    assert "no slice has a grade by two raters, or in two readings of one" in found["grade"]["raters_note"]
    (folder / "labels.csv").unlink()
    assert results_of(folder)["kind"]["raters_note"].startswith("no labels.csv")


def test_a_word_that_is_no_kind_is_counted_and_left_out(run, tmp_path):
    folder = edited(run, tmp_path, lambda frame: frame)
    table = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    rows = table.index[table["status"] == "evaluable"]
    table.loc[rows[:3], "kind"] = "squashed"
    table.loc[rows[3], "kind"] = "Torsion"  # of which all but circumferential are partial
    table.to_csv(folder / "labels.csv", index=False)
    assert results_of(folder)["kind"]["raters_note"].startswith("3 readings in labels.csv name no kind")


def test_the_page_shows_every_task_with_its_figures(out, content):
    page = re.sub(r"\s+", " ", re.sub(r'src="data:[^"]*"', "", (out / "report.html").read_text()))
    section = page.partition('<h2 id="tasks">')[2].partition("<h2")[0]
    for task, names in CLASSES.items():
        assert f"<h3>{task} (" in section
        assert all(f"called {name}" in section for name in names)
        for kind in ("confusion", "calibration"):
            assert f"figures/task_{task}_{kind}.png" in content["figures"]
    assert section.count("<figure>") == 6
    assert "Simulated raters beside it" in section
    assert "dr_a (2)" in section
    assert "expected to be too high" in section


def test_a_run_with_one_task_has_no_such_section(tmp_path):
    folder = simulated_runs.write(tmp_path / "run", 4, 42, everything=False)
    report(str(folder), out=str(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "report.json").read_text())["tasks"] == {}
    assert "Further tasks" not in (tmp_path / "out" / "report.html").read_text()


def test_tasks_that_cannot_be_judged_are_undefined_and_never_invented(run, tmp_path):
    """Nobody recorded a grade, all are of one kind, and the network's T2 signal is no number."""
    folder = edited(run, tmp_path, lambda f: f.assign(grade="", kind="partial", t2_signal_probability="nan"))
    report(str(folder), out=str(tmp_path / "out"))
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    n = len(pd.read_csv(folder / "predictions.csv"))
    found = content["tasks"]
    assert [found[task]["n_slices"] for task in CLASSES] == [0, n, 0]
    assert found["grade"]["n_without_label"] == n
    assert found["t2_signal"]["n_without_score"] + found["t2_signal"]["n_without_label"] == n
    assert all(one["kappa"]["low"] is None for one in found.values())
    assert found["kind"]["class_accuracy"]["none"]["value"] is None
    assert found["t2_signal"]["auc"]["value"] is None
    noted = [one["path"] for one in content["undefined"]]
    assert {"tasks.grade.mean_class_accuracy", "tasks.kind.kappa", "tasks.t2_signal.auc"} <= set(noted)
    page = (tmp_path / "out" / "report.html").read_text()
    assert all(f"<h3>{task} (" in page for task in CLASSES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="grade_probability_2"), "grade_called, but no grade_probability_2; evaluate"),
        (lambda f: f.drop(columns="t2_signal"), "t2_signal_called, but no t2_signal; evaluate"),
        (lambda f: f.assign(grade="4"), r"grade must be one of 0, 1, 2, 3 or empty, got '4' in slice 1\.2\."),
        (lambda f: f.assign(kind_called="torsion"), "kind_called must be one of none, partial, circumferential"),
        (
            lambda f: f.assign(t2_signal_probability="1.5"),
            "t2_signal_probability must be a number from 0 to 1, got 1.5",
        ),
        (lambda f: f.assign(kind_probability_none="0.9", kind_probability_partial="0.9"), "must have a sum of 1"),
    ],
)
def test_columns_of_a_task_that_cannot_be_used_are_refused(run, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        results_of(edited(run, tmp_path, change))


def test_numbers_of_classes_as_pandas_writes_them_are_read(run, tmp_path):
    folder = edited(run, tmp_path, lambda f: f.assign(grade=np.where(f["grade"] == "", "", f["grade"] + ".0")))
    assert results_of(folder)["grade"]["confusion_matrix"] == results_of(run)["grade"]["confusion_matrix"]


def test_honest_probabilities_have_a_slope_of_1_and_those_pushed_up_an_intercept_below_0(tmp_path):
    rng = np.random.default_rng(0)
    frame = simulated_runs.predictions(
        simulated_runs.populations.draw(rng, 60, simulated_runs.populations.POPULATIONS["like the paper"]), "p"
    )
    chance = expit(rng.normal(-1, 1.5, len(frame)))
    frame["t2_signal"] = np.where(rng.random(len(frame)) < chance, "yes", "no")
    pushed = {"honest": chance, "pushed": expit(np.log(chance / (1 - chance)) + 1)}
    for name, one in pushed.items():
        (tmp_path / name).mkdir()
        table = frame.assign(t2_signal_called=np.where(one > 0.5, "yes", "no"), t2_signal_probability=one)
        table.to_csv(tmp_path / name / "predictions.csv", index=False)
    honest, up = (results_of(tmp_path / name)["t2_signal"]["calibration"]["yes"] for name in pushed)
    assert honest["slope"].low < 1 < honest["slope"].high
    assert honest["intercept_at_slope_1"].low < 0 < honest["intercept_at_slope_1"].high
    assert up["intercept_at_slope_1"].value == pytest.approx(honest["intercept_at_slope_1"].value - 1, abs=0.05)
    assert up["ece"].value > 3 * honest["ece"].value
