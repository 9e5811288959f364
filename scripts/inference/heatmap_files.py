"""Heat maps as NIfTI files that lie where the slices lie, whatever angles and gaps a series has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from ..files import replacing
from ..heatmaps.montages import Sides
from ..heatmaps.overlays import sides_of

Grid = tuple[NDArray[Any], NDArray[np.float64]]
"""Values ``(columns, rows, places)``, and the matrix from their indices to mm, RAS."""


def on_exact_grids(heatmap: MetaTensor) -> list[Grid]:
    """Return a map on the regular grids that its slices form, the most caudal first; places without a slice are 0.

    Args:
        heatmap: ``(1, columns, rows, slices)`` in the order of the original slices; its ``meta["pieces"]``, see
            `scripts.readers.metadata_of`, says where they lie. Without, the map lies on the grid of its affine.
    """
    values = heatmap.as_tensor()[0].cpu().numpy()
    pieces = json.loads(str(heatmap.meta.get("pieces") or "[]"))
    if len(pieces) < 2 and all(len(piece["places"]) == piece["places"][-1] + 1 for piece in pieces):
        return [(values, heatmap.affine.cpu().numpy())]
    found = []
    for piece in pieces:
        grid = np.zeros((*values.shape[:2], piece["places"][-1] + 1), values.dtype)
        grid[..., piece["places"]] = values[..., piece["slices"]]
        found.append((grid, np.reshape(piece["affine"], (4, 4))))
    return found


def sides_of_slices(heatmap: MetaTensor) -> list[Sides]:
    """Return the patient's sides at the left and right edge of each slice of a map, as its source image shows it.

    Args:
        heatmap: ``(1, columns, rows, slices)``; slices at angles have an affine of their own, see `on_exact_grids`.
    """
    found = [sides_of(heatmap.affine.cpu().numpy(), across=0)] * heatmap.shape[-1]
    for piece in json.loads(str(heatmap.meta.get("pieces") or "[]")):
        for number in piece["slices"]:
            found[number] = sides_of(np.reshape(piece["affine"], (4, 4)), across=0)
    return found


def on_one_grid(heatmap: MetaTensor) -> Grid:
    """Return a map on one regular grid: its own where there is one, else one that takes the nearest slice's values.

    Slices at angles have no grid in common; the new one has their mean directions, and is 0 where no slice reaches.
    The map then lies right to half a voxel, which is what a viewer can show.
    """
    grids = on_exact_grids(heatmap)
    if len(grids) == 1:
        return grids[0]
    whole = np.asarray(heatmap.affine.cpu().numpy(), dtype=np.float64).copy()
    normal = np.cross(whole[:3, 0], whole[:3, 1])
    normal *= np.sign(normal @ whole[:3, 2]) / np.linalg.norm(normal)
    whole[:3, 2] = normal * min(float(np.linalg.norm(affine[:3, 2])) for _, affine in grids)
    spans = []
    for values, affine in grids:
        ends = np.array(np.meshgrid(*((-0.5, n - 0.5) for n in values.shape), [1.0])).reshape(4, -1)
        inside = np.linalg.solve(whole, affine @ ends)[:3]
        spans.append((np.floor(inside.min(axis=1)).astype(int), np.ceil(inside.max(axis=1)).astype(int)))
    lowest, highest = (np.array(side) for side in zip(*spans, strict=True))
    start = lowest.min(axis=0)
    found = np.zeros(highest.max(axis=0) + 1 - start, grids[0][0].dtype)
    for (values, affine), (low, high) in zip(grids, spans, strict=True):
        back = np.linalg.solve(affine, whole)
        part = affine_transform(
            values, back[:3, :3], back[:3, :3] @ low + back[:3, 3], tuple(high + 1 - low), order=0, mode="grid-constant"
        )
        here = found[tuple(slice(a, b + 1) for a, b in zip(low - start, high - start, strict=True))]
        np.maximum(here, part, out=here)
    whole[:3, 3] += whole[:3, :3] @ start
    return found, whole


def write_heatmaps(heatmap: MetaTensor, folder: Path, name: str, notice: str) -> list[Path]:
    """Write a map as NAME.nii.gz, or where its slices form several grids, as NAME_1.nii.gz, NAME_2.nii.gz ...

    Returns:
        The files, the most caudal first.
    """
    grids = on_exact_grids(heatmap)
    paths = []
    for number, (values, affine) in enumerate(grids, 1):
        written = nibabel.Nifti1Image(values.astype(np.float32), affine)
        written.header["descrip"] = notice.encode("ascii", "replace")[:79]
        path = folder / (f"{name}.nii.gz" if len(grids) == 1 else f"{name}_{number}.nii.gz")
        with replacing(path) as temporary:
            nibabel.save(written, temporary)
        paths.append(path)
    return paths
