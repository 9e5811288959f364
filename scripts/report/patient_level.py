"""One call per patient: scores of whole patients by rule, thresholds for them, and the list that they order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..evaluation.auc import obuchowski_auc
from ..evaluation.estimates import NAN, Estimate, Floats, Ints, defined
from ..evaluation.operating_points import OperatingPoint, choose_for_patients
from ..evaluation.patient_rules import LEAST_PATIENTS, patient_scores
from ..evaluation.platt import Calibration
from ..records import DEFAULT_PATIENT_RULE, PATIENT_RULES
from .codings import code_patients, unit_rates
from .operating_points_file import OperatingPoints
from .results import SliceArrays, slice_arrays

RULES_TEXT = (
    "max is the highest logit of the patient's slices; top 3 mean is the mean of the three highest; expected count is "
    "the sum of the calibrated probabilities; longest run mm is the length of the longest run of called slices."
)


def scores_of(
    frame: pd.DataFrame,
    geometry: pd.DataFrame | None,
    line: Calibration,
    threshold: float,
    slices: SliceArrays | None = None,
) -> tuple[Ints, dict[str, Floats]]:
    """Return each patient's reference and its score by each rule, in sorted order of the patients.

    Args:
        frame: scored slices, with ``label`` and ``logit``.
        geometry: geometry.csv; without millimetres, ``longest_run_mm`` is NaN.
        line: the calibration, whose probabilities ``expected_count`` adds up.
        threshold: raw logit from which a slice is called compressed, for ``longest_run_mm``; NaN where there is none.
        slices: ``frame`` as arrays, where the caller has them.
    """
    slices = slices or slice_arrays(frame)
    probability = line.probabilities(slices.logits)
    longest_mm = np.full(len(slices.ids), NAN)
    if np.isfinite(threshold):
        codings, _ = code_patients(frame, geometry, slices, slices.logits >= threshold, probability)
        if codings:
            longest_mm = np.array([one.longest_run_mm for one in codings])
    return patient_scores(slices.labels, slices.logits, probability, slices.patients, longest_mm)


def fit_patient_points(
    frame: pd.DataFrame, geometry: pd.DataFrame | None, line: Calibration, points: Mapping[str, OperatingPoint]
) -> dict[str, Any]:
    """Choose thresholds for whole patients on validation slices; returns that part of operating_points.json.

    Args:
        frame: labelled slices of validation patients.
        geometry: their geometry.csv, if there is one.
        line: the calibration that goes with the points.
        points: operating points of slices; patients get one of the same name, by each rule.
    """
    content: dict[str, Any] = {}
    slices, reference = slice_arrays(frame), np.zeros(0, np.int64)
    for name in ("youden", "sensitivity_95"):
        reference, scores = scores_of(frame, geometry, line, points[name].logit, slices)
        content[name] = {}
        for rule, score in scores.items():
            point = choose_for_patients(reference, score)[name]
            if not np.isfinite(score).any():
                point = OperatingPoint(NAN, "undefined: no position and thickness in mm of every slice")
            content[name][rule] = {
                "score": defined(point.logit),
                "unit": PATIENT_RULES[rule],
                "status": point.note or "chosen",
            }
    return {
        "scale": "a patient is called compressed when its score by the rule reaches the threshold",
        "default_rule": DEFAULT_PATIENT_RULE,
        "least_patients_of_each_class": LEAST_PATIENTS,
        "n_patients": len(reference),
        "n_compressed_patients": int(reference.sum()),
        "points": content,
    }


def patient_level(
    frame: pd.DataFrame, geometry: pd.DataFrame | None, operating: OperatingPoints, name: str
) -> tuple[dict[str, Any], Ints, dict[str, Floats]]:
    """Judge the rules on the patients of a cohort.

    Args:
        frame: its scored slices.
        geometry: its geometry.csv, if there is one.
        operating: thresholds, which were chosen on other patients.
        name: of the operating point.

    Returns:
        For each rule its ROC and the rates at its own threshold, and the list of patients by the default rule; then the
        patients' references, shape (K,), and scores by rule, each of shape (K,).
    """
    slices = slice_arrays(frame)
    reference, scores = scores_of(frame, geometry, operating.calibration, operating.points[name].logit, slices)
    free = int((reference == 0).sum())
    each, sizes = np.arange(len(reference)), np.bincount(slices.patients, minlength=len(reference))
    content: dict[str, Any] = {
        "n_patients": len(reference),
        "n_compression_free_patients": free,
        "default_rule": DEFAULT_PATIENT_RULE,
        "rules": {},
    }
    for rule, score in scores.items():
        point = operating.patient_point(name, rule)
        found: dict[str, Any] = {"unit": PATIENT_RULES[rule], "threshold": defined(point.logit)}
        found["status"] = point.note or "chosen on validation patients"
        if free in (0, len(reference)) or not np.isfinite(score).all():
            reason = {0: "no patient is free of compression", len(reference): "no patient has a compressed slice"}
            note = reason.get(free, "the lengths of runs in mm are not known")
            found["auc"] = Estimate(NAN, NAN, NAN, len(reference), len(slices.labels), note)
        else:
            found["auc"] = replace(obuchowski_auc(reference, score, each), n_slices=len(slices.labels))
        if np.isfinite(point.logit) and np.isfinite(score).all():
            found |= unit_rates(reference, score, each, sizes, point.logit)
        content["rules"][rule] = found
    content["worklist"] = worklist(
        slices, reference, scores[DEFAULT_PATIENT_RULE], operating.patient_point(name, DEFAULT_PATIENT_RULE)
    )
    return content, reference, {rule: score for rule, score in scores.items() if np.isfinite(score).all()}


def worklist(slices: SliceArrays, reference: Ints, score: Floats, point: OperatingPoint) -> list[dict[str, Any]]:
    """List the patients by falling score, as a reading room would open them; equal scores by patient_id.

    Args:
        slices: the slices.
        reference: 1 if any slice of the patient is compressed, shape (K,).
        score: of each patient, shape (K,).
        point: the threshold, NaN where there is none: then no patient is called.
    """
    sizes = np.bincount(slices.patients, minlength=len(reference))
    compressed = np.bincount(slices.patients, slices.labels, minlength=len(reference))
    threshold = point.logit
    return [
        {
            "rank": rank,
            "patient_id": str(slices.ids[code]),
            "score": float(score[code]),
            "called": None if np.isnan(threshold) else int(score[code] >= threshold),
            "reference": int(reference[code]),
            "n_slices": int(sizes[code]),
            "n_compressed_reference": int(compressed[code]),
        }
        for rank, code in enumerate(np.lexsort((np.arange(len(score)), -score)), start=1)
    ]
