"""Agreement of two raters, or of a coding with its reference: the one kappa of `agree` and `report`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from .bootstrap import LARGEST_CHUNK
from .estimates import DIFFERENCE, NAN, Estimate, Floats, Ints, patient_codes, sum_by, t_quantile

WEIGHTS = ("none", "linear", "quadratic")


def kappa(a: ArrayLike, b: ArrayLike, patients: ArrayLike, weights: str = "none", confidence: float = 0.95) -> Estimate:
    """Cohen's kappa of two raters on the same slices, with an interval clustered by patient.

    Args:
        a: category given by the first rater, shape (N,); sortable, e.g. 0/1; with weights, numbers such as grades.
        b: category given by the second, shape (N,).
        patients: patient of each slice, shape (N,).
        weights: ``none``; or ``linear`` or ``quadratic``, by the difference of the grades or its square, so that a
            grade that nobody gave still lies between its neighbours.
        confidence: level of the interval.

    Source: Cohen 1960; delta method of Fleiss, Cohen & Everitt, Psychol Bull 72:323-327 (1969), its terms summed over
    each patient before squaring (with one slice per patient the same), on Fisher's z scale with t quantiles.
    """
    first, second = np.asarray(a), np.asarray(b)
    code, k = patient_codes(patients)
    if not first.shape == second.shape == code.shape:
        raise ValueError(f"a, b and patients must share one shape, got {first.shape}, {second.shape}, {code.shape}")
    if weights not in WEIGHTS:
        raise ValueError(f"weights must be {', '.join(WEIGHTS)}, got {weights!r}")
    n = len(code)
    names, numbers = np.unique(np.concatenate([first, second]), return_inverse=True)
    if n == 0 or len(names) < 2:
        return Estimate(NAN, NAN, NAN, k, n, "both raters use one category only, so chance agreement is complete")
    x, y, c = numbers[:n], numbers[n:], len(names)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return Estimate(0.0, NAN, NAN, k, n, "one rater uses one category only, so the spread cannot be estimated")
    distance = np.abs(np.subtract.outer(names, names)) / np.ptp(names) if weights != "none" else 1 - np.eye(c)
    w = 1 - (distance**2 if weights == "quadratic" else distance)
    value, influence, scale = linearised(x, y, w)
    return clustered(value, sum_by(code, k, influence) / scale, n, confidence)


def mean_kappa(pairs: Sequence[tuple[Floats, Floats]], patients: ArrayLike, confidence: float = 0.95) -> Estimate:
    """Mean of Cohen's kappas on the same slices, with one interval clustered by patient.

    What a patient adds to each kappa is averaged before it is squared, so that raters who err together count as such.

    Args:
        pairs: calls 0 or 1 of two raters, NaN where one has none, each of shape (N,).
        patients: patient of each slice, shape (N,).
        confidence: level of the interval.
    """
    names, both = np.asarray(patients), [~np.isnan(a) & ~np.isnan(b) for a, b in pairs]
    found = [kappa(a[rated], b[rated], names[rated]) for (a, b), rated in zip(pairs, both, strict=True)]
    if len(found) == 1:
        return found[0]
    seen = np.any(both, axis=0) if pairs else np.zeros(len(names), dtype=bool)
    code, k = patient_codes(names[seen])
    value = float(np.mean([one.value for one in found])) if found else NAN
    undefined = [one for one in found if np.isnan(one.low)]
    if undefined or not found:
        note = f"one of the kappas has no interval: {undefined[0].note}" if undefined else "there is no pair"
        return Estimate(value, NAN, NAN, k, int(seen.sum()), note)
    sums = np.zeros(k)
    for (a, b), rated in zip(pairs, both, strict=True):
        _, influence, scale = linearised(a[rated].astype(int), b[rated].astype(int), np.eye(2))
        sums += sum_by(code[rated[seen]], k, influence) / scale / len(pairs)
    return clustered(value, sums, int(seen.sum()), confidence)


def linearised(x: Ints, y: Ints, w: Floats) -> tuple[float, Floats, float]:
    """Compute kappa and what each slice adds to it by the delta method, to be divided by the last number.

    Args:
        x: category of each slice by the first rater, from 0, shape (N,).
        y: the same by the second.
        w: agreement of two categories, 1 for equal ones, shape (C, C).
    """
    n, c = len(x), len(w)
    share_x, share_y = np.bincount(x, minlength=c) / n, np.bincount(y, minlength=c) / n
    observed, chance = w[x, y].mean(), share_x @ w @ share_y
    expected = (w @ share_y)[x] + (share_x @ w)[y]
    influence = (w[x, y] - observed) * (1 - chance) - (expected - 2 * chance) * (1 - observed)
    return float((observed - chance) / (1 - chance)), influence, float(n * (1 - chance) ** 2)


def clustered(value: float, sums: Floats, n_slices: int, confidence: float) -> Estimate:
    """Return a kappa, or a mean of several, with its interval on Fisher's z scale.

    Args:
        value: the kappa.
        sums: what each patient's slices add to it by the delta method, shape (K,).
        n_slices: slices that it rests on.
        confidence: level of the interval.
    """
    k = len(sums)
    if k < 2 or abs(value) == 1:
        note = "one patient gives no interval" if k < 2 else "agreement is complete, so the spread cannot be estimated"
        return Estimate(value, NAN, NAN, k, n_slices, note)
    error = np.sqrt(k / (k - 1) * (sums**2).sum()) / (1 - value**2)
    half = t_quantile(confidence, k - 1) * error
    low, high = np.tanh([np.arctanh(value) - half, np.arctanh(value) + half])
    return Estimate(value, float(low), float(high), k, n_slices, possible=DIFFERENCE)


def icc_a1(ratings: ArrayLike, n_slices: int, confidence: float = 0.95) -> Estimate:
    """Intraclass correlation for absolute agreement of single measurements, ICC(A,1).

    Args:
        ratings: one row per patient, one column per rater or method, shape (K, R).
        n_slices: slices of the patients.
        confidence: level of the interval.

    Source: McGraw & Wong, Psychol Methods 1:30-46 (1996), table 4; the ICC(2,1) of Shrout & Fleiss 1979. Their interval
    assumes normal errors and covered 78 % where counts of slices are skewed; here patients are jackknifed on Fisher's
    z scale.
    """
    table = np.asarray(ratings, dtype=np.float64)
    n, _ = table.shape
    if n < 3:
        return Estimate(NAN, NAN, NAN, n, n_slices, "fewer than three patients")
    if np.ptp(table) == 0:
        return Estimate(NAN, NAN, NAN, n, n_slices, "the numbers do not differ between patients")
    table = table - table.mean()
    row, square = table.sum(axis=1), (table**2).sum(axis=1)
    column = table.sum(axis=0, keepdims=True)
    value = float(icc_from_sums(n, column, np.array([(row**2).sum()]), np.array([square.sum()]))[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        left = icc_from_sums(n - 1, column - table, (row**2).sum() - row**2, square.sum() - square)
        z = np.arctanh(np.r_[value, left])
    if not np.isfinite(z).all():
        return Estimate(value, NAN, NAN, n, n_slices, "agreement is complete but for one patient: no interval")
    half = t_quantile(confidence, n - 1) * np.sqrt((n - 1) / n * ((z[1:] - z[1:].mean()) ** 2).sum())
    ends = float(np.tanh(z[0] - half)), float(np.tanh(z[0] + half))
    return Estimate(value, *ends, n, n_slices, possible=DIFFERENCE)


def icc_from_sums(n: int, columns: Floats, row_squares: Floats, squares: Floats) -> Floats:
    """ICC(A,1) of B tables of ``n`` rows.

    Args:
        n: rows of each table.
        columns: column sums, shape (B, R).
        row_squares: sum of squared row sums, shape (B,).
        squares: sum of squares of all numbers, shape (B,).
    """
    r = columns.shape[1]
    centre = columns.sum(axis=1) ** 2 / (n * r)
    between = row_squares / r - centre
    across = (columns**2).sum(axis=1) / n - centre
    error = (squares - centre - between - across) / ((n - 1) * (r - 1))
    rows, raters = between / (n - 1), across / (r - 1)
    return np.asarray((rows - error) / (rows + (r - 1) * error + r * (raters - error) / n))


@dataclass(frozen=True)
class BlandAltman:
    """Differences of two measurements of the same patients, in the unit of the measurements.

    Attributes:
        bias: mean difference.
        lower_limit: mean difference - 1.96 standard deviations.
        upper_limit: mean difference + 1.96 standard deviations.
    """

    bias: Estimate
    lower_limit: Estimate
    upper_limit: Estimate


def bland_altman(
    a: ArrayLike, b: ArrayLike, n_slices: int, confidence: float = 0.95, seed: int = 0, repetitions: int = 1999
) -> BlandAltman:
    """Bias and 95 % limits of agreement of ``a`` minus ``b``.

    Args:
        a: one number per patient, shape (K,).
        b: the same by another method, shape (K,).
        n_slices: slices of the patients.
        confidence: level of the intervals.
        seed: of the resampling.
        repetitions: bootstrap samples.

    Source: Bland & Altman, Lancet 327:307-310 (1986). Their interval of a limit assumes normal differences and covered
    75 to 85 % for counts of slices; here it is a bootstrap-t over patients, with the standard error of a mean plus
    multiple of a standard deviation from the first four moments.
    """
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    n = len(difference)
    if n < 3 or np.ptp(difference) == 0:
        note = "fewer than three patients" if n < 3 else "the difference is the same in every patient: no interval"
        mean = float(difference.mean()) if n else NAN
        nothing = Estimate(mean if n > 2 else NAN, NAN, NAN, n, n_slices, note)
        return BlandAltman(nothing, nothing, nothing)
    mean, error = float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(n))
    half = t_quantile(confidence, n - 1) * error
    rng = np.random.default_rng(seed)
    step = max(1, LARGEST_CHUNK // n)
    samples = [
        limits(difference[rng.integers(0, n, (min(step, repetitions - start), n))])
        for start in range(0, repetitions, step)
    ]
    (centre, spread), tail = limits(difference[None]), (1 - confidence) / 2
    found = []
    for side in range(2):
        values = np.concatenate([sample[0][side] for sample in samples])
        errors = np.concatenate([sample[1][side] for sample in samples])
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (values - centre[side][0]) / errors
        upper, lower = np.quantile(t[np.isfinite(t)], [1 - tail, tail])
        ends = [float(centre[side][0] - q * spread[side][0]) for q in (upper, lower)]
        found.append(Estimate(float(centre[side][0]), ends[0], ends[1], n, n_slices))
    return BlandAltman(Estimate(mean, mean - half, mean + half, n, n_slices), found[0], found[1])


def limits(samples: Floats) -> tuple[Floats, Floats]:
    """Lower and upper limit of agreement of each sample and their standard errors, both of shape (2, B).

    Args:
        samples: differences, shape (B, K).
    """
    n, z = samples.shape[1], stats.norm.ppf(0.975)
    mean = samples.mean(axis=1)
    deviations = samples - mean[:, None]
    squares = deviations * deviations
    m2, m3, m4 = (
        np.einsum("bk,bk->b", a, b) / n
        for a, b in ((deviations, deviations), (deviations, squares), (squares, squares))
    )
    sd = np.sqrt(m2 * n / (n - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        own, shared = m2 + z**2 * (m4 - m2**2) / (4 * m2), z * m3 / np.sqrt(m2)
    errors = np.sqrt(np.maximum(np.stack([own - shared, own + shared]), 0) / n)
    return np.stack([mean - z * sd, mean + z * sd]), errors
