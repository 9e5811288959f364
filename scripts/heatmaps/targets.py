"""What a heat map explains: the logits that speak for a finding of one task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.functional import softmax

from ..tasks import TASKS, Task, exceedance, predicted, probability_columns


def explained(logits: torch.Tensor, task: Task) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which logits of a task a heat map explains, and the probability of what they stand for.

    It explains what speaks for a finding: yes of a binary task; of an ordinal task the called class or a higher one,
    from the second class on, by the logits of the steps up to it; of a nominal task the likeliest class but the first.

    Args:
        logits: of the task, ``(N, len(task.logits))``.
        task: the task.

    Returns:
        1 for each logit that is explained, else 0, ``(N, len(task.logits))``; and the probabilities ``(N,)``.
    """
    if task.kind == "nominal":
        chosen = 1 + logits[:, 1:].argmax(1, keepdim=True)
        return torch.zeros_like(logits).scatter(1, chosen, 1.0), softmax(logits, dim=1).gather(1, chosen)[:, 0]
    last = (predicted(logits, task) - 1).clamp(min=0)[:, None]
    steps = torch.arange(logits.shape[1], device=logits.device) <= last
    return steps.to(logits.dtype), exceedance(logits).gather(1, last)[:, 0]


def explained_task(summary: Mapping[str, Any]) -> Task | None:
    """Return the further task that the heat maps of a result explain; None where they explain ``compressed``."""
    return next((task for task in TASKS[1:] if task.name == summary.get("heatmap_task")), None)


def heat_in_words(row: Mapping[str, Any], task: Task) -> str:
    """Describe what `explained` stands for in a slice, with its probability; ``-`` where there is no score.

    Args:
        row: of slices.csv.
        task: one of the further tasks.
    """
    if row[f"{task.name}_called"] is None:
        return "-"
    chances = [float(row[name]) for name in probability_columns(task)]
    if task.kind == "binary":
        return f"{task.name} {chances[0]:.2f}"
    if task.kind == "ordinal":
        least = max(1, task.classes.index(row[f"{task.name}_called"]))
        name = task.classes[least] + ("+" if least + 1 < len(task.classes) else "")
        return f"{task.name} {name} {sum(chances[least:]):.2f}"
    likeliest = max(range(1, len(chances)), key=chances.__getitem__)
    return f"{task.classes[likeliest]} {chances[likeliest]:.2f}"
