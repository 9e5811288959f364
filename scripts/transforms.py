"""The deterministic chain from a loaded image to what the network sees; every client runs the same one.

Images are ``(1, H, W, D)``: H = rows to posterior, W = columns to the patient's left, D = slices, most caudal first.
All of it works slice by slice, so a slice loaded alone gives the same numbers as in its series. With neighbours in the
channels, ``(3, H, W, D)``, the middle channel is the slice itself (`scripts.context`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from monai.data import MetaTensor
from monai.transforms import Compose, InvertibleTransform, MapTransform
from monai.utils import TraceKeys
from torch.nn.functional import interpolate, pad

from .errors import InputError

NORMALISATION = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "paper": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""Mean and standard deviation of the three channels by profile: ImageNet's, or none so that [0, 1] stays."""
PERCENTILES = (0.5, 99.5)
"""Percentiles of a slice that become black and white."""


def resize_slices(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize every slice of ``(C, H, W, D)`` to ``size``, bilinear, antialiased, none mixed with others."""
    slices = image.permute(0, 3, 1, 2).contiguous()
    return interpolate(slices, size=size, mode="bilinear", antialias=True).permute(0, 2, 3, 1).contiguous()


def own_slices(image: torch.Tensor, axis: int = 0) -> torch.Tensor:
    """Return the slices themselves, without neighbours: the middle channel along ``axis``, which stays."""
    return image.narrow(axis, image.shape[axis] // 2, 1)


class Centre(NamedTuple):
    """Where the canal lies in a slice.

    Attributes:
        row_px: 0 at the centre of the first pixel.
        column_px: the same for columns.
        confidence: share of the localiser's map that lies within 10 mm of the centre.
    """

    row_px: float
    column_px: float
    confidence: float


class SquareFieldOfViewd(MapTransform, InvertibleTransform):
    """Frame every slice as a square in millimetres and resize it to ``image_size`` pixels.

    Without ``side_mm`` the square is the field of view: the shorter side is padded with zeros, in millimetres
    (stretching pixels would fake a flattened cord), then the central ``crop_fraction`` of the square is kept. With
    ``side_mm`` the square has that side and lies around the canal, in every slice where ``canal`` finds it, else in
    the middle of the slice. What of it lies outside the slice is zero. The inverse puts maps back onto the original
    grid, zero outside.

    ``meta["crops"]`` then is a JSON list of ``{"crop", "confidence", "centre_px", "centre_mm"}``, one a slice. ``crop``
    is ``canal``, ``central`` (no canal was found there) or ``middle`` (none was looked for). ``centre_px`` is the
    square's centre as (row, column) in pixels of the oriented image, ``centre_mm`` the same in mm.

    Args:
        keys: keys of images ``(C, H, W, D)`` with an affine.
        image_size: side of the result in pixels.
        crop_fraction: share of the square's side that is kept, in (0, 1].
        side_mm: side of the square; None for the field of view.
        canal: finds the canal in the slices of an image, see `scripts.canal.localiser.Localiser`.
        least_confidence: of a canal's centre that is used.
        margin_mm: what is kept around the square on every side, for augmentation; the result is larger by as much.
        allow_missing_keys: whether keys may be absent.

    Raises:
        InputError: a setting is out of range, or an image has other than three spatial axes.
    """

    def __init__(
        self,
        keys: Any,
        image_size: int,
        crop_fraction: float = 1.0,
        side_mm: float | None = None,
        canal: Callable[[MetaTensor], Sequence[Centre]] | None = None,
        least_confidence: float = 0.5,
        margin_mm: float = 0.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if not 0 < crop_fraction <= 1 or image_size < 1:
            raise InputError(
                f"expected image_size >= 1 and 0 < crop_fraction <= 1, got {image_size} and {crop_fraction}"
            )
        if not margin_mm >= 0:
            raise InputError(f"margin_mm must not be negative, got {margin_mm}")
        self.image_size, self.crop_fraction = int(image_size), float(crop_fraction)
        self.side_mm, self.canal = length_mm(side_mm), canal
        self.least_confidence, self.margin_mm = float(least_confidence), float(margin_mm)

    def window(self, size: tuple[int, int], spacing_mm: tuple[float, float]) -> tuple[tuple[int, int], int]:
        """Return the rows and columns that are cut out, margin included, and the side of the result in pixels."""
        side_mm = self.side_mm or max(n * mm for n, mm in zip(size, spacing_mm, strict=True)) * self.crop_fraction
        rows, columns = (max(round(side_mm / mm), 1) + 2 * round(self.margin_mm / mm) for mm in spacing_mm)
        return (rows, columns), self.image_size + 2 * round(self.margin_mm / side_mm * self.image_size)

    def crops(self, image: MetaTensor) -> list[dict[str, Any]]:
        """Choose the centre of every slice's square; empty where the squares are the field of view."""
        if self.side_mm is None:
            return []
        middle = [(image.shape[1] - 1) / 2, (image.shape[2] - 1) / 2]
        spacing_mm = [float(mm) for mm in image.pixdim[:2]]
        found = (
            [Centre(middle[0], middle[1], math.nan)] * int(image.shape[3]) if self.canal is None else self.canal(image)
        )
        crops = []
        for one in found:
            trusted = one.confidence >= self.least_confidence
            centre = [one.row_px, one.column_px] if trusted else middle
            crops.append(
                {
                    "crop": "middle" if self.canal is None else "canal" if trusted else "central",
                    "confidence": None if self.canal is None else one.confidence,
                    "centre_px": centre,
                    "centre_mm": [n * mm for n, mm in zip(centre, spacing_mm, strict=True)],
                }
            )
        return crops

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Frame and resize the images under ``keys``."""
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            if not isinstance(image, MetaTensor) or image.ndim != 4:
                raise InputError(f"expected an image (C, H, W, D) with an affine, got shape {tuple(image.shape)}")
            size, spacing = (int(image.shape[1]), int(image.shape[2])), image.pixdim
            window, side = self.window(size, (float(spacing[0]), float(spacing[1])))
            crops = self.crops(image)
            centres = [one["centre_px"] for one in crops]
            middle = [(n - 1) / 2 for n in size]
            margins = [margins_around(centre, window, size) for centre in centres or [middle] * int(image.shape[3])]
            framed = each_padded(image.as_tensor(), margins)
            scaled = resize_slices(framed, (side, side))
            affine = image.affine.clone()
            step = [extent / side for extent in window]
            top, left = (sum(one[axis] for one in margins) / len(margins) for axis in (2, 0))
            # the first new pixel's centre, in old pixels; of slices with squares of their own, the mean
            start = [-top + (step[0] - 1) / 2, -left + (step[1] - 1) / 2]
            affine[:3, 3] += affine[:3, 0] * start[0] + affine[:3, 1] * start[1]
            affine[:3, 0] *= step[0]
            affine[:3, 1] *= step[1]
            meta = {**image.meta, "crops": json.dumps(crops)} if crops else image.meta
            output = MetaTensor(scaled, meta=meta, applied_operations=image.applied_operations)
            extra = {"framed_size": window, "margins": margins, "affine": image.affine}
            self.push_transform(output, orig_size=size, extra_info=extra)
            output.affine = affine
            result[key] = output
        return result

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Put images back onto the grid they came from."""
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            extra = self.pop_transform(image)[TraceKeys.EXTRA_INFO]
            height, width = extra["framed_size"]
            framed = resize_slices(image.as_tensor(), (int(height), int(width)))
            margins = [[-int(n) for n in one] for one in extra["margins"]]
            output = MetaTensor(
                each_padded(framed, margins), meta=image.meta, applied_operations=image.applied_operations
            )
            output.affine = extra["affine"]
            result[key] = output
        return result


def crops_of(image: MetaTensor) -> list[dict[str, Any]]:
    """Return what `SquareFieldOfViewd` says of the squares of an image; empty where they are the field of view."""
    crops: list[dict[str, Any]] = json.loads(str(image.meta.get("crops") or "[]"))
    return crops


def margins_around(centre_px: Sequence[float], window: tuple[int, int], size: tuple[int, int]) -> list[int]:
    """Return the pixels to add (negative: to cut) as ``[left, right, top, bottom]`` for a window around a centre."""
    found = []
    for centre, extent, n in zip(reversed(centre_px), reversed(window), reversed(size), strict=True):
        before = -math.floor(centre - (extent - 1) / 2 + 0.5)
        found += [before, extent - n - before]
    return found


def each_padded(image: torch.Tensor, margins: Sequence[Sequence[int]]) -> torch.Tensor:
    """Pad with zeros, or cut, every slice of ``(C, H, W, D)`` by margins of its own."""
    first = list(margins[0])
    if all(list(own) == first for own in margins):
        return pad(image, [0, 0, *first]) if any(first) else image
    slices = [pad(one, list(own)) for one, own in zip(image.unbind(3), margins, strict=True)]
    return torch.stack(slices, dim=3)


def scale_slices(
    image: torch.Tensor, lower_percent: float, upper_percent: float, inner_size: int | None = None
) -> torch.Tensor:
    """Clip every slice at its own percentiles, scale it to [0, 1] and round it to 8 bits.

    Args:
        image: ``(C, H, W, D)``; all channels of a slice have the percentiles of its middle one.
        lower_percent: percentile that becomes 0.
        upper_percent: percentile that becomes 1.
        inner_size: side of the central square whose percentiles count, in pixels; None for all of the slice.

    Returns:
        float32 ``(C, H, W, D)`` of values k / 255; a slice whose percentiles coincide is all 0.
    """
    slices = image.permute(3, 0, 1, 2).flatten(1).double()
    own = own_slices(image if inner_size is None else central(image, inner_size))
    inner = own.permute(3, 0, 1, 2).flatten(1).double()
    quantiles = torch.tensor([lower_percent / 100, upper_percent / 100], dtype=slices.dtype)
    low, high = torch.stack([torch.quantile(row, quantiles) for row in inner]).T[..., None]
    width = high - low
    # resizing a constant slice leaves rounding errors, which must not be stretched to a picture
    varies = width > 1e-5 * torch.maximum(low.abs(), high.abs())
    scaled = torch.where(varies, (slices - low) / torch.where(varies, width, 1), 0).clamp_(0, 1)
    levels = (scaled * 255).round_().float() / 255
    return levels.reshape(image.shape[3], *image.shape[:3]).permute(1, 2, 3, 0).contiguous()


def central(image: torch.Tensor, size: int) -> torch.Tensor:
    """Return the central square of every slice of ``(C, H, W, D)``, or all of a slice that is no larger."""
    top, left = (max((n - size) // 2, 0) for n in image.shape[1:3])
    return image[:, top : top + size, left : left + size]


class ScaleSlicesd(MapTransform):
    """Apply `scale_slices` to the images under ``keys``."""

    def __init__(
        self,
        keys: Any,
        lower_percent: float = PERCENTILES[0],
        upper_percent: float = PERCENTILES[1],
        inner_size: int | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.lower_percent, self.upper_percent, self.inner_size = lower_percent, upper_percent, inner_size

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Scale the images under ``keys``."""
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            scaled = scale_slices(image.as_tensor(), self.lower_percent, self.upper_percent, self.inner_size)
            result[key] = MetaTensor(scaled, meta=image.meta, applied_operations=image.applied_operations)
        return result


def length_mm(value: Any) -> float | None:
    """Return a length, or None for null, which is text on a command line.

    Raises:
        InputError: it is no positive number.
    """
    if value is None or str(value).lower() in ("null", "none", ""):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InputError(f"side_mm must be positive, or null for the field of view, got {value!r}")
    return float(value)


def with_margin(transforms: Sequence[Any], jitter_mm: float) -> Compose:
    """Return a deterministic chain whose squares of ``side_mm`` have a margin for augmentation.

    Args:
        transforms: the chain, with one `SquareFieldOfViewd`, whose margin is set to what rotation, scale and jitter
            bring into the square: 15 % of its side and the jitter.
        jitter_mm: how far training moves the square's centre.
    """
    for transform in transforms:
        if getattr(transform, "side_mm", None) is not None:
            transform.margin_mm = float(jitter_mm) + 0.15 * transform.side_mm
    return Compose(list(transforms))


def shift_px(image_size: int, side_mm: float | None, jitter_mm: float) -> float:
    """Return how far training shifts a picture: 5 % of the field of view, or ``jitter_mm`` of a square."""
    side = length_mm(side_mm)
    return (0.05 if side is None else float(jitter_mm) / side) * image_size


def to_uint8(image: torch.Tensor) -> torch.Tensor:
    """Store values k / 255 as the integers k, exactly."""
    return (image * 255).round().to(torch.uint8)


def from_uint8(levels: torch.Tensor) -> torch.Tensor:
    """Undo `to_uint8`, exactly."""
    return levels.float() / 255


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor from the CPU to a device; on a GPU from pinned memory, so that nobody waits for the copy."""
    if device.type != "cuda" or not tensor.numel():
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def to_network_input(image: torch.Tensor, profile: str) -> torch.Tensor:
    """Turn grey slices into what the network takes.

    Args:
        image: ``(N, 1, H, W)`` in [0, 1], or ``(N, 3, H, W)`` with neighbours.
        profile: ``"imagenet"`` normalises as torchvision's ImageNet weights expect; ``"paper"`` leaves [0, 1].

    Returns:
        ``(N, 3, H, W)``, channels last in memory.

    Raises:
        InputError: there is no such profile.
    """
    if profile not in NORMALISATION:
        raise InputError(f"profile must be {' or '.join(NORMALISATION)}, got {profile!r}")
    mean, std = (
        to_device(torch.tensor(values, dtype=image.dtype), image.device).view(3, 1, 1)
        for values in NORMALISATION[profile]
    )
    repeated = (image.expand(-1, 3, -1, -1) - mean) / std
    return repeated.contiguous(memory_format=torch.channels_last)
