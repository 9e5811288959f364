"""Finding the canal in every slice of an image, with the weights that a checkpoint carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from torch import nn

from ..errors import InputError
from ..models.files import load_safely, weights_sha256
from ..records import SliceMeasures
from ..transforms import (
    PERCENTILES,
    Centre,
    SquareFieldOfViewd,
    crops_of,
    length_mm,
    margins_around,
    own_slices,
    resize_slices,
    scale_slices,
)
from .measures import NOT_MEASURED, measure_slice
from .network import CanalNet, centre_of, mass_within

RADIUS_MM = 10.0
"""A centre is trusted by how much of the map lies within this distance."""


class Localiser:
    """Finds the canal's centre in every slice, from the whole field of view, then from a crop around that place.

    It works on the CPU, slice by slice, so that a slice alone gives the same centre as in its series.

    Args:
        network: a `CanalNet`, or a TorchScript copy of one.
        content: what a checkpoint keeps of it.

    Attributes:
        image_size: side in pixels of what the network sees.
        side_mm: side of the crop.
        sha256: of its weights, see `scripts.models.files.weights_sha256`.
    """

    def __init__(self, network: nn.Module, content: Mapping[str, Any] | None = None) -> None:
        self.network = network.cpu().eval()
        self.image_size, self.side_mm = int(network.image_size), float(network.side_mm)  # type: ignore[arg-type]
        self.sha256, self.content = weights_sha256(network.state_dict()), dict(content or {})

    def __call__(self, image: MetaTensor) -> list[Centre]:
        """Find the canal.

        Args:
            image: oriented, ``(C, H, W, D)``, with an affine; the middle channel is looked at.

        Returns:
            the centre in every slice, in pixels of ``image``.
        """
        middle = [Centre((image.shape[1] - 1) / 2, (image.shape[2] - 1) / 2, 1.0)] * int(image.shape[3])
        longest_mm = max(float(n * mm) for n, mm in zip(image.shape[1:3], image.pixdim[:2], strict=True))
        return self.looked_at(image, self.looked_at(image, middle, longest_mm), self.side_mm)

    def looked_at(self, image: MetaTensor, places: Sequence[Centre], side_mm: float) -> list[Centre]:
        """Find the canal in a square of ``side_mm`` around a place in each slice."""
        framing = SquareFieldOfViewd(
            "image", self.image_size, side_mm=side_mm, canal=lambda _: places, least_confidence=-1
        )
        spacing_mm = (float(image.pixdim[0]), float(image.pixdim[1]))
        window, side = framing.window((int(image.shape[1]), int(image.shape[2])), spacing_mm)
        framed = own_slices(framing({"image": image})["image"].as_tensor())
        step = torch.tensor(window, dtype=torch.float64) / side
        radius = RADIUS_MM / (step * torch.tensor(spacing_mm, dtype=torch.float64))
        found = []
        with torch.inference_mode():
            for one, place in zip(scale_slices(framed, *PERCENTILES).permute(3, 0, 1, 2), places, strict=True):
                centre, mass = centre_of(self.network(one[None])[:, 0])
                confidence = mass_within(mass, centre, radius)
                left, _, top, _ = margins_around(place[:2], window, (int(image.shape[1]), int(image.shape[2])))
                row, column = ((centre[0] + 0.5) * step - 0.5 - torch.tensor([top, left])).tolist()
                found.append(Centre(row, column, round(float(confidence[0]), 4)))
        return found

    def masks(self, slices: torch.Tensor) -> torch.Tensor:
        """Outline canal and cord in crops around the canal.

        Args:
            slices: ``(N, 1, S, S)`` in [0, 1].

        Returns:
            probabilities ``(N, 2, S, S)``: of the canal, which holds the cord, and of the cord.
        """
        with torch.inference_mode():
            logits: torch.Tensor = self.network(slices)
            return logits[:, 1:].sigmoid()

    def outlines(self, image: MetaTensor) -> list[NDArray[np.float64] | None]:
        """Outline canal and cord in every slice of a preprocessed image; None where no canal was found.

        Args:
            image: crops around the canal ``(C, S, S, D)``; the middle channel is the slice itself, in [0, 1].

        Returns:
            probabilities ``(2, image_size, image_size)`` of each slice: of the canal, which holds the cord, and of
            the cord.
        """
        size = self.image_size
        grey = own_slices(image.as_tensor()).detach().cpu()
        slices = resize_slices(grey, (size, size)).permute(3, 0, 1, 2)
        return [
            self.masks(one[None])[0].double().numpy() if crop["crop"] == "canal" else None
            for one, crop in zip(slices, crops_of(image), strict=True)
        ]

    def measures(self, image: MetaTensor) -> list[SliceMeasures]:
        """Measure canal and cord in every slice of a preprocessed image, see `outlines`; nothing where there is none.

        Args:
            image: crops around the canal.
        """
        return self.measured(self.outlines(image), image)

    def measured(self, outlines: Sequence[NDArray[np.float64] | None], image: MetaTensor) -> list[SliceMeasures]:
        """Measure the outlines of a preprocessed image's slices."""
        row_mm, column_mm = (
            float(mm) * n / self.image_size for mm, n in zip(image.pixdim[:2], image.shape[1:3], strict=True)
        )
        return [
            NOT_MEASURED.copy() if one is None else measure_slice(one[1], one[0], (row_mm, column_mm))
            for one in outlines
        ]


