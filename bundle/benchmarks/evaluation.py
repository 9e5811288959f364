"""What the figures add to an evaluation."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from scripts.files import read_json, write_json
from scripts.records import SECTIONS
from scripts.runner import run_config

from .materials import phantom, random_weights, silence
from .rows import Options, Row
from .timing import compare


def evaluate(options: Options) -> Iterator[Row]:
    """Compare an evaluation of some patients with all its figures with the same one without any handler.

    What is left without handlers is reading and preprocessing the images, and the network.
    """
    cohort = phantom(options, patients=options.slices)
    datalist = read_json(cohort / "datalist.json")
    entries = [entry for section in SECTIONS for entry in datalist[section]]
    write_json(cohort / "datalist.json", {**datalist, **{section: [] for section in SECTIONS}, "testing": entries})
    settings: dict[str, Any] = {"architecture": options.architecture, "image_size": options.image_size}
    settings |= {"dataset_dir": str(cohort), "ckpt_path": str(random_weights(options)), "device": options.device}
    numbers = itertools.count()

    def run(**changes: Any) -> None:
        with silence():
            out = options.folder / f"out-{next(numbers)}"
            run_config(["train.json", "evaluate.json"], **settings, output_dir=str(out), **changes)

    def plain() -> None:
        run(validate__handlers=[])

    yield from compare(plain, {"evaluate, all figures": lambda: run(sheets=True)}, options, "patient")
