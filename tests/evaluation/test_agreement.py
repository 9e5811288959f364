"""Agreement of raters."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from scripts.cohort.agreement import agreement, kappa_of_counts


def raters(seed: int = 0, n: int = 300, k: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    first = rng.integers(0, k, n)
    second = np.where(rng.random(n) < 0.7, first, rng.integers(0, k, n))
    return first, second, rng.integers(0, 30, n)


def test_kappa_of_a_known_table():
    # Cohen 1960's arithmetic: observed 0.70, expected 0.50
    assert kappa_of_counts(np.array([[20, 5], [10, 15]])) == pytest.approx(0.4)


@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
def test_kappa_is_that_of_scikit_learn(weights):
    first, second, patients = raters()
    expected = cohen_kappa_score(first, second, weights=None if weights == "none" else weights)
    assert agreement(first, second, patients, 4, weights, n_bootstrap=10).kappa == pytest.approx(expected)


def test_each_bootstrap_sample_is_a_draw_of_whole_patients():
    first, second, patients = raters(n=40)
    result = agreement(first, second, patients, 4, n_bootstrap=1, seed=3)
    names = sorted(set(patients.tolist()), key=str)
    draws = np.random.default_rng(3).multinomial(len(names), np.full(len(names), 1 / len(names)))
    weight = dict(zip(names, draws, strict=True))
    expected = cohen_kappa_score(first, second, sample_weight=[weight[p] for p in patients.tolist()], labels=range(4))
    assert result.low == result.high == pytest.approx(expected)


def test_duplicating_every_slice_changes_no_interval():
    first, second, patients = raters()
    once = agreement(first, second, patients, 4)
    twice = agreement(np.repeat(first, 2), np.repeat(second, 2), np.repeat(patients, 2), 4)
    assert (twice.kappa, twice.low, twice.high) == pytest.approx((once.kappa, once.low, once.high))


def test_the_order_of_slices_changes_nothing():
    first, second, patients = raters()
    order = np.random.default_rng(1).permutation(len(first))
    once, again = agreement(first, second, patients, 4), agreement(first[order], second[order], patients[order], 4)
    assert (once.kappa, once.low, once.high) == (again.kappa, again.low, again.high)


def test_the_interval_covers_the_true_kappa():
    # independent patients of ten slices, chance-corrected agreement 0.6 by construction
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        first = rng.integers(0, 2, 600)
        second = np.where(rng.random(600) < 0.6, first, rng.integers(0, 2, 600))
        result = agreement(first, second, np.repeat(np.arange(60), 10), 2, n_bootstrap=400)
        covered += result.low <= 0.6 <= result.high
    assert 0.90 <= covered / 200 <= 0.99


def test_clustering_widens_the_interval():
    # whole patients are rated alike or not: the effective sample is the number of patients
    rng = np.random.default_rng(0)
    truth, right = rng.integers(0, 2, 30), rng.random(30) < 0.8
    first, second = np.repeat(truth, 20), np.repeat(np.where(right, truth, 1 - truth), 20)
    clustered = agreement(first, second, np.repeat(np.arange(30), 20), 2)
    naive = agreement(first, second, np.arange(600), 2)
    assert clustered.high - clustered.low > 3 * (naive.high - naive.low)


def test_kappa_of_two_equal_constants_is_undefined_and_never_one():
    result = agreement([1, 1, 1], [1, 1, 1], ["a", "b", "c"], 2)
    assert np.isnan([result.kappa, result.low, result.high]).all()
    assert (result.observed, result.undefined) == (1, 1)


def test_one_patient_has_no_interval():
    result = agreement([0, 1, 1], [0, 1, 0], ["a"] * 3, 2)
    assert result.kappa == pytest.approx(0.4)
    assert np.isnan([result.low, result.high]).all()


@pytest.mark.parametrize(
    ("first", "second", "message"), [([0, 1], [0], "as many"), ([], [], "as many"), ([0, 2], [0, 1], "0 to 2")]
)
def test_ratings_that_make_no_sense_are_refused(first, second, message):
    with pytest.raises(ValueError, match=message):
        agreement(first, second, ["a"] * len(first), 2)
