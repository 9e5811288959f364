"""Axial series of every geometry that hospitals make: gaps, blocks, angles, fans, drifts, tilts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from dicom_fixtures import write_series

PIXEL_MM = 5.0
SPACING_MM = 3.3


def turned(degrees: float, about: int = 0) -> np.ndarray:
    """Give the rotation about an axis of the patient."""
    angle = np.radians(degrees)
    found = np.eye(3)
    one, other = [axis for axis in range(3) if axis != about]
    found[one, one] = found[other, other] = np.cos(angle)
    found[one, other], found[other, one] = -np.sin(angle), np.sin(angle)
    return found


def heights(rng: np.random.Generator) -> np.ndarray:
    """Give the heights of evenly spaced slices."""
    return SPACING_MM * np.arange(rng.integers(6, 12)) + rng.uniform(-40, 40)


def even(rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    tilt = turned(rng.uniform(-25, 25)) @ turned(rng.uniform(-10, 10), 1)
    return [(tilt @ [0, 0, z], tilt) for z in heights(rng)]


def missing(rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    whole = even(rng)
    del whole[int(rng.integers(1, len(whole) - 1))]
    return whole


def blocks(rng: np.random.Generator, gap_mm: float) -> list[tuple[np.ndarray, np.ndarray]]:
    tilt = turned(rng.uniform(-25, 25))
    z = heights(rng)
    z[len(z) // 2 :] += gap_mm
    return [(tilt @ [0, 0, one], tilt) for one in z]


def angled(rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Three stacks along three discs, whose outer slices may cross in the neck's front and back."""
    found = []
    for middle, degrees in zip((-16, 0, 16), sorted(rng.uniform(-25, 25, 3)), strict=True):
        tilt = turned(degrees)
        found += [
            (np.array([0, 3.0, middle]) + tilt @ [0, 0, SPACING_MM * step], tilt) for step in (-1.5, -0.5, 0.5, 1.5)
        ]
    return found


def fan(rng: np.random.Generator, degrees: float) -> list[tuple[np.ndarray, np.ndarray]]:
    start = rng.uniform(-15, 0)
    return [(np.array([0, 0, z]), turned(start + degrees * number)) for number, z in enumerate(heights(rng))]


def gantry(rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    shear = rng.uniform(0.1, 0.3)
    return [(np.array([0, shear * z, z]), np.eye(3)) for z in heights(rng)]


GEOMETRIES: dict[str, Callable[[np.random.Generator], list[tuple[np.ndarray, np.ndarray]]]] = {
    "even": even,
    "missing slice": missing,
    "gap of whole slices": lambda rng: blocks(rng, SPACING_MM * rng.integers(1, 4)),
    "gap of a fraction": lambda rng: blocks(rng, SPACING_MM * rng.uniform(0.2, 0.8)),
    "long gap": lambda rng: blocks(rng, SPACING_MM * 40),
    "stacks along discs": angled,
    "each slice at an angle": lambda rng: fan(rng, rng.uniform(2, 4)),
    "slow drift": lambda rng: fan(rng, 0.3),
    "very slow drift": lambda rng: fan(rng, 0.03),
    "gantry tilt": gantry,
}


def write_geometry(
    folder: Path, slices: list[tuple[np.ndarray, np.ndarray]], series: str = "G", **changes: Any
) -> list[Path]:
    """Write a series of 160 x 160 mm slices, each with its middle and its rotation from the axial plane."""
    half = PIXEL_MM * 15.5

    def place(index: int) -> list[str]:
        middle, axes = slices[index]
        return [f"{value:.6f}" for value in middle - half * (axes[:, 0] + axes[:, 1])]

    def direction(index: int) -> list[str]:
        return [f"{value:.8f}" for value in slices[index][1][:, :2].T.ravel()]

    geometry = {"ImagePositionPatient": place, "ImageOrientationPatient": direction}
    defaults = {"PixelSpacing": [PIXEL_MM, PIXEL_MM], **geometry}
    return write_series(folder, "P1", series, len(slices), **{**defaults, **changes})


def corners_of(header: Any) -> np.ndarray:
    """Give the world coordinates (LPS) of the corner pixels a header names, shape (4, 3)."""
    row, column = np.reshape(np.array(header.ImageOrientationPatient, float), (2, 3))
    first = np.array(header.ImagePositionPatient, float)
    right, down = row * PIXEL_MM * (header.Columns - 1), column * PIXEL_MM * (header.Rows - 1)
    return np.array([first, first + right, first + down, first + right + down])
