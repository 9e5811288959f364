"""A localiser without training: it finds what is bright."""

from __future__ import annotations

import torch
from monai.data import MetaTensor
from torch import nn

from scripts.canal.localiser import Localiser


class Bright(nn.Module):
    """Answers with maps that rise with brightness; what is bright is canal and cord, too."""

    def __init__(self, image_size: int, side_mm: float, steepness: float = 200.0) -> None:
        super().__init__()
        self.image_size, self.side_mm = image_size, side_mm
        self.steepness = nn.Parameter(torch.tensor(steepness))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([image * self.steepness, image * 20 - 10, image * 20 - 14], dim=1)


def bright_localiser(image_size: int = 64, side_mm: float = 40.0) -> Localiser:
    return Localiser(Bright(image_size, side_mm))


def spots(
    places: list[tuple[float, float] | None], size: tuple[int, int] = (120, 90), mm: tuple[float, float] = (1.0, 1.0)
) -> MetaTensor:
    """An oriented image with a soft spot of 6 mm in every slice, at (row, column); none where the place is None."""
    rows, columns = (torch.arange(n, dtype=torch.float64) for n in size)
    slices = []
    for place in places:
        one = torch.zeros(size, dtype=torch.float64)
        if place is not None:
            away = ((rows[:, None] - place[0]) * mm[0]) ** 2 + ((columns[None] - place[1]) * mm[1]) ** 2
            one = torch.exp(-away / (2 * 6.0**2))
        slices.append(one)
    affine = torch.diag(torch.tensor([*mm, 3.0, 1.0], dtype=torch.float64))
    return MetaTensor(torch.stack(slices, -1)[None].float() * 1000, affine=affine)
