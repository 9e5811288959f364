"""The slice classifier: a trunk, by default torchvision's ResNet-50, and the heads of the paper."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from .errors import InputError
from .models.trunks import make_trunk
from .transforms import NORMALISATION

LOGITS = ("compressed",)
"""Names of the network's logits, in order."""


def network_interface(profile: str) -> dict[str, Any]:
    """Describe what the network takes and gives, for metadata and checkpoints: enough to run it without this code.

    Args:
        profile: normalisation of the input, see `scripts.transforms.NORMALISATION`.

    Raises:
        InputError: there is no such profile.
    """
    if profile not in NORMALISATION:
        raise InputError(f"profile must be {' or '.join(NORMALISATION)}, got {profile!r}")
    mean, std = NORMALISATION[profile]
    return {
        "input": {
            "name": "image",
            "layout": "(N, 3, H, W) float32: rows to posterior, columns to the patient's left",
            "grey_slice": "each slice clipped at its own 0.5 and 99.5 percentiles, scaled to k / 255, k = 0 to 255",
            "normalisation": "channel c = (grey_slice - mean[c]) / std[c]",
            "profile": profile,
            "mean": list(mean),
            "std": list(std),
        },
        "output": {
            "name": "pred",
            "layout": "(N, 1) float32 logits",
            "logits": list(LOGITS),
            "activation": "sigmoid",
            "probability": "sigmoid(intercept + slope * logit)",
            "slope": 1.0,
            "intercept": 0.0,
            "note": "channel_def in network_data_format names levels of the heat map for MONAI Label, not logits",
        },
    }


def input_range(profile: str) -> list[float]:
    """Return the smallest and largest value that the normalised input can have."""
    mean, std = NORMALISATION[profile]
    ends = [[(grey - m) / s for m, s in zip(mean, std, strict=True)] for grey in (0, 1)]
    return [round(min(ends[0]), 6), round(max(ends[1]), 6)]


def make_head(n_features: int, hidden: Sequence[int], dropout: float) -> nn.Sequential:
    """Build ``Linear -> ReLU -> Dropout`` for each hidden width, then one logit."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, width in enumerate(hidden, start=1):
        layers[f"fc{number}"] = nn.Linear(n_features, width)
        layers[f"relu{number}"] = nn.ReLU()
        layers[f"dropout{number}"] = nn.Dropout(dropout)
        n_features = width
    layers["logit"] = nn.Linear(n_features, 1)
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
    other, also on a TorchScript copy; heat maps rely on it.

    Args:
        hidden: widths of the head's hidden layers: ``[256]``, ``[512]``, ``[1024]``, ``[2048]`` are heads 1-4 of the
            paper, ``[256, 256]``, ``[512, 512]``, ``[1024, 1024]`` are heads 5-7.
        dropout: dropout after each hidden layer.
        weights: weights of the trunk: a torchvision enum name such as ``"IMAGENET1K_V2"``, a file, or another of
            `scripts.models.weights.load_weights`; None for random.
        architecture: a torchvision ResNet, or ``timm:`` and a network of timm, see `scripts.models.trunks.make_trunk`.

    Shapes: ``(N, 3, H, W)`` float32 to logits ``(N, 1)``; H and W of at least 32.

    Source: Merali et al. 2021, Methods and Table 3, doi:10.1038/s41598-021-89848-3.
    """

    def __init__(
        self,
        hidden: Sequence[int] = (512, 512),
        dropout: float = 0.3,
        weights: str | None = None,
        architecture: str = "resnet50",
    ) -> None:
        super().__init__()
        if any(width < 1 for width in hidden) or not 0 <= dropout < 1:
            raise InputError(f"expected positive hidden widths and dropout in [0, 1), got {hidden} and {dropout}")
        trunk = make_trunk(architecture, weights)
        self.features, self.pool = trunk.features, trunk.pool
        self.head = make_head(trunk.width, hidden, dropout)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map slices ``(N, 3, H, W)`` to logits ``(N, 1)``."""
        return self.head(self.pool(self.features(image)))

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load all weights or raise; ``strict=False`` is not obeyed, because MONAI Label asks for it by default.

        Raises:
            InputError: the weights belong to another network.
        """
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
