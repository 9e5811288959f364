"""Writing a series as DICOM MR images, as its maker's scanners would: one file per slice, or one enhanced file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage, RLELossless

from ..errors import naming
from .enhanced import enhanced_of
from .fields import Array
from .patients import VERSION, Patient, stream
from .series import Geometry, Protocol

LARMOR_MHZ_PER_T = 42.577
SYNTHETIC = "Synthetic phantom, no human subject"


@dataclass(frozen=True)
class Encoding:
    """From signal (CSF about 1) to stored integers."""

    counts: float
    slope: float
    top: int
    signed: bool

    def stored(self, image: Array) -> NDArray[Any]:
        """Stored pixel values."""
        values = np.clip(np.rint(image * (self.counts / self.slope)), 0, self.top)
        return values.astype(np.int16 if self.signed else np.uint16)


def encoding_of(volume: Array, patient: Patient) -> Encoding:
    """Choose how a series is stored; a Philips slope stretches the brightest pixel to the last of 12 bits."""
    vendor, counts = patient.scan.vendor, patient.scan.counts_csf
    top = 2 ** (vendor.bits_stored - vendor.signed) - 1
    slope = float(f"{np.percentile(volume, 99.99) * counts / top:.10g}") if vendor.rescaled else 1.0
    return Encoding(counts, slope, top, vendor.signed)


def text(value: float, digits: int = 8) -> str:
    """A decimal string of at most 16 characters."""
    return f"{round(value, digits) + 0.0:.{digits}g}"


def study_header(patient: Patient) -> Dataset:
    """Attributes of patient, study and equipment, the same in all of a patient's files."""
    rng = stream(patient, "study")
    scan, vendor = patient.scan, patient.scan.vendor
    date = f"2020{rng.integers(1, 13):02d}{rng.integers(1, 29):02d}"
    time = f"{rng.integers(8, 19):02d}{rng.integers(60):02d}{rng.integers(60):02d}"
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 100"
    header.SOPClassUID = MRImageStorage
    header.StudyDate = header.SeriesDate = header.AcquisitionDate = header.ContentDate = date
    header.StudyTime = header.SeriesTime = header.AcquisitionTime = header.ContentTime = time
    header.AccessionNumber = ""
    header.Modality = "MR"
    header.Manufacturer = vendor.manufacturer
    header.ManufacturerModelName = scan.model
    header.SoftwareVersions = f"phantom {VERSION}"
    header.InstitutionName = patient.site.name
    header.ReferringPhysicianName = ""
    header.StudyDescription = "MR CERVICAL SPINE (SYNTHETIC)"
    header.PatientName = f"Phantom^{patient.patient_id}"
    header.PatientID = patient.patient_id
    header.PatientBirthDate = ""
    header.PatientSex = patient.sex
    header.PatientAge = f"{patient.age:03d}Y"
    header.PatientSize = text(patient.height_m, 3)
    header.PatientWeight = text(patient.weight_kg, 4)
    header.PatientComments = SYNTHETIC
    header.BodyPartExamined = "CSPINE"
    header.MRAcquisitionType = "2D"
    header.MagneticFieldStrength = text(scan.field_strength_t, 3)
    header.ImagingFrequency = text(scan.field_strength_t * LARMOR_MHZ_PER_T, 6)
    header.ImagedNucleus = "1H"
    header.NumberOfAverages = "2"
    header.PatientPosition = "HFS"
    header.StudyInstanceUID = patient.uid("study")
    header.FrameOfReferenceUID = patient.uid("frame of reference")
    header.StudyID = "1"
    header.PositionReferenceIndicator = ""
    header.QualityControlImage = "YES"  # a phantom image, as DICOM calls it
    header.ImageComments = SYNTHETIC
    return header


def series_header(patient: Patient, protocol: Protocol) -> Dataset:
    """Attributes of one series, added to those of its study."""
    header = study_header(patient)
    scan = patient.scan
    header.ImageType = list(scan.vendor.image_type)
    header.SeriesInstanceUID = patient.uid("series", protocol.name)
    header.SeriesNumber = protocol.number
    header.SeriesDescription = protocol.description
    header.AcquisitionNumber = 1
    header.ProtocolName = protocol.description
    header.ScanningSequence = list(protocol.scanning_sequence)
    header.SequenceVariant = protocol.sequence_variant
    header.ScanOptions = protocol.scan_options
    header.RepetitionTime = text(protocol.repetition_time_ms, 6)
    header.EchoTime = text(protocol.echo_time_ms, 6)
    header.EchoTrainLength = protocol.echo_train
    if protocol.inversion_time_ms is not None:
        header.InversionTime = text(protocol.inversion_time_ms, 6)
    header.FlipAngle = text(protocol.flip_angle_deg, 4)
    header.InPlanePhaseEncodingDirection = "ROW" if scan.phase_rows else "COL"
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.BitsAllocated = 16
    header.BitsStored = scan.vendor.bits_stored
    header.HighBit = scan.vendor.bits_stored - 1
    header.PixelRepresentation = int(scan.vendor.signed)
    return header


