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
from ..dicom.frames import Facts, Frame
from ..dicom.sources import CHUNK, Read, look_below, quiet, read_quietly, share
from ..errors import InputError
from .identifiers import SHORTEST_PIECE, Identifiers, add_pieces, identifiers, left_over, table_identifiers
from .linkage import Linkage
from .rules import clean
from .selections import Selection, select
from .tables import Images, read_all, write_renamed


class RefusedError(Exception):
    """A file is not copied; the message is the reason and names nobody."""


class DamagedError(Exception):
    """A file is not copied, and nor is its series; the message is the reason and names nobody."""


def deidentify(source: str, out: str, linkage: str, dates: str = "shift", tables: str = "") -> int:
    """Copy MR images without identity, so that pixels and geometry stay bit for bit.

    What may stay is listed (image, geometry, acquisition); everything else goes: names, free text, private tags,
    overlays. UIDs are replaced in the same way everywhere, so that series stay series. Whatever is no MR image or has
    text burned into its pixels is refused, and so is a whole series if a slice is damaged or if two files of one
    SOPInstanceUID disagree. Images whose header does not say whether text is burned in are counted: look at some. Faces
    can be recognised in head images; crop or deface them if yours show one.

    OUT/dicom/<pseudonym>/… holds the images, under names made from the new UIDs; OUT/ holds the tables. Neither OUT nor
    what this command prints holds an original identifier; each written header is searched for names, numbers, places
    and dates of its source. Tables are checked before any image is copied. LINKAGE holds the key and who became whom;
    keep it apart and private (mode 600). With the same LINKAGE the result is the same again, and patients who come
    later fit in. LINKAGE_refused.csv, also private, names the files that were refused, of earlier runs too.

    Args:
        source: the folder with the originals.
        out: a new or empty folder.
        linkage: CSV with the key and the names; made if absent, extended if there. Not inside OUT.
        dates: shift (each patient's dates move back by their own number of days, intervals stay) or remove.
        tables: labels and patients to rename too, with commas between them, e.g. labels.csv,patients.csv. Rows about
            patients or images that are not copied are left out and counted.
    """
    if dates not in ("shift", "remove"):
        raise InputError(f"--dates must be shift or remove, got {dates!r}")
    target, secret = Path(out).absolute(), Path(linkage).absolute()
    refusals = secret.with_name(f"{secret.stem}_refused.csv")
    try:
        target, secret = target.resolve(), secret.resolve()
        check_places(Path(source).resolve(), target, secret)
        writable(target.parent, "OUT")
        writable(secret.parent, "LINKAGE")
        earlier = read_private(refusals)
    except OSError as error:
        raise InputError(f"{error.filename or secret} cannot be used: {error.strerror or error}") from error
    who = Linkage.read(secret)
    files, strange = look_below(source)
    frames, unreadable = read_headers(files)
    selection = select(frames)
    refused = selection.refused
    refused += [*strange, *unreadable]
    before = {kind: {original for one, original in who.known if one == kind} for kind in ("patient", "uid")}
    renamed = read_all(tables, lambda: images_of(selection, before))
    copied: dict[Path, str] = {}
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".deidentify") as name:
        draft = Path(name) / "draft"
        broken: dict[str, str] = {}
        unstated = set()
        for path, (frame, *_) in progress(list(selection.chosen.items()), "removing identities", "file"):
            try:
                with quiet():
                    result, content = cleaned(frame, who, dates == "shift")
            except (DamagedError, RefusedError) as error:
                refused.append((path, str(error)))
                del selection.chosen[path]
                if isinstance(error, DamagedError):
                    broken[frame.facts.series_uid] = str(error)
                continue
            place = draft / "dicom" / result.PatientID / tail(result.SeriesInstanceUID)
            place.mkdir(parents=True, exist_ok=True)
            place /= f"{tail(result.SOPInstanceUID)}.dcm"
            copied[place] = path
            if "BurnedInAnnotation" not in result:
                unstated.add(place)
            place.write_bytes(content)
        selection.drop_series(broken)
        for place in [place for place, path in copied.items() if path not in selection.chosen]:
            place.unlink()
            del copied[place]
            for folder in (place.parent, place.parent.parent):
                if not any(folder.iterdir()):
                    folder.rmdir()
        if not copied:
            write_private(refusals, [*earlier, *refused])
            raise InputError(
                f"none of the {len(files)} files is an MR image that can be copied: {told(refused)}; see {refusals}"
            )
        kept = [frames[0] for frames in selection.chosen.values()]
        gone = selection.uids - {uid for frame in kept for uid in (frame.facts.series_uid, frame.sop_uid)}
        patients = before["patient"] | {frame.facts.patient_id for frame in kept}
        left_out = {table: write_renamed(rows, draft / table, who, patients, gone) for table, rows in renamed.items()}
        who.write(secret)  # before the images appear, so that the key is never lost
        write_private(refusals, [*(row for row in earlier if row[0] not in copied.values()), *refused])
        if target.exists():
            target.rmdir()
        draft.replace(target)
    n_patients = len({place.parent.parent for place in copied})
    say(f"{len(copied)} images of {n_patients} patients in {target}, {len(refused)} files refused")
    for reason, n in Counter(reason for _, reason in refused).most_common():
        say(f"  {n:6} {reason}")
    for table, n in left_out.items():
        if n:
            say(f"{n} rows of {table} left out, for their patients or images were not copied")
    if unstated & copied.keys():
        n = len(unstated & copied.keys())
        say(f"{n} images do not say whether text is burned into their pixels; look at some of each maker")
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


