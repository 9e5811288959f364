"""What results take over from the images they speak of, and how they are stored."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import pydicom
from monai.utils import optional_import
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from ...dicom.character_sets import ESCAPES, LATIN_9_NAMES, decode
from ...dicom.silence import quiet
from ...errors import InputError, kind_of, writing_error
from ...records import ResultFacts, SliceResult

highdicom, HAS_HIGHDICOM = optional_import("highdicom")

PATIENT_AND_STUDY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyTime"),
    *("StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
CARRIED = (
    *(*PATIENT_AND_STUDY, "StudyDescription", "IssuerOfPatientID", "PatientAge"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"),
    *("Manufacturer", "FrameOfReferenceUID", "PositionReferenceIndicator"),
)
UIDS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
UID = re.compile(r"[0-9.]{0,64}")
UTF8 = "ISO_IR 192"
TEXTS = ("LO", "LT", "PN", "SH", "ST", "UC", "UT")
"""Value representations whose bytes mean what SpecificCharacterSet says."""
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")
TIME = re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?")


def require_highdicom() -> None:
    """Refuse to go on without highdicom.

    Raises:
        InputError: the extra ``dicom`` is not installed.
    """
    if not HAS_HIGHDICOM:
        raise InputError("DICOM results need highdicom; install it with `pip install -e '.[dicom]'`")


@contextmanager
def without_values() -> Iterator[None]:
    """Let nobody quote a header: no warning passes, and of an error that is not our own only its kind.

    Raises:
        InputError: something in the block failed.
    """
    with quiet():
        try:
            yield
        except InputError:
            raise
        except Exception as error:  # pydicom and highdicom raise many kinds, and quote what they do not like
            raise InputError(f"the headers do not allow DICOM results ({kind_of(error)})") from None


@without_values()
def headers(files: Iterable[str | Path]) -> list[Dataset]:
    """Read the headers of a series' files, pixels left out.

    Raises:
        InputError: a file cannot be read.
    """
    found: list[Dataset] = []
    for path in dict.fromkeys(map(str, files)):
        try:
            found.append(pydicom.dcmread(path, stop_before_pixels=True))
        except Exception as error:  # pydicom raises many kinds for a damaged file
            raise InputError(f"{path} cannot be read as DICOM ({kind_of(error)})") from None
    return found


@without_values()
def text_of(image: Dataset, keyword: str) -> str:
    """Decode a text of a header; bytes that its character set does not have become U+FFFD, control characters go.

    Character sets that DICOM does not know are read as UTF-8.
    """
    charset = image.get("SpecificCharacterSet") or []
    names = [charset] if isinstance(charset, str) else [str(name) for name in charset]
    raw = image.get_item(keyword)
    try:
        # pydicom knows no Latin-9, see `decode`
        latin_9 = raw is not None and isinstance(raw.value, bytes) and any(name in LATIN_9_NAMES for name in names)
        value = decode(raw.value, names) if latin_9 else image[keyword].value
        text = " ".join(map(str, value)) if isinstance(value, MultiValue) else str(value or "")
    except Exception:  # pydicom raises many kinds for character sets of other makers
        stored = raw.value if raw is not None else b""
        text = stored.decode("utf-8", "replace") if isinstance(stored, bytes) else str(stored or "")
    return CONTROL_CHARACTERS.sub("", ESCAPES.sub("", text)).strip()


@without_values()
def evidence(images: Sequence[Dataset]) -> dict[str, Dataset]:
    """Return, by SOPInstanceUID, what results repeat of their sources: patient and study, complete and valid.

    Scanners and de-identification leave out what the standard wants present, or fill in what it does not allow; such
    values become empty, everything else stays as it is. All text is UTF-8, whatever the source declares.

    Raises:
        InputError: there is no image, or the images come from several studies.
    """
    studies = {str(image.get("StudyInstanceUID", "")) for image in images}
    if len(studies) != 1 or not all(studies):
        raise InputError(f"DICOM results belong to one study; the images name {len(studies)}")
    for keyword in UIDS:
        if not all(UID.fullmatch(str(image.get(keyword, ""))) for image in images):
            raise InputError(f"{keyword} is no valid UID (digits and dots), which DICOM results need")
    found = {}
    for image in images:
        copy = Dataset()
        copy.SpecificCharacterSet = UTF8
        for keyword in CARRIED:
            if keyword in image:
                if dictionary_VR(keyword) in TEXTS:
                    setattr(copy, keyword, text_of(image, keyword))
                else:
                    copy[keyword] = deepcopy(image[keyword])
        for keyword in PATIENT_AND_STUDY:
            if copy.get(keyword) is None:
                setattr(copy, keyword, "")
        if not UID.fullmatch(str(copy.get("FrameOfReferenceUID", ""))):
            del copy.FrameOfReferenceUID
        if copy.PatientSex not in ("M", "F", "O"):
            copy.PatientSex = ""
        for keyword in ("PatientBirthDate", "StudyDate"):
            if not re.fullmatch(r"\d{8}", str(copy[keyword].value)):
                setattr(copy, keyword, "")
        if not TIME.fullmatch(str(copy.StudyTime)):
            copy.StudyTime = ""
        found[str(copy.SOPInstanceUID)] = copy
    return found


def source_of(row: SliceResult, images: Mapping[str, Dataset]) -> Dataset:
    """Find the image a row speaks of.

    Raises:
        InputError: the row names no image, or one that is not there.
    """
    if not row["sop_uid"]:
        raise InputError("slices without a SOPInstanceUID (NIfTI, or a volume cut anew) have no place in DICOM results")
    if row["sop_uid"] not in images:
        raise InputError(f"no image with SOPInstanceUID {row['sop_uid']} among the {len(images)} given")
    return images[row["sop_uid"]]


def software(facts: ResultFacts) -> dict[str, str]:
    """Return what says who made a result, as keyword arguments of highdicom's classes."""
    return {
        "manufacturer": "cervical_cord_compression contributors",
        "manufacturer_model_name": facts["model_name"][:64],
        "software_versions": facts["model_version"],
        "device_serial_number": facts["weights_sha256"][:64],
    }


@without_values()
def save(results: Iterable[Dataset], folder: str | Path) -> list[Path]:
    """Write results under their SOPInstanceUIDs; a file that exists is never replaced.

    Raises:
        InputError: the folder cannot be written.
    """
    paths = []
    for result in results:
        path = Path(folder) / f"{result.SOPInstanceUID}.dcm"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            result.save_as(path, enforce_file_format=True, overwrite=False)
        except OSError as error:
            raise writing_error(error, path) from error
        paths.append(path)
    return paths
