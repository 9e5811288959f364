"""Trial coding per patient, its agreement with the reference, and disc levels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..evaluation.agreement import bland_altman, icc_a1
from ..evaluation.auc import pooled_auc
from ..evaluation.coding import Coding, code_patient
from ..evaluation.estimates import NAN, Bools, Estimate, Floats, Ints, defined
from ..evaluation.patient_rules import level_scores
from ..evaluation.proportions import confusion, rates
from .inputs.cohorts import Cohort, column_of, slice_column
from .inputs.columns import numbers
from .operating_points_file import OperatingPoints
from .results import SliceArrays

MEASURES = {
    "n_compressed": "compressed slices",
    "expected_count": "sum of the probabilities, against the compressed slices of the reference",
    "n_runs": "runs of compressed slices",
    "longest_run_slices": "longest run (slices)",
    "longest_run_mm": "longest run (mm)",
}


def geometry(frame: pd.DataFrame, table: pd.DataFrame | None) -> tuple[Floats, Floats, bool]:
    """Return position and thickness of each slice in mm, or slice indices; and whether they are mm.

    Millimetres are used only if every scored slice has both: a run is never half measured.

    Args:
        frame: scored slices.
        table: geometry.csv, if there is one.
    """
    position, thickness = (column_of(frame, table, name) for name in ("position_mm", "thickness_mm"))
    if position is not None and thickness is not None:
        place, thick = numbers(position).to_numpy(np.float64), numbers(thickness).to_numpy(np.float64)
        if np.isfinite(place).all() and np.isfinite(thick).all() and (thick > 0).all():
            return place, thick, True
    index = frame["slice_index"].to_numpy(np.float64)
    return index, np.full(len(index), NAN), False


def stacks(frame: pd.DataFrame, table: pd.DataFrame | None) -> Ints:
    """Number the stacks of the scored slices: one per series, or several where geometry.csv has a column ``stack``."""
    names = [frame["series_uid"]]
    within = column_of(frame, table, "stack")
    if within is not None:
        names.append(within.str.strip())
    return np.asarray(pd.MultiIndex.from_arrays(names).factorize()[0], dtype=np.int64)


def code_patients(
    frame: pd.DataFrame, table: pd.DataFrame | None, slices: SliceArrays, called: Bools, chances: Any
) -> tuple[list[Coding], bool]:
    """Code every patient, in sorted order; returns also whether lengths are in mm.

    There are no codings where some slices have neither millimetres nor a slice_index: runs cannot be found then.

    Args:
        frame: scored slices.
        table: geometry.csv, if there is one.
        slices: the same slices as arrays.
        called: whether each slice is (called) compressed, shape (N,).
        chances: probability of each slice, or its label, shape (N,).
    """
    place, thick, millimetres = geometry(frame, table)
    if not np.isfinite(place).all():
        return [], False
    stack, stated = stacks(frame, table), column_of(frame, table, "nominal_spacing_mm")
    nominal = (
        np.full(len(place), NAN) if stated is None else numbers(stated).where(lambda mm: mm > 0).to_numpy(np.float64)
    )
    order = np.argsort(slices.patients, kind="stable")
    groups = np.split(order, np.searchsorted(slices.patients[order], np.arange(1, len(slices.ids))))
    return [
        code_patient(called[g], chances[g], place[g], thick[g], stack[g], millimetres, nominal[g]) for g in groups
    ], millimetres


def trial_coding(
    cohort: Cohort, slices: SliceArrays, operating: OperatingPoints, threshold: float, seed: int
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Code every patient by the model and by the reference; returns agreement and one row per patient.

    Args:
        cohort: for the geometry.
        slices: the slices.
        operating: for calibrated probabilities.
        threshold: raw logit from which a slice is called compressed.
        seed: of the resampling.
    """
    frame, table = cohort.predictions.slices, cohort.slices
    probability = operating.calibration.probabilities(slices.logits)
    model, millimetres = code_patients(frame, table, slices, slices.logits >= threshold, probability)
    reference, _ = code_patients(frame, table, slices, slices.labels == 1, slices.labels)
    if not model:
        reason = "neither millimetres nor slice_index are known for every slice, so runs cannot be found"
        return {"millimetres": False, "reason": reason, "agreement": {}}, pd.DataFrame()
    phantom = {None: "unknown", False: "no"}.get(cohort.facts.get("phantom"), "yes")
    rows = []
    for name, by_model, by_reference in zip(slices.ids, model, reference, strict=True):
        row: dict[str, Any] = {"patient_id": str(name), "phantom": phantom, "n_slices": by_model.n_slices}
        for measure in MEASURES:
            row[f"{measure}_model"] = defined(getattr(by_model, measure))
            if measure != "expected_count":
                row[f"{measure}_reference"] = defined(getattr(by_reference, measure))
        row["fraction_model"], row["fraction_reference"] = by_model.fraction, by_reference.fraction
        rows.append(row)
    agreement = {}
    for measure in MEASURES:
        if measure == "longest_run_mm" and not millimetres:
            continue
        a = np.array([getattr(coding, measure) for coding in model], dtype=float)
        counted = "n_compressed" if measure == "expected_count" else measure  # a reference expects what it counts
        b = np.array([getattr(coding, counted) for coding in reference], dtype=float)
        limits = bland_altman(a, b, len(slices.labels), seed=seed)
        agreement[measure] = {
            "icc_a1": icc_a1(np.column_stack([a, b]), len(slices.labels)),
            "bias": limits.bias,
            "lower_limit": limits.lower_limit,
            "upper_limit": limits.upper_limit,
        }
    reason = (
        "" if millimetres else "no position_mm and thickness_mm in geometry.csv for every slice: runs in slices only"
    )
    return {"millimetres": millimetres, "reason": reason, "agreement": agreement}, pd.DataFrame(rows)


