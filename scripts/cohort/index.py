"""The index of a disk of DICOM: one row per stack of slices, accepted or refused, with the reason."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..console import one_line, progress, say
from ..errors import InputError, check_whole, exit_status
from ..files import check_output, resolved, write_csv

if TYPE_CHECKING:
    from ..dicom.archives import Archives
    from ..dicom.judgements import Judgement
    from ..dicom.stacks import Stack
    from ..dicom.volumes import Volume

COLUMNS = (
    "path", "patient_id", "study_uid", "series_uid", "stack", "n_slices", "decision", "reason", "warnings",
    "weighting", "fat_suppression", "plane", "oblique_degrees", "manufacturer", "model", "field_t", "description",
    "body_part", "rows", "columns", "row_spacing_mm", "column_spacing_mm", "thickness_mm", "spacing_mm",
    "shear_degrees", "sequence", "acquisition_type", "tr_ms", "te_ms", "ti_ms", "image_type", "patient_position",
    "multi_frame", "signed", "slopes", "transfer_syntax_uid",
)  # fmt: skip
INDEX_SLICE_COLUMNS = ("path", "patient_id", "series_uid", "sop_uid", "frame", "slice_index", "position_mm")


def index(
    folder: str,
    out: str = "index.csv",
    workers: int = 2,
    scheduler: str = "",
    decode: bool = True,
    benchmark: bool = False,
) -> int:
    """List every series below a folder: which are axial T2 and can be used, which are refused, and why.

    Reads headers only, at any depth and under any file names, in zips too, and volume files (NIfTI, NRRD, MetaImage).
    Writes three tables that a spreadsheet opens:

    OUT: one row per geometric stack (a series with two echoes has two) or volume file, with its decision and reason.
    OUT_slices: the slices of accepted stacks from caudal to cranial, with the UIDs that raters' tables use.
    OUT_unreadable: each file that is no image, files and folders that cannot be read, links to folders and pipes, which
    are not followed or opened, and copies of a slice that were left out, with the reason.

    A series is accepted by its tags and geometry, never by its description. The body part is no ground for refusal, for
    hospitals fill it unreliably: look at the warnings.

    Exit status: 0 everything that may hold images has a decision, 1 something could not be read, 2 there is no image.

    Args:
        folder: the folder to look through, or a zip; a DICOMDIR stands for its folder.
        out: the table to write; the other two are named after it.
        workers: processes that read headers; below 4,096 files this one suffices.
        scheduler: address of a dask scheduler whose workers read them instead, see docs/many_machines.md.
        decode: also decode compressed slices of accepted stacks, so that damaged ones are refused.
        benchmark: also time a plain one-process pydicom loop over the same files, and print how much faster this is.
    """
    from ..cluster.workers import Workers
    from ..dicom.elements import UnreadableError
    from ..dicom.judgements import judge
    from ..dicom.listings import list_files, named_path
    from ..dicom.sources import contents_of, watch_headers
    from ..dicom.volumes import judge_volume, read_volume

    check_whole("--workers", workers, 1)
    top = resolved(named_path(folder))
    table = Path(out)
    tables = [table, table.with_name(f"{table.stem}_slices.csv"), table.with_name(f"{table.stem}_unreadable.csv")]
    for place in tables:
        check_output(place, [] if top.is_dir() else [top])
    listing = list_files(top, skip={str(resolved(place)) for place in tables})
    names = Names(top if top.is_dir() else top.parent, listing.archives)
    if listing.empty:
        raise InputError(f"{folder} holds no files")
    started = time.perf_counter()
    with Workers(workers, scheduler) as several:
        found = contents_of(listing, several.spread, watch_headers)
    seconds = time.perf_counter() - started
    stacks, unreadable = found.stacks, list(found.unreadable)
    judgements = [judge(stack) for stack in stacks]
    if decode:
        judgements = decoded(stacks, judgements)
    rows = list(index_rows(stacks, judgements, names))
    for path in progress(found.volumes, "reading volumes", "file") if found.volumes else ():
        try:
            volume = read_volume(path)
        except UnreadableError as error:
            unreadable.append((path, str(error)))
        else:
            rows.append(volume_row(volume, judge_volume(volume), names))
    copies = [(path, "a copy of a slice that another file holds") for stack in stacks for path in stack.copies]
    write_csv(tables[0], COLUMNS, sorted(rows, key=lambda row: row["path"]))
    accepted = [stack for stack, judgement in zip(stacks, judgements, strict=True) if judgement.accepted]
    write_csv(tables[1], INDEX_SLICE_COLUMNS, (row for stack in accepted for row in slice_rows(stack, names)))
    unused = [*unreadable, *found.no_images, *copies]
    left_out = sorted((names.path(path), names.text(reason)) for path, reason in unused)
    write_csv(tables[2], ("path", "reason"), [{"path": path, "reason": reason} for path, reason in left_out])
    n_files = len(listing.files) + len(listing.volumes)
    n_accepted = sum(row["decision"] == "accept" for row in rows)
    volumes = f" and {len(rows) - len(stacks)} volumes" if len(rows) > len(stacks) else ""
    say(f"{n_files} files in {seconds:.1f} s: {len(stacks)} stacks{volumes}, {n_accepted} accepted")
    say(f"{len(left_out)} files left out, {len(unreadable)} of them could not be read, see {tables[2]}")
    for reason, n in Counter(row["reason"].split(" (")[0] for row in rows).most_common():
        say(f"  {n:5} {reason}")
    say(f"wrote {', '.join(map(str, tables))}")
    if benchmark:
        time_plain_loop(listing.files, seconds)
    return exit_status(len(rows), len(unreadable))


class Names(NamedTuple):
    """How tables name paths: relative to the indexed folder, and what lies in a zip by its zip."""

    root: Path
    archives: Archives

    def path(self, path: str) -> str:
        """Name a file or folder."""
        return Path(self.archives.named(path)).relative_to(self.root).as_posix()

    def place(self, files: Sequence[str]) -> str:
        """Name where some files lie, see `scripts.dicom.archives.Archives.place`."""
        return Path(self.archives.place(files)).relative_to(self.root).as_posix()

    def text(self, text: str) -> str:
        """Name the paths within a message, which becomes one line."""
        return one_line(self.archives.named(text).replace(f"{self.root}/", ""))


def decoded(stacks: Sequence[Stack], judgements: Sequence[Judgement]) -> list[Judgement]:
    """Refuse accepted stacks of which the decoder that reads images for the network takes a file for something else.

    Compressed pixels are decoded; of native ones only the header is read again, for damage that others overlook.
    """
    from ..dicom.judgements import Judgement

    accepted = [number for number, judgement in enumerate(judgements) if judgement.accepted]
    found = list(judgements)
    if not accepted:
        return found
    for number in progress(accepted, "trying the decoder", "series"):
        files = {one.path: one.transfer_syntax_uid for one in stacks[number].slices}
        damaged = [path for path, syntax in files.items() if not decodable(path, stacks[number], syntax)]
        if damaged:
            where = f"{len(damaged)} of {len(files)} files, first {Path(damaged[0]).name}"
            found[number] = Judgement("refuse", f"pixels cannot be decoded ({where})")
    return found


def decodable(path: str, stack: Stack, transfer_syntax_uid: str) -> bool:
    """Return whether ITK, which reads images for the network, too, reads a file and finds slices of the right size."""
    import itk

    from ..dicom.names import utf8_path
    from ..dicom.pixels import NATIVE
    from ..dicom.pixels import decoded as pixels_of

    image_io = itk.GDCMImageIO.New()
    try:
        with utf8_path(path) as plain:
            if not image_io.CanReadFile(plain):
                return False
            image_io.SetFileName(plain)
            image_io.ReadImageInformation()
        if 0 in [image_io.GetSpacing(axis) for axis in range(image_io.GetNumberOfDimensions())]:
            return False  # ITK makes no image of it; it takes a negative spacing, of frames from cranial to caudal
        size = image_io.GetDimensions(1), image_io.GetDimensions(0)
        if transfer_syntax_uid not in NATIVE:
            size = pixels_of(path, transfer_syntax_uid).shape[-2:]
    except RuntimeError:
        return False
    return bool(size == (stack.rows, stack.columns))


def index_rows(stacks: Sequence[Stack], judgements: Sequence[Judgement], names: Names) -> Iterable[dict[str, Any]]:
    """Yield the rows of stacks; those of one series are numbered from 1."""
    from ..dicom.judgements import body_part_warning

    seen: Counter[str] = Counter()
    for stack, (decision, reason) in zip(stacks, judgements, strict=True):
        seen[stack.series_uid] += 1
        warnings = [*stack.warnings, *filter(None, [body_part_warning(stack)])]
        slopes = sorted({one.slope for one in stack.slices})
        yield {column: cell(getattr(stack, column, "")) for column in COLUMNS} | {
            "path": names.place(stack.files),
            "stack": seen[stack.series_uid],
            "n_slices": len(stack.slices),
            "decision": decision,
            "reason": names.text(reason),
            "warnings": names.text("; ".join(warnings)),
            "slopes": cell(tuple(slopes[:1] + slopes[1:][-1:])),
        }


def volume_row(volume: Volume, judgement: Judgement, names: Names) -> dict[str, Any]:
    """Return the row of a volume file."""
    from ..dicom.volumes import volume_uid

    path = names.path(volume.path)
    return {column: cell(getattr(volume, column, "")) for column in COLUMNS} | {
        "path": path,
        "series_uid": volume_uid(path, volume.sha256),
        "stack": 1,
        "decision": judgement.decision,
        "reason": judgement.reason,
        "warnings": names.text("; ".join(volume.warnings)),
    }


def slice_rows(stack: Stack, names: Names) -> Iterable[dict[str, Any]]:
    """Yield one row per slice, from caudal to cranial."""
    for number, one in enumerate(stack.slices):
        yield {
            "path": names.path(one.path),
            "patient_id": stack.patient_id,
            "series_uid": stack.series_uid,
            "sop_uid": one.sop_uid,
            "frame": one.frame,
            "slice_index": number,
            "position_mm": cell(one.position_mm),
        }


def cell(value: Any) -> Any:
    """Write a value as a person reads it in a spreadsheet."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple):
        return "\\".join(str(cell(part)) for part in value)
    return {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value


def time_plain_loop(files: Sequence[str], seconds: float) -> None:
    """Time the plain way, one process with ``dcmread`` and the same columns, and print the ratio."""
    from pydicom import dcmread

    from ..dicom.elements import KEYWORDS
    from ..dicom.silence import quiet

    started = time.perf_counter()
    for path in progress(files, "plain pydicom loop", "file"):
        try:
            with quiet():
                dataset = dcmread(path, stop_before_pixels=True)
                for keyword in KEYWORDS:
                    dataset.get(keyword)
        except Exception:  # only the time counts here
            continue
    plain = time.perf_counter() - started
    say(f"plain pydicom loop {plain:.1f} s, index {seconds:.1f} s: {plain / seconds:.1f} times as fast")
    peak = peak_memory_mib()
    known = "not known on this system" if peak is None else f"{peak:.0f} MiB"
    say(f"peak memory of the index and the loop together: {known}")


def peak_memory_mib() -> float | None:
    """Return the largest memory that this process has used; None where the system has no module ``resource``."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    unit = 1024**2 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
