"""Tasks: what the network says of a slice beside *compressed*, how each is labelled, and what its logits mean.

A datalist holds ``grade``, ``kind`` and ``t2_signal`` of a slice only where somebody recorded them. What is missing is
NaN in the label tensor, and trains nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch.nn.functional import softmax

from .errors import InputError


@dataclass(frozen=True)
class Task:
    """One question about a slice.

    Attributes:
        name: as settings name it.
        kind: ``binary``, ``ordinal`` (classes in order) or ``nominal``.
        classes: names of the classes; a label is the number of one.
        column: of the datalist, and of labels.csv.
        words: what else than a class's number the column may hold, and the class that it means.
    """

    name: str
    kind: str
    classes: tuple[str, ...]
    column: str
    words: tuple[tuple[str, int], ...] = ()

    @property
    def logits(self) -> tuple[str, ...]:
        """Names of the task's logits, in their order.

        A binary task has one. An ordinal task has one for each step: ``grade>1`` is the logit of P(y > 1 | y > 0), see
        `probabilities`. A nominal task has one for each class.
        """
        if self.kind == "binary":
            return (self.name,)
        if self.kind == "ordinal":
            return tuple(f"{self.name}>{one}" for one in self.classes[:-1])
        return tuple(f"{self.name}={one}" for one in self.classes)


COMPRESSED = "compressed"
DEFAULT_TASKS, DEFAULT_BRANCH = (COMPRESSED,), "head"
YES_OR_NO = ("no", "yes")
PARTIAL = ("partial", "indentation", "flattening", "torsion")
TASKS = (
    Task(COMPRESSED, "binary", YES_OR_NO, "label"),
    Task("grade", "ordinal", ("0", "1", "2", "3"), "grade"),
    Task(
        "kind",
        "nominal",
        ("none", "partial", "circumferential"),
        "kind",
        (("none", 0), *((word, 1) for word in PARTIAL), ("circumferential", 2)),
    ),
    Task("t2_signal", "binary", YES_OR_NO, "t2_signal"),
)
"""Grades are Kang-style, 0 to 3; kinds are Merali's words, of which all but circumferential are partial."""


def tasks_of(names: Sequence[str]) -> tuple[Task, ...]:
    """Return the tasks of some names, in their order.

    Raises:
        InputError: a name is unknown or there twice, or ``compressed`` is not the first.
    """
    known = {one.name: one for one in TASKS}
    listed = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    if not listed or not set(names) <= set(known) or len(set(names)) < len(names):
        raise InputError(f"tasks must be a list of {', '.join(known)}, each at most once; got {names!r}")
    if not names or names[0] != COMPRESSED:
        raise InputError(f"the first of the tasks must be {COMPRESSED}, got {list(names)}")
    return tuple(known[name] for name in names)


def is_tasks(value: Any) -> bool:
    """Return whether a value is a list of tasks that a network can have."""
    try:
        tasks_of(value)
    except InputError:
        return False
    return True


def columns_of(tasks: Sequence[Task]) -> dict[str, slice]:
    """Return which columns of the logits ``(N, K)`` belong to each task."""
    ends = [sum(len(one.logits) for one in tasks[:number]) for number in range(len(tasks) + 1)]
    return {one.name: slice(*ends[number : number + 2]) for number, one in enumerate(tasks)}


def label_of(entry: Mapping[str, Any], task: Task) -> float:
    """Return the class of a slice, NaN where nobody recorded one.

    Raises:
        InputError: the cell holds something else.
    """
    value = entry.get(task.column)
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return math.nan
    words = dict(task.words)
    if words:
        if isinstance(value, str) and value.strip().lower() in words:
            return float(words[value.strip().lower()])
        expected = ", ".join(words)
    else:
        number = isinstance(value, Real) and (task.kind == "binary" or not isinstance(value, bool))
        if number and float(value).is_integer() and 0 <= value < len(task.classes):
            return float(value)
        expected = ", ".join(str(number) for number in range(len(task.classes)))
    place = " ".join(str(entry.get(name, "")) for name in ("image", "sop_uid", "frame", "slice_index")).strip()
    raise InputError(
        f"{place}: {task.column} must be one of {expected}, or absent; got {value!r}; correct it in labels.csv and "
        f"make the datalist again, or train without the task {task.name}"
    )


def labels_of(entry: Mapping[str, Any], tasks: Sequence[Task]) -> list[float]:
    """Return the class of a slice in each task."""
    return [label_of(entry, task) for task in tasks]


