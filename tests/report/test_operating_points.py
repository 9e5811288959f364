"""Operating points: what a site chose on its own slices is what inference then applies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import simulated_runs
import torch
from csv_rows import read_rows
from scipy.special import expit
from tiny_models import checkpoint, write_t2

from bundle.assemble import assemble
from scripts import checkpoints
from scripts.errors import InputError
from scripts.files import write_json
from scripts.inference.predict import predict
from scripts.records import probability
from scripts.report.command import report
from scripts.report.operating_points_file import read_operating_point
from scripts.report.recalibrate import recalibrate


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    return str(checkpoint(tmp_path_factory.mktemp("weights") / "model.pt"))


def points(weights: str, slope: float | None = 2.0, intercept: float | None = 0.5, logit: float = -0.3) -> dict:
    return {
        "points": {"youden": {"logit": logit, "status": "chosen"}},
        "calibration": {"slope": slope, "intercept": intercept},
        "baseline": {"slope": 1.0, "intercept": -1.335, "pos_weight": 3.8},
        "chosen_on": {"n_patients": 12, "n_slices": 402},
        "facts": {"weights_sha256": checkpoints.sha256(weights)},
    }


@pytest.mark.parametrize("logit", [-800.0, -3.0, 0.0, 3.0, 800.0])
def test_a_probability_is_the_sigmoid_of_the_calibrated_logit_and_never_overflows(logit):
    assert probability(logit, 2.0, 0.5) == pytest.approx(expit(0.5 + 2 * logit), rel=1e-12)


def test_predict_calibrates_probabilities_heat_and_calls_but_not_logits(tmp_path, weights):
    write_t2(tmp_path / "in")
    predict(str(tmp_path / "in"), out=str(tmp_path / "raw"), weights=weights)
    (plain,) = (tmp_path / "raw").glob("*/slices.csv")
    logits = [float(row["logit"]) for row in read_rows(plain)]
    # the point lies on the logit of a slice, which is then called compressed
    write_json(tmp_path / "points.json", points(weights, logit=sorted(logits)[1]))
    call = {"out": str(tmp_path / "out"), "weights": weights, "operating_points": str(tmp_path / "points.json")}
    assert predict(str(tmp_path / "in"), **call) == 0
    (found,) = (tmp_path / "out").glob("*/slices.csv")
    assert [float(row["logit"]) for row in read_rows(found)] == logits
    chances = [float(row["probability"]) for row in read_rows(found)]
    assert chances == pytest.approx(expit(0.5 + 2 * np.array(logits)), rel=1e-12)
    assert [int(row["compressed"]) for row in read_rows(found)] == [int(one >= sorted(logits)[1]) for one in logits]
    summary = json.loads(found.with_name("summary.json").read_text())
    assert (summary["slope"], summary["intercept"]) == (2.0, 0.5)
    assert summary["threshold_source"] == "operating point youden, chosen on 12 patients, calibrated"
    heat = [nibabel.load(one.with_name("heatmap.nii.gz")).get_fdata() for one in (plain, found)]
    ratio = expit(0.5 + 2 * np.array(logits)) / expit(np.array(logits))
    assert heat[0].max() > 0
    assert np.abs(heat[1] - heat[0] * ratio).max() < 1e-4


def test_a_resumed_run_scores_again_what_was_calibrated_otherwise(tmp_path, weights, capsys):
    write_t2(tmp_path / "in")
    call = {"out": str(tmp_path / "out"), "weights": weights, "resume": True}
    predict(str(tmp_path / "in"), **call)
    write_json(tmp_path / "points.json", points(weights, logit=0.0, intercept=0.0))  # the threshold stays 0.5
    for expected in ("1 series scored, 0 kept", "0 series scored, 1 kept"):
        capsys.readouterr()
        predict(str(tmp_path / "in"), **call, operating_points=str(tmp_path / "points.json"))
        assert expected in capsys.readouterr().out


def test_what_recalibrate_wrote_for_predicted_slices_is_what_predict_then_applies(tmp_path, weights):
    content = checkpoints.read(weights) | {"pos_weight": 3.8}
    weights = str(tmp_path / "weighted.pt")
    torch.save(content, weights)
    for number in range(3):
        write_t2(tmp_path / "in" / str(number), patient=f"P{number}", series=f"T2 {number}")
    predict(str(tmp_path / "in"), out=str(tmp_path / "out"), weights=weights)
    scored = [row for path in sorted((tmp_path / "out").glob("*/slices.csv")) for row in read_rows(path)]
    middle = np.median([float(row["logit"]) for row in scored])
    lines = ["series_uid,sop_uid,rater,role,status,label"]
    for number, row in enumerate(scored):
        label = int((float(row["logit"]) > middle) != (number % 5 == 0))  # not separable
        lines.append(f"{row['series_uid']},{row['sop_uid']},a,reference,evaluable,{label}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    recalibrate(str(tmp_path / "out"), out=str(tmp_path / "site"), labels=str(tmp_path / "labels.csv"))
    path = tmp_path / "site" / "operating_points.json"
    facts = json.loads(path.read_text())["facts"]
    assert facts["weights_sha256"] == checkpoints.sha256(weights)
    assert (facts["trained_on_phantom"], facts["pos_weight"]) == (False, 3.8)
    predict(str(tmp_path / "in"), out=str(tmp_path / "again"), weights=weights, operating_points=str(path))
    (summary, *_) = [json.loads(one.read_text()) for one in (tmp_path / "again").glob("*/summary.json")]
    assert summary["threshold_source"].startswith("operating point youden, chosen on 3 patients")


def test_without_a_fitted_calibration_the_baseline_is_applied_and_said(tmp_path, weights):
    write_json(tmp_path / "points.json", points(weights, slope=None, intercept=None))
    found = read_operating_point(str(tmp_path / "points.json"), "youden", checkpoints.sha256(weights))
    assert (found.slope, found.intercept) == (1.0, -1.335)
    assert found.threshold == pytest.approx(expit(-0.3 - 1.335))
    assert found.source.endswith("not calibrated, the weight of the training loss undone")
    unknown = {"slope": 1.0, "intercept": 0.0, "pos_weight": None}
    write_json(tmp_path / "points.json", points(weights, slope=None, intercept=None) | {"baseline": unknown})
    assert read_operating_point(str(tmp_path / "points.json"), "youden").source.endswith("not calibrated")


def test_points_of_other_weights_and_two_thresholds_are_refused(tmp_path, weights):
    path = tmp_path / "points.json"
    call = {"out": str(tmp_path / "out"), "weights": weights, "operating_points": str(path)}
    for facts, message in (({"weights_sha256": "ab" * 32}, "for the weights abab"), ({}, "weights that it does not")):
        write_json(path, points(weights) | {"facts": facts})
        with pytest.raises(InputError, match=message):
            predict(str(tmp_path), **call)
    with pytest.raises(InputError, match="give one of them"):
        predict(str(tmp_path), **call, threshold=0.4)
    assert not (tmp_path / "out").exists()


def broken(**changes) -> dict:
    """A file with parts replaced, or left out where None."""
    whole = points_of("ab" * 32) | changes
    return {name: part for name, part in whole.items() if part is not None}


def points_of(sha256: str) -> dict:
    return {
        "points": {"youden": {"logit": -0.3, "status": "chosen"}},
        "calibration": {"slope": 2.0, "intercept": 0.5, "status": "fitted"},
        "baseline": {"slope": 1.0, "intercept": -1.335, "pos_weight": 3.8},
        "chosen_on": {"n_patients": 12, "n_slices": 402},
        "facts": {"weights_sha256": sha256},
    }


MALFORMED = {
    "no object": [],
    "no points": broken(points=None),
    "points are no object": broken(points=[]),
    "a point without logit": broken(points={"youden": {"status": "chosen"}}),
    "a logit in words": broken(points={"youden": {"logit": "high"}}),
    "another point's logit is huge": broken(points={"youden": {"logit": 0.0}, "other": {"logit": 1e12}}),
    "paper_0.5 elsewhere": broken(points={"youden": {"logit": 0.0}, "paper_0.5": {"logit": 1.0}}),
    "no calibration": broken(calibration=None),
    "slope without intercept": broken(calibration={"slope": 1.0, "intercept": None, "status": "?"}),
    "a slope of 0": broken(calibration={"slope": 0.0, "intercept": 0.5, "status": "?"}),
    "an infinite intercept": broken(calibration={"slope": 1.0, "intercept": float("inf"), "status": "?"}),
    "no baseline": broken(baseline=None),
    "a baseline that falls": broken(baseline={"slope": -1.0, "intercept": 0.0, "pos_weight": 2.0}),
    "not said what it was chosen on": broken(chosen_on=None),
    "patients are not counted": broken(chosen_on={"n_patients": None, "n_slices": 3}),
    "slices are not counted": broken(chosen_on={"n_patients": 3}),
    "fingerprints are no list": broken(chosen_on={"n_patients": 3, "n_slices": 9, "patients_sha256": "abc"}),
    "no facts": broken(facts=None),
    "facts are no object": broken(facts=[]),
}


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("reader", ["report", "recalibrate", "predict", "assemble"])
def test_a_file_that_one_program_refuses_is_refused_by_all(tmp_path, weights, simulated_run, reader, name):
    path = tmp_path / "run" / "operating_points.json"
    shutil.copytree(simulated_run, tmp_path / "run")
    path.write_text(json.dumps(MALFORMED[name]))
    out = str(tmp_path / "out")
    programs = {
        "report": lambda: report(str(tmp_path / "run"), out=out),
        "recalibrate": lambda: recalibrate(str(tmp_path / "run" / "predictions.csv"), out, current=str(path)),
        "predict": lambda: predict(str(tmp_path), out=out, weights=weights, operating_points=str(path)),
        "assemble": lambda: assemble(out=out, operating_points=str(path), operating_point="youden"),
    }
    with pytest.raises(InputError, match=r"operating_points\.json") as caught:
        programs[reader]()
    assert "was chosen for the weights" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def simulated_run(tmp_path_factory) -> Path:
    return simulated_runs.write(tmp_path_factory.mktemp("run") / "run", 4, 8, everything=False)


def test_labels_of_recalibrate_go_with_the_folder_of_predict_and_with_nothing_else(tmp_path):
    (tmp_path / "predictions.csv").write_text("label\n")
    with pytest.raises(InputError, match=r"--labels is for the output folder of predict"):
        recalibrate(str(tmp_path / "predictions.csv"), str(tmp_path / "site"), labels=str(tmp_path / "labels.csv"))
    with pytest.raises(InputError, match=r"holds no labels; name the site's labels.csv with --labels"):
        recalibrate(str(tmp_path), str(tmp_path / "site"))
