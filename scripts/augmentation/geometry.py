"""Mirroring, moving and cropping."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import grid_sample

from .batches import BatchTransform, Floats, Parts, RandBatchTransform


class RandFlipBatchd(RandBatchTransform):
    """Mirror images.

    Args:
        keys: of images ``(N, C, H, W)``.
        prob: probability.
        spatial_axis: 0 swaps top and bottom, 1 left and right.
    """

    def __init__(self, keys: str | Sequence[str], prob: float, spatial_axis: int = 1) -> None:
        super().__init__(keys, prob)
        self.spatial_axis = int(spatial_axis)

    def draw(self, generator: np.random.Generator, shape: tuple[int, int, int]) -> Floats:
        """Draw nothing: whoever is chosen is mirrored."""
        return np.zeros(0)

    def change(self, image: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """Mirror."""
        return image.flip(2 + self.spatial_axis)


class RandAffineBatchd(RandBatchTransform):
    """Turn, scale and shift images about their centre, bilinear, zero outside.

    As in MONAI's ``RandAffine``, a pixel at p (row and column from the centre) takes its value from R (S p + t): the
    grid is scaled by S, shifted by t and turned by R, so that a scale above 1 makes what is seen smaller.

    Args:
        keys: of images ``(N, C, H, W)``.
        prob: probability.
        rotate_range: largest angle either way, in radians.
        scale_range: largest change of the scale of rows and of columns, around 1.
        translate_range: largest shift of rows and of columns either way, in pixels.
    """

    def __init__(
        self,
        keys: str | Sequence[str],
        prob: float,
        rotate_range: float = 0.0,
        scale_range: Sequence[float] = (0.0, 0.0),
        translate_range: Sequence[float] = (0.0, 0.0),
    ) -> None:
        super().__init__(keys, prob)
        self.rotate_range = float(rotate_range)
        self.scale_range = [float(one) for one in scale_range]
        self.translate_range = [float(one) for one in translate_range]

    def draw(self, generator: np.random.Generator, shape: tuple[int, int, int]) -> Floats:
        """Draw angle, shift and scale; return the matrix (2, 3) from centred pixels to `grid_sample`'s coordinates."""
        angle = generator.uniform(-self.rotate_range, self.rotate_range)
        shift = [generator.uniform(-most, most) for most in self.translate_range]
        scale = [1 + generator.uniform(-most, most) for most in self.scale_range]
        turned = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        matrix = turned @ np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]])
        return matrix * (2 / np.array(shape[1:]))[:, None]

    def change(self, image: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """Sample each image on its own grid; sums of products, because a matrix product may be of low precision."""
        rows, columns = (torch.arange(n, device=image.device) - (n - 1) / 2 for n in image.shape[2:])
        rows, columns, matrix = rows[None, :, None], columns[None, None, :], drawn[..., None, None]
        places = [(matrix[:, n, 0] * rows + matrix[:, n, 2]) + matrix[:, n, 1] * columns for n in (1, 0)]
        return grid_sample(image, torch.stack(places, dim=-1), "bilinear", "zeros", align_corners=False)


class CentralCropBatchd(BatchTransform):
    """Cut out the central square; an image that is no larger stays as it is.

    Args:
        keys: of images ``(N, C, H, W)``.
        roi_size: side of the square in pixels.
    """

    def __init__(self, keys: str | Sequence[str], roi_size: int) -> None:
        super().__init__(keys)
        self.roi_size = int(roi_size)

    def __call__(self, parts: Parts, generators: Sequence[np.random.Generator] = ()) -> dict[str, torch.Tensor]:
        """Cut."""
        result = dict(parts)
        for key in self.keys:
            if key in result:
                top, left = (max(int(n) // 2 - self.roi_size // 2, 0) for n in result[key].shape[2:])
                result[key] = result[key][..., top : top + self.roi_size, left : left + self.roi_size]
        return result
