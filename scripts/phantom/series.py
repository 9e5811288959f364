"""One DICOM series of a patient: its protocol and where its slices lie in the scanner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .fields import Array
from .patients import Patient

ISOCENTRE_MM = np.array([3.0, 20.0, 60.0])  # middle of the axial series in scanner coordinates (LPS)


@dataclass(frozen=True)
class Protocol:
    """What a series' header says of its contrast; times in ms."""

    name: str  # enters the UIDs: axial_t2, axial_t2_twin, sagittal_t2, ...
    number: int
    description: str
    scanning_sequence: tuple[str, ...]
    sequence_variant: str
    repetition_time_ms: float
    echo_time_ms: float
    flip_angle_deg: float
    echo_train: int
    inversion_time_ms: float | None = None
    scan_options: str = ""


@dataclass(frozen=True)
class Geometry:
    """Where the pixels of a series lie, LPS mm.

    Args:
        along_row: unit vector in which the column index grows.
        along_column: unit vector in which the row index grows.
        origins_mm: centre of pixel (0, 0) of each slice, shape (slices, 3).
        pixel_mm: spacing of rows and of columns.
        thickness_mm: of a slice.
        step_mm: between slice centres.
    """

    along_row: Array
    along_column: Array
    origins_mm: Array
    pixel_mm: float
    thickness_mm: float
    step_mm: float

    @property
    def normal(self) -> Array:
        """Unit vector along_row x along_column."""
        return np.cross(self.along_row, self.along_column)

    def affine(self) -> Array:
        """NIfTI affine (RAS+) of an array indexed column, row, slice."""
        step = self.origins_mm[1] - self.origins_mm[0] if len(self.origins_mm) > 1 else self.step_mm * self.normal
        affine = np.eye(4)
        affine[:3, 0], affine[:3, 1] = self.along_row * self.pixel_mm, self.along_column * self.pixel_mm
        affine[:3, 2], affine[:3, 3] = step, self.origins_mm[0]
        ras: Array = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
        return ras


def canal_centre_mm(patient: Patient, z_mm: float) -> tuple[float, float]:
    """Where the canal, which a slip moves, runs at a height: x to the left and y to posterior of the neck's axis."""
    scan, anatomy = patient.scan, patient.anatomy
    from_middle = z_mm - scan.middle_mm
    x = scan.canal_x_mm + anatomy.scoliosis_per_mm * from_middle**2
    y = scan.canal_y_mm + anatomy.drift * from_middle + anatomy.lordosis_per_mm * from_middle**2
    return x, y - anatomy.findings.forward_mm(z_mm)


def canal_in_picture_mm(patient: Patient, number: int) -> tuple[float, float]:
    """Where a slice shows the canal, x to the left and y to posterior of the image's centre.

    Args:
        patient: whose.
        number: of the slice, through all stacks from 0.
    """
    scan = patient.scan
    stack = scan.stacks[scan.place(number)[0] - 1]
    z_mm, turn = scan.z_mm(number), np.deg2rad(stack.turn_deg)
    x, y = canal_centre_mm(patient, z_mm)
    behind = y - canal_centre_mm(patient, stack.middle_mm)[1]
    return x, float(scan.canal_y_mm + behind * np.cos(turn) + (z_mm - stack.middle_mm) * np.sin(turn))


def neck_axes(patient: Patient, turn_deg: float = 0.0) -> tuple[Array, Array, Array]:
    """Unit vectors (LPS) to the left, to posterior and to cranial of the oblique axial series, or a turned stack."""
    tilt = np.deg2rad(patient.scan.tilt_deg + turn_deg)
    left, posterior = np.array([1.0, 0.0, 0.0]), np.array([0.0, np.cos(tilt), np.sin(tilt)])
    return left, posterior, np.cross(left, posterior)


def axial_geometry(patient: Patient, written_matrix: int, number: int = 1) -> Geometry:
    """Geometry of a stack of the axial series, the most caudal slice first.

    The canal at the stack's middle lies where the middle of a straight series would show it.

    Args:
        patient: whose.
        written_matrix: pixels along a side.
        number: of the stack, from 1.
    """
    scan = patient.scan
    stack = scan.stacks[number - 1]
    _, to_posterior, to_cranial = neck_axes(patient)
    left, posterior, cranial = neck_axes(patient, stack.turn_deg)
    behind = canal_centre_mm(patient, stack.middle_mm)[1]
    canal = ISOCENTRE_MM + behind * to_posterior + (stack.middle_mm - scan.middle_mm) * to_cranial
    corner = canal - scan.canal_y_mm * posterior - 0.5 * scan.fov_mm * (left + posterior)
    count = len(stack.heights_mm)
    steps = (np.arange(count) - 0.5 * (count - 1)) * scan.step_mm
    origins = corner + steps[:, None] * cranial
    return Geometry(left, posterior, origins, scan.fov_mm / written_matrix, scan.thickness_mm, scan.step_mm)


def volume_positions_mm(patient: Patient, stacks: Sequence[Geometry], written_matrix: int) -> Array:
    """Return where the slices of all stacks lie along the mean normal, as `scripts.dicom` orders a series, shape (S,).

    Args:
        patient: whose.
        stacks: of the axial series.
        written_matrix: pixels along a side.

    Returns:
        Positions in mm; of one stack, heights above the C2/C3 disc; of several, with the same mean as those.
    """
    heights = np.array(patient.scan.heights_mm)
    if len(stacks) == 1:
        return heights
    normal = np.sum([stack.normal * len(stack.origins_mm) for stack in stacks], axis=0)
    half_mm = 0.5 * (written_matrix - 1)
    along = np.concatenate([
        (stack.origins_mm + half_mm * stack.pixel_mm * (stack.along_row + stack.along_column)) @ normal
        for stack in stacks
    ]) / np.linalg.norm(normal)  # fmt: skip
    found: Array = along - along.mean() + heights.mean()
    return found


def axial_t2(patient: Patient, twin: bool = False) -> Protocol:
    """Protocol of the main series, by the cohort's style."""
    scan, gre = patient.scan, patient.settings.style == "gre"
    return Protocol(
        name="axial_t2_twin" if twin else "axial_t2",
        number=5,
        description=scan.description,
        scanning_sequence=("GR",) if gre else ("SE",),
        sequence_variant="SP" if gre else "SK",
        repetition_time_ms=scan.repetition_time_ms,
        echo_time_ms=scan.echo_time_ms,
        flip_angle_deg=scan.flip_angle_deg,
        echo_train=scan.echo_train,
    )
