"""Accepting what the model was made for (axial T2, fat not suppressed) and refusing the rest with a reason."""

from __future__ import annotations

from typing import NamedTuple

from .diffusion import DIFFUSION_TYPES
from .stacks import Stack
from .weightings import named_lossless

MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = ("1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4")
READABLE = {
    "1.2.840.10008.1.2": "implicit little endian",
    "1.2.840.10008.1.2.1": "explicit little endian",
    "1.2.840.10008.1.2.2": "explicit big endian",
    "1.2.840.10008.1.2.4.57": "JPEG lossless",
    "1.2.840.10008.1.2.4.70": "JPEG lossless",
    "1.2.840.10008.1.2.4.80": "JPEG-LS lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.5": "RLE",
}
COMPRESSED_LOSSLESSLY = tuple(uid for uid, name in READABLE.items() if "lossless" in name or name == "RLE")
LOSSY = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81")
NOT_MAGNITUDE = {"P", "PHASE", "PHASE MAP", "I", "IMAGINARY", "R", "REAL", "VELOCITY MAP", "VELOCITY"}
NOT_ANATOMY = DIFFUSION_TYPES | {
    "T1 MAP", "T2 MAP", "T2_STAR MAP", "T2*MAP", "R2 MAP", "SUBTRACTION", "SUB", "FIELD MAP", "B0 MAP", "MNIP", "MIP",
    "MPR", "PROJECTION IMAGE", "REFORMATTED", "CSA RESAMPLED", "COMPOSED", "SCREEN SAVE", "FAT", "F", "FF", "OPP_PHASE",
    "OP",
}  # fmt: skip
AS_ACQUIRED = {
    "M", "M_SE", "M_FFE", "SE", "FFE", "ND", "NORM", "DIS2D", "DIS3D", "FM", "FIL", "OTHER", "NONE", "T2", "T2_STAR",
}  # fmt: skip
SQUARE_DEGREES = 75.0  # from which planes are taken as a localizer's
SPINE = ("SPINE", "NECK", "CERVICAL")


class Judgement(NamedTuple):
    """``accept`` or ``refuse``, and why."""

    decision: str
    reason: str

    @property
    def accepted(self) -> bool:
        """Whether the stack may be used."""
        return self.decision == "accept"


def judge(stack: Stack) -> Judgement:
    """Judge one stack by its tags and geometry; the description is never asked.

    The body part is no ground for a decision either, because hospitals fill it unreliably; see ``body_part_warning``.
    """
    for check in (not_an_mr_image, not_whole, not_an_original, not_axial, not_t2):
        reason = check(stack)
        if reason:
            return Judgement("refuse", reason)
    kind = "+".join(part for part in stack.sequence)
    times = f"TE {stack.te_ms:g} ms" + (f", TR {stack.tr_ms:g} ms" if stack.tr_ms is not None else "")
    dimension = f" {stack.acquisition_type}" if stack.acquisition_type else ""
    return Judgement("accept", f"axial {stack.weighting} ({kind}{dimension}, {times})")


def not_an_mr_image(stack: Stack) -> str:
    """Refuse other modalities and pixels that no reader of ours takes."""
    if stack.modality != "MR" or stack.sop_class_uid not in (MR, *ENHANCED_MR):
        return f"not an MR image (modality {stack.modality or 'missing'}, SOP class {stack.sop_class_uid or 'missing'})"
    if stack.samples != 1 or stack.photometric != "MONOCHROME2":
        return (
            f"{stack.photometric or 'no PhotometricInterpretation'} with {stack.samples} samples, not plain grey levels"
        )
    syntaxes = sorted({one.transfer_syntax_uid for one in stack.slices})
    if stack.lossy or set(syntaxes) & set(LOSSY):
        return "lossily compressed"
    unsupported = [uid or "(missing)" for uid in syntaxes if uid not in READABLE]
    if unsupported:
        return f"transfer syntax {', '.join(unsupported)} is not supported"
    return ""


def not_whole(stack: Stack) -> str:
    """Refuse what cannot be used as a volume."""
    return "; ".join(stack.defects)


