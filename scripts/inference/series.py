"""Inference on whole series: finding them below what the user named, scoring them one by one, writing the results."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch.utils.data import IterableDataset

from ..console import say
from ..datasets import identities
from ..dicom.judgements import judge
from ..dicom.sources import scan
from ..dicom.stacks import Stack
from ..errors import InputError, root_message
from ..readers import is_volume_file
from ..records import probability
from .evaluability import slice_problems

PHANTOM_WEIGHTS = (
    "the weights were trained on a synthetic phantom and know no real patient; train on your own cohort, or try them "
    "all the same with --allow_phantom_weights true"
)


def find_series(
    inputs: str | Path | Sequence[str | Path], force: bool = False
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """List the image series below some paths that are axial T2, and those that are not with the reason.

    Args:
        inputs: files or folders at any depth; DICOM, NIfTI, NRRD, MetaImage, or zips of one series.
        force: also take series whose sequence or orientation is refused, as long as they are volumes.

    Returns:
        Series as ``{"image", "name", "series_uid", "patient_id", "study_uid", "phantom", "warnings"}``, and refusals as
        ``{"input", "series_uid", "status", "reason"}`` with status ``refused`` or, of single files, ``unreadable``.

    Raises:
        InputError: a path does not exist.
    """
    paths = [Path(path) for path in ([inputs] if isinstance(inputs, str | Path) else inputs)]
    if not paths:
        raise InputError("nothing to score: name a DICOM folder or file, or a NIfTI file")
    series, refused, dicom = [], [], []
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist; name a DICOM folder or file, or a NIfTI file")
        inside = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in inside:
            if is_volume_file(file) or file.suffix.lower() == ".zip":
                stem = file.name.removesuffix(".gz").rsplit(".", 1)[0]
                unknown: dict[str, Any] = dict.fromkeys(("patient_id", "study_uid", "warnings"), "")
                series.append({**unknown, "image": str(file), "series_uid": stem, "phantom": False})
            else:
                dicom.append(file)
    stacks, unreadable = scan(dicom, workers=0) if dicom else ([], [])
    refused += [
        {"input": path, "series_uid": "", "status": "unreadable", "reason": reason} for path, reason in unreadable
    ]
    for stack in stacks:
        judgement = judge(stack)
        if judgement.accepted or (force and not stack.defects):
            notes = [*stack.warnings] if judgement.accepted else [f"forced: {judgement.reason}", *stack.warnings]
            series.append(describe(stack) | {"warnings": "; ".join(notes)})
        else:
            what = {"input": str(stack.folder), "series_uid": stack.series_uid}
            refused.append({**what, "status": "refused", "reason": judgement.reason})
    total = Counter(entry["series_uid"] for entry in series)
    seen: Counter[str] = Counter()
    for entry in series:
        uid = entry["series_uid"]
        seen[uid] += 1
        entry["name"] = uid if total[uid] == 1 else f"{uid}_{seen[uid]}"
    return series, refused


def describe(stack: Stack) -> dict[str, Any]:
    """Return what inference needs to know of a stack."""
    files = list(dict.fromkeys(one.path for one in stack.slices))
    return {
        "image": files,
        "series_uid": stack.series_uid,
        "patient_id": stack.patient_id,
        "study_uid": stack.study_uid,
        "phantom": stack.phantom,
    }


class SeriesDataset(IterableDataset[dict[str, Any]]):
    """Series to score, loaded one at a time; one that cannot be loaded is recorded and the rest go on.

    Iterating again goes on where it stopped, so that a series that breaks what comes after loading is left behind.

    Args:
        inputs: see `find_series`.
        transform: the preprocessing, from ``{"image": path or paths}`` to ``(1, S, S, D)``.
        force: see `find_series`.
        shard: which part of the series this process takes, 0 to ``shards`` - 1.
        shards: processes that share the series.
        trained_on_phantom: whether the weights know synthetic patients only.
        allow_phantom_weights: whether such weights may score anything but the phantom.
        finished: gives the summary of a series that need not be scored again, else None.

    Attributes:
        series: the accepted series of this shard.
        kept: summaries of those that were finished before.
        failures: rows of failures.csv.
        current: the series being scored.
    """

    def __init__(
        self,
        inputs: str | Sequence[str],
        transform: Callable[[dict[str, Any]], dict[str, Any]],
        force: bool = False,
        shard: int = 0,
        shards: int = 1,
        trained_on_phantom: bool = False,
        allow_phantom_weights: bool = False,
        finished: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda _: None,
    ) -> None:
        self.transform, self.finished = transform, finished
        series, refused = find_series(inputs, force)
        if trained_on_phantom and not allow_phantom_weights:
            refused += [left_out(entry, "refused", PHANTOM_WEIGHTS) for entry in series if not entry["phantom"]]
            series = [entry for entry in series if entry["phantom"]]
        self.series = series[int(shard) :: int(shards)]
        self.failures = refused if int(shard) == 0 else []
        self.kept: list[dict[str, Any]] = []
        self.current: dict[str, Any] = {}
        self._position = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while self._position < len(self.series):
            self.current = self.series[self._position]
            self._position += 1
            summary = self.finished(self.current)
            if summary is not None:
                self.kept.append(summary)
                continue
            try:
                loaded = self.transform(dict(self.current))
            except Exception as error:  # whatever a broken series provokes, the others are still good
                self.give_up(error)
            else:
                yield loaded

    def give_up(self, error: Exception) -> None:
        """Record why the current series could not be scored."""
        failure = left_out(self.current, "failed", root_message(error))
        self.failures.append(failure)
        say(f"left out {failure['input']}: {failure['reason']}")

    @property
    def exhausted(self) -> bool:
        """Whether every series has been taken."""
        return self._position >= len(self.series)


def left_out(entry: dict[str, Any], status: str, reason: str) -> dict[str, str]:
    """Make the row of failures.csv of a series."""
    image = entry["image"]
    source = image if isinstance(image, str) else str(Path(image[0]).parent)
    return {"input": source, "series_uid": entry["series_uid"], "status": status, "reason": reason}


def score_all(evaluator: Engine, dataset: SeriesDataset, writer: Any) -> None:
    """Score series after series; one that breaks the network or the writing is recorded like one that cannot be loaded.

    Args:
        evaluator: runs over ``dataset``.
        dataset: the series.
        writer: its ``finish`` is called once at the end.
    """
    # an exception is told in one line below; the engine would print its traceback, too
    evaluator.logger.setLevel(logging.CRITICAL)
    while not dataset.exhausted:
        try:
            evaluator.run()
        except Exception as error:  # the next series may be good
            dataset.give_up(error)
    writer.finish()


class SliceScoresd(MapTransform):
    """Split a prediction ``(3, H, W, D)`` into slice logits and heat maps; the first step of the postprocessing.

    Adds ``logits`` (D,), ``problems`` (why a slice cannot be evaluated, see `scripts.inference.evaluability`),
    ``heatmap`` ``(1, H, W, D)`` in [0, 1], a copy of it on the network's grid (``network_heatmap``, ``(H, W, D)``),
    ``raw_heatmap`` ``(1, H, W, D)`` as Grad-CAM gives it, ``result``: what MONAI Label and Deploy answer as JSON, and
    ``result_extension``: what MONAI Label is to write the map as where the image is no volume file (DICOM, zip).
    Slices that cannot be evaluated have no logit (NaN, and null in JSON) and no heat.

    Args:
        keys: key of the prediction.
        threshold: probability from which a slice is called compressed.
        image: key of the preprocessed image, whose metadata identify the slices.
        limits: limits of what can be evaluated, see `scripts.inference.evaluability.LIMITS`.
        slope: of the calibration, see `scripts.records.probability`.
        intercept: of the calibration.
    """

    def __init__(
        self,
        keys: Any = "pred",
        threshold: float = 0.5,
        image: str = "image",
        limits: Mapping[str, Any] | None = None,
        slope: float = 1.0,
        intercept: float = 0.0,
    ) -> None:
        super().__init__(keys)
        self.threshold, self.image, self.limits = float(threshold), image, dict(limits or {})
        self.slope, self.intercept = float(slope), float(intercept)

    def __call__(self, data: Any) -> dict[Any, Any]:
        """Split."""
        result = dict(data)
        for key in self.keys:
            prediction = result[key]
            problems = slice_problems(result[self.image], self.limits)
            unusable = torch.tensor([bool(problem) for problem in problems])
            logits = prediction.as_tensor()[0, 0, 0].detach().cpu().masked_fill(unusable, torch.nan)
            prediction.as_tensor()[1:, ..., unusable.to(prediction.device)] = 0
            result["logits"], result["problems"] = logits, problems
            result["heatmap"], result["raw_heatmap"] = prediction[1:2], prediction[2:3]
            result["network_heatmap"] = prediction.as_tensor()[1].detach().cpu().clone()
            if not is_volume_file(result.get("image_path") or "") and not result.get("result_extension"):
                result["result_extension"] = ".nii.gz"
            answer = self.answer(identities(result[self.image]), logits, problems)
            result["result"] = {**(result.get("result") or {}), **answer}
        return result

    def answer(
        self, identity: Sequence[tuple[str, str]], logits: torch.Tensor, problems: Sequence[str]
    ) -> dict[str, Any]:
        """Collect what was found as plain values."""
        slices: list[dict[str, Any]] = []
        for index, ((sop_uid, frame), logit, problem) in enumerate(zip(identity, logits, problems, strict=True)):
            chance = None if problem else probability(float(logit), self.slope, self.intercept)
            slices.append(
                {
                    "slice_index": index,
                    "sop_uid": sop_uid,
                    "frame": frame,
                    "logit": None if problem else float(logit),
                    "probability": chance,
                    "compressed": chance is not None and chance >= self.threshold,
                    "status": f"not evaluable: {problem}" if problem else "scored",
                }
            )
        scored = [one for one in slices if one["probability"] is not None]
        n_compressed = sum(bool(one["compressed"]) for one in slices)
        return {
            "class": "not evaluable" if not scored else "compressed" if n_compressed else "not compressed",
            "threshold": self.threshold,
            "n_slices": len(slices),
            "n_evaluated": len(scored),
            "n_compressed": n_compressed,
            "max_probability": max((one["probability"] for one in scored), default=None),
            "slices": slices,
        }


class HeatmapLevelsd(MapTransform):
    """Quantise the heat map to the levels named in the metadata's ``channel_def`` and put it under ``pred``.

    Viewers that show only integer label maps (3D Slicer and OHIF through MONAI Label) would turn [0, 1] into zeros.

    Args:
        keys: key of the heat map.
        target: key of the result, uint8, 0 ... len(levels).
        levels: ascending lower borders of the levels 1, 2, 3.
    """

    def __init__(
        self, keys: Any = "heatmap", target: str = "pred", levels: Sequence[float] = (0.25, 0.5, 0.75)
    ) -> None:
        super().__init__(keys)
        self.target, self.levels = target, tuple(levels)

    def __call__(self, data: Any) -> dict[Any, Any]:
        """Quantise."""
        result = dict(data)
        for key in self.keys:
            heatmap = result[key]
            values = heatmap.as_tensor() if isinstance(heatmap, MetaTensor) else heatmap
            counted = torch.stack([values >= level for level in self.levels]).sum(0).to(torch.uint8)
            result[self.target] = MetaTensor(counted, meta=heatmap.meta) if isinstance(heatmap, MetaTensor) else counted
        return result
