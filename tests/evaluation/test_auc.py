"""AUCs of clustered slices, DeLong's tests, and their intervals."""

from __future__ import annotations

import delong
import numpy as np
import pytest
from conftest import ROOT
from scipy.special import expit, logit
from scipy.stats import t
from sklearn.metrics import roc_auc_score, roc_curve

from bundle import populations
from bundle import simulation as simulate
from scripts.errors import InputError
from scripts.evaluation import auc, bootstrap, comparisons, per_patient, proportions

# albumin, total protein, K-G score, 1 = surgery helped; DeLong, DeLong & Clarke-Pearson, Biometrics 44:837-845 (1988),
# as listed in the SAS/STAT User's Guide, PROC LOGISTIC, "Comparing Receiver Operating Characteristic Curves"
OVARIAN = np.fromstring(
    """3.0 5.8 10 0 3.2 6.3 5 1 3.9 6.8 3 1 2.8 4.8 6 0 3.2 5.8 3 1 0.9 4.0 5 0 2.5 5.7 8 0 1.6 5.6 5 1 3.8 5.7 5 1
    3.7 6.7 6 1 3.2 5.4 4 1 3.8 6.6 6 1 4.1 6.6 5 1 3.6 5.7 5 1 4.3 7.0 4 1 3.6 6.7 4 0 2.3 4.4 6 1 4.2 7.6 4 0
    4.0 6.6 6 0 3.5 5.8 6 1 3.8 6.8 7 1 3.0 4.7 8 0 4.5 7.4 5 1 3.7 7.4 5 1 3.1 6.6 6 1 4.1 8.2 6 1 4.3 7.0 5 1
    4.3 6.5 4 1 3.2 5.1 5 1 2.6 4.7 6 1 3.3 6.8 6 0 1.7 4.0 7 0 3.7 6.1 5 1 3.3 6.3 7 1 4.2 7.7 6 1 3.5 6.2 5 1
    2.9 5.7 9 0 2.1 4.8 7 1 2.8 6.2 8 0 4.0 7.0 7 1 3.3 5.7 6 1 3.7 6.9 5 1 3.6 6.6 5 1""",
    sep=" ",
).reshape(-1, 4)
ALBUMIN, PROTEIN, KG_SCORE, HELPED = OVARIAN[:, 0], OVARIAN[:, 1], 10 - OVARIAN[:, 2], OVARIAN[:, 3].astype(int)

# 109 CT readings on a five-point scale, Hanley & McNeil, Radiology 143:29-36 (1982), table 1
RATING = np.r_[np.repeat(np.arange(5), (33, 6, 6, 11, 2)), np.repeat(np.arange(5), (3, 2, 2, 11, 33))]
ABNORMAL = np.repeat([0, 1], (58, 51))


def each(labels):
    return np.arange(len(labels))


@pytest.fixture(scope="module")
def cohort():
    return populations.draw(np.random.default_rng(5), 40, populations.POPULATIONS["like the paper"])


def twice(c):
    """Every slice written twice."""
    return populations.Cohort(*(np.repeat(x, 2) for x in (c.labels, c.logits, c.second, c.patients)))


@pytest.mark.parametrize(
    ("scores", "area", "low", "high"),
    [(ALBUMIN, 0.7366, 0.5549, 0.9182), (PROTEIN, 0.6478, 0.4518, 0.8439), (KG_SCORE, 0.7258, 0.5243, 0.9273)],
)
def test_delong_matches_the_ovarian_example_of_sas(scores, area, low, high):
    found = delong.delong_auc(HELPED, scores, each(HELPED))
    assert [found.value, found.low, found.high] == pytest.approx([area, low, high], abs=1e-4)


def test_delong_matches_the_ct_example_of_stata():
    found = delong.delong_auc(ABNORMAL, RATING, each(RATING))  # Stata Base Reference Manual, roctab, hanley.dta
    assert [found.value, found.low, found.high] == pytest.approx([0.8932, 0.83295, 0.95339], abs=1e-4)


