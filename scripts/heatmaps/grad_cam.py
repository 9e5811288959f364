"""Grad-CAM: which places of a slice spoke for (or against) compression.

The map needs the gradient of the logit with respect to one layer's activation. Only what follows that layer is
differentiated, so for the last layer (``layer4``) a map costs a plain forward pass and one pass through the head. The
children of the network are called one after the other, without hooks, so it works on a TorchScript copy too.

Source: Selvaraju et al. 2017, ICCV, equations 1 and 2, doi:10.1109/ICCV.2017.74.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import interpolate

from ..errors import InputError
from ..models.averaging import mean_of, members_of


def child(network: nn.Module, name: str) -> nn.Module:
    """Return a direct child; ``get_submodule`` would do so too, but TorchScript copies loaded from a file lack it."""
    module: nn.Module = getattr(network, name)
    return module


def way_to(network: nn.Module, output: int = 0) -> tuple[list[tuple[str, nn.Module]], int]:
    """Return the parts that lead from the image to one logit, and the logit's column in the last of them.

    Raises:
        InputError: the network has no such logit.
    """
    parts = [*child(network, "features").named_children(), *((name, child(network, name)) for name in ("pool", "head"))]
    if output == 0:  # compressed, whatever the head
        return parts, 0
    n_outputs = 1
    for _, branch in child(network, "branches").named_children():
        own = list(branch.named_children())
        first, n_outputs = n_outputs, n_outputs + len(list(own[-1][1].parameters())[-1])
        if first <= output < n_outputs:
            return [*parts[: len(parts) - len(own)], *own], output - first
    raise InputError(f"output must be from 0 to {n_outputs - 1}, the logits of the network; got {output}")


def split_features(network: nn.Module, layer: str, output: int = 0) -> tuple[list[nn.Module], list[nn.Module]]:
    """Divide the features that lead to a logit into what leads to ``layer`` (included) and what follows.

    Raises:
        InputError: ``layer`` is not a child of ``network.features``.
    """
    names, children = zip(*way_to(network, output)[0][:-2], strict=True)
    if layer not in names:
        raise InputError(f"layer must be one of {', '.join(names)}, got {layer!r}")
    cut = names.index(layer) + 1
    return list(children[:cut]), list(children[cut:])


def signed_activation(
    network: nn.Module, activation: torch.Tensor, layer: str = "layer4", output: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Continue from the activation of ``layer`` to the logits and Grad-CAM before rectification.

    Works under ``no_grad`` and ``inference_mode``, and whatever mode the network is in: what follows the layer runs
    in evaluation mode and is put back afterwards.

    Args:
        network: a `CordCompressionNet`, or a TorchScript copy of one.
        activation: output of ``layer``, ``(N, C, h, w)``.
        layer: child of ``network.features`` that gave ``activation``.
        output: number of the logit to explain; 0 is ``compressed``.

    Returns:
        logits ``(N, 1)`` of this output and the map ``(N, h, w)``; positive where it spoke for compression, negative
        where it spoke against it.
    """
    parts, column = way_to(network, output)
    rest = [*split_features(network, layer, output)[1], *(module for _, module in parts[-2:])]
    training = [module.training for module in rest]
    with torch.inference_mode(False), torch.enable_grad():
        leaf = activation.detach().clone().requires_grad_(True)
        value = leaf
        try:
            for module in rest:
                value = module.eval()(value)
        finally:
            for module, mode in zip(rest, training, strict=True):
                module.train(mode)
        (gradient,) = torch.autograd.grad(value[:, column].sum(), leaf)
        heatmap = (gradient.mean((2, 3), keepdim=True) * leaf).sum(1)
    return value[:, column : column + 1].detach(), heatmap.detach()


