"""Where frames lie: directions, planes and positions, all in LPS and mm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from .frames import Frame

SAME_POSITION_MM = 0.05
SAME_DIRECTION = math.cos(math.radians(0.5))
SLACK = 0.01
PLANES = ("sagittal", "coronal", "axial")


def same_orientation(first: Sequence[float], second: Sequence[float]) -> bool:
    """Return whether two orientations differ by less than half a degree in rows and in columns."""
    if not first or not second:
        return tuple(first) == tuple(second)
    dots = (sum(a * b for a, b in zip(first[i : i + 3], second[i : i + 3], strict=True)) for i in (0, 3))
    return all(dot > SAME_DIRECTION for dot in dots)


@lru_cache(maxsize=1024)
def orthonormal(orientation: tuple[float, ...]) -> bool:
    """Return whether six numbers are two perpendicular unit vectors."""
    if len(orientation) != 6:
        return False
    row, column = orientation[:3], orientation[3:]
    lengths = [math.hypot(*row), math.hypot(*column)]
    dot = sum(a * b for a, b in zip(row, column, strict=True))
    return max(abs(length - 1) for length in lengths) <= SLACK and abs(dot) <= SLACK


def axes(frame: Frame) -> np.ndarray | None:
    """Return row direction, column direction and normal, shape (3, 3), read-only; None unless they are orthonormal."""
    return axes_of(frame.orientation)


@lru_cache(maxsize=1024)
def axes_of(orientation: tuple[float, ...]) -> np.ndarray | None:
    """Return the axes of an ImageOrientationPatient."""
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


def plane_of(frame: Frame) -> tuple[str, float | None]:
    """Name the plane of a frame and its angle, in degrees, to that plane."""
    directions = axes(frame)
    if directions is None:
        return "", None
    nearest = int(np.abs(directions[2]).argmax())
    angle = math.degrees(math.acos(min(1.0, abs(float(directions[2, nearest])))))
    return (PLANES[nearest] if angle <= 45 else "oblique"), angle


def positions(frames: Sequence[Frame]) -> np.ndarray:
    """Return positions along the first frame's normal, in mm, shape (n,); all 0 where there is no geometry."""
    directions = axes(frames[0])
    if directions is None or not frames[0].origin_mm:
        return np.zeros(len(frames))
    return np.array([frame.origin_mm for frame in frames]) @ directions[2]


def n_shared(frames: Sequence[Frame]) -> int:
    """Count slices that lie where another one lies."""
    return int((np.diff(np.sort(positions(frames))) < SAME_POSITION_MM).sum()) if len(frames) > 1 else 0


def sideways(frames: Sequence[Frame], along: np.ndarray, directions: np.ndarray) -> tuple[float, float]:
    """Measure how slices shift in their own plane.

    Returns:
        The angle of a steady shift (shear), in degrees, and the largest departure from it, in mm.
    """
    lateral = np.array([frame.origin_mm for frame in frames]) @ directions[:2].T  # (n, 2)
    centred = along - along.mean()
    power = float(centred @ centred)
    slopes = centred @ (lateral - lateral.mean(axis=0)) / power if power else np.zeros(2)
    residual = lateral - lateral.mean(axis=0) - np.outer(centred, slopes)
    return math.degrees(math.atan(float(np.linalg.norm(slopes)))), float(np.linalg.norm(residual, axis=1).max())