def not_an_original(stack: Stack) -> str:
    """Refuse localizers, mosaics, maps, reformats, phase images and whatever else was computed from images."""
    kinds = set(stack.image_type)
    name = "\\".join(stack.image_type)
    principal = [plane for plane in stack.planes_in_series if plane != "oblique"]
    if len(principal) > 1:
        planes = f"{' and '.join(principal)} in one series"
        steep = stack.widest_degrees < SQUARE_DEGREES and "LOCALIZER" not in kinds
        return f"{planes}, up to {stack.widest_degrees:.0f}° apart" if steep else f"localizer: {planes}"
    if "LOCALIZER" in kinds:
        return f"localizer: ImageType {name}"
    if "MOSAIC" in kinds:
        return f"mosaic: many slices in one image (ImageType {name})"
    if kinds & NOT_ANATOMY:
        return f"computed or partial image (ImageType {name})"
    if set(stack.image_type[2:]) & NOT_MAGNITUDE and "IR" not in stack.sequence:
        return f"not a magnitude image (ImageType {name})"
    if {"DERIVED", "SECONDARY"} & kinds and not only_compressed(stack):
        return f"derived or secondary image (ImageType {name})"
    return ""


def only_compressed(stack: Stack) -> bool:
    r"""Return whether images were derived by nothing but lossless compression.

    Either DerivationDescription says so; or nothing describes a derivation, ImageType is DERIVED\PRIMARY with no word
    but those of acquired images, and the pixels are compressed without loss. LossyImageCompression 00 alone proves
    nothing, since scanners write it into reformats, too. What reformats, filters and averages have in common is
    SECONDARY, a word for what was computed, or a description, e.g. DERIVED\SECONDARY\MPR with MEDCOM RESAMPLED.
    """
    return named_lossless(stack.derivation) or (
        stack.image_type[:2] == ("DERIVED", "PRIMARY")
        and set(stack.image_type[2:]) <= AS_ACQUIRED
        and not stack.derivation
        and all(one.transfer_syntax_uid in COMPRESSED_LOSSLESSLY for one in stack.slices)
    )


def not_axial(stack: Stack) -> str:
    """Refuse every plane but the axial."""
    if stack.plane == "axial":
        return ""
    return f"{stack.plane} (the normal is {stack.oblique_degrees:.0f}° off the nearest axis), not axial"


def not_t2(stack: Stack) -> str:
    """Refuse echo planar and diffusion images, suppressed fat, and every weighting but T2 and T2*."""
    if "EP" in stack.sequence or stack.sequence_name.lower().lstrip("*").startswith("ep"):
        return "echo planar (EPI)" + (", diffusion" if stack.diffusion else "")
    if stack.epi_factor is not None and stack.epi_factor > 1:
        return f"echo planar (EPI or GRASE, EPI factor {stack.epi_factor:g})"
    if stack.diffusion:
        return f"diffusion ({stack.diffusion})"
    if stack.diffusion_in_series:
        return f"diffusion series (other images of it have {stack.diffusion_in_series})"
    if stack.fat_suppression:
        return stack.fat_suppression
    if "IR" in stack.sequence:
        return f"inversion recovery (inversion time {'missing' if stack.ti_ms is None else f'{stack.ti_ms:g} ms'})"
    if stack.weighting in ("T2", "T2*"):
        return ""
    if stack.weighting:
        return f"{stack.weighting}-weighted (TE {stack.te_ms:g} ms, TR {stack.tr_ms:g} ms)"
    missing = [
        name
        for name, absent in (
            ("EchoTime", stack.te_ms is None),
            ("RepetitionTime", stack.tr_ms is None and "GR" not in stack.sequence),
            ("ScanningSequence", not stack.sequence),
        )
        if absent
    ]
    if missing:
        return f"weighting unknown ({', '.join(missing)} missing)"
    return f"weighting unknown ({'+'.join(stack.sequence)}, TE {stack.te_ms:g} ms, TR {stack.tr_ms or 0:g} ms fit none)"


def body_part_warning(stack: Stack) -> str:
    """Warn where BodyPartExamined names something other than neck or spine; empty where it does not, or is absent."""
    part = stack.body_part.upper()
    if not part or any(word in part for word in SPINE):
        return ""
    return f"BodyPartExamined says {stack.body_part}"
