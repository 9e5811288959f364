"""Checkpoints and datalists of version 0.2.0 keep loading, and keep their logits and maps."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import numpy as np
import pytest
import torch

from scripts import checkpoints, datalists
from scripts.heatmaps.grad_cam import grad_cam
from scripts.inferers import PrecisionInferer
from scripts.networks import CordCompressionNet
from scripts.records import SECTIONS

DATA = Path(__file__).parent / "data" / "v0_2_0"
SETTINGS = checkpoints.describe("resnet18", [16], 64, 0.5, "imagenet")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("v0_2_0") / "model.pt"
    path.write_bytes(lzma.decompress((DATA / "model.pt.xz").read_bytes()))
    return path


def same(found: torch.Tensor, expected: np.ndarray, exact: bool) -> bool:
    if exact:
        return torch.equal(found, torch.from_numpy(expected))
    return torch.allclose(found, torch.from_numpy(expected), rtol=1e-3, atol=1e-6)


def test_a_checkpoint_gives_the_logits_and_maps_it_gave(checkpoint):
    expected = np.load(DATA / "expected.npz")
    build = torch.__version__, torch.backends.cpu.get_cpu_capability()
    exact = build == (str(expected["torch"]), str(expected["cpu"]))
    network = CordCompressionNet([16], architecture="resnet18").eval()
    weights = checkpoints.load_network(checkpoint, network, SETTINGS)
    assert (weights["trained_on_phantom"], weights["epoch"], weights["pos_weight"]) == (True, 2, 3.8)
    assert weights["training_precision"] is None
    image = torch.from_numpy(np.random.default_rng(1).random((4, 3, 64, 64), dtype=np.float32))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            assert same(PrecisionInferer("fp32")(image, network), expected["logits"], exact)
        for layer in ("layer3", "layer4"):
            for sign in (1, -1):
                assert same(grad_cam(network, image, layer, sign=sign)[1], expected[f"{layer}_{sign}"], exact)
    finally:
        torch.set_num_threads(threads)


def test_a_datalist_loads_as_it_was_written(tmp_path):
    content = json.loads((DATA / "datalist.json").read_text())
    (tmp_path / "datalist.json").write_bytes((DATA / "datalist.json").read_bytes())
    for section in SECTIONS:
        for entry in content[section]:
            image = tmp_path / entry["image"]
            image.parent.mkdir(parents=True, exist_ok=True)
            image.touch()
        loaded = datalists.load(tmp_path / "datalist.json", section)
        assert loaded == [
            {**entry, "image": str(tmp_path / entry["image"]), "phantom": True} for entry in content[section]
        ]
    assert datalists.datalist_info(tmp_path / "datalist.json")["seed"] == 5
