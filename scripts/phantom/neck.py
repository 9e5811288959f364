"""The neck around the spine: skin, fat, muscles, vessels; throat and shoulders have modules of their own."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import numpy as np

from .anatomy import Anatomy
from .canvas import Canvas
from .fields import WHOLE, Array, Window, bump, clamp, coverage, smooth_max, spline_weights, spread
from .muscles import Partition, paint_midline, paint_muscles, partition, pushed, slanted
from .shoulders import paint_shoulders
from .soft_tissue import MUSCLES
from .strips import box
from .throat import paint_throat
from .tissues import Tissues

__all__ = ["MUSCLES", "paint_neck"]

SKIN_MM = 1.6
SHOULDER_LEVELS = 2.6  # from where the neck begins to widen to where it is as wide as the shoulders
SMOOTHING_NODES = 32  # along a side of the neck
WANDER_MM = 10.0  # the skin lies within this much of the outline's box, warped or not
# how far the front of the neck is from the canal, by level: chin, floor of the mouth, larynx, sternal notch
FRONT_LEVELS = (-1.4, 0, 0.9, 1.8, 2.6, 4, 6, 7)
FRONT_MM = (114, 112, 105, 87, 71, 64, 60, 62)


@dataclass(frozen=True)
class Shape:
    """The outline of one slice, mm from the canal, and how much of it is jaw, nape and shoulder (0...1)."""

    half_width: float
    front: float
    back: float
    y_centre: float
    jaw: float
    low: float
    shoulders: float
    hump: float

    @classmethod
    def of(cls, anatomy: Anatomy, level: float) -> Shape:
        """Interpolate the outline to a level."""
        soft = anatomy.soft
        low = clamp((level - 4.2) / 1.8, 0, 1)
        jaw = clamp((1.9 - level + soft.jaw) / 1.6, 0, 1)
        shoulders = clamp((level - soft.shoulders) / SHOULDER_LEVELS, 0, 1)
        hump = soft.hump_mm * float(bump((level - 5.4) / 1.3))
        return cls(
            half_width=anatomy.neck_half_width_mm * (1 + 1.1 * shoulders**2 * (3 - 2 * shoulders)) * (1 + 0.05 * jaw),
            front=float(np.interp(level - soft.jaw, FRONT_LEVELS, FRONT_MM)) * anatomy.neck_half_depth_mm / 60
            + soft.chin_mm * jaw,
            back=back_mm(anatomy) + 3 * low + 0.6 * hump,
            y_centre=-5 + 5 * low - 14 * jaw,
            jaw=jaw,
            low=low,
            shoulders=shoulders,
            hump=hump,
        )


def back_mm(anatomy: Anatomy) -> float:
    """How far the skin of the back lies behind the canal at mid-neck."""
    return anatomy.neck_half_depth_mm - 4


def beside_mm(anatomy: Anatomy) -> float:
    """How thick the fat beside the neck is."""
    return anatomy.fat_beside_mm * anatomy.soft.fat_beside


def paint_neck(
    canvas: Canvas, anatomy: Anatomy, level: float, tissues: Tissues, texture: Array, coarse: Array, fascia: Array
) -> None:
    """Paint everything outside the spinal column.

    Args:
        canvas: an empty canvas.
        anatomy: the patient.
        level: -1 mid C1, 0 mid C2, 1 mid C3, ...
        tissues: signals.
        texture: about 1, streaks of fat in muscle, of the image's shape.
        coarse: smooth noise of unit variance.
        fascia: one number in 0...1 for each muscle, how thick its fat plane is.
    """
    shape, soft = Shape.of(anatomy, level), anatomy.soft
    middle, half = 0.5 * (shape.back - shape.front), 0.5 * (shape.back + shape.front)
    window = box(canvas, 0, middle, shape.half_width + WANDER_MM, half + WANDER_MM)
    whole, canvas = canvas, cropped(canvas, window)
    texture, coarse = slanted(canvas, texture[window]), coarse[window]
    outline = outline_distance(canvas, anatomy, shape)
    layer = fat_layer(canvas, anatomy, shape)
    usual = layer.copy()
    layer *= unevenness(canvas, anatomy, shape)
    np.maximum(layer, 0.8, out=layer)
    excess = layer - usual
    layer *= 1 + 0.1 * coarse
    inside = outline + np.float32(SKIN_MM)
    canvas.paint(WHOLE, outline, tissues.skin)
    fat = tissues.fat * stranded_fat(inside, texture, coarse, soft.septa)
    canvas.paint(WHOLE, inside, fat)
    shell = canvas.image.copy()
    deep = coverage(inside + layer, canvas.pixel_mm * 1.5)
    mid_fat = 0.65 * anatomy.fat_behind_mm
    scale = (
        clamp((anatomy.neck_half_width_mm - SKIN_MM - beside_mm(anatomy)) / 53, 0.8, 1.3),
        clamp((back_mm(anatomy) - SKIN_MM - mid_fat - 0.6 * max(soft.flattening_mm, 0)) / 46, 0.72, 1.2),
    )
    beside = beside_mm(anatomy) * (1 + 0.5 * shape.shoulders)
    widest = shape.half_width - SKIN_MM - beside - 6 * min(3 * shape.shoulders, 1)  # of the muscles
    parts = partition(pushed(canvas, excess), anatomy, level, scale, widest)
    canvas.image = filling(canvas, anatomy, 0.95 * fat, tissues, texture, coarse, parts)
    paint_throat(canvas, anatomy, level, shape.front, tissues, np.minimum(texture, 1.3))
    canvas.ellipse(0, -24, 9, 3.4, 0.95 * tissues.muscle + 0.06 * tissues.fat)  # prevertebral fascia
    paint_muscles(canvas, anatomy, parts, tissues, texture, coarse, fascia)
    paint_midline(canvas, anatomy, shape.back - SKIN_MM - mid_fat, tissues)
    paint_vessels(canvas, anatomy, level, shape.low, scale, tissues)
    paint_shoulders(canvas, anatomy, level, tissues, texture)
    whole.image[window] = shell + deep * (canvas.image - shell)


def cropped(canvas: Canvas, window: Window) -> Canvas:
    """Return a canvas of some of the pixels, with an image of its own."""
    inner = copy(canvas)
    inner.x, inner.y = canvas.x[window], canvas.y[window]
    inner.x_true, inner.y_true = canvas.x_true[window], canvas.y_true[window]
    row, column = (
        origin + part.start * spacing
        for origin, part, spacing in zip(canvas.origin_mm, window, canvas.spacing_mm, strict=True)
    )
    inner.origin_mm = row, column
    inner.image = canvas.image[window].copy()
    return inner


def filling(
    canvas: Canvas, anatomy: Anatomy, fat: Array, tissues: Tissues, texture: Array, coarse: Array, parts: Partition
) -> Array:
    """Compute what lies where no organ is painted: fat, but muscle around the spine and, in lean people, in muscle."""
    muscle: Array = np.float32(1.1 * tissues.muscle) * texture + np.float32(0.06 * tissues.fat)
    share = smoothed(parts.nearest < 2)
    share *= 3
    share -= np.float32(1.3)
    np.clip(share, 0, 1, out=share)
    share *= np.float32(np.clip(1.1 - 1.8 * anatomy.fatty, 0, 0.9))
    near = box(canvas, 0, -7, 46, 46)
    from_spine = (canvas.x[near] * np.float32(1 / 24)) ** 2 + ((canvas.y[near] + 7) * np.float32(1 / 25)) ** 2
    around = np.clip(2.5 - 1.8 * from_spine + 0.4 * np.minimum(coarse[near], 2), 0, 1)
    share[near] = np.maximum(share[near], around * np.float32(0.85 - 0.25 * anatomy.fatty))
    muscle -= fat
    muscle *= share
    muscle += fat
    return muscle


def smoothed(mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Array:
    """Compute how much of each pixel's wider surroundings a mask covers."""
    rows, columns = (spline_weights(size, SMOOTHING_NODES) for size in mask.shape)
    covered = rows.T @ mask.astype(np.float32) @ columns
    pixels = rows.sum(axis=0)[:, None] * columns.sum(axis=0)
    return spread(covered / np.maximum(pixels, 1e-3), (mask.shape[0], mask.shape[1]))


