"""Measures of cord and canal in mm, taken from their masks; and MSCC, which compares the slices of a series.

The definitions are those of the Spinal Cord Toolbox (SCT) 7.3, so that its users know the numbers:
`sct_process_segmentation` (De Leener et al., NeuroImage 145:24-43 (2017), doi:10.1016/j.neuroimage.2016.10.009; the AP
diameter as changed in version 7.2 by its pull request 4958), `sct_compute_ascor` and `sct_compute_compression`. Where
one differs, its docstring says so. The slice is measured as it lies: SCT's correction for the angle between cord and
slice needs the cord's course, and is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull

from ..errors import InputError
from ..records import MEASURE_COLUMNS, SliceMeasures

Floats = NDArray[np.float64]

NOT_MEASURED = SliceMeasures(**dict.fromkeys(MEASURE_COLUMNS))  # type: ignore[typeddict-item]

INSIDE = 0.5
"""Probability from which a point lies inside."""
FINE_MM = 0.1
"""Spacing to which a mask is interpolated before lengths are measured, as in SCT."""
STRIP_MM = 3.0
"""Width of the strip about the cord's centre over which the AP diameter is averaged, as in SCT."""
EDGE_MM = 1.5
"""How far the soft edge of a mask reaches; what is further away belongs to the background."""
SMALLEST_MM2 = 5.0
"""What is smaller is neither cord nor canal: a cord squeezed to a third of its diameter still has over 20 mm²."""
ROUNDING = 1e-6
"""How far a number may lie outside a limit and still count as inside, so that mirrored masks have equal measures."""
TORSION_SLICES = 3
"""Slices above and below over which torsion is averaged, as in SCT."""

FEATURES = (
    *("cord_ap_rl_ratio", "cord_area_mm2", "cord_solidity", "torsion_deg"),
    *("cord_ap_percent_of_median", "cord_canal_area_ratio"),
)
"""Columns of `shape_features`; the first four are what Horáková et al. 2022 found to predict compression."""


def measure_slice(cord: ArrayLike, canal: ArrayLike, pixel_mm: tuple[float, float]) -> SliceMeasures:
    """Measure cord and canal in one axial slice.

    Of each mask the largest connected part counts, with its soft edge. A measure is None where there is no such part,
    or where the part touches the border of the field, so that it may go on outside.

    - Areas are sums of the probabilities. The ratio of cord and canal is SCT's aSCOR.
    - The principal axis of the cord (of its second moments, as SCT's fitted ellipse) that is nearer to right-left is
      its RL axis; the orientation is the angle of that.
    - The RL diameter is the extent along that axis. SCT has the length of the ellipse there: the same in an elliptic
      cord, but 0.6 mm too long in the mean of the phantom's compressed cords, which no ellipse fits.
    - The AP diameter is the mean length across that axis, over a strip of `STRIP_MM` about the cord's centre (a third
      of the RL diameter where that is less).
    - Solidity is the cord's area over that of its convex hull: below 1 where something dents the cord.

    Lengths are taken within the line of probability `INSIDE`, so that a network that is unsure of the whole cord does
    not make it thinner; areas are what such a network expects them to be.

    Args:
        cord: probability of each pixel to be cord, shape (rows, columns), rows to posterior, columns to the patient's
            left.
        canal: probability to be canal, the cord included; where it is below that of the cord, the cord's counts.
        pixel_mm: distance of the pixels' centres, from row to row and from column to column.

    Raises:
        InputError: the masks do not share one grid, hold other numbers than probabilities, or a pixel has no size.
    """
    soft_cord, soft_canal = (np.asarray(mask, dtype=np.float64) for mask in (cord, canal))
    check_masks(soft_cord, soft_canal, pixel_mm)
    cord_part = largest_part(soft_cord, pixel_mm)
    canal_part = largest_part(np.maximum(soft_cord, soft_canal), pixel_mm)
    canal_area = area_mm2(canal_part, pixel_mm)
    measures = SliceMeasures(
        cord_ap_mm=None,
        cord_rl_mm=None,
        cord_ap_rl_ratio=None,
        cord_area_mm2=area_mm2(cord_part, pixel_mm),
        cord_solidity=None,
        cord_orientation_deg=None,
        canal_area_mm2=canal_area,
        cord_canal_area_ratio=None,
    )
    cord_area = measures["cord_area_mm2"]
    if cord_area is None:
        return measures
    inside, step_mm = fine_points(cord_part, pixel_mm)
    if len(inside) * step_mm.prod() < SMALLEST_MM2:  # a line of pixels, inside in their middles only
        measures["cord_area_mm2"] = None
        return measures
    if canal_area is not None and canal_part[cord_part >= INSIDE].any():
        measures["cord_canal_area_ratio"] = cord_area / canal_area
    ap, rl, orientation = diameters(inside, step_mm)
    measures["cord_ap_mm"], measures["cord_rl_mm"], measures["cord_ap_rl_ratio"] = ap, rl, ap / rl
    measures["cord_orientation_deg"] = orientation
    measures["cord_solidity"] = solidity(inside)
    return measures


