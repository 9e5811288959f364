"""Area under the ROC curve of slices clustered in patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from .estimates import NAN, SHARE, Bools, Estimate, Floats, logit_interval, sum_by, validated_arrays
from .per_patient import patient_aucs


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Probability that a compressed slice scores above one that is not, ties counting one half; NaN with one class.

    Args:
        labels: 1 compressed, 0 not, shape (N,).
        scores: shape (N,).
    """
    label = np.asarray(labels).astype(bool)
    m, n = int(label.sum()), int((~label).sum())
    if m == 0 or n == 0:
        return NAN
    return float((rankdata(np.asarray(scores))[label].sum() - m * (m + 1) / 2) / (m * n))


def roc_points(labels: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats]:
    """Corners of the ROC curve from (0, 0) to (1, 1): false positive rates and sensitivities, each of shape (C,).

    The same corners as scikit-learn's ``roc_curve``, whose checks of its input would take most of a report's time when
    thousands of patients have a curve each.

    Args:
        labels: 1 compressed, 0 not, shape (N,); both must occur.
        scores: shape (N,).
    """
    score = np.asarray(scores, dtype=np.float64)
    order = np.argsort(-score, kind="stable")
    label = np.asarray(labels)[order].astype(bool)
    last = np.flatnonzero(np.r_[np.diff(score[order]) != 0, True])
    true, false = np.r_[0, np.cumsum(label)[last]], np.r_[0, np.cumsum(~label)[last]]
    return false / false[-1], true / true[-1]


def placements(label: Bools, score: Floats) -> tuple[Floats, Floats]:
    """Return where each slice stands among those of the other label; the mean of either result is the AUC.

    Args:
        label: whether a slice is compressed, shape (N,); both must occur.
        score: shape (N,).

    Returns:
        Of each compressed slice, the share of other slices that score lower; of each other slice, the share of
        compressed ones that score higher. Ties count one half.
    """
    low, high = np.sort(score[~label]), np.sort(score[label])
    x, y = score[label], score[~label]
    below = (np.searchsorted(low, x, "left") + np.searchsorted(low, x, "right")) / (2 * len(low))
    above = 1 - (np.searchsorted(high, y, "left") + np.searchsorted(high, y, "right")) / (2 * len(high))
    return below, above


@dataclass(frozen=True)
class Components:
    """What the clustered variance of an AUC is made of.

    Attributes:
        auc: the pooled AUC.
        positive: per patient, sum over its compressed slices of (share of negatives below - AUC), shape (K,).
        negative: per patient, sum over its other slices of (share of positives above - AUC), shape (K,).
        m: compressed slices per patient, shape (K,).
        n: other slices per patient, shape (K,).
    """

    auc: float
    positive: Floats
    negative: Floats
    m: Floats
    n: Floats

    @property
    def n_informative(self) -> int:
        """Patients of the scarcer kind: those with a compressed slice, or those with another one."""
        return int(min((self.m > 0).sum(), (self.n > 0).sum()))


def components(labels: ArrayLike, scores: ArrayLike, patients: ArrayLike) -> Components:
    """Decompose a pooled AUC by patient in O(N log N).

    Args:
        labels: 1 compressed, 0 not, shape (N,).
        scores: shape (N,).
        patients: patient of each slice, shape (N,).

    Source: Obuchowski, Biometrics 53:567-578 (1997), equations 1-3.
    """
    label, score, code, k = validated_arrays(labels, scores, patients)
    m, n = sum_by(code[label], k), sum_by(code[~label], k)
    if label.all() or not label.any():
        nothing: Floats = np.zeros(k)
        return Components(NAN, nothing, nothing, m, n)
    below, above = placements(label, score)
    value = float(below.mean())
    positive, negative = sum_by(code[label], k, below - value), sum_by(code[~label], k, above - value)
    return Components(value, positive, negative, m, n)


def averaged(parts: Sequence[Components]) -> Components:
    """Average the components of several networks on the same slices, e.g. of one training with several seeds.

    Their AUC is the mean AUC, and their variance is that of this mean over patients. How much trainings differ from
    each other is not in it.
    """
    first = parts[0]
    value, positive, negative = (
        np.mean([getattr(one, name) for one in parts], axis=0) for name in ("auc", "positive", "negative")
    )
    return Components(float(value), positive, negative, first.m, first.n)


