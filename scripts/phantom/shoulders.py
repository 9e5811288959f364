"""The upper chest and the shoulders, from C7 downwards: lung apices, first ribs, clavicles, scapulae, great vessels."""

from __future__ import annotations

import numpy as np

from .anatomy import Anatomy
from .canvas import Canvas, Layer
from .fields import Array, Window, clamp, ellipse
from .soft_tissue import SHOULDERS
from .strips import box, paint_strip
from .tissues import Tissues

# level, the two ends x, y and half the thickness of the left side's bones where a slice cuts them
RIB_1 = (
    (5.55, 20, 4, 27, 7, 1.6),
    (5.9, 24, 6, 40, 8, 3.0),
    (6.3, 36, 9, 52, -2, 3.4),
    (6.7, 46, 4, 58, -16, 3.4),
    (7, 50, -4, 58, -28, 3.4),
)
RIB_2 = ((6.45, 19, 3, 26, 7, 1.6), (6.8, 24, 6, 42, 10, 3.0), (7, 30, 9, 52, 8, 3.3))
CLAVICLE = ((5.9, 88, -30, 70, -40, 3.0), (6.4, 80, -38, 40, -54, 4.6), (7, 50, -52, 16, -58, 5.8))
SCAPULA = ((5.3, 86, 4, 94, -4, 2.0), (5.9, 68, 24, 92, 4, 2.6), (6.5, 60, 27, 90, 12, 2.4), (7, 58, 28, 88, 16, 2.2))


def paint_shoulders(canvas: Canvas, anatomy: Anatomy, level: float, tissues: Tissues, texture: Array) -> None:
    """Paint what a slice at the neck's lower end shows besides the neck."""
    if level < 4.7:
        return
    soft = anatomy.soft
    for index, side in enumerate((-1, 1)):
        a = soft.wander[index]
        wide = anatomy.neck_half_width_mm / 60
        shoulder = level - (soft.shoulders - SHOULDERS)
        paint_supraspinatus(canvas, shoulder, side, tissues, texture)
        paint_bone(canvas, SCAPULA, shoulder - 0.35, side, 1.0, 3 * a[4], tissues, 2.0)
        paint_bone(canvas, CLAVICLE, shoulder, side, 1.0, 2 * a[5], tissues, -4.0)
        chest = level - soft.lung[index]
        paint_lung(canvas, chest, side, wide, a, tissues)
        paint_bone(canvas, RIB_1, chest, side, wide, 0.0, tissues, 2.0)
        paint_bone(canvas, RIB_2, chest, side, wide, 0.0, tissues, 2.0)
        subclavian = clamp((chest - 5.7) / 0.5, 0, 1)
        if subclavian > 0:
            down = chest - 5.6
            artery: list[Layer] = [(0.9, tissues.wall, subclavian), (0.0, tissues.vessel, subclavian)]
            first, last = (side * (23 - 4 * down), -33 - 4 * down), (side * (36 + 10 * down), -26 - 5 * down)
            paint_strip(canvas, first, last, 3.0, artery, -side * (2 + a[1]))
            vein: list[Layer] = [(0.6, 0.8 * tissues.wall, subclavian), (0.0, tissues.vessel, subclavian)]
            first, last = (side * (19 - 3 * down), -42 - 3 * down), (side * (33 + 12 * down), -38 - 4 * down)
            paint_strip(canvas, first, last, 3.4, vein, -side * (1 + a[2]))


def paint_bone(
    canvas: Canvas,
    table: tuple[tuple[float, ...], ...],
    level: float,
    side: int,
    wide: float,
    shift_mm: float,
    tissues: Tissues,
    bend_mm: float,
) -> None:
    """A bone given by rows of level, ends and half thickness: marrow within its cortex, fading in at the top."""
    rows = np.array(table)
    share = clamp((level - rows[0, 0]) / 0.25 + 0.5, 0, 1)
    if share == 0:
        return
    x1, y1, x2, y2, half = (float(np.interp(level, rows[:, 0], rows[:, column])) for column in range(1, 6))
    layers: list[Layer] = [(0.9, tissues.cortex, share), (-0.5, 1.25 * tissues.body, share)]
    first, last = (side * (x1 * wide + shift_mm), y1), (side * (x2 * wide + shift_mm), y2)
    paint_strip(canvas, first, last, half, layers, side * bend_mm)


def paint_lung(
    canvas: Canvas, level: float, side: int, wide: float, wander: tuple[float, ...], tissues: Tissues
) -> None:
    """The apex of a lung: air within its pleura, with a few vessels."""
    depth = level - 5.75
    if depth <= 0:
        return
    size = float(np.sqrt(min(depth, 1.4) / 1.4))
    x, y = side * wide * (31 + 4 * size + wander[0]), -11 + 1.5 * wander[1] - 3 * size
    half_x, half_y = (16 + wander[2]) * size + 0.5, (22 + 2 * wander[3]) * size + 0.5
    window: Window = box(canvas, x, y, half_y + 8, half_y + 8)
    px, py = canvas.x[window], canvas.y[window]
    if px.size == 0:
        return
    distance = ellipse(px - np.float32(x), py - np.float32(y), half_x, half_y, side * (12 + 8 * wander[4]))
    shown = min(1.0, 4 * depth)
    canvas.paint(window, distance - 1.2, 0.7 * tissues.fat, 0.6 * shown)
    canvas.paint(window, distance - 0.3, 0.6 * tissues.wall, shown)
    canvas.paint(window, distance + 0.3, 1.3 * tissues.air, shown)


def paint_supraspinatus(canvas: Canvas, level: float, side: int, tissues: Tissues, texture: Array) -> None:
    """The muscle in front of the scapula's spine."""
    share = clamp((level - 5.9) / 0.6, 0, 1)
    if share > 0:
        layers: list[Layer] = [(0.0, tissues.muscle, min(1.0, 3 * share))]
        last = side * (68 + 24 * share), 12 - 20 * share
        paint_strip(canvas, (side * 66, 14), last, 7 * share, layers, side * 2.0 * share, texture)
