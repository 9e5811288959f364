"""What a benchmark is given, what it finds, and the goal that a finding is held against."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch


class Options(NamedTuple):
    """What a benchmark is given.

    Attributes:
        pairs: pairs of a run of each piece of work, at least 8.
        slices: how much there is to do, see the table in `bundle.benchmarks.command`.
        image_size: side of the network's input in pixels.
        architecture: name of the trunk, see `scripts.networks.CordCompressionNet`.
        views: whether to measure the 18 views, too (heatmaps).
        device: where the network runs.
        folder: an empty folder for files; it goes with the benchmark.
    """

    pairs: int
    slices: int
    image_size: int
    architecture: str
    views: bool
    device: torch.device
    folder: Path


class Row(NamedTuple):
    """One finding.

    Attributes:
        label: what was measured.
        value: the number; None where this machine cannot measure it.
        unit: of the number, e.g. ``times plain``.
        note: what else belongs to it; why there is no number.
    """

    label: str
    value: float | None
    unit: str
    note: str = ""


class Goal(NamedTuple):
    """The limit of a row, and whether the row is to stay below it or to reach it."""

    limit: float
    at_most: bool = True

    def met(self, value: float) -> bool:
        """Return whether a value is at the limit or on its good side."""
        return value <= self.limit if self.at_most else value >= self.limit

    def __str__(self) -> str:
        return f"at {'most' if self.at_most else 'least'} {self.limit:g}"


Find = Callable[[Options], Iterator[Row]]
"""A benchmark: yields each finding as soon as it is made."""
