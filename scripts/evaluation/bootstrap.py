"""Resampling patients."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .estimates import Floats, sum_by, validated_arrays

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
    label, score, code, k = validated_arrays(labels, scores, patients)
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
