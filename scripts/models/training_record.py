"""What a training was made with, read off its own parts, for the checkpoint and every report of it."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.optim import Optimizer


def training_record(
    pretrained: str | None,
    optimizer: Optimizer,
    batch_size: int,
    dropout: float,
    max_epochs: int,
    min_epochs: int,
    patience: int,
    augmentation: Any,
) -> dict[str, Any]:
    """Collect the settings of a training that the weights themselves do not show; plain values only.

    Args:
        pretrained: name of the weights to begin with; None for random ones.
        optimizer: whose learning rate is that at the beginning.
        batch_size: slices of a step, over all processes.
        dropout: of the head.
        max_epochs: epochs at most.
        min_epochs: epochs at least.
        patience: epochs without a lower validation loss after which it stops.
        augmentation: a `scripts.augmentation.Augmentation`.
    """
    betas = optimizer.defaults.get("betas")
    return {
        "pretrained": "none" if pretrained is None else str(pretrained),
        "optimizer": type(optimizer).__name__,
        "learning_rate": float(optimizer.defaults["lr"]),
        "beta1": float(betas[0]) if betas else None,
        "batch_size": int(batch_size),
        "dropout": float(dropout),
        "max_epochs": int(max_epochs),
        "min_epochs": int(min_epochs),
        "patience": int(patience),
        "augmentation": [in_words(one) for one in augmentation.transforms if hasattr(one, "prob")],
    }


def in_words(transform: object) -> str:
    """Name a random change, how often it is applied, and its ranges: ``RandFlipBatchd: prob 0.5, spatial_axis 1``."""
    kept = {name: numbers(vars(transform).get(name)) for name in inspect.signature(type(transform)).parameters}
    return f"{type(transform).__name__}: " + ", ".join(f"{name} {text}" for name, text in kept.items() if text)


def numbers(value: Any) -> str:
    """Write a number, or the ends of a range; what is the same along all axes once. Empty for anything else."""
    several: Sequence[Any] = value if isinstance(value, tuple | list) else (value,)
    if not all(isinstance(one, int | float | np.number) and not isinstance(one, bool) for one in several):
        return ""
    return " to ".join(dict.fromkeys(f"{one:.4g}" for one in several))
