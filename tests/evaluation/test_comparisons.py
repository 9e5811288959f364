"""Two models, subgroups, Holm, equivalence, agreement of readers and codings."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.inter_rater import cohens_kappa

from bundle import populations
from scripts.evaluation import agreement, comparisons
from scripts.evaluation.auc import components, covariance
from scripts.evaluation.bootstrap import win_matrix
from scripts.evaluation.estimates import sum_by
from scripts.evaluation.per_patient import patient_aucs


def cohort_of(k, seed=0):
    return populations.draw(np.random.default_rng(seed), k, populations.POPULATIONS["like the paper"])


def subgroup(c, inside, **options):
    hit, k = c.labels == 1, len(inside)
    m, n = sum_by(c.patients[hit], k), sum_by(c.patients[~hit], k)
    return comparisons.subgroup_pooled(win_matrix(c.labels, c.logits, c.patients), m, n, inside, **options)


def test_a_model_does_not_differ_from_itself():
    c = cohort_of(20)
    found = comparisons.paired_auc(c.labels, c.logits, c.logits, c.patients)
    assert (found.value, found.p_value) == (0, 1)
    assert "does not vary" in found.note


def test_the_paired_test_has_the_interval_of_a_permutation_of_models_within_patients():
    c = cohort_of(60)
    found = comparisons.paired_auc(c.labels, c.logits, c.second, c.patients)
    rng, swapped = np.random.default_rng(0), []
    for _ in range(999):
        swap = (rng.random(60) < 0.5)[c.patients]
        a, b = np.where(swap, c.second, c.logits), np.where(swap, c.logits, c.second)
        swapped.append(comparisons.paired_auc(c.labels, a, b, c.patients).value)
    p_value = (1 + np.sum(np.abs(swapped) >= abs(found.value))) / 1000
    assert found.p_value == pytest.approx(p_value, abs=0.05)


def test_clustered_mcnemar_of_single_slices_is_mcnemar():
    rng = np.random.default_rng(3)
    a, b = rng.random(90) < 0.8, rng.random(90) < 0.65
    table = [[np.sum(a & b), np.sum(a & ~b)], [np.sum(~a & b), np.sum(~a & ~b)]]
    expected = mcnemar(table, exact=False, correction=False)
    found = comparisons.paired_proportion(a, b, np.arange(90))
    assert found.statistic**2 == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.value == pytest.approx(a.mean() - b.mean())


def test_two_readers_who_always_agree_are_not_tested():
    found = comparisons.paired_proportion(np.ones(9), np.ones(9), np.arange(9))
    assert (found.value, found.p_value) == (0, 1)


def test_subgroup_statistic_is_the_difference_over_obuchowskis_error():
    c, inside = cohort_of(40), np.arange(40) < 15
    found = subgroup(c, inside, repetitions=99)
    parts = [components(c.labels[w], c.logits[w], c.patients[w]) for w in (inside[c.patients], ~inside[c.patients])]
    error = np.sqrt(sum(covariance(part, part) for part in parts))
    assert found.value == pytest.approx(parts[0].auc - parts[1].auc)
    assert found.standard_error == pytest.approx(error)


def test_mean_subgroup_statistic_is_welchs():
    rng = np.random.default_rng(2)
    values, inside = rng.random(50), np.arange(50) < 20
    found = comparisons.subgroup_mean(values, inside, 500, repetitions=999)
    welch = stats.ttest_ind(values[inside], values[~inside], equal_var=False)
    assert found.statistic == pytest.approx(welch.statistic)
    assert found.p_value == pytest.approx(welch.pvalue, abs=0.05)


def test_a_subgroup_in_which_the_model_guesses_is_found():
    c, inside = cohort_of(60), np.arange(60) < 30
    noise = np.random.default_rng(1).normal(size=len(c.labels))
    c = populations.Cohort(c.labels, np.where(inside[c.patients], noise, c.logits), c.second, c.patients)
    found = subgroup(c, inside)
    assert found.p_value == pytest.approx(1e-4)  # the smallest that 9999 permutations can give
    assert found.low < found.value < found.high < 0
    mean = comparisons.subgroup_mean(patient_aucs(c.labels, c.logits, c.patients), inside, len(c.labels))
    assert mean.p_value == pytest.approx(1e-4)


def test_p_value_and_interval_of_a_subgroup_agree():
    for seed in range(20):
        c, inside = cohort_of(24, seed), np.arange(24) < 12
        found = subgroup(c, inside, seed=seed, repetitions=199)
        assert (found.p_value <= 0.05) == (not found.low <= 0 <= found.high)


@pytest.mark.parametrize(
    ("members", "reason"), [(0, "holds no patient"), (9, "fewer than 10"), (24, "holds no patient")]
)
def test_a_cell_that_is_too_small_says_so(members, reason):
    found = subgroup(cohort_of(24), np.arange(24) < members)
    assert reason in found.note
    assert np.isnan(found.p_value)


@pytest.mark.parametrize("unlike", [False, True])
def test_subgroup_tests_hold_their_level(unlike):
    """Fast version of docs/simulation.md: 400 null cohorts, three standard errors of chance."""
    population, rejected = populations.POPULATIONS["like the paper"], []
    for number in range(400):
        c, inside = populations.null_cohort(np.random.default_rng([4, number]), 40, population, unlike)
        found = subgroup(c, inside, seed=number, repetitions=99)
        mean = comparisons.subgroup_mean(patient_aucs(c.labels, c.logits, c.patients), inside, 0, number, 99)
        rejected.append([found.p_value <= 0.05, mean.p_value <= 0.05])
    assert np.all(np.abs(np.mean(rejected, axis=0) - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 400) + 0.005 * unlike)


def test_holm_multiplies_by_the_tests_that_remain_and_skips_the_untested():
    assert comparisons.holm([0.01, np.nan, 0.04, 0.03]) == pytest.approx([0.03, np.nan, 0.06, 0.06], nan_ok=True)


def test_equivalence_needs_a_margin_and_a_narrow_interval():
    c = cohort_of(200)
    found = comparisons.paired_auc(c.labels, c.logits, c.second, c.patients)
    assert comparisons.equivalence(found, 0.05).equivalent
    assert not comparisons.equivalence(found, 0.002).equivalent
    with pytest.raises(ValueError, match="above 0"):
        comparisons.equivalence(found, 0.0)


@pytest.mark.parametrize(("weights", "name"), [("none", None), ("linear", "linear"), ("quadratic", "quadratic")])
def test_kappa_of_single_slices_is_that_of_statsmodels(weights, name):
    rng = np.random.default_rng(4)
    a = rng.integers(0, 4, 150)
    b = np.clip(a + rng.integers(-1, 2, 150), 0, 3)
    table = np.zeros((4, 4))
    np.add.at(table, (a, b), 1)
    expected = cohens_kappa(table, wt=name)
    found = agreement.kappa(a, b, np.arange(150), weights)
    assert found.value == pytest.approx(expected.kappa)
    half = (np.arctanh(found.high) - np.arctanh(found.low)) / 2
    error = half / stats.t.ppf(0.975, 149) * (1 - found.value**2)
    assert error == pytest.approx(np.sqrt(expected.var_kappa * 150 / 149))


def test_kappa_of_repeated_slices_has_the_interval_of_single_ones():
    rng = np.random.default_rng(4)
    a, b = rng.integers(0, 2, 80), rng.integers(0, 2, 80)
    once = agreement.kappa(a, b, np.arange(80))
    often = agreement.kappa(np.repeat(a, 7), np.repeat(b, 7), np.repeat(np.arange(80), 7))
    assert [often.value, often.low, often.high] == pytest.approx([once.value, once.low, once.high])


def test_kappa_of_one_category_is_undefined():
    assert "one category" in agreement.kappa(np.ones(5), np.ones(5), np.arange(5)).note


# Shrout & Fleiss, Psychol Bull 86:420-428 (1979), table 2
JUDGES = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])


def test_icc_matches_shrout_and_fleiss():
    assert agreement.icc_a1(JUDGES, 0).value == pytest.approx(0.29, abs=0.005)


def test_icc_jackknife_equals_leaving_each_patient_out():
    table = np.random.default_rng(0).normal(size=(25, 1)) + np.random.default_rng(1).normal(0, 0.4, (25, 2))
    found = agreement.icc_a1(table, 0)
    left = np.arctanh([agreement.icc_a1(np.delete(table, i, axis=0), 0).value for i in range(25)])
    half = stats.t.ppf(0.975, 24) * np.sqrt(24 / 25 * ((left - left.mean()) ** 2).sum())
    assert np.arctanh(found.high) - np.arctanh(found.value) == pytest.approx(half)


def test_bland_altman_is_the_mean_and_1_96_standard_deviations():
    a, b = np.array([3.0, 5, 7, 9]), np.array([2.0, 5, 5, 8])
    found = agreement.bland_altman(a, b, 4)
    sd = np.std([1, 0, 2, 1], ddof=1)
    values = [found.bias.value, found.lower_limit.value, found.upper_limit.value]
    assert values == pytest.approx([1, 1 - 1.959964 * sd, 1 + 1.959964 * sd])
    assert found.lower_limit.low < found.lower_limit.value < found.lower_limit.high


def test_error_of_a_limit_of_agreement_follows_the_moments():
    samples = np.random.default_rng(0).exponential(size=(1500, 2000))
    found, errors = agreement.limits(samples)
    assert errors.mean(axis=1) == pytest.approx(found.std(axis=1), rel=0.07)
