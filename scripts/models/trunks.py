"""Trunks of the classifier: torchvision's ResNets, and timm's networks cut into the same named parts.

Every trunk has the children ``layer1`` to ``layer4``, at a quarter to a thirty-second of the image's resolution. So
heat maps, branches of tasks and the trust report name the same layers whatever the network.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any, NamedTuple

import torch
import torchvision
from monai.utils import optional_import
from torch import nn

from ..errors import InputError
from .layers import LAYERS
from .weights import load_weights

TIMM = "timm:"
"""Prefix of an architecture that the package timm makes."""
POOLS = ("global_pool", "head")
"""Names of timm's first module after the features."""


class Trunk(NamedTuple):
    """What comes before the head.

    Attributes:
        features: ``(N, 3, H, W)`` to ``(N, C, H / 32, W / 32)``; the last child is ``layer4``.
        pool: from there to ``(N, width)``.
        width: features that the head takes.
        matched: what was loaded: ``matched N of M tensors …``; empty for random weights.
    """

    features: nn.Sequential
    pool: nn.Sequential
    width: int
    matched: str = ""


def is_architecture(value: Any) -> bool:
    """Return whether a value may be the name of an architecture; whether there is such a one, `make_trunk` knows."""
    return isinstance(value, str) and re.fullmatch(rf"({TIMM})?[A-Za-z]\w*", value, re.ASCII) is not None


def make_trunk(architecture: str, weights: str | None = None) -> Trunk:
    """Build a trunk and load its weights.

    Args:
        architecture: a torchvision ResNet such as ``resnet50``, or ``timm:`` and the name of one of timm's networks.
        weights: see `scripts.models.weights.load_weights`; None for random ones.

    Raises:
        InputError: there is no such network, it cannot be a trunk, or the weights are not its own.
    """
    model, classifier, trunk = timm_trunk(architecture) if architecture.startswith(TIMM) else resnet_trunk(architecture)
    if weights is None or weights.lower() in ("null", "none", ""):  # text on a command line
        return trunk
    whole = nn.ModuleDict({"features": trunk.features, "pool": trunk.pool})
    return trunk._replace(matched=load_weights(model, whole, weights, architecture, classifier))


def resnet_trunk(architecture: str) -> tuple[nn.Module, str, Trunk]:
    """Build one of torchvision's ResNets; return it, the name of its classifier, and its parts."""
    known = architecture.startswith("resnet") and architecture in torchvision.models.list_models(torchvision.models)
    if not known:
        raise InputError(
            f"architecture must be a torchvision ResNet such as resnet50, or {TIMM} and a network of timm, such as "
            f"{TIMM}convnext_nano; got {architecture!r}"
        )
    model = torchvision.models.get_model(architecture, weights=None)
    children = OrderedDict((name, child) for name, child in model.named_children() if name not in ("avgpool", "fc"))
    pool = nn.Sequential(OrderedDict(average=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten()))
    return model, "fc", Trunk(nn.Sequential(children), pool, model.fc.in_features)


def timm_trunk(architecture: str) -> tuple[nn.Module, str, Trunk]:
    """Build one of timm's networks; return it, the name of its classifier, and its parts.

    Raises:
        InputError: timm is missing, knows no such network, or its modules cannot be called one after the other.
    """
    timm, installed = optional_import("timm")
    if not installed:
        raise InputError(f"{architecture} needs the package timm: pip install -e '.[timm]'")
    name = architecture.removeprefix(TIMM)
    if not timm.is_model(name):
        raise InputError(f"timm has no network {name!r}; timm.list_models() names them all")
    model: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
    children = [(child, module) for child, module in model.named_children() if not isinstance(module, nn.Identity)]
    cut = next((number for number, (child, _) in enumerate(children) if child in POOLS), 0)
    ends = {one["module"]: one["reduction"] for one in getattr(model, "feature_info", ())}
    if not cut or set(LAYERS) - {*ends.values()}:
        raise InputError(f"{architecture} is no convolutional network of stages at 1/4, 1/8, 1/16 and 1/32")
    features = in_layers(children[:cut], ends)
    pool = nn.Sequential(OrderedDict(children[cut:]))
    width = require_chain(model, features, pool, architecture)
    classifier: Any = model.pretrained_cfg
    return model, str(classifier["classifier"]), Trunk(features, pool, width)


def in_layers(children: list[tuple[str, nn.Module]], ends: dict[str, int]) -> nn.Sequential:
    """Gather modules under the names of ``LAYERS``.

    Args:
        children: modules up to the pooling; one that holds stages is opened.
        ends: reduction of the resolution after the modules that end a stage; what halves it once is the ``stem``.

    Returns:
        ``stem`` (unless the first stage is at a quarter at once) and ``layer1`` to ``layer4``; what follows the last
        stage belongs to it.
    """
    parts: list[tuple[str, nn.Module]] = []
    for name, module in children:
        holds_stages = any(end.startswith(f"{name}.") for end in ends)
        inside = [(f"{name}.{part}", one) for part, one in module.named_children()]
        parts += inside if holds_stages else [(name, module)]
    layers: OrderedDict[str, nn.Sequential] = OrderedDict()
    waiting: list[tuple[str, nn.Module]] = []
    for name, module in parts:
        waiting.append((name.replace(".", "_"), module))
        if name in ends:
            layers[LAYERS.get(ends[name], "stem")] = nn.Sequential(OrderedDict(waiting))
            waiting = []
    for name, module in waiting:
        layers["layer4"].add_module(name, module)
    return nn.Sequential(OrderedDict(layers))


def require_chain(model: nn.Module, features: nn.Sequential, pool: nn.Sequential, architecture: str) -> int:
    """Refuse a network whose parts, called one after the other, do not compute what it computes itself.

    Returns:
        Number of values of a pooled slice.
    """
    image = torch.linspace(-2, 2, 3 * 64 * 64).reshape(1, 3, 64, 64)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            found: torch.Tensor = pool(features(image))
            wanted = model(image)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"the modules of {architecture} cannot be called one after the other: {error}") from error
    finally:
        model.train(was_training)
    # on the meta device there are shapes only
    if found.shape != wanted.shape or found.ndim != 2 or not (found.is_meta or torch.allclose(found, wanted)):
        raise InputError(f"the modules of {architecture}, called one after the other, are not what it computes")
    return int(found.shape[1])
