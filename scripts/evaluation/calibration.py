"""Are the probabilities honest? Fitting a calibration, and judging one."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit
from scipy.stats import rankdata

from ._statsmodels import GLM, Binomial, PerfectSeparationWarning
from .estimates import (
    FEWEST_PATIENTS,
    NAN,
    SHARE,
    Estimate,
    Floats,
    Ints,
    sum_by,
    t_interval,
    t_quantile,
    validated_arrays,
)
from .platt import Calibration
from .proportions import ratio

SEPARATED = "one score parts the two classes completely, so the slope has no finite maximum"


def fit_calibration(labels: ArrayLike, logits: ArrayLike, patients: ArrayLike) -> Calibration:
    """Fit slope and intercept on the logit by unweighted log-loss.

    Args:
        labels: 1 compressed, 0 not, shape (N,).
        logits: raw logits, shape (N,).
        patients: patient of each slice, shape (N,).

    Source: Platt 1999, without his smoothing of the labels; Van Calster et al., BMC Med 17:230 (2019).
    """
    label, x, code, k = validated_arrays(labels, logits, patients)
    fitted = logistic(np.column_stack([np.ones(len(x)), x]), label, code, k, x)
    if fitted.note:
        return Calibration(NAN, NAN, k, len(x), fitted.note)
    intercept, slope = fitted.coefficients.tolist()
    if not slope > 0:
        return Calibration(NAN, NAN, k, len(x), f"higher logits go with fewer compressed slices (slope {slope:.3g})")
    return Calibration(slope, intercept, k, len(x))


@dataclass(frozen=True)
class Fit:
    """A logistic regression with the covariance of its coefficients clustered by patient."""

    coefficients: Floats
    covariance: Floats
    note: str = ""


def logistic(design: Floats, label: ArrayLike, code: Ints, k: int, score: Floats, offset: Floats | None = None) -> Fit:
    """Fit an unweighted logistic regression.

    Args:
        design: shape (N, P).
        label: shape (N,).
        code: patient of each row, 0 ... K-1.
        k: number of patients.
        score: what must not part the classes, shape (N,).
        offset: added to the linear predictor, shape (N,).

    Source: clustered covariance: Liang & Zeger, Biometrika 73:13-22 (1986), times K / (K - 1).
    """
    y = np.asarray(label).astype(float)
    nothing = np.full(design.shape[1], NAN), np.full((design.shape[1],) * 2, NAN)
    if k < 2 or y.min(initial=1) == y.max(initial=0):
        return Fit(*nothing, "needs two patients and both classes")
    if offset is None and (score[y == 1].min() >= score[y == 0].max() or score[y == 1].max() <= score[y == 0].min()):
        return Fit(*nothing, SEPARATED)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = GLM(y, design, family=Binomial(), offset=offset).fit(maxiter=200, tol=1e-12)
    except (PerfectSeparationWarning, RuntimeWarning, np.linalg.LinAlgError) as problem:
        return Fit(*nothing, f"the regression did not converge ({type(problem).__name__})")
    p = np.asarray(result.fittedvalues)
    bread = np.linalg.pinv(design.T @ (design * (p * (1 - p))[:, None]))
    sums = np.column_stack([sum_by(code, k, column * (y - p)) for column in design.T])
    return Fit(np.asarray(result.params), bread @ (k / (k - 1) * sums.T @ sums) @ bread)


@dataclass(frozen=True)
class Curve:
    """Observed against predicted probability: a smooth curve and equal-mass bins.

    Attributes:
        predicted: grid of predicted probabilities, shape (G,); empty where no curve could be fitted.
        observed: smooth observed share at the grid, shape (G,).
        low: lower end of its pointwise 95 % band.
        high: upper end.
        bin_predicted: mean predicted probability of each bin, shape (B,).
        bin_observed: observed share in each bin with its clustered interval.
        note: why there is no curve; empty otherwise.
    """

    predicted: Floats
    observed: Floats
    low: Floats
    high: Floats
    bin_predicted: Floats
    bin_observed: tuple[Estimate, ...]
    note: str = ""


@dataclass(frozen=True)
class Assessment:
    """How well probabilities fit.

    Attributes:
        intercept_at_slope_1: 0 is right on average; above 0 the model calls too few slices compressed.
        slope: 1 is right; below 1 the probabilities are too extreme.
        brier: mean squared difference of probability and label.
        ece: expected calibration error over ten bins of equal mass; without an interval, because it is biased upwards
            by an amount that resampling repeats.
        curve: for the figure.
    """

    intercept_at_slope_1: Estimate
    slope: Estimate
    brier: Estimate
    ece: Estimate
    curve: Curve


def assess(labels: ArrayLike, logits: ArrayLike, patients: ArrayLike, confidence: float = 0.95) -> Assessment:
    """Judge the probabilities sigmoid(logits).

    Args:
        labels: 1 compressed, 0 not, shape (N,).
        logits: calibrated or raw logits, shape (N,).
        patients: patient of each slice, shape (N,).
        confidence: level of the intervals.

    Source: Van Calster et al., BMC Med 17:230 (2019).
    """
    label, x, code, k = validated_arrays(labels, logits, patients)
    n, p, ones = len(x), expit(x), np.ones((len(x), 1))

    def coefficient(fitted: Fit) -> Estimate:
        if fitted.note:
            return Estimate(NAN, NAN, NAN, k, n, fitted.note)
        value, error = float(fitted.coefficients[-1]), float(np.sqrt(fitted.covariance[-1, -1]))
        return Estimate(value, *t_interval(value, error, k - 1, confidence), k, n)

    loss = sum_by(code, k, (p - label) ** 2)
    size = sum_by(code, k)
    bins = equal_mass_bins(x)
    gaps = sum_by(bins, 1, p - label)
    return Assessment(
        coefficient(logistic(ones, label, code, k, x, offset=x)),
        coefficient(logistic(np.column_stack([ones, x]), label, code, k, x)),
        mean_interval(loss, size, confidence),
        Estimate(float(np.abs(gaps).sum() / n) if n else NAN, NAN, NAN, k, n, "it is biased upwards"),
        curve(label, x, code, k, bins),
    )


def mean_interval(sums: Floats, sizes: Floats, confidence: float = 0.95) -> Estimate:
    """Mean over slices of a number above 0, with an interval over patients that is symmetric on the log scale."""
    k, n = len(sizes), int(sizes.sum())
    if n == 0:
        return Estimate(NAN, NAN, NAN, k, n, "no slices")
    value = float(sums.sum() / n)
    if k < 2 or value <= 0:
        return Estimate(value, NAN, NAN, k, n, "one patient, or no error at all, gives no interval")
    error = np.sqrt(k / (k - 1) * ((sums - value * sizes) ** 2).sum()) / n / value
    half = t_quantile(confidence, k - 1) * error
    return Estimate(value, float(value * np.exp(-half)), float(value * np.exp(half)), k, n, possible=SHARE)


def equal_mass_bins(x: Floats, bins: int = 10) -> Ints:
    """Bin of each slice by rank, shape (N,); equal scores share a bin, and doubling every slice moves none."""
    if not len(x):
        return np.zeros(0, np.int64)
    return np.minimum((rankdata(x) - 0.5) / len(x) * bins, bins - 1).astype(np.int64)


def curve(label: ArrayLike, x: Floats, code: Ints, k: int, bins: Ints) -> Curve:
    """Restricted cubic spline of the logit with a clustered band.

    Source: Harrell, Regression Modeling Strategies, 2nd edition (2015), section 2.4.5; knots at 5, 35, 65 and 95 %.
    """
    y, p = np.asarray(label).astype(float), expit(x)
    used = np.unique(bins)
    mean_p = np.array([p[bins == b].mean() for b in used])
    shares = tuple(ratio(sum_by(code[bins == b], k, y[bins == b]), sum_by(code[bins == b], k)) for b in used)
    empty = np.zeros(0)
    knots = np.unique(np.quantile(x, [0.05, 0.35, 0.65, 0.95], method="inverted_cdf")) if len(x) else empty
    if len(knots) < 3:
        return Curve(empty, empty, empty, empty, mean_p, shares, "too few different scores for a smooth curve")
    fitted = logistic(spline(x, knots), label, code, k, x)
    if fitted.note:
        return Curve(empty, empty, empty, empty, mean_p, shares, fitted.note)
    if k < FEWEST_PATIENTS:
        return Curve(empty, empty, empty, empty, mean_p, shares, f"{k} patients give no band")
    first, last = np.quantile(x, [0.005, 0.995], method="inverted_cdf")
    grid = np.linspace(float(first), float(last), 200)
    design = spline(grid, knots)
    centre = design @ fitted.coefficients
    half = t_quantile(0.95, k - 1) * np.sqrt(np.maximum(np.einsum("gp,pq,gq->g", design, fitted.covariance, design), 0))
    return Curve(expit(grid), expit(centre), expit(centre - half), expit(centre + half), mean_p, shares)


def spline(x: Floats, knots: Floats) -> Floats:
    """Design of a restricted cubic spline: 1, x and one column per knot but two, linear beyond the outer knots."""
    last, before = knots[-1], knots[-2]

    def cube(knot: float) -> Floats:
        return np.maximum(x - knot, 0) ** 3

    columns = [np.ones_like(x), x]
    for knot in knots[:-2]:
        bend = (
            cube(knot) - cube(before) * (last - knot) / (last - before) + cube(last) * (before - knot) / (last - before)
        )
        columns.append(bend / (last - knots[0]) ** 2)
    return np.column_stack(columns)
