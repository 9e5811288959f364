"""One patient's files, and the rows they add to the cohort's tables."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from threadpoolctl import threadpool_limits

from ..cohort.labels import EVALUABLE
from .acquisition import zero_fill
from .dicom import WrittenSlice, encoding_of, write_series
from .distractors import distractors
from .fields import Array
from .labels import DECIMALS, SliceTruth, t2_signal_of
from .patients import Patient, Settings
from .pictures import canal_centre_px, render, render_masks
from .readings import RATERS, n_readings, read_series
from .sampling import pathology, sample_patient
from .series import Geometry, axial_geometry, axial_t2, volume_positions_mm


@dataclass(frozen=True)
class Options:
    """What is written besides the axial T2 series and its masks."""

    twins: bool = False
    distractors: bool = True
    rle: bool = False


@dataclass(frozen=True)
class Record:
    """What one patient adds to the tables."""

    patient: dict[str, Any]
    entries: list[dict[str, Any]]  # of the datalist
    labels: list[dict[str, Any]]
    slices: list[dict[str, Any]]
    truth: list[dict[str, Any]]
    participant: dict[str, Any] = field(default_factory=dict)  # of participants.tsv, in BIDS


def write_patient(folder: Path, settings: Settings, options: Options, index: int) -> Record:
    """Draw, render and write one patient below ``folder``; on one thread, so that sums do not depend on the pool."""
    with threadpool_limits(limits=1):
        patient, truth = sample_patient(settings, index)
        volume, twin = render(patient, settings.style, with_twin=options.twins)
        files, twin_files = write_axial(folder, patient, volume, twin, options)
        write_masks(folder, patient)
        if options.distractors:
            write_distractors(folder / "dicom" / patient.patient_id, patient)
    return record(folder, patient, truth, files, twin_files)


def write_axial(
    folder: Path, patient: Patient, volume: Array, twin: Array | None, options: Options
) -> tuple[list[WrittenSlice], list[WrittenSlice]]:
    """Write the axial T2 series, and its twin with the same encoding under ``twins``."""
    size = patient.scan.written_matrix
    stacks = axial_stacks(patient)
    encoding = encoding_of(volume, patient)
    written: list[list[WrittenSlice]] = []
    for images, root, is_twin in ((volume, "dicom", False), (twin, "twins", True)):
        if images is None:
            written.append([])
            continue
        protocol = axial_t2(patient, is_twin)
        target = folder / root / patient.patient_id / f"S{protocol.number:04d}"
        filled = np.stack([zero_fill(image, size) for image in images])
        written.append(
            write_series(filled, patient, protocol, stacks, target, encoding, options.rle, patient.scan.enhanced)
        )
    return written[0], written[1]


def axial_stacks(patient: Patient) -> list[Geometry]:
    """Where the stacks of the written axial series lie."""
    scan = patient.scan
    return [axial_geometry(patient, scan.written_matrix, number) for number in range(1, len(scan.stacks) + 1)]


def write_masks(folder: Path, patient: Patient) -> None:
    """Write the masks of cord and canal in each stack's grid: array (columns, rows, slices), caudal first."""
    masks = render_masks(patient, patient.scan.written_matrix)
    stacks = axial_stacks(patient)
    first_slices = np.cumsum([len(stack.origins_mm) for stack in stacks])[:-1]
    for number, (part, geometry) in enumerate(zip(np.split(masks, first_slices), stacks, strict=True), 1):
        image = nibabel.Nifti1Image(part.transpose(2, 1, 0), geometry.affine())
        image.header.set_xyzt_units("mm")
        suffix = f"_stack-{number}" if len(stacks) > 1 else ""
        path = folder / "masks" / f"{patient.patient_id}{suffix}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(image, path)


def write_distractors(folder: Path, patient: Patient) -> None:
    """Write the study's other series: one folder each, or all in one as some archives export them."""
    mixed = patient.scan.vendor.signed
    for series in distractors(patient):
        target = folder / ("S0000" if mixed else f"S{series.protocol.number:04d}")
        write_series(series.volume, patient, series.protocol, [series.geometry], target)


def record(
    folder: Path, patient: Patient, truth: list[SliceTruth], files: list[WrittenSlice], twin_files: list[WrittenSlice]
) -> Record:
    """Collect a patient's rows for the tables; images are named relative to the cohort's folder."""
    readings = {
        (rater, reading): read_series(patient, truth, rater, reading)
        for rater in RATERS
        for reading in range(1, n_readings(rater, patient.index) + 1)
    }
    entries, labels, slices, rows = [], [], [], []
    scan = patient.scan
    machine = {"manufacturer": scan.vendor.manufacturer, "model": scan.model, "field_t": scan.field_strength_t}
    positions_mm = volume_positions_mm(patient, axial_stacks(patient), scan.written_matrix)
    order = np.argsort(np.argsort(positions_mm, kind="stable"))
    for number, (slice_truth, file) in enumerate(zip(truth, files, strict=True)):
        key = {"patient_id": patient.patient_id, "series_uid": file.series_uid, "sop_uid": file.sop_uid}
        image = file.path.relative_to(folder).as_posix()
        twin_image = twin_files[number].path.relative_to(folder).as_posix() if twin_files else ""
        place = {"frame": file.frame, "slice_index": int(order[number])}
        who = {"site": patient.site.name, "person": patient.person}
        about = {"grade": slice_truth.grade, "kind": slice_truth.kind}
        about["t2_signal"] = t2_signal_of(slice_truth.t2_hyperintensity)
        entries.append({**key, **place, "image": image, "label": slice_truth.label, **who, **about})
        where = {
            "stack": 1,  # all stacks are one volume, as `scripts.dicom` has it
            "position_mm": round(float(positions_mm[number]), 3),
            "thickness_mm": scan.thickness_mm,
            "nominal_spacing_mm": round(max(scan.step_mm, scan.thickness_mm), 6),
            "level": slice_truth.level,
            "vertebra": slice_truth.vertebra,
            "disc": slice_truth.disc,
        }
        slices.append({**key, **place, **where, **machine})
        values = {name: rounded(value) for name, value in asdict(slice_truth).items()}
        values |= {rater.name: judged[number].label for (rater, reading), judged in readings.items() if reading == 1}
        column, row = canal_centre_px(patient, number, scan.written_matrix)
        stack, stack_slice = scan.place(number)
        drawn = {"canal_column_px": rounded(column), "canal_row_px": rounded(row)}
        drawn |= {"stack": stack, "stack_slice": stack_slice}
        rows.append({**key, **values, **place, **drawn, "image": image, "twin_image": twin_image})
        for (rater, reading), judged in readings.items():
            reader = {"rater": rater.name, "role": rater.role, "reading": reading, "status": EVALUABLE}
            labels.append({**key, "frame": file.frame, **reader, **asdict(judged[number])})
    attributes = {
        "patient_id": patient.patient_id,
        "person": patient.person,
        "site": patient.site.name,
        "region": patient.region,
        "age": patient.age,
        "sex": patient.sex,
        "weight": patient.weight_kg,
        "height": patient.height_m,
        "mjoa": patient.mjoa,
        "pathology": pathology(patient, truth),
        "implants": patient.implants,
    }
    return Record(attributes, entries, labels, slices, rows)


def rounded(value: Any) -> Any:
    """Round a number as the tables hold it."""
    return round(value, DECIMALS) + 0.0 if isinstance(value, float) else value
