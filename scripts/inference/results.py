"""What is said of a scored series: its slices, its findings, what made them, and whether it was scored before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from ..canal.measures import mscc_percent
from ..canal.truth import file_point
from ..datasets import identities
from ..errors import InputError
from ..evaluation.coding import runs
from ..evaluation.estimates import NAN
from ..files import read_json, sha256
from ..inferers import SeriesInferer, actual_precision
from ..records import (
    MEASURE_COLUMNS,
    RESEARCH_USE,
    SCORED,
    ResultFacts,
    Series,
    SeriesFindings,
    SeriesInput,
    SeriesSummary,
    SliceCrop,
    SliceMeasures,
    SliceResult,
    Weights,
    WrittenSummary,
    probability,
)
from ..transforms import crops_of

NOT_MEASURED = SliceMeasures(**dict.fromkeys(MEASURE_COLUMNS))  # type: ignore[typeddict-item]
FAR_MM = 10.0
"""Where the canal lies farther than this from the mean of its neighbours', the series carries a warning."""


def result_facts(
    metadata: str | Mapping[str, Any],
    weights: Weights,
    threshold: float,
    threshold_source: str,
    inferer: SeriesInferer,
    device: torch.device | str,
) -> ResultFacts:
    """Collect what every result repeats.

    Args:
        metadata: the bundle's metadata.json, or its path.
        weights: what `scripts.checkpoints.load_network` returns.
        threshold: probability from which a slice is called compressed.
        threshold_source: where it was chosen.
        inferer: how the network is applied.
        device: where it runs, which decides what its precision means.
    """
    model = read_json(Path(metadata)) if isinstance(metadata, str) else metadata
    return {
        "model_name": model["name"],
        "model_version": model["version"],
        **weights,
        "slope": inferer.slope,
        "intercept": inferer.intercept,
        "heatmap": inferer.heatmap,
        "heatmap_layer": inferer.layer,
        "test_time_average": inferer.test_time_average,
        "hotspots": inferer.hotspots,
        "precision": actual_precision(inferer.precision, device),
        "research_use_only": True,
        "threshold": float(threshold),
        "threshold_source": threshold_source,
    }


def notice_line(facts: ResultFacts) -> str:
    """Return the line that every result must carry: what for, by which model and weights, at which threshold."""
    trained = "; weights trained on a synthetic phantom" if facts["trained_on_phantom"] else ""
    chosen = f" ({facts['threshold_source']})" if facts["threshold_source"] else ""
    return (
        f"{RESEARCH_USE}{trained}. {facts['model_name']} {facts['model_version']}, "
        f"weights sha256 {facts['weights_sha256'][:16]}, threshold {facts['threshold']:g}{chosen}."
    )