def unit_rates(labels: Ints, scores: Floats, patients: Any, sizes: Any, threshold: float) -> dict[str, Estimate]:
    """Rates of calls that are each made of several slices; they rest on the slices of the units in the denominator.

    Args:
        labels: of each unit, a patient or a disc level of one, shape (U,).
        scores: of each unit, shape (U,).
        patients: of each unit, shape (U,).
        sizes: slices of each unit, shape (U,).
        threshold: score from which a unit is called compressed.
    """
    found, called = rates(confusion(labels, scores, patients, threshold)), scores >= threshold
    entering = {"sensitivity": labels == 1, "specificity": labels == 0, "ppv": called, "npv": ~called}
    entering["prevalence"] = np.ones(len(labels), dtype=bool)
    return {name: replace(found[name], n_slices=int(sizes[units].sum())) for name, units in entering.items()}


def disc_levels(cohort: Cohort, slices: SliceArrays, threshold: float) -> dict[str, Any] | None:
    """Results per disc level; ``None`` where geometry.csv has neither a column ``disc`` nor ``level``.

    Compression belongs to discs, so the nearest disc of each slice goes before the level that it passes through.
    """
    columns = (slice_column(cohort, name) for name in ("disc", "level"))
    names = next((found.to_numpy(dtype=str) for found in columns if found is not None and (found != "").any()), None)
    if names is None:
        return None
    known = names != ""
    labels, scores, patients, levels = level_scores(
        slices.labels[known], slices.logits[known], slices.patients[known], names[known]
    )
    counted = pd.DataFrame({"patient": slices.patients[known], "level": names[known]}).value_counts()
    sizes = counted.reindex(pd.MultiIndex.from_arrays([patients, levels])).to_numpy()
    called = scores >= threshold
    people = np.unique(patients)
    counts = np.array([[called[patients == p].sum(), labels[patients == p].sum()] for p in people], dtype=float)

    def judge(own: Bools) -> dict[str, Estimate]:
        area = replace(pooled_auc(labels[own], scores[own], patients[own]), n_slices=int(sizes[own].sum()))
        return {"auc": area, **unit_rates(labels[own], scores[own], patients[own], sizes[own], threshold)}

    return {
        "n_slices_without_level": int((~known).sum()),
        **judge(np.ones(len(labels), dtype=bool)),
        "icc_a1_compressed_levels": icc_a1(counts, int(known.sum())),
        "levels": [{"level": level, **judge(levels == level)} for level in sorted(set(levels.tolist()))],
    }
