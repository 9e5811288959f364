"""Sensitivity, specificity and their kin, with intervals that know that slices come in patients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .estimates import NAN, SHARE, Estimate, Floats, sum_by, t_quantile, validated_arrays, wilson_interval


@dataclass(frozen=True)
class Confusion:
    """True and false positives and negatives of each patient, each of shape (K,)."""

    tp: Floats
    fp: Floats
    fn: Floats
    tn: Floats


def confusion(labels: ArrayLike, scores: ArrayLike, patients: ArrayLike, threshold: float) -> Confusion:
    """Count the four outcomes per patient; a slice is called compressed when its score reaches the threshold.

    Args:
        labels: 1 compressed, 0 not, shape (N,).
        scores: shape (N,).
        patients: patient of each slice, shape (N,).
        threshold: on the scale of ``scores``.
    """
    label, score, code, k = validated_arrays(labels, scores, patients)
    called = score >= threshold
    cells = (label & called, ~label & called, label & ~called, ~label & ~called)
    return Confusion(*(sum_by(code[cell], k) for cell in cells))


def ratio(
    numerators: ArrayLike, denominators: ArrayLike, confidence: float = 0.95, n_slices: int | None = None
) -> Estimate:
    """Estimate a proportion summed over patients, with the clustered Wilson interval.

    The variance is that of a ratio of sums over patients; it becomes an effective number of observations for Wilson's
    interval. At 0 or 1 nothing varies, and the effective number is the number of patients.

    Args:
        numerators: per patient, shape (K,), e.g. true positives.
        denominators: per patient, shape (K,), e.g. compressed slices; patients with 0 have no say.
        confidence: level of the interval.
        n_slices: slices it rests on; the sum of the denominators unless given.

    Source: Saha, Miller & Wang, Int J Biostat 12:20150024 (2016), with the ratio estimator of the variance
    (Rao & Scott, Biometrics 48:577-585 (1992)) and t quantiles.
    """
    a, b = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    k, total = int((b > 0).sum()), float(b.sum())
    slices = int(total) if n_slices is None else n_slices
    if k == 0:
        return Estimate(NAN, NAN, NAN, 0, 0, "no slice enters the denominator")
    value = float(a.sum() / total)
    variance = k / max(k - 1, 1) * float(((a - value * b) ** 2).sum()) / total**2
    return from_variance(value, variance, k, k, slices, confidence)


def from_variance(
    value: float, variance: float, n_informative: int, n_patients: int, n_slices: int, confidence: float
) -> Estimate:
    """Wilson's interval from the clustered variance of a proportion.

    Args:
        value: the proportion.
        variance: of it.
        n_informative: patients of the scarcest kind, which give the degrees of freedom.
        n_patients: patients it rests on.
        n_slices: slices it rests on.
        confidence: level of the interval.
    """
    if n_informative < 2:
        note = "one patient gives no interval" if n_patients < 2 else "too few patients with each label for an interval"
        return Estimate(value, NAN, NAN, n_patients, n_slices, note)
    n_effective = value * (1 - value) / variance if variance > 0 and 0 < value < 1 else float(n_informative)
    low, high = wilson_interval(value, n_effective, t_quantile(confidence, n_informative - 1))
    ends = float(low), float(high)
    return Estimate(value, *ends, n_patients, n_slices, possible=SHARE, n_informative=n_informative)


def rates(c: Confusion, confidence: float = 0.95) -> Mapping[str, Estimate]:
    """Return sensitivity, specificity, PPV, NPV, accuracy, F1, balanced accuracy and prevalence."""
    positive, negative = c.tp + c.fn, c.tn + c.fp
    everything = positive + negative
    sensitivity = ratio(c.tp, positive, confidence)
    specificity = ratio(c.tn, negative, confidence)
    return {
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": ratio(c.tp, c.tp + c.fp, confidence),
        "npv": ratio(c.tn, c.tn + c.fn, confidence),
        "accuracy": ratio(c.tp + c.tn, everything, confidence),
        "f1": ratio(2 * c.tp, 2 * c.tp + c.fp + c.fn, confidence, int((c.tp + c.fp + c.fn).sum())),
        "balanced_accuracy": balanced_accuracy(c, sensitivity.value, specificity.value, confidence),
        "prevalence": ratio(positive, everything, confidence),
    }


def balanced_accuracy(c: Confusion, sensitivity: float, specificity: float, confidence: float) -> Estimate:
    """Mean of sensitivity and specificity; each patient's share in the error of both is summed before squaring."""
    positive, negative = c.tp + c.fn, c.tn + c.fp
    k, total = int(((positive + negative) > 0).sum()), int((positive + negative).sum())
    value = (sensitivity + specificity) / 2
    if np.isnan(value):
        return Estimate(NAN, NAN, NAN, k, total, "all slices have the same label")
    share = (c.tp - sensitivity * positive) / positive.sum() + (c.tn - specificity * negative) / negative.sum()
    variance = k / max(k - 1, 1) * float((share**2).sum()) / 4
    informative = int(min((positive > 0).sum(), (negative > 0).sum()))
    return from_variance(value, variance, informative, k, total, confidence)
