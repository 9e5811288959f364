"""The class-weighted loss, and the sum of the losses of several tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from .errors import InputError
from .tasks import DEFAULT_TASKS, Task, columns_of, tasks_of


def weighted_bce(pos_weight: float = 3.8) -> torch.nn.BCEWithLogitsLoss:
    """Return the binary cross-entropy on logits in which a compressed slice counts ``pos_weight`` times.

    Source: Merali et al. 2021, Methods (3.8 for compressed, 1 for not compressed).
    """
    if not pos_weight > 0:
        raise InputError(f"pos_weight must be positive, got {pos_weight}")
    return torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor([float(pos_weight)]))


def counted_pos_weight(labels: Sequence[int]) -> float:
    """Return the ratio of slices without to slices with compression, at which both classes weigh the same.

    Raises:
        InputError: there is only one class.
    """
    positive = sum(labels)
    if not 0 < positive < len(labels):
        raise InputError(
            f"training needs both classes, but {positive} of {len(labels)} slices are compressed; check the training "
            "section of the datalist"
        )
    return (len(labels) - positive) / positive


class TaskLoss(nn.Module):
    """Sum of the tasks' losses; a label that is missing (NaN) adds nothing and has no gradient.

    Each task's loss is summed over the labelled slices of a batch, each times the weight of its class, and divided by
    the number of all slices: so a labelled slice counts the same in whatever batch it comes, and a batch without any
    label of a task is nothing special.

    Args:
        tasks: names of the tasks, ``compressed`` first.
        pos_weight: of compressed slices.
        class_weights: weight of each class of the other tasks, see `scripts.tasks.class_weights`; None weighs all 1.

    Source: SpineNet, Jamaludin et al. 2016 (summed losses, missing labels without gradient, weights 1 / frequency).
    """

    def __init__(
        self, tasks: Sequence[str], pos_weight: float = 3.8, class_weights: Mapping[str, Sequence[float]] | None = None
    ) -> None:
        super().__init__()
        self.tasks = tasks_of(tasks)
        self.columns = columns_of(self.tasks)
        self.compressed = weighted_bce(pos_weight)
        for task in self.tasks[1:]:
            weights = (class_weights or {}).get(task.name) or [1.0] * len(task.classes)
            self.register_buffer(f"weights_{task.name}", torch.tensor(weights, dtype=torch.float32))

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Compute the loss of logits ``(N, K)`` and labels ``(N, T)``."""
        total = self.task_loss(logits, labels, self.tasks[0].name)
        for task in self.tasks[1:]:
            total = total + self.task_loss(logits, labels, task.name)
        return total

    def part(self, name: str) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """Return the loss of one task as a function of all logits and labels."""
        return partial(self.task_loss, name=name)

    def task_loss(self, logits: torch.Tensor, labels: torch.Tensor, name: str) -> torch.Tensor:
        """Compute the loss of one task."""
        number = [task.name for task in self.tasks].index(name)
        task, own, label = self.tasks[number], logits[:, self.columns[name]], labels[:, number]
        if number == 0:
            loss: torch.Tensor = self.compressed(own, label[:, None])
            return loss
        known = ~torch.isnan(label)
        classes = torch.where(known, label, 0).long()
        weights = self.get_buffer(f"weights_{name}")[classes] * known
        return (weights * slice_losses(own, classes, task)).sum() / len(label)


def slice_losses(logits: torch.Tensor, classes: torch.Tensor, task: Task) -> torch.Tensor:
    """Compute the loss of every slice, not weighted, shape (N,).

    Args:
        logits: of the task, ``(N, len(task.logits))``.
        classes: of the slices, ``(N,)``.
        task: nominal (cross-entropy), binary, or ordinal: CORN, the binary cross-entropies of the steps that the slice
            has reached. Step k asks whether y > k of slices with y >= k only, and so learns P(y > k | y > k - 1).

    Source: Shi, Cao & Raschka 2023, arXiv:2111.08851, equation 7, here averaged over slices instead of over steps.
    """
    if task.kind == "nominal":
        return cross_entropy(logits, classes, reduction="none")
    steps = torch.arange(logits.shape[1], device=logits.device)
    exceeds, reached = (classes[:, None] > steps).to(logits.dtype), classes[:, None] >= steps
    return (binary_cross_entropy_with_logits(logits, exceeds, reduction="none") * reached).sum(1)


def task_loss(
    tasks: Sequence[str] = DEFAULT_TASKS,
    pos_weight: float = 3.8,
    class_weights: Mapping[str, Sequence[float]] | None = None,
) -> nn.Module:
    """Return the loss of a training: `weighted_bce` where ``compressed`` is the only task, else `TaskLoss`."""
    if len(tasks_of(tasks)) == 1:
        return weighted_bce(pos_weight)
    return TaskLoss(tasks, pos_weight, class_weights)
