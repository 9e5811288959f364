"""Bent spindles between two points: muscles, ribs, cartilage and the jaw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .canvas import Canvas, Layer
from .fields import Array, Window, turned

REACH_MM = 5.0  # a strip's distance is known this far around it; the neck's warp takes most of it


def strip(
    canvas: Canvas, first: tuple[float, float], last: tuple[float, float], half_mm: float, bend_mm: float = 0.0
) -> tuple[Window, Array, Array] | None:
    """Compute the distance to a spindle.

    Args:
        canvas: where.
        first: one end, x and y.
        last: the other end.
        half_mm: half the thickness in the middle.
        bend_mm: how far the middle lies to the right of the way from first to last (x to the right, y up the page).

    Returns:
        the window around it, the distance there (about mm), and the place along it, from -1 to 1;
        or None if it lies outside of the canvas.
    """
    dx, dy = last[0] - first[0], last[1] - first[1]
    length = max(float(np.hypot(dx, dy)), 0.1)
    tx, ty = dx / length, dy / length
    half_length = 0.5 * length + 0.6 * half_mm
    x, y = 0.5 * (first[0] + last[0]), 0.5 * (first[1] + last[1])
    reach = half_mm + abs(bend_mm) + REACH_MM
    window = box(canvas, x, y, abs(tx) * half_length + reach, abs(ty) * half_length + reach)
    px = canvas.x[window]
    if px.size == 0:
        return None
    px, py = px - np.float32(x), canvas.y[window] - np.float32(y)
    along = px * np.float32(tx / half_length) + py * np.float32(ty / half_length)
    across = px * np.float32(ty / half_mm) - py * np.float32(tx / half_mm)
    squared = along * along
    if bend_mm:
        across += squared * np.float32(bend_mm / half_mm)
        across -= np.float32(bend_mm / half_mm)
    across *= across
    across += squared
    distance = np.sqrt(across)
    distance -= np.float32(1)
    distance *= np.float32(half_mm)
    beyond = np.abs(along)
    beyond -= np.float32(1)
    np.maximum(beyond, 0, out=beyond)
    beyond *= np.float32(0.9 * half_length)
    distance += beyond
    return window, distance, along


def box(canvas: Canvas, x: float, y: float, half_x: float, half_y: float) -> Window:
    """The pixels of a rectangle about a point."""
    u, v = turned(np.float32(x), np.float32(y), -canvas.roll_deg)  # type: ignore[arg-type]
    lean = abs(float(np.sin(np.deg2rad(canvas.roll_deg))))
    slices = []
    for centre, half, other, origin, spacing in zip(
        (float(v), float(u)), (half_y, half_x), (half_x, half_y), canvas.origin_mm, canvas.spacing_mm, strict=True
    ):
        middle, reach = (centre - origin) / spacing, (half + lean * other) / spacing + 1
        slices.append(slice(max(int(middle - reach), 0), max(int(middle + reach) + 2, 0)))
    return slices[0], slices[1]


def paint_strip(
    canvas: Canvas,
    first: tuple[float, float],
    last: tuple[float, float],
    half_mm: float,
    layers: Sequence[Layer],
    bend_mm: float = 0.0,
    texture: Array | None = None,
) -> None:
    """Paint a spindle layer by layer: growth in mm, value, opacity."""
    found = strip(canvas, first, last, half_mm, bend_mm)
    if found is None:
        return
    window, distance, _ = found
    for growth, value, opacity in layers:
        painted = value if texture is None else value * texture[window]
        canvas.paint(window, distance - np.float32(growth), painted, opacity)
