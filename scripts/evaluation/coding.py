"""Trial coding: how much of each patient's cord is compressed, in slices and in mm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .estimates import NAN

LARGEST_GAP = 1.5  # times the median spacing of the stack


@dataclass(frozen=True)
class Run:
    """Neighbouring compressed slices.

    Attributes:
        slices: their positions in the input arrays, in order along the normal.
        length_mm: distance between first and last centre plus the slice thickness; NaN without geometry.
    """

    slices: tuple[int, ...]
    length_mm: float


def runs(
    compressed: ArrayLike,
    position_mm: ArrayLike,
    thickness_mm: ArrayLike,
    stacks: ArrayLike,
    millimetres: bool = True,
    nominal_mm: ArrayLike | None = None,
) -> list[Run]:
    """Find the runs of compressed slices; a run ends at its stack's border and at a gap above 1.5 x the median spacing.

    Where even the median is above 1.5 x the nominal spacing, most slices are missing, and the nominal spacing counts.

    Args:
        compressed: whether each slice is called compressed, shape (S,).
        position_mm: centre of each slice along its stack's normal, shape (S,); slice indices if ``millimetres`` is
            false.
        thickness_mm: slice thickness, shape (S,).
        stacks: stack (series) of each slice, shape (S,).
        millimetres: whether positions are in mm; else the lengths are NaN.
        nominal_mm: distance that neighbouring slices of the stack should have, shape (S,); NaN where it is not known.
    """
    call, place = np.asarray(compressed, dtype=bool), np.asarray(position_mm, dtype=np.float64)
    thick, stack = np.asarray(thickness_mm, dtype=np.float64), np.asarray(stacks)
    nominal = np.full(len(call), NAN) if nominal_mm is None else np.asarray(nominal_mm, dtype=np.float64)
    order = np.lexsort((place, stack))
    found = []
    for members in np.split(order, np.flatnonzero(stack[order][1:] != stack[order][:-1]) + 1):
        gaps = np.diff(place[members])
        spacing = np.median(gaps[gaps > 0]) if millimetres and (gaps > 0).any() else 1.0
        if millimetres and len(members) and spacing > LARGEST_GAP * nominal[members[0]]:
            spacing = nominal[members[0]]
        breaks = (gaps > LARGEST_GAP * spacing) | (call[members][1:] != call[members][:-1])
        for run in np.split(members, np.flatnonzero(breaks) + 1):
            if len(run) and call[run[0]]:
                ends_mm = (thick[run[0]] + thick[run[-1]]) / 2
                length = place[run[-1]] - place[run[0]] + ends_mm if millimetres else NAN
                found.append(Run(tuple(run.tolist()), float(length)))
    return found


@dataclass(frozen=True)
class Coding:
    """What a trial records of one patient.

    Attributes:
        n_slices: evaluable slices.
        n_compressed: of them called compressed.
        fraction: ``n_compressed / n_slices``.
        expected_count: sum of the calibrated probabilities; NaN without.
        n_runs: runs of compressed slices.
        longest_run_slices: slices of the run with most slices; 0 without compression.
        longest_run_mm: length of the longest run; 0 without compression, NaN without geometry.
    """

    n_slices: int
    n_compressed: int
    fraction: float
    expected_count: float
    n_runs: int
    longest_run_slices: int
    longest_run_mm: float


def code_patient(
    compressed: ArrayLike,
    probability: ArrayLike,
    position_mm: ArrayLike,
    thickness_mm: ArrayLike,
    stacks: ArrayLike,
    millimetres: bool = True,
    nominal_mm: ArrayLike | None = None,
) -> Coding:
    """Code one patient.

    Args:
        compressed: whether each slice is (called) compressed, shape (S,).
        probability: calibrated probability, or the label for the reference, shape (S,).
        position_mm: centre of each slice along its stack's normal, shape (S,); slice indices if not ``millimetres``.
        thickness_mm: slice thickness, shape (S,).
        stacks: stack (series) of each slice, shape (S,).
        millimetres: whether positions are in mm.
        nominal_mm: see `runs`.
    """
    call = np.asarray(compressed, dtype=bool)
    found = runs(call, position_mm, thickness_mm, stacks, millimetres, nominal_mm)
    none_mm = 0.0 if millimetres else NAN
    return Coding(
        len(call),
        int(call.sum()),
        float(call.mean()) if len(call) else NAN,
        float(np.sum(probability)),
        len(found),
        max((len(run.slices) for run in found), default=0),
        max((run.length_mm for run in found), default=none_mm),
    )
