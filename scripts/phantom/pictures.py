"""Rendering a patient's axial series, with or without the lesions, and the masks of cord and canal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .acquisition import acquire, add_ghosts, band_filter, sample_noise, shading, slow_bias
from .artefacts import disturb, unsaturated
from .canvas import Canvas
from .cross_sections import cord_distance, cross_section, sac_distance
from .fields import Array, between, clamp, on_pixels, spread
from .labels import SUB_SLICES, sub_slice_heights
from .neck import MUSCLES, paint_neck
from .patients import Patient, stream
from .series import canal_in_picture_mm
from .spine import paint_spine, spine_window
from .tissues import Tissues, sample_tissues

NODE_STACKS = 4  # noise fields along the series, blended in between
CANAL, CORD = 1, 2  # values of the masks


@dataclass(frozen=True)
class Noise:
    """Node grids of the smooth fields, each with a first axis along the series."""

    warp_coarse: Array
    warp_fine: Array
    streaks: Array
    coarse: Array
    spine: Array
    fascia: Array


def sample_fields(rng: np.random.Generator) -> Noise:
    """Draw the smooth fields of one series."""

    def nodes(*shape: int) -> Array:
        return rng.standard_normal((NODE_STACKS, *shape)).astype(np.float32)

    return Noise(
        warp_coarse=2.4 * nodes(2, 8, 8),
        warp_fine=0.9 * nodes(2, 20, 20),
        streaks=nodes(104, 84),
        coarse=nodes(18, 18),
        spine=nodes(3, 26, 26),
        fascia=rng.random(2 * len(MUSCLES)),
    )


def canal_centre_px(patient: Patient, index: int, size: int) -> tuple[float, float]:
    """Column and row of the canal's centre in an image of ``size`` pixels; pixel centres are whole numbers."""
    x, y = (place + 0.5 * patient.scan.fov_mm for place in canal_in_picture_mm(patient, index))
    return x * size / patient.scan.fov_mm, y * size / patient.scan.fov_mm


def make_canvas(patient: Patient, index: int, size: int, warp_mm: tuple[Array, Array] | None = None) -> Canvas:
    """A canvas of ``size`` pixels over the field of view; pixel (0, 0) lies half a field left-right and front of it."""
    x, y = canal_in_picture_mm(patient, index)
    z_mm = patient.scan.z_mm(index)
    positions = np.arange(size) * (patient.scan.fov_mm / size) - 0.5 * patient.scan.fov_mm
    roll = patient.scan.roll_deg + 0.02 * z_mm * patient.anatomy.asymmetry[0][0]
    return Canvas(positions - y, positions - x, roll, warp_mm)


def render(
    patient: Patient, weighting: str, with_twin: bool = False, sub_slices: int = SUB_SLICES, fat_suppressed: bool = True
) -> tuple[Array, Array | None]:
    """Render a patient's axial series.

    Args:
        patient: whom.
        weighting: a key of `tissues.WEIGHTINGS`.
        with_twin: also render the lesion-free twin, with the same neck, coil and noise.
        sub_slices: thin slices averaged through a slice's thickness.
        fat_suppressed: False leaves a fat-suppressed weighting its fat.

    Returns:
        the series and the twin (or None), float32 of shape (slices, rows, columns), CSF about 1: slice 0 most caudal,
        rows to posterior, columns to the patient's left.
    """
    scan = patient.scan
    rng = stream(patient, f"picture {weighting}")
    tissues = sample_tissues(rng, weighting, scan.contrast)
    if not fat_suppressed:
        tissues = unsaturated(tissues)
    fields = sample_fields(rng)
    bias = slow_bias(rng, patient)
    shift = round(scan.matrix * clamp(rng.normal(0.12, 0.04), 0.05, 0.25))
    kept = band_filter(scan)
    persons = (patient, patient.twin()) if with_twin else (patient,)
    ends = min(scan.heights_mm), max(scan.heights_mm)
    volumes = np.zeros((len(persons), scan.n_slices, scan.matrix, scan.matrix), np.float32)
    for index in range(scan.n_slices):
        position = float(np.interp(scan.z_mm(index), ends, (0, 1)))
        canvas, coarse = paint_surroundings(patient, index, position, fields, tissues, weighting)
        neck = canvas.image
        noise = sample_noise(rng, scan)
        shade = shading(canvas, scan, bias, coarse)
        for person, volume in zip(persons, volumes, strict=True):
            canvas.image = neck.copy()
            paint_core(canvas, person, index, position, fields, tissues, sub_slices)
            signal = disturb(canvas.image * shade, canvas, patient, index, weighting)
            volume[index] = acquire(add_ghosts(signal, scan, shift, coarse), noise, kept)
    return volumes[0], volumes[1] if with_twin else None


