"""The deterministic chain from a loaded image to what the network sees; every client runs the same one.

Images are ``(1, H, W, D)``: H = rows to posterior, W = columns to the patient's left, D = slices, most caudal first.
All of it works slice by slice, so a slice loaded alone gives the same numbers as in its series.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import TraceKeys
from torch.nn.functional import interpolate, pad

from .errors import InputError

NORMALISATION = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "paper": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""Mean and standard deviation of the three channels by profile: ImageNet's, or none so that [0, 1] stays."""


def resize_slices(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize every slice of ``(C, H, W, D)`` to ``size``, bilinear, antialiased, none mixed with others."""
    slices = image.permute(0, 3, 1, 2).contiguous()
    return interpolate(slices, size=size, mode="bilinear", antialias=True).permute(0, 2, 3, 1).contiguous()


class SquareFieldOfViewd(MapTransform, InvertibleTransform):
    """Frame every slice as a square in millimetres and resize it to ``image_size`` pixels.

    The shorter side is padded with zeros, in millimetres: stretching pixels would fake a flattened cord. Then the
    central ``crop_fraction`` of the square is kept. The inverse puts maps back onto the original grid, zero outside.

    Args:
        keys: keys of images ``(C, H, W, D)`` with an affine.
        image_size: side of the result in pixels.
        crop_fraction: share of the square's side that is kept, in (0, 1].
        allow_missing_keys: whether keys may be absent.

    Raises:
        InputError: ``crop_fraction`` is out of range, or an image has other than three spatial axes.
    """

    def __init__(
        self, keys: Any, image_size: int, crop_fraction: float = 1.0, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if not 0 < crop_fraction <= 1 or image_size < 1:
            raise InputError(
                f"expected image_size >= 1 and 0 < crop_fraction <= 1, got {image_size} and {crop_fraction}"
            )
        self.image_size, self.crop_fraction = int(image_size), float(crop_fraction)

    def margins(self, size: tuple[int, int], spacing_mm: tuple[float, float]) -> list[int]:
        """Return the pixels to add (negative: to cut) as ``[left, right, top, bottom]``."""
        side_mm = max(n * mm for n, mm in zip(size, spacing_mm, strict=True)) * self.crop_fraction
        surplus = [max(round(side_mm / mm), 1) - n for n, mm in zip(size, spacing_mm, strict=True)]
        (top, bottom), (left, right) = ((extra // 2, extra - extra // 2) for extra in surplus)
        return [left, right, top, bottom]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Frame and resize the images under ``keys``."""
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            if not isinstance(image, MetaTensor) or image.ndim != 4:
                raise InputError(f"expected an image (C, H, W, D) with an affine, got shape {tuple(image.shape)}")
            size, spacing = (int(image.shape[1]), int(image.shape[2])), image.pixdim
            margins = self.margins(size, (float(spacing[0]), float(spacing[1])))
            framed = pad(image.as_tensor(), [0, 0, *margins])
            scaled = resize_slices(framed, (self.image_size, self.image_size))
            affine = image.affine.clone()
            step = [framed.shape[axis] / self.image_size for axis in (1, 2)]
            # the first new pixel's centre, in old pixels
            start = [-margins[2] + (step[0] - 1) / 2, -margins[0] + (step[1] - 1) / 2]
            affine[:3, 3] += affine[:3, 0] * start[0] + affine[:3, 1] * start[1]
            affine[:3, 0] *= step[0]
            affine[:3, 1] *= step[1]
            framed_size = tuple(framed.shape[1:3])
            output = MetaTensor(scaled, meta=image.meta, applied_operations=image.applied_operations)
            extra = {"framed_size": framed_size, "margins": margins, "affine": image.affine}
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
            output = MetaTensor(
                pad(framed, [0, 0, *(-int(n) for n in extra["margins"])]),
                meta=image.meta,
                applied_operations=image.applied_operations,
            )
            output.affine = extra["affine"]
            result[key] = output
        return result


def scale_slices(image: torch.Tensor, lower_percent: float, upper_percent: float) -> torch.Tensor:
    """Clip every slice at its own percentiles, scale it to [0, 1] and round it to 8 bits.

    Args:
        image: ``(1, H, W, D)``.
        lower_percent: percentile that becomes 0.
        upper_percent: percentile that becomes 1.

    Returns:
        float32 ``(1, H, W, D)`` of values k / 255; a slice whose percentiles coincide is all 0.
    """
    slices = image.permute(3, 0, 1, 2).flatten(1).double()
    quantiles = torch.tensor([lower_percent / 100, upper_percent / 100], dtype=slices.dtype)
    low, high = torch.stack([torch.quantile(row, quantiles) for row in slices]).T[..., None]
    width = high - low
    # resizing a constant slice leaves rounding errors, which must not be stretched to a picture
    varies = width > 1e-5 * torch.maximum(low.abs(), high.abs())
    scaled = torch.where(varies, (slices - low) / torch.where(varies, width, 1), 0).clamp_(0, 1)
    levels = (scaled * 255).round_().float() / 255
    return levels.reshape(image.shape[3], *image.shape[:3]).permute(1, 2, 3, 0).contiguous()


class ScaleSlicesd(MapTransform):
    """Apply `scale_slices` to the images under ``keys``."""

    def __init__(
        self, keys: Any, lower_percent: float = 0.5, upper_percent: float = 99.5, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.lower_percent, self.upper_percent = lower_percent, upper_percent

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Scale the images under ``keys``."""
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            scaled = scale_slices(image.as_tensor(), self.lower_percent, self.upper_percent)
            result[key] = MetaTensor(scaled, meta=image.meta, applied_operations=image.applied_operations)
        return result


def to_uint8(image: torch.Tensor) -> torch.Tensor:
    """Store values k / 255 as the integers k, exactly."""
    return (image * 255).round().to(torch.uint8)


def from_uint8(levels: torch.Tensor) -> torch.Tensor:
    """Undo `to_uint8`, exactly."""
    return levels.float() / 255


def to_network_input(image: torch.Tensor, profile: str) -> torch.Tensor:
    """Turn grey slices into what the network takes.

    Args:
        image: ``(N, 1, H, W)`` in [0, 1].
        profile: ``"imagenet"`` normalises as torchvision's ImageNet weights expect; ``"paper"`` leaves [0, 1].

    Returns:
        ``(N, 3, H, W)``, channels last in memory.

    Raises:
        InputError: there is no such profile.
    """
    if profile not in NORMALISATION:
        raise InputError(f"profile must be {' or '.join(NORMALISATION)}, got {profile!r}")
    mean, std = (
        torch.tensor(values, dtype=image.dtype, device=image.device).view(3, 1, 1) for values in NORMALISATION[profile]
    )
    repeated = (image.expand(-1, 3, -1, -1) - mean) / std
    return repeated.contiguous(memory_format=torch.channels_last)
