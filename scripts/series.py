"""Inference on whole series: finding them below what the user named, scoring them one by one, writing the results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch.utils.data import IterableDataset

from .console import say
from .datasets import identities
from .dicom import Stack, judge, scan
from .errors import InputError, root_message
from .readers import is_volume_file


def find_series(
    inputs: str | Path | Sequence[str | Path], force: bool = False
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """List the image series below some paths that are axial T2, and those that are not with the reason.

    Args:
        inputs: files or folders at any depth; DICOM, NIfTI, NRRD, MetaImage, or zips of one series.
        force: also take series whose sequence or orientation is refused, as long as they are volumes.

    Returns:
        Series as ``{"image", "name", "series_uid", "patient_id", "study_uid", "warnings"}``, and refusals as
        ``{"input", "series_uid", "reason"}``.

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
                series.append(
                    {"image": str(file), "series_uid": stem, "patient_id": "", "study_uid": "", "warnings": ""}
                )
            else:
                dicom.append(file)
    stacks, unreadable = scan(dicom, workers=0) if dicom else ([], [])
    refused += [{"input": path, "series_uid": "", "reason": reason} for path, reason in unreadable]
    for stack in stacks:
        judgement = judge(stack)
        if judgement.accepted or (force and not stack.defects):
            notes = [*stack.warnings] if judgement.accepted else [f"forced: {judgement.reason}", *stack.warnings]
            series.append(describe(stack) | {"warnings": "; ".join(notes)})
        else:
            refused.append({"input": str(stack.folder), "series_uid": stack.series_uid, "reason": judgement.reason})
    total = Counter(entry["series_uid"] for entry in series)
    seen: Counter[str] = Counter()
    for entry in series:
        uid = entry["series_uid"]
        seen[uid] += 1
        entry["name"] = uid if total[uid] == 1 else f"{uid}_{seen[uid]}"
    return series, refused


def describe(stack: Stack) -> dict[str, Any]:
    """Give what inference needs to know of a stack."""
    files = list(dict.fromkeys(one.path for one in stack.slices))
    return {
        "image": files,
        "series_uid": stack.series_uid,
        "patient_id": stack.patient_id,
        "study_uid": stack.study_uid,
    }


class SeriesDataset(IterableDataset[dict[str, Any]]):
    """Series to score, loaded one at a time; one that cannot be loaded is recorded and the rest go on.

    Args:
        inputs: see `find_series`.
        transform: the preprocessing, from ``{"image": path or paths}`` to ``(1, S, S, D)``.
        force: see `find_series`.

    Attributes:
        failures: rows of failures.csv.
    """

    def __init__(
        self, inputs: str | Sequence[str], transform: Callable[[dict[str, Any]], dict[str, Any]], force: bool = False
    ) -> None:
        self.transform = transform
        self.series, self.failures = find_series(inputs, force)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for entry in self.series:
            try:
                yield self.transform(dict(entry))
            except Exception as error:  # whatever a broken series provokes, the others are still good
                source = entry["image"] if isinstance(entry["image"], str) else str(Path(entry["image"][0]).parent)
                self.failures.append(
                    {"input": source, "series_uid": entry["series_uid"], "reason": root_message(error)}
                )
                say(f"left out {source}: {root_message(error)}")


class SliceScoresd(MapTransform):
    """Split a prediction ``(2, H, W, D)`` into slice logits and a heat map; the first step of the postprocessing.

    Adds ``logits`` (D,), ``heatmap`` ``(1, H, W, D)`` in [0, 1], a copy of it that stays on the network's grid
    (``network_heatmap``, ``(H, W, D)``), ``result``: what MONAI Label and Deploy answer as JSON, and
    ``result_extension``: what MONAI Label is to write the map as where the image is no volume file (DICOM, zip).

    Args:
        keys: key of the prediction.
        threshold: probability from which a slice is called compressed.
        image: key of the image, whose metadata identify the slices.
    """

    def __init__(self, keys: Any = "pred", threshold: float = 0.5, image: str = "image") -> None:
        super().__init__(keys)
        self.threshold, self.image = float(threshold), image

    def __call__(self, data: Any) -> dict[Any, Any]:
        """Split."""
        result = dict(data)
        for key in self.keys:
            prediction = result[key]
            result["logits"] = prediction.as_tensor()[0, 0, 0].detach().cpu().clone()
            result["heatmap"] = prediction[1:2]
            result["network_heatmap"] = prediction.as_tensor()[1].detach().cpu().clone()
            probabilities = torch.sigmoid(result["logits"].double())
            called = probabilities >= self.threshold
            if not is_volume_file(result.get("image_path") or "") and not result.get("result_extension"):
                result["result_extension"] = ".nii.gz"
            rows = zip(identities(result[self.image]), result["logits"], probabilities, called, strict=True)
            result["result"] = {
                **(result.get("result") or {}),
                "class": "compressed" if bool(called.any()) else "not compressed",
                "threshold": self.threshold,
                "n_slices": len(probabilities),
                "n_compressed": int(called.sum()),
                "max_probability": float(probabilities.max()),
                "slices": [
                    {
                        "slice_index": index,
                        "sop_uid": sop_uid,
                        "frame": frame,
                        "logit": float(logit),
                        "probability": float(p),
                        "compressed": bool(flag),
                    }
                    for index, ((sop_uid, frame), logit, p, flag) in enumerate(rows)
                ],
            }
        return result


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
