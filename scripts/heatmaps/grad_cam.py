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
from ..tasks import COMPRESSED


def child(network: nn.Module, name: str) -> nn.Module:
    """Return a direct child; ``get_submodule`` would do so too, but TorchScript copies loaded from a file lack it."""
    module: nn.Module = getattr(network, name)
    return module


def ways(network: nn.Module) -> dict[str, list[tuple[str, nn.Module]]]:
    """Return for each task, in the order of the logits, the parts that lead from the image to its logits."""
    main = [*child(network, "features").named_children(), *((name, child(network, name)) for name in ("pool", "head"))]
    found = {COMPRESSED: main}
    for task, branch in getattr(network, "branches", nn.Module()).named_children():
        own = list(branch.named_children())
        found[task] = [*main[: len(main) - len(own)], *own]
    return found


def way_to(network: nn.Module, output: int = 0) -> tuple[list[tuple[str, nn.Module]], int]:
    """Return the parts that lead from the image to one logit, and the logit's column in the last of them.

    Raises:
        InputError: the network has no such logit.
    """
    first = 0
    for parts in ways(network).values():
        count = len(list(parts[-1][1].parameters())[-1]) if first else 1  # compressed has one, whatever the head
        if first <= output < first + count:
            return parts, output - first
        first += count
    raise InputError(f"output must be from 0 to {first - 1}, the logits of the network; got {output}")


def end_of(layer: str, parts: Sequence[tuple[str, nn.Module]]) -> int:
    """Return how many of the parts lead to ``layer``, included.

    Raises:
        InputError: ``layer`` is none of them before pooling and head.
    """
    names = [name for name, _ in parts[:-2]]
    if layer not in names:
        raise InputError(f"layer must be one of {', '.join(names)}, got {layer!r}")
    return names.index(layer) + 1


def split_features(network: nn.Module, layer: str, output: int = 0) -> tuple[list[nn.Module], list[nn.Module]]:
    """Divide the features that lead to a logit into what leads to ``layer`` (included) and what follows.

    Raises:
        InputError: ``layer`` is not a child of ``network.features``.
    """
    parts, _ = way_to(network, output)
    cut = end_of(layer, parts)
    return [module for _, module in parts[:cut]], [module for _, module in parts[cut:-2]]


def signed_maps(
    rest: Sequence[nn.Module], activation: torch.Tensor, columns: Sequence[int] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Continue from an activation to logits, and compute Grad-CAM before rectification of some of them.

    Works under ``no_grad`` and ``inference_mode``, and whatever mode the network is in: what follows the activation
    runs in evaluation mode and is put back afterwards.

    Args:
        rest: what follows the activation.
        activation: ``(N, C, h, w)``.
        columns: numbers of the logits to explain, k of them; None for all.

    Returns:
        all logits ``(N, K)`` at the end of ``rest``, and the maps ``(N, k, h, w)``.
    """
    training, maps = [module.training for module in rest], []
    with torch.inference_mode(False), torch.enable_grad():
        leaf = activation.detach().clone().requires_grad_(True)
        value = leaf
        try:
            for module in rest:
                value = module.eval()(value)
        finally:
            for module, mode in zip(rest, training, strict=True):
                module.train(mode)
        for column in range(value.shape[1]) if columns is None else columns:
            (gradient,) = torch.autograd.grad(value[:, column].sum(), leaf, retain_graph=True)
            maps.append((gradient.mean((2, 3), keepdim=True) * leaf).sum(1).detach())
    return value.detach(), torch.stack(maps, dim=1)


def signed_activation(
    network: nn.Module, activation: torch.Tensor, layer: str = "layer4", output: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Continue from the activation of ``layer`` to the logits and Grad-CAM before rectification, see `signed_maps`.

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
    rest = [module for _, module in parts[end_of(layer, parts) :]]
    logits, maps = signed_maps(rest, activation, [column])
    return logits[:, column : column + 1], maps[:, 0]


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


def maps_of_task(
    network: nn.Module, image: torch.Tensor, layer: str = "layer4", task: str = COMPRESSED
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute all logits, and Grad-CAM before rectification of every logit of one task; shared layers run once.

    Args:
        network: as in `grad_cam`; may have branches of further tasks.
        image: network input ``(N, 3, H, W)``.
        layer: child of ``network.features``, or of the task's branch.
        task: name of the task whose k logits are explained.

    Returns:
        logits ``(N, K)`` of all tasks, and maps ``(N, k, h, w)``.

    Raises:
        InputError: the network has no such layer or task.
    """
    known = ways(network)
    if task not in known:
        raise InputError(f"the network has no task {task!r}; expected {' or '.join(known)}")
    own = known[task]
    end = end_of(layer, own)
    branches = [list(branch.children()) for branch in getattr(network, "branches", nn.Module()).children()]
    shared = len(own) - len(branches[0]) if branches else end
    with torch.no_grad():
        first = run(image, own[: min(shared, end)])
        second = run(first, own[min(shared, end) : max(shared, end)])
        before, activation = (first, second) if shared < end else (second, first)
        others = {name: run(before, parts[shared:]) for name, parts in known.items() if name != task}
    logits, maps = signed_maps([module for _, module in own[end:]], activation)
    return torch.cat([others.get(name, logits) for name in known], dim=1), maps


def run(value: torch.Tensor, parts: Sequence[tuple[str, nn.Module]]) -> torch.Tensor:
    """Call parts of a network one after the other."""
    for _, module in parts:
        value = module(value)
    return value


def maps_of_members(
    network: nn.Module, image: torch.Tensor, layer: str = "layer4", task: str = COMPRESSED
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute what `maps_of_task` does for a network or an ensemble: the mean logits and their maps.

    Args:
        network: as in `maps_of_task`, or an `Ensemble` of such networks.
        image: network input ``(N, 3, H, W)``.
        layer: child of each network's ``features``.
        task: name of the task whose logits are explained.
    """
    members = members_of(network)
    if len(members) == 1:
        return maps_of_task(members[0], image, layer, task)
    logits, maps = zip(*(maps_of_task(member, image, layer, task) for member in members), strict=True)
    return mean_of([one.float() for one in logits]), mean_map(maps)


def mean_map(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the mean of maps ``(…, h, w)`` before rectification; coarser ones are enlarged to the finest first."""
    finest = max((one.shape[-2:] for one in maps), key=math.prod)
    return mean_of([one if one.shape[-2:] == finest else enlarged(one.float(), finest) for one in maps])


def enlarged(maps: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Enlarge maps ``(…, h, w)`` to ``(…, *size)``."""
    return enlarge(maps.flatten(0, -3), size).unflatten(0, maps.shape[:-2])


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
