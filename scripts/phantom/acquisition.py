"""From the painted neck to a magnitude image: coil, saturation band, ghosts, limited k-space, noise."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas
from .fields import Array, spread
from .patients import Patient
from .scanners import Scan

SHADE_NODES = 5


def shading(canvas: Canvas, scan: Scan, bias: Array, coarse: Array) -> Array:
    """Sensitivity of the posterior coil array and what an anterior saturation band leaves.

    Args:
        canvas: the pixels.
        scan: the series.
        bias: slow variation about 1, of the image's shape.
        coarse: smooth noise of unit variance; the band's edge follows it.
    """
    from_coil_mm = 0.5 * scan.fov_mm + 6 - (canvas.y_true + scan.canal_y_mm)
    sensitivity = (0.75 + 1.0 * np.exp(-from_coil_mm / 38)) * bias
    if scan.normalised:
        sensitivity = sensitivity**0.3
    if scan.saturation < 1:
        kept = np.clip((canvas.y_true + 33 + 3 * coarse) / 9 + 0.5, 0, 1)
        sensitivity = sensitivity * (scan.saturation + (1 - scan.saturation) * kept)
    shade: Array = sensitivity
    return shade


def add_ghosts(image: Array, scan: Scan, shift: int, coarse: Array) -> Array:
    """Repeat bright moving tissue along the phase-encoding direction (pulsation, swallowing)."""
    if scan.ghost == 0:
        return image
    axis = 1 if scan.phase_rows else 0
    moving = np.clip(image - 0.55, 0, 1)
    ghosts = np.roll(moving, shift, axis) + np.roll(moving, -shift, axis)
    ghosted: Array = image + scan.ghost * ghosts * (1 + 0.5 * coarse)
    return ghosted


def band_filter(scan: Scan) -> Array:
    """Share of k-space that was acquired, for ``numpy.fft.rfft2``."""
    n = scan.matrix
    read, phase = scan.acquired_share
    row_limit, column_limit = (phase, read) if not scan.phase_rows else (read, phase)
    rows, columns = np.abs(np.fft.fftfreq(n))[:, None] * 2, np.abs(np.fft.rfftfreq(n))[None, :] * 2
    kept: Array = np.clip((1 - rows / row_limit) * 6, 0, 1) * np.clip((1 - columns / column_limit) * 6, 0, 1)
    return kept.astype(np.float32)


def sample_noise(rng: np.random.Generator, scan: Scan) -> Array:
    """Complex noise of one slice, shape (2, rows, columns), before the band limit."""
    sd = np.float32(0.55 / scan.snr)
    noise: Array = rng.standard_normal((2, scan.matrix, scan.matrix), dtype=np.float32) * sd
    return noise


def acquire(image: Array, noise: Array, kept: Array) -> Array:
    """Limit the bandwidth of image and noise and take the magnitude, which makes the noise Rician."""
    shape = image.shape
    real = np.fft.irfft2(np.fft.rfft2(image + noise[0]) * kept, s=shape)
    imaginary = np.fft.irfft2(np.fft.rfft2(noise[1]) * kept, s=shape)
    magnitude: Array = np.hypot(real, imaginary).astype(np.float32)
    return magnitude


def zero_fill(image: Array, size: int) -> Array:
    """Interpolate a square image to ``size`` by zero-filling k-space; pixel (0, 0) keeps its place."""
    n = len(image)
    if size <= n:
        return image
    start = size // 2 - n // 2
    spectrum = np.zeros((size, size), np.complex64)
    spectrum[start : start + n, start : start + n] = np.fft.fftshift(np.fft.fft2(image))
    filled: Array = np.abs(np.fft.ifft2(np.fft.ifftshift(spectrum))) * (size / n) ** 2
    return filled.astype(np.float32)


def slow_bias(rng: np.random.Generator, patient: Patient) -> Array:
    """Slow variation of the coil's sensitivity about 1."""
    n = patient.scan.matrix
    nodes = 2.1 * rng.standard_normal((SHADE_NODES, SHADE_NODES)).astype(np.float32)
    bias: Array = np.exp(0.14 * spread(nodes, (n, n)))
    return bias
