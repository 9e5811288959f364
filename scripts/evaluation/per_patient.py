"""One AUC per patient, and their mean and median."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from .bootstrap import resample_means
from .estimates import NAN, SHARE, Estimate, Floats, sum_by, validated_arrays


def patient_aucs(labels: ArrayLike, scores: ArrayLike, patients: ArrayLike) -> Floats:
    """AUC within each patient, in sorted order of the patients, shape (K,); NaN where a patient has one class only.

    Args:
        labels: 1 compressed, 0 not, shape (N,).
        scores: shape (N,).
        patients: patient of each slice, shape (N,).
    """
    label, score, code, k = validated_arrays(labels, scores, patients)
    order = np.lexsort((score, code))
    label, score, code = label[order], score[order], code[order]
    starts = np.r_[True, (code[1:] != code[:-1]) | (score[1:] != score[:-1])] if len(code) else np.zeros(0, bool)
    first = np.flatnonzero(starts)
    length = np.diff(np.r_[first, len(code)])
    offset = np.searchsorted(code, np.arange(k))
    rank = np.repeat(first + (length + 1) / 2, length) - offset[code]
    m, n = sum_by(code[label], k), sum_by(code[~label], k)
    wins = sum_by(code[label], k, rank[label]) - m * (m + 1) / 2
    pairs = m * n
    return np.where(pairs > 0, wins / np.maximum(pairs, 1), NAN)


def mean_auc(
    aucs: ArrayLike, n_slices: int, confidence: float = 0.95, seed: int = 0, repetitions: int = 4999
) -> Estimate:
    """Mean of the patients' AUCs with the bootstrap-t interval over patients.

    Args:
        aucs: AUC of each patient, shape (K,); NaN (one class only) is left out.
        n_slices: slices of the patients that have an AUC.
        confidence: level of the interval.
        seed: of the resampling.
        repetitions: bootstrap samples.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), section 12.5.
    """
    values = np.asarray(aucs, dtype=np.float64)
    values = values[np.isfinite(values)]
    k = len(values)
    if k == 0:
        return Estimate(NAN, NAN, NAN, 0, 0, "no patient has slices of both classes")
    centre = float(values.mean())
    if k < 2 or np.ptp(values) == 0:
        return Estimate(
            centre, NAN, NAN, k, n_slices, "the patients' AUCs do not differ, so the spread cannot be estimated"
        )
    standard_error = values.std(ddof=1) / np.sqrt(k)
    means, errors = resample_means(values, seed, repetitions)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(errors > 0, (means - centre) / errors, np.sign(means - centre) * np.inf)
    t = t[~np.isnan(t)]
    tail = (1 - confidence) / 2
    lower, upper = np.quantile(t, [tail, 1 - tail], method="inverted_cdf")
    low, high = np.clip(centre - np.array([upper, lower]) * standard_error, 0, 1)
    return Estimate(centre, float(low), float(high), k, n_slices, possible=SHARE)


def median_auc(aucs: ArrayLike, n_slices: int, confidence: float = 0.95) -> Estimate:
    """Median of the patients' AUCs with the interval of order statistics (exact, no assumption about their shape).

    Args:
        aucs: AUC of each patient, shape (K,); NaN (one class only) is left out.
        n_slices: slices of the patients that have an AUC.
        confidence: level of the interval.
    """
    values = np.asarray(aucs, dtype=np.float64)
    values = values[np.isfinite(values)]
    k = len(values)
    if k == 0:
        return Estimate(NAN, NAN, NAN, 0, 0, "no patient has slices of both classes")
    centre = float(np.median(values))
    test: Any = stats.quantile_test(values, q=centre, p=0.5)
    interval = test.confidence_interval(confidence)
    low, high = float(interval.low), float(interval.high)
    if np.isnan(low) or np.isnan(high):
        return Estimate(
            centre, NAN, NAN, k, n_slices, f"{k} patients are too few for a {100 * confidence:g} % interval of a median"
        )
    return Estimate(centre, low, high, k, n_slices, possible=SHARE)
