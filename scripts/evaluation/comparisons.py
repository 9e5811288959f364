"""Two models on the same slices, and a subgroup against the rest of the patients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ._statsmodels import multipletests
from .auc import Components, components, covariance
from .bootstrap import LARGEST_CHUNK
from .estimates import DIFFERENCE, NAN, Comparison, Floats, patient_codes, sum_by, t_interval

LARGE = 500
SMALLEST_CELL = 10  # patients on either side; below it a studentised permutation has nothing to studentise with


def paired_auc(
    labels: ArrayLike, a: ArrayLike, b: ArrayLike, patients: ArrayLike, confidence: float = 0.95
) -> Comparison:
    """Pooled AUC of model ``a`` minus that of model ``b`` on the same slices.

    Args:
        labels: 1 compressed, 0 not, shape (N,).
        a: scores of the first model, shape (N,).
        b: scores of the second model, shape (N,).
        patients: patient of each slice, shape (N,).
        confidence: level of the interval.

    Source: Obuchowski, Biometrics 53:567-578 (1997); with one slice per patient it equals DeLong's paired test.
    """
    parts = components(labels, a, patients), components(labels, b, patients)
    return paired_components(*parts, len(np.asarray(labels)), confidence)


def paired_components(a: Components, b: Components, n_slices: int, confidence: float = 0.95) -> Comparison:
    """Compare two AUCs by their components, as `paired_auc`; those of several networks may be averaged before.

    Args:
        a: of the first model.
        b: of the second, on the same slices.
        n_slices: slices of all patients.
        confidence: level of the interval.
    """
    variance = covariance(a, a) + covariance(b, b) - 2 * covariance(a, b)
    return studentised(a.auc - b.auc, variance, a.n_informative - 1, len(a.m), n_slices, confidence)


def paired_mean(a: ArrayLike, b: ArrayLike, n_slices: int, confidence: float = 0.95) -> Comparison:
    """Mean over patients of the difference of two numbers per patient, e.g. their AUCs; NaN in either is left out.

    Args:
        a: shape (K,).
        b: shape (K,), the same patients.
        n_slices: slices of the patients.
        confidence: level of the interval.
    """
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    difference = difference[np.isfinite(difference)]
    k = len(difference)
    if k < 2:
        return Comparison(NAN, NAN, NAN, k, n_slices, "fewer than two patients have both numbers")
    return studentised(float(difference.mean()), difference.var(ddof=1) / k, k - 1, k, n_slices, confidence)


def paired_proportion(a: ArrayLike, b: ArrayLike, patients: ArrayLike, confidence: float = 0.95) -> Comparison:
    """Clustered McNemar test: share of slices that ``a`` gets right minus the share that ``b`` gets right.

    Args:
        a: whether the first reader or model is right on each slice, shape (N,); restrict the slices to the compressed
            ones to compare sensitivities, to the others to compare specificities.
        b: the same of the second.
        patients: patient of each slice, shape (N,).
        confidence: level of the interval.

    Source: Yang, Sun & Hardin, Stat Med 29:3028-3039 (2010); with one slice per patient it is McNemar's test without
    continuity correction. The interval is that of a ratio of sums over patients.
    """
    code, k = patient_codes(patients)
    n = len(code)
    if k < 2:
        return Comparison(NAN, NAN, NAN, k, n, "fewer than two patients")
    gain = sum_by(code, k, np.asarray(a, dtype=float) - np.asarray(b, dtype=float))
    size = sum_by(code, k)
    value = float(gain.sum() / n)
    if not gain.any():
        return Comparison(
            value, NAN, NAN, k, n, "no patient speaks for either, so nothing can be tested", 0.0, NAN, 1.0
        )
    error = float(np.sqrt(k / (k - 1) * ((gain - value * size) ** 2).sum()) / n)
    statistic = float(gain.sum() / np.sqrt((gain**2).sum()))
    low, high = t_interval(value, error, k - 1, confidence)
    p_value = float(2 * stats.norm.sf(abs(statistic)))
    return Comparison(value, low, high, k, n, "", statistic, k - 1, p_value, error, possible=DIFFERENCE)


def studentised(value: float, variance: float, df: float, k: int, n: int, confidence: float) -> Comparison:
    """Test and interval of a difference with Student's t."""
    if np.isnan(value) or np.isnan(variance):
        return Comparison(value, NAN, NAN, k, n, "too few patients with each label")
    if not variance > 1e-18:  # rounding error of two equal models
        p_value = 1.0 if abs(value) < 1e-9 else NAN
        return Comparison(value, NAN, NAN, k, n, "the difference does not vary between patients", NAN, df, p_value)
    error = float(np.sqrt(variance))
    low, high = t_interval(value, error, df, confidence)
    p_value = float(2 * stats.t.sf(abs(value) / error, df))
    about: Any = {"possible": DIFFERENCE, "n_informative": int(df) + 1}
    return Comparison(value, low, high, k, n, "", value / error, df, p_value, error, **about)


