"""Thresholds on the raw logit, chosen on validation patients only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from .estimates import NAN, Floats, validated_arrays, wilson_interval
from .patient_rules import LEAST_PATIENTS

SENSITIVITY = 0.95


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold; a slice is called compressed when its raw logit reaches it.

    Attributes:
        logit: the threshold; NaN where none fulfils the rule.
        note: ``"unattained"`` or ``"undefined"`` with the reason; empty otherwise.
    """

    logit: float
    note: str = ""


def choose(labels: ArrayLike, logits: ArrayLike, patients: ArrayLike) -> dict[str, OperatingPoint]:
    """Choose ``paper_0.5``, ``youden`` and ``sensitivity_95`` on validation slices.

    Args:
        labels: 1 compressed, 0 not, shape (N,).
        logits: raw logits, shape (N,).
        patients: patient of each slice, shape (N,).
    """
    return {
        "paper_0.5": OperatingPoint(0.0),
        "youden": youden(labels, logits, patients),
        "sensitivity_95": threshold_for_sensitivity(labels, logits, patients),
    }


def choose_for_patients(references: ArrayLike, scores: ArrayLike) -> dict[str, OperatingPoint]:
    """Choose ``youden`` and ``sensitivity_95`` for the patients' scores by one rule, on validation patients.

    Args:
        references: 1 if any slice of the patient is compressed, shape (K,).
        scores: of each patient, shape (K,); NaN where it is not known.
    """
    reference, score = np.asarray(references), np.asarray(scores, dtype=np.float64)
    reference, score = reference[np.isfinite(score)], score[np.isfinite(score)]
    with_it, free = int((reference == 1).sum()), int((reference == 0).sum())
    if min(with_it, free) < LEAST_PATIENTS:
        note = (
            f"undefined: {with_it} validation patients with compression and {free} without; at least {LEAST_PATIENTS} "
            "of each are needed"
        )
        return {name: OperatingPoint(NAN, note) for name in ("youden", "sensitivity_95")}
    each = np.arange(len(reference))
    return {
        "youden": youden(reference, score, each),
        "sensitivity_95": threshold_for_sensitivity(reference, score, each),
    }


def candidate_thresholds(score: Floats) -> tuple[Floats, Floats]:
    """Distinct scores from high to low, and thresholds halfway to the next lower one.

    Halfway, so that a logit computed on another machine in the seventh digit stays on its side.
    """
    values = np.unique(score)[::-1]
    below = np.r_[values[1:], values[-1]]
    return values, (values + below) / 2


def youden(labels: ArrayLike, logits: ArrayLike, patients: ArrayLike) -> OperatingPoint:
    """Largest sensitivity + specificity; among equals the lowest threshold, because a missed cord costs more."""
    label, score, _, _ = validated_arrays(labels, logits, patients)
    if label.all() or not label.any():
        return OperatingPoint(NAN, "undefined: all slices have the same label")
    values, thresholds = candidate_thresholds(score)
    m, n = np.sort(score[label]), np.sort(score[~label])
    sensitivity = 1 - np.searchsorted(m, values, "left") / len(m)
    specificity = np.searchsorted(n, values, "left") / len(n)
    index = sensitivity + specificity
    return OperatingPoint(float(thresholds[np.flatnonzero(index >= index.max() - 1e-12)[-1]]))


def threshold_for_sensitivity(
    labels: ArrayLike, logits: ArrayLike, patients: ArrayLike, target: float = SENSITIVITY, confidence: float = 0.95
) -> OperatingPoint:
    """Highest threshold from which downwards the lower bound of sensitivity stays at or above the target.

    The bound is the one-sided clustered Wilson bound, for all thresholds at once in O(N log N).

    Args:
        labels: 1 compressed, 0 not, shape (N,).
        logits: raw logits, shape (N,).
        patients: patient of each slice, shape (N,).
        target: the sensitivity to be shown.
        confidence: one-sided confidence of the bound.
    """
    label, score, code, _ = validated_arrays(labels, logits, patients)
    order = np.argsort(-score[label], kind="stable")
    positive, owner = score[label][order], code[label][order]
    total = len(positive)
    k = len(np.unique(owner))
    if k < 2:
        return OperatingPoint(NAN, "undefined: fewer than two patients have a compressed slice")
    size = np.bincount(owner)
    by_patient = np.argsort(owner, kind="stable")
    first = np.searchsorted(owner[by_patient], np.arange(len(size)))
    earlier = np.empty(total)  # slices of the same patient that were already called
    earlier[by_patient] = np.arange(total) - first[owner[by_patient]]
    squares, products = np.cumsum(2 * earlier + 1), np.cumsum(size[owner])
    p = np.arange(1, total + 1) / total
    variance = k / (k - 1) * (squares - 2 * p * products + p**2 * float((size.astype(float) ** 2).sum())) / total**2
    with np.errstate(divide="ignore", invalid="ignore"):
        n_effective = np.where((variance > 1e-15) & (p < 1), p * (1 - p) / variance, k)
    bound, _ = wilson_interval(p, n_effective, stats.t.ppf(confidence, k - 1))
    whole = np.r_[positive[1:] != positive[:-1], True]  # a threshold takes all equal scores or none
    met = bound[whole] >= target
    if not met[-1]:
        note = (
            f"unattained: with {k} patients, the one-sided {100 * confidence:g} % lower bound of the sensitivity is "
            f"only {bound[-1]:.3f} even where every slice is called, and {target:g} is asked for"
        )
        return OperatingPoint(NAN, note)
    start = len(met) - int(np.argmin(met[::-1])) if not met.all() else 0
    values, thresholds = candidate_thresholds(score)
    return OperatingPoint(float(thresholds[values == positive[whole][start]][0]))
