"""The ``benchmarks`` command: what heat maps and the second network cost here, and how well `predict` overlaps."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from scripts.console import say
from scripts.errors import InputError
from scripts.files import check_output, write_json

if TYPE_CHECKING:
    import torch

Work = Callable[[], object]
ALLOWED = {
    "heatmaps": ("layer4", 1.05),
    "second-network": ("localiser, crop and grade", 1.25),
    "predict": ("predict", 1.2),
}
"""The row of each benchmark that is held against a limit, and how many times the plain time it may take."""


def seconds(work: Work, device: torch.device) -> float:
    """Time one call, until the device is done."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def cost_ratio(work: Work, plain: Work, pairs: int, device: torch.device) -> tuple[float, float]:
    """Return the median ratio of the times of two pieces of work that take turns, and the plain one's median time.

    Args:
        work: the one whose cost is wanted.
        plain: what it is compared with.
        pairs: how many pairs; within a pair the order alternates, so that a drift of the machine cancels.
        device: where they run.
    """
    for one in (plain, work):
        one()
    ratios, plain_s = [], []
    for number in range(pairs):
        order = (plain, work) if number % 2 else (work, plain)
        taken = {one is plain: seconds(one, device) for one in order}
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
    """Measure how much longer one piece of work takes than another on this machine (median of pairs of runs).

    Writes a file only with --out.

    Args:
        name: heatmaps: inference with them against inference without; second-network: preprocessing and network with a
            localiser, its crop, a grade and the measures, against the whole field of view and one task; predict: all
            of it on several series of the phantom, against the slowest of reading, network and writing alone.
        pairs: pairs of a run of each; at least 8.
        slices: slices of the series, one batch; of predict, series.
        image_size: side of the network's input in pixels.
        architecture: name of the trunk, see `scripts.networks.CordCompressionNet`.
        views: also measure the 18 views of test-time averaging and of hotspots (slow).
        out: JSON file for the numbers; without, none is written.

    Returns:
        0 if the maps of layer4 cost at most 5 % more, the second network at most 25 %, predict at most 20 %; else 1.
    """
    if name not in ALLOWED or pairs < 8 or slices < 1:
        raise InputError(
            f"expected {' or '.join(ALLOWED)}, at least 8 pairs and 1 slice; got {name}, {pairs}, {slices}"
        )
    if out:
        check_output(out)
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    if views and name != "heatmaps":
        raise InputError("--views belongs to heatmaps")
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    what, each = ("series, network input", "series") if name == "predict" else ("slices of", "slice")
    results: dict[str, float] = {}
    with TemporaryDirectory(prefix="cord-") as folder:
        if name == "predict":
            from .pipeline import predict_work

            plain, measured = predict_work(device, slices, image_size, architecture, Path(folder))
        elif name == "heatmaps":
            plain, measured = heatmap_work(device, slices, image_size, architecture, views)
        else:
            plain, measured = second_network_work(device, slices, image_size, architecture)
        say(
            f"{architecture}, {slices} {what} {image_size} x {image_size}, {where}; median of {pairs} alternating pairs"
        )
        for label, work in measured.items():
            results[label], plain_s = cost_ratio(work, plain, pairs, device)
            say(f"{label:36} {results[label]:.3f} times plain ({1000 * plain_s / slices:.1f} ms a {each})")
    if out:
        write_json(Path(out), {"device": where, "pairs": pairs, "slices": slices, "image_size": image_size, **results})
    label, limit = ALLOWED[name]
    verdict = "at most" if results[label] <= limit else "MORE than"
    say(f"{label}: {verdict} {100 * (limit - 1):.0f} % more than plain")
    return 0 if results[label] <= limit else 1


def heatmap_work(
    device: torch.device, slices: int, image_size: int, architecture: str, views: bool
) -> tuple[Work, Mapping[str, Work]]:
    """Return inference without heat maps, and with those of two layers and of 18 views."""
    import torch

    from scripts.inferers import SeriesInferer
    from scripts.networks import CordCompressionNet

    network = CordCompressionNet(architecture=architecture).eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    volume = torch.rand(1, 1, image_size, image_size, slices, device=device)
    inferers = {"layer4": SeriesInferer(batch_size=slices), "layer3": SeriesInferer(batch_size=slices, layer="layer3")}
    if views:
        inferers["18 views, averaged"] = SeriesInferer(batch_size=slices, heatmap=False, test_time_average=True)
        inferers["18 views, hotspots"] = SeriesInferer(batch_size=slices, hotspots=True)
    plain = SeriesInferer(batch_size=slices, heatmap=False)
    return (
        lambda: plain(volume, network),
        {label: lambda one=one: one(volume, network) for label, one in inferers.items()},
    )


def second_network_work(
    device: torch.device, slices: int, image_size: int, architecture: str
) -> tuple[Work, Mapping[str, Work]]:
    """Return preprocessing and inference of the whole field of view, and of the crop that a localiser finds.

    The localiser has the channels of configs/canal/train.json. Random weights find nothing, so every place is trusted.
    """
    import torch
    from monai.bundle import ConfigParser
    from monai.data import MetaTensor

    from scripts.canal.localiser import Localiser
    from scripts.canal.network import CanalNet
    from scripts.files import ROOT, read_json
    from scripts.inferers import SeriesInferer
    from scripts.networks import CordCompressionNet

    canal = read_json(ROOT / "configs" / "canal" / "train.json")
    localiser = Localiser(CanalNet(canal["channels"], canal["image_size"], canal["side_mm"]))
    image = MetaTensor(torch.rand(1, 384, 384, slices), affine=torch.diag(torch.tensor([0.5, 0.5, 3.0, 1.0]).double()))

    def scored(tasks: list[str], found: Localiser | None, measured: bool) -> Work:
        network = CordCompressionNet(architecture=architecture, tasks=tasks).eval()
        network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        parser = ConfigParser()
        parser.read_config(str(ROOT / "configs" / "inference.json"))
        parser["image_size"], parser["canal"] = image_size, found
        parser["side_mm"] = canal["side_mm"] if found else None
        chain = [one for one in parser.get_parsed_content("preprocessing").transforms if hasattr(one, "inner_size")]
        framing = [one for one in parser.get_parsed_content("preprocessing").transforms if hasattr(one, "margin_mm")]
        framing[0].least_confidence = -1.0
        inferer = SeriesInferer(batch_size=slices)

        def work() -> None:
            data = {"image": image}
            for transform in (*framing, *chain):
                data = transform(data)
            inferer(data["image"][None].to(device), network)
            if measured and found is not None:
                found.measures(data["image"])

        return work

    tasks = ["compressed", "grade"]
    return scored(tasks[:1], None, False), {
        "crop and grade": scored(tasks, None, False),
        "localiser, crop and grade": scored(tasks, localiser, False),
        "localiser, crop, grade and measures": scored(tasks, localiser, True),
    }
