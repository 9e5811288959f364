"""Tests of whether two groups of patients differ; pure: values in, statistics out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

SMALLEST_EXPECTED = 5


@dataclass(frozen=True)
class GroupTest:
    """One test of two groups.

    Attributes:
        test: its name; empty where none could be made.
        statistic: t or chi-squared; NaN for Fisher's exact test.
        p: two-sided p value; NaN where none could be made.
        note: what limits it.
    """

    test: str
    statistic: float
    p: float
    note: str


NONE = GroupTest("", math.nan, math.nan, "too few values")


def compare_means(first: Sequence[float], second: Sequence[float], equal_variances: bool = False) -> GroupTest:
    """Compare two means by Welch's t-test, or Student's if the variances are taken to be equal.

    Args:
        first: values of one group, one per patient, without missing ones.
        second: values of the other.
        equal_variances: take Student's test.
    """
    if min(len(first), len(second)) < 2:
        return NONE
    if np.ptp(first) == 0 and np.ptp(second) == 0:
        return GroupTest("", math.nan, math.nan, "no spread")
    moments = [(np.mean(group), np.std(group, ddof=1), len(group)) for group in (first, second)]
    result = stats.ttest_ind_from_stats(
        *moments[0], *moments[1], equal_var=equal_variances
    )  # one constant group is fine
    return GroupTest(
        "Student's t" if equal_variances else "Welch's t", float(result.statistic), float(result.pvalue), ""
    )


def compare_shares(first: Sequence[str], second: Sequence[str]) -> GroupTest:
    """Compare how two groups spread over categories: Fisher's exact test for two categories with small counts, else χ².

    The χ² is Pearson's, without Yates's correction; where an expected count of a larger table is below 5 the note says
    so.
    """
    levels = sorted({*first, *second})
    if len(levels) < 2 or not len(first) or not len(second):
        return GroupTest("", math.nan, math.nan, "one category" if len(levels) == 1 else "too few values")
    counts = (Counter(first), Counter(second))
    table = np.array([[count[level] for level in levels] for count in counts])
    result = stats.chi2_contingency(table, correction=False)
    small = result.expected_freq.min() < SMALLEST_EXPECTED
    if small and len(levels) == 2:
        return GroupTest("Fisher's exact", math.nan, float(stats.fisher_exact(table).pvalue), "")
    note = f"expected counts below {SMALLEST_EXPECTED}" if small else ""
    return GroupTest("chi-squared", float(result.statistic), float(result.pvalue), note)
