"""What says that an image is diffusion-weighted, or a map made from such images: they look like T2."""

from __future__ import annotations

import re

from .elements import Fields, number, numbers, text, texts

PRIVATE_B_VALUES = ("PhilipsBValue", "SiemensBValue", "GEBValue", "UIHBValue", "HitachiBValue")
WEIGHTED = {"DIRECTIONAL", "ISOTROPIC", "BMATRIX"}
DIFFUSION_TYPES = {
    "ADC", "ADC MAP", "ADC_MAP", "CALC_BVALUE", "COLFA", "DIFFUSION", "DIFFUSION_ANISO", "DIFFUSION_ATTNTD", "DTI",
    "DWI", "EADC", "EXP_ADC", "FA", "TENSOR", "TRACE", "TRACEW", "TRACE_W",
}  # fmt: skip
"""Words of ImageType and FrameType."""
SEQUENCE_NAMES = ("SequenceName", "PulseSequenceName")
"""The second is that of enhanced files."""
COMMENTED = re.compile(r"b=(\d+(?:\.\d+)?)(?:\(.*\))?")
NAMED = re.compile(r".*_b(\d+)(?:_(\d+))?(?:t|#\d+)?")


def diffusion_of(fields: Fields) -> str:
    """Return what says that an image is diffusion-weighted or made from such images; empty where nothing does.

    Images without weighting (b = 0, directionality NONE) are written of other sequences, too, and say nothing; but the
    SequenceName of Siemens holds a b-value in diffusion sequences alone.

    Source: DICOM PS3.3, C.8.13.5.9 (MR diffusion); dcm2niix, https://github.com/rordenlab/dcm2niix, Canon/README.md.
    """
    b_value = b_value_of(fields)
    if b_value:
        return f"b = {b_value:g} s/mm²"
    for name in ("DiffusionDirectionality", "SiemensDirectionality"):
        direction = text(fields.get(name)).upper()
        if direction in WEIGHTED:
            return f"DiffusionDirectionality {direction}"
    if text(fields.get("AcquisitionContrast")).upper() == "DIFFUSION":
        return "AcquisitionContrast DIFFUSION"
    if any(numbers(fields.get("DiffusionGradientOrientation"))):
        return "DiffusionGradientOrientation"
    for word in (*texts(fields.get("FrameType")), *texts(fields.get("ImageType"))):
        if word in DIFFUSION_TYPES:
            return f"ImageType {word}"
    for keyword in SEQUENCE_NAMES:
        name = text(fields.get(keyword))
        if NAMED.fullmatch(name.lower()):
            return f"{keyword} {name}"
    return ""


def b_value_of(fields: Fields) -> float | None:
    """Return the b-value in s/mm², from DiffusionBValue or where makers wrote it before there was one.

    GE adds 10^9 to the b-value of some images, and writes 0 for images without diffusion weighting. Canon writes
    ImageComments such as b=1500(0.445,0.000,0.895), and Siemens SequenceNames such as ``*ep_b1000#3``.

    Source: dcm2niix, https://github.com/rordenlab/dcm2niix, console/nii_dicom.cpp (set_bValGE) and the README.md of
    each maker.
    """
    public = number(fields.get("DiffusionBValue"), lambda value: value >= 0)
    if public is not None:
        return public
    private = [number(fields.get(name), lambda value: value >= 0) for name in PRIVATE_B_VALUES]
    found = [value % 1e9 for value in private if value is not None]
    lines = text(fields.get("ImageComments")).lower().splitlines()
    comments = [COMMENTED.fullmatch("".join(line.split())) for line in lines]
    named = [NAMED.fullmatch(text(fields.get(keyword)).lower()) for keyword in SEQUENCE_NAMES]
    found += [float(value) for match in (*comments, *named) if match for value in match.groups() if value]
    return max(found, default=None)
