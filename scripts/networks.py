"""The slice classifier: torchvision's ResNet-50 without its last layer, and the heads of the paper."""

from __future__ import annotations

import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from .errors import InputError, root_message
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


def pretrained_state(weights: str, architecture: str) -> Mapping[str, Any]:
    """Load the trunk's weights from torchvision's cache or the network, or from a local file.

    Args:
        weights: the name of a torchvision enum, e.g. ``"IMAGENET1K_V2"``, or the path of a state dict.
        architecture: the torchvision architecture they belong to.

    Raises:
        InputError: the name is unknown, the file unreadable, or the download impossible.
    """
    enum = torchvision.models.get_model_weights(architecture)
    if weights in enum.__members__:
        entry = enum[weights]
        cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(entry.url).name
        try:
            return entry.get_state_dict(progress=True, check_hash=True)
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"the {weights} weights of {architecture} could not be downloaded ({error}); put the file "
                f"{cached.name} (torchvision's page of {architecture} names it) at {cached}, or give "
                "--weights FILE, or train without pretrained weights: --weights null"
            ) from error
    path = Path(weights)
    if not path.is_file():
        raise InputError(
            f"weights must be null, a file, or one of {', '.join(enum.__members__)}; got {weights!r}, which is no file"
        )
    content = load_safely(path)
    if not isinstance(content, Mapping):
        raise InputError(f"{path} holds a {type(content).__name__}, expected a state dict")
    return content


def load_safely(path: Path) -> Any:
    """Load a file of `torch.save` without running any code in it and without more memory than it has bytes.

    Raises:
        InputError: it holds other things than tensors and plain values, is compressed, which `torch.save` never does,
            or has tensors that claim more than the file holds.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if any(member.file_size != member.compress_size for member in archive.infolist()):
                    raise InputError(f"{path} is compressed, which PyTorch never does; take the original file")
        content = torch.load(path, map_location="cpu", weights_only=True)
        n_bytes, known = 0, set[int]()
        for tensor in tensors_in(content):
            storage = tensor.untyped_storage()
            n_bytes += 0 if storage.data_ptr() in known else storage.nbytes()
            known.add(storage.data_ptr())
            if tensor.numel() * tensor.element_size() > storage.nbytes() or n_bytes > path.stat().st_size:
                raise InputError(f"{path} claims a tensor of shape {tuple(tensor.shape)}, more than the file holds")
    except InputError:
        raise
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}; change its permissions, or name another file"
        ) from error
    except Exception as error:  # torch raises many kinds for a file that is no checkpoint
        reason = root_message(error).splitlines()[0]
        raise InputError(f"{path} is no checkpoint that can be loaded safely (weights only): {reason}") from error
    return content


def tensors_in(content: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors of nested mappings, lists and tuples."""
    if isinstance(content, torch.Tensor):
        yield content
    elif isinstance(content, Mapping | list | tuple):
        for part in content.values() if isinstance(content, Mapping) else content:
            yield from tensors_in(part)


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
    """ResNet trunk, global average pooling and a fully connected head; one logit of *compressed* per slice.

    ``features`` (torchvision's child names, ``conv1`` to ``layer4``), ``pool`` and ``head`` can be called one after the
    other, also on a TorchScript copy; heat maps rely on it.

    Args:
        hidden: widths of the head's hidden layers: ``[256]``, ``[512]``, ``[1024]``, ``[2048]`` are heads 1-4 of the
            paper, ``[256, 256]``, ``[512, 512]``, ``[1024, 1024]`` are heads 5-7.
        dropout: dropout after each hidden layer.
        weights: weights of the trunk: a torchvision enum name such as ``"IMAGENET1K_V2"``, a file, or None for random.
        architecture: the name of a torchvision ResNet.

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
        if not architecture.startswith("resnet") or architecture not in torchvision.models.list_models(
            torchvision.models
        ):
            raise InputError(f"architecture must be a torchvision ResNet such as resnet50, got {architecture!r}")
        if any(width < 1 for width in hidden) or not 0 <= dropout < 1:
            raise InputError(f"expected positive hidden widths and dropout in [0, 1), got {hidden} and {dropout}")
        trunk = torchvision.models.get_model(architecture, weights=None)
        if weights is not None and weights.lower() not in ("null", "none", ""):  # text on a command line
            state = {
                name: value for name, value in pretrained_state(weights, architecture).items() if name[:3] != "fc."
            }
            problems = trunk.load_state_dict(state, strict=False)
            absent = [name for name in problems.missing_keys if not name.startswith("fc.")]
            if absent or problems.unexpected_keys:
                names = ", ".join([*absent, *problems.unexpected_keys][:3])
                raise InputError(f"{weights} does not hold the weights of {architecture}: {names} … do not match")
        children = [(name, child) for name, child in trunk.named_children() if name not in ("avgpool", "fc")]
        self.features = nn.Sequential(OrderedDict(children))
        self.pool = nn.Sequential(OrderedDict(average=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten()))
        self.head = make_head(trunk.fc.in_features, hidden, dropout)

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
