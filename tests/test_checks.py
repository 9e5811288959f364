"""What can be checked without pixels is checked before any image is read and any phantom patient is made."""

from __future__ import annotations

import json
import shutil
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from conftest import SMALL

from scripts import datasets
from scripts.errors import InputError
from scripts.phantom import default_cohort
from scripts.runner import run_config

CALIBRATED = {"weights": "IMAGENET1K_V1"}


@pytest.fixture
def no_work(monkeypatch) -> None:
    """Fail where an image is read or a phantom patient made."""

    def work(*_: Any, **__: Any) -> None:
        raise AssertionError("work began before the checks")

    monkeypatch.setattr(datasets.SliceDataset, "_read", work)
    monkeypatch.setattr(default_cohort, "make_cohort", work)


@pytest.fixture
def offline(monkeypatch, tmp_path) -> None:
    """No download succeeds, and nothing is cached."""

    def fail(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", fail)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def run(files: list[str], out: Path, **overrides: Any) -> None:
    folders = {"output_dir": str(out), "ckpt_dir": str(out / "models")}
    run_config(files, **{**SMALL, "max_epochs": 1, **folders, **overrides})


@pytest.mark.parametrize("phantom", [True, False], ids=["phantom", "cohort"])
def test_weights_that_cannot_be_downloaded_are_found_out_first(cohort, tmp_path, no_work, offline, phantom):
    with pytest.raises(InputError, match="could not be downloaded"):
        run(["train.json"], tmp_path, weights="IMAGENET1K_V1", dataset_dir=None if phantom else str(cohort))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"weights": "/nowhere/trunk.pth"}, "got '/nowhere/trunk.pth', which is no file"),
        ({"architecture": "vgg16"}, "torchvision ResNet"),
        ({"dropout": 1.5}, "dropout in"),
        ({"resume": True}, "no checkpoint at .*model_last.pt"),
        ({"seed": -1}, "seed must be a whole number from 0 to 9223372036854775807.* got -1"),
        ({"seed": 0.5}, "seed must be a whole number .* got 0.5"),
        ({"seed": True}, "seed must be a whole number .* got True"),
        ({"seed": 2**63}, "seed must be a whole number .* got 9223372036854775808"),
        ({"seed": "tomorrow"}, "seed must be a whole number .* got tomorrow"),
        ({"precision": "fp16"}, "precision must be auto, bf16, fp32 or tf32, got 'fp16'"),
        ({"score_precision": "half"}, "score_precision must be auto, bf16, fp32 or tf32, got 'half'"),
        ({"pos_weight": -1.0}, "pos_weight must be positive"),
    ],
    ids=str,
)
@pytest.mark.parametrize("phantom", [True, False], ids=["phantom", "cohort"])
def test_a_bad_setting_is_found_out_first(cohort, tmp_path, no_work, overrides, message, phantom):
    with pytest.raises(InputError, match=message):
        run(["train.json"], tmp_path, **{"dataset_dir": None if phantom else str(cohort), **overrides})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: [entry.update(label=0) for entry in content["training"]], "both classes, but 0 of 36 slices"),
        (lambda content: content["training"].clear(), "section 'training' .* holds no slices"),
        (lambda content: content["validation"].clear(), "section 'validation' .* holds no slices"),
        (lambda content: content["validation"][0].update(label=3), r"validation\[0\]: label must be 0 or 1, got 3"),
        (lambda content: content["validation"][0].update(image="gone.dcm"), "do not exist, first gone.dcm"),
    ],
)
def test_a_bad_datalist_is_found_out_first(cohort, tmp_path, no_work, change, message):
    shutil.copytree(cohort, tmp_path / "cohort")
    path = tmp_path / "cohort" / "datalist.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        run(["train.json"], tmp_path / "run", dataset_dir=str(path))


def test_resuming_from_weights_alone_or_another_network_is_found_out_first(cohort, tmp_path, no_work, small_weights):
    (tmp_path / "models").mkdir()
    shutil.copy(small_weights, tmp_path / "models" / "model_last.pt")
    with pytest.raises(InputError, match="holds weights only"):
        run(["train.json"], tmp_path, dataset_dir=str(cohort), resume=True)
    with pytest.raises(InputError, match=r"trained with head \[16\], but the config says \[8\]"):
        run(["train.json"], tmp_path, dataset_dir=str(cohort), resume=True, head=[8])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"ckpt_dir": "/nowhere"}, "no checkpoint at /nowhere/model.pt"),
        ({"head": [8]}, r"trained with head \[16\], but the config says \[8\]"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"threshold": 1.5}, "threshold must be a number from 0 to 1, got 1.5"),
        ({"score_precision": "half"}, "score_precision must be auto"),
        ({"validate__section": "holdout"}, "has no section 'holdout'"),
    ],
    ids=str,
)
def test_an_evaluation_that_cannot_succeed_reads_no_image(cohort, tmp_path, no_work, small_weights, overrides, message):
    defaults = {"dataset_dir": str(cohort), "ckpt_dir": str(small_weights.parent)}
    with pytest.raises(InputError, match=message):
        run(["train.json", "evaluate.json"], tmp_path, **{**defaults, **overrides})


def test_a_study_is_checked_without_making_a_phantom_cohort(cohort, tmp_path, no_work):
    from scripts.study.checks import check_experiments, check_settings
    from scripts.study.experiments import Experiment

    overrides = {key: value for key, value in SMALL.items() if key != "num_workers"}
    check_experiments([Experiment(tmp_path / "one", ["train.json"], str(cohort), overrides=overrides)])
    planned = Experiment(tmp_path / "two", ["train.json"], str(tmp_path / "not made yet"), overrides=overrides)
    check_settings(planned, resume=False)
    assert not list(tmp_path.iterdir())


def test_a_study_of_tasks_that_nobody_labelled_is_refused_before_it_begins(cohort, tmp_path, no_work, monkeypatch):
    from scripts.study.checks import check_settings
    from scripts.study.experiments import Experiment

    content = json.loads((cohort / "datalist.json").read_text())
    for entry in content["training"]:
        entry.pop("t2_signal", None)
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    overrides = {**SMALL, "tasks": ["compressed", "t2_signal"]}
    monkeypatch.setattr("scripts.study.checks.load", lambda *_: content["training"])
    with pytest.raises(InputError, match="no label for the task t2_signal"):
        check_settings(Experiment(tmp_path / "one", ["train.json"], str(tmp_path), overrides=overrides))
