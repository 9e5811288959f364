"""One file to its frames: what a slice is, where it lies, and what it shares with its series."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from ..errors import kind_of
from .diffusion import b_value_of, diffusion_of
from .elements import (
    KEYWORDS,
    Fields,
    Header,
    UnreadableError,
    flatten,
    number,
    numbers,
    read_header,
    sequence,
    text,
    texts,
)
from .pixels import pixel_problem
from .private_elements import PRIVATE_NAMES
from .silence import quiet

TIMES = (
    "TemporalPositionIdentifier", "TemporalPositionIndex", "StackID", "AcquisitionNumber", "FrameAcquisitionNumber",
    "AcquisitionTime", "FrameAcquisitionDateTime", "TriggerTime",
)  # fmt: skip
PER_SLICE = {
    "SOPInstanceUID", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope",
    "RescaleIntercept", "HighBit", "NumberOfFrames", *TIMES, "InstanceNumber",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "MRDiffusionSequence",
}  # fmt: skip
FACT_KEYWORDS = tuple(keyword for keyword in (*KEYWORDS, *PRIVATE_NAMES) if keyword not in PER_SLICE)
PLAIN = (bytes, str)
# how the images of scripts.phantom say what they are, beside QualityControlImage
PHANTOM_COMMENT = "Synthetic phantom"


@dataclass(frozen=True)
class Facts:
    """What the slices of one stack share; numbers that the header lacks are None, texts empty.

    Echo, repetition and inversion times are in ms, the field strength in tesla, spacings and thickness in mm.
    ``sequence`` unites ScanningSequence (SE, GR, IR, EP) with its enhanced counterparts. ``b_value`` (s/mm²) comes from
    DiffusionBValue or where the makers keep it; ``diffusion`` is what says that the image is diffusion-weighted, see
    `scripts.dicom.diffusion`. ``epi_factor`` is Philips' number of gradient echoes per excitation or refocusing pulse.
    ``phantom`` says that ``scripts.phantom`` made it.
    """

    patient_id: str
    study_uid: str
    series_uid: str
    sop_class_uid: str
    modality: str
    manufacturer: str
    model: str
    field_t: float | None
    description: str
    body_part: str
    patient_position: str
    image_type: tuple[str, ...]
    derivation: str
    sequence: tuple[str, ...]
    sequence_variant: tuple[str, ...]
    sequence_name: str
    scan_options: tuple[str, ...]
    acquisition_type: str
    suppression: tuple[str, ...]
    tr_ms: float | None
    te_ms: float | None
    ti_ms: float | None
    echo_number: float | None
    b_value: float | None
    diffusion: str
    epi_factor: float | None
    rows: int
    columns: int
    row_spacing_mm: float | None
    column_spacing_mm: float | None
    thickness_mm: float | None
    spacing_tag_mm: float | None
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    signed: bool
    lossy: bool
    transfer_syntax_uid: str
    multi_frame: bool
    phantom: bool


@dataclass(frozen=True)
class Frame:
    """One image of one file, before it has found its stack; positions in mm, LPS."""

    path: str
    frame: str
    sop_uid: str
    facts: Facts
    origin_mm: tuple[float, ...]
    orientation: tuple[float, ...]
    slope: float
    intercept: float
    times: tuple[tuple[str, str], ...]
    problem: str


@quiet()
def read_frames(path: str | Path, known: dict[object, Facts] | None = None) -> list[Frame]:
    """Read the frames of one file from its header.

    Args:
        path: the file.
        known: facts already decoded, by the bytes they came from; is added to. Slices of a series have the same bytes,
            so most of the decoding is done once.

    Raises:
        UnreadableError: the file is no DICOM image; the message is the reason.
    """
    try:
        header = read_header(path)
        return list(frames_of(str(path), header, {} if known is None else known))
    except UnreadableError:
        raise
    except Exception as error:  # damaged headers break parsers in more ways than can be listed
        raise UnreadableError(f"damaged header ({kind_of(error)})") from error


def frames_of(path: str, header: Header, known: dict[object, Facts]) -> Iterator[Frame]:
    """Yield the frames of one header, several for an enhanced multi-frame file."""
    top = header.fields
    if "SOPClassUID" not in top and "Rows" not in top:
        raise UnreadableError("DICOM without an image (neither SOPClassUID nor Rows)")
    per_frame = sequence(top, "PerFrameFunctionalGroupsSequence")
    shared = sequence(top, "SharedFunctionalGroupsSequence")
    stated = number(top.get("NumberOfFrames")) if text(top.get("NumberOfFrames")) else 1
    n_frames = int(stated) if stated is not None and stated >= 1 else 1
    common = top | (flatten(shared[0]) if shared else {})
    if diffusion := top.get("MRDiffusionSequence"):
        common |= flatten(Dataset({diffusion.tag: diffusion}))
    problem = "" if stated == n_frames else "NumberOfFrames is no whole number from 1"
    problem = problem or pixel_problem(path, header, n_frames)
    if not per_frame:
        if n_frames > 1:
            problem = problem or f"{n_frames} frames without functional groups, so without positions"
        yield frame_of(path, "", common, header, problem, known)
        return
    if len(per_frame) != n_frames:
        problem = problem or f"NumberOfFrames is {n_frames} but functional groups describe {len(per_frame)} frames"
    fields = [common | flatten(groups) for groups in per_frame]
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient"):
        lacking = [index for index, one in enumerate(fields, 1) if not text(one.get(keyword))]
        if 0 < len(lacking) < len(fields):
            problem = problem or f"{keyword} is missing from frame {lacking[0]}, and others have it"
    for index, one in enumerate(fields, 1):
        yield frame_of(path, str(index), one, header, problem, known)


def frame_of(path: str, name: str, fields: Fields, header: Header, problem: str, known: dict[object, Facts]) -> Frame:
    """Decode one frame."""
    key = (bool(name), header.transfer_syntax, *(raw_value(fields.get(keyword)) for keyword in FACT_KEYWORDS))
    facts = known.get(key)
    if facts is None:
        facts = known[key] = facts_of(fields, header, multi_frame=bool(name))
    slope = number(fields.get("RescaleSlope"))
    intercept = number(fields.get("RescaleIntercept"))
    for keyword, value in (("RescaleSlope", slope), ("RescaleIntercept", intercept)):
        if value is None and text(fields.get(keyword)):
            problem = problem or f"{keyword} is no number"
    if slope == 0:
        problem = problem or "RescaleSlope is 0"
    return Frame(
        path=path,
        frame=name,
        sop_uid=text(fields.get("SOPInstanceUID")),
        facts=facts,
        origin_mm=exactly(3, numbers(fields.get("ImagePositionPatient"))),
        orientation=exactly(6, numbers(fields.get("ImageOrientationPatient"))),
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
        times=tuple((keyword, text(fields[keyword])) for keyword in (*TIMES, "InstanceNumber") if keyword in fields),
        problem=problem,
    )


def raw_value(element: Any) -> object:
    """Return what an element's meaning rests on, for looking it up."""
    if element is None:
        return None
    value = element.value
    return element.VR, value if value is None or isinstance(value, PLAIN) else repr(value)


