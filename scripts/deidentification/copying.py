"""Copying images and tables without identity."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from ..console import progress, say
from ..dicom.diffusion import b_value_of
from ..dicom.elements import flatten
from ..dicom.frames import Frame
from ..dicom.listings import list_files
from ..dicom.silence import quiet
from ..dicom.sources import NO_DICOM, read_all, watch_headers
from ..errors import InputError, exit_status, kind_of, naming
from ..files import drafting
from ..tables import Row
from .identifiers import SHORTEST_PIECE, Identifiers, add_pieces, identifiers, left_over, table_identifiers
from .linkage import Linkage, write_private
from .rules import clean
from .selections import Selection, select
from .tables import Images, check_against, write_renamed


class RefusedError(Exception):
    """A file is not copied; the message is the reason and names nobody."""


class DamagedError(Exception):
    """A file is not copied, and nor is its series; the message is the reason and names nobody."""


def copy_images(
    source: str,
    target: Path,
    secret: Path,
    linkage: Linkage,
    refusals: Path,
    earlier: Sequence[tuple[str, ...]],
    tables: Mapping[str, list[Row]],
    shift_dates: bool,
) -> int:
    """Copy all MR images below a folder without identity, and the tables about them.

    Args:
        source: the folder with the originals.
        target: the new folder.
        secret: where to write the linkage table.
        linkage: the linkage so far.
        refusals: table of the files that were refused.
        earlier: its rows so far.
        tables: the rows of the tables to rename, by file name.
        shift_dates: move dates back instead of removing them.

    Returns:
        The exit status: 1 where something could not be read, see `scripts.errors.exit_status`.

    Raises:
        InputError: no image can be copied, the tables do not fit the images, or there is no room.
    """
    listing = list_files(source)
    if listing.empty:
        raise InputError(f"{source} holds no files; expected the folder with the original images")
    read = read_all(listing.files, watch=watch_headers)
    selection = select(read.frames)
    refused = selection.refused
    refused += [*listing.unreadable, *read.unreadable, *listing.no_images, *read.no_images]
    refused += [(path, NO_DICOM) for path in listing.volumes]
    named = listing.archives.named
    before = {kind: {original for one, original in linkage.known if one == kind} for kind in ("patient", "uid")}
    if tables:
        check_against(tables, images_of(selection, before))
    copied: dict[Path, str] = {}
    broken: dict[str, str] = {}
    with naming(target), drafting(target) as draft:
        unstated = set()
        for path, frames in progress(list(selection.chosen.items()), "removing identities", "file"):
            try:
                with quiet():
                    result, content = cleaned(frames, linkage, shift_dates)
            except (DamagedError, RefusedError) as error:
                refused.append((path, str(error)))
                del selection.chosen[path]
                if isinstance(error, DamagedError):
                    broken[frames[0].facts.series_uid] = str(error)
                continue
            place = draft / "dicom" / result.PatientID / short_uid(result.SeriesInstanceUID)
            place.mkdir(parents=True, exist_ok=True)
            place /= f"{short_uid(result.SOPInstanceUID)}.dcm"
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
            write_private(refusals, table_of(earlier, [(named(path), reason) for path, reason in refused]))
            raise InputError(
                f"none of the {len(refused)} files is an MR image that can be copied: {reason_counts(refused)}; see "
                f"{refusals}"
            )
        kept = [frames[0] for frames in selection.chosen.values()]
        gone = selection.uids - {uid for frame in kept for uid in (frame.facts.series_uid, frame.sop_uid)}
        patients = before["patient"] | {frame.facts.patient_id for frame in kept}
        left_out = {
            table: write_renamed(rows, draft / table, linkage, patients, gone) for table, rows in tables.items()
        }
        linkage.write(secret)  # before the images appear, so that the key is never lost
        done = set(map(named, copied.values()))
        lines = [(named(path), reason) for path, reason in refused]
        write_private(refusals, table_of((row for row in earlier if row[0] not in done), lines))
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
    return exit_status(len(copied), len(listing.unreadable) + len(read.unreadable) + len(broken))


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


def cleaned(frames: Sequence[Frame], linkage: Linkage, shift_dates: bool) -> tuple[Dataset, bytes]:
    """Return one file's dataset without identity, and its bytes.

    Raises:
        RefusedError: it must not be copied.
        DamagedError: it cannot be copied whole, nor can its series.
    """
    facts = frames[0].facts
    try:
        dataset = dcmread(frames[0].path, force=True)
        originals = identifiers(dataset)
        burned = str(dataset.get("BurnedInAnnotation", "")).strip().upper() == "YES"
        result = clean(dataset, linkage, facts.transfer_syntax_uid, shift_dates)
        state_sequence(result, frames)
        stream = io.BytesIO()
        dcmwrite(stream, result, enforce_file_format=True)
        content = stream.getvalue()
        remaining = left_over(content, originals)
    except Exception as error:  # damaged headers break pydicom in more ways than can be listed
        raise DamagedError(f"damaged header ({kind_of(error)})") from error
    if burned:
        raise RefusedError("text is burned into the pixels (BurnedInAnnotation)")
    if {"SCREEN SAVE", "SCREENSHOT"} & set(facts.image_type):
        raise RefusedError("a screenshot, which may show names")
    if remaining:
        raise RefusedError(f"an identifier would remain in {', '.join(remaining)}")
    return result, content


def state_sequence(result: Dataset, frames: Sequence[Frame]) -> None:
    """Write diffusion weighting and echo planar readout, which some makers state in private elements, in standard ones.

    Private elements are not copied; without this, a series that was refused would be accepted after it.

    Args:
        result: a file without identity; is added to.
        frames: the file's frames as they were read with the private elements.
    """
    shared = flatten(result.SharedFunctionalGroupsSequence[0]) if "SharedFunctionalGroupsSequence" in result else {}
    for frame in frames:
        b_value = frame.facts.b_value
        if not b_value:
            continue
        holder = result
        if frame.frame:
            groups = result.PerFrameFunctionalGroupsSequence[int(frame.frame) - 1]
            if b_value_of(shared | flatten(groups)) == b_value:
                continue
            if not groups.get("MRDiffusionSequence"):
                groups.MRDiffusionSequence = DicomSequence([Dataset()])
            holder = groups.MRDiffusionSequence[0]
        holder.DiffusionBValue = b_value
    if any((frame.facts.epi_factor or 0) > 1 for frame in frames):
        result.EchoPlanarPulseSequence = "YES"


def short_uid(uid: str) -> str:
    """Shorten a UID for file names; it is a hash, so its end tells as much as any part."""
    return uid[-16:]


def reason_counts(refused: list[tuple[str, str]]) -> str:
    """Sum up reasons without naming files, whose names may identify."""
    counts = Counter(reason for _, reason in refused)
    return "; ".join(f"{n} {reason}" for reason, n in counts.most_common(5)) or "no files"


def table_of(earlier: Iterable[tuple[str, ...]], refused: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return the table of refused files, each once."""
    return [("path", "reason"), *dict.fromkeys((*earlier, *refused))]
