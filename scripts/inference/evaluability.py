"""Which slices the network can be asked about at all; the others get a reason instead of a score.

The limits are wide on purpose: inside them a cervical cord can be seen, whatever the scanner. A cord 7 mm deep must
span four pixels, and what the crop leaves of the field of view must hold the canal and its surroundings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from monai.data import MetaTensor
from nibabel.orientations import io_orientation
from numpy.typing import NDArray

from ..transforms import crops_of, own_slices

LIMITS: Mapping[str, Any] = {
    "mm_per_pixel": (0.1, 1.75),
    "field_of_view_mm": (50.0, 400.0),
    "largest_saturated_percent": 5.0,
}


def original_spacing_mm(image: MetaTensor) -> NDArray[np.float64]:
    """Return the spacing of the axial plane in the original image, in mm, shape (2,)."""
    affine = np.asarray(image.meta.get("original_affine", image.affine.cpu()), dtype=float)
    axes = [axis for axis, (anatomical, _) in enumerate(io_orientation(affine)) if anatomical != 2]
    spacing_mm: NDArray[np.float64] = np.linalg.norm(affine[:3, axes], axis=0)
    return spacing_mm


def seen_mm(image: MetaTensor) -> float:
    """Return the longer side, in mm, of what is left of the field of view: all of it, or the share that is kept.

    A crop of a fixed side says nothing of the image; there it is the field of view that it was cut from.
    """
    if crops_of(image):
        affine = np.asarray(image.meta["original_affine"], dtype=float)
        axes = [axis for axis, (anatomical, _) in enumerate(io_orientation(affine)) if anatomical != 2]
        sides_mm = original_spacing_mm(image) * np.asarray(image.meta["spatial_shape"])[axes]
    else:
        sides_mm = image.pixdim[:2].cpu().numpy() * np.asarray(image.shape[1:3])
    return round(float(sides_mm.max()), 6)


def geometry_problem(image: MetaTensor, limits: Mapping[str, Any]) -> str:
    """Return what is wrong with the pixel size, or the field of view after the crop; empty where nothing is."""
    spacing_mm = original_spacing_mm(image)
    low, high = limits["mm_per_pixel"]
    if spacing_mm.min() < low or spacing_mm.max() > high:
        return f"pixels of {spacing_mm[0]:.3g} x {spacing_mm[1]:.3g} mm, expected {low:g} to {high:g} mm"
    low, high = limits["field_of_view_mm"]
    extent_mm = seen_mm(image)
    if not low <= extent_mm <= high:
        return f"field of view of {extent_mm:.0f} mm, expected {low:g} to {high:g} mm"
    return ""


def canal_problem(image: MetaTensor) -> str:
    """Return what is wrong with a series in which the canal was looked for and found in no slice."""
    crops = crops_of(image)
    return "no spinal canal found in the series" if crops and all(one["crop"] == "central" for one in crops) else ""


def picture_problem(levels: NDArray[np.floating[Any]], limits: Mapping[str, Any]) -> str:
    """Return what is wrong with a clipped slice in [0, 1], shape (H, W); empty where nothing is."""
    if levels.max() == levels.min():
        return "blank slice"
    saturated = 100 * float((levels >= 1).mean())
    if saturated > limits["largest_saturated_percent"]:
        return f"saturated: {saturated:.0f} % of the pixels are at the top of the range"
    return ""


def slice_problems(image: MetaTensor, limits: Mapping[str, Any] = LIMITS) -> list[str]:
    """Return why each slice cannot be evaluated; empty texts for those that can.

    Args:
        image: preprocessed series ``(C, H, W, D)`` in [0, 1], with the metadata of the original.
        limits: see ``LIMITS``; keys left out keep their defaults.
    """
    limits = {**LIMITS, **limits}
    labels = str(image.meta.get("label_map") or "")
    whole = geometry_problem(image, limits) or (f"looks like a label map ({labels})" if labels else "")
    whole = whole or canal_problem(image)
    slices = own_slices(image.as_tensor())[0].cpu().permute(2, 0, 1).contiguous().numpy()
    return [whole or picture_problem(one, limits) for one in slices]
