"""How cost and memory grow with the number of series and of slices."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydicom import dcmread

from scripts.dicom.silence import quiet
from scripts.errors import InputError
from scripts.files import write_json

from ..campaigns.many_files import PER_PATIENT, PER_SERIES, SCORED, Template, write_files
from ..campaigns.processes import Run, require_posix, run
from ..campaigns.samples import make_samples
from .rows import Options, Row

STEPS = 200
"""Steps of each training."""
SAMPLE_S = 0.2
LONGEST_S = 4 * 3600.0


def scale(options: Options) -> Iterator[Row]:
    """Run predict and training at three sizes each, in processes of their own.

    Slices are 64 x 64 pixels and the network is a ResNet-18, so that what surrounds the network shows.

    The exponent is that of the time beyond the smallest size, between the other two: 1 is as fast a series or a slice
    at the largest size, 2 is ten times as slow at ten times the size.
    """
    require_posix()
    if options.slices < 20:
        raise InputError(f"--slices of scale must be at least 20, got {options.slices}")
    samples = {one.name: one.path for one in make_samples(options.folder / "samples")}
    with quiet():
        template = Template(dcmread(samples["classic-explicit-vr-little-endian.dcm"]))
    most, model = options.slices, samples["model.pt"]
    yield from growth("predict", "series", (1, most // 10, most), lambda n: score(options, template, n, model))
    yield from growth("training", "slices", (most, 10 * most, 100 * most), lambda n: train(options, template, n))


def growth(name: str, unit: str, sizes: Sequence[int], work: Callable[[int], Run]) -> Iterator[Row]:
    """Yield what each size costs, and the exponent."""
    seconds: list[float] = []
    for size in sizes:
        ended = work(size)
        seconds.append(ended.seconds)
        more = 1000 * (seconds[-1] - seconds[0]) / max(size - sizes[0], 1)
        each = "" if size == sizes[0] else f"{more:.1f} ms for each more; "
        yield Row(f"{name}, {size:,} {unit}", ended.seconds, "s", f"{each}at most {max(ended.rss_mib):.0f} MiB")
    yield Row(f"{name}, exponent", exponent(sizes, seconds), "", f"of the time beyond {sizes[0]:,} {unit}")


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Return the power of the size by which time grows beyond the first of three sizes, between the other two.

    Args:
        sizes: shape (3,), rising.
        seconds: shape (3,); a time that does not rise beyond the first counts as a millisecond.
    """
    more = [max(one - seconds[0], 1e-3) for one in seconds[1:]]
    return math.log(more[1] / more[0]) / math.log((sizes[2] - sizes[0]) / (sizes[1] - sizes[0]))


def score(options: Options, template: Template, series: int, weights: Path) -> Run:
    """Run predict on series of five slices."""
    folder = options.folder / f"predict-{series}"
    files = ((f"{n}/{one}.dcm", template.slice(n, 1, one), "") for n in range(series) for one in range(SCORED))
    write_files(folder / "dicom", files, SCORED * series)
    out = folder / "out"
    out.mkdir()
    command = ["-m", "scripts", "predict", str(folder / "dicom"), "--out", str(out), "--weights", str(weights)]
    return watched(command, out, folder)


def train(options: Options, template: Template, slices: int) -> Run:
    """Run the training of `STEPS` steps on a cohort; one validation follows."""
    folder = options.folder / f"train-{slices}"
    numbers = [(n // PER_PATIENT, n % PER_PATIENT // PER_SERIES, n % PER_PATIENT) for n in range(slices)]
    files = ((f"{p}/{s}/{one}.dcm", template.slice(p, s, one), "") for p, s, one in numbers)
    write_files(folder / "dicom", files, slices)
    entries = [
        {"image": f"dicom/{p}/{s}/{one}.dcm", "label": one % 2, "patient_id": str(p), "slice_index": 0}
        for p, s, one in numbers
    ]
    empty = {"validation": entries[:PER_SERIES], "testing": []}
    write_json(folder / "datalist.json", {"name": "scale", "phantom": True, "training": entries, **empty})
    out = folder / "out"
    out.mkdir()
    settings: dict[str, Any] = {
        "dataset_dir": str(folder),
        "output_dir": str(out),
        "weights": None,
        "architecture": "resnet18",
    }
    settings |= {"image_size": 64, "max_epochs": 1, "min_epochs": 1, "train__trainer__epoch_length": STEPS}
    # a config key of its own, which `python -m monai.bundle` would refuse
    program = f"from scripts.runner import run_config; run_config(['train.json'], **{settings!r})"
    return watched(["-c", program], out, folder)


def watched(command: Sequence[str], out: Path, folder: Path) -> Run:
    """Run a command, and refuse to count one that failed."""
    found = run(command, out, sample_s=SAMPLE_S, longest_s=LONGEST_S)
    if found.status:
        log = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").strip()[-400:]
        raise RuntimeError(f"{' '.join(command)} ended with status {found.status}: {log}")
    return found
