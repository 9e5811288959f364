"""A number with its interval and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
NAN = float("nan")
UNBOUNDED = (-np.inf, np.inf)
SHARE, DIFFERENCE = (0.0, 1.0), (-1.0, 1.0)
FEWEST_PATIENTS = 3
"""Patients below which the spread between patients is a guess, and so is an interval."""
VACUOUS = 0.95
"""Share of the possible values; an interval that holds so many of them excludes nothing that matters."""


@dataclass(frozen=True)
class Estimate:
    """A result and its confidence interval.

    An interval that says nothing is none: where it rests on fewer than `FEWEST_PATIENTS`, or holds nearly all possible
    values, its ends become NaN and ``note`` says why.

    Attributes:
        value: the estimate; NaN where it is undefined.
        low: lower end of the interval; NaN where none can be given.
        high: upper end.
        n_patients: patients it rests on.
        n_slices: slices it rests on.
        note: why value or interval is undefined; empty where both are given.
        possible: the smallest and the largest value that it could have, such as `SHARE`.
        n_informative: patients that the interval rests on, e.g. those of the scarcer kind; None where all inform it.
    """

    value: float
    low: float
    high: float
    n_patients: int
    n_slices: int
    note: str = ""
    possible: tuple[float, float] = field(default=UNBOUNDED, kw_only=True)
    n_informative: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Take an interval away that says nothing."""
        if not np.isfinite(self.high - self.low):
            return
        n = self.n_patients if self.n_informative is None else self.n_informative
        reason = ""
        if n < FEWEST_PATIENTS:
            reason = f"it would rest on {n} patient{'' if n == 1 else 's'}"
        elif self.high - self.low >= VACUOUS * (self.possible[1] - self.possible[0]):
            reason = f"from {self.possible[0]:g} to {self.possible[1]:g}, nearly everything is possible"
        if reason:
            for name, value in (("low", NAN), ("high", NAN), ("note", reason)):
                object.__setattr__(self, name, value)

    def leaf(self) -> dict[str, Any]:
        """Return the leaf of report.json; what is undefined is ``None``, never 0 or 1, and ``note`` says why."""
        number = {name: defined(getattr(self, name)) for name in ("value", "low", "high")}
        return {**number, "n_patients": self.n_patients, "n_slices": self.n_slices, "note": self.note}


@dataclass(frozen=True)
class Comparison(Estimate):
    """A difference with its interval and test.

    Attributes:
        statistic: difference divided by its standard error.
        df: degrees of freedom of the reference distribution; NaN where it was a permutation distribution.
        p_value: two-sided; NaN where no test was made.
        standard_error: of the difference.
    """

    statistic: float = NAN
    df: float = NAN
    p_value: float = NAN
    standard_error: float = NAN


def defined(number: float) -> float | None:
    """Turn NaN and infinities into ``None``."""
    return float(number) if np.isfinite(number) else None


def in_words(leaf: Mapping[str, Any] | None, digits: int = 3, sign: str = "") -> str:
    """Write a leaf for people: ``0.940 (0.912 to 0.960)``, or ``0.940 (no interval: ...)`` with the reason.

    Args:
        leaf: of an `Estimate`; None where there is none.
        digits: behind the point.
        sign: ``+`` to write the sign of numbers above 0, too.
    """
    if leaf is None or leaf["value"] is None:
        return f"not defined{reason(leaf)}"
    value, low, high = (
        "" if leaf[name] is None else f"{round(leaf[name], digits) + 0.0:{sign},.{digits}f}"  # + 0.0: no -0.0
        for name in ("value", "low", "high")
    )
    return f"{value} ({low} to {high})" if low and high else f"{value} (no interval{reason(leaf)})"


def reason(leaf: Mapping[str, Any] | None) -> str:
    """Write why a leaf lacks something, after a colon; nothing where that is not known."""
    return f": {leaf['note']}" if leaf and leaf.get("note") else ""


def patient_codes(patients: ArrayLike) -> tuple[Ints, int]:
    """Number the patients 0 ... K-1 in sorted order; returns the code of each row, shape (N,), and K."""
    names, codes = np.unique(np.asarray(patients), return_inverse=True)
    return codes.astype(np.int64).reshape(-1), len(names)


def sum_by(code: Ints, k: int, values: ArrayLike | None = None) -> Floats:
    """Sum ``values`` of each patient 0 ... K-1, or count its rows; shape (K,)."""
    weights = None if values is None else np.asarray(values, dtype=np.float64)
    return np.bincount(code, weights, minlength=k).astype(np.float64)


def validated_arrays(labels: ArrayLike, scores: ArrayLike, patients: ArrayLike) -> tuple[Bools, Floats, Ints, int]:
    """Check and convert the three columns that most functions here take.

    Args:
        labels: 1 compressed, 0 not, shape (N,).
        scores: higher is more compressed, shape (N,); any monotone scale, usually logits.
        patients: patient of each row, shape (N,).

    Returns:
        Labels as booleans, scores as floats, patients as codes 0 ... K-1, and K.

    Raises:
        ValueError: shapes differ, a label is neither 0 nor 1, or a score is NaN or infinite. Such rows are for the
            caller to report and leave out; here they would silently count as an answer.
    """
    label, score = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    code, n_patients = patient_codes(patients)
    if not (label.ndim == 1 and label.shape == score.shape == code.shape):
        raise ValueError(
            f"labels, scores and patients must share one shape (N,), got {label.shape}, {score.shape}, {code.shape}"
        )
    if not np.isin(label, (0, 1)).all():
        raise ValueError(f"labels must be 0 or 1, got {sorted(set(label.tolist()) - {0, 1})[:3]}")
    if not np.isfinite(score).all():
        raise ValueError(
            f"{int((~np.isfinite(score)).sum())} of {score.size} scores are NaN or infinite; leave those rows out"
        )
    return label.astype(bool), score, code, n_patients


def t_quantile(confidence: float, df: float) -> float:
    """Two-sided t quantile, e.g. 1.99 for 0.95 and 87 degrees of freedom."""
    return float(stats.t.ppf((1 + confidence) / 2, df))


def t_interval(value: float, standard_error: float, df: float, confidence: float = 0.95) -> tuple[float, float]:
    """Symmetric interval with t quantiles."""
    half = t_quantile(confidence, df) * standard_error
    return value - half, value + half


def logit_interval(value: float, standard_error: float, df: float, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a number in (0, 1), symmetric on the logit scale, so that it stays inside."""
    half = t_quantile(confidence, df) * standard_error / (value * (1 - value))
    odds = value / (1 - value)
    return float(1 / (1 + np.exp(half) / odds)), float(1 / (1 + np.exp(-half) / odds))


def wilson_interval(value: ArrayLike, n_effective: ArrayLike, quantile: ArrayLike) -> tuple[Floats, Floats]:
    """Wilson's score interval for an effective number of independent observations.

    Args:
        value: proportions, any shape.
        n_effective: number of independent observations that would give the same variance.
        quantile: normal or t quantile.

    Source: Wilson, J Am Stat Assoc 22:209-212 (1927); with an effective sample size: Korn & Graubard, Survey
    Methodology 24:193-201 (1998); Saha, Miller & Wang, Int J Biostat 12:20150024 (2016).
    """
    p, n, q = (np.asarray(x, dtype=np.float64) for x in (value, n_effective, quantile))
    shrink = 1 + q**2 / n
    centre = (p + q**2 / (2 * n)) / shrink
    half = q / shrink * np.sqrt(p * (1 - p) / n + q**2 / (4 * n**2))
    return np.clip(centre - half, 0, p), np.clip(centre + half, p, 1)
