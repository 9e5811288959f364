"""What a scan does to a painted slice beyond coil and noise: metal, motion, swallowing, and fat that is not suppressed.

Everything here is the same with and without lesions, so a twin differs from its slice by the lesions alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .canvas import Canvas
from .cross_sections import open_canal
from .fields import Array, bump, spread
from .finding_shapes import metal_distance
from .labels import sub_slice_heights
from .patients import Patient, stream
from .tissues import Tissues

SHIFT_MM = {"tse": 2.6, "t1": 2.6, "stir": 2.6, "gre": 4.0}  # beside metal at 1.5 T, along the readout
FALL_OFF_MM = 2.0  # at this distance from the metal the shift is an eighth
DEPHASED = 0.35  # gradient of the shift (mm/mm) at which a gradient echo has lost half of its signal
SHOTS = 9  # echo trains of a slice; each takes every ninth line of k-space
SAMPLES = 8  # in a pixel beside metal
MOVED_MM = (0.5, 1.5)
GHOST = (0.50, -0.30, 0.16)  # of the swallowing airway, from the nearest ghost on


def disturb(image: Array, canvas: Canvas, patient: Patient, index: int, weighting: str) -> Array:
    """Apply the artefacts of a slice; the same array where there are none.

    Args:
        image: the slice as the coil sees it.
        canvas: its pixels.
        patient: whose slice.
        index: of the slice.
        weighting: of the series; patients move and swallow during the main one.
    """
    if patient.anatomy.findings.implant is not None:
        shift_mm = metal_shift_mm(canvas, patient, index, weighting)
        if shift_mm is not None:
            if weighting == "gre":
                image = dephase(image, shift_mm, canvas.pixel_mm)
            image = displace(image, shift_mm / canvas.pixel_mm, 0 if patient.scan.phase_rows else 1)
    if weighting == patient.settings.style:
        if patient.artefacts.swallowed(index):
            image = swallow(image, canvas, patient, index)
        if patient.artefacts.motion:
            image = move(image, patient, index)
    return image


def metal_shift_mm(canvas: Canvas, patient: Patient, index: int, weighting: str) -> Array | None:
    """Return how far metal shifts each pixel's signal along the readout; None for a slice without metal.

    The shift falls off with the third power of the distance, like the field of a magnetised sphere.
    """
    anatomy, implant = patient.anatomy, patient.anatomy.findings.implant
    if implant is None:
        return None
    heights = sub_slice_heights(patient, index)
    greatest_mm = SHIFT_MM[weighting] * patient.scan.field_strength_t / 1.5
    total = np.zeros_like(canvas.x_true)
    found = False
    for z_mm in heights:
        distance = metal_distance(implant, anatomy, open_canal(anatomy, z_mm), z_mm, canvas.x_true, canvas.y_true)
        if distance is not None:
            found = True
            total += np.float32(greatest_mm) * (1 + np.maximum(distance, 0) / np.float32(FALL_OFF_MM)) ** -3
    return total / len(heights) if found else None


def displace(image: Array, shift: Array, axis: int) -> Array:
    """Move signal by ``shift`` pixels along an axis; it piles up where neighbours land together, and none is lost."""
    lines, along = np.moveaxis(image, axis, 1), np.moveaxis(shift, axis, 1)
    n_lines, n = lines.shape
    offsets = (np.arange(SAMPLES) + 0.5) / SAMPLES - 0.5  # samples within a pixel leave no gaps where it is stretched
    gradient = np.gradient(along, axis=1)
    place = np.arange(n)[:, None] + offsets + along[..., None] + gradient[..., None] * offsets
    column = np.clip(np.floor(place + 0.5), 0, n - 1).astype(np.intp)
    pixel = column + n * np.arange(n_lines)[:, None, None]
    signal = np.broadcast_to(lines[..., None] / SAMPLES, pixel.shape)
    moved = np.bincount(pixel.ravel(), signal.ravel(), n_lines * n).reshape(n_lines, n)
    result: Array = np.moveaxis(moved, 1, axis).astype(np.float32)
    return result


def dephase(image: Array, shift_mm: Array, pixel_mm: float) -> Array:
    """Take the signal that a gradient echo loses where the field is uneven."""
    rows, columns = np.gradient(shift_mm, pixel_mm)
    kept: Array = image * np.exp2(-np.hypot(rows, columns) / np.float32(DEPHASED)).astype(np.float32)
    return kept


def move(image: Array, patient: Patient, index: int) -> Array:
    """Acquire a few echo trains while the neck lies elsewhere: the slice blurs and repeats along the phase axis."""
    rng = stream(patient, "motion", index)
    n = patient.scan.matrix
    first, count = int(rng.integers(1, SHOTS - 3)), int(rng.integers(2, 4))
    distance_mm, direction = rng.uniform(*MOVED_MM), rng.uniform(0, 2 * np.pi)
    away = distance_mm / (patient.scan.fov_mm / n) * np.array([np.sin(direction), np.cos(direction)])
    frequency = np.fft.fftfreq(n).astype(np.float32)
    turn = np.exp(-2j * np.pi * (away[0] * frequency[:, None] + away[1] * frequency[None, :])).astype(np.complex64)
    shot = np.arange(n) % SHOTS
    moved = (shot >= first) & (shot < first + count)
    moved = moved[None, :] if patient.scan.phase_rows else moved[:, None]
    spectrum = np.fft.fft2(image)
    result: Array = np.abs(np.fft.ifft2(np.where(moved, spectrum * turn, spectrum))).astype(np.float32)
    return result


def swallow(image: Array, canvas: Canvas, patient: Patient, index: int) -> Array:
    """Repeat the moving airway, and nothing else, along the phase direction."""
    rng = stream(patient, "swallowing", index)
    axis = 1 if patient.scan.phase_rows else 0
    airway = bump(np.hypot(canvas.x_true / 15, (canvas.y_true + 42) / 13) ** 2).astype(np.float32)
    moving = (image - np.mean(image, dtype=np.float64).astype(np.float32)) * airway
    step = rng.uniform(0.11, 0.16) * patient.scan.matrix
    strength = rng.uniform(0.6, 1.0)
    ghosts = np.zeros_like(image)
    for order, share in enumerate(GHOST, start=1):
        for side in (-1, 1):
            ghosts += np.float32(share) * np.roll(moving, side * round(order * step), axis)
    result: Array = np.maximum(image + np.float32(strength) * ghosts, 0)
    return result


def unsaturated(tissues: Tissues) -> Tissues:
    """Return the signals where fat was not suppressed."""
    marrow = {"body": 2.2 * tissues.body, "facet": 2.2 * tissues.facet}
    return replace(tissues, fat=10 * tissues.fat, epidural=1.8 * tissues.epidural, **marrow)


def failed_share(patient: Patient, shape: tuple[int, int]) -> Array:
    """Return where fat suppression fails: a smooth map, 1 on one side of the neck or at the nape, 0 far from it."""
    rng = stream(patient, "fat saturation")
    rows, columns = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
    towards = np.deg2rad(rng.uniform(-35, 215))  # from the left over the nape to the right
    along = columns * np.cos(towards) + rows * np.sin(towards)
    uneven = 0.06 * spread(rng.standard_normal((6, 6)).astype(np.float32), shape)
    share: Array = np.clip((along - rng.uniform(0.10, 0.35) + uneven) / 0.28, 0, 1).astype(np.float32)
    return share * share * (3 - 2 * share)
