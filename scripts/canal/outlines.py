"""What the localiser finds in a series, beside what is known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from ..dicom.loaded import identities
from ..evaluation.proportions import ratio
from ..heatmaps.montages import NETWORK_SIDES, Picture, grey, save_png, sheet_picture
from ..records import Series
from ..tables import Row
from ..transforms import PERCENTILES, SquareFieldOfViewd, crops_of, scale_slices
from .localiser import Localiser
from .points import mask_columns
from .truth import Truth, file_point, load_mask, matching_slice, truth_of

COLOURS = {"canal": (80, 200, 255), "cord": (255, 210, 60), "centre": (255, 60, 60), "true": (90, 255, 90)}
SCALE = 2
"""How many times pixels are enlarged in the picture."""


@dataclass(frozen=True)
class Located:
    """One slice.

    Attributes:
        row: of localised.csv.
        grey: the crop ``(S, S)`` in [0, 1].
        outlines: probabilities ``(2, S, S)`` of canal and cord in it.
        true_px: the true centre in pixels of the crop, None where it is not known.
    """

    row: dict[str, Any]
    grey: NDArray[np.float32]
    outlines: NDArray[np.float32]
    true_px: tuple[float, float] | None


def locate(
    localiser: Localiser,
    image: MetaTensor,
    series: Series,
    rows_by_slice: Mapping[Any, Row],
    folder: Path,
    masks: Sequence[Path],
    side_mm: float,
) -> list[Located]:
    """Localise every slice of an oriented image.

    Args:
        localiser: the localiser.
        image: ``(1, H, W, D)``.
        series: whose it is.
        rows_by_slice: canal.csv.
        folder: of canal.csv.
        masks: masks beside the image's file.
        side_mm: side of the crop.
    """
    framing = SquareFieldOfViewd("image", localiser.image_size, side_mm=side_mm, canal=localiser)
    crop = framing({"image": image})["image"]
    crops = crops_of(crop)
    levels = scale_slices(crop.as_tensor(), *PERCENTILES)
    outlines = localiser.masks(levels.permute(3, 0, 1, 2))
    # on the grid of the image, where the known masks lie
    trace = {"meta": crop.meta, "applied_operations": crop.applied_operations}
    on_grid = framing.inverse({"image": MetaTensor(outlines.permute(1, 2, 3, 0), **trace)})["image"].as_tensor().numpy()
    spacing_mm = np.asarray(image.pixdim[:2], dtype=float)
    found = []
    for index, (sop_uid, frame) in enumerate(identities(image)):
        truth = known_truth(image, index, rows_by_slice, (series["series_uid"], sop_uid, frame), folder, masks)
        centre = np.array(crops[index]["centre_px"])
        row_px, column_px = file_point(image, (float(centre[0]), float(centre[1])))
        error_mm, true_px = None, None
        if truth.centre_px is not None:
            off_mm = (centre - np.array(truth.centre_px)) * spacing_mm
            error_mm = round(float(np.linalg.norm(off_mm)), 3)
            half = (localiser.image_size - 1) / 2
            true_px = tuple(half - off_mm / side_mm * localiser.image_size)
        dice = [mask_dice(mask, on_grid[n, ..., index]) for n, mask in enumerate((truth.canal, truth.cord))]
        row = {
            "patient_id": series["patient_id"],
            "series_uid": series["series_uid"],
            "sop_uid": sop_uid,
            "frame": frame,
            "slice_index": index,
            "crop": crops[index]["crop"],
            "confidence": crops[index]["confidence"],
            "canal_row_px": round(row_px, 2),
            "canal_column_px": round(column_px, 2),
            "error_mm": error_mm,
            "canal_dice": dice[0],
            "cord_dice": dice[1],
        }
        found.append(Located(row, levels[0, ..., index].numpy(), outlines[index].numpy(), true_px))
    return found


def known_truth(
    image: MetaTensor,
    index: int,
    rows_by_slice: Mapping[Any, Row],
    key: tuple[str, str, str],
    folder: Path,
    masks: Sequence[Path],
) -> Truth:
    """Return what is known of a slice, from canal.csv, else from masks beside the file."""
    row = rows_by_slice.get(key)
    if row is not None:
        return truth_of(row, image, index, folder)
    outlines: dict[str, NDArray[np.uint8]] = {}
    for path in masks:
        number = matching_slice(image, index, str(path))
        if number is None:
            continue
        mask = load_mask(str(path))[0][..., number]
        for column in mask_columns(path):
            outlines.setdefault(column, (mask > 0).astype(np.uint8))
    canal, cord = outlines.get("canal_mask"), outlines.get("cord_mask")
    outline = canal if canal is not None else cord
    if outline is None or not outline.any():
        return Truth(None, canal, cord)
    rows, columns = np.nonzero(outline)
    return Truth((float(rows.mean()), float(columns.mean())), canal, cord)


def mask_dice(mask: NDArray[np.uint8] | None, probabilities: NDArray[np.float32]) -> float | None:
    """Return Dice of a known mask and an outline ``(H, W)``; None where the mask is not known or empty."""
    if mask is None or not mask.any():
        return None
    outlined, wanted = probabilities >= 0.5, mask > 0
    return round(2 * int((outlined & wanted).sum()) / (int(outlined.sum()) + int(wanted.sum())), 4)


def summary(located: Sequence[Located], far_mm: float) -> dict[str, Any]:
    """Summarise errors over slices; the share that is far off has an interval clustered by patient."""
    rows = [one.row for one in located]
    known = [row for row in rows if row["error_mm"] is not None]
    errors = np.array([row["error_mm"] for row in known])
    facts: dict[str, Any] = {
        "n_series": len({row["series_uid"] for row in rows}),
        "n_slices": len(rows),
        "n_flagged": sum(row["crop"] != "canal" for row in rows),
        "n_known": len(known),
        "far_mm": far_mm,
        "median_error_mm": float(np.median(errors)) if known else None,
        "p99_error_mm": float(np.quantile(errors, 0.99)) if known else None,
        "n_far_unflagged": sum(row["error_mm"] > far_mm and row["crop"] == "canal" for row in known),
        "far": None,
    }
    if known:
        names = [row["patient_id"] or row["series_uid"] for row in known]
        patients = sorted(set(names))
        far = [sum(e > far_mm for e, n in zip(errors, names, strict=True) if n == one) for one in patients]
        facts["far"] = ratio(far, [names.count(one) for one in patients]).leaf()
    for name in ("canal", "cord"):
        values = [row[f"{name}_dice"] for row in rows if row[f"{name}_dice"] is not None]
        facts[f"{name}_dice"] = float(np.median(values)) if values else None
        facts[f"{name}_dice_p5"] = float(np.quantile(values, 0.05)) if values else None
    return facts


def sheet(located: Sequence[Located], path: Path, shown: int, seed: int) -> None:
    """Draw the slices that are farthest off, or least certain, and some at random, with their outlines."""
    order = sorted(located, key=lambda one: (-(one.row["error_mm"] or 0), one.row["confidence"]))
    rest = order[shown:]
    numbers = np.random.default_rng(seed).permutation(len(rest))[:shown]
    chosen = [*order[:shown], *(rest[int(number)] for number in numbers)]
    captions = []
    for one in chosen:
        error = "" if one.row["error_mm"] is None else f"{one.row['error_mm']:.1f} mm off"
        captions.append(
            f"{one.row['patient_id'] or one.row['series_uid'][-18:]} {one.row['slice_index']}\n"
            f"{error} conf {one.row['confidence']:.2f}"
        )
    title = (
        f"The {min(shown, len(order))} slices farthest off (or least certain), then others at random.\n"
        "Blue: canal, yellow: cord, red cross: centre found, green cross: true centre. Red captions: no canal found."
    )
    pictures = [[outlined(one)] for one in chosen]
    lost = [one.row["crop"] != "canal" for one in chosen]
    save_png(sheet_picture(pictures, captions, lost, title, "", NETWORK_SIDES, 6), path)


def outlined(one: Located) -> Picture:
    """Draw the outlines of canal and cord, and both centres, over a crop."""
    picture = grey(np.kron(one.grey, np.ones((SCALE, SCALE)))).copy()
    for probabilities, name in zip(one.outlines, ("canal", "cord"), strict=True):
        inside = np.kron(probabilities, np.ones((SCALE, SCALE))) >= 0.5
        edge = inside & ~(
            np.roll(inside, 1, 0) & np.roll(inside, -1, 0) & np.roll(inside, 1, 1) & np.roll(inside, -1, 1)
        )
        picture[edge] = COLOURS[name]
    half = (one.grey.shape[0] - 1) / 2
    for place, name in (((half, half), "centre"), (one.true_px, "true")):
        if place is not None:
            row, column = (round((value + 0.5) * SCALE) for value in place)
            for step in range(-5, 6):
                for y, x in ((row + step, column), (row, column + step)):
                    if 0 <= y < picture.shape[0] and 0 <= x < picture.shape[1]:
                        picture[y, x] = COLOURS[name]
    return picture
