"""What all changes of a batch have in common: who is changed, by what, and that it costs few operations.

A batch is a dict of images ``(N, C, H, W)``, e.g. ``image`` and ``outlines``. Every sample has a random generator of
its own, made from its seed, so that what it gets depends neither on the other samples of its batch nor on the device.
The parameters are drawn on the CPU, and the samples that are changed are changed together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform
from monai.utils import ensure_tuple
from numpy.typing import NDArray

from ..errors import InputError
from ..inferers import tensor_float_32
from ..transforms import to_device

Floats = NDArray[np.floating[Any]]
Parts = Mapping[str, torch.Tensor]


class BatchTransform(ABC):
    """A change of a batch.

    Args:
        keys: of the images that are changed; those that a batch lacks are skipped.
    """

    def __init__(self, keys: str | Sequence[str]) -> None:
        self.keys: tuple[str, ...] = ensure_tuple(keys)

    @abstractmethod
    def __call__(self, parts: Parts, generators: Sequence[np.random.Generator]) -> dict[str, torch.Tensor]:
        """Return the batch with its images changed.

        Args:
            parts: images ``(N, C, H, W)``.
            generators: the random generator of each sample.
        """


class RandBatchTransform(BatchTransform):
    """A change that a sample gets with some probability; all of its images get the same.

    Args:
        keys: of the images that are changed.
        prob: probability of the change.

    Raises:
        InputError: the probability is none.
    """

    def __init__(self, keys: str | Sequence[str], prob: float) -> None:
        super().__init__(keys)
        if not 0 <= prob <= 1:
            raise InputError(f"prob must be from 0 to 1, got {prob}")
        self.prob = float(prob)

    @abstractmethod
    def draw(self, generator: np.random.Generator, shape: tuple[int, int, int]) -> Floats:
        """Draw what a sample of shape ``(C, H, W)`` gets: an array of the same shape for every sample."""

    @abstractmethod
    def change(self, image: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """Change images ``(n, C, H, W)``, each by what was drawn for it, float32 ``(n, ...)`` on their device."""

    def __call__(self, parts: Parts, generators: Sequence[np.random.Generator]) -> dict[str, torch.Tensor]:
        """Choose samples, draw what they get, and change them."""
        result = dict(parts)
        present = [key for key in self.keys if key in result]
        chosen = [number for number, generator in enumerate(generators) if generator.random() < self.prob]
        if not present or not chosen:
            return result
        first = result[present[0]]
        shape = (int(first.shape[1]), int(first.shape[2]), int(first.shape[3]))
        values = np.stack([self.draw(generators[number], shape) for number in chosen]).astype(np.float32)
        drawn = to_device(torch.from_numpy(values), first.device)
        rows = to_device(torch.tensor(chosen), first.device)
        for key in present:
            image = result[key]
            if len(chosen) == len(image):
                result[key] = self.change(image, drawn)
            else:
                result[key] = image.index_copy(0, rows, self.change(image.index_select(0, rows), drawn))
        return result


class Augmentation:
    """Apply changes one after the other to a batch, each sample's drawn from its seed.

    Args:
        transforms: the changes, in their order.

    Raises:
        InputError: one of them is MONAI's, which change one sample at a time.
    """

    def __init__(self, transforms: Sequence[BatchTransform]) -> None:
        for one in transforms:
            if isinstance(one, Transform):
                raise InputError(
                    f"{type(one).__name__} changes one sample at a time, but augmentation changes whole batches; use "
                    "one of scripts.augmentation"
                )
        self.transforms = list(transforms)

    def __call__(self, parts: Parts, seeds: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        """Return the batch with its images changed.

        Args:
            parts: images ``(N, C, H, W)``.
            seeds: the seed of each sample: whole numbers, none negative.
        """
        generators = [np.random.default_rng(list(seed)) for seed in seeds]
        result = dict(parts)
        with tensor_float_32(False):
            for transform in self.transforms:
                result = transform(result, generators)
        return result
