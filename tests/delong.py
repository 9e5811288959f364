"""DeLong's variance and tests: right only where every patient has one row, and refused elsewhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from scripts.errors import InputError
from scripts.evaluation.auc import Components, components, covariance
from scripts.evaluation.estimates import NAN, Comparison, Estimate


def one_row_each(labels: ArrayLike, scores: ArrayLike, patients: ArrayLike) -> Components:
    """Decompose an AUC after making sure that no patient has two rows.

    Raises:
        InputError: the rows are clustered.
    """
    names, rows = np.unique(np.asarray(patients), return_counts=True)
    if (rows > 1).any():
        raise InputError(
            f"DeLong's test needs one row per patient, but {int((rows > 1).sum())} of {len(names)} patients have "
            f"several (patient {names[rows.argmax()]} has {rows.max()}); use the clustered functions of "
            "scripts.evaluation.comparisons"
        )
    return components(labels, scores, patients)


def delong_auc(labels: ArrayLike, scores: ArrayLike, patients: ArrayLike, confidence: float = 0.95) -> Estimate:
    """AUC of independent rows with DeLong's symmetric interval.

    Args:
        labels: 1 positive, 0 negative, shape (N,).
        scores: shape (N,).
        patients: patient of each row, shape (N,), all different.
        confidence: level of the interval.

    Source: DeLong, DeLong & Clarke-Pearson, Biometrics 44:837-845 (1988).
    """
    parts = one_row_each(labels, scores, patients)
    half = stats.norm.ppf((1 + confidence) / 2) * np.sqrt(covariance(parts, parts))
    low, high = np.clip([parts.auc - half, parts.auc + half], 0, 1)
    return Estimate(parts.auc, float(low), float(high), len(parts.m), len(parts.m))


def delong_paired(
    labels: ArrayLike, a: ArrayLike, b: ArrayLike, patients: ArrayLike, confidence: float = 0.95
) -> Comparison:
    """AUC of ``a`` minus AUC of ``b``, both measured on the same independent rows.

    Args:
        labels: 1 positive, 0 negative, shape (N,).
        a: scores of the first model, shape (N,).
        b: scores of the second model, shape (N,).
        patients: patient of each row, shape (N,), all different.
        confidence: level of the interval.

    Source: DeLong 1988.
    """
    first, second = one_row_each(labels, a, patients), one_row_each(labels, b, patients)
    variance = covariance(first, first) + covariance(second, second) - 2 * covariance(first, second)
    return normal_comparison(first.auc - second.auc, variance, len(first.m), confidence, NAN)


def delong_unpaired(
    labels_a: ArrayLike,
    a: ArrayLike,
    patients_a: ArrayLike,
    labels_b: ArrayLike,
    b: ArrayLike,
    patients_b: ArrayLike,
    confidence: float = 0.95,
) -> Comparison:
    """AUC in one group of independent rows minus AUC in another group, with Welch's degrees of freedom.

    Args:
        labels_a: shape (N,); ``a`` and ``patients_a`` alike.
        a: scores in the first group.
        patients_a: patients of the first group, all different.
        labels_b: shape (M,); ``b`` and ``patients_b`` alike.
        b: scores in the second group.
        patients_b: patients of the second group, all different and none of the first group.
        confidence: level of the interval.

    Source: DeLong 1988; the degrees of freedom as in pROC (Robin et al., BMC Bioinformatics 12:77 (2011)).
    """
    if set(np.asarray(patients_a).tolist()) & set(np.asarray(patients_b).tolist()):
        raise InputError("the two groups share patients; use delong_paired on the rows that both have")
    first, second = one_row_each(labels_a, a, patients_a), one_row_each(labels_b, b, patients_b)
    u, v, k, q = covariance(first, first), covariance(second, second), len(first.m), len(second.m)
    df = (u + v) ** 2 / (u**2 / (k - 1) + v**2 / (q - 1)) if u + v > 0 else NAN
    return normal_comparison(first.auc - second.auc, u + v, k + q, confidence, df)


def normal_comparison(value: float, variance: float, n: int, confidence: float, df: float) -> Comparison:
    """Test and interval from a difference and its variance; normal where ``df`` is NaN, else Student's t."""
    if not variance > 0:
        return Comparison(value, NAN, NAN, n, n, "the difference does not vary, so it cannot be tested")
    reference = stats.norm if np.isnan(df) else stats.t(df)
    error = float(np.sqrt(variance))
    half = reference.ppf((1 + confidence) / 2) * error
    p_value = float(2 * reference.sf(abs(value) / error))
    return Comparison(value, value - half, value + half, n, n, "", value / error, df, p_value, error)
