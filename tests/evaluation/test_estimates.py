"""An interval that says nothing is none, wherever a number is made or told."""

from __future__ import annotations

import numpy as np
import pytest

from bundle import populations
from scripts.evaluation import agreement, auc, calibration, comparisons, multiclass, per_patient, proportions
from scripts.evaluation.estimates import DIFFERENCE, SHARE, Estimate, in_words


def estimates(k):
    """Every kind of interval, of a cohort of ``k`` patients."""
    drawn = populations.draw(np.random.default_rng(3), k, populations.POPULATIONS["like the paper"])
    y, x, p = drawn.labels, drawn.logits, drawn.patients
    aucs = np.linspace(0.5, 0.9, k)
    called = x >= 0
    judged = calibration.assess(y, x, p)
    return {
        "pooled AUC": auc.pooled_auc(y, x, p),
        "Obuchowski's AUC": auc.obuchowski_auc(y, x, p),
        "mean AUC": per_patient.mean_auc(aucs, len(y)),
        "median AUC": per_patient.median_auc(aucs, len(y)),
        **proportions.rates(proportions.confusion(y, x, p, 0.0)),
        "class accuracy": multiclass.class_accuracy(y, called, p, 2)[1],
        "mean class accuracy": multiclass.mean_class_accuracy(y, called, p, 2),
        "kappa": agreement.kappa(y, called, p),
        "mean kappa": agreement.mean_kappa([(y * 1.0, called * 1.0), (called * 1.0, (x > 1) * 1.0)], p),
        "ICC": agreement.icc_a1(np.arange(2.0 * k).reshape(k, 2) ** 2 % 7, len(y)),
        "limits of agreement": agreement.bland_altman(np.arange(k) ** 2, np.arange(k), len(y)).lower_limit,
        "slope": judged.slope,
        "intercept": judged.intercept_at_slope_1,
        "Brier score": judged.brier,
        "difference of AUC": comparisons.paired_auc(y, x, drawn.second, p),
        "difference of mean AUC": comparisons.paired_mean(aucs, aucs**2, len(y)),
        "difference of shares": comparisons.paired_proportion(called, x > 1, p),
    }


def test_two_patients_give_no_interval_of_anything_and_the_reason():
    for name, found in estimates(2).items():
        assert np.isnan([found.low, found.high]).all(), name
        assert found.note, name
    for name, found in estimates(40).items():
        assert np.isfinite([found.low, found.high]).all(), name
        assert not found.note, name


@pytest.mark.parametrize(
    ("low", "high", "possible", "kept"),
    [
        (0.0004, 1.0, SHARE, False),
        (0.033, 0.994, SHARE, False),
        (0.06, 1.0, SHARE, True),
        (-0.999, 0.995, DIFFERENCE, False),
        (-0.9, 0.9, DIFFERENCE, True),
        (-40.0, 60.0, (-np.inf, np.inf), True),
    ],
)
def test_an_interval_that_excludes_nearly_nothing_is_none(low, high, possible, kept):
    found = Estimate(0.5, low, high, 16, 99, possible=possible)
    assert bool(np.isfinite(found.low + found.high)) is kept
    assert (found.note == "") is kept


def test_what_counts_are_the_patients_that_inform_the_interval():
    labels, patients = np.r_[np.zeros(40), 1, 1, 1, 1], np.r_[np.repeat(np.arange(10), 4), 0, 0, 1, 1]
    found = auc.pooled_auc(labels, np.r_[np.arange(40) % 7, 3.5, 5.5, 2.5, 4.5], patients)
    assert (found.n_patients, found.note) == (10, "it would rest on 2 patients")
    assert np.isnan(found.low)


def test_words_give_the_interval_or_the_reason():
    assert in_words(Estimate(0.94, 0.912, 0.96, 9, 99).leaf()) == "0.940 (0.912 to 0.960)"
    assert in_words(Estimate(0.976, 0.0, 1.0, 2, 60).leaf(), 2) == "0.98 (no interval: it would rest on 2 patients)"
    assert in_words(Estimate(np.nan, np.nan, np.nan, 0, 0, "no slices").leaf()) == "not defined: no slices"
    assert in_words(Estimate(0.05, -0.0001, 0.1, 9, 99).leaf(), 3, "+") == "+0.050 (+0.000 to +0.100)"
    assert in_words(None) == "not defined"


def test_every_rate_rests_on_the_slices_that_enter_it_and_on_their_patients():
    drawn = populations.draw(np.random.default_rng(4), 25, populations.POPULATIONS["like the paper"])
    y, called, p = drawn.labels == 1, drawn.logits >= 1.5, drawn.patients
    entering = {
        **{"sensitivity": y, "specificity": ~y, "ppv": called, "npv": ~called, "f1": y | called},
        **dict.fromkeys(("accuracy", "balanced_accuracy", "prevalence"), np.ones(len(y), bool)),
    }
    found = proportions.rates(proportions.confusion(drawn.labels, drawn.logits, p, 1.5))
    assert set(found) == set(entering)
    for name, own in entering.items():
        assert (found[name].n_slices, found[name].n_patients) == (own.sum(), len(np.unique(p[own]))), name
    several = multiclass.mean_class_accuracy(drawn.labels, called, p, 2)
    assert (several.n_slices, several.n_patients) == (len(y), len(np.unique(p)))
