"""How fast inference is against MONAI's plain path, and what its precision and backend change in the results."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.inferers import SimpleInferer
from numpy.typing import NDArray
from torch import nn

from scripts import checkpoints, datalists
from scripts.datasets import SliceDataset
from scripts.evaluation.auc import auc
from scripts.files import ROOT
from scripts.inferers import Running, SeriesInferer, actual_precision, running_in
from scripts.models.inference_trunk import openvino_rounds
from scripts.networks import CordCompressionNet
from scripts.runner import literals
from scripts.transforms import to_network_input

from .networks import placed
from .rows import CHANGES, Options, Row
from .timing import cost_ratio

Floats = NDArray[np.float64]
THRESHOLD = 0.5
BATCH = 16
"""Slices that go through the network at once, here and in MONAI's plain path."""
AT_ONCE = 64
"""Slices of a cohort that are held as float32 at once."""
EXACT = Running("fp32", "torch")


def inference(options: Options) -> Iterator[Row]:
    """Compare inference with heat maps with MONAI's plain path, and its results with those of float32 in torch."""
    yield from speeds(options)
    yield from changes(options)


def variants(device: torch.device) -> Iterator[tuple[Running, str]]:
    """Yield every precision and backend but float32 in torch, and why this machine cannot run it, if it cannot."""
    yield Running("bf16", "torch"), ""
    yield Running("tf32", "torch"), "" if device.type == "cuda" else "needs a GPU"
    installed = "" if find_spec("openvino") else "needs pip install -e '.[openvino]'"
    missing = "runs on CPUs" if device.type != "cpu" else installed
    yield Running("fp32", "openvino"), missing
    yield Running("bf16", "openvino"), missing or ("" if openvino_rounds() else "this CPU does not multiply bfloat16")


def speeds(options: Options) -> Iterator[Row]:
    """Time inference with heat maps against a plain forward pass of float32, neither channels last nor with maps."""
    device, kind = options.device, "GPU" if options.device.type == "cuda" else "CPU"
    plain = CordCompressionNet(architecture=options.architecture).eval().to(device)
    network = placed(CordCompressionNet(architecture=options.architecture), device)
    volume = torch.rand(1, 1, options.image_size, options.image_size, options.slices, device=device)

    def monai_path() -> None:
        with running_in("fp32", device), torch.no_grad():
            for batch in volume[0].permute(3, 0, 1, 2).split(BATCH):
                SimpleInferer()(to_network_input(batch, "imagenet"), plain)

    slow = "" if actual_precision("auto", device) == "bf16" else "this machine does not multiply bfloat16"
    for running, missing in [(EXACT, ""), *variants(device)]:
        label = f"{kind}, {running.backend} {running.precision}, speed"
        missing = missing or (slow if running.precision == "bf16" else "")
        if missing:
            yield Row(label, None, "times as fast", missing)
            continue
        inferer = SeriesInferer(batch_size=BATCH, **running._asdict())
        ratio, plain_s = cost_ratio(partial(inferer, volume, network), monai_path, options.pairs, device)
        yield Row(label, 1 / ratio, "times as fast", f"plain {1000 * plain_s / options.slices:.1f} ms a slice")


def changes(options: Options) -> Iterator[Row]:
    """Score the slices of a cohort in every way, and compare each with float32 in torch."""
    if not options.weights:
        yield Row("changes", None, "", "needs --weights and --cohort")
        return
    content = checkpoints.read_classifier(options.weights)
    network = placed(checkpoints.network_with_weights(content), options.device)
    slices = labelled_slices(options, content)
    labels = np.array(slices.labels)
    exact = probabilities(slices, network, content, EXACT, options.device)
    note = f"{len(labels)} slices, AUC {auc(labels, exact):.5f}"
    for running, missing in variants(options.device):
        name = f"{running.backend} {running.precision}"
        if missing:
            yield Row(f"{name}, changes", None, "", missing)
            continue
        found = probabilities(slices, network, content, running, options.device)
        for what, value in differences(labels, exact, found).items():
            yield Row(f"{name}, {what}", value, "", note)


def differences(labels: NDArray[Any], exact: Floats, found: Floats) -> dict[str, float]:
    """Return what `CHANGES` limits.

    Args:
        labels: of the slices, 0 or 1, shape (N,).
        exact: probabilities in float32, shape (N,).
        found: probabilities to compare with them, shape (N,).
    """
    changed = (exact >= THRESHOLD) != (found >= THRESHOLD)
    values = (
        np.abs(found - exact).max(),
        abs(auc(labels, found) - auc(labels, exact)),
        changed.sum() / max(1, len(labels) / 1000),
        np.abs(exact[changed] - THRESHOLD).max(initial=0),
    )
    return {what: float(value) for what, value in zip(CHANGES, values, strict=True)}


def labelled_slices(options: Options, content: dict[str, Any]) -> SliceDataset:
    """Read the slices of a cohort's last section, that of testing where there is one, as inference.json does."""
    parser = ConfigParser()
    parser.read_config(str(ROOT / "configs" / "inference.json"))
    settings = {name: content[name] for name in checkpoints.SETTINGS}
    for name, value in literals({**settings, "ckpt_path": options.weights}).items():
        parser[name] = value
    path = f"{options.cohort}/datalist.json"
    section = datalists.sections_of(path)[-1]
    return SliceDataset(datalists.load(path, section), parser.get_parsed_content("preprocessing"))


def probabilities(
    slices: SliceDataset, network: nn.Module, content: dict[str, Any], running: Running, device: torch.device
) -> Floats:
    """Return the probability of compression of every slice, shape (N,)."""
    inferer = SeriesInferer(content["profile"], BATCH, heatmap=False, tasks=content["tasks"], **running._asdict())
    logits = []
    for first in range(0, len(slices), AT_ONCE):
        batch = [slices[number]["image"] for number in range(first, min(first + AT_ONCE, len(slices)))]
        volume = torch.stack(batch, dim=-1)[None].to(device)
        logits.append(inferer(volume, network)[0, 0, 0, 0].double().cpu())
    found: Floats = torch.sigmoid(torch.cat(logits)).numpy()
    return found
