"""What heat maps, and the second network, add to the time of inference."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor

from scripts.canal.localiser import Localiser
from scripts.canal.network import CanalNet
from scripts.files import ROOT, read_json
from scripts.inferers import SeriesInferer
from scripts.networks import CordCompressionNet

from .rows import Options, Row
from .timing import Work, compare


def placed(network: CordCompressionNet, device: torch.device) -> CordCompressionNet:
    """Return a network as inference.json places it."""
    moved: CordCompressionNet = network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


def heatmaps(options: Options) -> Iterator[Row]:
    """Compare inference with the heat maps of two layers, and of 18 views, with inference without."""
    slices = options.slices
    network = placed(CordCompressionNet(architecture=options.architecture), options.device)
    volume = torch.rand(1, 1, options.image_size, options.image_size, slices, device=options.device)
    inferers = {"layer4": SeriesInferer(batch_size=slices), "layer3": SeriesInferer(batch_size=slices, layer="layer3")}
    if options.views:
        inferers["18 views, averaged"] = SeriesInferer(batch_size=slices, heatmap=False, test_time_average=True)
        inferers["18 views, hotspots"] = SeriesInferer(batch_size=slices, hotspots=True)
    plain = SeriesInferer(batch_size=slices, heatmap=False)
    works: dict[str, Work] = {label: partial(one, volume, network) for label, one in inferers.items()}
    yield from compare(partial(plain, volume, network), works, options, "slice")


def second_network(options: Options) -> Iterator[Row]:
    """Compare preprocessing and inference of the crop that a localiser finds with those of the whole field of view.

    The localiser has the channels of configs/canal/train.json. Random weights find nothing, so every place is trusted.
    """
    slices = options.slices
    canal = read_json(ROOT / "configs" / "canal" / "train.json")
    localiser = Localiser(CanalNet(canal["channels"], canal["image_size"], canal["side_mm"]))
    image = MetaTensor(torch.rand(1, 384, 384, slices), affine=torch.diag(torch.tensor([0.5, 0.5, 3.0, 1.0]).double()))

    def scored(tasks: list[str], found: Localiser | None, measured: bool) -> Work:
        network = placed(CordCompressionNet(architecture=options.architecture, tasks=tasks), options.device)
        parser = ConfigParser()
        parser.read_config(str(ROOT / "configs" / "inference.json"))
        parser["image_size"], parser["canal"] = options.image_size, found
        parser["side_mm"] = canal["side_mm"] if found else None
        chain = [one for one in parser.get_parsed_content("preprocessing").transforms if hasattr(one, "inner_size")]
        framing = [one for one in parser.get_parsed_content("preprocessing").transforms if hasattr(one, "margin_mm")]
        framing[0].least_confidence = -1.0
        inferer = SeriesInferer(batch_size=slices)

        def work() -> None:
            data = {"image": image}
            for transform in (*framing, *chain):
                data = transform(data)
            inferer(data["image"][None].to(options.device), network)
            if measured and found is not None:
                found.measures(data["image"])

        return work

    tasks = ["compressed", "grade"]
    works = {
        "crop and grade": scored(tasks, None, False),
        "localiser, crop and grade": scored(tasks, localiser, False),
        "localiser, crop, grade and measures": scored(tasks, localiser, True),
    }
    yield from compare(scored(tasks[:1], None, False), works, options, "slice")