def n_permutations(k: int) -> int:
    """How many permutations ``k`` patients are worth: 9999 in small cohorts, never fewer than 999."""
    return int(np.clip(10**9 // max(k, 1) ** 2, 999, 9999))


def subgroup_pooled(
    wins: Floats, m: ArrayLike, n: ArrayLike, inside: ArrayLike, seed: int = 0, repetitions: int = 0
) -> Comparison:
    """Pooled AUC within a subgroup of patients minus that within the others; studentised permutation of patients.

    Args:
        wins: ``bootstrap.win_matrix`` of all patients, shape (K, K).
        m: compressed slices per patient, shape (K,).
        n: other slices per patient, shape (K,).
        inside: whether the patient belongs to the subgroup, shape (K,); leave out patients of whom that is unknown.
        seed: of the permutations.
        repetitions: permutations; 0 chooses ``n_permutations``.

    Source: Pauly, Asendorf & Konietschke, Biom J 58:1319-1337 (2016), doi:10.1002/bimj.201500105, with Obuchowski's
    clustered variance. The test is exact where patients are exchangeable, and asymptotically right where they are not.
    """
    positive, negative = np.asarray(m, dtype=np.float64), np.asarray(n, dtype=np.float64)
    of_positives, of_negatives = wins.sum(axis=1), wins.sum(axis=0)
    # of thousands of patients a permutation needs no more than single precision, in half the time
    matrix: NDArray[Any] = wins.astype(np.float32) if len(positive) > LARGE else wins

    def difference_and_variance(groups: Floats) -> tuple[Floats, Floats]:
        narrow = groups.astype(matrix.dtype)
        rows, columns = (narrow @ matrix.T).astype(float), (narrow @ matrix).astype(float)
        value, variance = group_auc(groups, rows, columns, positive, negative)
        other, spread = group_auc(1 - groups, of_positives - rows, of_negatives - columns, positive, negative)
        return value - other, variance + spread

    return permute(
        difference_and_variance, np.asarray(inside, dtype=bool), int((positive + negative).sum()), seed, repetitions
    )


def group_auc(groups: Floats, rows: Floats, columns: Floats, m: Floats, n: Floats) -> tuple[Floats, Floats]:
    """AUC and Obuchowski's variance within each of B groups of patients.

    Args:
        groups: membership, 0 or 1, shape (B, K).
        rows: wins of each patient's positives over the group's negatives, shape (B, K).
        columns: wins of the group's positives over each patient's negatives, shape (B, K).
        m: compressed slices per patient, shape (K,).
        n: other slices per patient, shape (K,).

    Returns:
        AUCs and variances, each of shape (B,); NaN where a group lacks a class.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        total_m, total_n = (groups @ m)[:, None], (groups @ n)[:, None]
        value = rowwise_dot(groups, rows)[:, None] / (total_m * total_n)
        d10 = groups * (rows / (total_m * total_n) - m * (value / total_m))
        d01 = groups * (columns / (total_m * total_n) - n * (value / total_n))
        with_m, with_n, k = groups @ (m > 0), groups @ (n > 0), groups.sum(axis=1)
        variance = with_m / (with_m - 1) * rowwise_dot(d10, d10) + with_n / (with_n - 1) * rowwise_dot(d01, d01)
        variance += 2 * k / (k - 1) * rowwise_dot(d10, d01)
    return value[:, 0], np.where(np.minimum(with_m, with_n) > 1, variance, NAN)


def rowwise_dot(a: Floats, b: Floats) -> Floats:
    """Sum of the products along each row, shape (B,)."""
    return np.asarray(np.einsum("bk,bk->b", a, b))


def subgroup_mean(
    values: ArrayLike, inside: ArrayLike, n_slices: int, seed: int = 0, repetitions: int = 0
) -> Comparison:
    """Mean of a number per patient, e.g. its AUC, in a subgroup minus that in the others; studentised permutation.

    Args:
        values: shape (K,); NaN is left out.
        inside: whether the patient belongs to the subgroup, shape (K,).
        n_slices: slices of the patients.
        seed: of the permutations.
        repetitions: permutations; 0 chooses ``n_permutations``.

    Source: Janssen, Stat Probab Lett 36:9-21 (1997).
    """
    value = np.asarray(values, dtype=np.float64)
    known = np.isfinite(value)
    v, member = value[known], np.asarray(inside, dtype=bool)[known]
    v = v - v.mean() if len(v) else v  # so that sums of squares lose no digits

    def difference_and_variance(groups: Floats) -> tuple[Floats, Floats]:
        k, total, squares = groups.sum(axis=1), groups @ v, groups @ v**2
        q, rest, others = len(v) - k, v.sum() - total, (v**2).sum() - squares
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = (squares - total**2 / k) / (k * (k - 1)) + (others - rest**2 / q) / (q * (q - 1))
            return total / k - rest / q, spread

    return permute(difference_and_variance, member, n_slices, seed, repetitions)


def permute(
    difference_and_variance: Callable[[Floats], tuple[Floats, Floats]],
    inside: NDArray[np.bool_],
    n_slices: int,
    seed: int,
    repetitions: int,
    confidence: float = 0.95,
) -> Comparison:
    """Compare the studentised difference with its distribution when patients swap groups.

    Args:
        difference_and_variance: gives difference and variance, each of shape (B,), for memberships of shape (B, K).
        inside: the true membership, shape (K,).
        n_slices: slices of the patients.
        seed: of the permutations.
        repetitions: permutations; 0 chooses ``n_permutations``.
        confidence: level of the interval, which is of the same permutation distribution.
    """
    k, members = len(inside), int(inside.sum())
    if k == 0 or members in (0, k):
        return Comparison(NAN, NAN, NAN, k, n_slices, "one side holds no patient")
    differences, variances = difference_and_variance(inside[None].astype(float))
    value, variance = float(differences[0]), float(variances[0])
    if min(members, k - members) < SMALLEST_CELL:
        return Comparison(value, NAN, NAN, k, n_slices, f"fewer than {SMALLEST_CELL} patients on one side")
    if not variance > 1e-18:
        return Comparison(value, NAN, NAN, k, n_slices, "one side lacks a class or does not vary")
    error = float(np.sqrt(variance))
    statistic = value / error
    rng = np.random.default_rng(seed)
    repetitions = repetitions or n_permutations(k)
    found = np.empty(repetitions)
    step = max(1, LARGEST_CHUNK // k)
    for start in range(0, repetitions, step):
        rows = min(step, repetitions - start)
        groups = rng.permuted(np.broadcast_to(inside.astype(float), (rows, k)), axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            differences, variances = difference_and_variance(groups)
            found[start : start + rows] = np.abs(differences) / np.sqrt(variances)
    found[np.isnan(found)] = np.inf  # a permutation without a statistic must not help significance
    p_value = (1 + int((found >= abs(statistic) - 1e-9).sum())) / (1 + repetitions)
    half = float(np.quantile(np.r_[found, abs(statistic)], confidence, method="inverted_cdf")) * error
    df = min(members, k - members) - 1
    if not np.isfinite(half):
        note = "too many permutations lack a class for an interval"
        return Comparison(value, NAN, NAN, k, n_slices, note, statistic, df, p_value, error)
    ends = value - half, value + half
    return Comparison(value, *ends, k, n_slices, "", statistic, df, p_value, error, possible=DIFFERENCE)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust a family of p-values by Holm's method; NaN (not tested) stays NaN and does not count."""
    p = np.asarray(p_values, dtype=np.float64)
    tested = np.isfinite(p)
    adjusted = np.full(len(p), NAN)
    if tested.any():
        adjusted[tested] = multipletests(p[tested], method="holm")[1]
    return [float(x) for x in adjusted]


@dataclass(frozen=True)
class Equivalence:
    """Whether a difference lies within a margin stated beforehand.

    Attributes:
        margin: the largest difference that does not matter.
        low: lower end of the 90 % interval that must lie within the margin.
        high: upper end.
        equivalent: whether it does.
    """

    margin: float
    low: float
    high: float
    equivalent: bool


def equivalence(comparison: Comparison, margin: float, alpha: float = 0.05) -> Equivalence:
    """Two one-sided tests; a large p-value of a test of difference never shows equivalence.

    Args:
        comparison: the difference.
        margin: the largest difference that does not matter, above 0, stated before looking.
        alpha: level of each one-sided test.

    Source: Schuirmann, J Pharmacokinet Biopharm 15:657-680 (1987).
    """
    if not margin > 0:
        raise ValueError(f"an equivalence margin must be above 0, got {margin}")
    if not np.isfinite(comparison.standard_error):
        return Equivalence(margin, NAN, NAN, False)
    low, high = t_interval(comparison.value, comparison.standard_error, comparison.df, 1 - 2 * alpha)
    return Equivalence(margin, low, high, bool(-margin < low and high < margin))
