"""Resampling patients."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .estimates import NAN, Estimate, Floats, check, sum_by

LARGEST_CHUNK = 500_000  # numbers held at once, so that thousands of patients fit in little memory


def resample_means(values: Floats, seed: int, repetitions: int) -> tuple[Floats, Floats]:
    """Means and standard errors of bootstrap samples of ``values``, both of shape (repetitions,)."""
    rng = np.random.default_rng(seed)
    k = len(values)
    means, errors = np.empty(repetitions), np.empty(repetitions)
    step = max(1, LARGEST_CHUNK // k)
    for start in range(0, repetitions, step):
        stop = min(start + step, repetitions)
        sample = values[rng.integers(0, k, (stop - start, k))]
        means[start:stop] = sample.mean(axis=1)
        errors[start:stop] = sample.std(axis=1, ddof=1) / np.sqrt(k)
        errors[start:stop][np.ptp(sample, axis=1) == 0] = 0  # rounding would leave 1e-17
    return means, errors


def win_matrix(labels: ArrayLike, scores: ArrayLike, patients: ArrayLike) -> Floats:
    """Count the Mann-Whitney wins between patients; all that resampling patients needs of the slices.

    Args:
        labels: 1 compressed, 0 not, shape (N,).
        scores: shape (N,).
        patients: patient of each slice, shape (N,).

    Returns:
        Shape (K, K): in row i and column j, the pairs of a compressed slice of i and another slice of j in which the
        first scores higher; ties count one half. Time O(N log N + positives x K).
    """
    label, score, code, k = check(labels, scores, patients)
    order = np.argsort(score, kind="stable")
    label, score, code = label[order], score[order], code[order]
    wins, below = np.zeros((k, k)), np.zeros(k)
    ends = np.r_[np.flatnonzero(np.diff(score)) + 1, len(score)] if len(score) else np.zeros(0, int)
    start = 0
    for end in ends.tolist():
        if end - start == 1:
            if label[start]:
                wins[code[start]] += below
            else:
                below[code[start]] += 1
        else:
            positive = label[start:end]
            tied = sum_by(code[start:end][~positive], k)
            np.add.at(wins, code[start:end][positive], below + tied / 2)
            below += tied
        start = end
    return wins


def bootstrap_pooled_auc(
    labels: ArrayLike,
    scores: ArrayLike,
    patients: ArrayLike,
    confidence: float = 0.95,
    seed: int = 0,
    repetitions: int = 1999,
) -> Estimate:
    """AUC over all slices with the percentile bootstrap over patients; plain, but too narrow in few patients.

    Args:
        labels: 1 compressed, 0 not, shape (N,).
        scores: shape (N,).
        patients: patient of each slice, shape (N,).
        confidence: level of the interval.
        seed: of the resampling.
        repetitions: bootstrap samples; those with one class only are left out.
    """
    label, score, code, k = check(labels, scores, patients)
    m, n = sum_by(code[label], k), sum_by(code[~label], k)
    if m.sum() == 0 or n.sum() == 0:
        return Estimate(NAN, NAN, NAN, k, len(label), "all slices have the same label")
    wins = win_matrix(label, score, code)
    rng = np.random.default_rng(seed)
    found = []
    step = max(1, LARGEST_CHUNK // k)
    for start in range(0, repetitions, step):
        times = rng.multinomial(k, np.full(k, 1 / k), size=min(step, repetitions - start)).astype(float)
        pairs = (times @ m) * (times @ n)
        total = np.einsum("bk,bk->b", times @ wins, times)
        found.append(total[pairs > 0] / pairs[pairs > 0])
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(found), [tail, 1 - tail])
    return Estimate(float(wins.sum() / (m.sum() * n.sum())), float(low), float(high), k, len(label))
