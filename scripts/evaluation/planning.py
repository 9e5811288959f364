"""How many patients does a study need? For an interval of a wanted width, or a test of a wanted power.

The intervals and tests are those that the report prints, in expectation: the interval of the AUC on the logit scale,
the clustered Wilson interval, and differences with Student's t. `docs/simulation.md` has how often planned studies
got what was wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import chi2

from ._statsmodels import ttest_power
from .comparisons import SMALLEST_CELL
from .designs import Count, Design, Pilot, Spread, binormal, call_covariance
from .estimates import NAN, logit_interval, t_interval, t_quantile, wilson_interval

MEASURES = ("auc", "sensitivity", "specificity")
AGAINST = ("", "subgroup", "model")
LARGEST = 1_000_000  # patients; beyond, a wish counts as impossible
FEW = 30  # informative patients, below which intervals are measured to be too narrow
FEWEST_ERRORS = 5  # as many independent slices on either side of a threshold as the normal approximation needs
CAUTION = 0.95  # one-sided confidence of the pilot's variance


@dataclass(frozen=True)
class Target:
    """What is measured, and how much one patient tells of it.

    Attributes:
        measure: one of ``MEASURES``.
        design: of a patient's slices.
        variance: of a value, the variance of its estimate times the number of patients.
    """

    measure: str
    design: Design
    variance: Callable[[float], float]

    @property
    def counts(self) -> Sequence[Count]:
        """What it rests on: compressed slices, the others, or both."""
        m, n = self.design.positive, self.design.negative
        return {"auc": (m, n), "sensitivity": (m,), "specificity": (n,)}[self.measure]

    def informative(self, patients: float) -> float:
        """Return how many of the patients have a slice that counts; of the scarcer kind for the AUC."""
        return patients * min(count.present for count in self.counts)


@dataclass(frozen=True)
class Wish:
    """What a study is to show.

    Attributes:
        value: expected result; with ``subgroup`` that of the other patients, with ``model`` that of the better one.
        against: what it is compared with: ``""`` nothing, or a fixed goal; ``subgroup`` of the patients; another
            ``model`` on the same slices.
        width: of the interval of the value, or of the difference; None where power is wanted.
        difference: of the value from the goal, the subgroup's or the other model's, which is lower.
        power: wanted for that difference; None where a width is.
        share: of the patients that are the subgroup.
        model_correlation: of the estimates of both models.
        confidence: of the interval; the test's level is 1 - ``confidence``.
        tests: in the family; with Holm's method the first is judged at the level divided by their number.
    """

    value: float
    against: str = ""
    width: float | None = None
    difference: float = 0.0
    power: float | None = None
    share: float = 0.5
    model_correlation: float = 0.0
    confidence: float = 0.95
    tests: int = 1

    @property
    def level(self) -> float:
        """Two-sided level of a test."""
        return (1 - self.confidence) / self.tests


@dataclass(frozen=True)
class Size:
    """A study of a size, and what is expected of it.

    Attributes:
        patients: all of them.
        slices: of all patients, expected.
        compressed_slices: of them.
        informative: patients that count, of the smaller group, see `Target.informative`.
        standard_error: of the value, or of the difference.
        low: lower end of the interval.
        high: its upper end.
        power: of the test of the difference; NaN where there is none.
    """

    patients: int
    slices: float
    compressed_slices: float
    informative: float
    standard_error: float
    low: float
    high: float
    power: float


def target_by_assumption(measure: str, design: Design, correlation: float) -> Target:
    """Describe a measure by assumptions.

    Args:
        measure: one of ``MEASURES``.
        design: of a patient's slices.
        correlation: of the scores of two slices of one patient, see `scripts.evaluation.designs.binormal`.
    """
    if measure == "auc":
        return Target(measure, design, lambda value: binormal(value, correlation).variance(design))
    count = design.positive if measure == "sensitivity" else design.negative
    return Target(
        measure, design, lambda value: count.variance(value * (1 - value), call_covariance(value, correlation))
    )


def target_by_pilot(measure: str, design: Design, pilot: Pilot) -> Target:
    """Describe a measure by a pilot; at another value its variances change as those of the binormal model do.

    Args:
        measure: one of ``MEASURES``; the pilot's value of it is neither 0 nor 1.
        design: of a patient's slices; the pilot's or another.
        pilot: where the rest comes from.
    """
    found = pilot.values[measure]
    if measure == "auc":
        known = binormal(found, 0).positive
        return Target(
            measure, design, lambda value: scaled_spread(pilot.spread, binormal(value, 0).positive / known, design)
        )
    count = design.positive if measure == "sensitivity" else design.negative
    own = max(count.variance(*pilot.calls[measure]), 1e-9)
    return Target(measure, design, lambda value: own * value * (1 - value) / (found * (1 - found)))


def scaled_spread(spread: Spread, factor: float, design: Design) -> float:
    """Return the variance of an AUC times the number of patients; never quite 0, which chance can give a pilot."""
    return max(spread.scaled(factor).variance(design), 1e-9)


def cautious(target: Target, patients: int) -> Target:
    """Return a target with the upper limit, at ``CAUTION``, of the variance that so many patients of a pilot showed.

    It holds for normal numbers; where a few patients differ much from the rest, it falls short (docs/simulation.md).

    Source: Browne, Stat Med 14:1933-1940 (1995).
    """
    factor = (patients - 1) / float(chi2.ppf(1 - CAUTION, patients - 1))
    return replace(target, variance=lambda value: factor * target.variance(value))


def size_of(patients: int, target: Target, wish: Wish) -> Size:
    """Compute what is expected of a study of so many patients."""
    own = target.variance(wish.value)
    smaller = min(wish.share, 1 - wish.share) if wish.against == "subgroup" else 1.0
    informative = target.informative(patients * smaller)
    df = informative - 1
    if df < 1:
        return Size(patients, *slices_of(patients, target), informative, NAN, NAN, NAN, NAN)
    if wish.against == "subgroup":
        parts = target.variance(wish.value - wish.difference) / wish.share, own / (1 - wish.share)
        error = float(np.sqrt(sum(parts) / patients))
    elif wish.against == "model":
        other = target.variance(wish.value - wish.difference)
        error = float(np.sqrt((own + other - 2 * wish.model_correlation * np.sqrt(own * other)) / patients))
    else:
        error = float(np.sqrt(own / patients))
    if wish.against:
        low, high = t_interval(wish.difference, error, df, wish.confidence)
    elif target.measure == "auc":
        low, high = logit_interval(wish.value, error, df, wish.confidence)
    else:
        ends = wilson_interval(wish.value, wish.value * (1 - wish.value) / error**2, t_quantile(wish.confidence, df))
        low, high = float(ends[0]), float(ends[1])
    power = NAN if wish.power is None else power_of(wish.difference / error, df, wish.level)
    return Size(patients, *slices_of(patients, target), informative, error, low, high, power)


def power_of(effect: float, df: float, level: float) -> float:
    """Return the power of a two-sided t test.

    Args:
        effect: the difference divided by its standard error.
        df: degrees of freedom, at least 1.
        level: of the test.
    """
    if effect > 30:  # beyond, scipy's noncentral t has no number
        return 1.0
    return float(ttest_power(effect, 1, level, df=df))


def slices_of(patients: int, target: Target) -> tuple[float, float]:
    """Return how many slices, and compressed ones, so many patients have."""
    return patients * target.design.slices, patients * target.design.positive.mean


def fulfils(size: Size, wish: Wish) -> bool:
    """Return whether a study of that size is expected to show what is wanted."""
    if wish.power is not None:
        tested = wish.against != "subgroup" or size.patients * min(wish.share, 1 - wish.share) >= SMALLEST_CELL
        return tested and size.power >= wish.power
    return wish.width is not None and size.high - size.low <= wish.width


def patients_needed(target: Target, wish: Wish) -> Size | None:
    """Find the smallest study that is expected to show what is wanted.

    Returns:
        The study; None where no more than ``LARGEST`` patients would do.
    """
    high = 2
    while not fulfils(size_of(high, target, wish), wish):
        if high >= LARGEST:
            return None
        high = min(2 * high, LARGEST)
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fulfils(size_of(middle, target, wish), wish) else (middle, high)
    return size_of(high, target, wish)


def cautions(size: Size, target: Target, wish: Wish) -> list[str]:
    """Return where assumptions leave the range in which they were tried."""
    found = []
    if size.informative < FEW:
        who = {"auc": "patients of the scarcer kind (with a compressed slice, or with another one)"}
        counted = who.get(target.measure, f"patients that count for {target.measure}")
        where = " in the smaller group" if wish.against == "subgroup" else ""
        found.append(
            f"only {size.informative:.0f} {counted}{where}: below {FEW} intervals are too narrow and tests approximate "
            "(docs/simulation.md); plan for more"
        )
    lowest = min(wish.value, wish.value - wish.difference)
    rare = min(1 - wish.value, lowest)
    per_patient = target.variance(wish.value)
    effective = size.patients * wish.value * (1 - wish.value) / per_patient
    if target.measure != "auc" and rare * effective < FEWEST_ERRORS:
        found.append(
            f"about {rare * effective:.1f} independent slices on the rare side of {target.measure} are expected: below "
            f"{FEWEST_ERRORS} the approximation is poor; plan for more"
        )
    if target.measure == "auc" and wish.value > 0.99:
        found.append("above an AUC of 0.99 the variance rests on very few slices; plan by simulation instead")
    return found
