"""Inference on whole series: finding them below what the user named, loading them, scoring them one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ignite.engine import Events
from monai.engines import SupervisedEvaluator
from torch.utils.data import Dataset

from ..console import say
from ..dicom.judgements import judge
from ..dicom.sources import scan
from ..dicom.stacks import Stack
from ..errors import InputError, root_message
from ..files import safe_names
from ..readers import SeriesReader, is_volume_file
from ..records import Failure, Series, WrittenSummary

PHANTOM_WEIGHTS = (
    "the weights were trained on a synthetic phantom and know no real patient; train on your own cohort, or try them "
    "all the same with --allow_phantom_weights true"
)
Inputs = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class FoundSeries:
    """What lies below some paths: the series to score, and what was refused or cannot be read.

    MONAI's configs take it as one value and look at nothing inside, so that a path is never read as an expression.
    """

    series: tuple[Series, ...]
    refused: tuple[Failure, ...]


def input_paths(inputs: Inputs) -> list[Path]:
    """Return the paths a user named.

    Raises:
        InputError: there is none, or one does not exist.
    """
    paths = [Path(path) for path in ([inputs] if isinstance(inputs, str | Path) else inputs)]
    if not paths:
        raise InputError("nothing to score: name a DICOM folder or file, or a NIfTI file")
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist; name a DICOM folder or file, or a NIfTI file")
    return paths


def find_series(inputs: Inputs, force: bool = False) -> FoundSeries:
    """Find the image series below some paths that are axial T2, and those that are not with the reason.

    This reads the header of every DICOM file, once; loading and writing use the stacks found here.

    Args:
        inputs: files or folders at any depth; DICOM, NIfTI, NRRD, MetaImage, or zips of one series.
        force: also take series whose sequence or orientation is refused, as long as they are volumes.

    Raises:
        InputError: a path does not exist, or there is no file below any.
    """
    series: list[Series] = []
    refused: list[Failure] = []
    dicom: list[Path] = []
    for path in input_paths(inputs):
        for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
            if is_volume_file(file) or file.suffix.lower() == ".zip":
                series.append(series_of_file(file))
            else:
                dicom.append(file)
    stacks, unreadable = scan(dicom, workers=0) if dicom else ([], [])
    for name, reason in unreadable:
        refused.append({"input": name, "series_uid": "", "status": "unreadable", "reason": reason})
    for stack in stacks:
        judgement = judge(stack)
        if judgement.accepted:
            series.append(series_of_stack(stack))
        elif force and not stack.defects:
            series.append(series_of_stack(stack, f"forced: {judgement.reason}"))
        else:
            refused.append(failure_of(series_of_stack(stack), "refused", judgement.reason))
    if not series and not refused:
        raise InputError(
            f"{', '.join(map(str, input_paths(inputs)))}: no files; name a folder with DICOM or NIfTI below it"
        )
    for one, name in zip(series, safe_names([one["series_uid"] for one in series]), strict=True):
        one["name"] = name
    return FoundSeries(tuple(series), tuple(refused))


def series_of_file(file: Path) -> Series:
    """Return the series of a volume file or a zip, of which only the name is known before it is read."""
    stem = file.name.removesuffix(".gz").rsplit(".", 1)[0]
    return {
        "image": str(file),
        "name": stem,
        "series_uid": stem,
        "patient_id": "",
        "study_uid": "",
        "phantom": False,
        "warnings": "",
        "stack": None,
    }


def series_of_stack(stack: Stack, *notes: str) -> Series:
    """Return the series of a stack.

    Args:
        stack: the stack, from its headers.
        notes: warnings beside the stack's own.
    """
    return {
        "image": stack.files,
        "name": stack.series_uid,
        "series_uid": stack.series_uid,
        "patient_id": stack.patient_id,
        "study_uid": stack.study_uid,
        "phantom": stack.phantom,
        "warnings": "; ".join([*notes, *stack.warnings]),
        "stack": stack,
    }


def failure_of(series: Series, status: str, reason: str) -> Failure:
    """Make the row of failures.csv of a series that was found and has no result."""
    image = series["image"]
    folder = image if isinstance(image, str) else str(series["stack"].folder if series["stack"] else image[0])
    return {"input": folder, "series_uid": series["series_uid"], "status": status, "reason": reason}


class SeriesDataset(Dataset[dict[str, Any]]):
    """Series to score; one that cannot be loaded comes as ``{"index", "reason"}``, and the rest go on.

    Args:
        found: the series, see `find_series`.
        transform: the preprocessing, from ``{"image": path or paths}`` to ``(1, S, S, D)``.
        reader: the reader that ``transform`` uses; it then reads no header again.
        shard: which part of the series this process takes, 0 to ``shards`` - 1.
        shards: processes that share the series.
        trained_on_phantom: whether the weights know synthetic patients only.
        allow_phantom_weights: whether such weights may score anything but the phantom.
        finished: returns the summary of a series that need not be scored again, else None.

    Attributes:
        series: the accepted series of this shard that are still to be scored.
        kept: summaries of those that were finished before.
        failures: rows of failures.csv.
    """

    def __init__(
        self,
        found: FoundSeries,
        transform: Callable[[dict[str, Any]], dict[str, Any]],
        reader: SeriesReader | None = None,
        shard: int = 0,
        shards: int = 1,
        trained_on_phantom: bool = False,
        allow_phantom_weights: bool = False,
        finished: Callable[[Series], WrittenSummary | None] = lambda _: None,
    ) -> None:
        self.transform = transform
        refused, series = list(found.refused), list(found.series)
        if trained_on_phantom and not allow_phantom_weights:
            refused += [failure_of(one, "refused", PHANTOM_WEIGHTS) for one in series if not one["phantom"]]
            series = [one for one in series if one["phantom"]]
        self.failures = refused if int(shard) == 0 else []
        self.series: list[Series] = []
        self.kept: list[WrittenSummary] = []
        for one in series[int(shard) :: int(shards)]:
            summary = finished(one)
            if summary is None:
                self.series.append(one)
            else:
                self.kept.append(summary)
        if reader is not None:
            reader.add_stacks(one["stack"] for one in self.series if one["stack"] is not None)

    def __len__(self) -> int:
        return len(self.series)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Load a series: ``index``, ``image`` and what identifies it, or ``index`` and the ``reason`` it cannot be."""
        # batches hold plain values only; the stack stays in `series`
        entry = {name: value for name, value in self.series[index].items() if name != "stack"}
        try:
            return {**self.transform(entry), "index": index}
        except Exception as error:  # whatever a broken series provokes, the others are still good
            return {"index": index, "reason": root_message(error)}

    def add_failure(self, index: int, reason: str) -> None:
        """Record why a series could not be scored."""
        failure = failure_of(self.series[index], "failed", reason)
        self.failures.append(failure)
        say(f"left out {failure['input']}: {reason}")


class SeriesEvaluator(SupervisedEvaluator):
    """MONAI's evaluator over a `SeriesDataset`, which no series can stop.

    A series that breaks loading, the network or the postprocessing is recorded in the dataset's failures; its batch and
    output are empty lists, so that handlers find nothing to do.
    """

    def run(self, global_epoch: int = 1) -> None:
        """Score all series; ends once, also where there is nothing to score."""
        if len(self.data_loader):
            super().run(global_epoch)
        else:
            self.fire_event(Events.STARTED)
            self.fire_event(Events.COMPLETED)

    def _iteration(self, engine: SupervisedEvaluator, batchdata: Mapping[str, Any]) -> Any:
        try:
            if "reason" not in batchdata:
                return super()._iteration(engine, batchdata)
            reason = str(batchdata["reason"][0])
        except Exception as error:  # whatever a series provokes, the others are still good
            reason = root_message(error)
        for index in batchdata["index"]:
            self.data_loader.dataset.add_failure(int(index), reason)
        engine.state.batch = []
        return []
