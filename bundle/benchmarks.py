"""The ``benchmarks`` command: how much longer inference takes with heat maps on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.console import say
from scripts.errors import InputError
from scripts.files import check_output, write_json

if TYPE_CHECKING:
    import torch
    from torch import nn

    from scripts.inferers import SeriesInferer

SHARE_ALLOWED = 1.05


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Time one call, until the device is done."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def cost_ratio(
    inferer: SeriesInferer, plain: SeriesInferer, volume: torch.Tensor, network: nn.Module, pairs: int
) -> tuple[float, float]:
    """Return the median ratio of the time of two inferers, over pairs that take turns, and the plain one's median time.

    Args:
        inferer: the one whose cost is wanted.
        plain: what it is compared with.
        volume: ``(1, 1, H, W, D)``.
        network: the classifier.
        pairs: how many pairs; within a pair the order alternates, so that a drift of the machine cancels.
    """
    for one in (plain, inferer):
        one(volume, network)
    ratios, plain_s = [], []
    for number in range(pairs):
        order = (plain, inferer) if number % 2 else (inferer, plain)
        taken = {one is plain: seconds(lambda one=one: one(volume, network), volume.device) for one in order}  # type: ignore[misc]
        ratios.append(taken[False] / taken[True])
        plain_s.append(taken[True])
    return statistics.median(ratios), statistics.median(plain_s)


def benchmarks(
    name: str = "heatmaps",
    pairs: int = 12,
    slices: int = 16,
    image_size: int = 299,
    architecture: str = "resnet50",
    views: bool = False,
    out: str = "",
) -> int:
    """Measure how much longer inference takes with heat maps (median of pairs of runs).

    Writes a file only with --out.

    Args:
        name: heatmaps, the only one.
        pairs: pairs of a run with and a run without; at least 8.
        slices: slices of the series, one batch.
        image_size: side of the network's input in pixels.
        architecture: name of the trunk, see `scripts.networks.CordCompressionNet`.
        views: also measure the 18 views of test-time averaging and of hotspots (slow).
        out: JSON file for the numbers; without, none is written.

    Returns:
        0 if the maps of layer4 cost at most 5 % more, else 1.
    """
    import torch

    from scripts.inferers import SeriesInferer
    from scripts.networks import CordCompressionNet

    if name != "heatmaps" or pairs < 8 or slices < 1:
        raise InputError(f"expected heatmaps, at least 8 pairs and 1 slice; got {name}, {pairs} and {slices}")
    if out:
        check_output(out)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    network = CordCompressionNet(architecture=architecture).eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    volume = torch.rand(1, 1, image_size, image_size, slices, device=device)
    plain = SeriesInferer(batch_size=slices, heatmap=False)
    measured = {"layer4": SeriesInferer(batch_size=slices), "layer3": SeriesInferer(batch_size=slices, layer="layer3")}
    if views:
        measured["18 views, averaged"] = SeriesInferer(batch_size=slices, heatmap=False, test_time_average=True)
        measured["18 views, hotspots"] = SeriesInferer(batch_size=slices, hotspots=True)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    say(f"{architecture}, {slices} slices of {image_size} x {image_size}, {where}; median of {pairs} alternating pairs")
    results: dict[str, float] = {}
    for label, inferer in measured.items():
        results[label], plain_s = cost_ratio(inferer, plain, volume, network, pairs)
        say(f"{label:20} {results[label]:.3f} times plain inference ({1000 * plain_s / slices:.1f} ms a slice)")
    if out:
        write_json(Path(out), {"device": where, "pairs": pairs, "slices": slices, "image_size": image_size, **results})
    verdict = "at most" if results["layer4"] <= SHARE_ALLOWED else "MORE than"
    say(f"heat maps cost {verdict} {100 * (SHARE_ALLOWED - 1):.0f} % more than plain inference")
    return 0 if results["layer4"] <= SHARE_ALLOWED else 1
