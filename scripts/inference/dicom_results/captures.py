"""Colour overlays as Secondary Capture images that lie where their sources lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from ...errors import InputError
from ...heatmaps.targets import explained_task, heat_in_words
from ...records import SeriesSummary, SliceResult
from ..results import notice_line
from ..task_results import calls_in_words
from .sources import evidence, highdicom, require_highdicom, software, source_of, without_values

LETTERS = (("R", "L"), ("A", "P"), ("F", "H"))


def letter(direction: NDArray[np.float64]) -> str:
    """Name the side of the patient a direction (LPS) points to most."""
    axis = int(np.abs(direction).argmax())
    return LETTERS[axis][int(direction[axis] > 0)]


def plane(image: Dataset, frame: str) -> dict[str, Any]:
    """Return position, orientation, spacing and thickness of an image, or of one frame of a multi-frame image.

    Raises:
        InputError: the image does not say where it lies.
    """
    groups = [image]
    if frame:
        shared = image.get("SharedFunctionalGroupsSequence") or []
        for group in (image.PerFrameFunctionalGroupsSequence[int(frame) - 1], *shared):
            groups += [macro.value[0] for macro in group if macro.VR == "SQ" and macro.value]
    found = {}
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        found[keyword] = next((group.get(keyword) for group in groups if group.get(keyword) is not None), None)
    missing = [keyword for keyword, value in found.items() if value is None and keyword != "SliceThickness"]
    if missing:
        raise InputError(f"image {image.SOPInstanceUID} lacks {', '.join(missing)}")
    return found


@without_values()
def secondary_captures(
    images: Sequence[Dataset], rows: Sequence[SliceResult], summary: SeriesSummary, colour: Sequence[NDArray[np.uint8]]
) -> list[Dataset]:
    """Make one RGB Secondary Capture image of each slice, with the geometry of its source.

    Args:
        images: headers of the scored images, of one study, in any order.
        rows: the slices, as in slices.csv.
        summary: the series, as in summary.json.
        colour: picture of each row's slice, RGB ``(rows, columns, 3)`` on the pixel grid of its source.

    Raises:
        InputError: highdicom is absent, or rows, images and pictures do not belong together.
    """
    require_highdicom()
    known = evidence(images)
    originals = {str(image.SOPInstanceUID): image for image in images}
    if len(colour) != len(rows):
        raise InputError(f"{len(rows)} slices have {len(colour)} pictures")
    series_uid = highdicom.UID()
    task = explained_task(summary)
    about = "Cord compression heat map" if task is None else f"Cord compression heat map: {task.name}"
    results = []
    for index, (row, picture) in enumerate(zip(rows, colour, strict=True)):
        source, original = source_of(row, known), originals[row["sop_uid"]]
        if picture.shape != (original.Rows, original.Columns, 3):
            raise InputError(
                f"the picture of {row['sop_uid']} has shape {picture.shape}, the image has {original.Rows} rows and "
                f"{original.Columns} columns"
            )
        where = plane(original, row["frame"])
        directions = np.reshape(np.asarray(where["ImageOrientationPatient"], dtype=float), (2, 3))
        result = highdicom.sc.SCImage.from_ref_dataset(
            ref_dataset=source,
            pixel_array=np.ascontiguousarray(picture),
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            series_instance_uid=series_uid,
            series_number=2000 + int(original.get("SeriesNumber") or 0),
            sop_instance_uid=highdicom.UID(),
            instance_number=index + 1,
            pixel_spacing=tuple(map(float, where["PixelSpacing"])),
            patient_orientation=(letter(directions[0]), letter(directions[1])),
            series_description=f"{about} (RESEARCH USE ONLY)",
            content_qualification="RESEARCH",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            **software(summary),
        )
        result.BodyPartExamined = "CSPINE"  # not paired, so that no laterality is missing
        for keyword, value in where.items():
            if value is not None:
                setattr(result, keyword, value)
        for keyword in ("FrameOfReferenceUID", "PositionReferenceIndicator"):
            if source.get(keyword) is not None:
                setattr(result, keyword, source.get(keyword))
        result.BurnedInAnnotation = "YES"  # the caption; it names no patient
        result.DerivationDescription = "Grad-CAM heat map of a neural network over the source image"
        if task is not None:
            result.DerivationDescription += f"; it explains {heat_in_words(row, task)}"
        call = "compressed" if row["compressed"] else "not compressed"
        found = row["status"] if row["probability"] is None else f"probability {row['probability']:.3f}: {call}"
        found = "; ".join(filter(None, (found, calls_in_words(row), str(row.get("contradiction") or ""))))
        result.ImageComments = f"{found}. {notice_line(summary)}"
        reference = Dataset()
        reference.ReferencedSOPClassUID = source.SOPClassUID
        reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
        if row["frame"]:
            reference.ReferencedFrameNumber = int(row["frame"])
        purpose = highdicom.sr.CodedConcept(*codes.DCM.SourceImageForImageProcessingOperation[:3])
        reference.PurposeOfReferenceCodeSequence = [purpose]
        result.SourceImageSequence = [reference]
        results.append(result)
    return results
