"""All that is measured on a GPU, in one go of a few minutes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from scripts.errors import InputError
from scripts.inference.series import find_series
from scripts.inferers import SeriesInferer
from scripts.networks import CordCompressionNet
from scripts.runner import run_config

from .materials import phantom, random_weights, silence
from .networks import heatmaps, placed
from .rows import Options, Row
from .timing import compare, seconds
from .training import training

BATCHES = (16, 64)
PRECISIONS = ("fp32", "tf32", "bf16")


def gpu(options: Options) -> Iterator[Row]:
    """Measure training, heat maps, inference in each precision, and `predict` on as many series of the phantom.

    Raises:
        InputError: there is no CUDA device.
    """
    if options.device.type != "cuda":
        raise InputError(
            "benchmarks gpu needs a CUDA device, and torch finds none here; the benchmarks training, heatmaps and "
            "predict measure a CPU"
        )
    yield from training(options)
    for batch_size in BATCHES:
        more = options._replace(slices=batch_size, views=False)
        yield from (one._replace(label=f"heat maps, batch {batch_size}, {one.label}") for one in heatmaps(more))
        yield from precisions(more)
    yield predict_speed(options)


def precisions(options: Options) -> Iterator[Row]:
    """Yield how long inference takes in each precision, against true float32."""
    network = placed(CordCompressionNet(architecture=options.architecture), options.device)
    volume = torch.rand(1, 1, options.image_size, options.image_size, options.slices, device=options.device)

    def inferer(precision: str) -> SeriesInferer:
        return SeriesInferer(batch_size=options.slices, heatmap=False, precision=precision)

    plain = partial(inferer(PRECISIONS[0]), volume, network)
    works = {
        f"inference, batch {options.slices}, {precision}": partial(inferer(precision), volume, network)
        for precision in PRECISIONS[1:]
    }
    yield from compare(plain, works, options, "slice")


def predict_speed(options: Options) -> Row:
    """Return how many slices a second `predict` scores with its default outputs, the second time in a process."""
    found = find_series([phantom(options, patients=options.slices) / "dicom"])
    changes: dict[str, Any] = {"architecture": options.architecture, "image_size": options.image_size}
    changes |= {"ckpt_path": str(random_weights(options)), "device": options.device, "found": found}

    def scored(name: str) -> None:
        with silence():
            run_config(["inference.json"], **changes, output_dir=str(options.folder / name))

    scored("first")  # first use of ITK and the like
    taken = seconds(partial(scored, "second"), options.device)
    n_slices = sum(one.read_text(encoding="utf-8").count("\n") - 1 for one in slice_tables(options))
    return Row("predict", n_slices / taken, "slices/s", f"{n_slices} slices in {taken:.1f} s")


def slice_tables(options: Options) -> Iterator[Any]:
    """Yield the tables of slices that `predict_speed` wrote."""
    yield from (options.folder / "second").glob("*/slices.csv")
