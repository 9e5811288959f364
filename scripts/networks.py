"""The slice classifier: a trunk, by default torchvision's ResNet-50, and the heads of the paper."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from .errors import InputError
from .models.trunks import make_trunk
from .tasks import DEFAULT_BRANCH, DEFAULT_TASKS, Task, tasks_of
from .transforms import NORMALISATION


def network_interface(
    profile: str, tasks: Sequence[str] = DEFAULT_TASKS, context: int = 0, outlines: bool = False
) -> dict[str, Any]:
    """Describe what the network takes and gives, for metadata and checkpoints: enough to run it without this code.

    Args:
        profile: normalisation of the input, see `scripts.transforms.NORMALISATION`.
        tasks: names of the tasks.
        context: neighbours on each side of a slice, see `scripts.context.NeighbourSlicesd`.
        outlines: whether outlines stand beside the slice, see `scripts.canal.channels.OutlineChannelsd`.

    Raises:
        InputError: there is no such profile or task.
    """
    known = tasks_of(tasks)
    logits = [name for task in known for name in task.logits]
    more = {"tasks": [task_interface(task) for task in known]} if len(known) > 1 else {}
    order = "below, itself, above; as the slice itself at the end of a stack; all clipped at its percentiles"
    drawn = "probability of the canal, the slice itself, probability of the cord; as k / 255"
    channels = {"channels": order if context else drawn} if context or outlines else {}
    if profile not in NORMALISATION:
        raise InputError(f"profile must be {' or '.join(NORMALISATION)}, got {profile!r}")
    mean, std = NORMALISATION[profile]
    return {
        "input": {
            "name": "image",
            "layout": "(N, 3, H, W) float32: rows to posterior, columns to the patient's left",
            "grey_slice": "each slice clipped at its own 0.5 and 99.5 percentiles, scaled to k / 255, k = 0 to 255",
            "normalisation": "channel c = (grey_slice - mean[c]) / std[c]",
            **channels,
            "profile": profile,
            "mean": list(mean),
            "std": list(std),
        },
        "output": {
            "name": "pred",
            "layout": f"(N, {len(logits)}) float32 logits",
            "logits": logits,
            "activation": "sigmoid",
            "probability": "sigmoid(intercept + slope * logit)",
            "slope": 1.0,
            "intercept": 0.0,
            "note": "channel_def in network_data_format names levels of the heat map for MONAI Label, not logits",
            **more,
        },
    }


def task_interface(task: Task) -> dict[str, Any]:
    """Describe the logits of one of several tasks; activation, slope and intercept beside it are of ``compressed``."""
    meaning = {
        "binary": "P(yes) = sigmoid(logit)",
        "ordinal": "P(y > k) = product of sigmoid(logit) up to that of k; P(y = k) = P(y > k - 1) - P(y > k)",
        "nominal": "P(y = k) = softmax over the task's logits",
    }
    about = {"name": task.name, "kind": task.kind, "classes": list(task.classes), "logits": list(task.logits)}
    return {**about, "probability": meaning[task.kind]}


def input_range(profile: str) -> list[float]:
    """Return the smallest and largest value that the normalised input can have."""
    mean, std = NORMALISATION[profile]
    ends = [[(grey - m) / s for m, s in zip(mean, std, strict=True)] for grey in (0, 1)]
    return [round(min(ends[0]), 6), round(max(ends[1]), 6)]


def make_head(n_features: int, hidden: Sequence[int], dropout: float, n_logits: int = 1) -> nn.Sequential:
    """Build ``Linear -> ReLU -> Dropout`` for each hidden width, then the logits."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, width in enumerate(hidden, start=1):
        layers[f"fc{number}"] = nn.Linear(n_features, width)
        layers[f"relu{number}"] = nn.ReLU()
        layers[f"dropout{number}"] = nn.Dropout(dropout)
        n_features = width
    layers["logit"] = nn.Linear(n_features, n_logits)
    return nn.Sequential(layers)


def unwrapped(network: nn.Module) -> nn.Module:
    """Return the network itself, without the wrapper that trains it in several processes or on several GPUs."""
    if isinstance(network, nn.parallel.DistributedDataParallel | nn.DataParallel):
        module: nn.Module = network.module
        return module
    return network