def grad_cam(
    network: nn.Module, image: torch.Tensor, layer: str = "layer4", sign: int = 1, output: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute logits and Grad-CAM maps of a batch in one forward pass.

    Args:
        network: a `CordCompressionNet` in evaluation mode, or a TorchScript copy of one.
        image: network input ``(N, 3, H, W)``.
        layer: child of ``network.features``; earlier layers give finer maps at a higher cost.
        sign: 1 explains the logit (what spoke *for* compression), -1 its negative (what spoke *against* it), 0 both
            in one map (negative: against).
        output: number of the logit to explain; 0 is ``compressed``, the others are those of
            `scripts.networks.network_interface`.

    Returns:
        logits ``(N, 1)`` of this output and the map ``(N, h, w)`` at the layer's resolution, not normalised; large is
        hot.

    Raises:
        InputError: the network has no such layer or output, or ``sign`` is another number.
    """
    activation = layer_activation(network, image, layer, output)
    logits, signed = signed_activation(network, activation, layer, output)
    return logits, rectified(signed, sign)


def grad_cam_with_tasks(
    network: nn.Module, image: torch.Tensor, layer: str = "layer4", sign: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute all logits ``(N, K)`` and the map of ``compressed``; the shared layers up to the map's run once.

    Args:
        network: as in `grad_cam`; may have branches of further tasks.
        image: network input ``(N, 3, H, W)``.
        layer: child of ``network.features``.
        sign: see `grad_cam`.
    """
    branches = [module for _, module in getattr(network, "branches", nn.Module()).named_children()]
    if not branches:
        return grad_cam(network, image, layer, sign)
    parts, _ = way_to(network)
    cut = len(parts) - len(list(branches[0].named_children()))
    split_features(network, layer)  # refuses a wrong name
    shared, activation, value = image, image, image
    with torch.no_grad():
        for number, (name, module) in enumerate(parts[:-1]):
            if number == cut:
                shared = value
            value = module(value)
            activation = value if name == layer else activation
        shared = value if cut == len(parts) - 1 else shared
        others = [branch(shared) for branch in branches]
    logits, signed = signed_activation(network, activation, layer)
    return torch.cat([logits, *others], dim=1), rectified(signed, sign)


def grad_cam_of_members(
    network: nn.Module, image: torch.Tensor, layer: str = "layer4", sign: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute what `grad_cam_with_tasks` does for a network or an ensemble: the mean logits and their map.

    Args:
        network: as in `grad_cam_with_tasks`, or an `Ensemble` of such networks.
        image: network input ``(N, 3, H, W)``.
        layer: child of each network's ``features``.
        sign: see `grad_cam`.
    """
    members = members_of(network)
    if len(members) == 1:
        return grad_cam_with_tasks(members[0], image, layer, sign)
    found = [grad_cam_with_tasks(member, image, layer, sign=0) for member in members]
    logits, signed = zip(*found, strict=True)
    return mean_of([one.float() for one in logits]), rectified(mean_map(signed), sign)


def mean_map(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the mean of maps ``(N, h, w)`` before rectification; coarser ones are enlarged to the finest first."""
    finest = max((one.shape[-2:] for one in maps), key=math.prod)
    return mean_of([one if one.shape[-2:] == finest else enlarge(one.float(), finest) for one in maps])


def layer_activation(network: nn.Module, image: torch.Tensor, layer: str, output: int = 0) -> torch.Tensor:
    """Compute what ``layer`` makes of an image on the way to a logit, ``(N, C, h, w)``."""
    with torch.no_grad():
        for module in split_features(network, layer, output)[0]:
            image = module(image)
    return image


def check_sign(sign: int) -> int:
    """Return a sign, or refuse another number than 1, -1 and 0."""
    if sign not in (1, 0, -1):
        raise InputError(f"sign must be 1 (for), -1 (against) or 0 (both), got {sign}")
    return sign


def rectified(signed: torch.Tensor, sign: int) -> torch.Tensor:
    """Return what of a signed map spoke for compression (1) or against it (-1), or the signed map itself (0)."""
    return torch.relu(sign * signed) if check_sign(sign) else signed


def enlarge(heatmap: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Interpolate maps ``(N, h, w)`` to ``(N, *size)``."""
    return interpolate(heatmap[:, None], size=tuple(size), mode="bilinear", align_corners=False)[:, 0]


def normalise(heatmap: torch.Tensor) -> torch.Tensor:
    """Scale every map of ``(N, h, w)`` to a maximum of 1; a map without any heat stays 0."""
    peak = heatmap.amax((1, 2), keepdim=True)
    return torch.where(peak > 0, heatmap / torch.where(peak > 0, peak, 1), 0)
