"""What the network saw of each slice of a series, and what is odd about it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from ..canal.truth import file_point
from ..records import SCORED, SliceCrop, SliceResult
from ..transforms import crops_of

FAR_MM = 10.0
"""Where the canal lies farther than this from the mean of its neighbours', the series carries a warning."""


def slice_crops(image: MetaTensor) -> list[SliceCrop]:
    """Return what the network saw of every slice of a preprocessed stack ``(1, H, W, D)``."""
    found: list[SliceCrop] = []
    centres: list[NDArray[np.float64] | None] = []
    for one in crops_of(image) or [{}] * int(image.shape[-1]):
        seen = one.get("crop") == "canal"
        row_px, column_px = file_point(image, one["centre_px"]) if seen else (None, None)
        centres.append(np.array(one["centre_mm"]) if seen else None)
        found.append(
            {
                "crop": one.get("crop", ""),
                "canal_confidence": one.get("confidence"),
                "canal_row_px": None if row_px is None else round(row_px, 2),
                "canal_column_px": None if column_px is None else round(column_px, 2),
                "canal_offset_mm": None,
            }
        )
    for index, centre in enumerate(centres):
        beside = centres[max(index - 1, 0) : index] + centres[index + 1 : index + 2]
        neighbours = [other for other in beside if other is not None]
        if centre is not None and neighbours:
            found[index]["canal_offset_mm"] = round(float(np.linalg.norm(centre - np.mean(neighbours, axis=0))), 2)
    return found


def canal_warnings(rows: Sequence[SliceResult]) -> list[str]:
    """Return what is odd about where the canal was found in a series."""
    far = [row["slice_index"] for row in rows if (row["canal_offset_mm"] or 0) > FAR_MM]
    central = [row["slice_index"] for row in rows if row["crop"] == "central" and row["status"] == SCORED]
    found = []
    if far:
        found.append(f"canal over {FAR_MM:g} mm off its neighbours' in slice {', '.join(map(str, far))}")
    if central:
        found.append(f"no canal found, the middle was scored, in slice {', '.join(map(str, central))}")
    return found
