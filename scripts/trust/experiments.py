"""What is done to a network to see whether its heat maps follow."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits

from ..heatmaps.grad_cam import child, enlarge, grad_cam, split_features
from ..inferers import running_in
from ..transforms import to_network_input
from .measures import hottest

Floats = NDArray[np.floating[Any]]
BATCH = 16


def explain(network: nn.Module, images: Floats, profile: str, layer: str) -> tuple[Floats, Floats]:
    """Return logits ``(S,)`` and heat maps for compression ``(S, H, W)`` of slices ``(S, C, H, W)``."""
    logits, maps = [], []
    device = next(network.parameters()).device
    for batch in torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32)).split(BATCH):
        with running_in("fp32", device):
            logit, coarse = grad_cam(network, to_network_input(batch.to(device), profile), layer)
        logits.append(logit[:, 0].cpu())
        maps.append(enlarge(coarse, (images.shape[2], images.shape[3])).cpu())
    return torch.cat(logits).double().numpy(), torch.cat(maps).numpy()


def drop_when_blurred(
    network: nn.Module, images: Floats, heat: Floats, profile: str, layer: str, share: float
) -> Floats:
    """Compute how much more the logit falls when the hottest places are blurred than when the coldest are, shape (S,).

    Above 0, hot places are those that spoke for compression; an inverted map falls below 0.
    """
    kernel = images.shape[2] // 8 * 2 + 1
    pictures = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32))
    blurred = avg_pool2d(pictures, kernel, 1, kernel // 2, count_include_pad=False).numpy()
    hot, cold = (np.where(hottest(heat, share, coldest)[:, None], blurred, images) for coldest in (False, True))
    return explain(network, cold, profile, layer)[0] - explain(network, hot, profile, layer)[0]


def randomised(network: nn.Module, seed: int) -> Iterator[tuple[str, nn.Module]]:
    """Replace the weights by random ones from the output backwards, and yield the network after each."""
    broken = copy.deepcopy(network)
    parts = [("head", child(broken, "head")), *reversed(list(child(broken, "features").named_children()))]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for name, part in parts:
            own = [module for module in part.modules() if hasattr(module, "reset_parameters")]
            for module in own:
                module.reset_parameters()  # type: ignore[operator]
            if own:
                yield name, broken.eval()


def planted(images: Floats, share: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Plant a bright square into the upper left corner of slices ``(S, C, H, W)``; return them and its mask."""
    side = max(2, round(share * images.shape[2]))
    mask = np.zeros(images.shape[2:], dtype=bool)
    mask[:side, :side] = True
    return np.where(mask, 1.0, images).astype(np.float32), mask


def teach_marker(
    network: nn.Module, images: Floats, profile: str, share: float, steps: int, learning_rate: float, seed: int
) -> tuple[nn.Module, float]:
    """Teach a copy of the network to see nothing but a planted marker.

    The layers up to layer3 stay as they are; layer4 and the head learn marked from unmarked slices.

    Returns:
        The copy, and the share of slices it classifies correctly.
    """
    taught = copy.deepcopy(network).eval()
    device = next(taught.parameters()).device
    marked, _ = planted(images, share)
    pictures = torch.from_numpy(np.concatenate([images, marked]).astype(np.float32)).to(device)
    labels = torch.cat([torch.zeros(len(images)), torch.ones(len(images))]).to(device)
    lower, upper = split_features(taught, "layer3")
    with torch.no_grad():
        early = torch.cat([run(lower, to_network_input(batch, profile)) for batch in pictures.split(BATCH)])
    last = [*upper, child(taught, "pool"), child(taught, "head")]
    optimizer = torch.optim.Adam([weight for module in last for weight in module.parameters()], lr=learning_rate)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randperm(len(labels), generator=generator)[:BATCH].to(device)
        optimizer.zero_grad()
        binary_cross_entropy_with_logits(run(last, early[rows])[:, 0], labels[rows]).backward()
        optimizer.step()
    with torch.no_grad():
        right = ((run(last, early)[:, 0] > 0).float() == labels).float().mean()
    return taught, float(right)


def run(modules: list[nn.Module], image: torch.Tensor) -> torch.Tensor:
    """Call modules one after the other."""
    for module in modules:
        image = module(image)
    return image
