"""A localiser without training: it finds what is bright."""

from __future__ import annotations

import torch
from monai.data import MetaTensor
from torch import nn

from scripts.canal.localiser import Localiser
from scripts.canal.network import CanalNet


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


def bright_canal_net(image_size: int = 64, side_mm: float = 60.0, steepness: float = 30.0) -> CanalNet:
    """The real network with weights that make it answer as `Bright` does, so that a checkpoint can carry it."""
    network = CanalNet((1, 1), image_size, side_mm)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
            if isinstance(layer, nn.ConvTranspose2d):
                layer.weight.data[0] = torch.outer(sides := torch.tensor([0.5, 1.0, 0.5]), sides)  # bilinear
            elif layer.out_channels == 3:
                layer.weight.data[:, 0, 1, 1] = torch.tensor([steepness, 20.0, 20.0])
                layer.bias.data = torch.tensor([0.0, -21.0, -28.0])
            else:
                layer.weight.data[0, 0] = 1 / layer.weight[0, 0].numel()
    return network.eval()
