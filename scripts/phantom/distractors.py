"""The other series of a study, not to be taken for its axial T2: sagittal T2, axial T1, fat-suppressed axial T2."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .artefacts import failed_share
from .canvas import Canvas
from .cross_sections import cross_section
from .fields import Array, clamp, spread
from .neck import MUSCLES, paint_neck
from .patients import Patient, stream
from .pictures import render
from .series import ISOCENTRE_MM, Geometry, Protocol, axial_geometry, canal_centre_mm, neck_axes
from .spine import paint_spine, spine_window
from .tissues import sample_tissues

MATRIX = 192
N_SLICES = 9
SAGITTAL_SIZE_MM = 160.0
SAGITTAL_STEP_MM = 3.6
HEIGHT_STEP_MM = 1.6  # heights that are painted; rows in between are interpolated


@dataclass(frozen=True)
class Series:
    """Pixels, header values and place of one series."""

    volume: Array
    protocol: Protocol
    geometry: Geometry


def distractors(patient: Patient) -> list[Series]:
    """Render a study's other series."""
    return [sagittal_t2(patient), axial_t1(patient), axial_fat_suppressed(patient)]


def axial(patient: Patient, weighting: str, protocol: Protocol) -> Series:
    """A short, coarse axial series about the middle of the main one, in another weighting."""
    scan = patient.scan
    n_slices = min(N_SLICES, scan.n_slices)
    matrix = min(MATRIX, scan.matrix)
    coarse = replace(
        scan, matrix=matrix, written_matrix=matrix, thickness_mm=4.0, gap_mm=0.4, flow_loss=0.3 * scan.flow_loss
    )
    shorter = replace(patient, scan=coarse.straight(n_slices, scan.middle_mm))
    volume, _ = render(shorter, weighting, sub_slices=1)
    if weighting == "stir" and patient.artefacts.fat_saturation_failed:
        failed = failed_share(patient, (matrix, matrix))
        volume += failed * (render(shorter, weighting, sub_slices=1, fat_suppressed=False)[0] - volume)
    return Series(volume, protocol, axial_geometry(shorter, matrix))


def axial_t1(patient: Patient) -> Series:
    """Axial T1-weighted spin echo."""
    rng = stream(patient, "protocol t1")
    protocol = Protocol(
        name="axial_t1",
        number=4,
        description=str(rng.choice(["t1_se_tra", "AX T1", "T1W_SE ax"])),
        scanning_sequence=("SE",),
        sequence_variant="NONE",
        repetition_time_ms=round(rng.uniform(450, 750)),
        echo_time_ms=round(rng.uniform(9, 16), 1),
        flip_angle_deg=90,
        echo_train=1,
    )
    return axial(patient, "t1", protocol)


def axial_fat_suppressed(patient: Patient) -> Series:
    """Axial T2 without fat: short-tau inversion recovery, or on GE chemical saturation."""
    rng = stream(patient, "protocol fat-suppressed")
    saturated = patient.scan.vendor.zero_filled > 0
    null_ms = 220.0 if patient.scan.field_strength_t > 2 else 160.0
    protocol = Protocol(
        name="axial_fat_suppressed",
        number=6,
        description="AX T2 FS" if saturated else str(rng.choice(["t2_tirm_tra", "STIR ax", "STIR_TSE tra"])),
        scanning_sequence=("SE",) if saturated else ("SE", "IR"),
        sequence_variant="SK",
        repetition_time_ms=round(rng.uniform(3200, 4800)),
        echo_time_ms=round(rng.uniform(62, 90), 1),
        flip_angle_deg=150,
        echo_train=15,
        inversion_time_ms=None if saturated else null_ms,
        scan_options="FS" if saturated else "",
    )
    return axial(patient, "stir", protocol)


def sagittal_t2(patient: Patient) -> Series:
    """Sagittal T2: axial sections are painted at many heights, but only on the sagittal planes."""
    rng = stream(patient, "picture sagittal")
    scan, anatomy = patient.scan, patient.anatomy
    tissues = sample_tissues(rng, "tse", scan.contrast)
    size = min(MATRIX, scan.matrix)
    pixel_mm = SAGITTAL_SIZE_MM / size
    middle_mm = -2.5 * anatomy.pitch_mm  # the disc C4/C5 and C5/C6 in the middle
    depths = np.arange(size) * pixel_mm - 0.55 * SAGITTAL_SIZE_MM
    planes = (np.arange(N_SLICES) - N_SLICES // 2) * SAGITTAL_STEP_MM + scan.canal_x_mm
    heights = middle_mm + np.arange(SAGITTAL_SIZE_MM / 2, -SAGITTAL_SIZE_MM / 2, -HEIGHT_STEP_MM)
    fascia = rng.random(2 * len(MUSCLES))
    nodes = rng.standard_normal((4, 18, 5)).astype(np.float32)
    shape = (size, N_SLICES)
    noise = [spread(grid, shape) for grid in nodes]
    painted = np.zeros((len(heights), *shape), np.float32)
    lowest, highest = -6.4 * anatomy.pitch_mm, 1.85 * anatomy.pitch_mm
    for number, height_mm in enumerate(heights):
        curve_mm = clamp(height_mm, lowest, highest)
        # further down the last vertebra is drawn again and again
        repeats = max(np.ceil((lowest - height_mm) / anatomy.pitch_mm), 0.0)
        z_mm = float(min(height_mm, highest) + repeats * anatomy.pitch_mm)
        x, y = canal_centre_mm(patient, curve_mm)
        slip = np.full(shape, -anatomy.findings.forward_mm(curve_mm), np.float32)  # the neck stays
        canvas = Canvas(depths - y + scan.canal_y_mm, planes - x, 0.0, (np.zeros_like(slip), slip))
        paint_neck(canvas, anatomy, anatomy.level(curve_mm), tissues, 1 + 0.16 * noise[3], noise[3], fascia)
        window = spine_window(canvas)
        spine_noise = [field[window] for field in noise[:3]]
        section = cross_section(anatomy, patient.lesions, z_mm)
        canvas.image[window] = paint_spine(canvas, window, anatomy, section, z_mm, tissues, spine_noise, scan.flow_loss)
        painted[number] = canvas.image
    rows = np.linspace(0, len(heights) - 1, size)
    lower = np.minimum(rows.astype(int), len(heights) - 2)
    share = (rows - lower)[:, None, None].astype(np.float32)
    volume = ((1 - share) * painted[lower] + share * painted[lower + 1]).transpose(2, 0, 1)
    error = rng.standard_normal((2, *volume.shape)).astype(np.float32) * np.float32(0.7 / scan.snr)
    left, posterior, cranial = neck_axes(patient)
    top = ISOCENTRE_MM + (depths[0] + scan.canal_y_mm) * posterior + (heights[0] - scan.middle_mm) * cranial
    geometry = Geometry(posterior, -cranial, top + planes[:, None] * left, pixel_mm, 3.0, SAGITTAL_STEP_MM)
    protocol = Protocol(
        name="sagittal_t2",
        number=3,
        description=str(rng.choice(["t2_tse_sag", "SAG T2", "T2W_TSE sag"])),
        scanning_sequence=("SE",),
        sequence_variant="SK",
        repetition_time_ms=round(rng.uniform(2800, 4200)),
        echo_time_ms=round(rng.uniform(90, 118), 1),
        flip_angle_deg=150,
        echo_train=17,
    )
    return Series(np.hypot(volume + error[0], error[1]), protocol, geometry)
