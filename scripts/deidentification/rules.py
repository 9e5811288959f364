"""What may stay in an MR dataset, and what takes the place of the rest."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from typing import Any

from pydicom import Dataset
from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from ..dicom.diffusion import WEIGHTED
from ..dicom.elements import text
from ..dicom.frames import PHANTOM_COMMENT
from ..dicom.private_elements import PrivateBlocks
from ..dicom.weightings import named_lossless
from .linkage import Linkage

PLAIN_VRS = {"DS", "IS", "US", "SS", "UL", "SL", "FL", "FD", "AT", "CS"}
SIZES = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "FL": 4, "FD": 8, "AT": 4}
PLAIN_GROUPS = {0x0008: {"CS"}, 0x0018: PLAIN_VRS, 0x0020: PLAIN_VRS, 0x0028: PLAIN_VRS, 0x5200: PLAIN_VRS}
SEQUENCE_GROUPS = {0x0018, 0x0020, 0x0028, 0x5200}
PIXELS = {0x7FE00010}


def tags(*keywords: str) -> set[int]:
    """Return the tags of keywords."""
    return {int(tag_for_keyword(keyword) or 0) for keyword in keywords}


KEPT = tags(
    "Manufacturer", "ManufacturerModelName", "SequenceName", "PulseSequenceName", "ImagedNucleus", "RescaleType",
    "StackID", "PresentationLUTShape", "CodeValue", "CodingSchemeDesignator", "CodeMeaning",
)  # fmt: skip
DATED = tags(
    "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "StudyTime", "SeriesTime", "AcquisitionTime",
    "ContentTime", "AcquisitionDateTime", "FrameAcquisitionDateTime", "FrameReferenceDateTime",
)  # fmt: skip
SEQUENCES = tags("ReferencedImageSequence", "SourceImageSequence", "AnatomicRegionSequence")
PATIENT_ID, CHARACTER_SET = 0x00100020, 0x00080005
DROPPED = tags("ModifyingDeviceID", "TransducerIdentificationSequence", "UDISequence")
EMPTY = (
    "PatientBirthDate", "PatientSex", "ReferringPhysicianName", "AccessionNumber", "StudyID",
    "PositionReferenceIndicator",
)  # fmt: skip
SHIFT_CODE = ("113107", "Retain Longitudinal Temporal Information Modified Dates Option")
METHOD_CODES = (("113100", "Basic Application Confidentiality Profile"), ("113105", "Clean Descriptors Option"))
OTHER_DERIVATION = "Derived by more than lossless compression"
TIME = r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?"


def clean(source: Dataset, linkage: Linkage, transfer_syntax_uid: str, shift_dates: bool = True) -> Dataset:
    """Make a dataset without identity; what is kept is kept byte for byte.

    Args:
        source: an MR image, read whole.
        linkage: gives pseudonyms and UIDs.
        transfer_syntax_uid: how the pixels are encoded, now and then.
        shift_dates: move dates back by the patient's number of days; else remove dates and times.
    """
    patient = patient_of(source)
    days = linkage.shift_days(patient) if shift_dates else None
    result = Dataset()
    result.update({element.tag: element for element in kept_elements(source, linkage, days)})
    for keyword in EMPTY:
        setattr(result, keyword, "")
    for keyword in ("StudyDate", "StudyTime"):
        if keyword not in result:
            setattr(result, keyword, "")
    result.PatientID = linkage.patient(patient)
    result.PatientName = result.PatientID
    keep_kind(source, result)
    if is_phantom(source):
        result.ImageComments = PHANTOM_COMMENT  # nothing of the source's text; QualityControlImage stays as it is
    mark(result, shift_dates)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = result.SOPClassUID
    meta.MediaStorageSOPInstanceUID = result.SOPInstanceUID
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    result.file_meta = meta
    return result


def keep_kind(source: Dataset, result: Dataset) -> None:
    """Write in standard attributes and plain words what removed elements say of the kind of an image.

    Without it, a diffusion-weighted or averaged image would pass for an original of T2. The b-value, which each frame
    of a file may have, is written by `scripts.deidentification.copying.state_sequence`.
    """
    blocks = PrivateBlocks()
    for tag in sorted(source.keys()):
        if blocks.wants(tag):
            blocks.add(source.get_item(tag))
    direction = text(blocks.fields.get("SiemensDirectionality")).upper()
    if direction in WEIGHTED and "DiffusionDirectionality" not in result:
        result.DiffusionDirectionality = direction
    derivation = str(source.get("DerivationDescription", "") or "").strip()
    if source.get("DerivationCodeSequence"):
        result.DerivationDescription = OTHER_DERIVATION
    elif derivation:
        result.DerivationDescription = "Lossless compression" if named_lossless(derivation) else OTHER_DERIVATION


def patient_of(source: Dataset) -> str:
    """Return PatientID; spaces around it are padding (PS3.5 6.2, VR LO) and make no other patient."""
    found, charset = (source.get_item(tag) if tag in source else None for tag in (PATIENT_ID, CHARACTER_SET))
    return text(found, charset)


def is_phantom(source: Dataset) -> bool:
    """Return whether ``scripts.phantom`` made the image, so that its copies never pass for patients."""
    quality = str(source.get("QualityControlImage", "") or "").strip().upper()
    return quality == "YES" and str(source.get("ImageComments", "") or "").strip().startswith(PHANTOM_COMMENT)


def kept_elements(source: Dataset, linkage: Linkage, days: int | None) -> Iterator[DataElement]:
    """Yield what stays of a dataset, in sequences too."""
    for tag in source.keys():  # noqa: SIM118 - iterating a Dataset converts every value
        raw = source.get_item(tag)
        group = tag.group
        if tag.is_private or tag in DROPPED:
            continue
        vr = standard_vr(int(tag), str(raw.VR or ""))
        if tag in PIXELS or tag in KEPT or (vr in PLAIN_GROUPS.get(group, ()) and (vr == "CS" or is_numeric(raw, vr))):
            yield raw
        elif vr == "UI" and (group in PLAIN_GROUPS or group == 0x0008):
            element = source[tag]
            values = element.value if element.VM > 1 else [element.value]
            new = [linkage.uid(str(value)) for value in values if value]
            yield DataElement(tag, "UI", new if len(new) != 1 else new[0])
        elif tag in DATED and days is not None:
            yield from shifted(source[tag], days)
        elif vr == "SQ" and (tag in SEQUENCES or group in SEQUENCE_GROUPS):
            items = []
            for item in source[tag].value or []:
                part = Dataset()
                part.update({element.tag: element for element in kept_elements(item, linkage, days)})
                items.append(part)
            yield DataElement(tag, "SQ", Sequence(items))


def standard_vr(tag: int, written: str) -> str:
    """Return the VR of the standard, so that a file cannot smuggle text in under a number's VR."""
    try:
        return str(dictionary_VR(tag)).split(" or ")[0]
    except KeyError:
        return f"unknown {written}"


