"""The command that plans a study: what it asks, answers and refuses."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import simulated_runs

from bundle import populations
from scripts.__main__ import main
from scripts.errors import InputError
from scripts.study.plan import plan

ASSUMED = {"prevalence": 0.3, "slices": 34.0, "label_correlation": 0.18, "correlation": 0.15}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A pilot of 40 patients, scored by two models."""
    folder = simulated_runs.write(tmp_path_factory.mktemp("pilot") / "run", 40, 3, everything=False)
    drawn = populations.draw(np.random.default_rng(3), 40, populations.POPULATIONS["like the paper"])
    simulated_runs.predictions(drawn, "p", second=True).to_csv(folder / "second.csv", index=False)
    return folder


def planned(tmp_path, *arguments):
    out = tmp_path / "plan.json"
    assert main(["plan", *map(str, arguments), "--out", str(out)]) == 0
    return json.loads(out.read_text())


def test_options_alone_give_a_size(tmp_path, capsys):
    options = [f"--{name}={value}" for name, value in ASSUMED.items()]
    content = planned(tmp_path, "sensitivity", "--value", "0.88", "--width", "0.08", *options)
    assert content["assumed"] == {**ASSUMED, "slices_sd": 0, "value": 0.88}
    assert content["slices"] == 34 * content["patients"]
    answer = next(one for one in content["sizes"] if one["patients"] == content["patients"])
    assert 0.07 < answer["high"] - answer["low"] <= 0.08
    printed = capsys.readouterr().out
    assert f"Sensitivity: {content['patients']} patients are needed for a 95 % interval of width 0.08." in printed
    assert "about half of such studies get a wider interval" in printed


def test_a_pilot_gives_everything_and_an_option_replaces_it(run, tmp_path):
    pilot = ("--pilot", run / "predictions.csv", "--width", "0.08", "sensitivity")
    all_of_it, rarer = planned(tmp_path, *pilot), planned(tmp_path, *pilot, "--prevalence", "0.1")
    assert all_of_it["pilot"]["n_patients"]["all"] == 40
    assert all_of_it["cautious_patients"] > all_of_it["patients"]
    assert "upper 95 % limit" in all_of_it["warnings"][-1]
    assert rarer["assumed"] == {**all_of_it["assumed"], "prevalence": 0.1}
    assert rarer["patients"] > all_of_it["patients"]


def test_the_assumptions_that_a_pilot_shows_give_nearly_its_size(run, tmp_path):
    """They leave out what the random level of a patient cannot say, so the sizes are near and not equal."""
    for measure in ("sensitivity", "specificity", "auc"):
        by_pilot = planned(tmp_path, measure, "--pilot", run / "predictions.csv", "--width", "0.05")
        options = [f"--{name}={value}" for name, value in by_pilot["assumed"].items()]
        by_options = planned(tmp_path, measure, "--width", "0.05", *options)
        assert by_options["patients"] == pytest.approx(by_pilot["patients"], rel=0.45)


def test_a_second_model_says_how_both_go_together(run, tmp_path):
    asked = ("auc", "--against", "model", "--difference", "0.02", "--pilot", run / "predictions.csv")
    found = planned(tmp_path, *asked, "--second", run / "second.csv")
    assert 0.2 < found["wish"]["model_correlation"] < 0.95
    assert found["wish"]["power"] == 0.8
    assert planned(tmp_path, *asked, "--model_correlation", "0")["patients"] > found["patients"]


def test_a_family_of_tests_needs_more_patients(run, tmp_path):
    asked = ("auc", "--against", "subgroup", "--difference", "0.04", "--pilot", run / "predictions.csv")
    assert planned(tmp_path, *asked, "--tests", "6")["patients"] > planned(tmp_path, *asked)["patients"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either --width W, or --difference D"),
        ({"width": 0.1, "difference": 0.1}, "either --width W, or --difference D"),
        ({"width": 0.1, "power": 0.8}, "leave it out"),
        ({"difference": 0.1, "power": 0.02}, "above the level"),
        ({"width": 0.1}, "missing --prevalence, --slices, --label_correlation, --correlation, --value"),
        ({"width": 0.1, "slices": 1, "value": 0.9}, "missing --prevalence;"),
        ({"width": 1.5}, "--width must be a number between 0 and 1"),
        ({"width": 0.1, "measure": "f1"}, "--measure must be auc or sensitivity or specificity"),
        ({"width": 0.1, "against": "people"}, "--against must be subgroup or model"),
        ({"width": 0.1, "value": 0.4, **ASSUMED}, "auc between 0.5 and 1"),
        ({"width": 1e-5, "value": 0.9, **ASSUMED}, "not even 1,000,000 patients"),
        ({"difference": 0.9, "value": 0.9, **ASSUMED}, "more than the value"),
        ({"width": 0.1, "value": 0.9, **ASSUMED, "correlation": 1.2}, "--correlation must be a number from 0 to 1"),
        ({"difference": 0.1, "against": "model", "value": 0.9, **ASSUMED}, "missing --model_correlation"),
        ({"width": 0.1, "model_correlation": 0.5, "value": 0.9, **ASSUMED}, "needs --against model"),
        ({"width": 0.1, "tests": 0, "value": 0.9, **ASSUMED}, "--tests must be a whole number"),
        ({"width": 0.1, "threshold": 1.0}, "--threshold must be a probability"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        plan(**options)


def test_a_pilot_that_cannot_say_it_is_refused(run, tmp_path):
    frame = pd.read_csv(run / "predictions.csv", dtype={"frame": str}, keep_default_na=False)
    few = frame[frame["patient_id"].isin(frame["patient_id"].unique()[:2])]
    perfect = frame.assign(logit=frame["label"] * 8.0 - 4)
    for name, table in {"few": few, "perfect": perfect, "one": frame[frame["label"] == 1]}.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    for name, message in {"few": "expected at least 3", "perfect": "auc is 1", "one": "one label only"}.items():
        with pytest.raises(InputError, match=message):
            plan(pilot=str(tmp_path / f"{name}.csv"), width=0.1)


def test_the_pilot_is_not_overwritten(run):
    with pytest.raises(InputError, match="would overwrite"):
        plan(pilot=str(run / "predictions.csv"), width=0.1, out=str(run / "predictions.csv"))


def test_two_pilots_on_other_slices_are_refused(run, tmp_path):
    other = simulated_runs.write(tmp_path / "other", 20, 4, prefix="x", everything=False)
    with pytest.raises(InputError, match="share no slice"):
        plan(
            against="model", difference=0.02, pilot=str(run / "predictions.csv"), second=str(other / "predictions.csv")
        )
