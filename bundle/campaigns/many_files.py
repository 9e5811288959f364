"""Many small DICOM files, made of one, and one bad file in each hundred."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.console import progress

if TYPE_CHECKING:
    from pydicom import Dataset

PER_SERIES, PER_PATIENT, SCORED = 25, 100, 5
"""Slices of a series, files of a patient, and slices of a series that is scored."""
BAD_EVERY = 100
KINDS = ("no DICOM", "truncated", "damaged header", "wrong kind")
NUMBERS = {"patient": b"7777771", "series": b"7777772", "slice": b"7777773", "height": b"7777774"}
"""What stands in the template for what differs between files."""


class Template:
    """Bytes of a slice, of which any number of others are made."""

    def __init__(self, dataset: Dataset) -> None:
        from pydicom import dcmwrite

        patient, series, one, height = (text.decode() for text in NUMBERS.values())
        dataset.PatientID, dataset.PatientName, dataset.InstanceNumber = patient, "Load^Test", 1
        dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = f"1.2.3.{patient}", f"1.2.3.{patient}.1"
        dataset.SeriesInstanceUID = f"1.2.3.{patient}.{series}"
        dataset.SOPInstanceUID = f"1.2.3.{patient}.{series}.{one}"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.ImagePositionPatient = [*map(str, dataset.ImagePositionPatient[:2]), height]
        dataset.pop("SliceLocation", None)
        stream = io.BytesIO()
        dcmwrite(stream, dataset, enforce_file_format=True)
        self.content = stream.getvalue()
        self.stamp = len(self.content) - 64

    def slice(self, patient: int, series: int, number: int) -> bytes:
        """Return the file of one slice; its last pixels are its own."""
        values = (patient + 10**6, series + 10**6, number + 10**6)
        content = self.content
        for text, value in zip(list(NUMBERS.values())[:3], values, strict=True):
            content = content.replace(text, b"%d" % value)
        content = content.replace(NUMBERS["height"], b"%+07.1f" % (3.0 * number))
        # below 2**8, so that no maker's range of values is left
        mark = hashlib.sha256(repr(values).encode()).digest()
        return content[: self.stamp] + b"".join(bytes((one, 0)) for one in mark)


def spoilt(content: bytes, kind: str) -> bytes:
    """Return a bad file of a kind."""
    if kind == "no DICOM":
        return b"a text\n" * 20
    if kind == "truncated":
        return content[:-1000]
    if kind == "damaged header":
        place = content.index(b"\x28\x00\x10\x00US\x02\x00") + 8  # Rows
        return content[:place] + b"\0\0" + content[place + 2 :]
    # sagittal: no axial image
    place = content.index(b"\x20\x00\x37\x00DS") + 8
    length = int.from_bytes(content[place - 2 : place], "little")
    return content[:place] + b"0\\1\\0\\0\\0\\-1".ljust(length) + content[place + length :]


def cohort_files(template: Template, n_files: int) -> Iterator[tuple[str, bytes, str]]:
    """Yield name, content and fault of a cohort's files: of each hundred the last is bad, in a series of its own."""
    for number in range(n_files):
        patient, own = divmod(number, PER_PATIENT)
        fault = KINDS[patient % len(KINDS)] if own == BAD_EVERY - 1 else ""
        series = PER_PATIENT if fault else own // PER_SERIES
        content = template.slice(patient, series, own)
        yield f"{patient:05d}/{series:03d}/{own:03d}", spoilt(content, fault) if fault else content, fault


def series_files(template: Template, n_series: int) -> Iterator[tuple[str, bytes, str]]:
    """Yield name, content and fault of the files of series to score: of each hundred series the last is bad."""
    for number in range(n_series):
        fault = KINDS[number // BAD_EVERY % len(KINDS)] if number % BAD_EVERY == BAD_EVERY - 1 else ""
        for one in range(SCORED):
            content = template.slice(number, 1, one)
            yield f"{number:05d}/{one}", spoilt(content, fault) if fault else content, fault


def write_files(folder: Path, files: Iterator[tuple[str, bytes, str]], total: int) -> list[tuple[str, str]]:
    """Write files, and return name and fault of each."""
    listed = []
    for name, content, fault in progress(files, f"writing {folder.name}", "file", total):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        listed.append((name, fault))
    return listed
