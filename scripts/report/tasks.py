"""What a network with several tasks says beside *compressed*: how well, how honestly, and beside the raters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy.special import logit

from ..cohort.labels import EVALUABLE
from ..errors import InputError
from ..evaluation.agreement import kappa
from ..evaluation.auc import pooled_auc
from ..evaluation.calibration import Assessment, assess
from ..evaluation.estimates import Floats
from ..evaluation.multiclass import class_estimates, mean_class_accuracy
from . import figures
from .inputs.cohorts import Cohort
from .inputs.columns import numbers
from .readers import pairs_of

if TYPE_CHECKING:
    from ..tasks import Task

SMALLEST = 1e-9
"""What a probability of 0 is taken for, whose logit would be infinite; and 1 less this for one of 1."""
ROUNDING = 1e-3
"""How far the probabilities of a slice may be from a sum of 1: people's tables are rounded."""

Drawings = dict[str, Callable[[Axes], None]]


def task_results(cohort: Cohort) -> tuple[dict[str, Any], Drawings]:
    """Compute the results of every further task that predictions.csv has, and the figures of each.

    Raises:
        InputError: a column of a task is missing, or a cell is no class or probability of it.
    """
    frame = cohort.predictions.slices
    if not any(name.endswith("_called") for name in frame.columns):
        return {}, {}
    from ..tasks import TASKS

    found: dict[str, Any] = {}
    pictures: Drawings = {}
    for task in TASKS[1:]:
        if f"{task.name}_called" in frame:
            content, judged = one_task(cohort, task)
            found[task.name] = content
            if content["confusion_matrix"]:
                pictures[f"task_{task.name}_confusion"] = figures.confusion_cells(
                    np.array(content["confusion_matrix"]), task.classes, "called by the model"
                )
            if judged:
                observed = f"observed share of {'yes' if task.kind == 'binary' else 'the class'}"
                pictures[f"task_{task.name}_calibration"] = figures.calibration(judged, observed)
    return found, pictures


def one_task(cohort: Cohort, task: Task) -> tuple[dict[str, Any], dict[str, Assessment]]:
    """Compute the results of one task, and how each class's probability fits."""
    frame = cohort.predictions.slices
    truth, called, chances = columns_of(frame, task, cohort.predictions.path.name)
    labelled, scored = np.isfinite(truth), np.isfinite(called) & np.isfinite(chances).all(axis=1)
    use = labelled & scored
    patients = pd.factorize(frame["patient_id"])[0][use]
    true, chance = truth[use].astype(int), chances[use]
    content: dict[str, Any] = {
        "kind": task.kind,
        "classes": list(task.classes),
        "n_patients": len(np.unique(patients)),
        "n_without_label": int((~labelled).sum()),
        "n_without_score": int((labelled & ~scored).sum()),
        **class_estimates(true, called[use].astype(int), patients, task.classes, task.kind == "ordinal"),
    }
    # of a binary task, the probability of no says nothing that that of yes does not
    shown = range(len(task.classes))[-1:] if task.kind == "binary" else range(len(task.classes))
    logits = logit(np.clip(chance, SMALLEST, 1 - SMALLEST))
    if task.kind == "binary":
        content["auc"] = pooled_auc(true, logits[:, 1], patients)
    judged = {task.classes[one]: assess(true == one, logits[:, one], patients) for one in shown} if len(true) else {}
    content["calibration"] = {
        name: {"intercept_at_slope_1": one.intercept_at_slope_1, "slope": one.slope, "brier": one.brier, "ece": one.ece}
        for name, one in judged.items()
    }
    return {**content, **raters_of(cohort, task)}, judged


