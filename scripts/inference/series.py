"""Whole series: finding them below what the user named, and loading them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from torch.utils.data import Dataset

from ..cluster.spread import Spread, in_this_process
from ..console import one_line, progress, say
from ..dicom.archives import Archives
from ..dicom.elements import UnreadableError
from ..dicom.judgements import judge
from ..dicom.listings import Paths, list_files, named_paths
from ..dicom.sources import contents_of, watch_headers
from ..dicom.stacks import Stack
from ..dicom.volumes import Volume, judge_volume, read_volume, volume_uid
from ..errors import InputError, root_message
from ..files import safe_names
from ..records import NO_IMAGE, Failure, Series, WrittenSummary

PHANTOM_WEIGHTS = (
    "the weights were trained on a synthetic phantom and know no real patient; train on your own cohort, or try them "
    "all the same with --allow_phantom_weights true"
)


@dataclass(frozen=True)
class FoundSeries:
    """What lies below some paths: the series to score, and what was refused or cannot be read.

    MONAI's configs take it as one value and look at nothing inside, so that a path is never read as an expression.
    Unpacked zips go with this object: keep it as long as its series are to be read.
    """

    series: tuple[Series, ...]
    refused: tuple[Failure, ...]
    archives: Archives = field(default_factory=Archives, compare=False)

    def failure_of(self, series: Series, status: str, reason: str) -> Failure:
        """Make the row of failures.csv of a series that has no result."""
        files = series["stack"].files if series["stack"] else []
        path = self.archives.place(files) if files else self.archives.named(str(series["image"]))
        return failure(path, status, self.archives.named(reason), series["series_uid"], series["patient_id"])


def find_series(inputs: Paths, force: bool = False, spread: Spread = in_this_process) -> FoundSeries:
    """Find the image series below some paths that are axial T2, and those that are not with the reason.

    This reads the header of every DICOM file, once; loading and writing use the stacks found here.

    Args:
        inputs: files or folders at any depth, with DICOM, NIfTI, NRRD, MetaImage and zips of them in any mixture; a
            DICOMDIR stands for its folder.
        force: also take series whose sequence or orientation is refused, as long as they are volumes.
        spread: what shares the reading of headers, see `scripts.dicom.sources.read_all`.

    Raises:
        InputError: a path is empty or does not exist, or there is no file below any.
    """
    tops = named_paths(inputs)
    listing = list_files(tops)
    if listing.empty:
        raise InputError(f"{', '.join(map(str, tops))}: no files; name a folder with DICOM or NIfTI below it")
    found = contents_of(listing, spread, watch_headers)
    named = found.archives.named
    series: list[Series] = []
    refused = [failure(named(path), "unreadable", named(reason)) for path, reason in found.unreadable]
    refused += [failure(named(path), NO_IMAGE, reason) for path, reason in found.no_images]
    for stack in found.stacks:
        judgement = judge(stack)
        if judgement.accepted:
            series.append(series_of_stack(stack))
        elif force and not stack.defects:
            series.append(series_of_stack(stack, f"forced: {judgement.reason}"))
        else:
            place = found.archives.place(stack.files)
            refused.append(failure(place, "refused", named(judgement.reason), stack.series_uid, stack.patient_id))
    for path in progress(found.volumes, "reading volumes", "file") if found.volumes else ():
        try:
            volume = read_volume(path)
        except UnreadableError as error:
            refused.append(failure(named(path), "unreadable", named(str(error))))
            continue
        judgement, uid = judge_volume(volume), volume_uid(relative(named(path), tops), volume.sha256)
        if judgement.accepted:
            series.append(series_of_volume(volume, uid))
        elif force and not volume.defects:
            series.append(series_of_volume(volume, uid, f"forced: {judgement.reason}"))
        else:
            refused.append(failure(named(path), "refused", judgement.reason, uid))
    for one, name in zip(series, safe_names([one["series_uid"] for one in series]), strict=True):
        one["name"], one["warnings"] = name, one_line(named(one["warnings"]))
        one["files"] = list(map(named, one["files"]))
    return FoundSeries(tuple(series), tuple(refused), found.archives)


def relative(path: str, tops: Sequence[Path]) -> str:
    """Name a file relative to the path that a user named, so that it does not depend on where that lies."""
    folders = [top if top.is_dir() else top.parent for top in tops]
    return next(PurePath(path).relative_to(one).as_posix() for one in folders if PurePath(path).is_relative_to(one))


def series_of_volume(volume: Volume, uid: str, *notes: str) -> Series:
    """Return the series of a volume file.

    Args:
        volume: the volume, from its header.
        uid: what stands for its SeriesInstanceUID.
        notes: warnings beside the volume's own.
    """
    return {
        "image": volume.path,
        "files": [volume.path],
        "name": uid,
        "series_uid": uid,
        "patient_id": "",
        "study_uid": "",
        "phantom": False,
        "warnings": "; ".join([*notes, *volume.warnings]),
        "stack": None,
    }


def series_of_stack(stack: Stack, *notes: str) -> Series:
    """Return the series of a stack.

    Args:
        stack: the stack, from its headers.
        notes: warnings beside the stack's own.
    """
    return {
        "image": stack,
        "files": stack.files,
        "name": stack.series_uid,
        "series_uid": stack.series_uid,
        "patient_id": stack.patient_id,
        "study_uid": stack.study_uid,
        "phantom": stack.phantom,
        "warnings": "; ".join([*notes, *stack.warnings]),
        "stack": stack,
    }


def failure(path: str, status: str, reason: str, series_uid: str = "", patient_id: str = "") -> Failure:
    """Make a row of failures.csv; its reason is one line."""
    return Failure(input=path, patient_id=patient_id, series_uid=series_uid, status=status, reason=one_line(reason))


class SeriesDataset(Dataset[dict[str, Any]]):
    """Series to score; one that cannot be loaded comes as ``{"index", "reason"}``, and the rest go on.

    Args:
        found: the series, see `find_series`.
        transform: the preprocessing, from ``{"image": stack or path}`` to ``(1, S, S, D)``.
        trained_on_phantom: whether the weights know synthetic patients only.
        allow_phantom_weights: whether such weights may score anything but the phantom.
        finished: returns the summary of a series that need not be scored again, else None.

    Attributes:
        series: the accepted series that are still to be scored.
        kept: summaries of those that were finished before.
        failures: rows of failures.csv.
    """

    def __init__(
        self,
        found: FoundSeries,
        transform: Callable[[dict[str, Any]], dict[str, Any]],
        trained_on_phantom: bool = False,
        allow_phantom_weights: bool = False,
        finished: Callable[[Series], WrittenSummary | None] = lambda _: None,
    ) -> None:
        self.found, self.transform = found, transform
        refused, series = list(found.refused), list(found.series)
        if trained_on_phantom and not allow_phantom_weights:
            refused += [found.failure_of(one, "refused", PHANTOM_WEIGHTS) for one in series if not one["phantom"]]
            series = [one for one in series if one["phantom"]]
        self.failures = refused
        self.series: list[Series] = []
        self.kept: list[WrittenSummary] = []
        for one in series:
            summary = finished(one)
            if summary is None:
                self.series.append(one)
            else:
                self.kept.append(summary)

    def __len__(self) -> int:
        return len(self.series)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Load a series: ``index``, ``image`` and what identifies it, or ``index`` and the ``reason`` it cannot be."""
        # batches hold plain values only; stack and files stay in `series`
        entry = {name: value for name, value in self.series[index].items() if name not in ("stack", "files")}
        try:
            return {**self.transform(entry), "index": index}
        except Exception as error:  # whatever a broken series provokes, the others are still good
            return {"index": index, "reason": root_message(error)}

    def add_failure(self, index: int, reason: str) -> None:
        """Record why a series could not be scored."""
        row = self.found.failure_of(self.series[index], "failed", reason)
        self.failures.append(row)
        say(f"left out {one_line(row['input'])}: {row['reason']}")