def covariance(a: Components, b: Components) -> float:
    """Clustered covariance of two AUCs measured on the same slices; with ``a is b`` the variance.

    Source: Obuchowski, Biometrics 53:567-578 (1997), equations 4-9. With one slice per patient it equals DeLong's.
    """
    with_positive, with_negative, k = (a.m > 0).sum(), (a.n > 0).sum(), len(a.m)
    if min(with_positive, with_negative, k) < 2:
        return NAN
    m, n = a.m.sum(), a.n.sum()
    s10 = with_positive / (with_positive - 1) * (a.positive @ b.positive)
    s01 = with_negative / (with_negative - 1) * (a.negative @ b.negative)
    s11 = k / (k - 1) * (a.positive @ b.negative + b.positive @ a.negative)
    return float(s10 / m**2 + s01 / n**2 + s11 / (m * n))


def pooled_auc(labels: ArrayLike, scores: ArrayLike, patients: ArrayLike, confidence: float = 0.95) -> Estimate:
    """AUC over all slices, with the interval that leaves out one patient at a time: the recommended one.

    The logit of the AUC is jackknifed, in O(N log N): without patient i, the pairs lost are those of its positives,
    those of its negatives, and (counted twice) those within it. In docs/simulation.md it covers better than
    Obuchowski's variance in few patients, and where patients differ much, and equals it in many.

    Args:
        labels: 1 compressed, 0 not, shape (N,).
        scores: shape (N,).
        patients: patient of each slice, shape (N,).
        confidence: level of the interval.

    Source: Tukey, Ann Math Stat 29:614 (1958); Efron & Tibshirani (1993), equation 11.5.
    """
    label, score, code, k = validated_arrays(labels, scores, patients)
    parts = components(label, score, code)
    if np.isnan(parts.auc) or parts.auc in (0.0, 1.0):
        return interval_of(parts, len(label), confidence)
    m, n = parts.m.sum(), parts.n.sum()
    own = np.nan_to_num(patient_aucs(label, score, code)) * parts.m * parts.n
    of_positives = (parts.positive + parts.auc * parts.m) * n
    of_negatives = (parts.negative + parts.auc * parts.n) * m
    pairs = (m - parts.m) * (n - parts.n)
    if k < 3 or not (pairs > 0).all():
        return Estimate(parts.auc, NAN, NAN, k, len(label), "too few patients with each label for an interval")
    left = (parts.auc * m * n - of_positives - of_negatives + own) / pairs
    if not ((left > 0) & (left < 1)).all():
        note = "without one patient the two classes do not overlap, so the spread cannot be estimated"
        return Estimate(parts.auc, NAN, NAN, k, len(label), note)
    logits = np.log(left / (1 - left))
    error = np.sqrt((k - 1) / k * ((logits - logits.mean()) ** 2).sum()) * parts.auc * (1 - parts.auc)
    if not error > 0:
        note = "leaving patients out changes nothing, so the spread cannot be estimated"
        return Estimate(parts.auc, NAN, NAN, k, len(label), note)
    low, high = logit_interval(parts.auc, float(error), parts.n_informative - 1, confidence)
    return Estimate(parts.auc, low, high, k, len(label), possible=SHARE, n_informative=parts.n_informative)


def obuchowski_auc(labels: ArrayLike, scores: ArrayLike, patients: ArrayLike, confidence: float = 0.95) -> Estimate:
    """AUC over all slices, with the interval of the clustered variance on the logit scale and t quantiles.

    The paired test of two models rests on the same variance. For one AUC, ``pooled_auc`` covers better.

    Args:
        labels: 1 compressed, 0 not, shape (N,).
        scores: shape (N,).
        patients: patient of each slice, shape (N,).
        confidence: level of the interval.

    Source: Obuchowski 1997 for the variance; Qin & Hotilovac, Stat Methods Med Res 17:207-221 (2008) for the logit.
    """
    return interval_of(components(labels, scores, patients), len(np.asarray(labels)), confidence)


def interval_of(parts: Components, n_slices: int, confidence: float = 0.95) -> Estimate:
    """Return the estimate that ``parts`` make."""
    k = int(((parts.m + parts.n) > 0).sum())
    if np.isnan(parts.auc):
        return Estimate(NAN, NAN, NAN, k, n_slices, "all slices have the same label")
    if parts.auc in (0.0, 1.0):
        note = "the two classes do not overlap, so the spread cannot be estimated"
        return Estimate(parts.auc, NAN, NAN, k, n_slices, note)
    variance = covariance(parts, parts)
    if not variance > 0:
        note = "too few patients with each label for an interval"
        return Estimate(parts.auc, NAN, NAN, k, n_slices, note)
    low, high = logit_interval(parts.auc, float(np.sqrt(variance)), parts.n_informative - 1, confidence)
    return Estimate(parts.auc, low, high, k, n_slices, possible=SHARE, n_informative=parts.n_informative)
