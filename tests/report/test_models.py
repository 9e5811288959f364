"""Several models on the same slices: each against the first, each at its own threshold."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import simulated_runs

from scripts.errors import InputError
from scripts.evaluation.comparisons import holm, paired_auc, paired_proportion
from scripts.evaluation.operating_points import choose
from scripts.report.command import report
from scripts.report.compose import operating_of_other
from scripts.report.inputs.cohorts import read_cohort
from scripts.report.models import Model, compare_models

VALIDATION = "predictions_validation.csv"


def changed(run, folder, change, validation=True):
    """Another model on the slices of a run, whose logits are made of the run's."""
    folder.mkdir()
    for name in ("predictions.csv", VALIDATION)[: 1 + validation]:
        frame = pd.read_csv(run / name, dtype={"frame": str})
        frame.assign(logit=change(frame["logit"], frame)).to_csv(folder / name, index=False)
    return folder


def noise(size, seed):
    rng = np.random.default_rng(seed)
    return lambda logit, _: logit + rng.normal(size=len(logit)) * size


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    first = simulated_runs.write(folder / "first", 40, 51)
    shifted = changed(first, folder / "shifted", lambda logit, _: logit + 2.0)
    worse = changed(first, folder / "worse", noise(3.0, 1))
    bare = changed(first, folder / "bare", noise(1.0, 2), validation=False)
    (bare / "run.json").write_text(json.dumps({"architecture": "a ruler"}))
    return {path.name: path for path in (first, shifted, worse, bare)}


def model(run):
    cohort = read_cohort("internal", run, None, None)
    return Model(cohort, operating_of_other(cohort))


def compared(runs, *names, point="youden", margin=0.0):
    first, *others = (model(runs[name]) for name in names)
    return compare_models(first, others, margin, point)


def youden(run):
    own = pd.read_csv(run / VALIDATION)
    return choose(own["label"], own["logit"], own["patient_id"])["youden"].logit


def test_a_model_with_shifted_logits_is_the_same_at_its_own_threshold_and_another_at_the_papers(runs):
    (row,) = compared(runs, "first", "shifted")["models"]
    assert row["other"]["logit"] == pytest.approx(youden(runs["first"]) + 2)
    assert row["pooled_auc"].value == 0
    for name in ("sensitivity", "specificity"):
        assert row["at_own_point"][name].value == 0
        assert row[name].value != 0  # at a raw logit of 0


def test_every_model_is_compared_with_the_first_at_each_ones_own_threshold(runs):
    found = compared(runs, "first", "worse", "shifted")
    assert found["compared_at"]["point"] == "youden"
    assert found["compared_at"]["reason"] == ""
    assert [row["run"] for row in found["models"]] == ["worse", "shifted"]
    one, other = (pd.read_csv(runs[name] / "predictions.csv") for name in ("first", "worse"))
    y, who = one["label"].to_numpy(), one["patient_id"]
    row = found["models"][0]
    assert row["pooled_auc"] == paired_auc(y, one["logit"], other["logit"], pd.factorize(who)[0])
    right = [(f["logit"] >= youden(runs[name])).to_numpy() for f, name in ((one, "first"), (other, "worse"))]
    expected = paired_proportion(right[0][y == 1], right[1][y == 1], pd.factorize(who)[0][y == 1])
    assert row["at_own_point"]["sensitivity"] == expected
    assert row["other"]["sensitivity"].value == pytest.approx(right[1][y == 1].mean())
    assert found["compared_at"]["this"]["specificity"].value == pytest.approx((~right[0][y == 0]).mean())


def test_p_values_are_adjusted_over_the_models_for_each_measure_apart(runs):
    rows = compared(runs, "first", "worse", "bare", "shifted")["models"]
    for name in ("pooled_auc", "mean_auc"):
        assert [row[f"{name}_p_holm"] for row in rows] == pytest.approx(holm([row[name].p_value for row in rows]))
    assert rows[0]["pooled_auc"].p_value < rows[0]["pooled_auc_p_holm"] < 0.01
    own = [row["at_own_point"] for row in rows]
    assert [one["specificity_p_holm"] for one in own] == pytest.approx(
        holm([one["specificity"].p_value for one in own])
    )


def test_where_a_run_has_no_such_point_all_are_compared_at_the_papers_and_the_table_names_it(runs):
    found = compared(runs, "first", "worse", "bare")
    assert found["compared_at"]["point"] == "paper_0.5"
    assert found["compared_at"]["reason"] == "bare (a ruler): no operating point youden"
    for row in found["models"]:
        assert row["at_own_point"]["sensitivity"] == row["sensitivity"]
    assert compare_models(model(runs["first"]), [], 0.0, "youden") is None


def test_a_point_that_no_run_has_is_refused(runs):
    with pytest.raises(
        InputError, match=r"--compare_at 'jouden' is no operating point; choose one of paper_0\.5, sens"
    ):
        compared(runs, "first", "worse", point="jouden")


def test_thresholds_of_a_compared_run_are_not_chosen_on_tested_patients(runs, tmp_path):
    other = shutil.copytree(runs["worse"], tmp_path / "other")
    shutil.copy(other / "predictions.csv", other / VALIDATION)
    with pytest.raises(InputError, match="must not be chosen on patients that are tested"):
        report(str(runs["first"]), str(other), out=str(tmp_path / "out"))


def test_the_page_has_a_row_for_each_model_and_compared_runs_stay_as_they_are(runs, tmp_path):
    report(*(str(runs[name]) for name in ("first", "worse", "shifted")), out=str(tmp_path / "out"), margin=0.05)
    page = re.sub(r"\s+", " ", (tmp_path / "out" / "report.html").read_text())
    section = page.partition('<h2 id="models">')[2].partition("<h2")[0]
    assert re.findall(r"<tr><td>(\w+)</td>", section) == ["first", "worse", "shifted"]
    assert "each model's own operating point youden, chosen on its validation patients".replace("'", "&#39;") in section
    assert section.count("first minus this: ") == 8
    assert "over the 2 models" in section
    assert not (runs["worse"] / "operating_points.json").exists()
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert content["models"][1]["equivalent"]["pooled_auc"] is False  # the difference does not vary: no interval
    assert content["models"][0]["at_own_point"]["sensitivity"]["p_value"] is not None
