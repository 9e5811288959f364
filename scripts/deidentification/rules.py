"""What may stay in an MR dataset, and what takes the place of the rest."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator

from pydicom import Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from .linkage import Linkage

PLAIN_VRS = {"DS", "IS", "US", "SS", "UL", "SL", "FL", "FD", "AT", "CS"}
PLAIN_GROUPS = {0x0008: {"CS"}, 0x0018: PLAIN_VRS, 0x0020: PLAIN_VRS, 0x0028: PLAIN_VRS, 0x5200: PLAIN_VRS}
SEQUENCE_GROUPS = {0x0018, 0x0020, 0x0028, 0x5200}
PIXELS = {0x7FE00010}


def tags(*keywords: str) -> set[int]:
    """Give the tags of keywords."""
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
DROPPED = tags("ModifyingDeviceID", "TransducerIdentificationSequence", "UDISequence")
EMPTY = (
    "PatientBirthDate", "PatientSex", "ReferringPhysicianName", "AccessionNumber", "StudyID",
    "PositionReferenceIndicator",
)  # fmt: skip
SHIFT_CODE = ("113107", "Retain Longitudinal Temporal Information Modified Dates Option")
METHOD_CODES = (("113100", "Basic Application Confidentiality Profile"), ("113105", "Clean Descriptors Option"))
SHORTEST_IDENTIFIER = 4
IDENTIFYING = (
    "PatientID", "PatientName", "OtherPatientIDs", "PatientBirthDate", "AccessionNumber", "ReferringPhysicianName",
    "InstitutionName", "InstitutionAddress", "PatientAddress", "PatientTelephoneNumbers", "DeviceSerialNumber",
    "StudyID", "OperatorsName", "PerformingPhysicianName", "NameOfPhysiciansReadingStudy", "RequestingPhysician",
)  # fmt: skip


def clean(source: Dataset, linkage: Linkage, transfer_syntax_uid: str, shift_dates: bool = True) -> Dataset:
    """Make a dataset without identity; what is kept is kept byte for byte.

    Args:
        source: an MR image, read whole.
        linkage: gives pseudonyms and UIDs.
        transfer_syntax_uid: how the pixels are encoded, now and then.
        shift_dates: move dates back by the patient's number of days; else remove dates and times.
    """
    patient = str(source.get("PatientID", ""))
    days = linkage.shift_days(patient) if shift_dates else None
    result = Dataset()
    result.update({element.tag: element for element in kept(source, linkage, days)})
    for keyword in EMPTY:
        setattr(result, keyword, "")
    for keyword in ("StudyDate", "StudyTime"):
        if keyword not in result:
            setattr(result, keyword, "")
    result.PatientID = linkage.patient(patient)
    result.PatientName = result.PatientID
    derivation = str(source.get("DerivationDescription", "")).lower()
    if "lossless" in derivation and "compress" in derivation:
        result.DerivationDescription = "Lossless compression"
    mark(result, shift_dates)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = result.SOPClassUID
    meta.MediaStorageSOPInstanceUID = result.SOPInstanceUID
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    result.file_meta = meta
    return result


def kept(source: Dataset, linkage: Linkage, days: int | None) -> Iterator[DataElement]:
    """Give what stays of a dataset, in sequences too."""
    for tag in source.keys():  # noqa: SIM118 - iterating a Dataset converts every value
        raw = source.get_item(tag)
        group = tag.group
        if tag.is_private or tag in DROPPED:
            continue
        vr = standard_vr(int(tag), str(raw.VR or ""))
        if tag in PIXELS or tag in KEPT or vr in PLAIN_GROUPS.get(group, ()):
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
                part.update({element.tag: element for element in kept(item, linkage, days)})
                items.append(part)
            yield DataElement(tag, "SQ", Sequence(items))


def standard_vr(tag: int, written: str) -> str:
    """Give the VR of the standard, so that a file cannot smuggle text in under a number's VR."""
    try:
        return str(dictionary_VR(tag)).split(" or ")[0]
    except KeyError:
        return f"unknown {written}"


def shifted(element: DataElement, days: int) -> Iterator[DataElement]:
    """Move a date back; the time of day stays; what is no date goes."""
    value = str(element.value or "")
    if element.VR == "TM":
        if re.fullmatch(r"[0-9.]{0,16}", value):
            yield DataElement(element.tag, "TM", value)
        return
    if not re.fullmatch(r"\d{8}([0-9.]{0,17}([+-]\d{4})?)?", value):
        return
    try:
        date = datetime.datetime.strptime(value[:8], "%Y%m%d") - datetime.timedelta(days=days)
    except (ValueError, OverflowError):
        return
    yield DataElement(element.tag, element.VR, f"{date.year:04}{date.month:02}{date.day:02}{value[8:]}")


def mark(result: Dataset, shift_dates: bool) -> None:
    """Say in the dataset that its identity was removed, and how.

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


def identifiers(source: Dataset) -> set[str]:
    """Gather what identifies a patient, visit or device, for looking whether any of it is left.

    Short numbers are left out, for they appear among the sizes and times of any image, and so are words of the maker's
    name, which some scanners give as their institution.
    """
    maker = f"{source.get('Manufacturer', '')} {source.get('ManufacturerModelName', '')}".upper()
    found = set()
    for keyword in IDENTIFYING:
        value = str(source.get(keyword, "") or "")
        found.update([value, *re.split(r"[\\^=\s,;]+", value)])
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        found.add(str(source.get(keyword, "") or ""))
    long_enough = {one for one in found if len(one) >= SHORTEST_IDENTIFIER and one.upper() not in maker}
    return {one for one in long_enough if not (one.isdigit() and len(one) < SHORTEST_IDENTIFIER + 2)}


def left_over(content: bytes, names: Iterable[str]) -> list[str]:
    """List identifiers that stand as words in the header of a written file."""
    text = content.decode("latin-1")
    tokens = set(re.split(r"[^0-9A-Za-z.]+", text)) | set(re.split(r"[^0-9A-Za-z\x80-\xff]+", text))
    return [name for name in names if name in tokens or (len(name.split()) > 1 and name in text)]