def class_weights(names: Sequence[str], data: Iterable[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Count the classes of all tasks but ``compressed``, whose weight is a setting, and weigh each by 1 / frequency.

    A class of n of the N labelled slices weighs N / (C n), where C classes have any slice: all of them weigh the same
    together, and a slice weighs 1 on average. An ordinal slice has the weight of its own grade at every step. A class
    without slices weighs 0, which matters in validation alone.

    Args:
        names: of the tasks.
        data: the training slices of a datalist.

    Returns:
        The weight of each class by the name of the task.

    Raises:
        InputError: a task has no label, or labels of one class only.
    """
    extra = tasks_of(names)[1:]
    entries = list(data) if extra else []
    found = {}
    for task in extra:
        labels = [label_of(entry, task) for entry in entries]
        counts = Counter(int(label) for label in labels if not math.isnan(label))
        if len(counts) < 2:
            what = f"labels of one class only ({task.classes[next(iter(counts))]})" if counts else "no label"
            raise InputError(
                f"the training slices have {what} for the task {task.name}: record {task.column} in labels.csv and "
                f"make the datalist again with `python -m scripts split`, or leave {task.name} out of tasks"
            )
        total = sum(counts.values())
        found[task.name] = [
            total / (len(counts) * counts[number]) if counts[number] else 0.0 for number in range(len(task.classes))
        ]
    return found


def probabilities(logits: torch.Tensor, task: Task) -> torch.Tensor:
    """Compute the probability of each class.

    Args:
        logits: of the task, ``(N, len(task.logits))``.
        task: binary; nominal (softmax); or ordinal, whose logits are conditional: P(y > 0), P(y > 1 | y > 0), … Their
            products P(y > k) fall with k by construction, and their differences are the classes' probabilities.

    Returns:
        ``(N, classes)``, of sum 1.

    Source: CORN, Shi, Cao & Raschka 2023, Pattern Anal Appl 26:941-955, arXiv:2111.08851, equations 4 and 5.
    """
    if task.kind == "nominal":
        return softmax(logits, dim=1)
    exceeded = exceedance(logits)
    ends = torch.ones_like(exceeded[:, :1]), torch.zeros_like(exceeded[:, :1])
    return torch.cat([ends[0], exceeded], 1) - torch.cat([exceeded, ends[1]], 1)


def exceedance(logits: torch.Tensor) -> torch.Tensor:
    """Compute P(y > k) of an ordinal task's conditional logits, ``(N, K - 1)``: their sigmoids' cumulative product."""
    return torch.sigmoid(logits).cumprod(dim=1)


def predicted(logits: torch.Tensor, task: Task) -> torch.Tensor:
    """Return the class that a slice most likely has ``(N,)``; of an ordinal task, how many P(y > k) exceed 0.5.

    Source: CORN, as `probabilities`, equation 6.
    """
    if task.kind == "nominal":
        return logits.argmax(1)
    return (exceedance(logits) > 0.5).sum(1)


def task_named(name: str, tasks: Sequence[Task], key: str = "heatmap_task") -> Task:
    """Return one of a network's tasks.

    Args:
        name: of the task.
        tasks: the network's.
        key: the setting, for the message.

    Raises:
        InputError: it has no such task.
    """
    found = [task for task in tasks if task.name == name]
    if not found:
        known = ", ".join(task.name for task in tasks)
        raise InputError(f"{key} must be one of the tasks of the network ({known}), got {name!r}")
    return found[0]


def prediction_columns(tasks: Sequence[Task]) -> tuple[str, ...]:
    """Return what predictions.csv has beside the columns of ``compressed``: class, called class, probabilities."""
    return tuple(name for task in tasks[1:] for name in (task.name, f"{task.name}_called", *probability_columns(task)))


def probability_columns(task: Task) -> tuple[str, ...]:
    """Return the names of a task's probabilities: of yes, or of each class."""
    if task.kind == "binary":
        return (f"{task.name}_probability",)
    return tuple(f"{task.name}_probability_{one}" for one in task.classes)


def result_columns(tasks: Sequence[Task]) -> tuple[str, ...]:
    """Return what slices.csv has beside the columns of ``compressed``: called class and probabilities of each task."""
    return tuple(name for task in tasks[1:] for name in (f"{task.name}_called", *probability_columns(task)))


def result_cells(logits: torch.Tensor, tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """Return the cells of `result_columns` of slices with the logits ``(N, K)``."""
    rows: list[dict[str, Any]] = [{} for _ in logits]
    for task in tasks[1:]:
        own, names = logits[:, columns_of(tasks)[task.name]], probability_columns(task)
        chances = probabilities(own, task)[:, -len(names) :].tolist()
        for row, called, chance in zip(rows, predicted(own, task).tolist(), chances, strict=True):
            row |= {f"{task.name}_called": task.classes[called], **dict(zip(names, chance, strict=True))}
    return rows


def contradiction(compressed: bool, row: Mapping[str, Any]) -> str:
    """Describe how a slice's tasks contradict its call, empty where they do not.

    A slice is compressed exactly where its Kang-style grade is 2 or 3, and where its kind is another than none.

    Args:
        compressed: whether the slice is called so.
        row: cells of `result_columns`.
    """
    said = {"grade": row.get("grade_called", "0") in ("2", "3"), "kind": row.get("kind_called", "none") != "none"}
    found = [f"{name} {row[f'{name}_called']}" for name in said if f"{name}_called" in row and said[name] != compressed]
    return f"{'' if compressed else 'not '}compressed, but {' and '.join(found)}" if found else ""


def prediction_cells(
    entries: Sequence[Mapping[str, Any]], logits: torch.Tensor, tasks: Sequence[Task]
) -> list[dict[str, Any]]:
    """Return the cells of `prediction_columns` of some slices.

    Args:
        entries: the slices, of a datalist.
        logits: theirs ``(N, K)``.
        tasks: the network's.
    """
    rows = result_cells(logits, tasks)
    for row, entry in zip(rows, entries, strict=True):
        for task in tasks[1:]:
            label = label_of(entry, task)
            row[task.name] = "" if math.isnan(label) else task.classes[int(label)]
    return rows
