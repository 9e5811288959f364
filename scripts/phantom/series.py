"""One DICOM series of a patient: its protocol and where its slices lie in the scanner."""

from __future__ import annotations

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


def neck_axes(patient: Patient) -> tuple[Array, Array, Array]:
    """Unit vectors (LPS) to the left, to posterior and to cranial of the oblique axial stack."""
    tilt = np.deg2rad(patient.scan.tilt_deg)
    left, posterior = np.array([1.0, 0.0, 0.0]), np.array([0.0, np.cos(tilt), np.sin(tilt)])
    return left, posterior, np.cross(left, posterior)


def axial_geometry(patient: Patient, written_matrix: int) -> Geometry:
    """Geometry of the axial series, the most caudal slice first."""
    scan = patient.scan
    left, posterior, cranial = neck_axes(patient)
    corner = ISOCENTRE_MM - 0.5 * scan.fov_mm * (left + posterior)
    heights = (np.arange(scan.n_slices) - 0.5 * (scan.n_slices - 1)) * scan.step_mm
    origins = corner + heights[:, None] * cranial
    return Geometry(left, posterior, origins, scan.fov_mm / written_matrix, scan.thickness_mm, scan.step_mm)


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
