"""A run knows the cohort that it scored."""

from __future__ import annotations

import json
import shutil

import pytest
from conftest import SMALL

from scripts import checkpoints
from scripts.networks import CordCompressionNet
from scripts.report.command import report
from scripts.runner import run_config


@pytest.fixture(scope="module")
def evaluated(cohort, tmp_path_factory):
    """A cohort of one's own and a run of evaluate.json on it, with random weights."""
    import torch

    folder = tmp_path_factory.mktemp("evaluated")
    shutil.copytree(cohort, folder / "hospital")
    torch.manual_seed(2)
    network = CordCompressionNet(SMALL["head"], architecture=SMALL["architecture"])
    own = {name: value for name, value in SMALL.items() if name in checkpoints.SETTINGS}
    settings = checkpoints.describe(**own, profile="imagenet")
    checkpoints.save(folder / "model.pt", network, settings, trained_on={"phantom": True})
    overrides = {name: value for name, value in SMALL.items() if name not in ("weights", "amp")}
    run_config(
        ["train.json", "evaluate.json"], run_id="evaluating", dataset_dir=str(folder / "hospital"), panels=0,
        sheets=False, ckpt_path=str(folder / "model.pt"), output_dir=str(folder / "run"), **overrides,
    )  # fmt: skip
    return folder


def reported(evaluated, out):
    report(str(evaluated / "run"), out=str(out))
    return json.loads((out / "report.json").read_text())


def test_a_run_is_reported_with_the_cohort_of_its_own_record_and_no_path_is_published(evaluated, tmp_path):
    content = reported(evaluated, tmp_path / "out")
    assert content["cohort"]["problems"] == []
    assert content["cohort"]["age"]["n"] == content["cohort"]["n_patients"]
    assert content["trial_coding"]["millimetres"]
    (reader,) = content["readers"]["readers"]
    assert reader["reader"] == "rater_3"
    assert 0.5 < reader["kappa_with_own_second_reading"]["value"] <= 1
    pairs = [(row["first"], row["second"]) for row in content["readers"]["reference_raters"]]
    assert ("rater_1", "rater_2") in pairs
    published = (tmp_path / "out" / "report.html").read_text() + (tmp_path / "out" / "report.json").read_text()
    assert str(evaluated) not in published
    assert "hospital" not in published


def test_a_real_run_is_set_against_the_truth_of_its_phantom(evaluated, tmp_path):
    content = reported(evaluated, tmp_path / "out")
    found = content["label_rules"]
    assert (found["reason"], found["n_slices_without_truth"], found["n_labelled_otherwise"]) == ("", 0, 0)
    by_rule = {row["threshold_mm"]: row for row in found["rules"]}
    assert by_rule[0.8]["auc"] == content["pooled"]["auc"]


def test_a_datalist_that_is_not_the_one_that_was_scored_is_named_and_not_used(evaluated, tmp_path):
    path = evaluated / "hospital" / "datalist.json"
    before = path.read_text()
    try:
        path.write_text(json.dumps(json.loads(before) | {"seed": 99}))
        (problem, *_) = reported(evaluated, tmp_path / "changed")["cohort"]["problems"]
        assert "datalist.json has changed since the run was made" in problem
        path.unlink()
        (problem, *_) = reported(evaluated, tmp_path / "moved")["cohort"]["problems"]
        assert "is no longer where it was" in problem
        assert "hospital" not in problem
    finally:
        path.write_text(before)