def paint_surroundings(
    patient: Patient, index: int, position: float, fields: Noise, tissues: Tissues, weighting: str
) -> tuple[Canvas, Array]:
    """Paint a slice's neck; also gives the coarse noise that shapes it."""
    n = patient.scan.matrix
    z_mm = patient.scan.z_mm(index)
    coarse_nodes, fine_nodes = between(fields.warp_coarse, position), between(fields.warp_fine, position)
    warps = [spread(coarse_nodes[axis], (n, n)) + spread(fine_nodes[axis], (n, n)) for axis in (0, 1)]
    # a slip moves the spine; the neck around it stays
    canvas = make_canvas(
        patient, index, n, (warps[0], warps[1] - np.float32(patient.anatomy.findings.forward_mm(z_mm)))
    )
    fine = spread(between(fields.streaks, position), (n, n))
    coarse = spread(between(fields.coarse, position), (n, n))
    fatty = patient.anatomy.fatty
    marbling = np.maximum(fine - 0.3, 0)
    streaks = marbling / (1 + 2 * marbling) * np.clip(coarse + 0.2 + 1.2 * fatty, 0, 2)
    contrast = {"tse": 1.0, "t1": 0.4}.get(weighting, 0.08)  # fat stands out of muscle where it is bright
    texture = 1 + 0.16 * coarse + (1.2 + 4.5 * fatty) * contrast * streaks
    paint_neck(canvas, patient.anatomy, patient.anatomy.level(z_mm), tissues, texture, coarse, fields.fascia)
    return canvas, coarse


def paint_core(
    canvas: Canvas, patient: Patient, index: int, position: float, fields: Noise, tissues: Tissues, sub_slices: int
) -> None:
    """Paint the spine over the neck, averaged through the slice's thickness."""
    window = spine_window(canvas)
    shape = canvas.image.shape
    nodes = between(fields.spine, position)
    noise = [spread(nodes[i], (shape[0], shape[1]), window) for i in range(3)]
    total = np.zeros_like(canvas.image[window])
    for z_mm in sub_slice_heights(patient, index, sub_slices):
        section = cross_section(patient.anatomy, patient.lesions, z_mm)
        total += paint_spine(canvas, window, patient.anatomy, section, z_mm, tissues, noise, patient.scan.flow_loss)
    canvas.image[window] = total / sub_slices


def render_masks(patient: Patient, size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Mask cord and canal at each slice's mid-height.

    Args:
        patient: whom.
        size: pixels along a side, e.g. the written matrix.

    Returns:
        uint8 of shape (slices, rows, columns): `CANAL` the dural sac around the cord, `CORD`.
    """
    masks = np.zeros((patient.scan.n_slices, size, size), np.uint8)
    for index in range(patient.scan.n_slices):
        canvas = make_canvas(patient, index, size)
        window = canvas.window(0, 0, 20)
        x, y = canvas.x_true[window], canvas.y_true[window]
        section = cross_section(patient.anatomy, patient.lesions, patient.scan.z_mm(index))
        dura = on_pixels(section.dura_front_mm, x), on_pixels(section.dura_back_mm, x)
        part = masks[index][window]
        part[sac_distance(section.canal, x, y, *dura) < 0] = CANAL
        part[cord_distance(section.cord, x, y, *dura) < 0] = CORD
    return masks
