"""Several networks that score as one: the mean of their logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class Ensemble(nn.Module):
    """The mean of the logits of several networks that see the same image.

    Args:
        members: the networks; each maps ``(N, 3, H, W)`` to the same logits ``(N, K)``.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map slices ``(N, 3, H, W)`` to logits ``(N, K)`` in float32."""
        return mean_of([member(image).float() for member in self.members])


def members_of(network: nn.Module) -> list[nn.Module]:
    """Return the networks of an ensemble; of any other network, that network alone."""
    members = getattr(network, "members", None)
    return [network] if members is None else list(members)


def mean_of(values: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the mean of tensors of one shape; a single one as it is."""
    return values[0] if len(values) == 1 else torch.stack(list(values)).mean(0)