def check_masks(cord: Floats, canal: Floats, pixel_mm: tuple[float, float]) -> None:
    """Refuse masks that cannot be measured together.

    Raises:
        InputError: they do not share one grid, hold other numbers than probabilities, or a pixel has no size.
    """
    if cord.ndim != 2 or cord.size == 0 or cord.shape != canal.shape:
        raise InputError(
            f"the masks of cord and canal must share one grid of rows and columns, got {cord.shape} and {canal.shape}; "
            "resample one to the other"
        )
    for name, mask in (("cord", cord), ("canal", canal)):
        if not ((mask >= -ROUNDING) & (mask <= 1 + ROUNDING)).all():
            raise InputError(
                f"the mask of the {name} must hold probabilities from 0 to 1, got {mask.min():g} to {mask.max():g}; "
                "a mask of labels has to be split into one mask for each label"
            )
    if not all(math.isfinite(size) and size > 0 for size in pixel_mm):
        raise InputError(f"the size of a pixel must be two lengths above 0 mm (row, column), got {pixel_mm}")


def largest_part(mask: Floats, pixel_mm: tuple[float, float]) -> Floats:
    """Return a mask with its largest connected part and that part's soft edge only; all else is 0."""
    parts, count = ndimage.label(mask >= INSIDE, structure=np.ones((3, 3)))
    if not count:
        return np.zeros_like(mask)
    largest = 1 + int(np.argmax(ndimage.sum_labels(mask, parts, np.arange(1, count + 1))))
    distance, nearest = ndimage.distance_transform_edt(parts == 0, sampling=pixel_mm, return_indices=True)
    reach = max(EDGE_MM, 1.5 * max(pixel_mm))  # always the pixels beside the part
    return np.where((parts[tuple(nearest)] == largest) & (distance <= reach), mask, 0.0)


def area_mm2(part: Floats, pixel_mm: tuple[float, float]) -> float | None:
    """Return the area of a part of a mask; None where there is none, or where it touches the border of the field."""
    inside = part >= INSIDE
    area = float(part.sum()) * pixel_mm[0] * pixel_mm[1]
    touches = inside[[0, -1]].any() or inside[:, [0, -1]].any()
    return None if touches or inside.sum() * pixel_mm[0] * pixel_mm[1] < SMALLEST_MM2 else area


def fine_points(part: Floats, pixel_mm: tuple[float, float]) -> tuple[NDArray[np.int64], Floats]:
    """Interpolate a part that touches no border to about `FINE_MM`.

    Returns:
        Row and column, on the fine grid, of the points inside it, shape (P, 2); and how far the grid's rows and
        columns lie apart in mm.
    """
    rows, columns = np.nonzero(part >= INSIDE)
    crop = part[rows.min() - 1 : rows.max() + 2, columns.min() - 1 : columns.max() + 2]
    finer = [math.ceil(size / FINE_MM) for size in pixel_mm]
    fine = ndimage.zoom(crop, finer, order=1, mode="grid-constant", grid_mode=True)
    return np.argwhere(fine > INSIDE - ROUNDING), np.divide(pixel_mm, finer)


def diameters(inside: NDArray[np.int64], step_mm: Floats) -> tuple[float, float, float]:
    """Return AP and RL diameter in mm and orientation in degrees of the points inside a cord, see `fine_points`."""
    centred = (inside - inside.mean(axis=0)) * step_mm
    _, axes = np.linalg.eigh(centred.T @ centred)
    axis = axes[:, np.argmax(np.abs(axes[1]))]
    along, own_width = centred @ axis, float(np.abs(axis) @ step_mm)
    rl = float(np.ptp(along)) + own_width
    width = min(STRIP_MM, rl / 3)
    share = np.clip((width / 2 - np.abs(along)) / own_width + 0.5, 0, 1)  # of what a point stands for
    ap = float(share.sum() * step_mm.prod()) / width
    return ap, rl, math.degrees(math.atan(axis[0] / axis[1]))


def solidity(inside: NDArray[np.int64]) -> float:
    """Return the share of the points of a grid within the convex hull of some that are among them; 1 if it is convex.

    Args:
        inside: row and column of those points, shape (P, 2).
    """
    hull = ConvexHull(inside).equations
    rows = np.arange(inside[:, 0].min(), inside[:, 0].max() + 1)
    # where the hull's edges cross each row: those on the left begin it, those on the right end it
    on_left, on_right = hull[hull[:, 1] < -ROUNDING], hull[hull[:, 1] > ROUNDING]
    begin, end = (-(edges[:, [0]] * rows + edges[:, [2]]) / edges[:, [1]] for edges in (on_left, on_right))
    within = np.floor(end.min(axis=0) + ROUNDING) - np.ceil(begin.max(axis=0) - ROUNDING) + 1
    return len(inside) / float(within.sum())


