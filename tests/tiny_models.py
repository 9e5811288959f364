"""Small series and checkpoints for tests of inference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from dicom_fixtures import write_series
from torch import nn

from scripts import checkpoints
from scripts.networks import CordCompressionNet

SIZE = 96
SETTINGS = {"architecture": "resnet18", "head": [8], "image_size": 64, "crop_fraction": 1.0, "profile": "imagenet"}


def checkpoint(path: Path, phantom: bool = False, seed: int = 0) -> Path:
    """Write a network with random weights."""
    torch.manual_seed(seed)
    network = CordCompressionNet(hidden=SETTINGS["head"], architecture="resnet18")
    checkpoints.save(path, network, SETTINGS, trained_on={"phantom": phantom, "patients": 3}, epoch=1)
    return path


def picture(seed: int, size: int = SIZE) -> np.ndarray:
    """Give a 12-bit slice with structure, shape (size, size)."""
    noise = np.random.default_rng(seed).normal(size=(size, size)).cumsum(0).cumsum(1)
    return np.interp(noise, (noise.min(), noise.max()), (50, 3000)).astype("<u2")


def write_t2(folder: Path, patient: str = "P1", series: str = "T2", n: int = 4, **changes: Any) -> list[Path]:
    """Write an axial T2 series of 96 x 96 mm that can be evaluated."""
    defaults = {
        "Rows": SIZE,
        "Columns": SIZE,
        "PixelSpacing": [1.0, 1.0],
        "SliceThickness": "2.5",
        "PixelData": lambda index: picture(index + 100 * len(series)).tobytes(),
    }
    return write_series(folder, patient, series, n, **{**defaults, **changes})


class Brightness(nn.Module):
    """A network that answers with the mean brightness, so that only bright places can speak for it."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential()
        self.features.add_module("layer4", nn.AvgPool2d(8))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(3, 1)
        nn.init.ones_(self.head.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(self.features(x)))


LOADED = {"_target_": "tiny_models.loaded", "network": "@network", "weights": "@checkpoint"}
"""What inference.json loads, where a test brings a network without a checkpoint."""


def loaded(network: nn.Module, weights: Any) -> Any:
    """Return a network and facts of weights that it never had."""
    from scripts.ensembles import Loaded

    return Loaded(network, weights)
