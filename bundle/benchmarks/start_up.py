"""How long a process takes before it has something to show."""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from scripts.__main__ import COMMANDS
from scripts.files import ROOT, read_json
from scripts.inferers import actual_precision

from ..__main__ import COMMANDS as PACKING
from .materials import phantom, random_weights
from .rows import Options, Row
from .timing import compare

PLAIN = """
import monai
import torch
import torchvision

device, architecture, image_size, slices, bf16 = {0!r}, {1!r}, {2}, {3}, {4}
network = torchvision.models.get_model(architecture).eval().to(device, memory_format=torch.channels_last)
with torch.inference_mode(), torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bf16):
    for batch in torch.rand(slices, 3, image_size, image_size).split(16):
        network(batch.to(device, memory_format=torch.channels_last)).cpu()
"""
"""The least that a process can do that imports torch and monai and runs a network of torchvision over one series."""


def process(*arguments: str) -> float:
    """Run a Python process from the root of the bundle, without what it prints, and return its seconds."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL, env={**os.environ})
    return time.perf_counter() - started


def cold(options: Options) -> Iterator[Row]:
    """Compare a process that scores one series with one that imports torch and monai and runs the bare network."""
    precision = read_json(ROOT / "configs" / "inference.json")["precision"]
    bf16 = actual_precision(precision, options.device) == "bf16"
    plain = PLAIN.format(str(options.device), options.architecture, options.image_size, options.slices, bf16)
    cohort = phantom(options, patients=1, slices=options.slices)
    weights, numbers = random_weights(options), itertools.count()

    def predict() -> None:
        out = options.folder / f"out-{next(numbers)}"
        process("-m", "scripts", "predict", str(cohort / "dicom"), "--out", str(out), "--weights", str(weights))

    yield from compare(lambda: process("-c", plain), {"predict, cold": predict}, options, "slice")


def help_texts(options: Options) -> Iterator[Row]:
    """Time ``--help`` of every command, and Python itself; the median of as many runs as there are pairs."""

    def median_s(*arguments: str) -> float:
        process(*arguments)  # writes the byte code
        return statistics.median(process(*arguments) for _ in range(options.pairs))

    commands = [(package, name) for package, table in (("scripts", COMMANDS), ("bundle", PACKING)) for name in table]
    taken = {f"{package} {name}": median_s("-m", package, name, "--help") for package, name in commands}
    yield Row("Python alone", median_s("-c", ""), "s")
    yield Row("median", statistics.median(taken.values()), "s", f"of {len(taken)} commands")
    slowest = sorted(taken, key=taken.__getitem__)[::-1]
    yield Row("slowest", taken[slowest[0]], "s", f"{slowest[0]}; next {slowest[1]}, {taken[slowest[1]]:.2f} s")