def facts_of(fields: Fields, header: Header, multi_frame: bool) -> Facts:
    """Decode what a slice shares with its stack."""

    def words(keyword: str) -> str:
        return text(fields.get(keyword), fields.get("SpecificCharacterSet"))

    def whole(keyword: str) -> int:
        return int(number(fields.get(keyword), lambda value: 0 <= value < 1 << 31) or 0)

    def above(low: float, *keywords: str) -> float | None:
        found = (number(fields.get(keyword), lambda value: value > low) for keyword in keywords)
        return next((value for value in found if value is not None), None)

    spacing = exactly(2, numbers(fields.get("PixelSpacing")))
    return Facts(
        patient_id=words("PatientID"),
        study_uid=words("StudyInstanceUID"),
        series_uid=words("SeriesInstanceUID"),
        sop_class_uid=words("SOPClassUID"),
        modality=words("Modality"),
        manufacturer=words("Manufacturer"),
        model=words("ManufacturerModelName"),
        field_t=above(0, "MagneticFieldStrength"),
        description=words("SeriesDescription"),
        body_part=words("BodyPartExamined"),
        patient_position=words("PatientPosition"),
        image_type=texts(fields.get("FrameType")) or texts(fields.get("ImageType")),
        derivation=derivation_of(fields),
        sequence=sequences_of(fields),
        sequence_variant=texts(fields.get("SequenceVariant")),
        sequence_name=words("SequenceName"),
        scan_options=texts(fields.get("ScanOptions")),
        acquisition_type=words("MRAcquisitionType"),
        suppression=tuple(words(f"SpectrallySelected{what}") for what in ("Suppression", "Excitation")),
        tr_ms=above(0, "RepetitionTime"),
        te_ms=above(0, "EffectiveEchoTime", "EchoTime"),
        ti_ms=above(0, "InversionTimes", "InversionTime"),
        echo_number=above(-1, "EchoNumbers"),
        b_value=b_value_of(fields),
        diffusion=diffusion_of(fields),
        epi_factor=number(fields.get("PhilipsEPIFactor")),
        rows=whole("Rows"),
        columns=whole("Columns"),
        row_spacing_mm=spacing[0] if spacing else None,
        column_spacing_mm=spacing[1] if spacing else None,
        thickness_mm=above(0, "SliceThickness"),
        spacing_tag_mm=above(0, "SpacingBetweenSlices"),
        samples=whole("SamplesPerPixel"),
        photometric=words("PhotometricInterpretation"),
        bits_allocated=whole("BitsAllocated"),
        bits_stored=whole("BitsStored"),
        signed=whole("PixelRepresentation") == 1,
        lossy=words("LossyImageCompression") == "01",
        transfer_syntax_uid=header.transfer_syntax,
        multi_frame=multi_frame,
        phantom=words("QualityControlImage") == "YES" and words("ImageComments").startswith(PHANTOM_COMMENT),
    )


def derivation_of(fields: Fields) -> str:
    """Return DerivationDescription, and the word code for each code of a derivation; none stands for compression."""
    described = text(fields.get("DerivationDescription"), fields.get("SpecificCharacterSet"))
    return " ".join(filter(None, [described, *("code" for _ in sequence(fields, "DerivationCodeSequence"))]))


def sequences_of(fields: Fields) -> tuple[str, ...]:
    """Return ScanningSequence, or what the enhanced attributes say in its terms."""
    found = set(texts(fields.get("ScanningSequence")))
    echo = text(fields.get("EchoPulseSequence"))
    found |= {"SPIN": {"SE"}, "GRADIENT": {"GR"}, "BOTH": {"SE", "GR"}}.get(echo, set())
    if text(fields.get("InversionRecovery")) == "YES":
        found.add("IR")
    if text(fields.get("EchoPlanarPulseSequence")) == "YES":
        found.add("EP")
    return tuple(sorted(found))


def exactly(n: int, values: tuple[float, ...]) -> tuple[float, ...]:
    """Return the values if there are ``n`` of them, else none."""
    return values if len(values) == n else ()
