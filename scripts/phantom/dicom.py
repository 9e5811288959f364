"""Writing a series as DICOM MR Image Storage, as its maker's scanners would."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage, RLELossless

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


def series_header(patient: Patient, protocol: Protocol, geometry: Geometry) -> Dataset:
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
    header.SliceThickness = text(geometry.thickness_mm, 5)
    header.SpacingBetweenSlices = text(geometry.step_mm, 6)
    header.InPlanePhaseEncodingDirection = "ROW" if scan.phase_rows else "COL"
    header.ImageOrientationPatient = [text(value) for value in (*geometry.along_row, *geometry.along_column)]
    header.PixelSpacing = [text(geometry.pixel_mm), text(geometry.pixel_mm)]
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.BitsAllocated = 16
    header.BitsStored = scan.vendor.bits_stored
    header.HighBit = scan.vendor.bits_stored - 1
    header.PixelRepresentation = int(scan.vendor.signed)
    return header


@dataclass(frozen=True)
class WrittenSlice:
    """One file of a series."""

    path: Path
    series_uid: str
    sop_uid: str


def file_names(patient: Patient, protocol: Protocol, count: int) -> list[str]:
    """Names in an order that tells nothing of the slices, as a PACS gives."""
    order = stream(patient, f"names {protocol.name.removesuffix('_twin')}").permutation(count) + 1
    suffix = ".dcm" if patient.scan.vendor.rescaled or patient.scan.vendor.zero_filled else ""
    return [f"IM{protocol.number:02d}{number:04d}{suffix}" for number in order]


def write_series(
    volume: Array,
    patient: Patient,
    protocol: Protocol,
    geometry: Geometry,
    folder: Path,
    encoding: Encoding | None = None,
    rle: bool = False,
) -> list[WrittenSlice]:
    """Write a series, one file per slice.

    Args:
        volume: signal of shape (slices, rows, columns).
        patient: whose.
        protocol: header values of the series.
        geometry: where the slices lie.
        folder: the files go here; it is made if need be.
        encoding: how signal is stored, by default chosen for this volume.
        rle: compress losslessly (RLE).

    Returns:
        the files, in the order of ``volume``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    header = series_header(patient, protocol, geometry)
    encoding = encoding or encoding_of(volume, patient)
    count = len(volume)
    written = []
    for index, name in enumerate(file_names(patient, protocol, count)):
        sop_uid = patient.uid("image", protocol.name, index)
        instance = Dataset()
        instance.update(header)
        instance.SOPInstanceUID = sop_uid
        instance.InstanceNumber = index + 1 if patient.scan.ascending else count - index
        origin = geometry.origins_mm[index]
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
        instance.file_meta = FileMetaDataset()
        instance.file_meta.TransferSyntaxUID = (
            ImplicitVRLittleEndian if patient.scan.vendor.implicit_vr else ExplicitVRLittleEndian
        )
        if rle:
            instance.compress(RLELossless, generate_instance_uid=False)
        instance.save_as(folder / name, enforce_file_format=True)
        written.append(WrittenSlice(folder / name, str(header.SeriesInstanceUID), str(sop_uid)))
    return written
