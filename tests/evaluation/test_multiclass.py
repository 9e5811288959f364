"""Accuracy in each class, their mean, confusion matrix and kappa."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.evaluation.agreement import kappa
from scripts.evaluation.multiclass import class_accuracy, class_metrics, mean_class_accuracy
from scripts.evaluation.proportions import confusion, rates

TRUE = [0, 0, 0, 0, 1, 1, 2, 2, 2, 2]
CALLED = [0, 0, 0, 1, 1, 0, 2, 2, 2, 0]
PATIENTS = ["a", "a", "b", "b", "a", "b", "a", "a", "b", "b"]


def test_the_mean_of_classes_does_not_ask_how_many_slices_each_has():
    accuracies = [one.value for one in class_accuracy(TRUE, CALLED, PATIENTS, 3)]
    assert accuracies == [0.75, 0.5, 0.75]
    assert mean_class_accuracy(TRUE, CALLED, PATIENTS, 3).value == pytest.approx(2 / 3)
    again = [TRUE + TRUE[:4] * 3, CALLED + CALLED[:4] * 3, PATIENTS + PATIENTS[:4] * 3]
    assert mean_class_accuracy(*again, 3).value == pytest.approx(2 / 3)


def test_for_two_classes_it_is_the_balanced_accuracy():
    rng = np.random.default_rng(0)
    true, scores, patients = rng.integers(0, 2, 200), rng.normal(size=200), rng.integers(0, 20, 200)
    expected = rates(confusion(true, scores, patients, 0.0))["balanced_accuracy"]
    found = mean_class_accuracy(true, (scores >= 0).astype(int), patients, 2)
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))


def test_duplicating_every_slice_changes_no_interval():
    rng = np.random.default_rng(1)
    columns = [rng.integers(0, 4, 120), rng.integers(0, 4, 120), rng.integers(0, 12, 120)]
    once, twice = (mean_class_accuracy(*(np.repeat(one, n) for one in columns), 4) for n in (1, 2))
    assert (once.value, once.low, once.high) == pytest.approx((twice.value, twice.low, twice.high))
    assert once.low < once.value < once.high


def test_an_absent_class_is_undefined_and_left_out_of_the_mean():
    single = class_accuracy(TRUE, CALLED, PATIENTS, 4)
    assert np.isnan(single[3].value)
    assert mean_class_accuracy(TRUE, CALLED, PATIENTS, 4).value == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("columns", "note"),
    [
        (([], [], []), "no slice has a label"),
        (([1, 1], [1, 0], ["a", "b"]), "all slices have the same label"),
        (([0, 1], [0, 1], ["a", "a"]), "one patient gives no interval"),
    ],
)
def test_no_interval_has_its_reason(columns, note):
    found = mean_class_accuracy(*columns, 3)
    assert np.isnan(found.low)
    assert note in found.note


def test_what_an_evaluation_writes_of_a_task():
    found = class_metrics(TRUE, CALLED, PATIENTS, ("0", "1", "2"), ordered=True)
    assert found["confusion_matrix"] == [[3, 1, 0], [1, 1, 0], [1, 0, 3]]
    assert found["kappa"] == kappa(TRUE, CALLED, PATIENTS, "quadratic").leaf()
    assert found["class_accuracy"]["1"]["value"] == 0.5
    plain = class_metrics(TRUE, CALLED, PATIENTS, ("0", "1", "2"), ordered=False)
    assert plain["kappa"] == kappa(TRUE, CALLED, PATIENTS).leaf()


def test_a_task_without_labels_is_undefined_everywhere():
    found = class_metrics([], [], [], ("no", "yes"), ordered=False)
    assert found["n_slices"] == 0
    assert found["confusion_matrix"] is None
    assert found["mean_class_accuracy"]["value"] is None
    assert found["kappa"]["value"] is None


@pytest.mark.parametrize(
    ("columns", "message"),
    [(([0, 3], [0, 1], ["a", "b"]), r"from 0 to 2, got \[3.0\]"), (([0, 1], [0], ["a", "b"]), "must share one shape")],
)
def test_columns_that_make_no_sense_are_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        class_accuracy(*columns, 3)
