"""DICOM objects of a scored series: arrays and datasets in, datasets out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import highdicom as hd
import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

NOTE = "Research use only, not for diagnosis"
SPINAL_CORD_COMPRESSION = hd.sr.CodedConcept("71286001", "SCT", "Spinal cord compression")
SOFTWARE = "cervical_cord_compression"
SR_SERIES, SC_SERIES = 9001, 9002


def structured_report(
    rows: Sequence[Mapping[str, Any]], sources: Sequence[Dataset], model: Mapping[str, Any]
) -> Dataset:
    """Build a Comprehensive 3D SR (TID 1500) with one measurement group per slice that refers to its image.

    Args:
        rows: ``probability`` and ``compressed`` of every slice.
        sources: the slices' datasets, in the same order.
        model: ``model_name`` and ``model_version``.
    """
    device = hd.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=hd.UID(), name=model["model_name"], model_name=SOFTWARE
        ),
    )
    algorithm = hd.sr.AlgorithmIdentification(name=model["model_name"], version=model["model_version"])
    groups = [
        hd.sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=hd.sr.TrackingIdentifier(uid=hd.UID(), identifier=f"slice {number}"),
            source_images=[hd.sr.SourceImageForMeasurementGroup.from_source_image(source)],
            finding_type=SPINAL_CORD_COMPRESSION,
            finding_sites=[hd.sr.FindingSite(codes.SCT.SpinalCord)],
            algorithm_id=algorithm,
            measurements=[
                hd.sr.Measurement(
                    name=codes.DCM.Probability, value=round(float(row["probability"]), 6), unit=codes.UCUM.NoUnits
                )
            ],
            qualitative_evaluations=[
                hd.sr.QualitativeEvaluation(
                    name=SPINAL_CORD_COMPRESSION, value=codes.SCT.Present if row["compressed"] else codes.SCT.Absent
                )
            ],
        )
        for number, (row, source) in enumerate(zip(rows, sources, strict=True), start=1)
    ]
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=device),
        procedure_reported=codes.DCM.MagneticResonance,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    return hd.sr.Comprehensive3DSR(
        evidence=list(sources),
        content=content,
        series_number=SR_SERIES,
        series_instance_uid=hd.UID(),
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer=SOFTWARE,
        is_complete=True,
        series_description=f"Cord compression. {NOTE}",
    )


def overlay(pixels: NDArray[np.float32], heatmap: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Blend a slice ``(rows, columns)`` with its heat map in [0, 1]; cold places stay grey."""
    low, high = np.percentile(pixels, (1, 99))
    grey = np.clip((pixels - low) / max(float(high - low), 1e-6), 0, 1)[..., None]
    weight = 0.6 * heatmap[..., None]
    colour = colormaps["inferno"](heatmap)[..., :3]
    return np.round(255 * ((1 - weight) * grey + weight * colour)).astype(np.uint8)


def secondary_captures(
    rows: Sequence[Mapping[str, Any]],
    sources: Sequence[Dataset],
    pixels: NDArray[np.float32],
    heatmap: NDArray[np.float32],
    model: Mapping[str, Any],
) -> list[Dataset]:
    """Build one RGB Secondary Capture per slice, as one series with the geometry of the source.

    Args:
        rows: the slices' results.
        sources: their datasets, in the same order.
        pixels: ``(slices, rows, columns)``.
        heatmap: in [0, 1], of the same shape.
        model: ``model_version``.
    """
    series_uid = hd.UID()
    captures: list[Dataset] = []
    for number, (row, source) in enumerate(zip(rows, sources, strict=True), start=1):
        capture = hd.sc.SCImage.from_ref_dataset(
            ref_dataset=source,
            pixel_array=overlay(pixels[number - 1], heatmap[number - 1]),
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            series_instance_uid=series_uid,
            series_number=SC_SERIES,
            sop_instance_uid=hd.UID(),
            instance_number=number,
            manufacturer=SOFTWARE,
            pixel_spacing=tuple(map(float, source.PixelSpacing)),  # type: ignore[arg-type]  # annotated as integers
            patient_orientation=("L", "P"),
            transfer_syntax_uid=ExplicitVRLittleEndian,
        )
        capture.SeriesDescription = f"Heat maps. {NOTE}"
        capture.ImageComments = f"P(compressed) {row['probability']:.3f}"
        capture.SoftwareVersions, capture.BurnedInAnnotation = str(model["model_version"]), "NO"
        capture.BodyPartExamined = source.get("BodyPartExamined") or "CSPINE"  # unpaired, so no laterality
        # no part of the Secondary Capture IOD, but allowed beside it: viewers place the slice by them
        for keyword in ("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient"):
            if keyword in source:
                setattr(capture, keyword, source[keyword].value)
        reference = Dataset()
        reference.ReferencedSOPClassUID = source.SOPClassUID
        reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
        capture.SourceImageSequence = [reference]
        captures.append(capture)
    return captures