@pytest.mark.parametrize(
    ("scores", "difference", "low", "high", "p"),
    [(ALBUMIN, -0.0108, -0.1976, 0.1761, 0.9102), (PROTEIN, 0.0780, -0.1271, 0.2830, 0.4561)],
)
def test_paired_delong_matches_the_ovarian_contrasts(scores, difference, low, high, p):
    found = delong.delong_paired(HELPED, KG_SCORE, scores, each(HELPED))
    assert [found.value, found.low, found.high, found.p_value] == pytest.approx([difference, low, high, p], abs=1e-4)


def test_unpaired_delong_matches_proc():
    # pROC 1.18.0, roc.test(hanley, kg, paired = FALSE): D = 1.55958, df = 49.681095, p-value = 0.1252073
    names = each(HELPED) + 1000
    found = delong.delong_unpaired(ABNORMAL, RATING, each(RATING), HELPED, KG_SCORE, names)
    assert [found.statistic, found.df, found.p_value] == pytest.approx([1.55958, 49.681095, 0.1252073], abs=1e-5)


def test_delong_refuses_clustered_rows(cohort):
    with pytest.raises(InputError, match="one row per patient, but 40 of 40 patients have several"):
        delong.delong_auc(cohort.labels, cohort.logits, cohort.patients)


def test_unpaired_delong_refuses_a_shared_patient():
    with pytest.raises(InputError, match="share patients"):
        delong.delong_unpaired(HELPED, ALBUMIN, each(HELPED), HELPED, KG_SCORE, each(HELPED))


def test_obuchowski_equals_delong_where_each_patient_has_one_slice():
    paired = comparisons.paired_auc(HELPED, KG_SCORE, PROTEIN, each(HELPED))
    plain = delong.delong_paired(HELPED, KG_SCORE, PROTEIN, each(HELPED))
    assert paired.standard_error == pytest.approx(plain.standard_error, rel=1e-12)
    found, half = auc.obuchowski_auc(HELPED, KG_SCORE, each(HELPED)), 1.959963985 * 0.102821609
    assert [logit(found.high) - logit(found.value), logit(found.value) - logit(found.low)] == pytest.approx(
        [half / 1.959963985 * t.ppf(0.975, 11) / (found.value * (1 - found.value))] * 2, rel=1e-6
    )


def test_obuchowski_follows_its_formula_on_three_patients():
    labels, scores, patients = (
        np.array([1, 0, 1, 0, 1, 0]),
        np.array([3.0, 1, 2, 2.5, 4, 0]),
        np.array([0, 0, 1, 1, 2, 2]),
    )
    # share of negatives below each positive: 1, 2/3, 1; of positives above each negative: 1, 2/3, 1; AUC 8/9
    d = np.array([1, 2 / 3, 1]) - 8 / 9
    s10, s01, s11 = 1.5 * d @ d / 3, 1.5 * d @ d / 3, 1.5 * d @ d
    parts = auc.components(labels, scores, patients)
    assert parts.auc == pytest.approx(8 / 9)
    assert auc.covariance(parts, parts) == pytest.approx(s10 / 3 + s01 / 3 + 2 * s11 / 9)


def test_pooled_auc_equals_scikit_learn_with_ties():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 500), rng.integers(0, 6, 500)
    expected = roc_auc_score(labels, scores)
    assert auc.auc(labels, scores) == pytest.approx(expected, abs=1e-12)
    assert auc.components(labels, scores, rng.integers(0, 9, 500)).auc == pytest.approx(expected, abs=1e-12)


def test_roc_points_are_the_corners_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 200), rng.integers(0, 30, 200)
    false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
    assert np.allclose(auc.roc_points(labels, scores), (false, true))


def test_patient_aucs_equal_scikit_learn_and_one_class_patients_are_undefined():
    rng = np.random.default_rng(1)
    patients, labels, scores = rng.integers(0, 25, 400), rng.integers(0, 2, 400), rng.integers(0, 9, 400)
    labels[patients == 3], labels[patients == 4] = 0, 1
    found = per_patient.patient_aucs(labels, scores, patients)
    for patient in range(25):
        own = patients == patient
        if patient in (3, 4):
            assert np.isnan(found[patient])
        else:
            assert found[patient] == pytest.approx(roc_auc_score(labels[own], scores[own]), abs=1e-12)


