"""What decides how much a patient tells: how many slices of each label, and how alike they are.

A study is described by moments, so that another one can be planned from them: `Design` counts a patient's slices, and
`Spread` has the variances and covariances of what each slice contributes to an estimate. Both come from assumptions or
from a pilot's predictions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaln, owens_t
from scipy.stats import norm

from .auc import auc, components, covariance, placements
from .estimates import NAN, Floats, Ints, sum_by, validated_arrays


@dataclass(frozen=True)
class Count:
    """How many slices of one label a patient has.

    Attributes:
        mean: of the number, over all patients.
        square: mean of its square.
        present: share of the patients that have any.
    """

    mean: float
    square: float
    present: float

    def variance(self, variance: float, covariance: float) -> float:
        """Return the variance of a mean over all slices, times the number of patients.

        Divided by ``variance / mean``, that of independent slices, it is the design effect 1 + (square / mean - 1) x
        correlation.

        Args:
            variance: of what a slice contributes.
            covariance: of what two slices of one patient contribute.

        Source: Rao & Scott, Biometrics 48:577-585 (1992); for clusters of different sizes: Eldridge, Ashby & Kerry,
        Int J Epidemiol 35:1292-1300 (2006).
        """
        return (self.mean * variance + (self.square - self.mean) * covariance) / self.mean**2


@dataclass(frozen=True)
class Design:
    """A patient's slices.

    Attributes:
        positive: the compressed ones.
        negative: the others.
        product: mean of the product of both numbers.
    """

    positive: Count
    negative: Count
    product: float

    @property
    def slices(self) -> float:
        """Mean number of slices of a patient."""
        return self.positive.mean + self.negative.mean


@dataclass(frozen=True)
class Spread:
    """Variances and covariances of the placements of slices.

    The placement of a compressed slice is the share of other slices that score lower; that of another slice is the
    share of compressed slices that score higher. The AUC is the mean of either.

    Attributes:
        positive: variance of the placements of compressed slices.
        negative: that of other slices.
        both_positive: covariance of two compressed slices of one patient.
        both_negative: that of two other slices.
        mixed: that of a compressed and another slice.
    """

    positive: float
    negative: float
    both_positive: float
    both_negative: float
    mixed: float

    def variance(self, design: Design) -> float:
        """Return the variance of the pooled AUC, times the number of patients.

        Source: Obuchowski, Biometrics 53:567-578 (1997), equations 4-9, in expectation; with one slice a patient it is
        DeLong's, and with `binormal` that of Obuchowski & McClish, Stat Med 16:1529-1542 (1997), for equal variances.
        """
        m, n = design.positive, design.negative
        both = 2 * design.product * self.mixed / (m.mean * n.mean)
        return m.variance(self.positive, self.both_positive) + n.variance(self.negative, self.both_negative) + both

    def scaled(self, factor: float) -> Spread:
        """Return it with all its variances and covariances multiplied by a factor."""
        values = self.positive, self.negative, self.both_positive, self.both_negative, self.mixed
        return Spread(*(factor * value for value in values))


def design_of(prevalence: float, slices: float, slices_sd: float, label_correlation: float) -> Design:
    """Describe patients by assumptions; the number of compressed slices is beta-binomial.

    Args:
        prevalence: share of the slices that are compressed, between 0 and 1.
        slices: mean number of slices of a patient.
        slices_sd: its standard deviation.
        label_correlation: correlation of the labels of two slices of one patient, 0 to 1; with 1 all are alike.
    """
    square = slices**2 + slices_sd**2
    p, rho = prevalence, label_correlation
    alike = p * (1 - p) * (slices * (1 - rho) + rho * square)  # as large for the other label
    squares = alike + p**2 * square, alike + (1 - p) ** 2 * square
    counts = [
        Count(share * slices, total, 1 - none_of(share, slices, rho))
        for share, total in zip((p, 1 - p), squares, strict=True)
    ]
    return Design(counts[0], counts[1], max(0.0, p * square - squares[0]))


def none_of(share: float, slices: float, correlation: float) -> float:
    """Return the probability that no slice of a patient has a label, by the beta-binomial distribution."""
    if correlation <= 0:
        return float((1 - share) ** slices)
    if correlation >= 1:
        return 1 - share
    a, b = (x * (1 - correlation) / correlation for x in (share, 1 - share))
    return float(np.exp(betaln(a, b + slices) - betaln(a, b)))


def both_below(limit: float, correlation: float) -> float:
    """Return the probability that two standard normal numbers of a correlation are both below a limit.

    Source: Owen, Ann Math Stat 27:1075-1090 (1956).
    """
    return float(norm.cdf(limit) - 2 * owens_t(limit, np.sqrt((1 - correlation) / (1 + correlation))))


def call_covariance(share: float, correlation: float) -> float:
    """Return the covariance of two calls (0 or 1) of slices of one patient and label.

    Args:
        share: of such slices that are called so, between 0 and 1.
        correlation: of their scores.
    """
    return both_below(float(norm.ppf(share)), correlation) - share**2


def binormal(value: float, correlation: float) -> Spread:
    """Describe scores by assumptions: normal for each label, of equal variance, with a level of its own for a patient.

    Args:
        value: the pooled AUC, between 0 and 1.
        correlation: of the scores of two slices of one patient, once the difference between the labels is taken off:
            the share of the patients' levels in the variance.
    """
    limit = float(norm.ppf(value))
    alone, alike, mixed = (both_below(limit, r) - value**2 for r in (0.5, correlation / 2, -correlation / 2))
    return Spread(alone, alone, alike, alike, mixed)


def moments(values: ArrayLike, code: Ints, k: int) -> tuple[float, float]:
    """Estimate variance and covariance of the slices of a patient, so that the variance of their mean is the clustered.

    Args:
        values: one a slice, with mean 0, shape (N,).
        code: patient of each, 0 ... k-1, shape (N,).
        k: patients.

    Returns:
        Both; the covariance is 0 where no patient has two slices, and both are NaN where fewer than two have any.
    """
    x = np.asarray(values, dtype=np.float64)
    size = sum_by(code, k)
    with_any, n = int((size > 0).sum()), len(x)
    if with_any < 2:
        return NAN, NAN
    variance = float(x @ x) / (n - 1)
    pairs = float((size * (size - 1)).sum())
    if not pairs:
        return variance, 0.0
    squares = with_any / (with_any - 1) * float((sum_by(code, k, x) ** 2).sum())
    return variance, (squares - n * variance) / pairs


def counts_of(number: Floats) -> Count:
    """Describe the slices of one label that each patient has, shape (K,)."""
    return Count(float(number.mean()), float((number**2).mean()), float((number > 0).mean()))


@dataclass(frozen=True)
class Pilot:
    """What a pilot says.

    Attributes:
        design: of its patients.
        prevalence: share of its slices that are compressed.
        slices_sd: standard deviation of a patient's number of slices.
        label_correlation: of the labels of two slices of one patient.
        correlations: for each measure, of the scores of two slices of one patient with the same label: the compressed
            ones for ``sensitivity``, the others for ``specificity``, either for ``auc``.
        values: ``auc``, ``sensitivity`` and ``specificity``.
        spread: of the placements.
        calls: for ``sensitivity`` and ``specificity``, variance and covariance of the calls of a patient's slices.
        n_patients: patients, and of each measure those that count for it.
    """

    design: Design
    prevalence: float
    slices_sd: float
    label_correlation: float
    correlations: dict[str, float]
    values: dict[str, float]
    spread: Spread
    calls: dict[str, tuple[float, float]]
    n_patients: dict[str, int]


def pilot_of(labels: ArrayLike, logits: ArrayLike, patients: ArrayLike, threshold: float = 0.0) -> Pilot:
    """Describe a pilot.

    Args:
        labels: 1 compressed, 0 not, shape (N,); both must occur.
        logits: shape (N,).
        patients: patient of each slice, shape (N,).
        threshold: logit from which a slice is called compressed.
    """
    label, score, code, k = validated_arrays(labels, logits, patients)
    m, n = sum_by(code[label], k), sum_by(code[~label], k)
    design = Design(counts_of(m), counts_of(n), float((m * n).mean()))
    value, (below, above) = auc(label, score), placements(label, score)
    a, b = below - value, above - value
    of_positives, of_negatives = moments(a, code[label], k), moments(b, code[~label], k)
    pairs = float((m * n).sum())
    mixed = float(sum_by(code[label], k, a) @ sum_by(code[~label], k, b))
    spread = Spread(
        of_positives[0],
        of_negatives[0],
        of_positives[1],
        of_negatives[1],
        k / (k - 1) * mixed / pairs if pairs and k > 1 else 0.0,
    )
    values, calls, scores = {"auc": value}, {}, {}
    for name, side, right in (("sensitivity", label, score >= threshold), ("specificity", ~label, score < threshold)):
        values[name] = float(right[side].mean())
        calls[name] = moments(right[side] - values[name], code[side], k)
        scores[name] = moments(score[side] - score[side].mean(), code[side], k)
    sums = np.nansum(list(scores.values()), axis=0)
    correlations = {"auc": ratio_of(*sums), **{name: ratio_of(*pair) for name, pair in scores.items()}}
    with_either = {"sensitivity": int((m > 0).sum()), "specificity": int((n > 0).sum())}
    return Pilot(
        design,
        float(label.mean()),
        float(np.std(m + n)),
        ratio_of(*moments(label - label.mean(), code, k)),
        correlations,
        values,
        spread,
        calls,
        {"all": k, "auc": min(with_either.values()), **with_either},
    )


def ratio_of(variance: float, covariance: float) -> float:
    """Return a correlation within 0 and 1; 0 where nothing varies."""
    return float(np.clip(covariance / variance, 0, 1)) if variance > 0 else 0.0


def correlation_of_models(
    measure: str, labels: ArrayLike, a: ArrayLike, b: ArrayLike, patients: ArrayLike, threshold: float = 0.0
) -> float:
    """Estimate the correlation of two models' results on the same slices; NaN where one of them does not vary.

    Args:
        measure: ``auc``, ``sensitivity`` or ``specificity``.
        labels: 1 compressed, 0 not, shape (N,).
        a: logits of the first model, shape (N,).
        b: logits of the second, shape (N,).
        patients: patient of each slice, shape (N,).
        threshold: logit from which both call a slice compressed.
    """
    if measure == "auc":
        first, second = components(labels, a, patients), components(labels, b, patients)
        shared, own = covariance(first, second), (covariance(first, first), covariance(second, second))
    else:
        label, one, code, k = validated_arrays(labels, a, patients)
        side = label if measure == "sensitivity" else ~label
        right = [(x[side] >= threshold) == label[side] for x in (one, np.asarray(b, dtype=np.float64))]
        sums = [sum_by(code[side], k, x - x.mean()) for x in right]
        shared, own = float(sums[0] @ sums[1]), (float(sums[0] @ sums[0]), float(sums[1] @ sums[1]))
    return shared / float(np.sqrt(own[0] * own[1])) if min(own) > 0 else NAN
