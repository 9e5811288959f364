"""What is said of a scored series: its slices, its findings, and what made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from torch import nn

from ..canal.measures import NOT_MEASURED, mscc_percent
from ..dicom.loaded import identities, slice_geometry_mm
from ..evaluation.coding import runs
from ..evaluation.estimates import NAN
from ..evaluation.patient_rules import patient_score
from ..files import read_json
from ..inferers import SeriesInferer
from ..records import (
    DEFAULT_PATIENT_RULE,
    RESEARCH_USE,
    SCORED,
    ResultFacts,
    Series,
    SeriesFindings,
    SeriesSummary,
    SliceMeasures,
    SliceResult,
    Weights,
    probability,
)
from .crops import canal_warnings, slice_crops
from .task_results import contradiction_warnings, task_findings

NO_CALL = "no patient-level call"
"""Where no threshold for whole patients was chosen on enough of them."""


def result_facts(
    metadata: str | Mapping[str, Any],
    weights: Weights,
    threshold: float,
    threshold_source: str,
    inferer: SeriesInferer,
    device: torch.device | str,
    network: nn.Module,
    patient_level: Mapping[str, Any],
) -> ResultFacts:
    """Collect what every result repeats.

    Args:
        metadata: the bundle's metadata.json, or its path.
        weights: what `scripts.ensembles.load_networks` says of them.
        threshold: probability from which a slice is called compressed.
        threshold_source: where it was chosen.
        inferer: how the network is applied.
        device: where it runs, which with the network decides what precision and backend mean.
        network: what is applied.
        patient_level: ``rule``, ``threshold`` and ``source`` of the call of a whole series.
    """
    model = read_json(Path(metadata)) if isinstance(metadata, str) else metadata
    running = inferer.running(network, device)
    return {
        "model_name": model["name"],
        "model_version": model["version"],
        **weights,
        "slope": inferer.slope,
        "intercept": inferer.intercept,
        "heatmap": inferer.heatmap,
        "heatmap_layer": inferer.layer,
        "heatmap_task": inferer.task.name,
        "test_time_average": inferer.test_time_average,
        "hotspots": inferer.hotspots,
        "precision": running.precision,
        "backend": running.backend,
        "research_use_only": True,
        "threshold": float(threshold),
        "threshold_source": threshold_source,
        "patient_rule": patient_level["rule"],
        "patient_threshold": patient_level["threshold"],
        "patient_threshold_source": patient_level["source"],
    }


def notice_line(facts: ResultFacts) -> str:
    """Return the line that every result must carry: what for, by which model and weights, at which threshold."""
    trained = "; weights trained on a synthetic phantom" if facts["trained_on_phantom"] else ""
    chosen = f" ({facts['threshold_source']})" if facts["threshold_source"] else ""
    networks = facts.get("ensemble_sha256")
    ensemble = f"ensemble of {len(networks)} networks, " if networks else ""
    return (
        f"{RESEARCH_USE}{trained}. {facts['model_name']} {facts['model_version']}, "
        f"{ensemble}weights sha256 {facts['weights_sha256'][:16]}, threshold {facts['threshold']:g}{chosen}."
    )


def patient_line(summary: SeriesSummary) -> str:
    """Return the call of a whole series in a sentence: score, rule, threshold, and where that was chosen."""
    score, threshold = summary["patient_score"], summary["patient_threshold"]
    if score is None:
        return "Patient level: no slice was scored."
    scored = f"score {score:.3g} by {summary['patient_rule']}"
    if threshold is None:
        return f"Patient level: no call ({summary['patient_threshold_source']}); {scored}."
    called = "compressed" if summary["patient_compressed"] else "not compressed"
    return f"Patient level: {called}; {scored}, threshold {threshold:.3g} ({summary['patient_threshold_source']})."


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


def series_findings(
    stacks: Sequence[Sequence[SliceResult]],
    nominal_mm: Sequence[float] | None = None,
    rule: str = DEFAULT_PATIENT_RULE,
    threshold: float | None = None,
) -> SeriesFindings:
    """Count the slices of a series, measure its longest run as a trial would code it, and call the series.

    Args:
        stacks: the slices of each stack of the series. A run ends at the border of its stack, and at a slice that
            could not be evaluated.
        nominal_mm: distance that neighbouring slices of each stack should have; NaN where it is not known.
        rule: by which the series is scored, see `scripts.evaluation.patient_rules`.
        threshold: score from which it is called compressed; without, it is not called. Thresholds of slices do not
            apply to it.
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
    logits = [row["logit"] for row in rows if row["logit"] is not None]
    longest_mm = round(max((run.length_mm for run in found), default=0.0), 4)
    score = patient_score(rule, logits, scored, longest_mm)
    return {
        "n_slices": len(rows),
        "n_evaluated": len(scored),
        "n_compressed": sum(called),
        "longest_run_slices": max((len(run.slices) for run in found), default=0),
        "longest_run_mm": longest_mm,
        "max_probability": max(scored, default=None),
        "smallest_cord_ap_mm": min((row["cord_ap_mm"] for row in rows if row["cord_ap_mm"] is not None), default=None),
        "largest_mscc_percent": max(
            (row["mscc_percent"] for row in rows if row["compressed"] and row["mscc_percent"] is not None), default=None
        ),
        "patient_score": score,
        "patient_compressed": None if score is None or threshold is None else int(score >= threshold),
        **task_findings(rows),
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
        "warnings": all_warnings(series, result_warnings(rows)),
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
    if findings.get("highest_grade") is not None:
        text += f", highest grade {findings['highest_grade']} in slice {findings['highest_grade_slice']}"
    text += f", {n_unscored} not evaluable" if n_unscored else ""
    called = series_class(findings)
    return f"{text}; {called if called == NO_CALL else f'patient level: {called}'}"


def series_class(findings: SeriesFindings) -> str:
    """Classify a whole series by its patient-level call; thresholds of slices do not apply to it."""
    if not findings["n_evaluated"]:
        return "not evaluable"
    called = findings["patient_compressed"]
    return NO_CALL if called is None else "compressed" if called else "not compressed"


def result_warnings(rows: Sequence[SliceResult]) -> list[str]:
    """Return what is odd about the results of a series: where its canal was found, and tasks that contradict."""
    return canal_warnings(rows) + contradiction_warnings(rows)


def all_warnings(series: Series, problems: Sequence[str]) -> str:
    """Join what is odd about a series with what is odd about its results, or could not be written of them."""
    return "; ".join(filter(None, (series["warnings"], *problems)))
