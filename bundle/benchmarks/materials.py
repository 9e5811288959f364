"""What several benchmarks work on: phantom patients, and a network with random weights."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

from scripts import checkpoints
from scripts.networks import CordCompressionNet
from scripts.phantom.cohort import make_cohort

from .rows import Options


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Drop what is printed within the block."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def phantom(options: Options, patients: int, slices: int | None = None) -> Path:
    """Make a phantom cohort below the benchmark's folder.

    Args:
        options: of the benchmark.
        patients: how many.
        slices: of each series; None for the whole neck.
    """
    with silence():
        made = make_cohort(options.folder / "cohort", patients, seed=0, slices=slices, distractors=False)
    return made.parent


def random_weights(options: Options) -> Path:
    """Write a checkpoint of a network with random weights, and return its path."""
    network = CordCompressionNet(weights=None, architecture=options.architecture)
    settings = checkpoints.describe(options.architecture, [512, 512], options.image_size, 1.0, "imagenet")
    path = options.folder / "model.pt"
    checkpoints.save(path, network, settings, trained_on={"phantom": True}, epoch=1)
    return path
