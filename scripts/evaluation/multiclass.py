"""How well classes are recognised: accuracy in each class, their mean, confusion matrix, kappa."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import confusion_matrix

from .agreement import kappa
from .estimates import NAN, Estimate, patient_codes, sum_by
from .proportions import from_variance, ratio


def class_accuracy(
    truth: ArrayLike, called: ArrayLike, patients: ArrayLike, n_classes: int, confidence: float = 0.95
) -> list[Estimate]:
    """Compute the share of each class's slices that is called so, with the clustered Wilson interval.

    Args:
        truth: class of each slice, 0 to ``n_classes - 1``, shape (N,).
        called: class that each slice is called, shape (N,).
        patients: patient of each slice, shape (N,).
        n_classes: number of classes; one without slices is undefined.
        confidence: level of the intervals.
    """
    true, guess, code, k = checked(truth, called, patients, n_classes)
    return [
        ratio(sum_by(code, k, (true == one) & (guess == one)), sum_by(code, k, true == one), confidence)
        for one in range(n_classes)
    ]


def mean_class_accuracy(
    truth: ArrayLike, called: ArrayLike, patients: ArrayLike, n_classes: int, confidence: float = 0.95
) -> Estimate:
    """Compute the mean of `class_accuracy` over the classes that have slices: the class-average accuracy of SpineNet.

    Each patient's share in the errors of all classes is summed before squaring, as in
    `scripts.evaluation.proportions.balanced_accuracy`, which this is for two classes.

    Args:
        truth: class of each slice, 0 to ``n_classes - 1``, shape (N,).
        called: class that each slice is called, shape (N,).
        patients: patient of each slice, shape (N,).
        n_classes: number of classes.
        confidence: level of the interval.

    Source: Jamaludin, Kadir & Zisserman 2016, MICCAI, section 4.
    """
    true, guess, code, k = checked(truth, called, patients, n_classes)
    present = [one for one in range(n_classes) if (true == one).any()]
    if not present:
        return Estimate(NAN, NAN, NAN, 0, 0, "no slice has a label")
    accuracies, share, informative = [], np.zeros(k), []
    for one in present:
        of_class, right = sum_by(code, k, true == one), sum_by(code, k, (true == one) & (guess == one))
        accuracies.append(right.sum() / of_class.sum())
        share += (right - accuracies[-1] * of_class) / of_class.sum()
        informative.append(int((of_class > 0).sum()))
    value = float(np.mean(accuracies))
    if len(present) < 2:
        return Estimate(value, NAN, NAN, k, len(true), "all slices have the same label")
    variance = k / max(k - 1, 1) * float((share**2).sum()) / len(present) ** 2
    return from_variance(value, variance, min(informative), k, len(true), confidence)


def class_estimates(
    truth: ArrayLike, called: ArrayLike, patients: ArrayLike, classes: Sequence[str], ordered: bool
) -> dict[str, Any]:
    """Compute how well one task's classes are recognised.

    Args:
        truth: class of each labelled slice, shape (N,).
        called: class that each is called, shape (N,).
        patients: patient of each, shape (N,).
        classes: names of the classes.
        ordered: whether a confusion with a neighbour is the smaller error; kappa is weighted by its square then.

    Returns:
        ``n_slices``, ``mean_class_accuracy``, ``class_accuracy`` by class, ``confusion_matrix`` (row: truth), ``kappa``
        and ``kappa_weights``.
    """
    true, guess, _, _ = checked(truth, called, patients, len(classes))
    weights = "quadratic" if ordered else "none"
    single = class_accuracy(true, guess, patients, len(classes))
    numbers = range(len(classes))
    return {
        "n_slices": len(true),
        "mean_class_accuracy": mean_class_accuracy(true, guess, patients, len(classes)),
        "class_accuracy": dict(zip(classes, single, strict=True)),
        "confusion_matrix": confusion_matrix(true, guess, labels=list(numbers)).tolist() if len(true) else None,
        "kappa": kappa(true, guess, patients, weights),
        "kappa_weights": weights,
    }


def class_metrics(
    truth: ArrayLike, called: ArrayLike, patients: ArrayLike, classes: Sequence[str], ordered: bool
) -> dict[str, Any]:
    """Compute what an evaluation writes of one task: `class_estimates` as JSON."""
    found = class_estimates(truth, called, patients, classes, ordered)
    single = {name: one.leaf() for name, one in found["class_accuracy"].items()}
    return found | {
        "mean_class_accuracy": found["mean_class_accuracy"].leaf(),
        "class_accuracy": single,
        "kappa": found["kappa"].leaf(),
    }


def checked(truth: ArrayLike, called: ArrayLike, patients: ArrayLike, n_classes: int) -> tuple[Any, Any, Any, int]:
    """Check and convert the columns; returns classes as integers, patients as codes 0 ... K-1, and K.

    Raises:
        ValueError: shapes differ, or a class is none of 0 to ``n_classes - 1``.
    """
    true, guess = np.asarray(truth), np.asarray(called)
    code, k = patient_codes(patients)
    if not (true.ndim == 1 and true.shape == guess.shape == code.shape):
        raise ValueError(
            f"truth, called and patients must share one shape (N,), got {true.shape}, {guess.shape}, {code.shape}"
        )
    foreign = sorted({float(one) for one in (*true, *guess)} - set(map(float, range(n_classes))))
    if foreign:
        raise ValueError(f"classes must be whole numbers from 0 to {n_classes - 1}, got {foreign[:3]}")
    return true.astype(np.int64), guess.astype(np.int64), code, k