def outline_distance(canvas: Canvas, anatomy: Anatomy, shape: Shape) -> Array:
    """Compute the distance to the skin: round to square, narrower in front, flat where the patient lies on it."""
    soft = anatomy.soft
    x, y = canvas.x, canvas.y - np.float32(shape.y_centre)
    half_front, half_back = shape.front + shape.y_centre, shape.back - shape.y_centre
    along = np.where(y < 0, y * np.float32(1 / half_front), y * np.float32(1 / half_back))
    squared = along * along
    narrowing = np.where(
        y < 0,
        np.float32(soft.front_narrowing - 0.14 * shape.low - 0.1 * shape.jaw),
        np.float32(0.10 + 0.08 * shape.jaw - 0.22 * shape.shoulders),
    )
    u = (x * np.float32(1 / shape.half_width) * (1 + narrowing * np.minimum(squared, 1.5))) ** 2
    both = u * squared
    radius = np.sqrt(u + squared - np.float32(soft.squareness) * both / (1 + both))
    distance: Array = (radius - 1) * np.float32(1.05 * min(shape.half_width, half_front, half_back))
    nape = box(canvas, 0, shape.back, 28, shape.back)
    ridge = soft.nape_mm * (1 - shape.low) * bump(canvas.x[nape] * np.float32(1 / 9))
    distance[nape] += np.clip(along[nape], 0, 1) * ridge
    behind = box(canvas, 0, shape.y_centre + 200, 400, 200)
    bed = canvas.y[behind] - np.float32(soft.flattening_slope) * canvas.x[behind]
    distance[behind] = smooth_max(distance[behind], bed - np.float32(shape.back - soft.flattening_mm), 9.0)
    return distance


