"""What is said of a scored series: rows of slices.csv, summary.json, and whether it has been said before."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from ..datasets import identities
from ..errors import InputError
from ..evaluation.coding import runs
from ..files import read_json
from ..records import probability

SLICE_COLUMNS = (
    *("patient_id", "series_uid", "sop_uid", "frame", "slice_index", "logit", "probability"),
    *("compressed", "threshold", "status", "position_mm", "thickness_mm", "notice"),
)
SERIES_COLUMNS = (
    *("patient_id", "study_uid", "series_uid", "status", "n_slices", "n_evaluated", "n_compressed"),
    *("max_probability", "longest_run_slices", "longest_run_mm", "folder", "reason"),
)
SCORED = "scored"


def caveats(summary: Mapping[str, Any]) -> str:
    """Return the line that every result must carry: what for, by which model and weights, at which threshold."""
    trained = "; weights trained on a synthetic phantom" if summary["trained_on_phantom"] else ""
    chosen = f" ({summary['threshold_source']})" if summary.get("threshold_source") else ""
    return (
        f"Research use only, not for diagnosis{trained}. {summary['model_name']} {summary['model_version']}, "
        f"weights sha256 {str(summary['weights_sha256'])[:16]}, threshold {summary['threshold']:g}{chosen}."
    )


def places(image: MetaTensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return position along the normal and thickness of every slice in mm, shape (D,) each.

    DICOM brings both; other volumes have them in their affine, where slices touch.

    Args:
        image: ``(1, H, W, D)``, slices from caudal to cranial.
    """
    count = int(image.shape[-1])
    if any(sop_uid for sop_uid, _ in identities(image)):
        slices = json.loads(str(image.meta["slices"]))
        if all("position_mm" in one for one in slices):
            return tuple(np.array([one[name] for one in slices], float) for name in ("position_mm", "thickness_mm"))  # type: ignore[return-value]
    affine = image.affine.cpu().numpy().astype(float)
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    normal = normal / np.linalg.norm(normal) * np.sign(normal[2] or 1)
    along = affine[:3, 3] @ normal + np.arange(count) * (affine[:3, 2] @ normal)
    return along, np.full(count, abs(float(affine[:3, 2] @ normal)))


def slice_rows(
    entry: Mapping[str, Any],
    image: MetaTensor,
    logits: Sequence[float],
    problems: Sequence[str],
    threshold: float,
    slope: float = 1.0,
    intercept: float = 0.0,
) -> list[dict[str, Any]]:
    """Make the rows of slices.csv.

    Args:
        entry: the series, see `scripts.inference.series.find_series`.
        image: the preprocessed series ``(1, H, W, D)``.
        logits: of each slice, shape (D,).
        problems: why a slice cannot be evaluated; its logit stays empty then.
        threshold: probability from which a slice is called compressed.
        slope: of the calibration, see `scripts.records.probability`.
        intercept: of the calibration.
    """
    positions, thickness = places(image)
    rows = []
    for index, ((sop_uid, frame), logit, problem) in enumerate(zip(identities(image), logits, problems, strict=True)):
        row: dict[str, Any] = {
            "patient_id": entry["patient_id"],
            "series_uid": entry["series_uid"],
            "sop_uid": sop_uid,
            "frame": frame,
            "slice_index": index,
            "threshold": threshold,
            "status": f"not evaluable: {problem}" if problem else SCORED,
            "position_mm": round(float(positions[index]), 4),
            "thickness_mm": round(float(thickness[index]), 4),
        }
        if not problem:
            chance = probability(float(logit), slope, intercept)
            row |= {"logit": float(logit), "probability": chance, "compressed": int(chance >= threshold)}
        rows.append(row)
    return rows


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Count the slices of a series, and measure its longest run of compressed slices as a trial would code it.

    A slice that could not be evaluated ends a run.
    """
    scored = [row for row in rows if row["status"] == SCORED]
    called = [bool(row.get("compressed")) for row in rows]
    found = runs(
        called, [row["position_mm"] for row in rows], [row["thickness_mm"] for row in rows], np.zeros(len(rows))
    )
    return {
        "n_slices": len(rows),
        "n_evaluated": len(scored),
        "n_compressed": int(sum(called)),
        "longest_run_slices": max((len(run.slices) for run in found), default=0),
        "longest_run_mm": round(max((run.length_mm for run in found), default=0.0), 4),
        "max_probability": max((row["probability"] for row in scored), default=None),
    }


class Finished:
    """Find series that an earlier run has scored in the same way, so that a stopped run can go on.

    Args:
        enabled: whether to look at all.
        output_dir: folder of the results.
        bundle_root: folder of the bundle, for the model's version.
        wanted: what summary.json must say: weights hash, threshold and whatever else changes results.
        outputs: names of the files and folders that must be there.
    """

    def __init__(
        self, enabled: bool, output_dir: str, bundle_root: str, wanted: Mapping[str, Any], outputs: Sequence[str] = ()
    ) -> None:
        self.enabled, self.output_dir, self.outputs = enabled, Path(output_dir), tuple(outputs)
        version = read_json(Path(bundle_root) / "configs" / "metadata.json")["version"]
        self.wanted = {**wanted, "model_version": version}

    def __call__(self, entry: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the summary of a series that is finished, None where it is still to be scored."""
        folder = self.output_dir / str(entry["name"])
        path = folder / "summary.json"
        if not self.enabled or not path.is_file():
            return None
        try:
            summary = read_json(path)
        except InputError:
            return None
        if not isinstance(summary, dict) or any(summary.get(name) != value for name, value in self.wanted.items()):
            return None
        return summary if all((folder / name).exists() for name in self.outputs) else None
