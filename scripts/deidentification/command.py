"""The deidentify command."""

from __future__ import annotations

import csv
import io
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset

from ..console import progress, say
from ..dicom import files_below
from ..dicom.elements import UnreadableError
from ..dicom.frames import read_frames
from ..dicom.judgements import ENHANCED_MR, MR
from ..dicom.sources import quiet
from ..errors import InputError
from .linkage import Linkage
from .rules import clean, identifiers, left_over
from .tables import read_all, write_renamed

PIXEL_MARKS = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")


class RefusedError(Exception):
    """A file is not copied; the message is the reason and names nobody."""


def deidentify(source: str, out: str, linkage: str, dates: str = "shift", tables: str = "") -> int:
    """Copy MR images without identity, so that pixels and geometry stay bit for bit.

    What may stay is listed (image, geometry, acquisition); everything else goes: names, free text, private tags,
    overlays. UIDs are replaced in the same way everywhere, so that series stay series. Whatever is no MR image, is
    damaged, or has text burned into its pixels is refused. Images whose header does not say whether text is burned in
    are counted: look at some. Faces can be recognised in head images; crop or deface them if yours show one.

    OUT/dicom/<pseudonym>/… holds the images, under names made from the new UIDs; OUT/ holds the tables. Neither OUT nor
    what this command prints holds an original identifier; each written header is searched for them. LINKAGE holds the
    key and who became whom; keep it apart and private (mode 600). With the same LINKAGE the result is the same again,
    and patients who come later fit in. LINKAGE_refused.csv, also private, names the files that were refused.

    Args:
        source: the folder with the originals.
        out: a new or empty folder.
        linkage: CSV with the key and the names; made if absent, extended if there. Not inside OUT.
        dates: shift (each patient's dates move back by their own number of days, intervals stay) or remove.
        tables: labels and patients to rename too, with commas between them, e.g. labels.csv,patients.csv.
    """
    if dates not in ("shift", "remove"):
        raise InputError(f"--dates must be shift or remove, got {dates!r}")
    target, secret = Path(out).resolve(), Path(linkage).resolve()
    check_places(Path(source).resolve(), target, secret)
    who = Linkage.read(secret)
    renamed = read_all(tables)
    files = files_below(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    refused: list[tuple[str, str]] = []
    unstated = 0
    written: dict[Path, str] = {}
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".deidentify") as name:
        draft = Path(name) / "draft"
        for path in progress(files, "removing identities", "file"):
            try:
                with quiet():
                    result, content = cleaned(path, who, dates == "shift")
                place = (
                    draft
                    / "dicom"
                    / result.PatientID
                    / tail(result.SeriesInstanceUID)
                    / f"{tail(result.SOPInstanceUID)}.dcm"
                )
                if place in written:
                    raise RefusedError("a copy of an image that another file holds")
                written[place] = path
                unstated += "BurnedInAnnotation" not in result
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
            except (UnreadableError, RefusedError) as error:
                refused.append((path, str(error)))
        if not written:
            raise InputError(f"none of the {len(files)} files is an MR image that can be copied: {told(refused)}")
        for table, rows in renamed.items():
            write_renamed(rows, draft / table, who)
        who.write(secret)  # before the images appear, so that the key is never lost
        write_private(secret.with_name(f"{secret.stem}_refused.csv"), refused)
        if target.exists():
            target.rmdir()
        draft.replace(target)
    patients = {place.parent.parent.name for place in written}
    say(f"{len(written)} images of {len(patients)} patients in {target}, {len(refused)} files refused")
    for reason, n in Counter(reason for _, reason in refused).most_common():
        say(f"  {n:6} {reason}")
    if unstated:
        say(f"{unstated} images do not say whether text is burned into their pixels; look at some of each maker")
    return 0


def check_places(source: Path, out: Path, linkage: Path) -> None:
    """Refuse places where originals, copies and the key would mix."""
    if not source.exists():
        raise InputError(f"{source} does not exist; expected the folder with the original images")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not an empty folder; choose a new one")
    if linkage.is_relative_to(out):
        raise InputError(f"the linkage table {linkage} lies inside {out}; it must not travel with the images")
    if out.is_relative_to(source) or source.is_relative_to(out):
        raise InputError(f"{out} and {source} lie within each other; keep originals and copies apart")


def cleaned(path: str, who: Linkage, shift_dates: bool) -> tuple[Dataset, bytes]:
    """Give one file's dataset without identity, and its bytes.

    Raises:
        UnreadableError: the file is no DICOM.
        RefusedError: it must not be copied.
    """
    frame = read_frames(path)[0]
    facts = frame.facts
    if facts.modality != "MR" or facts.sop_class_uid not in (MR, *ENHANCED_MR):
        raise RefusedError("not an MR image")
    if frame.problem:
        raise RefusedError("damaged or incomplete pixels")
    if not facts.patient_id or not facts.series_uid or not frame.sop_uid:
        raise RefusedError("PatientID, SeriesInstanceUID or SOPInstanceUID is missing")
    try:
        dataset = dcmread(path, force=True)
        if str(dataset.get("BurnedInAnnotation", "")).strip().upper() == "YES":
            raise RefusedError("text is burned into the pixels (BurnedInAnnotation)")
        if {"SCREEN SAVE", "SCREENSHOT"} & set(facts.image_type):
            raise RefusedError("a screenshot, which may show names")
        result = clean(dataset, who, facts.transfer_syntax_uid, shift_dates)
        stream = io.BytesIO()
        dcmwrite(stream, result, enforce_file_format=True)
    except RefusedError:
        raise
    except Exception as error:  # damaged headers break pydicom in more ways than can be listed
        raise RefusedError(f"damaged header ({type(error).__name__})") from error
    content = stream.getvalue()
    remaining = left_over(header_of(content), identifiers(dataset))
    if remaining:
        raise RefusedError(f"{len(remaining)} identifiers would remain in kept attributes")
    return result, content


def header_of(content: bytes) -> bytes:
    """Give the bytes before the pixels."""
    ends = [position for mark in PIXEL_MARKS if (position := content.find(mark)) >= 0]
    return content[: min(ends, default=len(content))]


def tail(uid: str) -> str:
    """Shorten a UID for file names; it is a hash, so its end tells as much as any part."""
    return uid[-16:]


def told(refused: list[tuple[str, str]]) -> str:
    """Sum up reasons without naming files, whose names may identify."""
    counts = Counter(reason for _, reason in refused)
    return "; ".join(f"{n} {reason}" for reason, n in counts.most_common(5)) or "no files"


def write_private(path: Path, refused: list[tuple[str, str]]) -> None:
    """Write the refused files for their owner alone, whole or not at all."""
    draft = path.with_name(f".{path.name}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("path", "reason"), *refused])
    shutil.move(draft, path)
