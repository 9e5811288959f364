"""The muscles of the neck and the fat between them."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import numpy as np

from .anatomy import Anatomy
from .canvas import Canvas
from .fields import WHOLE, Array
from .soft_tissue import MUSCLES, muscles_at
from .strips import strip
from .tissues import Tissues

FAR_MM = 9.0
GROWTH_LIMIT_MM = 3.6  # a strip's distance is not known further out
DEEP_FATTY = {
    "multifidus": 2.6,
    "interspinales": 2.6,
    "semispinalis cervicis": 2.3,
    "semispinalis capitis": 1.5,
    "rectus capitis major": 2.0,
    "rectus capitis minor": 2.4,
}  # how readily deep muscles turn to fat, against the others
FATTY = 0.85
STREAK_LIMIT = 5.0  # no streak of fat is brighter than muscle by more than this many times
SLANT = 0.6  # of the streaks of fat behind the spine
PUSH_MM = 7.0  # the muscles give way to so much fat under the skin


@dataclass(frozen=True)
class Partition:
    """Whose each pixel is: distance to the nearest muscle and the next one, and the nearest one's number."""

    nearest: Array
    second: Array
    number: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def slanted(canvas: Canvas, texture: Array) -> Array:
    """Return streaks that run as the muscles behind do, to the front the further they are from the midline."""
    n_rows, n_columns = texture.shape
    columns = np.arange(n_columns)
    aside_mm = np.abs(canvas.origin_mm[1] + canvas.spacing_mm[1] * columns)
    down = np.rint(SLANT / canvas.spacing_mm[0] * aside_mm).astype(int)
    place = n_columns * np.arange(n_rows)[:, None] + (n_columns * down + columns)
    mirrored = 2 * (n_columns * (n_rows - 1) + columns)  # at the last row
    streaks: Array = texture.ravel().take(np.minimum(place, mirrored - place), mode="clip")
    return streaks


def pushed(canvas: Canvas, excess: Array) -> Canvas:
    """Return a canvas whose shapes away from the canal lie further in by ``excess`` mm."""
    inner = copy(canvas)
    radius = np.sqrt(canvas.x * canvas.x + canvas.y * canvas.y)
    further = np.clip(radius * np.float32(1 / 22) - 1, 0, 1)
    further *= np.clip(excess, -PUSH_MM, PUSH_MM)
    radius += 1
    further /= radius
    further += 1
    inner.x, inner.y = canvas.x * further, canvas.y * further
    return inner


def partition(
    canvas: Canvas, anatomy: Anatomy, level: float, scale: tuple[float, float], widest: float = np.inf
) -> Partition:
    """Find the muscle that each pixel belongs to.

    Args:
        canvas: the pixels.
        anatomy: the patient.
        level: -1 mid C1, 0 mid C2, ...
        scale: of the neck against the table of muscles, sideways and behind the canal.
        widest: no muscle ends further aside, mm.

    Returns:
        the muscles' borders: a pixel between two belongs to the nearer one.
    """
    shape = canvas.image.shape
    nearest, second = np.full(shape, FAR_MM, np.float32), np.full(shape, FAR_MM, np.float32)
    number = np.full(shape, 2 * len(MUSCLES), np.uint8)
    soft, table = anatomy.soft, muscles_at(level)
    for index, side in enumerate((-1, 1)):
        for muscle, row in enumerate(table):
            x1, y1, x2, y2, half, bend, presence = row.tolist()
            if presence == 0:
                continue
            shift_x, shift_y, thicker, longer, bent, _, _ = soft.muscles[index][muscle]
            free = min(half, 3.0) / 3  # thin muscles have little room
            x = (1.3 * shift_x * free, 1.3 * (shift_x * free + 0.25 * longer))
            y = (1.5 * shift_y * free - 1.2 * longer, 1.5 * shift_y * free)
            points = [
                (
                    side * min(max((px + dx) * (1 + (scale[0] - 1) * min(max(px, 0) / 40, 1)), 0.5), widest),
                    (py + dy) * (scale[1] if py > 0 else 1.0),
                )
                for px, py, dx, dy in ((x1, y1, x[0], y[0]), (x2, y2, x[1], y[1]))
            ]
            half *= soft.bulk * float(np.exp(0.15 * thicker))
            found = strip(canvas, points[0], points[1], half, side * (bend + 0.8 * bent * free))
            if found is None:
                continue
            window, distance, _ = found
            if presence < 1:
                distance += np.float32(6 * (1 - presence))
            near, next_to = nearest[window], second[window]
            np.copyto(number[window], index * len(MUSCLES) + muscle, where=distance < near)
            np.minimum(next_to, np.maximum(near, distance), out=next_to)
            np.minimum(near, distance, out=near)
    return Partition(nearest, second, number)