@dataclass(frozen=True)
class WrittenSlice:
    """Where one slice of a series is; ``frame`` counts from 1 and is empty for a single-frame file."""

    path: Path
    series_uid: str
    sop_uid: str
    frame: str = ""


def file_numbers(patient: Patient, protocol: Protocol, count: int) -> list[int]:
    """Numbers of files, or frames, in an order that tells nothing of the slices, as a PACS gives; from 1."""
    order = stream(patient, f"names {protocol.name.removesuffix('_twin')}").permutation(count) + 1
    return [int(number) for number in order]


def file_name(patient: Patient, protocol: Protocol, number: int) -> str:
    """Name a file."""
    suffix = ".dcm" if patient.scan.vendor.rescaled or patient.scan.vendor.zero_filled else ""
    return f"IM{protocol.number:02d}{number:04d}{suffix}"


def instances(
    volume: Array, patient: Patient, protocol: Protocol, stacks: Sequence[Geometry], encoding: Encoding
) -> list[Dataset]:
    """Return the single-frame images of a series, in the order of ``volume``; see `write_series`."""
    header = series_header(patient, protocol)
    places = [(stack, origin) for stack in stacks for origin in stack.origins_mm]
    heights = [float(origin @ stacks[0].normal) for _, origin in places]
    order = np.argsort(np.argsort(heights if patient.scan.ascending else np.negative(heights)))
    found = []
    for index, (geometry, origin) in enumerate(places):
        instance = Dataset()
        instance.update(header)
        instance.SOPInstanceUID = patient.uid("image", protocol.name, index)
        instance.InstanceNumber = int(order[index]) + 1
        instance.SliceThickness = text(geometry.thickness_mm, 5)
        instance.SpacingBetweenSlices = text(geometry.step_mm, 6)
        instance.ImageOrientationPatient = [text(value) for value in (*geometry.along_row, *geometry.along_column)]
        instance.PixelSpacing = [text(geometry.pixel_mm), text(geometry.pixel_mm)]
        instance.ImagePositionPatient = [text(value, 6) for value in origin]
        instance.SliceLocation = text(float(origin @ geometry.normal), 6)
        if encoding.slope != 1.0:
            instance.RescaleIntercept = "0"
            instance.RescaleSlope = f"{encoding.slope:.10g}"
            instance.RescaleType = "normalized"
        pixels = encoding.stored(volume[index])
        instance.Rows, instance.Columns = pixels.shape
        window = float(np.percentile(pixels, 99.5)) * encoding.slope
        instance.WindowCenter, instance.WindowWidth = text(0.45 * window, 5), text(max(0.9 * window, 1.0), 5)
        instance.PixelData = pixels.tobytes()
        instance["PixelData"].VR = "OW"
        found.append(instance)
    return found


def write_series(
    volume: Array,
    patient: Patient,
    protocol: Protocol,
    stacks: Sequence[Geometry],
    folder: Path,
    encoding: Encoding | None = None,
    rle: bool = False,
    enhanced: bool = False,
) -> list[WrittenSlice]:
    """Write a series, one file per slice or one enhanced multi-frame file.

    Args:
        volume: signal of shape (slices, rows, columns), stack by stack.
        patient: whose.
        protocol: header values of the series.
        stacks: where the slices lie.
        folder: the files go here; it is made if need be.
        encoding: how signal is stored, by default chosen for this volume.
        rle: compress losslessly (RLE).
        enhanced: one file with all slices, which are one stack.

    Returns:
        the slices, in the order of ``volume``.
    """
    images = instances(volume, patient, protocol, stacks, encoding or encoding_of(volume, patient))
    numbers = file_numbers(patient, protocol, len(images))
    series_uid = str(images[0].SeriesInstanceUID)
    if enhanced:
        ordered = [image for _, image in sorted(zip(numbers, images, strict=True), key=lambda pair: pair[0])]
        whole = enhanced_of(ordered, patient.uid("enhanced image", protocol.name))
        path = save(whole, folder / file_name(patient, protocol, 1), patient, rle)
        return [WrittenSlice(path, series_uid, str(whole.SOPInstanceUID), str(number)) for number in numbers]
    return [
        WrittenSlice(
            save(image, folder / file_name(patient, protocol, number), patient, rle),
            series_uid,
            str(image.SOPInstanceUID),
        )
        for number, image in zip(numbers, images, strict=True)
    ]


def save(image: Dataset, path: Path, patient: Patient, rle: bool) -> Path:
    """Write one file in the transfer syntax of the patient's scanner, or in RLE, and return its path."""
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = (
        ImplicitVRLittleEndian if patient.scan.vendor.implicit_vr else ExplicitVRLittleEndian
    )
    if rle:
        image.compress(RLELossless, generate_instance_uid=False)
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save_as(path, enforce_file_format=True)
    return path
