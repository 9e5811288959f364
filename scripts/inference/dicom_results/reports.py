"""The structured report: what was found in each slice and in the series, for machines and archives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID

from ...records import SeriesSummary, SliceResult
from ..results import notice_line
from .sources import evidence, highdicom, require_highdicom, software, source_of, without_values

SCHEME = "99CORD"
COMPRESSION = Code("71286001", "SCT", "Spinal cord compression")
NOT_EVALUATED = Code("373121007", "SCT", "Not Evaluated")
ENGLISH = Code("en-US", "RFC5646", "English (United States)")
SLICES = Code("{slices}", "UCUM", "slices")
# what no standard scheme has a code for
N_EVALUATED = Code("EVALUATED", SCHEME, "Number of evaluated slices")
N_COMPRESSED = Code("COMPRESSED", SCHEME, "Number of compressed slices")
RUN_SLICES = Code("RUN_SLICES", SCHEME, "Longest run of compressed slices")
RUN_MM = Code("RUN_MM", SCHEME, "Length of the longest run of compressed slices")
HIGHEST = Code("HIGHEST", SCHEME, "Highest probability among the slices")
SMALLEST_AP = Code("SMALLEST_AP", SCHEME, "Smallest anteroposterior diameter of the cord among the slices")
LARGEST_MSCC = Code("LARGEST_MSCC", SCHEME, "Largest MSCC among the compressed slices")
MEASURES: dict[str, tuple[Code, Code]] = {
    "cord_ap_mm": (Code("CORD_AP", SCHEME, "Anteroposterior diameter of the cord"), codes.UCUM.Millimeter),
    "cord_rl_mm": (Code("CORD_RL", SCHEME, "Right-left diameter of the cord"), codes.UCUM.Millimeter),
    "cord_ap_rl_ratio": (Code("CORD_AP_RL", SCHEME, "Compression ratio of the cord, AP / RL"), codes.UCUM.NoUnits),
    "cord_area_mm2": (Code("CORD_AREA", SCHEME, "Cross-sectional area of the cord"), codes.UCUM.SquareMillimeter),
    "cord_solidity": (Code("CORD_SOLIDITY", SCHEME, "Solidity of the cord"), codes.UCUM.NoUnits),
    "canal_area_mm2": (Code("CANAL_AREA", SCHEME, "Cross-sectional area of the canal"), codes.UCUM.SquareMillimeter),
    "cord_canal_area_ratio": (Code("CORD_CANAL", SCHEME, "Area ratio of cord and canal"), codes.UCUM.NoUnits),
    "mscc_percent": (Code("MSCC", SCHEME, "Maximum spinal cord compression"), codes.UCUM.Percent),
}
"""Measures of a slice: their name and unit."""


def measurement(name: Code, value: float | None, unit: Code) -> list[Any]:
    """Return a measurement, or none where there is no value."""
    if value is None or not math.isfinite(value):
        return []
    return [highdicom.sr.Measurement(name=name, value=round(float(value), 6), unit=unit)]


def evaluation(value: Code) -> list[Any]:
    """Build the SR items of the series-level finding: whether the cord is compressed."""
    return [highdicom.sr.QualitativeEvaluation(name=COMPRESSION, value=value)]


def slice_group(row: SliceResult, image: Dataset, common: dict[str, Any]) -> Any:
    """Describe one slice: measurement group of TID 1501 with the image it speaks of."""
    call = codes.SCT.Present if row["compressed"] else codes.SCT.Absent
    frames = [int(row["frame"])] if row["frame"] else None
    return highdicom.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=highdicom.sr.TrackingIdentifier(highdicom.UID(), f"slice {row['slice_index']}"),
        measurements=[
            *measurement(codes.DCM.Probability, row["probability"], codes.UCUM.NoUnits),
            *(item for key, (name, unit) in MEASURES.items() for item in measurement(name, row.get(key), unit)),  # type: ignore[arg-type]
        ],
        qualitative_evaluations=evaluation(NOT_EVALUATED if row["probability"] is None else call),
        source_images=[highdicom.sr.SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID, frames)],
        **common,
    )


def series_group(summary: SeriesSummary, common: dict[str, Any]) -> Any:
    """Describe the whole series."""
    call = codes.SCT.Present if summary["n_compressed"] else codes.SCT.Absent
    return highdicom.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=highdicom.sr.TrackingIdentifier(highdicom.UID(), "series summary"),
        measurements=[
            *measurement(N_EVALUATED, summary["n_evaluated"], SLICES),
            *measurement(N_COMPRESSED, summary["n_compressed"], SLICES),
            *measurement(RUN_SLICES, summary["longest_run_slices"], SLICES),
            *measurement(RUN_MM, summary["longest_run_mm"], codes.UCUM.Millimeter),
            *measurement(HIGHEST, summary["max_probability"], codes.UCUM.NoUnits),
            *measurement(SMALLEST_AP, summary["smallest_cord_ap_mm"], codes.UCUM.Millimeter),
            *measurement(LARGEST_MSCC, summary["largest_mscc_percent"], codes.UCUM.Percent),
        ],
        qualitative_evaluations=evaluation(call if summary["n_evaluated"] else NOT_EVALUATED),
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
        rows: the slices, as in slices.csv: ``sop_uid, frame, slice_index, probability, compressed, status``.
        summary: the series, as in summary.json.

    Returns:
        The report. Each slice has its probability, present / absent / not evaluated, the measures of cord and canal,
        and a reference to its image; the series has counts, longest run and extremes. It is preliminary and
        unverified, qualified as RESEARCH, and names the algorithm, its version, weights and threshold.

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
    for text in (notice_line(summary), *unscored, *warnings):
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