def columns_of(frame: pd.DataFrame, task: Task, file: str) -> tuple[Floats, Floats, Floats]:
    """Read the columns of a task.

    Returns:
        class of each slice and class it is called, shape (N,), and the classes' probabilities, shape (N, classes); NaN
        where a cell is empty.

    Raises:
        InputError: a column is missing, or a cell holds something else.
    """
    from ..tasks import prediction_columns, probability_columns, tasks_of

    missing = [name for name in prediction_columns(tasks_of(["compressed", task.name])) if name not in frame]
    if missing:
        raise InputError(f"{file} has a column {task.name}_called, but no {', '.join(missing)}; evaluate the run anew")
    names = probability_columns(task)
    chances = np.column_stack([probabilities(frame, name, file) for name in names])
    if task.kind == "binary":
        chances = np.column_stack([1 - chances, chances])
    wrong = np.flatnonzero(np.abs(chances.sum(axis=1) - 1) > ROUNDING)
    if len(wrong):
        raise InputError(
            f"{file}: the probabilities of {task.name} must have a sum of 1, got {chances[wrong[0]].sum():g} "
            f"{place(frame, wrong[0])}"
        )
    return (
        classes(frame, task.name, task.classes, file),
        classes(frame, f"{task.name}_called", task.classes, file),
        chances,
    )


def place(frame: pd.DataFrame, number: int) -> str:
    """Name a slice in a message."""
    row = frame.iloc[number]
    return f"in slice {row['sop_uid'] or row['slice_index']} of series {row['series_uid']}"


def classes(frame: pd.DataFrame, column: str, names: tuple[str, ...], file: str) -> Floats:
    """Read a column of names of classes as their numbers, NaN where it is empty.

    Raises:
        InputError: a cell is no class.
    """
    text = (
        frame[column].str.strip().str.replace(r"^(\d+)\.0$", r"\1", regex=True)
    )  # as pandas writes beside empty cells
    known = text.map({name: float(number) for number, name in enumerate(names)})
    wrong = np.flatnonzero(known.isna() & ~text.str.lower().isin(["", "nan"]))
    if len(wrong):
        raise InputError(
            f"{file}: {column} must be one of {', '.join(names)} or empty, got {text.iloc[wrong[0]]!r} "
            f"{place(frame, wrong[0])}"
        )
    return np.asarray(known, dtype=np.float64)


def probabilities(frame: pd.DataFrame, column: str, file: str) -> Floats:
    """Read a column of probabilities, NaN where a cell holds no number.

    Raises:
        InputError: one is outside 0 to 1.
    """
    found = np.asarray(numbers(frame[column]), dtype=np.float64)
    wrong = np.flatnonzero((found < 0) | (found > 1))
    if len(wrong):
        raise InputError(
            f"{file}: {column} must be a number from 0 to 1, got {found[wrong[0]]:g} {place(frame, wrong[0])}"
        )
    return found


def raters_of(cohort: Cohort, task: Task) -> dict[str, Any]:
    """Compare every two raters, and every two readings of one, in a task on the scored slices.

    Returns:
        ``raters``: the first of each two is taken for the truth of the mean accuracy; and ``raters_note``, why nobody
        is compared or what was left out.
    """
    if cohort.labels is None:
        return {"raters": [], "raters_note": "no labels.csv: nothing is known of how well raters agree"}
    table = cohort.labels[cohort.labels["status"] == EVALUABLE]
    calls, unknown = class_numbers(table[task.column], task)
    note = f"{unknown} readings in labels.csv name no {task.name} that is known; they are left out" if unknown else ""
    table = table.assign(task=calls)[np.isfinite(calls)]
    slices, weights = cohort.predictions.slices, "quadratic" if task.kind == "ordinal" else "none"
    patient = pd.factorize(slices["patient_id"])[0]
    rows = []
    for first, second, a, b in pairs_of(slices, table, "task") if len(table) else ():
        both = np.isfinite(a) & np.isfinite(b)
        if both.any():
            accuracy = mean_class_accuracy(a[both], b[both], patient[both], len(task.classes))
            agreed = kappa(a[both], b[both], patient[both], weights)
            rows.append({"first": first, "second": second, "mean_class_accuracy": accuracy, "kappa": agreed})
    if not rows and not note:
        note = f"no slice has a {task.name} by two raters, or in two readings of one: their agreement is not known"
    return {"raters": rows, "raters_note": note}


def class_numbers(column: pd.Series, task: Task) -> tuple[Floats, int]:
    """Return the classes that raters named as numbers, NaN where there is none, and how many of them are unknown."""
    if not task.words:
        return np.asarray(column, dtype=np.float64), 0
    text = column.str.strip().str.lower()
    words: Mapping[str, int] = dict(task.words)
    known = np.asarray(text.map(words), dtype=np.float64)
    return known, int((np.isnan(known) & (text != "").to_numpy()).sum())
