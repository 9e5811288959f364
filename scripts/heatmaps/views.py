"""The 18 views of a slice for test-time averaging and evidence hotspots: nine shifts, each as it is and mirrored.

Source: Jamaludin et al. 2016, MICCAI, doi:10.1007/978-3-319-46723-8_20 (SpineNet), which averages predictions and
saliency maps over shifted and mirrored copies. Our shifts are 5 % of the side, as far as training shifts slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn.functional import pad

SHIFT = 0.05


class View(NamedTuple):
    """One way to look at a slice: shifted by whole pixels (zeros come in), then mirrored left to right or not."""

    down: int
    right: int
    mirrored: bool

    def apply(self, image: torch.Tensor) -> torch.Tensor:
        """Make this view of images ``(..., H, W)``."""
        shifted = shift(image, self.down, self.right)
        return shifted.flip(-1) if self.mirrored else shifted

    def undo(self, heatmap: torch.Tensor) -> torch.Tensor:
        """Map what belongs to this view, ``(..., H, W)``, back onto the slice; zero where the view did not look."""
        return shift(heatmap.flip(-1) if self.mirrored else heatmap, -self.down, -self.right)


def shift(image: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """Shift images ``(..., H, W)`` by whole pixels; zeros come in."""
    return pad(image, [right, -right, down, -down])


def all_views(height: int, width: int) -> list[View]:
    """List the 18 views of a slice of this size; the first is the slice itself."""
    down, right = round(SHIFT * height), round(SHIFT * width)
    shifts = [(y, x) for y in (0, -down, down) for x in (0, -right, right)]
    return [View(y, x, mirrored) for mirrored in (False, True) for y, x in shifts]


def map_back(heatmaps: Sequence[torch.Tensor], views: Sequence[View]) -> torch.Tensor:
    """Average the heat maps ``(N, H, W)`` of the views on the slice, each place over the views that saw it."""
    total = sum(view.undo(heatmap) for view, heatmap in zip(views, heatmaps, strict=True))
    seen = sum(view.undo(torch.ones_like(heatmap)) for view, heatmap in zip(views, heatmaps, strict=True))
    return torch.as_tensor(total) / torch.as_tensor(seen)