def mscc_percent(
    ap_mm: Sequence[float | None], position_mm: Sequence[float], compressed: Sequence[int | None]
) -> list[float | None]:
    """Compute maximum spinal cord compression of every slice of a series; 0 is uncompressed, 100 is a closed cord.

    MSCC = (1 - d / ((a + b) / 2)) x 100 % with the AP diameter d of the slice, a of the nearest uncompressed slice
    above and b of the nearest below. An uncompressed slice has an MSCC, too, near 0 and of either sign.

    A reference without a measured diameter is passed over for the next. Where one side has no reference at all, the
    other stands alone, as in `sct_compute_compression`; that ignores how the cord's diameter changes along the neck.
    The MSCC is None where no side has one, or where the slice itself has no measured diameter. SCT takes the mean of
    20 mm of cord that begin 10 mm away; here one slice each is taken, as the radiologists of the sources do.

    Args:
        ap_mm: AP diameter of each slice; None where it has none.
        position_mm: of each slice along the stack's normal, in any order; slices at one position are never each
            other's reference.
        compressed: 1 where a slice is compressed, 0 where not, None where nobody knows: no reference.

    Raises:
        InputError: the three differ in length.

    Source: Fehlings et al., Spine 24:605-613 (1999); Miyanji et al., Radiology 243:820-827 (2007),
    doi:10.1148/radiol.2433060583.
    """
    if not len(ap_mm) == len(position_mm) == len(compressed):
        raise InputError(
            "MSCC needs diameter, position and compression of each slice, "
            f"got {len(ap_mm)}, {len(position_mm)} and {len(compressed)} of them"
        )
    slices = zip(position_mm, ap_mm, compressed, strict=True)
    references = sorted((position, ap) for position, ap, call in slices if ap is not None and call == 0)

    def percent(ap: float | None, position: float) -> float | None:
        below = [reference for where, reference in references if where < position][-1:]
        above = [reference for where, reference in references if where > position][:1]
        if ap is None or not (below or above):
            return None
        return 100 * (1 - ap / float(np.mean(below + above)))

    return [percent(ap, position) for ap, position in zip(ap_mm, position_mm, strict=True)]


def torsion_deg(orientation_deg: Sequence[float | None], position_mm: Sequence[float]) -> list[float | None]:
    """Compute how much the cord turns from slice to slice about each slice of a series.

    It is the mean change of orientation, without its sign, between the neighbouring slices from `TORSION_SLICES` below
    to as many above. SCT leaves it out where one of these is missing; here those that are there are averaged, and it is
    None where there are none.

    Args:
        orientation_deg: of each slice's cord; None where it has none.
        position_mm: of each slice along the stack's normal, in any order.

    Source: Horáková et al., Quant Imaging Med Surg 12:2261-2279 (2022), equation 3, doi:10.21037/qims-21-782.
    """
    order = np.argsort(position_mm, kind="stable")
    angles = np.array([np.nan if angle is None else angle for angle in orientation_deg], dtype=np.float64)[order]
    # which axis of a round cord is RL is chance: a change of 90 degrees is none
    changes = np.abs((np.diff(angles) + 45) % 90 - 45)
    found: list[float | None] = [None] * len(order)
    for rank, index in enumerate(order):
        near = changes[max(rank - TORSION_SLICES, 0) : rank + TORSION_SLICES]
        near = near[np.isfinite(near)]
        found[index] = float(near.mean()) if len(near) else None
    return found


def shape_features(measures: Sequence[SliceMeasures], position_mm: Sequence[float]) -> Floats:
    """Return what a baseline of shape alone knows of every slice of a series, NaN where it is not known.

    No label and no call is used: the AP diameter is related to the median of the series instead of to uncompressed
    slices.

    Args:
        measures: of every slice of one series.
        position_mm: of each slice along the stack's normal, in any order.

    Returns:
        shape (slices, `FEATURES`).
    """
    columns: dict[str, Sequence[float | None]] = {
        "cord_ap_rl_ratio": [one["cord_ap_rl_ratio"] for one in measures],
        "cord_area_mm2": [one["cord_area_mm2"] for one in measures],
        "cord_solidity": [one["cord_solidity"] for one in measures],
        "torsion_deg": torsion_deg([one["cord_orientation_deg"] for one in measures], position_mm),
        "cord_ap_percent_of_median": percent_of_median([one["cord_ap_mm"] for one in measures]),
        "cord_canal_area_ratio": [one["cord_canal_area_ratio"] for one in measures],
    }
    return np.array([columns[name] for name in FEATURES], dtype=np.float64).T


def percent_of_median(values: Sequence[float | None]) -> list[float | None]:
    """Relate each value of a series to the median of those that are not None."""
    known = [value for value in values if value is not None]
    middle = float(np.median(known)) if known else math.nan
    return [None if value is None else 100 * value / middle for value in values]
