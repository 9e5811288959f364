"""Sizes of studies: textbook formulas where a patient has one slice, properties, and what a pilot gives back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, norm, t

from bundle import populations
from scripts.evaluation import designs, planning
from scripts.evaluation.auc import auc, components, covariance
from scripts.evaluation.estimates import wilson_interval
from scripts.evaluation.planning import Wish, patients_needed, size_of, target_by_assumption, target_by_pilot
from scripts.evaluation.proportions import confusion, rates

SHARES = st.floats(0.05, 0.95)


def single(measure, prevalence=0.5):
    """Patients with one image each."""
    return target_by_assumption(measure, designs.design_of(prevalence, 1, 0, 0), 0)


def clustered(measure, correlation=0.3, slices=30, prevalence=0.3, label_correlation=0.2):
    return target_by_assumption(measure, designs.design_of(prevalence, slices, 0, label_correlation), correlation)


def cohort_of(k, seed=0, population="like the paper"):
    return populations.draw(np.random.default_rng(seed), k, populations.POPULATIONS[population])


def test_with_one_image_a_patient_the_interval_of_sensitivity_is_wilsons():
    size = size_of(400, single("sensitivity", 0.25), Wish(0.8, width=0.1))
    low, high = wilson_interval(0.8, 100, t.ppf(0.975, 99))
    assert (size.low, size.high) == (pytest.approx(low), pytest.approx(high))
    assert (size.slices, size.compressed_slices, size.informative) == (400, 100, 100)


def test_with_one_image_a_patient_the_size_is_that_of_the_textbook():
    found = patients_needed(single("specificity", 0.6), Wish(0.7, width=0.06))
    assert found.patients * 0.4 == pytest.approx(norm.ppf(0.975) ** 2 * 0.7 * 0.3 / 0.03**2, rel=0.01)


def test_two_groups_of_single_images_need_what_the_textbook_says():
    wish = Wish(0.85, "subgroup", difference=0.1, power=0.9)
    found = patients_needed(single("sensitivity"), wish)
    each = (norm.ppf(0.975) + norm.ppf(0.9)) ** 2 * (0.85 * 0.15 + 0.75 * 0.25) / 0.1**2
    assert found.patients / 4 == pytest.approx(each, rel=0.02)


def test_two_models_on_single_images_need_what_connor_says():
    """Connor, Biometrics 43:207-211 (1987), without the restriction of the variance to the null."""
    first, second, both = 0.8, 0.7, 0.62  # share that is right by each, and by both
    cov = both - first * second
    correlation = cov / np.sqrt(first * (1 - first) * second * (1 - second))
    wish = Wish(first, "model", difference=0.1, power=0.8, model_correlation=correlation)
    found = patients_needed(single("sensitivity"), wish)
    discordant = first + second - 2 * both
    expected = (norm.ppf(0.975) + norm.ppf(0.8)) ** 2 * (discordant - 0.1**2) / 0.1**2
    assert found.patients / 2 == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("value", [0.75, 0.85, 0.95])
def test_with_one_image_a_patient_the_variance_of_the_auc_is_delongs(value):
    """Against numbers: normal scores of 40,000 images, half of them compressed."""
    rng = np.random.default_rng(0)
    labels = np.arange(40_000) % 2
    scores = rng.normal(size=40_000) + np.sqrt(2) * norm.ppf(value) * labels
    parts = components(labels, scores, np.arange(40_000))
    target = single("auc")
    assert target.variance(parts.auc) / 40_000 == pytest.approx(covariance(parts, parts), rel=0.03)


@pytest.mark.parametrize("value", [0.8, 0.9])
def test_the_binormal_variance_is_near_that_of_hanley_and_mcneil(value):
    """They assume exponential scores: Radiology 143:29-36 (1982), equation 1, without what vanishes in many images."""
    exponential = value / (2 - value) - value**2 + 2 * value**2 / (1 + value) - value**2
    assert single("auc").variance(value) == pytest.approx(2 * exponential, rel=0.15)


@pytest.mark.parametrize("correlation", [-0.5, 0.0, 0.4, 1.0])
def test_the_bivariate_normal_probability_is_scipys(correlation):
    matrix = [[1, correlation], [correlation, 1]]
    expected = multivariate_normal([0, 0], matrix, allow_singular=True).cdf([0.7, 0.7])
    assert designs.both_below(0.7, correlation) == pytest.approx(expected, abs=1e-5)


def test_slices_that_are_all_alike_count_as_one():
    one = single("sensitivity", 0.3).variance(0.8)
    many = target_by_assumption("sensitivity", designs.design_of(0.3, 40, 0, 1), 1).variance(0.8)
    assert many == pytest.approx(one)


def test_independent_slices_count_one_by_one():
    one, many = (
        target_by_assumption("specificity", designs.design_of(0.3, n, 0, 0.2), 0).variance(0.8) for n in (1, 25)
    )
    assert many == pytest.approx(one / 25)


@settings(max_examples=60, deadline=None)
@given(value=SHARES, prevalence=SHARES, slices=st.floats(1, 60), r=st.floats(0, 0.9), labels=st.floats(0, 1))
def test_more_alike_slices_never_need_fewer_patients(value, prevalence, slices, r, labels):
    design = designs.design_of(prevalence, slices, 0, labels)
    less, more = (target_by_assumption("sensitivity", design, one).variance(value) for one in (r, r + 0.1))
    assert more >= less * (1 - 1e-9)


@settings(max_examples=20, deadline=None)
@given(
    measure=st.sampled_from(planning.MEASURES),
    value=st.floats(0.6, 0.98),
    width=st.floats(0.02, 0.2),
    r=st.floats(0, 1),
)
def test_a_narrower_interval_needs_more_patients_and_the_answer_is_the_smallest(measure, value, width, r):
    target = clustered(measure, r)
    wide, narrow = (patients_needed(target, Wish(value, width=one)) for one in (width, width / 2))
    assert narrow.patients >= wide.patients
    assert wide.high - wide.low <= width
    before = size_of(wide.patients - 1, target, Wish(value, width=width))
    assert not before.high - before.low <= width


@settings(max_examples=12, deadline=None)
@given(
    measure=st.sampled_from(planning.MEASURES),
    against=st.sampled_from(planning.AGAINST),
    difference=st.floats(0.02, 0.2),
    power=st.floats(0.5, 0.85),
)
def test_more_power_a_smaller_difference_and_more_tests_need_more_patients(measure, against, difference, power):
    target, wish = clustered(measure), Wish(0.9, against, difference=difference, power=power)
    found = patients_needed(target, wish).patients
    harder = [
        Wish(0.9, against, difference=difference, power=power + 0.1),
        Wish(0.9, against, difference=difference / 2, power=power),
        Wish(0.9, against, difference=difference, power=power, tests=5),
    ]
    assert all(patients_needed(target, one).patients >= found for one in harder)


def test_models_that_go_together_need_fewer_patients():
    wishes = [Wish(0.9, "model", difference=0.03, power=0.8, model_correlation=r) for r in (0, 0.5, 0.9)]
    sizes = [patients_needed(clustered("auc"), wish).patients for wish in wishes]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 3 * sizes[2]


def test_an_equal_subgroup_needs_the_fewest_patients():
    sizes = [
        patients_needed(clustered("auc"), Wish(0.9, "subgroup", difference=0.05, power=0.8, share=share)).patients
        for share in (0.5, 0.3, 0.1)
    ]
    assert sizes == sorted(sizes)


def test_a_subgroup_too_small_to_be_tested_is_not_planned():
    wish = Wish(0.9, "subgroup", difference=0.4, power=0.8, share=0.1)
    assert patients_needed(clustered("auc", 0, label_correlation=0), wish).patients >= 100


def test_a_difference_far_beyond_chance_has_a_power_of_one():
    assert planning.power_of(200.0, 50, 0.05) == 1.0
    assert planning.power_of(3.0, 50, 0.05) == pytest.approx(0.835, abs=0.005)


def test_an_impossible_width_has_no_size():
    assert patients_needed(clustered("auc"), Wish(0.9, width=1e-5)) is None


@pytest.mark.parametrize("population", populations.POPULATIONS)
def test_at_its_own_size_a_pilot_gives_back_its_own_errors(population):
    c = cohort_of(50, 3, population)
    pilot = designs.pilot_of(c.labels, c.logits, c.patients)
    parts = components(c.labels, c.logits, c.patients)
    target = target_by_pilot("auc", pilot.design, pilot)
    assert target.variance(pilot.values["auc"]) / 50 == pytest.approx(covariance(parts, parts))
    found = rates(confusion(c.labels, c.logits, c.patients, 0.0))
    for measure in ("sensitivity", "specificity"):
        assert pilot.values[measure] == found[measure].value
        size = size_of(50, target_by_pilot(measure, pilot.design, pilot), Wish(pilot.values[measure], width=0.1))
        assert size.informative == pilot.n_patients[measure]
        assert (size.low, size.high) == (pytest.approx(found[measure].low), pytest.approx(found[measure].high))


def test_a_pilot_of_single_images_gives_back_delongs_error():
    rng = np.random.default_rng(2)
    labels = rng.random(80) < 0.4
    scores = rng.normal(size=80) + labels
    pilot = designs.pilot_of(labels, scores, np.arange(80))
    parts = components(labels, scores, np.arange(80))
    assert pilot.spread.variance(pilot.design) / 80 == pytest.approx(covariance(parts, parts))
    assert pilot.label_correlation == 0


def test_writing_every_slice_of_a_pilot_twice_changes_no_size():
    c = cohort_of(40, 5)
    once = designs.pilot_of(c.labels, c.logits, c.patients)
    twice = designs.pilot_of(*(np.repeat(x, 2) for x in (c.labels, c.logits, c.patients)))
    for measure in planning.MEASURES:
        sizes = [
            patients_needed(target_by_pilot(measure, one.design, one), Wish(0.9, width=0.05)) for one in (once, twice)
        ]
        assert sizes[0].patients == sizes[1].patients


def test_a_large_pilot_gives_back_what_its_patients_were_drawn_with():
    """Levels of SD 0.7 and noise of SD 1.1; shares of compressed slices from a beta distribution of 1.5 and 3."""
    population = populations.Population(0.7, 2.6, 0.0, 1.1, free=0.0)
    c = populations.draw(np.random.default_rng(1), 8000, population)
    pilot = designs.pilot_of(c.labels, c.logits, c.patients)
    assert pilot.prevalence == pytest.approx(1 / 3, abs=0.01)
    assert pilot.label_correlation == pytest.approx(1 / 5.5, abs=0.01)
    likeness = 0.7**2 / (0.7**2 + 1.1**2)
    assert list(pilot.correlations.values()) == pytest.approx([likeness] * 3, abs=0.02)
    assert (pilot.design.slices, pilot.slices_sd) == (pytest.approx(34, rel=0.01), pytest.approx(8.37, rel=0.03))
    assumed = designs.design_of(1 / 3, 34, 8.37, 1 / 5.5)
    for measure in planning.MEASURES:
        by_pilot = target_by_pilot(measure, pilot.design, pilot)
        by_assumption = target_by_assumption(measure, assumed, likeness)
        value = pilot.values[measure]
        assert by_pilot.variance(value) == pytest.approx(by_assumption.variance(value), rel=0.05)
    assert pilot.design.positive.present == pytest.approx(assumed.positive.present, abs=0.01)


@pytest.mark.parametrize("measure", planning.MEASURES)
def test_a_model_goes_together_with_itself(measure):
    c = cohort_of(40)
    found = designs.correlation_of_models(measure, c.labels, c.logits, c.logits, c.patients)
    assert found == pytest.approx(1)
    other = designs.correlation_of_models(measure, c.labels, c.logits, c.second, c.patients)
    assert 0.2 < other < 0.95


def test_caution_about_a_pilot_fades_with_its_patients():
    wish = Wish(0.9, width=0.05)
    sizes = [
        patients_needed(planning.cautious(clustered("auc"), patients), wish).patients for patients in (10, 30, 10_000)
    ]
    exact = patients_needed(clustered("auc"), wish).patients
    assert sizes == sorted(sizes, reverse=True)
    assert exact <= sizes[-1] <= 1.04 * exact


def test_a_study_too_small_for_its_approximations_says_so():
    target = clustered("sensitivity", slices=3)
    size = patients_needed(target, Wish(0.97, width=0.3))
    found = planning.cautions(size, target, Wish(0.97, width=0.3))
    assert len(found) == 2
    assert "below 30" in found[0]
    assert "rare side" in found[1]
    large = Wish(0.9, width=0.03)
    assert planning.cautions(patients_needed(target, large), target, large) == []


def test_placements_average_to_the_auc():
    c = cohort_of(10)
    below, above = designs.placements(c.labels == 1, c.logits)
    assert (below.mean(), above.mean()) == (pytest.approx(auc(c.labels, c.logits)),) * 2
