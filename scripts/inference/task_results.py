"""What the further tasks of a network found: in each slice, in the series, and where they contradict the call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from ..records import SliceResult, TaskFindings
from ..tasks import TASKS, Task, contradiction, probability_columns, result_cells


def with_tasks(rows: Sequence[SliceResult], logits: torch.Tensor, tasks: Sequence[Task]) -> list[SliceResult]:
    """Add the further tasks to the results of slices, and ``contradiction``; nothing where there are none.

    Args:
        rows: the slices.
        logits: theirs ``(D, K)``.
        tasks: the network's; a slice without a score has none of them.
    """
    if len(tasks) < 2:
        return list(rows)
    complete = []
    for row, cells in zip(rows, result_cells(logits, tasks), strict=True):
        call = row["compressed"]
        odd = None if call is None else contradiction(bool(call), cells)
        known = dict.fromkeys(cells) if call is None else cells
        complete.append(cast(SliceResult, {**row, **known, "contradiction": odd}))
    return complete


def task_findings(rows: Sequence[Mapping[str, Any]]) -> TaskFindings:
    """Return the highest grade of a series, and in how many slices each further finding was called.

    Args:
        rows: of slices.csv; what the network has no task for is left out.
    """
    found: TaskFindings = {}
    if not rows or "contradiction" not in rows[0]:
        return found
    scored = [row for row in rows if row["contradiction"] is not None]
    if "grade_called" in rows[0]:
        highest = max(scored, key=lambda row: (int(row["grade_called"]), chance_of_call(row, "grade")), default=None)
        found["highest_grade"] = None if highest is None else int(highest["grade_called"])
        found["highest_grade_slice"] = None if highest is None else int(highest["slice_index"])
    if "kind_called" in rows[0]:
        found["n_partial"] = sum(row["kind_called"] == "partial" for row in scored)
        found["n_circumferential"] = sum(row["kind_called"] == "circumferential" for row in scored)
    if "t2_signal_called" in rows[0]:
        found["n_t2_signal"] = sum(row["t2_signal_called"] == "yes" for row in scored)
    found["n_contradictory"] = sum(bool(row["contradiction"]) for row in scored)
    return found


def chance_of_call(row: Mapping[str, Any], name: str) -> float:
    """Return the probability of what a further task calls a slice.

    Args:
        row: of slices.csv, of a slice with a score.
        name: of the task. An ordinal task's is that of the called class or a higher one, a binary task's that of yes,
            whatever the call.
    """
    task = next(one for one in TASKS if one.name == name)
    chances = [float(row[column]) for column in probability_columns(task)]
    if task.kind == "binary":
        return chances[0]
    called = task.classes.index(row[f"{name}_called"])
    return sum(chances[called:]) if task.kind == "ordinal" else chances[called]


def contradiction_warnings(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return where the tasks of a slice contradict its call, the same contradiction of several slices once."""
    slices: dict[str, list[str]] = {}
    for row in rows:
        if row.get("contradiction"):
            slices.setdefault(row["contradiction"], []).append(str(row["slice_index"]))
    return [f"slice {', '.join(numbers)}: {odd}" for odd, numbers in slices.items()]


def calls_in_words(row: Mapping[str, Any]) -> str:
    """Describe what the further tasks call a slice; empty where there is none, or no score."""
    calls = [(task.name, row.get(f"{task.name}_called")) for task in TASKS[1:]]
    return ", ".join(f"{name} {call}" for name, call in calls if call is not None)
