"""Small DICOM series for tests: 32 x 32 pixels, any tag overridable."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from scripts.phantom.enhanced import enhanced_of

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SIZE = 32


def uid(*parts: object) -> str:
    """Give the UID that belongs to some names."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()
    return f"2.25.{int(digest[:24], 16)}"


def pixels(seed: int, frames: int = 1) -> np.ndarray:
    """Give 12-bit noise, shape (frames, 32, 32)."""
    return np.random.default_rng(seed).integers(0, 4096, (frames, SIZE, SIZE)).astype("<u2")


def axial_t2(patient: str, series: str, index: int, spacing_mm: float = 3.0) -> Dataset:
    """Give slice ``index`` of an axial T2 TSE series, counted from caudal."""
    ds = Dataset()
    ds.SOPClassUID = MRImageStorage
    ds.SOPInstanceUID = uid(patient, series, index)
    ds.StudyInstanceUID = uid(patient)
    ds.SeriesInstanceUID = uid(patient, series)
    ds.FrameOfReferenceUID = uid(patient, "frame")
    ds.Modality = "MR"
    ds.Manufacturer = "SIEMENS"
    ds.ManufacturerModelName = "Skyra"
    ds.MagneticFieldStrength = "3"
    ds.PatientID = patient
    ds.PatientName = f"Name^{patient}"
    ds.PatientPosition = "HFS"
    ds.SeriesDescription = f"series {series}"
    ds.BodyPartExamined = "CSPINE"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    ds.ScanningSequence = "SE"
    ds.SequenceVariant = ["SK", "SP"]
    ds.ScanOptions = ""
    ds.MRAcquisitionType = "2D"
    ds.RepetitionTime = "4000"
    ds.EchoTime = "100"
    ds.EchoNumbers = "1"
    ds.SliceThickness = "3"
    ds.InstanceNumber = str(index + 1)
    ds.AcquisitionNumber = "1"
    ds.ImagePositionPatient = [-8.0, -8.0, index * spacing_mm]
    ds.ImageOrientationPatient = list(AXIAL)
    ds.PixelSpacing = [0.5, 0.5]
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows = SIZE
    ds.Columns = SIZE
    ds.BitsAllocated = 16
    ds.BitsStored = 12
    ds.HighBit = 11
    ds.PixelRepresentation = 0
    seed = int(hashlib.sha256(f"{patient}/{series}/{index}".encode()).hexdigest()[:8], 16)
    ds.PixelData = pixels(seed).tobytes()
    return ds


def write(ds: Dataset, path: Path, transfer_syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write one file with its meta information, big endian included."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = transfer_syntax
    ds.file_meta = meta
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def write_series(folder: Path, patient: str = "P1", series: str = "T2", n: int = 5, **changes: Any) -> list[Path]:
    """Write a series into files without extension, in an order that says nothing; None deletes a tag.

    A callable change gets the index of the slice.
    """
    paths = []
    for index in range(n):
        ds = axial_t2(patient, series, index)
        for keyword, value in changes.items():
            if value is None:
                delattr(ds, keyword)
            else:
                setattr(ds, keyword, value(index) if callable(value) else value)
        paths.append(write(ds, folder / hashlib.sha256(f"{series}/{index}".encode()).hexdigest()[:10]))
    return paths


def item(**values: Any) -> Sequence:
    """Give a sequence of one item."""
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return Sequence([ds])


def enhanced_t2(patient: str = "P1", series: str = "E", n: int = 5) -> Dataset:
    """Give an enhanced multi-frame axial T2, frames from cranial to caudal, each with a slope of its own."""
    frames = []
    for index, content in enumerate(pixels(7, n)):
        frame = axial_t2(patient, series, -index)
        frame.RescaleSlope, frame.RescaleIntercept = str(1 + index), "0"
        frame.PixelData = content.tobytes()
        frames.append(frame)
    return enhanced_of(frames, uid(patient, series, 0))


def tilted(ds: Dataset, degrees: float) -> Dataset:
    """Turn a slice about the axis from side to side through the origin."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    ds.ImagePositionPatient = [f"{value:.6f}" for value in turn @ np.array(ds.ImagePositionPatient, float)]
    rows = np.array(ds.ImageOrientationPatient, float).reshape(2, 3) @ turn.T
    ds.ImageOrientationPatient = [f"{value:.8f}" for value in rows.ravel()]
    return ds


def write_several(folder: Path, patient: str = "P1", series: str = "E", n: int = 3, **changes: Any) -> Path:
    """Write one enhanced file with two stacks of axial T2 at angles of their own, and one of their first echo (PD)."""
    frames = []
    for kind, (degrees, te_ms) in enumerate([(-10.0, 100.0), (12.0, 100.0), (-10.0, 30.0)]):
        for index in range(n):
            frame = tilted(axial_t2(patient, f"{series} {kind}", index + 10 * (kind == 1)), degrees)
            frame.SeriesInstanceUID, frame.EchoTime = uid(patient, series), str(te_ms)
            frame.EchoNumbers = "1" if te_ms < 60 else "2"
            for keyword, value in changes.items():
                setattr(frame, keyword, value(index + n * kind) if callable(value) else value)
            frames.append(frame)
    return write(enhanced_of(frames, uid(patient, series, 0)), folder / "several.dcm")


def read_slice(path: Path | str, frame: str = "") -> tuple[Dataset, np.ndarray]:
    """Give header and stored pixels of one slice; of a frame, the header with its functional groups unfolded."""
    header = dcmread(path)
    image = header.pixel_array
    if not frame:
        return header, image
    number = int(frame) - 1
    flat = Dataset()
    flat.update(header)
    for groups in (header.SharedFunctionalGroupsSequence[0], header.PerFrameFunctionalGroupsSequence[number]):
        for element in groups:
            flat.update(element.value[0])
    return flat, image[number]