def slice_geometry_mm(image: MetaTensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return position along the normal and thickness of every slice in mm, shape (D,) each.

    DICOM brings both; other volumes have them in their affine, where slices touch.

    Args:
        image: ``(1, H, W, D)``, slices from caudal to cranial.
    """
    count = int(image.shape[-1])
    if any(sop_uid for sop_uid, _ in identities(image)):
        slices = json.loads(str(image.meta["slices"]))
        if all("position_mm" in one for one in slices):
            mm = np.array([(one["position_mm"], one["thickness_mm"]) for one in slices], float)
            return mm[:, 0], mm[:, 1]
    affine = image.affine.cpu().numpy().astype(float)
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    normal = normal / np.linalg.norm(normal) * np.sign(normal[2] or 1)
    along = affine[:3, 3] @ normal + np.arange(count) * (affine[:3, 2] @ normal)
    return along, np.full(count, abs(float(affine[:3, 2] @ normal)))


def nominal_spacing_mm(image: MetaTensor) -> float:
    """Return the distance that the slices of a stack should have by their headers, in mm; NaN where it is not known."""
    slices = json.loads(str(image.meta.get("slices") or "[]"))
    stated = slices[0].get("nominal_spacing_mm") if slices else None
    return NAN if stated is None else float(stated)


def slice_results(
    image: MetaTensor,
    logits: Sequence[float],
    problems: Sequence[str],
    threshold: float,
    slope: float = 1.0,
    intercept: float = 0.0,
    measures: Sequence[SliceMeasures] = (),
) -> list[SliceResult]:
    """Make the result of every slice of a stack; who its patient is and what made it, `add_identity` adds.

    Args:
        image: the preprocessed stack ``(1, H, W, D)``.
        logits: of each slice, shape (D,).
        problems: why a slice cannot be evaluated, empty for those that can; the others get no logit and no call.
        threshold: probability from which a slice is called compressed.
        slope: of the calibration, see `scripts.records.probability`.
        intercept: of the calibration.
        measures: of cord and canal in each slice; none where they are not measured.
    """
    position_mm, thickness_mm = slice_geometry_mm(image)
    crops = slice_crops(image)
    results: list[SliceResult] = []
    for index, ((sop_uid, frame), logit, problem) in enumerate(zip(identities(image), logits, problems, strict=True)):
        if not problem and not np.isfinite(logit):
            problem = "the network returned no finite number"  # which is below every threshold
        chance = None if problem else probability(float(logit), slope, intercept)
        results.append(
            {
                "patient_id": "",
                "series_uid": str(image.meta.get("series_uid", "")),
                "sop_uid": sop_uid,
                "frame": frame,
                "slice_index": index,
                "logit": None if problem else float(logit),
                "probability": chance,
                "compressed": None if chance is None else int(chance >= threshold),
                "threshold": threshold,
                "status": f"not evaluable: {problem}" if problem else SCORED,
                "position_mm": round(float(position_mm[index]), 4),
                "thickness_mm": round(float(thickness_mm[index]), 4),
                **crops[index],
                **(measures[index] if measures else NOT_MEASURED),
                "mscc_percent": None,
                "notice": f"{RESEARCH_USE}.",
            }
        )
    mscc = mscc_percent(
        [row["cord_ap_mm"] for row in results], position_mm.tolist(), [row["compressed"] for row in results]
    )
    for row, value in zip(results, mscc, strict=True):
        row["mscc_percent"] = value
    return results


def slice_crops(image: MetaTensor) -> list[SliceCrop]:
    """Return what the network saw of every slice of a preprocessed stack ``(1, H, W, D)``."""
    found: list[SliceCrop] = []
    centres: list[NDArray[np.float64] | None] = []
    for one in crops_of(image) or [{}] * int(image.shape[-1]):
        seen = one.get("crop") == "canal"
        row_px, column_px = file_point(image, one["centre_px"]) if seen else (None, None)
        centres.append(np.array(one["centre_mm"]) if seen else None)
        found.append(
            {
                "crop": one.get("crop", ""),
                "canal_confidence": one.get("confidence"),
                "canal_row_px": None if row_px is None else round(row_px, 2),
                "canal_column_px": None if column_px is None else round(column_px, 2),
                "canal_offset_mm": None,
            }
        )
    for index, centre in enumerate(centres):
        beside = centres[max(index - 1, 0) : index] + centres[index + 1 : index + 2]
        neighbours = [other for other in beside if other is not None]
        if centre is not None and neighbours:
            found[index]["canal_offset_mm"] = round(float(np.linalg.norm(centre - np.mean(neighbours, axis=0))), 2)
    return found


def canal_warnings(rows: Sequence[SliceResult]) -> list[str]:
    """Return what is odd about where the canal was found in a series."""
    far = [row["slice_index"] for row in rows if (row["canal_offset_mm"] or 0) > FAR_MM]
    central = [row["slice_index"] for row in rows if row["crop"] == "central" and row["status"] == SCORED]
    found = []
    if far:
        found.append(f"canal over {FAR_MM:g} mm off its neighbours' in slice {', '.join(map(str, far))}")
    if central:
        found.append(f"no canal found, the middle was scored, in slice {', '.join(map(str, central))}")
    return found


def series_findings(
    stacks: Sequence[Sequence[SliceResult]], nominal_mm: Sequence[float] | None = None
) -> SeriesFindings:
    """Count the slices of a series, and measure its longest run of compressed slices as a trial would code it.

    Args:
        stacks: the slices of each stack of the series. A run ends at the border of its stack, and at a slice that
            could not be evaluated.
        nominal_mm: distance that neighbouring slices of each stack should have; NaN where it is not known.
    """
    nominal = nominal_mm or [NAN] * len(stacks)
    rows = [row for stack in stacks for row in stack]
    called = [bool(row["compressed"]) for row in rows]
    found = runs(
        called,
        [row["position_mm"] for row in rows],
        [row["thickness_mm"] for row in rows],
        [number for number, stack in enumerate(stacks) for _ in stack],
        nominal_mm=[stated for stated, stack in zip(nominal, stacks, strict=True) for _ in stack],
    )
    scored = [row["probability"] for row in rows if row["probability"] is not None]
    return {
        "n_slices": len(rows),
        "n_evaluated": len(scored),
        "n_compressed": sum(called),
        "longest_run_slices": max((len(run.slices) for run in found), default=0),
        "longest_run_mm": round(max((run.length_mm for run in found), default=0.0), 4),
        "max_probability": max(scored, default=None),
        "smallest_cord_ap_mm": min((row["cord_ap_mm"] for row in rows if row["cord_ap_mm"] is not None), default=None),
        "largest_mscc_percent": max(
            (row["mscc_percent"] for row in rows if row["compressed"] and row["mscc_percent"] is not None), default=None
        ),
    }


def add_identity(
    series: Series, facts: ResultFacts, rows: Sequence[SliceResult], findings: SeriesFindings
) -> tuple[list[SliceResult], SeriesSummary]:
    """Add to what the postprocessing found whose it is and what found it.

    Returns:
        The rows of slices.csv, and the content of summary.json.
    """
    summary: SeriesSummary = {
        "patient_id": series["patient_id"],
        "study_uid": series["study_uid"],
        "series_uid": series["series_uid"],
        "phantom": series["phantom"],
        **facts,
        **findings,
        "warnings": all_warnings(series, canal_warnings(rows)),
    }
    notice = notice_line(summary)
    complete: list[SliceResult] = [
        {**row, "patient_id": series["patient_id"], "series_uid": series["series_uid"], "notice": notice}
        for row in rows
    ]
    return complete, summary


def findings_in_words(findings: SeriesFindings) -> str:
    """Describe in a few words what was found in a series."""
    n_unscored = findings["n_slices"] - findings["n_evaluated"]
    text = f"{findings['n_compressed']} of {findings['n_evaluated']} slices compressed"
    return text + (f", {n_unscored} not evaluable" if n_unscored else "")


@dataclass(frozen=True)
class Outputs:
    """What is written of each series beyond slices.csv, summary.json, heatmap.nii.gz and heatmap.png.

    Attributes:
        dicom: a structured report and Secondary Capture overlays as ``dicom/*.dcm``; needs highdicom.
        overlays: each slice with its heat map, on the pixel grid of the source, as ``overlays/*.png``.
        raw_heatmap: the map as Grad-CAM returns it, comparable between slices, as heatmap_raw.nii.gz.
    """

    dicom: bool = False
    overlays: bool = False
    raw_heatmap: bool = False

    def complete_in(self, folder: Path, series: Series) -> bool:
        """Return whether a series' folder has all of it that the series can have."""
        from_dicom = series["stack"] is not None
        names = {"dicom": self.dicom and from_dicom, "overlays": self.overlays and from_dicom}
        names["heatmap_raw*.nii.gz"] = self.raw_heatmap
        return all(any(folder.glob(name)) for name, wanted in names.items() if wanted)


def series_input(series: Series) -> SeriesInput:
    """Return what a series is made of; this reads its files, but decodes nothing."""
    stack = series["stack"]
    files = [str(series["image"])] if stack is None else list(stack.files)
    hashes = sorted(map(sha256, files))
    slices = sorted(f"{one.sop_uid},{one.frame}" for one in stack.slices) if stack is not None else []
    return {
        "input_files": series["files"],
        "content_sha256": hashes[0] if len(hashes) == 1 else text_sha256(hashes),
        "slices_sha256": text_sha256(slices) if slices else "",
    }


def all_warnings(series: Series, problems: Sequence[str]) -> str:
    """Join what is odd about a series with what is odd about its results, or could not be written of them."""
    return "; ".join(filter(None, (series["warnings"], *problems)))


def text_sha256(lines: Sequence[str]) -> str:
    """Hash lines of text."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class Finished:
    """Find series that an earlier run has scored in the same way, so that an interrupted run can be resumed.

    Args:
        enabled: whether to look at all.
        output_dir: folder of the results.
        facts: what their summary.json must say, beside what the series is made of.
        outputs: what must be there beside it.
    """

    def __init__(self, enabled: bool, output_dir: str, facts: ResultFacts, outputs: Outputs) -> None:
        self.enabled, self.output_dir, self.facts, self.outputs = enabled, Path(output_dir), facts, outputs

    def __call__(self, series: Series) -> WrittenSummary | None:
        """Return the summary of a series that is finished, with the files of this run's source; None of any other."""
        folder = self.output_dir / series["name"]
        if not self.enabled or not (folder / "summary.json").is_file() or not self.outputs.complete_in(folder, series):
            return None
        try:
            summary: WrittenSummary = read_json(folder / "summary.json")
            wanted = {**self.facts, "series_uid": series["series_uid"], "folder": series["name"]}
            wanted["warnings"] = all_warnings(series, summary["problems"])
            if any(summary.get(name) != value for name, value in wanted.items()):
                return None
            whole = all((folder / name).stat().st_size == size for name, size in summary["file_sizes"].items())
            source = series_input(series)
            same = all(summary[name] == source[name] for name in ("content_sha256", "slices_sha256"))
        except (
            InputError,
            AttributeError,
            KeyError,
            TypeError,
            OSError,
        ):  # of an earlier version, or damaged; or the input is
            return None
        return {**summary, "input_files": source["input_files"]} if whole and same else None
