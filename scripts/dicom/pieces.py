"""A stack in pieces that each lie on one regular grid, so that one matrix says where every pixel is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .defects import WIDE
from .geometry import SAME_POSITION_MM, Array, axes_of
from .stacks import Stack


@dataclass(frozen=True)
class Piece:
    """Slices of a stack that lie on one regular grid.

    Attributes:
        slices: their numbers in the stack, ascending.
        places: place of each along the grid, from 0; places without a slice are gaps.
        affine: matrix from (column, row, place) to mm, LPS, shape (4, 4).
    """

    slices: tuple[int, ...]
    places: tuple[int, ...]
    affine: Array


def pieces(stack: Stack) -> list[Piece]:
    """Divide a stack into as few pieces as it takes to place every pixel within 0.05 mm, the most caudal first.

    A piece goes on over a gap of whole slices, as long as it has no more empty places than slices. Slices at another
    angle, even by a fraction of a degree, or after a gap of another length begin another piece.
    """
    corners = slice_corners(stack)
    whole = on_grid(stack, corners, range(len(corners)))
    if whole is not None:
        return [whole]
    found = [single(stack, 0)]
    for number, one in enumerate(stack.slices[1:], 1):
        reach_mm = one.position_mm - WIDE * (stack.spacing_mm or 0)
        for index in range(len(found) - 1, -1, -1):
            # a piece that another has interrupted goes on only where no slice is missing
            if index < len(found) - 1 and stack.slices[found[index].slices[-1]].position_mm < reach_mm:
                continue
            longer = on_grid(stack, corners, (*found[index].slices, number))
            if longer:
                found[index] = longer
                break
        else:
            found.append(single(stack, number))
    return found


def slice_corners(stack: Stack) -> Array:
    """Return the centres of the four corner pixels of every slice, LPS, shape (slices, 4, 3)."""
    origins = np.array([one.origin_mm for one in stack.slices])
    width, height = (stack.columns - 1) * (stack.column_spacing_mm or 0), (stack.rows - 1) * (stack.row_spacing_mm or 0)
    right = width * np.array([one.row_direction for one in stack.slices])
    down = height * np.array([one.column_direction for one in stack.slices])
    return np.stack([origins, origins + right, origins + down, origins + right + down], axis=1)


def on_grid(stack: Stack, corners: Array, numbers: Sequence[int]) -> Piece | None:
    """Return some slices as one piece; None where they lie on no regular grid."""
    if len(numbers) == 1:
        return single(stack, numbers[0])
    moved = corners[list(numbers)] - corners[numbers[0]]
    along = np.linalg.norm(moved.mean(axis=1), axis=1)
    unit = float(np.diff(along).min())
    if unit < SAME_POSITION_MM or stack.spacing_mm is None:
        return None
    if len(numbers) == 2 and unit > WIDE * stack.spacing_mm:
        if abs(unit - round(unit / stack.spacing_mm) * stack.spacing_mm) > SAME_POSITION_MM:
            return None
        unit = stack.spacing_mm
    places = np.rint(along / unit).astype(int)
    step = moved[-1, 0] / places[-1]
    off_mm = np.linalg.norm(moved - (places[:, None] * step)[:, None], axis=2).max()
    if off_mm > SAME_POSITION_MM or places[-1] + 1 > 2 * len(numbers) or len(set(places.tolist())) < len(numbers):
        return None
    return Piece(tuple(numbers), tuple(places.tolist()), affine_from(stack, numbers[0], step))


def single(stack: Stack, number: int) -> Piece:
    """Return one slice as a piece."""
    one = stack.slices[number]
    directions = axes_of((*one.row_direction, *one.column_direction))
    assert directions is not None
    return Piece((number,), (0,), affine_from(stack, number, directions[2] * (stack.thickness_mm or 1.0)))


def affine_from(stack: Stack, number: int, step: Array) -> Array:
    """Return the matrix of a grid that begins with one slice."""
    one = stack.slices[number]
    affine = np.eye(4)
    affine[:3, 0] = np.multiply(one.row_direction, stack.column_spacing_mm or 1.0)
    affine[:3, 1] = np.multiply(one.column_direction, stack.row_spacing_mm or 1.0)
    affine[:3, 2], affine[:3, 3] = step, one.origin_mm
    return affine
