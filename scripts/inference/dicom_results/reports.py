"""The structured report: what was found in each slice and in the series, for machines and archives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID

from ...records import PATIENT_RULES, SeriesSummary, SliceResult
from ..results import notice_line, patient_line
from ..task_results import chance_of_call
from .coding import (
    CALLS,
    CHANCES,
    COMPRESSION,
    CONSISTENCY,
    CONTRADICTORY,
    COUNTS,
    ENGLISH,
    HIGHEST,
    HIGHEST_GRADE,
    LARGEST_MSCC,
    MEASURES,
    N_COMPRESSED,
    N_EVALUATED,
    NO_CALL,
    NOT_EVALUATED,
    PATIENT_SCORE,
    RUN_MM,
    RUN_SLICES,
    SCHEME,
    SLICES,
    SMALLEST_AP,
    T2_SIGNAL,
    UNITS,
)
from .sources import evidence, highdicom, require_highdicom, software, source_of, without_values


def measurement(name: Code, value: float | None, unit: Code) -> list[Any]:
    """Return a measurement, or none where there is no value."""
    if value is None or not math.isfinite(value):
        return []
    return [highdicom.sr.Measurement(name=name, value=round(float(value), 6), unit=unit)]


def evaluation(name: Code, value: Code) -> Any:
    """Return what was found, in a code."""
    return highdicom.sr.QualitativeEvaluation(name=name, value=value)


def task_items(row: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """Return measurements and evaluations of the further tasks in a slice; none where the network has none."""
    measured, evaluated = [], []
    for task, (name, values) in CALLS.items():
        call = row.get(f"{task}_called")
        if call is not None:
            evaluated.append(evaluation(name, values[call]))
            measured += measurement(CHANCES[task], chance_of_call(row, task), codes.UCUM.NoUnits)
    if row.get("contradiction"):
        evaluated.append(evaluation(CONSISTENCY, CONTRADICTORY))
    return measured, evaluated


def slice_group(row: SliceResult, image: Dataset, common: dict[str, Any]) -> Any:
    """Describe one slice: measurement group of TID 1501 with the image it speaks of."""
    call = codes.SCT.Present if row["compressed"] else codes.SCT.Absent
    frames = [int(row["frame"])] if row["frame"] else None
    measured, evaluated = task_items(row)
    return highdicom.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=highdicom.sr.TrackingIdentifier(highdicom.UID(), f"slice {row['slice_index']}"),
        measurements=[
            *measurement(codes.DCM.Probability, row["probability"], codes.UCUM.NoUnits),
            *(item for key, (name, unit) in MEASURES.items() for item in measurement(name, row.get(key), unit)),  # type: ignore[arg-type]
            *measured,
        ],
        qualitative_evaluations=[
            evaluation(COMPRESSION, NOT_EVALUATED if row["probability"] is None else call),
            *evaluated,
        ],
        source_images=[highdicom.sr.SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID, frames)],
        **common,
    )


def series_group(summary: SeriesSummary, common: dict[str, Any]) -> Any:
    """Describe the whole series."""
    called = {None: NO_CALL, 0: codes.SCT.Absent, 1: codes.SCT.Present}[summary["patient_compressed"]]
    evaluated = [evaluation(COMPRESSION, called if summary["n_evaluated"] else NOT_EVALUATED)]
    grade, n_bright = summary.get("highest_grade"), summary.get("n_t2_signal")
    if grade is not None:
        evaluated.append(evaluation(HIGHEST_GRADE, CALLS["grade"][1][str(grade)]))
    if n_bright is not None and summary["n_evaluated"]:
        evaluated.append(evaluation(T2_SIGNAL, codes.SCT.Present if n_bright else codes.SCT.Absent))
    return highdicom.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=highdicom.sr.TrackingIdentifier(highdicom.UID(), "series summary"),
        measurements=[
            *measurement(N_EVALUATED, summary["n_evaluated"], SLICES),
            *measurement(N_COMPRESSED, summary["n_compressed"], SLICES),
            *measurement(RUN_SLICES, summary["longest_run_slices"], SLICES),
            *measurement(RUN_MM, summary["longest_run_mm"], codes.UCUM.Millimeter),
            *measurement(HIGHEST, summary["max_probability"], codes.UCUM.NoUnits),
            *measurement(PATIENT_SCORE, summary["patient_score"], UNITS[PATIENT_RULES[summary["patient_rule"]]]),
            *measurement(SMALLEST_AP, summary["smallest_cord_ap_mm"], codes.UCUM.Millimeter),
            *measurement(LARGEST_MSCC, summary["largest_mscc_percent"], codes.UCUM.Percent),
            *(item for key, name in COUNTS.items() for item in measurement(name, summary.get(key), SLICES)),  # type: ignore[arg-type]
        ],
        qualitative_evaluations=evaluated,
        **common,
    )


def comment(text: str) -> Any:
    """A remark in plain text."""
    return highdicom.sr.TextContentItem(
        name=codes.DCM.Comment, value=text, relationship_type=highdicom.sr.RelationshipTypeValues.CONTAINS
    )


@without_values()
def structured_report(images: Sequence[Dataset], rows: Sequence[SliceResult], summary: SeriesSummary) -> Dataset:
    """Make a Comprehensive 3D SR (TID 1500) of a scored series.

    Args:
        images: headers of the scored images, of one study, in any order.
        rows: the slices, as in slices.csv: ``sop_uid, frame, slice_index, probability, compressed, status``, and those
            of further tasks and measures as far as there are any.
        summary: the series, as in summary.json.

    Returns:
        The report. Each slice has its probability, present / absent / not evaluated, what further tasks found, the
        measures of cord and canal, and a reference to its image; the series has counts, longest run and extremes. It is
        preliminary and unverified, qualified as RESEARCH, and names the algorithm, its version, weights and threshold.

    Raises:
        InputError: highdicom is absent, or rows and images do not belong together.
    """
    require_highdicom()
    known = evidence(images)
    pairs = [(row, source_of(row, known)) for row in rows]
    hashed = summary["weights_sha256"]
    device = highdicom.sr.DeviceObserverIdentifyingAttributes(
        uid=UID(f"2.25.{int(hashed[:30], 16)}"),
        name=summary["model_name"][:64],
        manufacturer_name=software(summary)["manufacturer"],
        model_name=summary["model_name"][:64],
        serial_number=hashed[:64],
    )
    observer = highdicom.sr.ObserverContext(codes.DCM.Device, device)
    algorithm = highdicom.sr.AlgorithmIdentification(
        name=summary["model_name"][:64],
        version=summary["model_version"],
        parameters=[f"weights sha256 {hashed}", f"threshold {summary['threshold']:g}"],
        family=codes.DCM.ArtificialIntelligence,
    )
    common = {
        "finding_type": COMPRESSION,
        "finding_sites": [highdicom.sr.FindingSite(codes.SCT.SpinalCord)],
        "algorithm_id": algorithm,
    }
    report = highdicom.sr.MeasurementReport(
        observation_context=highdicom.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.LN.MRIUnspecifiedBodyRegion,
        imaging_measurements=[
            series_group(summary, common),
            *(slice_group(row, image, common) for row, image in pairs),
        ],
        title=codes.DCM.ImagingMeasurementReport,
        language_of_content_item_and_descendants=highdicom.sr.LanguageOfContentItemAndDescendants(ENGLISH),
    )
    unscored = [f"slice {row['slice_index']}: {row['status']}" for row in rows if row["probability"] is None]
    warnings = [summary["warnings"]] if summary["warnings"] else []
    for text in (notice_line(summary), patient_line(summary), *unscored, *warnings):
        report[0].ContentSequence.append(comment(text))
    first = images[0]
    result = highdicom.sr.Comprehensive3DSR(
        evidence=list(known.values()),
        content=report,
        series_instance_uid=highdicom.UID(),
        series_number=1000 + int(first.get("SeriesNumber") or 0),
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        is_complete=True,
        series_description="Cord compression report (RESEARCH USE ONLY)",
        content_qualification="RESEARCH",
        coding_schemes=[
            highdicom.coding_schemes.CodingSchemeIdentificationItem(
                SCHEME, name="cervical_cord_compression", version="1"
            )
        ],
        **software(summary),
    )
    return result