def is_numeric(element: Any, vr: str) -> bool:
    """Return whether an element holds the numbers that the standard wants there, and no text in their place.

    Args:
        element: as `Dataset.get_item` returns it, decoded or not.
        vr: of the standard.
    """
    written = vr if element.VR in (None, "UN") else str(element.VR)
    if not isinstance(element.value, bytes):
        return written in dictionary_VR(element.tag).split(" or ")
    if written not in SIZES:
        return re.fullmatch(rb"[0-9eE+\-. \\]*\0*", element.value) is not None
    most = dictionary_VM(element.tag).rpartition("-")[2]
    n_values, rest = divmod(len(element.value), SIZES[written])
    return not rest and ("n" in most or n_values <= int(most))


def shifted(element: DataElement, days: int) -> Iterator[DataElement]:
    """Move a date back; the time of day stays; what is no date goes."""
    value = str(element.value or "")
    if element.VR == "TM":
        if re.fullmatch(TIME, value):
            yield DataElement(element.tag, "TM", value)
        return
    if not re.fullmatch(rf"\d{{8}}({TIME}([+-]\d{{4}})?)?", value):
        return
    try:
        date = datetime.datetime.strptime(value[:8], "%Y%m%d") - datetime.timedelta(days=days)
    except (ValueError, OverflowError):
        return
    yield DataElement(element.tag, element.VR, f"{date.year:04}{date.month:02}{date.day:02}{value[8:]}")


def mark(result: Dataset, shift_dates: bool) -> None:
    """Record in the dataset that its identity was removed, and how.

    Source: PS3.15 Table E.1-1 and PS3.16 CID 7050.
    """
    result.PatientIdentityRemoved = "YES"
    result.DeidentificationMethod = "PS3.15 Basic Profile, list of kept attributes"
    result.LongitudinalTemporalInformationModified = "MODIFIED" if shift_dates else "REMOVED"
    codes = [*METHOD_CODES, SHIFT_CODE] if shift_dates else METHOD_CODES
    items = []
    for value, meaning in codes:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
        items.append(item)
    result.DeidentificationMethodCodeSequence = Sequence(items)