def fat_layer(canvas: Canvas, anatomy: Anatomy, shape: Shape) -> Array:
    """Compute how thick the fat under the skin is, were it even: thin in front, thick at the nape."""
    y = canvas.y - np.float32(shape.y_centre)
    behind = np.clip(y * np.float32(1 / (shape.back - shape.y_centre)), 0, 1)
    behind *= np.sqrt(behind)
    before = np.clip(-y * np.float32(1 / (shape.front + shape.y_centre)), 0, 1)
    beside = beside_mm(anatomy) * (1 + 0.5 * shape.shoulders)
    thick = anatomy.fat_behind_mm * (0.65 + 0.6 * shape.low) + shape.hump
    in_front = anatomy.soft.fat_front_mm * (1 + 0.8 * shape.jaw)
    layer: Array = beside + np.float32(thick - beside) * behind + np.float32(in_front - beside) * before
    return layer


def unevenness(canvas: Canvas, anatomy: Anatomy, shape: Shape) -> Array:
    """Compute by how much the fat is thicker than `fat_layer`: more on one side, and in lobes."""
    y = canvas.y - np.float32(shape.y_centre)
    lobes = anatomy.soft.fat_lobes
    across = canvas.x * np.float32(1 / shape.half_width)
    wave = np.sin(across * np.float32(4 + lobes[0]) + y * np.float32(0.05 * lobes[1]) + np.float32(2 * lobes[2]))
    lobed = 1 + np.float32(np.clip(0.2 * lobes[3], -0.35, 0.35)) * wave
    uneven: Array = lobed * (1 + np.float32(np.clip(anatomy.soft.fat_slope, -0.4, 0.4)) * np.clip(across, -1, 1))
    return uneven


def stranded_fat(depth: Array, texture: Array, coarse: Array, septa: float) -> Array:
    """Compute the signal of fat, about 1, with thin membranes that wave along the skin."""
    phase = depth * np.float32(0.19) + np.float32(0.55) * coarse + np.float32(0.5)
    membrane = np.clip(1 - np.abs(phase - np.rint(phase)) * 11, 0, 1) * np.clip(0.4 + 0.7 * coarse, 0, 1)
    membrane *= np.clip(1.3 + depth * np.float32(1 / 20), 0.2, 1)  # fewer in the deep
    streaks = np.minimum(texture - 1, 2)
    fat: Array = (1.02 - 0.07 * streaks / (1 + np.abs(streaks))) * (1 - np.float32(0.55 * septa) * membrane)
    return fat