def paint_muscles(
    canvas: Canvas, anatomy: Anatomy, parts: Partition, tissues: Tissues, texture: Array, coarse: Array, fascia: Array
) -> None:
    """Paint the muscles, each with its tone and its streaks of fat, and the fat planes between them."""
    soft = anatomy.soft
    variations = np.array(soft.muscles, np.float32).reshape(2 * len(MUSCLES), -1)
    tone = np.append(np.clip(1 + 0.13 * variations[:, 5], 0.7, 1.35), 1).astype(np.float32)
    prone = np.array([DEEP_FATTY.get(name, FATTY) for name in MUSCLES] * 2, np.float32)
    streaky = np.append(prone * np.minimum(np.exp(0.5 * variations[:, 6]), 2), 1).astype(np.float32)
    fascia = np.resize(fascia, 2 * len(MUSCLES))
    width = np.append(soft.plane_mm * (0.35 + 0.9 * fascia), 0).astype(np.float32)
    infiltrated = np.maximum(texture - np.float32(1.2), 0) * (streaky - 1)[parts.number]
    streaks = texture - 1 + infiltrated
    streaks /= 1 + np.float32(1 / STREAK_LIMIT) * np.maximum(streaks, 0)
    muscle = tissues.muscle * (tone[parts.number] + streaks)
    grown = parts.nearest - np.minimum(np.float32(soft.growth_mm - 0.3) - np.float32(0.6) * coarse, GROWTH_LIMIT_MM)
    canvas.paint(WHOLE, grown, muscle)
    patchy = np.clip(0.62 + 0.5 * coarse, 0.1, 1.3)
    plane = 0.5 * width[parts.number] * patchy
    border = np.maximum(0.5 * (parts.second - parts.nearest) - plane, grown)
    opacity = np.clip(plane * np.float32(1.6 / canvas.pixel_mm), 0, 0.92)
    if tissues.fat < 2 * tissues.muscle:  # the muscles' sheaths show where fat does not outshine them
        sheath = np.minimum(border - np.float32(0.35), np.abs(grown) - np.float32(0.4))
        canvas.paint(WHOLE, sheath, tissues.cortex, 0.35 * opacity)
    canvas.paint(WHOLE, border, tissues.fat * 0.9, opacity)


def paint_midline(canvas: Canvas, anatomy: Anatomy, y_end: float, tissues: Tissues) -> None:
    """The nuchal ligament in its fat."""
    window = canvas.window(0, 34, 26)
    x, y = canvas.x[window], canvas.y[window]
    if x.size == 0:
        return
    aside = np.abs(x - 0.9 * np.sin(y * 0.11 + anatomy.asymmetry[0][0]))
    width = 0.5 * anatomy.soft.nuchal_mm * (1 + np.clip((y - 26) / 30, 0, 1))
    ends = np.clip((y - 24) / 6, 0, 1) * np.clip((y_end + 2 - y) / 6, 0, 1)
    canvas.paint(window, aside - width - 0.3, tissues.fat * 0.85, ends * min(0.9, 0.35 + 0.5 * anatomy.soft.nuchal_mm))
    canvas.paint(window, aside - 0.4, tissues.ligament, ends * 0.7)
