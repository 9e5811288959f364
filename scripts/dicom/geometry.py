"""Where frames lie: directions, planes and positions, all in LPS and mm."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .frames import Frame

SAME_POSITION_MM = 0.05
SAME_DIRECTION = math.cos(math.radians(0.5))
SLACK = 0.01
PLANES = ("sagittal", "coronal", "axial")

Array = NDArray[np.float64]


def same_orientation(first: Sequence[float], second: Sequence[float]) -> bool:
    """Return whether two orientations differ by less than half a degree in rows and in columns."""
    if not first or not second:
        return tuple(first) == tuple(second)
    dots = (sum(a * b for a, b in zip(first[i : i + 3], second[i : i + 3], strict=True)) for i in (0, 3))
    return all(dot > SAME_DIRECTION for dot in dots)


def by_orientation(orientations: Sequence[tuple[float, ...]]) -> list[list[int]]:
    """Cluster orientations: each within half a degree of the smallest of its cluster; returns indices, in order."""
    numbers: dict[tuple[float, ...], list[int]] = defaultdict(list)
    for number, orientation in enumerate(orientations):
        numbers[orientation].append(number)
    clusters: list[tuple[tuple[float, ...], list[int]]] = []
    for orientation in sorted(numbers):
        for smallest, members in clusters:
            if same_orientation(smallest, orientation):
                members += numbers[orientation]
                break
        else:
            clusters.append((orientation, numbers[orientation]))
    return [sorted(members) for _, members in clusters]


@lru_cache(maxsize=1024)
def orthonormal(orientation: tuple[float, ...]) -> bool:
    """Return whether six numbers are two perpendicular unit vectors."""
    if len(orientation) != 6:
        return False
    row, column = orientation[:3], orientation[3:]
    lengths = [math.hypot(*row), math.hypot(*column)]
    dot = sum(a * b for a, b in zip(row, column, strict=True))
    return max(abs(length - 1) for length in lengths) <= SLACK and abs(dot) <= SLACK


@lru_cache(maxsize=1024)
def axes_of(orientation: tuple[float, ...]) -> Array | None:
    """Return row direction, column direction and normal of an ImageOrientationPatient, shape (3, 3), read-only.

    The largest component of the normal is positive. None unless the orientation is orthonormal.
    """
    if not orthonormal(orientation):
        return None
    row, column = np.reshape(orientation, (2, 3))
    lengths = np.linalg.norm([row, column], axis=1)
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    if normal[np.abs(normal).argmax()] < 0:
        normal = -normal
    directions = np.stack([row / lengths[0], column / lengths[1], normal + 0.0])
    directions.flags.writeable = False
    return directions


def one_angle(frames: Sequence[Frame]) -> bool:
    """Return whether frames have one orientation, within half a degree."""
    return len(by_orientation([frame.orientation for frame in frames])) == 1


def mean_axes(frames: Sequence[Frame]) -> Array | None:
    """Return the axes of frames that lie in one plane: the first one's where all agree, else the nearest to the mean.

    Returns:
        As `axes_of`.
    """
    if one_angle(frames):
        return axes_of(frames[0].orientation)
    found = [axes_of(frame.orientation) for frame in frames]
    left, _, right = np.linalg.svd(np.sum([one for one in found if one is not None], axis=0))
    nearest: Array = left @ right  # the rotation nearest to the mean
    return nearest


def plane_of(directions: Array | None) -> tuple[str, float | None]:
    """Name the plane of some axes and the angle, in degrees, of their normal to the nearest axis of the patient."""
    if directions is None:
        return "", None
    nearest = int(np.abs(directions[2]).argmax())
    angle = math.degrees(math.acos(min(1.0, abs(float(directions[2, nearest])))))
    return (PLANES[nearest] if angle <= 45 else "oblique"), angle


def widest_degrees(orientations: Iterable[tuple[float, ...]]) -> float:
    """Return the largest angle between the normals of orientations, in degrees; 0 where there is one, or none."""
    axes = [found for one in sorted(orientations) if (found := axes_of(one)) is not None]
    if len(axes) < 2:
        return 0.0
    normals = np.array(axes)[:, 2]
    return float(np.degrees(np.arccos(np.clip(np.abs(normals @ normals.T), 0, 1).min())))


def centres(frames: Sequence[Frame]) -> Array:
    """Return the middle of each frame, shape (n, 3)."""
    found = []
    for frame in frames:
        directions, facts = axes_of(frame.orientation), frame.facts
        assert directions is not None
        halves = (
            (facts.columns - 1) * (facts.column_spacing_mm or 0) / 2,
            (facts.rows - 1) * (facts.row_spacing_mm or 0) / 2,
        )
        found.append(frame.origin_mm + halves @ directions[:2])
    return np.array(found)


def positions(frames: Sequence[Frame]) -> Array:
    """Return positions along the frames' mean normal, in mm, shape (n,); all 0 where there is no geometry.

    A frame of one orientation with the others is measured at its first pixel; where frames stand at angles, at its
    middle, which alone says where it crosses the neck.
    """
    directions = mean_axes(frames)
    if directions is None or not frames[0].origin_mm:
        return np.zeros(len(frames))
    measured = np.array([frame.origin_mm for frame in frames]) if one_angle(frames) else centres(frames)
    along: Array = measured @ directions[2]
    return along


def places(frames: Sequence[Frame], within_mm: float = SAME_POSITION_MM) -> list[int]:
    """Number the places of frames: those of one orientation less than 0.05 mm apart along their normal share one.

    Args:
        frames: the frames.
        within_mm: distance from which the next place begins, instead of 0.05 mm.
    """
    found = [0] * len(frames)
    count = 0
    for members in by_orientation([frame.orientation for frame in frames]):
        along = positions([frames[number] for number in members])
        order = np.argsort(along, kind="stable")
        further = np.diff(along[order], prepend=-np.inf) >= within_mm
        for number, place in zip(order, count + np.cumsum(further), strict=True):
            found[members[number]] = int(place)
        count += int(further.sum())
    return found


def steps_mm(frames: Sequence[Frame]) -> Array:
    """Return the distances between neighbouring frames of one orientation, in mm."""
    groups = by_orientation([frame.orientation for frame in frames])
    return np.concatenate([np.diff(np.sort(positions([frames[number] for number in group]))) for group in groups])


def overlapping(steps: Array, thickness_mm: float | None) -> NDArray[np.bool_]:
    """Return which distances between neighbouring slices mean that these overlap by more than half."""
    return np.less(steps, (thickness_mm or 0) / 2)


def sideways(origins_mm: Array, along: Array, directions: Array) -> tuple[float, float]:
    """Measure how slices shift in their own plane.

    Args:
        origins_mm: of each slice, shape (n, 3).
        along: its position along the normal, shape (n,).
        directions: see `axes_of`.

    Returns:
        The angle of a steady shift (shear), in degrees, and the largest departure from it, in mm.
    """
    lateral = origins_mm @ directions[:2].T  # (n, 2)
    centred = along - along.mean()
    power = float(centred @ centred)
    slopes = centred @ (lateral - lateral.mean(axis=0)) / power if power else np.zeros(2)
    residual = lateral - lateral.mean(axis=0) - np.outer(centred, slopes)
    return math.degrees(math.atan(float(np.linalg.norm(slopes)))), float(np.linalg.norm(residual, axis=1).max())
