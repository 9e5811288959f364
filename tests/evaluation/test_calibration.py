"""Calibration and operating points."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import t
from statsmodels.api import GLM, families

from bundle import populations
from scripts.evaluation import calibration, operating_points, platt
from scripts.evaluation.auc import auc, pooled_auc
from scripts.evaluation.estimates import wilson_interval
from scripts.evaluation.proportions import confusion, ratio

COHORT = populations.draw(np.random.default_rng(3), 60, populations.POPULATIONS["like the paper"])
Y, S, P = COHORT.labels, COHORT.logits, COHORT.patients


def test_calibration_finds_the_line_it_was_drawn_from():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 100_000)
    labels = rng.random(100_000) < expit(0.5 * logits - 1)
    found = calibration.fit_calibration(labels, logits, np.arange(100_000))
    assert [found.slope, found.intercept] == pytest.approx([0.5, -1], abs=0.03)


def test_calibration_leaves_every_rank_and_the_auc_as_they_were():
    fitted = calibration.fit_calibration(Y, S, P)
    assert auc(Y, fitted.logits(S)) == auc(Y, S)
    assert (np.argsort(fitted.logits(S), kind="stable") == np.argsort(S, kind="stable")).all()
    once, again = pooled_auc(Y, S, P), pooled_auc(Y, fitted.logits(S), P)
    assert once == again


def test_a_calibrated_model_is_judged_calibrated_on_what_it_was_fitted_on():
    found = calibration.assess(Y, calibration.fit_calibration(Y, S, P).logits(S), P)
    assert found.slope.value == pytest.approx(1, abs=1e-6)
    assert found.intercept_at_slope_1.value == pytest.approx(0, abs=1e-6)


def test_baseline_undoes_the_weight_of_the_loss():
    assert platt.baseline(3.8).probabilities([np.log(3.8)]) == pytest.approx([0.5])


def test_clustered_errors_equal_statsmodels_but_for_its_factor_of_slices():
    design = np.column_stack([np.ones(len(S)), S])
    expected = GLM(Y, design, family=families.Binomial()).fit(
        cov_type="cluster", cov_kwds={"groups": P, "use_correction": False}
    )
    found = calibration.logistic(design, Y, P, 60, S)
    assert found.covariance == pytest.approx(expected.cov_params() * 60 / 59, rel=1e-6)


def test_brier_and_ece_by_hand():
    p = np.array([0.1, 0.2, 0.7, 0.8])
    found = calibration.assess([0, 1, 1, 0], np.log(p / (1 - p)), [0, 0, 1, 1])
    assert found.brier.value == pytest.approx((0.01 + 0.64 + 0.09 + 0.64) / 4)
    assert found.ece.value == pytest.approx((0.1 + 0.8 + 0.3 + 0.8) / 4)  # each slice is a bin of its own


def test_equal_mass_bins_hold_equal_numbers_and_keep_ties_together():
    assert np.bincount(calibration.equal_mass_bins(np.random.default_rng(0).random(1000))).tolist() == [100] * 10
    assert len(set(calibration.equal_mass_bins(np.repeat([1.0, 2.0], [3, 17]))[3:])) == 1


def test_the_curve_of_a_calibrated_model_is_the_diagonal():
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 1.5, 60_000)
    found = calibration.assess(rng.random(60_000) < expit(logits), logits, np.arange(60_000)).curve
    assert found.observed == pytest.approx(found.predicted, abs=0.02)
    assert (found.low < found.predicted).mean() > 0.9


def test_the_spline_is_linear_beyond_its_outer_knots():
    knots = np.array([-1.0, 0.0, 1.0, 2.0])
    outside = calibration.spline(np.array([3.0, 4.0, 5.0, -3.0, -2.0, -1.5]), knots)
    assert np.diff(outside[:3], 2, axis=0) == pytest.approx(np.zeros((1, 4)))
    assert outside[3:, 2:] == pytest.approx(np.zeros((3, 2)))


def test_separated_classes_and_a_reversed_model_are_not_calibrated():
    separated = calibration.fit_calibration([0, 0, 1, 1], [-2.0, -1, 1, 2], [0, 1, 2, 3])
    assert np.isnan(separated.slope)
    assert "parts the two classes" in separated.note
    reversed_model = calibration.fit_calibration(1 - Y, S, P)
    assert np.isnan(reversed_model.slope)
    assert "higher logits go with fewer" in reversed_model.note
    assert "both classes" in calibration.fit_calibration([1, 1], [0.0, 1.0], [0, 1]).note


def test_youden_is_the_best_of_all_thresholds():
    point = operating_points.choose(Y, S, P)["youden"]

    def index(threshold):
        c = confusion(Y, S, P, threshold)
        return c.tp.sum() / (Y == 1).sum() + c.tn.sum() / (Y == 0).sum()

    assert index(point.logit) == pytest.approx(max(index(threshold) for threshold in S))


def bound(threshold):
    c = confusion(Y, S, P, threshold)
    k = int(((c.tp + c.fn) > 0).sum())
    found = ratio(c.tp, c.tp + c.fn)
    own = (c.tp - found.value * (c.tp + c.fn))[(c.tp + c.fn) > 0]
    variance = k / (k - 1) * (own**2).sum() / (c.tp + c.fn).sum() ** 2
    n = found.value * (1 - found.value) / variance if found.value < 1 else k
    return float(wilson_interval(found.value, n, t.ppf(0.95, k - 1))[0])


def test_sensitivity_95_is_shown_at_its_threshold_and_not_one_score_higher():
    point = operating_points.threshold_for_sensitivity(Y, S, P, target=0.85)
    assert bound(point.logit) >= 0.85
    positives = np.sort(S[Y == 1])
    above = positives[positives > point.logit]
    assert bound(above[0] + 1e-9) < 0.85
    assert all(bound(threshold) >= 0.85 for threshold in positives[positives < point.logit])


def test_sensitivity_95_is_unattained_in_few_patients():
    few = P < 20
    assert operating_points.choose(Y[few], S[few], P[few])["sensitivity_95"].note.startswith("unattained")


def test_thresholds_stand_between_scores():
    point = operating_points.youden([0, 0, 1, 1], [-1.0, 0.0, 1.0, 2.0], [0, 1, 2, 3])
    assert point.logit == 0.5


def test_one_class_has_no_youden():
    assert operating_points.choose([1, 1], [0.0, 1.0], [0, 1])["youden"].note.startswith("undefined")