def test_win_matrix_counts_every_pair_once():
    rng = np.random.default_rng(2)
    patients, labels, scores = rng.integers(0, 7, 120), rng.integers(0, 2, 120), rng.integers(0, 9, 120)
    wins = bootstrap.win_matrix(labels, scores, patients)
    for i in range(7):
        for j in range(7):
            x, y = scores[(patients == i) & (labels == 1)], scores[(patients == j) & (labels == 0)]
            assert wins[i, j] == (x[:, None] > y).sum() + (x[:, None] == y).sum() / 2


def test_jackknife_equals_leaving_each_patient_out(cohort):
    left = []
    for patient in range(40):
        keep = cohort.patients != patient
        left.append(logit(roc_auc_score(cohort.labels[keep], cohort.logits[keep])))
    value = roc_auc_score(cohort.labels, cohort.logits)
    found = auc.pooled_auc(cohort.labels, cohort.logits, cohort.patients)
    informative = min(len(set(cohort.patients[cohort.labels == x])) for x in (0, 1))
    half = t.ppf(0.975, informative - 1) * np.sqrt(39 / 40 * ((left - np.mean(left)) ** 2).sum())
    assert [found.low, found.high] == pytest.approx([expit(logit(value) - half), expit(logit(value) + half)], rel=1e-9)


def test_writing_every_slice_twice_changes_no_interval(cohort):
    once = dict(simulate.estimates(cohort, resampled=True))
    again = dict(simulate.estimates(twice(cohort), resampled=True))
    assert len(once) > 25
    for name, estimate in once.items():
        if "ICC" in name or "Bland" in name:
            continue  # counts of slices, which do double
        both = again[name]
        assert [both.value, both.low, both.high] == pytest.approx(
            [estimate.value, estimate.low, estimate.high], rel=1e-7, abs=1e-9, nan_ok=True
        ), name


def test_doubling_slices_halves_a_naive_variance(cohort):
    """The invariance above is a property of the clustering, not of the data."""
    double = twice(cohort)
    naive = [auc.components(c.labels, c.logits, np.arange(len(c.labels))) for c in (cohort, double)]
    assert auc.covariance(naive[1], naive[1]) == pytest.approx(auc.covariance(naive[0], naive[0]) / 2, rel=0.01)


