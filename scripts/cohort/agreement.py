"""How well raters agree, with intervals that know slices of one patient belong together; arrays in, numbers out."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

WEIGHTS = ("none", "linear", "quadratic")


@dataclass(frozen=True)
class Agreement:
    """Agreement of two ratings of the same slices.

    Attributes:
        kappa: Cohen's kappa; NaN where undefined (both ratings are one and the same constant).
        low: lower end of its 95 % interval; NaN where undefined.
        high: upper end.
        observed: share of slices with equal ratings.
        counts: ``counts[i, j]`` slices that the first rated i and the second j, shape (K, K).
        n_slices: slices with both ratings.
        n_patients: their patients.
        undefined: share of bootstrap samples in which kappa was undefined; they are left out of the interval.
    """

    kappa: float
    low: float
    high: float
    observed: float
    counts: np.ndarray
    n_slices: int
    n_patients: int
    undefined: float


def disagreement_weights(n_categories: int, weights: str) -> np.ndarray:
    """Return the cost of each pair of ratings, shape (K, K): 0 on the diagonal.

    Args:
        n_categories: K, categories in their order.
        weights: ``none`` (any difference costs 1), ``linear`` (the distance) or ``quadratic`` (its square).

    Raises:
        ValueError: unknown weights.
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights must be one of {', '.join(WEIGHTS)}, got {weights!r}")
    grades = np.arange(n_categories)
    distance = np.abs(grades[:, None] - grades[None, :]).astype(float)
    return {"none": (distance > 0).astype(float), "linear": distance, "quadratic": distance**2}[weights]


def kappa_of_counts(counts: np.ndarray, weights: str = "none") -> np.ndarray:
    """Compute Cohen's kappa of one or many confusion matrices.

    Args:
        counts: shape (..., K, K).
        weights: see ``disagreement_weights``.

    Returns:
        Shape (...,); NaN where no disagreement is expected by chance, so that kappa is undefined.

    Source: Cohen, Psychol Bull 70:213-220 (1968), doi:10.1037/h0026256: 1 - observed / expected weighted disagreement.
    """
    counts = np.asarray(counts, dtype=float)
    cost = disagreement_weights(counts.shape[-1], weights)
    total = counts.sum(axis=(-2, -1))
    expected_counts = counts.sum(axis=-1)[..., :, None] * counts.sum(axis=-2)[..., None, :]
    observed = (cost * counts).sum(axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = (cost * expected_counts).sum(axis=(-2, -1)) / total
        return np.where(expected > 0, 1 - observed / expected, np.nan)


def agreement(
    first: Sequence[int],
    second: Sequence[int],
    patients: Sequence[Hashable],
    n_categories: int,
    weights: str = "none",
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> Agreement:
    """Measure the agreement of two ratings, with a percentile bootstrap over patients.

    Patients are drawn with replacement and bring all their slices, because slices of one patient are not independent.
    Duplicating every slice changes no interval.

    Args:
        first: ratings 0 … K - 1, shape (n,).
        second: ratings of the same slices.
        patients: the patient of each slice.
        n_categories: K.
        weights: ``none``, ``linear`` or ``quadratic``.
        n_bootstrap: samples.
        seed: seed of the draw; the order of slices does not matter.

    Raises:
        ValueError: lengths differ, nothing to compare, or a rating out of range.
    """
    if not len(first) == len(second) == len(patients) or not len(first):
        raise ValueError(f"expected as many ratings as patients, got {len(first)}, {len(second)} and {len(patients)}")
    ratings = np.array([first, second], dtype=int)
    if ratings.min() < 0 or ratings.max() >= n_categories:
        raise ValueError(f"ratings must lie in 0 to {n_categories - 1}, got {ratings.min()} to {ratings.max()}")
    names = sorted(set(patients), key=str)
    number = {name: index for index, name in enumerate(names)}
    by_patient = np.zeros((len(names), n_categories, n_categories))
    np.add.at(by_patient, ([number[name] for name in patients], ratings[0], ratings[1]), 1)
    counts = by_patient.sum(axis=0)
    draws = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), n_bootstrap)
    samples = kappa_of_counts(np.tensordot(draws, by_patient, axes=1), weights)
    defined = samples[np.isfinite(samples)]
    low, high = np.quantile(defined, [0.025, 0.975]) if len(defined) and len(names) > 1 else (np.nan, np.nan)
    return Agreement(
        kappa=float(kappa_of_counts(counts, weights)),
        low=float(low),
        high=float(high),
        observed=float(np.trace(counts) / counts.sum()),
        counts=counts.astype(int),
        n_slices=len(first),
        n_patients=len(names),
        undefined=float(1 - len(defined) / n_bootstrap),
    )
