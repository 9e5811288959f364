"""The index of a disk of DICOM: one row per stack of slices, accepted or refused, with the reason."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import progress, say
from ..errors import InputError
from ..files import check_output, write_csv

if TYPE_CHECKING:
    from ..dicom.judgements import Judgement
    from ..dicom.sources import Read
    from ..dicom.stacks import Stack

COLUMNS = (
    "path", "patient_id", "study_uid", "series_uid", "stack", "n_slices", "decision", "reason", "warnings",
    "weighting", "fat_suppression", "plane", "oblique_degrees", "manufacturer", "model", "field_t", "description",
    "body_part", "rows", "columns", "row_spacing_mm", "column_spacing_mm", "thickness_mm", "spacing_mm",
    "shear_degrees", "sequence", "acquisition_type", "tr_ms", "te_ms", "ti_ms", "image_type", "patient_position",
    "multi_frame", "signed", "slopes", "transfer_syntax_uid",
)  # fmt: skip
INDEX_SLICE_COLUMNS = ("path", "patient_id", "series_uid", "sop_uid", "frame", "slice_index", "position_mm")


def index(folder: str, out: str = "index.csv", workers: int = 2, decode: bool = True, benchmark: bool = False) -> int:
    """List every series below a folder: which are axial T2 and can be used, which are refused, and why.

    Reads headers only, at any depth and under any file names. Writes three tables that a spreadsheet opens:

    OUT: one row per geometric stack (a series with two echoes has two), with its decision and reason.
    OUT_slices: the slices of accepted stacks from caudal to cranial, with the UIDs that raters' tables use.
    OUT_unreadable: each file that is no DICOM image, folders that cannot be read, links to folders and pipes, which are
    not followed or opened, and copies of a slice that were left out, with the reason.

    A series is accepted by its tags and geometry, never by its description. The body part is no ground for refusal, for
    hospitals fill it unreliably: look at the warnings.

    Args:
        folder: the folder to look through.
        out: the table to write; the other two are named after it.
        workers: processes that read headers, this one included, at most; below 4,096 files this one suffices.
        decode: also decode compressed slices of accepted stacks, so that damaged ones are refused.
        benchmark: also time a plain one-process pydicom loop over the same files, and print how much faster this is.
    """
    from ..dicom.judgements import judge
    from ..dicom.sources import look_below, scan

    root = Path(folder).resolve()
    if not root.is_dir():
        raise InputError(f"{folder} is no folder; expected one with DICOM files below it")
    table = Path(out)
    tables = [table, table.with_name(f"{table.stem}_slices.csv"), table.with_name(f"{table.stem}_unreadable.csv")]
    for path in tables:
        check_output(path)
    own = {str(path.resolve()) for path in tables}
    below, strange = look_below(root)
    files = [path for path in below if path not in own]
    if not files:
        other = "".join(f"\n  {shortened(path, root)}: {reason}" for path, reason in strange[:5])
        raise InputError(f"{folder} holds no files{other}")
    started = time.perf_counter()
    stacks, unreadable = scan(files, workers, watch_headers)
    seconds = time.perf_counter() - started
    unreadable += strange
    judgements = [judge(stack) for stack in stacks]
    if decode:
        judgements = decoded(stacks, judgements)
    unreadable += [(path, "a copy of a slice that another file holds") for stack in stacks for path in stack.copies]
    write_csv(tables[0], COLUMNS, index_rows(stacks, judgements, root))
    accepted = [stack for stack, judgement in zip(stacks, judgements, strict=True) if judgement.accepted]
    write_csv(tables[1], INDEX_SLICE_COLUMNS, (row for stack in accepted for row in slice_rows(stack, root)))
    left_out = [{"path": relative(path, root), "reason": reason} for path, reason in sorted(unreadable)]
    write_csv(tables[2], ("path", "reason"), left_out)
    say(f"{len(files)} files in {seconds:.1f} s: {len(stacks)} stacks, {len(accepted)} accepted")
    say(f"{len(left_out)} files left out, see {tables[2]}")
    for reason, n in Counter(judgement.reason.split(" (")[0] for judgement in judgements).most_common():
        say(f"  {n:5} {reason}")
    say(f"wrote {', '.join(str(path) for path in tables)}")
    if benchmark:
        time_plain_loop(files, seconds)
    return 0


def watch_headers(chunks: Iterable[Read], n: int) -> Iterable[Read]:
    """Show the progress of reading headers."""
    from ..dicom.sources import CHUNK

    return progress(chunks, "reading headers", f"x{CHUNK} files", total=n)


def decoded(stacks: Sequence[Stack], judgements: Sequence[Judgement]) -> list[Judgement]:
    """Refuse accepted stacks with compressed slices that cannot be decoded; native pixels need no such look."""
    from ..dicom.judgements import Judgement
    from ..dicom.pixels import NATIVE

    compressed = {
        number: sorted({one.path for one in stack.slices if one.transfer_syntax_uid not in NATIVE})
        for number, (stack, judgement) in enumerate(zip(stacks, judgements, strict=True))
        if judgement.accepted
    }
    compressed = {number: paths for number, paths in compressed.items() if paths}
    found = list(judgements)
    if not compressed:
        return found
    for number, paths in progress(compressed.items(), "decoding compressed series", "series", total=len(compressed)):
        damaged = [path for path in paths if not decodable(path)]
        if damaged:
            where = f"{len(damaged)} of {len(paths)} files, first {Path(damaged[0]).name}"
            found[number] = Judgement("refuse", f"compressed pixels cannot be decoded ({where})")
    return found


def decodable(path: str) -> bool:
    """Return whether ITK, which reads the images for the network too, can decode a file."""
    import itk

    reader = itk.ImageFileReader[itk.Image[itk.F, 3]].New(FileName=path, ImageIO=itk.GDCMImageIO.New())
    try:
        reader.Update()
    except RuntimeError:
        return False
    return True


def index_rows(stacks: Sequence[Stack], judgements: Sequence[Judgement], root: Path) -> Iterable[dict[str, Any]]:
    """Return the rows of the index, by folder; stacks of one series are numbered from 1."""
    from ..dicom.judgements import body_part_warning

    seen: Counter[str] = Counter()
    found = []
    for stack, (decision, reason) in zip(stacks, judgements, strict=True):
        seen[stack.series_uid] += 1
        warnings = [*stack.warnings, *filter(None, [body_part_warning(stack)])]
        slopes = sorted({one.slope for one in stack.slices})
        row = {column: cell(getattr(stack, column, "")) for column in COLUMNS}
        row |= {
            "path": relative(str(stack.folder), root),
            "stack": seen[stack.series_uid],
            "n_slices": len(stack.slices),
            "decision": decision,
            "reason": shortened(reason, root),
            "warnings": shortened("; ".join(warnings), root),
            "slopes": cell(tuple(slopes[:1] + slopes[1:][-1:])),
        }
        found.append(row)
    return sorted(found, key=lambda row: row["path"])


def slice_rows(stack: Stack, root: Path) -> Iterable[dict[str, Any]]:
    """Yield one row per slice, from caudal to cranial."""
    for number, one in enumerate(stack.slices):
        yield {
            "path": relative(one.path, root),
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


def relative(path: str, root: Path) -> str:
    """Name a path relative to the indexed folder."""
    return writable(Path(path).relative_to(root).as_posix())


def shortened(text: str, root: Path) -> str:
    """Take the indexed folder out of a message."""
    return writable(text.replace(f"{root}/", ""))


def writable(text: str) -> str:
    """Write bytes of file names that are no UTF-8, as old exports have them, as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


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
