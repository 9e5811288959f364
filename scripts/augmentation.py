"""Random changes of contrast that carry a network to other sequences and scanners."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform, RandomizableTransform

from .errors import InputError


class RandContrastCurved(RandomizableTransform, MapTransform):
    """Pass the grey values in [0, 1] through a random curve, so that bright tissue may turn dark.

    The curve joins random levels at even steps; half of the curves rise, so that only the contrast changes, the others
    go up and down, as from T2 to another weighting. The result is mixed with the picture by a random share.

    Args:
        keys: keys of images with values in [0, 1], of any shape.
        prob: probability of a curve.
        n_levels: levels that the curve joins.
        rising: share of the curves that rise.
        allow_missing_keys: whether keys may be absent.

    Raises:
        InputError: a setting is out of range.
    """

    def __init__(
        self, keys: Any, prob: float = 0.7, n_levels: int = 6, rising: float = 0.5, allow_missing_keys: bool = False
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        if n_levels < 2 or not 0 <= rising <= 1:
            raise InputError(f"expected n_levels >= 2 and 0 <= rising <= 1, got {n_levels} and {rising}")
        self.n_levels, self.rising = int(n_levels), float(rising)
        self.levels, self.share = np.linspace(0, 1, self.n_levels), 0.0

    def randomize(self, data: Any = None) -> None:
        """Draw a curve, and how much of it is mixed in."""
        super().randomize(None)
        if not self._do_transform:
            return
        levels = self.R.random(self.n_levels)
        if self.R.random() < self.rising:
            levels = levels.cumsum()
            levels /= levels[-1]
        self.levels, self.share = levels, float(self.R.random())

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Change the images under ``keys``, all by the same curve."""
        result = dict(data)
        self.randomize()
        if self._do_transform:
            for key in self.key_iterator(result):
                result[key] = (1 - self.share) * result[key] + self.share * curve(result[key], self.levels)
        return result


def curve(image: torch.Tensor, levels: np.ndarray[Any, np.dtype[np.floating[Any]]]) -> torch.Tensor:
    """Map values in [0, 1] through the line that joins ``levels`` at even steps from 0 to 1."""
    heights = torch.as_tensor(levels, dtype=image.dtype, device=image.device)
    place = image.clamp(0, 1) * (len(heights) - 1)
    below = place.floor().long().clamp(max=len(heights) - 2)
    return heights[below] + (place - below) * (heights[below + 1] - heights[below])