def writable(folder: Path, name: str) -> None:
    """Refuse a folder that cannot be written before hours of work, not after."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}); choose another place for {name}") from error


def read_headers(files: list[str]) -> Read:
    """Read the headers of all files."""
    chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    frames: list[Frame] = []
    unreadable: list[tuple[str, str]] = []
    known: dict[Facts, Facts] = {}
    for found, failed in progress(map(read_quietly, chunks), "reading headers", f"x{CHUNK} files", total=len(chunks)):
        frames += [share(frame, known) for frame in found]
        unreadable += failed
    return frames, unreadable


def images_of(selection: Selection, before: dict[str, set[str]]) -> Images:
    """Gather what tables may name and what their other cells must not hold, from one file of each series."""
    patients, uids = selection.patients | before["patient"], selection.uids | before["uid"]
    originals = Identifiers(uids=dict.fromkeys(uids, "a UID"))
    for patient in patients:
        add_pieces(originals, patient, "PatientID", SHORTEST_PIECE, set())
    one_each = {frames[0].facts: path for path, frames in selection.chosen.items()}
    for path in one_each.values():
        with quiet():
            originals.update(table_identifiers(dcmread(path, force=True, stop_before_pixels=True)))
    return Images(patients, uids, originals)


def cleaned(frame: Frame, who: Linkage, shift_dates: bool) -> tuple[Dataset, bytes]:
    """Return one file's dataset without identity, and its bytes.

    Raises:
        RefusedError: it must not be copied.
        DamagedError: it cannot be copied whole, nor can its series.
    """
    facts = frame.facts
    try:
        dataset = dcmread(frame.path, force=True)
        originals = identifiers(dataset)
        burned = str(dataset.get("BurnedInAnnotation", "")).strip().upper() == "YES"
        result = clean(dataset, who, facts.transfer_syntax_uid, shift_dates)
        stream = io.BytesIO()
        dcmwrite(stream, result, enforce_file_format=True)
        content = stream.getvalue()
        remaining = left_over(content, originals)
    except Exception as error:  # damaged headers break pydicom in more ways than can be listed
        raise DamagedError(f"damaged header ({type(error).__name__})") from error
    if burned:
        raise RefusedError("text is burned into the pixels (BurnedInAnnotation)")
    if {"SCREEN SAVE", "SCREENSHOT"} & set(facts.image_type):
        raise RefusedError("a screenshot, which may show names")
    if remaining:
        raise RefusedError(f"an identifier would remain in {', '.join(remaining)}")
    return result, content


def tail(uid: str) -> str:
    """Shorten a UID for file names; it is a hash, so its end tells as much as any part."""
    return uid[-16:]


def told(refused: list[tuple[str, str]]) -> str:
    """Sum up reasons without naming files, whose names may identify."""
    counts = Counter(reason for _, reason in refused)
    return "; ".join(f"{n} {reason}" for reason, n in counts.most_common(5)) or "no files"


def read_private(path: Path) -> list[tuple[str, str]]:
    """Read the files that earlier runs refused."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        return [(row[0], row[1]) for row in list(csv.reader(stream))[1:] if len(row) == 2]


def write_private(path: Path, refused: list[tuple[str, str]]) -> None:
    """Write the refused files for their owner alone, whole or not at all."""
    draft = path.with_name(f".{path.name}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        csv.writer(stream).writerows([("path", "reason"), *dict.fromkeys(refused)])
    shutil.move(draft, path)