class CordCompressionNet(nn.Module):
    """Trunk, global average pooling and a fully connected head; one logit of *compressed* per slice.

    ``features`` (the last child is ``layer4``, whatever the trunk), ``pool`` and ``head`` can be called one after the
    other, also on a TorchScript copy; heat maps rely on it. They are those of ``compressed``. Each further task has a
    `torch.nn.Sequential` in ``branches``: copies of all that follows its branching point, under the same names, with a
    head of its own.

    Args:
        hidden: widths of the head's hidden layers: ``[256]``, ``[512]``, ``[1024]``, ``[2048]`` are heads 1-4 of the
            paper, ``[256, 256]``, ``[512, 512]``, ``[1024, 1024]`` are heads 5-7.
        dropout: dropout after each hidden layer.
        weights: weights of the trunk: a torchvision enum name such as ``"IMAGENET1K_V2"``, a file, or another of
            `scripts.models.weights.load_weights`; None for random.
        architecture: a torchvision ResNet, or ``timm:`` and a network of timm, see `scripts.models.trunks.make_trunk`.
        tasks: names of `scripts.tasks.TASKS`, ``compressed`` first.
        branch: the first part that further tasks do not share: ``head``; a child of ``features`` such as ``layer4`` or
            ``layer3``; or ``none`` for nothing shared. Copies begin with the trunk's weights.

    Shapes: ``(N, 3, H, W)`` float32 to logits ``(N, 1)``, with more tasks ``(N, K)``, see
        `scripts.tasks.columns_of`; H and W of at least 32.

    Source: Merali et al. 2021, Methods and Table 3, doi:10.1038/s41598-021-89848-3.
    """

    def __init__(
        self,
        hidden: Sequence[int] = (512, 512),
        dropout: float = 0.3,
        weights: str | None = None,
        architecture: str = "resnet50",
        tasks: Sequence[str] = DEFAULT_TASKS,
        branch: str = DEFAULT_BRANCH,
    ) -> None:
        super().__init__()
        if any(width < 1 for width in hidden) or not 0 <= dropout < 1:
            raise InputError(f"expected positive hidden widths and dropout in [0, 1), got {hidden} and {dropout}")
        trunk = make_trunk(architecture, weights)
        self.features, self.pool = trunk.features, trunk.pool
        self.head = make_head(trunk.width, hidden, dropout)
        parts = [*self.features.named_children(), ("pool", self.pool)]
        names = [name for name, _ in parts]
        points = {"none": 0, **{name: number for number, name in enumerate(names[:-1])}, "head": len(parts)}
        if branch not in points:
            raise InputError(f"branch must be one of {', '.join(points)}, got {branch!r}")
        self.shared = points[branch]
        self.branches = nn.ModuleDict()
        for task in tasks_of(tasks)[1:]:
            own = OrderedDict(copy.deepcopy(parts[self.shared :]))
            own["head"] = make_head(trunk.width, hidden, dropout, len(task.logits))
            self.branches[task.name] = nn.Sequential(own)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map slices ``(N, 3, H, W)`` to logits ``(N, K)``, the first of them of ``compressed``."""
        if len(self.branches) == 0:
            return self.head(self.pool(self.features(image)))
        value, shared = image, image
        for number, part in enumerate(self.features):
            if number == self.shared:
                shared = value
            value = part(value)
        value = self.pool(value)
        if self.shared > len(self.features):
            shared = value
        logits = [self.head(value)]
        for branch in self.branches.values():
            logits.append(branch(shared))
        return torch.cat(logits, dim=1)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load all weights or raise; ``strict=False`` is not obeyed, because MONAI Label asks for it by default.

        Raises:
            InputError: the weights belong to another network, or are no floating-point numbers.
        """
        for name, own in self.state_dict().items():
            value = state_dict.get(name)
            if isinstance(value, torch.Tensor) and value.is_floating_point() != own.is_floating_point():
                raise InputError(f"{name} is of type {value.dtype}, expected {own.dtype}, as training writes it")
        try:
            return super().load_state_dict(state_dict, strict=True, assign=assign)
        except RuntimeError as error:
            found = [
                tuple(value.shape) for name, value in state_dict.items() if name.startswith("head.") and value.ndim > 1
            ]
            wanted = [tuple(value.shape) for name, value in self.head.state_dict().items() if value.ndim > 1]
            raise InputError(
                f"the weights belong to another network: its head has layers {found or 'of other names'}, this one "
                f"{wanted}; use the config (configs/heads/model_N.json) the weights were trained with"
            ) from error
