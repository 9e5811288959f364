"""The stages of `predict`, alone and together, for the benchmark of how well they overlap."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from monai.bundle import ConfigParser

from scripts.console import say
from scripts.files import ROOT
from scripts.inference.series import find_series
from scripts.runner import literals, run_config

from .materials import phantom, random_weights, silence
from .rows import Options, Row
from .timing import Work, compare, seconds


def predict(options: Options) -> Iterator[Row]:
    """Compare all of `predict` on some series with its slowest stage alone (reading, network, writing)."""
    device, folder = options.device, options.folder
    found = find_series([phantom(options, patients=options.slices) / "dicom"])
    numbers = itertools.count()
    changes: dict[str, Any] = {"architecture": options.architecture, "image_size": options.image_size}
    changes |= {"ckpt_path": str(random_weights(options)), "device": device, "found": found}

    def whole() -> None:
        out = folder / f"out-{next(numbers)}"
        with silence():
            run_config(["inference.json"], **changes, output_dir=str(out))

    parser = ConfigParser()
    parser.read_config(str(ROOT / "configs" / "inference.json"))
    for name, value in literals({**changes, "bundle_root": str(ROOT), "output_dir": str(folder / "alone")}).items():
        parser[name] = value
    dataset, inferer, loaded, postprocessing, writer = map(
        parser.get_parsed_content, ("dataset", "inferer", "loaded", "postprocessing", "writer")
    )
    read: list[dict[str, Any]] = []
    scored: list[dict[str, Any]] = []

    def reading() -> None:
        read[:] = [dataset[number] for number in range(len(dataset))]

    def network_alone() -> None:
        scored[:] = [
            postprocessing({**one, "pred": inferer(one["image"][None].to(device), loaded.network.eval())[0]})
            for one in map(dict, read)
        ]

    def writing() -> None:
        with silence():
            writer.folder.begin(one["name"] for one in dataset.series)
            for one, output in zip(dataset.series, scored, strict=True):
                writer.write(one, output)
            writer.folder.end()

    whole()  # first use of ITK and the like
    stages: dict[str, Work] = {"reading": reading, "network": network_alone, "writing": writing}
    taken = {name: (work(), seconds(work, device))[1] for name, work in stages.items()}
    slowest = max(taken, key=taken.__getitem__)
    times = ", ".join(f"{name} {one:.1f} s" for name, one in taken.items())
    say(f"{len(dataset)} series; alone: {times}; plain is {slowest} alone")
    yield from compare(stages[slowest], {"predict": whole}, options, "series")
