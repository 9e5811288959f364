"""What a loaded image says of its slices: which they are, where they lie, how far apart they should be."""

from __future__ import annotations

import json
import math

import numpy as np
from monai.data import MetaTensor
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray


def identities(image: MetaTensor) -> list[tuple[str, str]]:
    """Return ``(sop_uid, frame)`` of every slice of a loaded image ``(1, H, W, D)``; empty texts where it has none."""
    slices, affine = image.meta.get("slices"), image.meta.get("original_affine")
    # slices of a stack that was not axial have been cut anew, and are none of the files' slices
    if not slices or affine is None or aff2axcodes(np.asarray(affine))[2] != "S":
        return [("", "")] * int(image.shape[-1])
    return [(str(entry["sop_uid"]), str(entry["frame"])) for entry in json.loads(slices)]


def slice_geometry_mm(image: MetaTensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return position along the normal and thickness of every slice in mm, shape (D,) each.

    DICOM brings both; other volumes have them in their affine, where slices touch.

    Args:
        image: ``(1, H, W, D)``, slices from caudal to cranial.
    """
    count = int(image.shape[-1])
    if any(sop_uid for sop_uid, _ in identities(image)):
        slices = json.loads(str(image.meta["slices"]))
        if all("position_mm" in one for one in slices):
            mm = np.array([(one["position_mm"], one["thickness_mm"]) for one in slices], float)
            return mm[:, 0], mm[:, 1]
    affine = image.affine.cpu().numpy().astype(float)
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    normal = normal / np.linalg.norm(normal) * np.sign(normal[2] or 1)
    along = affine[:3, 3] @ normal + np.arange(count) * (affine[:3, 2] @ normal)
    return along, np.full(count, abs(float(affine[:3, 2] @ normal)))


def nominal_spacing_mm(image: MetaTensor) -> float:
    """Return the distance that the slices of a stack should have by their headers, in mm; NaN where it is not known."""
    slices = json.loads(str(image.meta.get("slices") or "[]"))
    stated = slices[0].get("nominal_spacing_mm") if slices else None
    return math.nan if stated is None else float(stated)
