"""How sound DICOM files are damaged: lengths, tags, sequences, frames and transfer syntaxes."""

from __future__ import annotations

import io
import random
import re
from collections.abc import Callable
from typing import Any

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from scripts.dicom.silence import quiet

from .mutations import BYTES, HEAD, JUNK, Mutation, flip

SYNTAXES = (
    *(ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian),
    *(RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1, UID("1.2.3"), UID("")),
)
WHOLE = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel", "PixelRepresentation")


def damage_length(data: bytearray, rng: random.Random) -> bytearray:
    """Overwrite the length of an element with explicit VR."""
    found = list(re.finditer(rb"(?:AE|AS|CS|DA|DS|DT|FD|FL|IS|LO|LT|PN|SH|SL|SS|ST|TM|UI|UL|US)..", data[HEAD:], re.S))
    long = list(re.finditer(rb"(?:OB|OW|SQ|UN|UT)\0\0....", data[HEAD:], re.S))
    if found and (not long or rng.random() < 0.7):
        end = HEAD + rng.choice(found).end()
        data[end - 2 : end] = rng.choice([0, 1, 7, 0xFF, 0xFFFE, 0xFFFF]).to_bytes(2, "little")
    elif long:
        end = HEAD + rng.choice(long).end()
        data[end - 4 : end] = rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF]).to_bytes(4, "little")
    return data


def nest(data: bytearray, rng: random.Random) -> bytearray:
    """Put sequences within sequences, thousands deep, in front of the first element after the meta information."""
    depth = rng.choice([10, 200, 1500, 20_000])
    item = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    start = data.find(b"\x08\x00", HEAD + 80)
    data[max(start, HEAD) : max(start, HEAD)] = item * depth
    return data


def edited(edit: Callable[[Dataset, random.Random], None]) -> Mutation:
    """Return a mutation that changes a dataset; what pydicom cannot read or write again stays as it is."""

    def mutate(data: bytearray, rng: random.Random) -> bytearray:
        stream = io.BytesIO()
        with quiet():
            try:
                dataset = dcmread(io.BytesIO(data), force=True)
                edit(dataset, rng)
                dcmwrite(stream, dataset, enforce_file_format=False)
            except Exception:  # values that no file can hold, in as many ways as there are kinds of them
                return flip(data, rng)
        return bytearray(stream.getvalue())

    mutate.__name__ = edit.__name__
    return mutate


def places(dataset: Dataset) -> list[tuple[Dataset, Any]]:
    """List every element of a dataset with the dataset or item that holds it."""
    found = []
    for element in dataset:
        found.append((dataset, element))
        for item in element.value if element.VR == "SQ" else ():
            found += places(item)
    return found


def drop_element(dataset: Dataset, rng: random.Random) -> None:
    """Leave an element out."""
    holder, element = rng.choice(places(dataset))
    del holder[element.tag]


def junk_value(dataset: Dataset, rng: random.Random) -> None:
    """Give an element a value that means nothing."""
    _, element = rng.choice([one for one in places(dataset) if one[1].VR not in ("SQ", "OB", "OW")])
    element.VR, element._value = rng.choice(["LO", "UT", element.VR]), rng.choice(JUNK)


def shuffle_items(dataset: Dataset, rng: random.Random) -> None:
    """Repeat, reverse, drop or empty the items of a sequence."""
    sequences = [element for _, element in places(dataset) if element.VR == "SQ" and element.value]
    if not sequences:
        return drop_element(dataset, rng)
    element = rng.choice(sequences)
    items = list(element.value)
    element.value = rng.choice([items * 2, items[::-1], items[:-1], [], [Dataset()], [*items, Dataset()]])
    return None


def wrong_frames(dataset: Dataset, rng: random.Random) -> None:
    """Say another number of frames."""
    number = int(dataset.get("NumberOfFrames") or 1)
    dataset.NumberOfFrames = rng.choice([0, -1, 1, number - 1, number + 1, 2 * number, 2**31 - 1])


def wrong_syntax(dataset: Dataset, rng: random.Random) -> None:
    """Say another transfer syntax than that of the pixels."""
    dataset.file_meta.TransferSyntaxUID = rng.choice(SYNTAXES)


def wrong_size(dataset: Dataset, rng: random.Random) -> None:
    """Say another size or kind of the pixels."""
    name = rng.choice(WHOLE)
    old = int(dataset.get(name) or 0)
    setattr(dataset, name, rng.choice([0, 1, old - 1 if old else 7, old + 1, 2 * old, 65535]))


DICOM: tuple[Mutation, ...] = (
    *BYTES,
    *(damage_length, nest),
    *map(edited, (drop_element, junk_value, shuffle_items, wrong_frames, wrong_syntax, wrong_size)),
)
