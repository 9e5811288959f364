"""The canal network: one small U-Net that finds the canal in a slice, and outlines canal and cord."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets import UNet
from torch import nn

from ..errors import InputError

OUTPUTS = ("centre", "canal", "cord")
"""The network's outputs, in order: logits of the centre's map, and of the masks of canal (cord included) and cord."""


class CanalNet(nn.Module):
    """MONAI's U-Net on grey slices; it sees the whole field of view as well as a crop around the canal.

    The first output becomes a map of the canal's centre by a softmax over the slice (`centre_of`), the other two
    masks by a sigmoid.

    Args:
        channels: feature maps of each level, the finest first; each level halves the resolution.
        image_size: side in pixels of the slices that it is trained on.
        side_mm: side of the crop that it is trained on.

    Shapes: ``(N, 1, S, S)`` float32 in [0, 1] to logits ``(N, 3, S, S)``; S is a multiple of ``2 ** (levels - 1)``.
    """

    def __init__(
        self, channels: Sequence[int] = (16, 32, 64, 96, 128), image_size: int = 128, side_mm: float = 60.0
    ) -> None:
        super().__init__()
        self.image_size, self.side_mm = int(image_size), float(side_mm)
        if len(channels) < 2 or any(width < 1 for width in channels):
            raise InputError(f"channels must be two or more positive numbers, got {list(channels)}")
        step = 2 ** (len(channels) - 1)
        if image_size < step or image_size % step:
            raise InputError(f"image_size must be a multiple of {step} with {len(channels)} channels, got {image_size}")
        self.unet = UNet(
            spatial_dims=2,
            in_channels=1,
            out_channels=len(OUTPUTS),
            channels=tuple(channels),
            strides=(2,) * (len(channels) - 1),
            num_res_units=1,
            norm="BATCH",
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map slices ``(N, 1, S, S)`` to logits ``(N, 3, S, S)``."""
        logits: torch.Tensor = self.unet(image)
        return logits


def centre_of(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the expected position of the centre, by soft-argmax.

    Args:
        logits: of the centre, ``(N, H, W)``.

    Returns:
        positions ``(N, 2)`` float64 as (row, column) in pixels, 0 at the first pixel's centre; and the map
        ``(N, H, W)``, which sums to 1.
    """
    mass = logits.double().flatten(1).softmax(1).view(logits.shape)
    rows, columns = (torch.arange(n, dtype=mass.dtype, device=mass.device) for n in logits.shape[1:])
    return torch.stack([(mass.sum(2) * rows).sum(1), (mass.sum(1) * columns).sum(1)], dim=1), mass


def mass_within(mass: torch.Tensor, centre: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
    """Compute how much of a map lies near its centre: the confidence that the centre is one.

    Args:
        mass: ``(N, H, W)``, each sums to 1.
        centre: ``(N, 2)`` as (row, column).
        radius: in pixels, as (rows, columns).

    Returns:
        shares ``(N,)``.
    """
    rows, columns = (
        (torch.arange(n, dtype=mass.dtype, device=mass.device) - centre[:, axis, None]) / radius[axis]
        for axis, n in enumerate(mass.shape[1:])
    )
    near = rows[:, :, None] ** 2 + columns[:, None, :] ** 2 <= 1
    return (mass * near).sum((1, 2))