def paint_vessels(
    canvas: Canvas, anatomy: Anatomy, level: float, low: float, scale: tuple[float, float], tissues: Tissues
) -> None:
    """Carotid arteries, jugular veins of unequal size, vertebral vessels below C6, deep veins and lymph nodes."""
    soft = anatomy.soft
    wide = scale[0]
    for index, side in enumerate((-1, 1)):
        a = soft.wander[index]
        above = clamp((soft.bifurcation - level) / 1.2, 0, 1)
        x = side * wide * (27 + 1.3 * a[0] - 5 * low - 2 * above)
        y = -27 + 1.3 * a[1] - 4 * low + 2 * above
        slow = tissues.vessel + (0.35 * tissues.wall * max(a[6], 0) if soft.jugular[index] < 1.3 else 0.0)
        size = soft.jugular[index] * (1 + 0.25 * low)
        canvas.ellipse(
            x + side * (5.2 + 3.0 * size + 0.8 * a[2] - 1.5 * above),
            y + 3.0 + 1.2 * a[3] - 4 * low,
            max(4.6 * size, 1.4),
            max(3.1 * size, 1.0),
            slow,
            side * (25 + 8 * a[4]),
            rim=(0.3, 0.7 * tissues.wall),
        )
        canvas.ellipse(x, y, 3.5 - 0.8 * above, 3.5 - 0.8 * above, tissues.vessel, rim=(0.45, 0.85 * tissues.wall))
        if above > 0:
            outside = x + side * 5.5 * above, y - 6.5 * above
            canvas.ellipse(
                *outside, 2.3, 2.3, tissues.vessel, rim=(0.35, 0.7 * tissues.wall), opacity=min(1, 3 * above)
            )
        external = x + side * wide * (18 - 5 * low + 2 * a[5]), 0.0
        canvas.ellipse(
            external[0] * 1.13, -14 - 6 * low + 4 * a[6], 1.9, 1.1, tissues.vessel, side * 55, rim=(0.3, tissues.wall)
        )
        anterior = side * (9 + 3 * a[7])
        if level > 2.5:
            canvas.ellipse(anterior, -63 + 6 * low, 1.5, 1.0, tissues.vessel, opacity=min(1, level - 2.5))
        if level > 4.3:  # before the vertebral artery enters the canal of C6
            shown = min(1.0, 2 * (level - 4.3))
            along = min(level - 4.3, 2.5)
            spot = side * (19 + 2.2 * along), -13 - 4.5 * along
            canvas.ellipse(*spot, 2.2, 2.2, tissues.vessel, rim=(0.4, tissues.wall), opacity=shown)
            canvas.ellipse(spot[0] + side * 3.5, spot[1] + 2, 2.0, 1.4, slow, side * 30, opacity=0.8 * shown)
        if level > 2.3:
            for number in range(3):  # the brachial plexus, between the scalenes
                at = side * wide * (25 + 4.5 * number + 4 * low), -14 + 1.5 * a[number] - 3 * low + 2.5 * number
                canvas.ellipse(*at, 1.5, 1.1, tissues.root, side * 40, opacity=0.75 * min(1, level - 2.3))
    for side_of, x, y, centre, half, stagnant in soft.veins:
        share = clamp(2 - 1.4 * abs(level - centre), 0, 1)
        if share > 0:
            signal = tissues.vessel + clamp(5 * stagnant - 3, 0, 1) * (0.8 * tissues.fat - tissues.vessel)
            place = (
                side_of * (x + 2 * (level - centre)) * wide,
                (y + 5 * (stagnant - 0.5) * (level - centre)) * scale[1],
            )
            canvas.ellipse(*place, 1.6 * half, half, signal, side_of * 150 * stagnant, opacity=0.8 * share)
    for side_of, x, y, centre, half in soft.nodes:
        share = 1 - ((level - centre) / (half / 4)) ** 2
        if share > 0:
            canvas.ellipse(
                side_of * x * wide,
                y,
                1.6 * half * share**0.5 + 0.3,
                half * share**0.5 + 0.3,
                tissues.gland,
                side_of * 50,
                opacity=min(1.0, 3 * share),
            )
