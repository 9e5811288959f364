"""Agreement of raters: the one kappa."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from scripts.evaluation.agreement import WEIGHTS, kappa, mean_kappa
from scripts.evaluation.estimates import t_quantile


def raters(seed: int = 0, n: int = 300, k: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    first = rng.integers(0, k, n)
    second = np.where(rng.random(n) < 0.7, first, rng.integers(0, k, n))
    return first, second, rng.integers(0, 30, n)


def ends(*columns, **options) -> list[float]:
    found = kappa(*columns, **options)
    return [found.value, found.low, found.high]


def test_kappa_of_a_known_table():
    # Cohen 1960's arithmetic: observed 0.70, expected 0.50
    first, second = np.repeat([0, 0, 1, 1], (20, 5, 10, 15)), np.repeat([0, 1, 0, 1], (20, 5, 10, 15))
    assert kappa(first, second, np.arange(50)).value == pytest.approx(0.4)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_kappa_is_that_of_scikit_learn_also_where_nobody_gave_a_grade(weights):
    for unused in ([], [1], [0, 2]):
        first, second, patients = raters()
        keep = ~np.isin(first, unused) & ~np.isin(second, unused)
        first, second, patients = first[keep], second[keep], patients[keep]
        name = None if weights == "none" else weights
        expected = cohen_kappa_score(first, second, weights=name, labels=range(4))
        assert kappa(first, second, patients, weights).value == pytest.approx(expected)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_duplicating_every_slice_and_the_order_of_slices_change_no_interval(weights):
    columns = raters()
    once = ends(*columns, weights=weights)
    assert ends(*(np.repeat(x, 2) for x in columns), weights=weights) == pytest.approx(once)
    order = np.random.default_rng(1).permutation(len(columns[0]))
    assert ends(*(x[order] for x in columns), weights=weights) == pytest.approx(once)


def ratings(rng: np.random.Generator, k: int, agreeing: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grades 0 to 3 of ``k`` patients with 10 slices each; patients differ in grades and in how clear they are."""
    share = rng.beta(8 * agreeing, 8 * (1 - agreeing), k)[:, None]
    centre = rng.integers(0, 4, (k, 1))
    first = np.clip(centre + rng.integers(-1, 2, (k, 10)), 0, 3)
    second = np.where(rng.random((k, 10)) < share, first, np.clip(first + rng.choice([-1, 1], (k, 10)), 0, 3))
    return first.ravel(), second.ravel(), np.repeat(np.arange(k), 10)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_the_interval_covers_the_true_kappa_of_clustered_grades(weights):
    """400 cohorts of 40 patients; the bounds leave three standard errors of chance around 93 to 97 %."""
    truth = kappa(*ratings(np.random.default_rng(0), 40_000, 0.6), weights).value
    held = 0
    for number in range(400):
        _, low, high = ends(*ratings(np.random.default_rng([1, number]), 40, 0.6), weights=weights)
        held += low <= truth <= high
    error = np.sqrt(0.05 * 0.95 / 400)
    assert 0.93 - 3 * error < held / 400 < 0.97 + 3 * error


def test_clustering_widens_the_interval():
    # whole patients are rated alike or not: the effective sample is the number of patients
    rng = np.random.default_rng(0)
    truth, right = rng.integers(0, 2, 30), rng.random(30) < 0.8
    first, second = np.repeat(truth, 20), np.repeat(np.where(right, truth, 1 - truth), 20)
    clustered, naive = kappa(first, second, np.repeat(np.arange(30), 20)), kappa(first, second, np.arange(600))
    assert clustered.high - clustered.low > 3 * (naive.high - naive.low)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_rater_who_uses_one_category_has_a_kappa_of_0_without_interval(weights):
    """Nothing varies then, and an interval from 0 to 0 would claim certainty."""
    for columns in (([0, 1, 2, 3], [1, 1, 1, 1]), ([2, 2, 2, 2], [0, 1, 2, 3])):
        result = kappa(*columns, ["a", "b", "a", "b"], weights)
        assert result.value == pytest.approx(0)
        assert np.isnan([result.low, result.high]).all()
        assert "one category" in result.note


def test_kappa_of_two_equal_constants_is_undefined_and_never_one():
    assert np.isnan(ends([1, 1, 1], [1, 1, 1], ["a", "b", "c"])).all()


def test_one_patient_has_no_interval():
    result = kappa([0, 1, 1], [0, 1, 0], ["a"] * 3)
    assert result.value == pytest.approx(0.4)
    assert np.isnan([result.low, result.high]).all()


@pytest.mark.parametrize(
    ("first", "second", "weights", "message"),
    [([0, 1], [0], "none", "share one shape"), ([0, 2], [0, 1], "cubic", "weights must be none, linear, quadratic")],
)
def test_ratings_that_make_no_sense_are_refused(first, second, weights, message):
    with pytest.raises(ValueError, match=message):
        kappa(first, second, ["a"] * len(first), weights)


def binary(seed: int, n: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.4
    one, two, three = (np.where(rng.random(n) < wrong, ~truth, truth).astype(float) for wrong in (0.05, 0.1, 0.2))
    return one, two, three, rng.integers(0, 25, n)


def test_the_mean_of_one_kappa_is_that_kappa_and_of_equal_ones_too():
    one, two, _, patients = binary(0)
    single = kappa(one, two, patients)
    assert mean_kappa([(one, two)], patients) == single
    twice = mean_kappa([(one, two), (two, one)], patients)
    assert [twice.value, twice.low, twice.high] == pytest.approx([single.value, single.low, single.high])
    assert (twice.n_patients, twice.n_slices) == (25, 400)


def test_the_mean_of_kappas_of_different_patients_has_the_interval_of_independent_ones():
    """Slices that only one pair called enter its kappa alone."""
    one, two, _, patients = binary(1)
    early = patients < 12
    pairs = [(np.where(keep, one, np.nan), two) for keep in (early, ~early)]
    parts = [kappa(one[keep], two[keep], patients[keep]) for keep in (early, ~early)]
    found = mean_kappa(pairs, patients)
    assert found.value == pytest.approx(np.mean([part.value for part in parts]))
    errors = [
        (np.arctanh(part.high) - np.arctanh(part.value)) / t_quantile(0.95, part.n_patients - 1) for part in parts
    ]
    # each standard error carries k / (k - 1) of its own patients, and the mean that of all 25
    sums = [
        error**2 * (1 - part.value**2) ** 2 * (part.n_patients - 1) / part.n_patients
        for error, part in zip(errors, parts, strict=True)
    ]
    expected = np.sqrt(25 / 24 * sum(sums)) / 2 / (1 - found.value**2)
    assert (np.arctanh(found.high) - np.arctanh(found.value)) / t_quantile(0.95, 24) == pytest.approx(expected)


def test_the_interval_of_a_mean_kappa_covers_its_true_value():
    truths, hits = [], 0
    for seed in range(200):
        one, two, three, patients = binary(seed + 10, 500)
        found = mean_kappa([(one, two), (one, three), (two, three)], patients)
        truths.append(found)
    true = np.mean([found.value for found in truths])
    hits = sum(found.low <= true <= found.high for found in truths)
    assert 0.90 <= hits / len(truths) <= 0.99


def test_a_mean_of_a_kappa_without_interval_has_none_and_says_why():
    one, two, _, patients = binary(2)
    found = mean_kappa([(one, two), (one, one)], patients)
    assert found.value == pytest.approx((kappa(one, two, patients).value + 1) / 2)
    assert np.isnan(found.low)
    assert "agreement is complete" in found.note
    assert np.isnan(mean_kappa([], patients).value)
