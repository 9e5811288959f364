"""Changes of contrast and brightness; all treat each pixel alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..errors import InputError
from .batches import BatchTransform, Floats, Parts, RandBatchTransform


class RandGammaBatchd(RandBatchTransform):
    """Raise the grey values of an image, scaled to [0, 1] by its minimum and maximum, to a power.

    Args:
        keys: of images ``(N, C, H, W)``.
        prob: probability.
        gamma: smallest and largest power.
    """

    def __init__(self, keys: str | Sequence[str], prob: float, gamma: Sequence[float]) -> None:
        super().__init__(keys, prob)
        self.gamma = (min(gamma), max(gamma))

    def draw(self, generator: np.random.Generator, shape: tuple[int, int, int]) -> Floats:
        """Draw the power."""
        return np.array(generator.uniform(*self.gamma))

    def change(self, image: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """Apply it between minimum and maximum, which stay."""
        low, high = image.amin((1, 2, 3), keepdim=True), image.amax((1, 2, 3), keepdim=True)
        width = high - low
        return ((image - low) / (width + 1e-7)) ** drawn.view(-1, 1, 1, 1) * width + low


class RandScaleBatchd(RandBatchTransform):
    """Multiply the grey values of an image by a factor near 1.

    Args:
        keys: of images ``(N, C, H, W)``.
        prob: probability.
        factors: largest change of the factor either way.
    """

    def __init__(self, keys: str | Sequence[str], prob: float, factors: float) -> None:
        super().__init__(keys, prob)
        self.factors = float(factors)

    def draw(self, generator: np.random.Generator, shape: tuple[int, int, int]) -> Floats:
        """Draw the factor."""
        return np.array(1 + generator.uniform(-self.factors, self.factors))

    def change(self, image: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """Multiply."""
        return image * drawn.view(-1, 1, 1, 1)


class RandContrastCurveBatchd(RandBatchTransform):
    """Pass the grey values in [0, 1] through a random curve, so that bright tissue may turn dark.

    The curve joins random levels at even steps; half of the curves rise, so that only the contrast changes, the others
    go up and down, as from T2 to another weighting. The result is mixed with the picture by a random share.

    Args:
        keys: of images ``(N, C, H, W)`` with values in [0, 1].
        prob: probability of a curve.
        n_levels: levels that the curve joins.
        rising: share of the curves that rise.

    Raises:
        InputError: a setting is out of range.
    """

    def __init__(self, keys: str | Sequence[str], prob: float = 0.7, n_levels: int = 6, rising: float = 0.5) -> None:
        super().__init__(keys, prob)
        if n_levels < 2 or not 0 <= rising <= 1:
            raise InputError(f"expected n_levels >= 2 and 0 <= rising <= 1, got {n_levels} and {rising}")
        self.n_levels, self.rising = int(n_levels), float(rising)

    def draw(self, generator: np.random.Generator, shape: tuple[int, int, int]) -> Floats:
        """Draw the curve's levels, and before them how much of it is mixed in."""
        levels = generator.random(self.n_levels)
        if generator.random() < self.rising:
            levels = levels.cumsum()
            levels /= levels[-1]
        return np.concatenate([[generator.random()], levels])

    def change(self, image: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """Mix the image with what the curve makes of it."""
        share = drawn[:, 0].view(-1, 1, 1, 1)
        return (1 - share) * image + share * curved(image, drawn[:, 1:])


def curved(image: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """Map values in [0, 1] through lines that join levels at even steps from 0 to 1.

    Args:
        image: ``(N, C, H, W)``; what lies outside [0, 1] is clipped.
        levels: of each sample, ``(N, L)``.
    """
    steps = levels.shape[1] - 1
    place = image.clamp(0, 1) * steps
    below = place.floor().clamp(max=steps - 1)
    index = below.long().flatten(1)
    low, high = (levels.gather(1, index + more).view_as(place) for more in (0, 1))
    return low + (place - below) * (high - low)


class NonNegativeBatchd(BatchTransform):
    """Set what is below black to black: noise and ringing make negative values.

    Args:
        keys: of images ``(N, C, H, W)``.
    """

    def __call__(self, parts: Parts, generators: Sequence[np.random.Generator] = ()) -> dict[str, torch.Tensor]:
        """Clip."""
        return {key: one.clamp_min(0) if key in self.keys else one for key, one in parts.items()}
