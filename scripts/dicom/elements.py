"""Reading DICOM headers fast: pydicom's element generator on the first bytes of a file, values decoded only when asked.

``pydicom.dcmread`` builds a dataset and converts every value; an index of a hospital disk wants some fifty values of
millions of files. Only calls that pydicom 2.4 and 3 both have are used.
"""

from __future__ import annotations

import io
import math
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import data_element_generator
from pydicom.tag import BaseTag
from pydicom.values import converters

from .character_sets import ESCAPES, decode
from .private_elements import PRIVATE_GROUPS, PrivateBlocks

KEYWORDS = [
    "SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "Modality", "Manufacturer",
    "ManufacturerModelName", "SeriesDescription", "DerivationDescription", "DerivationCodeSequence", "FrameType",
    "PatientID", "BodyPartExamined", "ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType",
    "SequenceName", "PulseSequenceName", "SliceThickness", "RepetitionTime", "EchoTime", "InversionTime", "EchoNumbers",
    "MagneticFieldStrength", "SpacingBetweenSlices", "PatientPosition", "EchoPulseSequence", "InversionRecovery",
    "EchoPlanarPulseSequence", "SpectrallySelectedSuppression", "SpectrallySelectedExcitation", "InversionTimes",
    "EffectiveEchoTime", "DiffusionBValue", "DiffusionDirectionality", "DiffusionGradientOrientation",
    "MRDiffusionSequence", "AcquisitionContrast", "StudyInstanceUID", "SeriesInstanceUID", "AcquisitionNumber",
    "AcquisitionTime", "TemporalPositionIdentifier", "TemporalPositionIndex", "InstanceNumber",
    "FrameAcquisitionNumber", "FrameAcquisitionDateTime", "TriggerTime", "ImagePositionPatient",
    "ImageOrientationPatient", "StackID", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows",
    "Columns", "PixelSpacing", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleIntercept",
    "RescaleSlope", "LossyImageCompression", "QualityControlImage", "ImageComments",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip
TAGS = {int(tag_for_keyword(keyword) or 0): keyword for keyword in KEYWORDS}
PIXELS = {0x7FE00010: "PixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00008: "FloatPixelData"}
MEDIA_STORAGE_CLASS = 0x00020002
TRANSFER_SYNTAX = 0x00020010
DICOMDIR = "1.2.840.10008.1.3.10"
EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
FIRST_BYTES = 1 << 17
UNDEFINED = 0xFFFFFFFF
MACROS = {
    int(tag_for_keyword(f"{name}Sequence") or 0)
    for name in (
        "PixelMeasures", "PlanePosition", "PlaneOrientation", "PixelValueTransformation", "FrameContent", "MREcho",
        "MRTimingAndRelatedParameters", "MRModifier", "MRImageFrameType", "MRDiffusion",
        "UnassignedSharedConvertedAttributes", "UnassignedPerFrameConvertedAttributes",
    )
}  # fmt: skip
OTHER_CONTENTS = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"BM": "a BMP picture",
    b"II*\0": "a TIFF picture",
    b"MM\0*": "a TIFF picture",
    b"%PDF": "a PDF",
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"\xff\xfe": "text",
    b"\xfe\xff": "text",
}
CONTROL_BYTES = set(range(32)) - set(b"\t\n\r\f")
BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}

Fields = dict[str, Any]


class UnreadableError(Exception):
    """The file is no DICOM image; the message is the reason that a person reads."""


class NotDicomError(UnreadableError):
    """The file is not DICOM, or so damaged that nothing of it shows."""


class OtherContentError(UnreadableError):
    """The file is whole and something else, such as text."""


@dataclass(frozen=True)
class Pixels:
    """Where the pixel element is: its keyword, offset of its value in bytes, and length (0xFFFFFFFF if undefined)."""

    keyword: str
    offset: int
    length: int


@dataclass(frozen=True)
class Header:
    """The wanted elements of one file by keyword, not yet decoded."""

    fields: Fields
    transfer_syntax: str
    little_endian: bool
    pixels: Pixels | None


def read_header(path: str | Path) -> Header:
    """Read the wanted elements of a file up to its pixels.

    Raises:
        UnreadableError: the file cannot be opened or is not DICOM.
    """
    try:
        with open(path, "rb", buffering=0) as stream:  # noqa: PTH123, half the time of pathlib's, once per file
            start = stream.read(FIRST_BYTES)
            header = parse(io.BytesIO(start), start) if len(start) < FIRST_BYTES else parse_long(stream, start)
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror or error}") from error
    if not header.fields:
        raise UnreadableError("DICOM that parses to nothing (a damaged header, or a sequence that never closes)")
    return header


class Whole(io.BufferedReader):
    """A file of which nobody asks for more than it holds; else a damaged length claims its memory before it is read."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read ``size`` bytes, or as many as there are."""
        return super().read(size if size is None else min(size, os.fstat(self.fileno()).st_size))


def parse_long(stream: io.FileIO, start: bytes) -> Header:
    """Parse a file longer than its first bytes, from the file itself where the header does not end within them."""
    try:
        header = parse(io.BytesIO(start), start)
    except (EOFError, OSError, ValueError, struct.error):  # an element is cut
        header = None
    if header is None or header.pixels is None:
        with Whole(stream) as rest:
            header = parse(rest, start)
    return header