def test_no_result_depends_on_the_order_of_slices(cohort):
    order = np.random.default_rng(9).permutation(len(cohort.labels))
    shuffled = [x[order] for x in (cohort.labels, cohort.logits, cohort.patients)]
    found, expected = auc.pooled_auc(*shuffled), auc.pooled_auc(cohort.labels, cohort.logits, cohort.patients)
    assert [found.value, found.low, found.high] == pytest.approx(
        [expected.value, expected.low, expected.high], rel=1e-12
    )


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_undefined_not_one(label):
    found = auc.pooled_auc(np.full(6, label), np.arange(6.0), np.arange(6) // 2)
    assert np.isnan(found.value)
    nothing = {"value": None, "low": None, "high": None}
    assert found.leaf() == {**nothing, "n_patients": 3, "n_slices": 6, "note": "all slices have the same label"}


def test_perfect_separation_has_a_value_and_no_interval():
    found = auc.pooled_auc([0, 1, 0, 1], [0.0, 1, 0, 1], [0, 0, 1, 1])
    assert found.value == 1
    assert np.isnan(found.low)
    assert "do not overlap" in found.note


def test_scores_that_are_nan_are_refused_not_counted():
    with pytest.raises(ValueError, match="1 of 3 scores are NaN"):
        auc.pooled_auc([0, 1, 1], [0.1, np.nan, 0.3], [0, 1, 2])


def test_mean_and_median_leave_undefined_patients_out():
    aucs = np.r_[np.linspace(0.8, 1, 21), np.nan, np.nan]
    mean, median = per_patient.mean_auc(aucs, 600), per_patient.median_auc(aucs, 600)
    assert (mean.value, mean.n_patients) == (pytest.approx(0.9), 21)
    assert mean.low < 0.9 < mean.high < 1
    # the 6th and 16th of 21 ordered values, P(Binomial(21, 1/2) <= 5) = 0.0133 (Conover 1999, table A3)
    assert [median.value, median.low, median.high] == pytest.approx([0.9, 0.85, 0.95])


def test_median_of_five_patients_has_no_interval():
    assert "too few" in per_patient.median_auc(np.linspace(0.8, 1, 5), 100).note


def test_rates_count_what_they_say():
    labels, scores = np.array([1, 1, 1, 0, 0, 0, 0, 1]), np.array([1, 1, -1, 1, -1, -1, -1, 0.0])
    found = proportions.rates(proportions.confusion(labels, scores, np.arange(8) // 2, 0.0))
    values = {name: estimate.value for name, estimate in found.items()}
    assert values == pytest.approx(
        {
            "sensitivity": 3 / 4,
            "specificity": 3 / 4,
            "ppv": 3 / 4,
            "npv": 3 / 4,
            "accuracy": 3 / 4,
            "f1": 3 / 4,
            "balanced_accuracy": 3 / 4,
            "prevalence": 1 / 2,
        }
    )
    assert (found["sensitivity"].n_patients, found["sensitivity"].n_slices) == (3, 4)


def test_clustered_wilson_of_identical_slices_is_wilson_of_patients():
    """Ten slices per patient that all agree are worth one."""
    found = proportions.ratio(np.r_[np.full(30, 10), np.zeros(10)], np.full(40, 10))
    q, n = t.ppf(0.975, 39), 39  # the unbiased variance p (1 - p) / (n - 1)
    centre, half = (
        (0.75 + q**2 / 2 / n) / (1 + q**2 / n),
        q / (1 + q**2 / n) * np.sqrt(0.75 * 0.25 / n + q**2 / 4 / n**2),
    )
    assert [found.low, found.high] == pytest.approx([centre - half, centre + half])


def test_a_proportion_of_one_is_bounded_by_the_number_of_patients():
    found = proportions.ratio(np.full(40, 10), np.full(40, 10))
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(40 / (40 + t.ppf(0.975, 39) ** 2))


def test_an_empty_denominator_is_undefined():
    assert proportions.ratio([0, 0], [0, 0]).leaf()["value"] is None


@pytest.mark.parametrize(("k", "lowest"), [(30, 0.90), (88, 0.92)])
def test_the_recommended_interval_covers(k, lowest):
    """Fast version of docs/simulation.md: 300 cohorts; the bounds leave three standard errors of chance."""
    population = populations.POPULATIONS["like the paper"]
    large = populations.draw(np.random.default_rng(0), 20_000, population)
    truth, held = auc.auc(large.labels, large.logits), 0
    for number in range(300):
        c = populations.draw(np.random.default_rng([1, k, number]), k, population)
        found = auc.pooled_auc(c.labels, c.logits, c.patients)
        held += found.low <= truth <= found.high
    error = np.sqrt(lowest * (1 - lowest) / 300)
    assert lowest - 3 * error + 0.02 < held / 300 < 0.97 + 3 * error


def test_the_simulation_lists_what_misses_its_goal_and_nothing_else():
    def tally(percent, given=1000):
        return simulate.Tally(held=int(percent * given / 100), given=given)

    narrow, wide, right = tally(91), tally(98), tally(94)
    columns = {
        "15 patients, any": {"a": tally(60)},
        "30 patients, any": {"a": narrow, "b": wide, "c": right},
        "88 patients, any": {"a": right, "b": wide, "c": right},
    }
    assert simulate.missed(columns, simulate.coverage_goal, 1) == [
        "- a: 91.0 (30 patients, any)",
        "- b: 98.0 (88 patients, any)",
    ]


def test_the_committed_simulation_says_that_the_recommended_interval_holds_its_goal():
    page = (ROOT / "docs" / "simulation.md").read_text(encoding="utf-8")
    misses = page[page.index("## What misses") : page.index("## Coverage")]
    assert page.count("(recommended)") == 2
    assert "(recommended)" not in misses
    assert "percentile bootstrap" in misses
