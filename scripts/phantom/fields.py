"""Smooth random fields and implicit shapes, the two things every picture of the phantom is made of.

Shapes are signed distances in mm, negative inside; `coverage` turns a distance into the share of a pixel inside it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.floating[Any]]
Window = tuple[slice, slice]
WHOLE: Window = (slice(None), slice(None))

# lateral positions (mm, to the patient's left) at which profiles of canal and cord are given
PROFILE_X_MM = np.linspace(-17, 17, 171)
PROFILE_STEP_MM = float(PROFILE_X_MM[1] - PROFILE_X_MM[0])


@lru_cache(maxsize=64)
def spline_weights(n_samples: int, n_nodes: int) -> Array:
    """Return the cubic B-spline weights that spread ``n_nodes`` over ``n_samples``, shape (n_samples, n_nodes)."""
    position = np.linspace(1, n_nodes - 2, n_samples)
    distance = np.abs(position[:, None] - np.arange(n_nodes)[None])
    near = (4 - 6 * distance**2 + 3 * distance**3) / 6
    far = np.maximum(2 - distance, 0) ** 3 / 6
    weights: Array = np.where(distance < 1, near, far).astype(np.float32)
    weights.setflags(write=False)
    return weights


def spread(nodes: Array, shape: tuple[int, int], window: Window = WHOLE) -> Array:
    """Spread a grid of nodes smoothly over an image of ``shape``; only its ``window`` is computed."""
    rows, columns = (spline_weights(n, k) for n, k in zip(shape, nodes.shape, strict=True))
    field: Array = rows[window[0]] @ nodes @ columns[window[1]].T
    return field


def between(nodes: Array, position: float) -> Array:
    """Blend a stack of node grids (first axis along the slices) at ``position`` in 0...1, keeping their variance."""
    scaled = position * (len(nodes) - 1)
    lower = min(int(scaled), len(nodes) - 2)
    share = np.float32(scaled - lower)
    blend: Array = ((1 - share) * nodes[lower] + share * nodes[lower + 1]) / np.sqrt((1 - share) ** 2 + share**2)
    return blend


def clamp(value: float, low: float, high: float) -> float:
    """Return a number, no smaller than ``low`` and no larger than ``high``; ``numpy.clip`` takes ten times as long."""
    return min(max(float(value), low), high)


def coverage(distance: Array, half_width: float) -> Array:
    """Return the share inside, from 1 at ``-half_width`` to 0 at ``+half_width``."""
    share: Array = distance * (-0.5 / half_width)
    share += 0.5
    np.maximum(share, 0, out=share)
    np.minimum(share, 1, out=share)
    return share


def smooth_max(first: Array, second: Array, radius: float) -> Array:
    """Return the larger distance (the intersection of two shapes), its corner rounded over ``radius`` mm."""
    overlap = np.maximum(radius - np.abs(first - second), 0)
    distance: Array = np.maximum(first, second) + overlap * overlap * (0.25 / radius)
    return distance


def turned(x: Array, y: Array, degrees: float) -> tuple[Array, Array]:
    """Return coordinates in axes turned by ``degrees`` (from x towards y)."""
    cosine, sine = np.float32(np.cos(np.deg2rad(degrees))), np.float32(np.sin(np.deg2rad(degrees)))
    return x * cosine + y * sine, y * cosine - x * sine


def ellipse(x: Array, y: Array, half_x: float, half_y: float, degrees: float = 0.0) -> Array:
    """First-order distance to an ellipse about the origin."""
    along, across = turned(x, y, degrees) if degrees else (x, y)
    u, v = along * np.float32(1 / half_x), across * np.float32(1 / half_y)
    radius = np.sqrt(u * u + v * v)
    u *= np.float32(1 / half_x)
    u *= u
    v *= np.float32(1 / half_y)
    v *= v
    gradient = u + v
    np.sqrt(gradient, out=gradient)
    gradient += np.float32(1e-6)
    distance: Array = radius - 1
    distance *= radius
    distance /= gradient
    return distance


def squarish(x: Array, y: Array, half_x: float, half_y: float) -> Array:
    """Distance to an ellipse with flattened sides, between exponent 2 and 4."""
    u, v = (x * np.float32(1 / half_x)) ** 2, (y * np.float32(1 / half_y)) ** 2
    radius = np.sqrt(u + v - np.float32(0.45) * u * v / (1 + u * v))
    distance: Array = (radius - 1) * np.float32(min(half_x, half_y) * 1.08)
    return distance


def bar(x: Array, y: Array, half_x: float, half_y: float, degrees: float = 0.0) -> Array:
    """Distance to a rectangle about the origin."""
    along, across = turned(x, y, degrees)
    distance: Array = np.maximum(np.abs(along) - np.float32(half_x), np.abs(across) - np.float32(half_y))
    return distance


def rod(
    x: Array,
    y: Array,
    start: tuple[float, float],
    end: tuple[float, float],
    radius: float,
    end_radius: float | None = None,
) -> Array:
    """Distance to a rod with round ends, which may taper to ``end_radius``."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    px, py = x - np.float32(start[0]), y - np.float32(start[1])
    along = np.clip(px * np.float32(dx / (dx * dx + dy * dy)) + py * np.float32(dy / (dx * dx + dy * dy)), 0, 1)
    thin = np.float32(radius if end_radius is None else end_radius) - np.float32(radius)
    distance: Array = np.hypot(px - along * np.float32(dx), py - along * np.float32(dy)) - (radius + along * thin)
    return distance


def bump(t: ArrayLike) -> Any:
    """A Gaussian of height 1 and unit width."""
    return np.exp(-0.5 * np.square(t))


def on_pixels(profile: Array, x: Array) -> Array:
    """Read a profile given at `PROFILE_X_MM` at the lateral positions ``x`` (linear)."""
    position = np.clip((x - PROFILE_X_MM[0]) / PROFILE_STEP_MM, 0, len(PROFILE_X_MM) - 1.001)
    lower = position.astype(np.intp)
    share = (position - lower).astype(np.float32)
    values = profile.astype(np.float32)
    read: Array = values[lower] * (1 - share) + values[lower + 1] * share
    return read
