"""What is killed: each command with a small input, how it goes on, and what its finished output must equal."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .wholeness import read_checkpoint, unlike_bytes, unlike_names, unlike_tables, unlike_values

TIMES = ("seconds", "minutes")
"""Columns and keys that no two runs share."""
SETTINGS = {
    "architecture": "resnet18",
    "head": [8],
    "image_size": 64,
    "batch_size": 8,
    "num_workers": 0,
    "precision": "fp32",
    "max_epochs": 3,
    "min_epochs": 3,
}
OVERLAY = "configs/quickstart.json"
NEAR = ("logit", "probability", "max_probability")


@dataclass(frozen=True)
class Inputs:
    """What all targets read.

    Attributes:
        cohort: a phantom cohort.
        weights: a checkpoint trained on it.
        linkage: a linkage table with a key and nothing else.
    """

    cohort: Path
    weights: Path
    linkage: Path


@dataclass(frozen=True)
class Target:
    """A command to kill.

    Attributes:
        start: from inputs and folder to the command line that starts it, or goes on.
        differences: from a finished folder and the one of the run that nobody killed to what differs.
        prepare: puts into a new folder what the command needs there.
        done: whether a killed run had done its work, so that it is not started again.
        workers: kill a worker process instead of the run.
    """

    start: Callable[[Inputs, Path], list[str]]
    differences: Callable[[Path, Path], list[str]]
    prepare: Callable[[Inputs, Path], object] = lambda inputs, folder: None
    done: Callable[[Path], bool] = lambda folder: False
    workers: bool = False


def train(inputs: Inputs, folder: Path) -> list[str]:
    """Return the command line of a training."""
    resume = (folder / "models" / "model_last.pt").is_file()
    files = f"['configs/train.json','{OVERLAY}']"
    options = {"dataset_dir": inputs.cohort, "output_dir": folder, "ckpt_dir": folder / "models", "resume": resume}
    words = [word for name, value in {**options, **SETTINGS}.items() for word in (f"--{name}", str(value))]
    return ["-m", "monai.bundle", "run", "--config_file", files, "--bundle_root", ".", *words]


def unlike_training(folder: Path, whole: Path, models: str = "models") -> list[str]:
    """Compare two trainings: every tensor of both checkpoints, the optimizer's too, and the history."""
    found = unlike_tables(folder / "history.csv", whole / "history.csv", without=TIMES)
    for name in ("model.pt", "model_last.pt"):
        one, other = (read_checkpoint(place / models / name) for place in (folder, whole))
        found += unlike_values(one, other, name, without=TIMES)
    return [*found, *unlike_names(folder, whole)]


def predict(inputs: Inputs, folder: Path, *more: str) -> list[str]:
    """Return the command line of a prediction."""
    words = ["--out", str(folder), "--weights", str(inputs.weights), "--resume", "true", *more]
    return ["-m", "scripts", "predict", str(inputs.cohort / "dicom"), *words]


def unlike_results(folder: Path, whole: Path) -> list[str]:
    """Compare two predictions: rows and calls exactly, logits within 1e-5."""
    found = unlike_names(folder, whole)
    # a series of a killed run is kept, not scored
    found += unlike_tables(folder / "series.csv", whole / "series.csv", ("status", "folder"), NEAR, ("series_uid",))
    for place in [] if found else sorted(whole.glob("*/slices.csv")):
        name = place.parent.name
        found += unlike_tables(folder / name / "slices.csv", place, near=NEAR)
    return found


def study(name: str, *more: str) -> Callable[[Inputs, Path], list[str]]:
    """Return what makes the command line of a study."""
    overrides = json.dumps({**{key: value for key, value in SETTINGS.items() if key != "head"}, "max_epochs": 2})

    def start(inputs: Inputs, folder: Path) -> list[str]:
        cohorts = [str(inputs.cohort)]
        if name == "cross-validate":
            cohorts = [str(inputs.cohort / f"fold_{number}.json") for number in (1, 2)]
        options = ["--out", str(folder), "--overlay", OVERLAY, "--overrides", overrides]
        return ["-m", "scripts", name, *cohorts, *options, *more]

    return start


def unlike_study(*tables: str) -> Callable[[Path, Path], list[str]]:
    """Return what compares two studies: their tables, and the checkpoints of each of their trainings."""

    def differences(folder: Path, whole: Path) -> list[str]:
        found = [text for name in tables for text in unlike_tables(folder / name, whole / name, without=TIMES)]
        for place in [] if found else sorted(whole.glob("*/models")):
            found += unlike_training(folder / place.parent.name, place.parent)
        return found

    return differences


def deidentify(inputs: Inputs, folder: Path) -> list[str]:
    """Return the command line of a de-identification."""
    words = ["--out", str(folder / "copies"), "--linkage", str(folder / "linkage.csv")]
    return ["-m", "scripts", "deidentify", str(inputs.cohort / "dicom"), *words]


def index(inputs: Inputs, folder: Path) -> list[str]:
    """Return the command line of an index."""
    return ["-m", "scripts", "index", str(inputs.cohort / "dicom"), "--out", str(folder / "index.csv")]


def copy_linkage(inputs: Inputs, folder: Path) -> None:
    """Put the key into a folder, so that every run gives the same pseudonyms."""
    shutil.copy2(inputs.linkage, folder / "linkage.csv")


TARGETS = {
    "train": Target(train, unlike_training),
    "predict": Target(predict, unlike_results),
    "sweep": Target(study("sweep", "--heads", "1,2"), unlike_study("sweep.csv")),
    "search": Target(study("search", "--trials", "2"), unlike_study("search.csv")),
    "cross-validate": Target(study("cross-validate"), unlike_study("cross_validation.csv")),
    "deidentify": Target(
        deidentify, unlike_bytes, prepare=copy_linkage, done=lambda folder: (folder / "copies").exists()
    ),
    "index": Target(index, unlike_bytes),
    "workers": Target(lambda inputs, folder: predict(inputs, folder, "--workers", "2"), unlike_results, workers=True),
}
