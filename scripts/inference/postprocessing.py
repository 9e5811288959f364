"""From a prediction to results: the steps of inference.json's postprocessing that are our own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import MetaKeys

from ..dicom.listings import is_volume_file
from ..dicom.loaded import nominal_spacing_mm
from ..errors import InputError
from ..records import DEFAULT_PATIENT_RULE, PATIENT_RULES
from ..tasks import COMPRESSED, DEFAULT_TASKS, task_named, tasks_of
from .evaluability import slice_problems
from .heatmap_files import on_one_grid
from .results import series_class, series_findings, slice_results
from .task_results import with_tasks

if TYPE_CHECKING:
    from ..canal.localiser import Localiser

REDRAWN = "slices are missing or stand at angles, so the map lies on a regular grid of its own, right to half a voxel"


def patient_rule_of(patient_level: Mapping[str, Any]) -> tuple[str, float | None]:
    """Return rule and threshold of the call of a whole series.

    Raises:
        InputError: there is no such rule.
    """
    rule, threshold = str(patient_level["rule"]), patient_level["threshold"]
    if rule not in PATIENT_RULES:
        raise InputError(f"patient_level#rule must be one of {', '.join(PATIENT_RULES)}, got {rule!r}")
    return rule, None if threshold is None else float(threshold)


class SliceScoresd(MapTransform):
    """Turn a prediction ``(2 + K, H, W, D)`` into slice results and heat maps; the first step of the postprocessing.

    Every client writes what this makes. It adds:

    - ``slice_results``: the rows of slices.csv (`scripts.records.SliceResult`), and ``series_findings`` of all slices;
    - ``heatmap`` ``(1, H, W, D)`` in [0, 1], a copy of it on the network's grid (``network_heatmap``, ``(H, W, D)``),
      and ``raw_heatmap`` ``(1, H, W, D)`` as Grad-CAM returns it;
    - ``result``: what MONAI Label returns as JSON, and ``result_extension``: the file type in which MONAI Label is to
      write the map of an image that is no volume file (DICOM, zip).

    Slices that cannot be evaluated have no logit (null in JSON) and no heat.

    Args:
        keys: key of the prediction.
        threshold: probability from which a slice is called compressed.
        image: key of the preprocessed image, whose metadata identify the slices.
        limits: limits of what can be evaluated, see `scripts.inference.evaluability.LIMITS`.
        calibration: ``slope`` and ``intercept``, see `scripts.records.probability`; without, the network as trained.
        canal: outlines canal and cord in crops around the canal, whose measures are then part of the results.
        tasks: names of the network's tasks.
        heatmap_task: the one that the heat map explains; the result names it.
        patient_level: ``rule`` and ``threshold`` of the call of the whole series; without, there is no such call.
    """

    def __init__(
        self,
        keys: Any = "pred",
        threshold: float = 0.5,
        image: str = "image",
        limits: Mapping[str, Any] | None = None,
        calibration: Mapping[str, Any] | None = None,
        canal: Localiser | None = None,
        tasks: Sequence[str] = DEFAULT_TASKS,
        heatmap_task: str = COMPRESSED,
        patient_level: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(keys)
        self.threshold, self.image, self.limits = float(threshold), image, dict(limits or {})
        self.canal, self.tasks = canal, tasks_of(tasks)
        self.heatmap_task = task_named(heatmap_task, self.tasks).name
        patient_level = patient_level or {"rule": DEFAULT_PATIENT_RULE, "threshold": None}
        self.rule, self.patient_threshold = patient_rule_of(patient_level)
        calibration = calibration or {"slope": 1.0, "intercept": 0.0}
        self.slope, self.intercept = float(calibration["slope"]), float(calibration["intercept"])

    def __call__(self, data: Any) -> dict[Any, Any]:
        """Compute the results."""
        result = dict(data)
        for key in self.keys:
            image, prediction = result[self.image], result[key]
            problems = slice_problems(image, self.limits)
            unusable = torch.tensor([bool(problem) for problem in problems])
            scores = prediction.as_tensor()[[0, *range(3, len(prediction))], 0, 0].detach().cpu().T
            logits = scores[:, 0].tolist()
            prediction.as_tensor()[1:, ..., unusable.to(prediction.device)] = 0
            result["heatmap"], result["raw_heatmap"] = prediction[1:2], prediction[2:3]
            result["network_heatmap"] = prediction.as_tensor()[1].detach().cpu().clone()
            if not is_volume_file(result.get("image_path") or "") and not result.get("result_extension"):
                result["result_extension"] = ".nii.gz"
            measures = self.canal.measures(image) if self.canal is not None else []
            rows = slice_results(image, logits, problems, self.threshold, self.slope, self.intercept, measures)
            rows = with_tasks(rows, scores, self.tasks)
            findings = series_findings([rows], [nominal_spacing_mm(image)], self.rule, self.patient_threshold)
            result["slice_results"], result["series_findings"] = rows, findings
            about = {
                "class": series_class(findings),
                "threshold": self.threshold,
                "patient_rule": self.rule,
                "patient_threshold": self.patient_threshold,
                "heatmap_task": self.heatmap_task,
            }
            result["result"] = {**(result.get("result") or {}), **about, **findings, "slices": rows}
        return result


class HeatmapLevelsd(MapTransform):
    """Quantise the heat map to the levels named in the metadata's ``channel_def`` and put it under ``pred``.

    Viewers that show only integer label maps (3D Slicer and OHIF through MONAI Label) would turn [0, 1] into zeros.

    MONAI Label shows one map on one grid, that of the image's metadata. Where slices are missing or stand at angles,
    the map is put on a grid of its own, see `scripts.inference.heatmap_files.on_one_grid`, and the image's metadata
    then describe that; ``heatmap_grid`` in ``result``, MONAI Label's JSON, says so.

    Args:
        keys: key of the heat map.
        target: key of the result, uint8, 0 ... len(levels).
        levels: ascending lower borders of the levels 1, 2, 3.
        image: key of the image.
    """

    def __init__(
        self,
        keys: Any = "heatmap",
        target: str = "pred",
        levels: Sequence[float] = (0.25, 0.5, 0.75),
        image: str = "image",
    ) -> None:
        super().__init__(keys)
        self.target, self.levels, self.image = target, tuple(levels), image

    def __call__(self, data: Any) -> dict[Any, Any]:
        """Quantise."""
        result = dict(data)
        for key in self.keys:
            heatmap = result[key]
            values = heatmap.as_tensor() if isinstance(heatmap, MetaTensor) else heatmap
            counted = torch.zeros_like(values, dtype=torch.uint8)
            for level in self.levels:
                counted += values >= level
            if not isinstance(heatmap, MetaTensor):
                result[self.target] = counted
                continue
            result[self.target] = levels = MetaTensor(counted, meta=heatmap.meta)
            values, affine = on_one_grid(levels)
            if values.shape != levels.shape[1:] or not np.array_equal(affine, levels.affine.cpu().numpy()):
                result["result"] = {**(result.get("result") or {}), "heatmap_grid": REDRAWN}
                image = result[self.image]
                meta: dict[str, Any] = {
                    MetaKeys.SPATIAL_SHAPE: np.array(values.shape),
                    MetaKeys.ORIGINAL_AFFINE: affine,
                }
                result[self.image] = MetaTensor(image.as_tensor(), meta=image.meta | meta)
                meta[MetaKeys.AFFINE] = torch.from_numpy(affine)
                result[self.target] = MetaTensor(torch.from_numpy(values)[None], meta=levels.meta | meta)
        return result
