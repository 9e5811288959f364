"""Each slice of a series with its heat map, as its source image shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from nibabel.orientations import aff2axcodes

from ..records import SCORED
from ..transforms import PERCENTILES, scale_slices
from .montages import Floats, Picture, Sides, overlay, write_on
from .targets import explained_task, heat_in_words

OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "S": "I", "I": "S"}


def sides_of(affine: Floats, across: int) -> Sides:
    """Return the sides of the patient at the left and right edge of pictures.

    Args:
        affine: from indices to mm, RAS, (4, 4).
        across: axis of the array that runs from left to right in the picture.
    """
    right = str(aff2axcodes(affine)[across])
    return OPPOSITE[right], right


def source_overlays(
    pixels: Floats, heat: Floats, rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], sides: Sequence[Sides]
) -> list[Picture]:
    """Draw each slice with its heat map as its source image shows it.

    Args:
        pixels: ``(columns, rows, slices)``, as `SeriesReader` gives them.
        heat: the heat map on the same grid, in [0, 1].
        rows: the slices, as in slices.csv.
        summary: the series, as in summary.json.
        sides: of the patient, of each slice.

    Returns:
        RGB ``(rows, columns, 3)`` of each slice, captioned.
    """
    levels = scale_slices(torch.from_numpy(pixels)[None], *PERCENTILES)[0].numpy()
    trained = ["PHANTOM WEIGHTS"] if summary["trained_on_phantom"] else []
    task = explained_task(summary)
    pictures = []
    for index, row in enumerate(rows):
        call = "compressed" if row.get("compressed") else "not compressed"
        found = f"p {row['probability']:.2f} {call}" if row["status"] == SCORED else "not evaluable"
        explains = [] if task is None else [f"heat: {heat_in_words(row, task)}"]
        picture = overlay(levels[..., index].T, heat[..., index].T)
        pictures.append(write_on(picture, [found, *explains, "RESEARCH USE ONLY", *trained], sides[index]))
    return pictures
