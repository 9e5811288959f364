"""The baseline of shape, Dice and errors of measures: closed forms and what missing values do."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from scripts.evaluation.morphometry import baseline_logits, dice, fit_baseline, measurement_error


def slices(n=400, seed=0, n_features=3):
    """Draw features of which the first alone separates the classes, with some overlap."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.3).astype(int)
    features = rng.normal(0, 1, (n, n_features))
    features[:, 0] += 2.5 * labels
    return features, labels


class TestBaseline:
    """Logistic regression on shape."""

    def test_separable_slices_are_separated_with_finite_logits(self):
        features = np.array([[0.6, 80], [0.55, 78], [0.3, 60], [0.25, 55]])
        logits = baseline_logits(fit_baseline(features, [0, 0, 1, 1]), features)
        assert np.isfinite(logits).all()
        assert logits[:2].max() < 0 < logits[2:].min()

    def test_the_logit_of_one_balanced_feature_is_the_log_likelihood_ratio(self):
        """Two normal distributions of equal width: the logit is linear, with slope difference / variance."""
        rng = np.random.default_rng(1)
        labels = (rng.random(20000) < 0.2).astype(int)
        features = rng.normal(3 * labels, 1.5)[:, None]
        logits = baseline_logits(fit_baseline(features, labels), np.array([[0.0], [1.5], [3.0]]))
        assert logits == pytest.approx([-2.0, 0.0, 2.0], abs=0.12)

    @pytest.mark.parametrize("pos_weight", [1.0, 4.0])
    def test_the_weight_of_compressed_slices_adds_its_logarithm(self, pos_weight):
        rng = np.random.default_rng(2)
        labels = (rng.random(20000) < 0.5).astype(int)
        features = rng.normal(labels, 1.0)[:, None]
        logit = baseline_logits(fit_baseline(features, labels, pos_weight), np.array([[0.5]]))
        assert logit == pytest.approx([math.log(pos_weight)], abs=0.1)

    def test_units_do_not_matter(self):
        features, labels = slices()
        scaled = features * [1, 1e3, 1e-3] + [5, -7e3, 0]
        np.testing.assert_allclose(
            baseline_logits(fit_baseline(scaled, labels), scaled),
            baseline_logits(fit_baseline(features, labels), features),
            atol=1e-3,
        )

    def test_without_missing_values_it_is_scikit_learns_regression(self):
        features, labels = slices()
        standard = (features - features.mean(axis=0)) / features.std(axis=0)
        plain = LogisticRegression(class_weight="balanced", max_iter=1000).fit(standard, labels)
        found = baseline_logits(fit_baseline(features, labels), features)
        np.testing.assert_allclose(found, plain.decision_function(standard), atol=1e-6)

    def test_a_missing_value_takes_the_median_of_the_training_slices(self):
        features, labels = slices()
        baseline = fit_baseline(features, labels)
        other = np.array([[np.nan, 0.1, 0.2]])
        filled = np.array([[np.median(features[:, 0]), 0.1, 0.2]])
        assert baseline_logits(baseline, other) == pytest.approx(baseline_logits(baseline, filled))

    @pytest.mark.parametrize("missing_label", [0, 1])
    def test_that_a_value_is_missing_speaks_for_the_class_where_it_was_missing(self, missing_label):
        features, labels = slices()
        features[(labels == missing_label) & (np.arange(len(labels)) % 2 == 0)] = np.nan
        logits = baseline_logits(fit_baseline(features, labels), np.full((1, 3), np.nan))
        assert np.sign(logits) == np.sign(missing_label - 0.5)

    @pytest.mark.parametrize("dead", [np.nan, 1.0])
    def test_a_feature_without_any_information_does_no_harm(self, dead):
        features, labels = slices()
        with_dead = np.column_stack([features, np.full(len(features), dead)])
        np.testing.assert_allclose(
            baseline_logits(fit_baseline(with_dead, labels), with_dead),
            baseline_logits(fit_baseline(features, labels), features),
            atol=1e-6,
        )

    @pytest.mark.parametrize(
        ("features", "labels", "message"),
        [
            (np.zeros((3, 2)), [0, 1], r"got \(3, 2\) and \(2,\)"),
            (np.zeros(3), [0, 1, 1], r"got \(3,\) and \(3,\)"),
            (np.zeros((3, 2)), [1, 1, 1], r"both must be there, got \[1\]"),
            (np.zeros((3, 2)), [0, 1, 2], r"got \[0, 1, 2\]"),
            (np.zeros((0, 2)), [], r"got \[\]"),
        ],
    )
    def test_what_cannot_be_fitted_is_refused(self, features, labels, message):
        with pytest.raises(ValueError, match=message):
            fit_baseline(features, np.array(labels))