def describe(channels: Sequence[int], image_size: int, side_mm: float = 60.0) -> dict[str, Any]:
    """Collect the settings that a localiser's checkpoint carries."""
    settings = {"channels": [int(width) for width in channels], "image_size": int(image_size)}
    return {"kind": "canal", **settings, "side_mm": float(side_mm)}


def make_localiser(content: Any, path: str | Path) -> Localiser:
    """Build a localiser from what a checkpoint says of it.

    Args:
        content: of a checkpoint written by configs/canal/train.json, or kept under ``canal`` in a classifier's.
        path: the file, for messages.

    Raises:
        InputError: it is no localiser.
    """
    try:
        channels = [int(width) for width in content["channels"]]
        image_size, side_mm, state = int(content["image_size"]), float(content["side_mm"]), content["model"]
        if len(channels) > 8 or max(channels) > 1024 or not 16 <= image_size <= 1024 or not 0 < side_mm <= 1000:
            raise ValueError("channels, image_size or side_mm out of range")
        if any(not torch.isfinite(value).all() for value in state.values()):
            raise ValueError("weights that are no numbers")
        network = CanalNet(channels, image_size, side_mm)
        network.load_state_dict(state)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise InputError(
            f"{path} holds no localiser of the canal ({str(error).splitlines()[0]}); expected a checkpoint written by "
            "configs/canal/train.json"
        ) from error
    kept = {"channels": channels, "image_size": image_size, "side_mm": side_mm, "model": dict(state)}
    return Localiser(network, kept)


def load_localiser(path: str | None) -> Localiser | None:
    """Load the localiser for a training; None where none is named.

    Args:
        path: a checkpoint written by configs/canal/train.json, or a classifier's that keeps one.

    Raises:
        InputError: it holds no localiser.
    """
    if path is None or not str(path).strip() or str(path).lower() in ("null", "none"):
        return None
    if not Path(path).is_file():
        raise InputError(f"no localiser at {path}; train one with configs/canal/train.json and name its model.pt")
    content = load_safely(Path(path))
    if isinstance(content, Mapping) and isinstance(content.get("canal"), Mapping):
        content = content["canal"]
    return make_localiser(content, path)


def localiser_of(path: str, side_mm: float | None) -> Localiser | None:
    """Load the localiser that a classifier's checkpoint keeps; None where it sees the whole field of view.

    Args:
        path: the classifier's checkpoint.
        side_mm: side of the crop that the classifier sees; None for the field of view.

    Raises:
        InputError: the checkpoint is missing or its localiser damaged.
    """
    if length_mm(side_mm) is None:
        return None
    if not Path(path).is_file():
        raise InputError(f"no checkpoint at {path}; its localiser is needed to find the canal")
    content = load_safely(Path(path))
    kept = content.get("canal") if isinstance(content, Mapping) else None
    return None if kept is None else make_localiser(kept, path)
