"""The class-weighted loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .errors import InputError


def weighted_bce(pos_weight: float = 3.8) -> torch.nn.BCEWithLogitsLoss:
    """Return the binary cross-entropy on logits in which a compressed slice counts ``pos_weight`` times.

    Source: Merali et al. 2021, Methods (3.8 for compressed, 1 for not compressed).
    """
    if not pos_weight > 0:
        raise InputError(f"pos_weight must be positive, got {pos_weight}")
    return torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor([float(pos_weight)]))


def counted_pos_weight(labels: Sequence[int]) -> float:
    """Return the ratio of slices without to slices with compression, at which both classes weigh the same.

    Raises:
        InputError: there is only one class.
    """
    positive = sum(labels)
    if not 0 < positive < len(labels):
        raise InputError(
            f"training needs both classes, but {positive} of {len(labels)} slices are compressed; check the training "
            "section of the datalist"
        )
    return (len(labels) - positive) / positive