class TestDice:
    """Overlap of two masks."""

    @pytest.mark.parametrize(("shift", "overlap"), [(0, 1.0), (1, 0.75), (2, 0.5), (4, 0.0)])
    def test_shifted_boxes_overlap_by_their_shared_part(self, shift, overlap):
        first, second = np.zeros((2, 12, 12), bool)
        first[3:7, 2:6] = second[3:7, 2 + shift : 6 + shift] = True
        assert dice(first, second) == dice(second, first) == pytest.approx(overlap)

    def test_a_mask_within_the_other_has_the_ratio_of_its_size(self):
        first, second = np.zeros((2, 9, 9))
        first[:3] = second[:1] = 1
        assert dice(first, second) == pytest.approx(2 * 9 / (27 + 9))

    def test_probabilities_are_inside_from_a_half(self):
        assert dice([0.5, 0.49, 0.9], [1, 1, 0]) == pytest.approx(2 * 1 / (2 + 2))

    def test_one_empty_mask_shares_nothing_and_two_are_undefined(self):
        empty, full = np.zeros((4, 4)), np.ones((4, 4))
        assert dice(empty, full) == dice(full, empty) == 0
        assert math.isnan(dice(empty, empty))

    def test_masks_of_other_shapes_are_refused(self):
        with pytest.raises(ValueError, match=r"got \(4, 4\) and \(4, 5\)"):
            dice(np.zeros((4, 4)), np.zeros((4, 5)))


class TestMeasurementError:
    """Errors in the measure's own unit."""

    def test_a_constant_offset_is_bias_median_and_percentile(self):
        found = measurement_error([6.5, 7.5, 8.5], [7.0, 8.0, 9.0])
        assert (found.bias, found.median, found.percentile_95) == (-0.5, 0.5, 0.5)
        assert (found.n, found.n_missing) == (3, 0)

    def test_errors_of_either_sign_cancel_in_the_bias_alone(self):
        errors = np.linspace(-1, 1, 201)
        found = measurement_error((7 + errors).tolist(), [7.0] * 201)
        assert found.bias == pytest.approx(0)
        assert found.median == pytest.approx(0.5, abs=0.01)
        assert found.percentile_95 == pytest.approx(0.95, abs=0.01)

    def test_what_was_not_measured_is_counted_and_what_has_no_truth_is_left_out(self):
        found = measurement_error([None, math.nan, 7.0, 1.0], [8.0, 8.0, 8.0, None])
        assert (found.median, found.n, found.n_missing) == (1.0, 1, 2)

    def test_nothing_measured_has_no_error(self):
        found = measurement_error([None], [8.0])
        assert math.isnan(found.bias)
        assert math.isnan(found.median)
        assert math.isnan(found.percentile_95)
        assert (found.n, found.n_missing) == (0, 1)
        assert measurement_error([], []).n == 0

    def test_other_slices_are_refused(self):
        with pytest.raises(ValueError, match=r"got \(2,\) and \(1,\)"):
            measurement_error([1.0, 2.0], [1.0])
