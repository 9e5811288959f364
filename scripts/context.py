"""Neighbouring slices in the channels of a slice, so that the network sees what lies below and above."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform
from numpy.typing import NDArray

from .dicom.loaded import slice_geometry_mm
from .errors import InputError

LARGEST_STEP = 1.5
"""Slices farther apart than this many times the median distance of their stack are no neighbours."""


class NeighbourSlicesd(MapTransform):
    """Turn ``(1, H, W, D)`` into ``(3, H, W, D)``: the slice below, the slice itself, the slice above.

    At the end of a stack, and beside a gap, the slice itself stands for its neighbour. What follows in the chain crops
    and scales the three alike, as the middle one asks for.

    Args:
        keys: keys of oriented images, slices from caudal to cranial.
        context: neighbours on each side: 0 leaves the image as it is, 1 adds one.

    Raises:
        InputError: ``context`` is neither 0 nor 1.
    """

    def __init__(self, keys: Any, context: int = 0) -> None:
        super().__init__(keys)
        if context not in (0, 1) or isinstance(context, bool):
            raise InputError(f"context must be 0 (the slice alone) or 1 (with its two neighbours), got {context!r}")
        self.context = int(context)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the neighbours to the images under ``keys``."""
        result = dict(data)
        for key in self.key_iterator(result) if self.context else ():
            image = result[key]
            below, above = neighbours(slice_geometry_mm(image)[0])
            grey = image.as_tensor()[0]
            channels = torch.stack([grey[..., below], grey, grey[..., above]])
            result[key] = MetaTensor(channels, meta=image.meta, applied_operations=image.applied_operations)
        return result


def neighbours(position_mm: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the slice below and the slice above each slice of a stack; the slice itself where there is none.

    Args:
        position_mm: position of each slice along the normal, in the order of the slices, shape (D,).
    """
    own = np.arange(len(position_mm))
    step_mm = np.abs(np.diff(position_mm))
    beside = step_mm <= LARGEST_STEP * np.median(step_mm) if len(step_mm) else np.zeros(0, bool)
    below, above = own.copy(), own.copy()
    below[1:][beside] -= 1
    above[:-1][beside] += 1
    return below, above