def parse(stream: BinaryIO, start: bytes) -> Header:
    """Parse what ``stream`` holds; ``start`` are its first bytes."""
    offset = dataset_offset(start)
    stream.seek(offset)
    meta: dict[int, Any] = {
        int(element.tag): element for element in data_element_generator(stream, False, True, not_group_2)
    }
    syntax = text(meta.get(TRANSFER_SYNTAX))
    if text(meta.get(MEDIA_STORAGE_CLASS)) == DICOMDIR:
        raise OtherContentError("DICOMDIR, a table of contents without images")
    if syntax == DEFLATED:
        raise UnreadableError("deflated DICOM is not supported; inflate it first (dcmconv +te of dcmtk)")
    stream.seek(offset if not meta else stream.tell())
    here = stream.tell()
    group, vr = struct.unpack("<H2x2s", stream.read(6).ljust(6, b"\0"))
    stream.seek(here)
    little_endian = syntax != EXPLICIT_BIG_ENDIAN if syntax else group < 0x0400
    implicit = not vr.isalpha() or not vr.isupper()
    found: list[Pixels] = []
    private = PrivateBlocks()

    def at_pixels(tag: int, vr: str | None, length: int) -> bool:
        if tag in PIXELS:
            found.append(Pixels(PIXELS[tag], stream.tell(), length))
            return True
        if tag >> 16 in PRIVATE_GROUPS and length != UNDEFINED and private.wants(tag):
            here = stream.tell()
            value = stream.read(length)
            stream.seek(here)
            private.add(RawDataElement(BaseTag(tag), vr, length, value, here, implicit, little_endian))
        return False

    generator = data_element_generator(stream, implicit, little_endian, at_pixels, specific_tags=list(TAGS))
    fields = {TAGS[tag]: element for element in generator if (tag := int(element.tag)) in TAGS} | private.fields
    if not syntax and offset == 0:  # as old as files without a preamble are, they cannot say
        syntax = EXPLICIT_BIG_ENDIAN if not little_endian else f"1.2.840.10008.1.2{'' if implicit else '.1'}"
    return Header(fields, syntax, little_endian, found[0] if found else None)


def dataset_offset(start: bytes) -> int:
    """Find where the first element is: after the preamble, or at once in old files without one."""
    if start[128:132] == b"DICM":
        return 132
    if start[:2] in (b"\x08\x00", b"\x02\x00", b"\x00\x08") and len(start) > 8:
        return 0
    if not start:
        raise NotDicomError("empty file")
    known = next((kind for mark, kind in OTHER_CONTENTS.items() if start.startswith(mark)), None)
    if known or not set(start[:1024]) & CONTROL_BYTES:
        raise OtherContentError(f"not DICOM ({known or 'text'})")
    raise NotDicomError("not DICOM (no DICM at byte 128)")


def not_group_2(tag: int, _vr: str | None, _length: int) -> bool:
    """Return whether the file meta information has ended."""
    return tag >> 16 != 2


def flatten(groups: Dataset) -> Fields:
    """Gather the wanted elements from the macros of one functional group item."""
    fields: Fields = {}
    for tag in groups.keys() & MACROS:
        macro = groups[tag]
        for item in macro.value[:1] if macro.VR == "SQ" and macro.value else []:
            private = PrivateBlocks()
            for own in sorted(item.keys()):
                if own in TAGS:
                    fields[TAGS[own]] = item.get_item(own)
                elif private.wants(own):
                    private.add(item.get_item(own))
            fields |= private.fields
    return fields


def sequence(fields: Mapping[str, Any], keyword: str) -> list[Dataset]:
    """Return the items of a sequence, none if it is absent."""
    element = fields.get(keyword)
    if element is None:
        return []
    return list(Dataset({element.tag: element})[element.tag].value or [])


def absent(element: Any) -> bool:
    """Return whether there is nothing to decode; a damaged VR counts, because other readers would find no value."""
    return element is None or element.value is None or (element.VR is not None and str(element.VR) not in converters)


def text(element: Any, charset: Any = None) -> str:
    """Decode an element to text; empty where it is absent."""
    if absent(element):
        return ""
    value = element.value
    if isinstance(value, bytes):
        if value.isascii() and b"\x1b" not in value:
            value = value.decode("ascii")
        else:  # several bytes a character are 7-bit text, too, between escape sequences
            names = [name.strip() for name in text(charset).upper().split("\\")]
            value = ESCAPES.sub("", decode(value, names))
    elif not isinstance(value, str):
        value = "\\".join(map(str, value)) if hasattr(value, "__iter__") else str(value)
    return str(value).strip(" \0\n\r\t")


def texts(element: Any) -> tuple[str, ...]:
    """Decode a multi-valued element, e.g. ImageType, in capitals."""
    return tuple(part.strip().upper() for part in text(element).split("\\") if part.strip())


def numbers(element: Any) -> tuple[float, ...]:
    """Decode numbers, written as text or in binary; empty if any of them is no finite number."""
    if absent(element):
        return ()
    value = element.value
    vr = str(element.VR or "UN")
    if vr == "UN":
        vr = dictionary_VR(element.tag)
    try:
        if isinstance(value, bytes) and vr in BINARY:
            code = BINARY[vr]
            n = len(value) // struct.calcsize(code)
            order = "<" if element.is_little_endian else ">"
            found: tuple[float, ...] = struct.unpack(f"{order}{n}{code}", value)
        else:
            found = tuple(float(part) for part in text(element).split("\\")) if text(element) else ()
    except (ValueError, struct.error):
        return ()
    return tuple(map(float, found)) if all(map(math.isfinite, found)) else ()


def number(element: Any, allowed: Callable[[float], bool] = lambda _: True) -> float | None:
    """Decode the first number; None where it is absent, unreadable or not allowed."""
    found = numbers(element)
    return found[0] if found and allowed(found[0]) else None
