"""A grid of pixels around the canal on which implicit shapes are painted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .fields import Array, Window, bar, coverage, ellipse, turned

Layer = tuple[float, Array | float, float]  # growth in mm, value, opacity


class Canvas:
    """Pixels and their coordinates: x to the patient's left, y to posterior, in mm from the centre of the canal.

    Args:
        rows_mm: y of each row in image axes, evenly spaced.
        columns_mm: x of each column in image axes, evenly spaced.
        roll_deg: how far the neck is turned in the image.
        warp_mm: displacement (x, y) of the neck's shapes, fading to none near the canal; each of the image's shape.
    """

    def __init__(
        self, rows_mm: Array, columns_mm: Array, roll_deg: float = 0.0, warp_mm: tuple[Array, Array] | None = None
    ):
        self.origin_mm = float(rows_mm[0]), float(columns_mm[0])
        self.spacing_mm = float(rows_mm[1] - rows_mm[0]), float(columns_mm[1] - columns_mm[0])
        self.pixel_mm = self.spacing_mm[0]
        self.roll_deg = roll_deg
        u, v = columns_mm.astype(np.float32)[None, :], rows_mm.astype(np.float32)[:, None]
        self.x_true, self.y_true = turned(u, v, roll_deg)
        self.x, self.y = self.x_true, self.y_true
        if warp_mm is not None:
            far = np.clip((np.hypot(self.x, self.y) - 14) * np.float32(1 / 22), 0, 1)
            self.x, self.y = self.x + warp_mm[0] * far, self.y + warp_mm[1] * far
        self.image: Array = np.zeros(self.x.shape, np.float32)

    def window(self, x: float, y: float, radius_mm: float) -> Window:
        """The pixels within ``radius_mm`` of a point (and a few more)."""
        u, v = turned(np.float32(x), np.float32(y), -self.roll_deg)  # type: ignore[arg-type]
        slices = []
        for centre, origin, spacing in zip((float(v), float(u)), self.origin_mm, self.spacing_mm, strict=True):
            middle, half = (centre - origin) / spacing, radius_mm / spacing + 4
            slices.append(slice(max(int(middle - half), 0), max(int(middle + half) + 1, 0)))
        return slices[0], slices[1]

    def paint(self, window: Window, distance: Array, value: Array | float, opacity: Array | float = 1.0) -> None:
        """Cover the inside of a shape, given by its distance on ``window``, with ``value``."""
        share = coverage(distance, self.pixel_mm)
        if not (isinstance(opacity, float) and opacity == 1.0):
            share = share * opacity
        part = self.image[window]
        part += share * (value - part)

    def ellipse(
        self,
        x: float,
        y: float,
        half_x: float,
        half_y: float,
        value: float,
        degrees: float = 0.0,
        rim: tuple[float, float] | None = None,
        texture: Array | None = None,
        opacity: float = 1.0,
    ) -> None:
        """Paint an ellipse of the neck; ``rim`` is (half width in mm, value) of its wall."""
        window = self.window(x, y, max(half_x, half_y) + 5)
        if self.x[window].size == 0:
            return
        distance = ellipse(self.x[window] - np.float32(x), self.y[window] - np.float32(y), half_x, half_y, degrees)
        inset = 0.0
        if rim is not None:
            inset, wall = rim
            self.paint(window, np.abs(distance) - inset, wall, opacity)
        self.paint(window, distance + inset, value if texture is None else value * texture[window], opacity)


class Patch:
    """A rectangle of a canvas with coordinates of its own and a private copy of the image."""

    def __init__(self, canvas: Canvas, window: Window, x: Array, y: Array):
        self.canvas, self.window = canvas, window
        self.x, self.y = x, y
        self.image = canvas.image[window].copy()
        self.pixel_mm = canvas.pixel_mm

    def paint(
        self, distance: Array, value: Array | float, opacity: Array | float = 1.0, soft_mm: float | None = None
    ) -> None:
        """Cover the inside of a shape, given by its distance on the patch, with ``value``."""
        share = coverage(distance, soft_mm or self.pixel_mm)
        if not (isinstance(opacity, float) and opacity == 1.0):
            share = share * opacity
        self.image += share * (value - self.image)

    def spot(
        self,
        centre: tuple[float, float],
        half: tuple[float, float],
        layers: Sequence[Layer],
        degrees: float = 0.0,
        rectangle: bool = False,
    ) -> None:
        """Paint a small ellipse or rectangle layer by layer."""
        reach = max(half) + max(max(growth for growth, _, _ in layers), 0) + 2.0
        rows, columns = self.canvas.window(*centre, reach)
        first_row, first_column = self.window[0].start, self.window[1].start
        part = (
            slice(max(rows.start - first_row, 0), max(rows.stop - first_row, 0)),
            slice(max(columns.start - first_column, 0), max(columns.stop - first_column, 0)),
        )
        x = self.x[part] - np.float32(centre[0])
        if x.size == 0:
            return
        distance = (bar if rectangle else ellipse)(x, self.y[part] - np.float32(centre[1]), *half, degrees)
        target = self.image[part]
        for growth, value, opacity in layers:
            share = coverage(distance - np.float32(growth), self.pixel_mm)
            if opacity != 1.0:
                share = share * np.float32(opacity)
            target += share * ((value[part] if isinstance(value, np.ndarray) else value) - target)
