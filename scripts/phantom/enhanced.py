"""One enhanced multi-frame MR image (Enhanced MR Image Storage) of the single-frame images of a series."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import UID, EnhancedMRImageStorage

# attributes of a single-frame image that an enhanced one says elsewhere, or not at all
CLASSIC_ONLY = (
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    *("SliceLocation", "RescaleIntercept", "RescaleSlope", "RescaleType", "WindowCenter", "WindowWidth"),
    *("ScanningSequence", "SequenceVariant", "ScanOptions", "RepetitionTime", "EchoTime", "EchoTrainLength"),
    *("EchoNumbers", "InversionTime", "FlipAngle", "InPlanePhaseEncodingDirection", "NumberOfAverages"),
    *("ImagedNucleus", "ImagingFrequency", "InstanceNumber", "AcquisitionDate", "AcquisitionTime", "PixelData"),
)
PER_FRAME = ("FrameContentSequence", "PlanePositionSequence")  # never shared, even where there is one frame
CERVICAL_SPINE = {"CodeValue": "122494005", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Cervical spine"}


def enhanced_of(images: Sequence[Dataset], sop_uid: str | UID) -> Dataset:
    """Return one enhanced multi-frame MR image that holds single-frame images of one stack.

    What all frames say alike goes into the shared functional groups, the rest into those of the frames.

    Args:
        images: MR Image Storage, not compressed, in the order of the frames.
        sop_uid: SOPInstanceUID of the new image.
    """
    first = images[0]
    new = Dataset()
    new.update({element.tag: element for element in first if element.keyword not in CLASSIC_ONLY})
    new.SOPClassUID, new.SOPInstanceUID = EnhancedMRImageStorage, sop_uid
    new.InstanceNumber = 1
    new.NumberOfFrames = len(images)
    add_equipment(new, first)
    add_pulse_sequence(new, first)
    add_dimensions(new, sop_uid)
    normal = np.cross(*np.reshape(np.array(first.ImageOrientationPatient, float), (2, 3)))
    heights = [float(np.array(image.ImagePositionPatient, float) @ normal) for image in images]
    ranks = np.argsort(np.argsort(heights)) + 1
    frames = [functional_groups(image, new, int(rank)) for image, rank in zip(images, ranks, strict=True)]
    shared = [
        element.keyword
        for element in frames[0]
        if element.keyword not in PER_FRAME and all(element == frame[element.tag] for frame in frames)
    ]
    new.SharedFunctionalGroupsSequence = items({keyword: frames[0][keyword].value for keyword in shared})
    for frame in frames:
        for keyword in shared:
            delattr(frame, keyword)
    new.PerFrameFunctionalGroupsSequence = frames
    new.PixelData = b"".join(image.PixelData for image in images)
    new["PixelData"].VR = "OW"
    return new


def items(*contents: Mapping[str, Any]) -> list[Dataset]:
    """Return the items of a sequence."""
    found = []
    for content in contents:
        item = Dataset()
        for keyword, value in content.items():
            setattr(item, keyword, value)
        found.append(item)
    return found


def frame_type(image: Dataset) -> dict[str, Any]:
    """Return what an image, and each of its frames, says of its kind."""
    weighting = "T2_STAR" if "GR" in image.ScanningSequence else "T2" if float(image.EchoTime) >= 60 else "T1"
    return {
        "PixelPresentation": "MONOCHROME",
        "VolumetricProperties": "VOLUME",
        "VolumeBasedCalculationTechnique": "NONE",
        "ComplexImageComponent": "MAGNITUDE",
        "AcquisitionContrast": weighting,
    }


def add_equipment(new: Dataset, image: Dataset) -> None:
    """Add what an enhanced image must say of scanner and acquisition."""
    started = f"{image.get('AcquisitionDate', '20200101')}{image.get('AcquisitionTime', '120000')}"
    new.ImageType = ["ORIGINAL", "PRIMARY", frame_type(image)["AcquisitionContrast"], "NONE"]
    for keyword, value in {
        **frame_type(image),
        "DeviceSerialNumber": image.get("DeviceSerialNumber", "1"),
        "SoftwareVersions": image.get("SoftwareVersions", "1"),
        "ContentDate": image.get("ContentDate", started[:8]),
        "ContentTime": image.get("ContentTime", started[8:]),
        "AcquisitionDateTime": started,
        "AcquisitionDuration": 180.0,
        "ResonantNucleus": "1H",
        "KSpaceFiltering": "NONE",
        "ContentQualification": "RESEARCH",
        "ApplicableSafetyStandardAgency": "IEC",
        "BurnedInAnnotation": "NO",
        "LossyImageCompression": "00",
        "PresentationLUTShape": "IDENTITY",
        "AcquisitionContextSequence": [],
    }.items():
        setattr(new, keyword, value)


def add_pulse_sequence(new: Dataset, image: Dataset) -> None:
    """Add the pulse sequence in the terms of enhanced images."""
    gradient = "GR" in image.ScanningSequence
    for keyword, value in {
        "PulseSequenceName": image.get("ProtocolName", "unnamed")[:16],
        "MRAcquisitionType": image.get("MRAcquisitionType", "2D"),
        "EchoPulseSequence": "GRADIENT" if gradient else "SPIN",
        **({} if gradient else {"MultipleSpinEcho": "NO"}),
        "MultiPlanarExcitation": "NO",
        "PhaseContrast": "NO",
        "TimeOfFlightContrast": "NO",
        "SteadyStatePulseSequence": "NONE",
        "EchoPlanarPulseSequence": "NO",
        "SaturationRecovery": "NO",
        "SpectrallySelectedSuppression": "FAT" if "FS" in (image.get("ScanOptions") or "") else "NONE",
        "OversamplingPhase": "NONE",
        "GeometryOfKSpaceTraversal": "RECTILINEAR",
        "RectilinearPhaseEncodeReordering": "LINEAR",
        "SegmentedKSpaceTraversal": "SINGLE" if gradient else "PARTIAL",
        "NumberOfKSpaceTrajectories": 1,
    }.items():
        setattr(new, keyword, value)


def add_dimensions(new: Dataset, sop_uid: str | UID) -> None:
    """Add what the index values of the frames count: stacks, and slices within a stack."""
    organization = f"{str(sop_uid)[:60]}.1"
    pointers = [
        {
            "DimensionOrganizationUID": organization,
            "DimensionIndexPointer": Tag(pointer),
            "FunctionalGroupPointer": Tag("FrameContentSequence"),
            "DimensionDescriptionLabel": label,
        }
        for pointer, label in (("StackID", "stack"), ("InStackPositionNumber", "slice"))
    ]
    new.DimensionOrganizationSequence = items({"DimensionOrganizationUID": organization})
    new.DimensionIndexSequence = items(*pointers)


def functional_groups(image: Dataset, new: Dataset, rank: int) -> Dataset:
    """Return the functional groups of one frame.

    Args:
        image: the frame as a single-frame image.
        new: the enhanced image with what it says of itself.
        rank: position along the normal, from 1.
    """

    def have(*keywords: str) -> dict[str, Any]:
        return {keyword: copy.deepcopy(image[keyword].value) for keyword in keywords if keyword in image}

    def number(keyword: str, default: float) -> float:
        return float(image.get(keyword) or default)

    inversion = "IR" in image.ScanningSequence
    train = int(number("EchoTrainLength", 1))
    gradient = "GR" in image.ScanningSequence
    rows_first = image.get("InPlanePhaseEncodingDirection") == "ROW"
    groups: dict[str, dict[str, Any]] = {
        "FrameContentSequence": {
            "FrameAcquisitionNumber": 1,
            "FrameReferenceDateTime": new.AcquisitionDateTime,
            "FrameAcquisitionDateTime": new.AcquisitionDateTime,
            "FrameAcquisitionDuration": new.AcquisitionDuration,
            "StackID": "1",
            "InStackPositionNumber": rank,
            "DimensionIndexValues": [1, rank],
        },
        "PlanePositionSequence": have("ImagePositionPatient"),
        "PlaneOrientationSequence": have("ImageOrientationPatient"),
        "PixelMeasuresSequence": have("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
        "PixelValueTransformationSequence": {
            "RescaleIntercept": "0",
            "RescaleSlope": "1",
            **have("RescaleIntercept", "RescaleSlope"),
            "RescaleType": "US",
        },
        "FrameVOILUTSequence": {"WindowCenter": "2048", "WindowWidth": "4096", **have("WindowCenter", "WindowWidth")},
        "FrameAnatomySequence": {"FrameLaterality": "U", "AnatomicRegionSequence": items(CERVICAL_SPINE)},
        "MRImageFrameTypeSequence": {"FrameType": list(new.ImageType), **frame_type(image)},
        "MRTimingAndRelatedParametersSequence": {
            "RepetitionTime": number("RepetitionTime", 0),
            "FlipAngle": number("FlipAngle", 90),
            "EchoTrainLength": train,
            "RFEchoTrainLength": 0 if gradient else train,
            "GradientEchoTrainLength": 1 if gradient else 0,
            "SpecificAbsorptionRateSequence": items(
                {"SpecificAbsorptionRateDefinition": "IEC_WHOLE_BODY", "SpecificAbsorptionRateValue": 1.0}
            ),
            "GradientOutputType": "DB_DT",
            "GradientOutput": 20.0,
            "OperatingModeSequence": items(
                {"OperatingModeType": "STATIC FIELD", "OperatingMode": "IEC_NORMAL"},
                {"OperatingModeType": "RF", "OperatingMode": "IEC_NORMAL"},
                {"OperatingModeType": "GRADIENT", "OperatingMode": "IEC_NORMAL"},
            ),
        },
        "MREchoSequence": {"EffectiveEchoTime": number("EchoTime", 0)},
        "MRModifierSequence": {
            "InversionRecovery": "YES" if inversion else "NO",
            **({"InversionTimes": number("InversionTime", 0)} if inversion else {}),
            "FlowCompensation": "NONE",
            "Spoiling": "RF" if gradient else "NONE",
            "T2Preparation": "NO",
            "SpectrallySelectedExcitation": "NONE",
            "SpatialPresaturation": "NONE",
            "PartialFourier": "NO",
            "ParallelAcquisition": "NO",
        },
        "MRImagingModifierSequence": {
            "MagnetizationTransfer": "NONE",
            "BloodSignalNulling": "NO",
            "Tagging": "NONE",
            "TransmitterFrequency": number("ImagingFrequency", 64),
            "PixelBandwidth": 200.0,
        },
        "MRFOVGeometrySequence": {
            "InPlanePhaseEncodingDirection": "ROW" if rows_first else "COLUMN",
            "MRAcquisitionFrequencyEncodingSteps": image.Rows,
            "MRAcquisitionPhaseEncodingStepsInPlane": image.Columns,
            "PercentSampling": 100.0,
            "PercentPhaseFieldOfView": 100.0,
        },
        "MRReceiveCoilSequence": {
            "ReceiveCoilName": "NECK",
            "ReceiveCoilManufacturerName": "",
            "ReceiveCoilType": "SURFACE",
            "QuadratureReceiveCoil": "NO",
        },
        "MRTransmitCoilSequence": {
            "TransmitCoilName": "BODY",
            "TransmitCoilManufacturerName": "",
            "TransmitCoilType": "BODY",
        },
        "MRAveragesSequence": {"NumberOfAverages": number("NumberOfAverages", 1)},
    }
    return items({name: items(content) for name, content in groups.items()})[0]
