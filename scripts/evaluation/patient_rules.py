"""From slices to one score per patient; thresholds of slices do not apply to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .estimates import Floats, Ints, sum_by, validated_arrays

TOP_K = 3
LEAST_PATIENTS = 10
"""Validation patients of each class from which a threshold is chosen."""


def patient_scores(
    labels: ArrayLike,
    logits: ArrayLike,
    probabilities: ArrayLike,
    patients: ArrayLike,
    longest_run_mm: ArrayLike | None = None,
) -> tuple[Ints, dict[str, Floats]]:
    """Return each patient's reference (1 if any slice is compressed) and its score by each of ``PATIENT_RULES``.

    Args:
        labels: 1 compressed, 0 not, shape (N,).
        logits: shape (N,).
        probabilities: calibrated, shape (N,).
        patients: patient of each slice, shape (N,).
        longest_run_mm: longest run of slices that are called compressed, of each patient in sorted order, shape (K,);
            without, that rule gives no score.

    Returns:
        References, shape (K,), in sorted order of the patients, and scores, each of shape (K,): ``max`` (largest
        logit), ``top_3_mean`` (mean of the three largest logits, or of all if fewer), ``expected_count`` (sum of
        the probabilities) and ``longest_run_mm``.
    """
    label, score, code, k = validated_arrays(labels, logits, patients)
    order = np.lexsort((-score, code))
    ranked, owner = score[order], code[order]
    rank = np.arange(len(owner)) - np.searchsorted(owner, np.arange(k))[owner]
    top = rank < TOP_K
    sums = sum_by(owner[top], k, ranked[top])
    scores = {
        "max": ranked[rank == 0],
        f"top_{TOP_K}_mean": sums / sum_by(owner[top], k),
        "expected_count": sum_by(code, k, probabilities),
    }
    if longest_run_mm is not None:
        scores["longest_run_mm"] = np.asarray(longest_run_mm, dtype=np.float64)
    return (sum_by(code, k, label) > 0).astype(np.int64), scores


def patient_score(rule: str, logits: ArrayLike, probabilities: ArrayLike, longest_run_mm: float) -> float | None:
    """Return the score of one patient by one rule, as `patient_scores` computes it; None where no slice was scored.

    Args:
        rule: one of ``PATIENT_RULES``.
        logits: of the patient's slices, shape (N,).
        probabilities: calibrated, shape (N,).
        longest_run_mm: longest run of slices that are called compressed.
    """
    n = len(np.asarray(logits))
    if n == 0:
        return None
    _, scores = patient_scores(np.zeros(n, np.int64), logits, probabilities, np.zeros(n), [longest_run_mm])
    return float(scores[rule][0])


def level_scores(
    labels: ArrayLike, logits: ArrayLike, patients: ArrayLike, levels: ArrayLike
) -> tuple[Ints, Floats, NDArray[np.generic], NDArray[np.generic]]:
    """Pool the slices of each disc level of each patient: compressed if any slice is, scored by its largest logit.

    Args:
        labels: 1 compressed, 0 not, shape (N,).
        logits: shape (N,).
        patients: patient of each slice, shape (N,).
        levels: disc level of each slice, shape (N,), e.g. ``C5/C6``.

    Returns:
        Label, score, patient and level of each of the L pairs of patient and level, each of shape (L,).
    """
    label, score, code, _ = validated_arrays(labels, logits, patients)
    names, level = np.unique(np.asarray(levels), return_inverse=True)
    pairs, pair = np.unique(code * len(names) + level, return_inverse=True)
    largest = np.full(len(pairs), -np.inf)
    np.maximum.at(largest, pair, score)
    any_label = np.zeros(len(pairs), np.int64)
    np.maximum.at(any_label, pair, label.astype(np.int64))
    return any_label, largest, np.unique(np.asarray(patients))[pairs // len(names)], names[pairs % len(names)]
