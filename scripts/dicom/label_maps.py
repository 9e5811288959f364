"""Telling maps of labels or probabilities from images by their values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

MOST_SLICES = 8
SAMPLE = 1 << 16
LAG = 2  # pixels; direct neighbours are equal where an image was magnified by repeating pixels
MOST_REPEATS = 8
FINEST = 2e-4  # of the range of values; smaller differences count as none
FEW_LEVELS = 32
FLAT = 0.25
FLAT_OF_FEW = 0.7
NEARLY = 0.1
EMPTY = 0.99
PATCH = 5  # pixels; every second one is looked at
NOISELESS = 1e-4  # of the range of values
SMOOTH = 0.08
MANY_LEVELS = 512
SMOOTH_OF_FEW = 0.2  # with fewer levels, of which a smoothed image has some that happen to be equal
TOO_FEW_LEVELS = 128
FEWEST_PATCHES = 200
MOST_PATCHES = 1 << 14


def without_repeats(values: NDArray[Any]) -> NDArray[Any]:
    """Return slices, shape (slices, rows, columns), with pixels once where an image repeats them to be larger.

    Its rows, or columns, are then equal to their neighbours in groups of one size, or of two that differ by one.
    """
    for axis in (1, 2):
        along = np.moveaxis(values, axis, 0)
        starts = 1 + np.flatnonzero((along[1:] != along[:-1]).any(axis=(1, 2)))
        sizes = np.diff(starts)
        if len(sizes) and sizes.min() >= 2 and sizes.max() <= min(sizes.min() + 1, MOST_REPEATS):
            values = np.take(values, [starts[0] - 1, *starts], axis=axis)
    return values


def label_evidence(slices: NDArray[Any]) -> str:
    """Return why values look like labels or probabilities and not like an image; empty where they do not.

    Noise and texture make neighbouring pixels of an image differ by one grey level about as often as by none. In a map
    they are equal, or far apart at the borders of its structures. Of real scans (T2 and T2*, 12 and 16 bits) 0.5-9 % of
    the neighbours are equal and 1.0-2.8 times as many differ by one level; reduced to 16-256 levels up to 55 % are
    equal, and at least 0.2 times as many differ by one level. Maps have 43-100 %, and at most 0.08 times as many.
    Smoothed or resampled labels, probabilities and distances differ by little everywhere; they are known by places
    without any noise, see `noiseless_share`.

    Args:
        slices: shape (slices, rows, columns); at most eight of them, evenly chosen, are looked at.
    """
    chosen = np.unique(np.linspace(0, len(slices) - 1, min(MOST_SLICES, len(slices))).astype(int))
    values = np.asarray(slices[chosen], dtype=np.float64)
    values = values[np.ptp(values.reshape(len(values), -1), axis=1) > 0]
    if not len(values):
        return ""
    values = without_repeats(values)
    low, high = np.percentile(values, (0.5, 99.5))
    levels = np.unique(values.ravel()[:: max(1, values.size // SAMPLE)])
    step = max(np.diff(levels).min(initial=np.inf if len(levels) > 1 else 0), FINEST * (high - low)) or 1.0
    grid = (values - low) / step
    counts = np.bincount(np.clip(np.rint(grid) + 1, 0, 2 / FINEST).astype(int).ravel())
    inside = np.abs(grid - (counts.argmax() - 1)) >= 0.5
    if inside.mean() < 1 - EMPTY:
        return f"{100 * (1 - inside.mean()):.1f} % of its voxels have one value: a label map or a mask, not an image"
    equal = near = total = 0
    for axis in (1, 2):
        along, counted = np.moveaxis(grid, axis, 0), np.moveaxis(inside, axis, 0)
        apart = np.abs(along[LAG:] - along[:-LAG])[counted[LAG:] & counted[:-LAG]]
        equal += int((apart < 0.5).sum())
        near += int(((apart >= 0.5) & (apart < 1.5)).sum())
        total += len(apart)
    flat = equal / max(total, 1)
    if (flat >= FLAT and near <= NEARLY * equal) or (flat >= FLAT_OF_FEW and len(levels) < FEW_LEVELS):
        return f"{100 * flat:.0f} % of its neighbouring voxels are equal and few nearly so: a label map, not an image"
    n_levels = (high - low) / step
    smooth = noiseless_share(values, inside, NOISELESS * (high - low)) if n_levels >= TOO_FEW_LEVELS else 0
    if smooth >= (SMOOTH if n_levels >= MANY_LEVELS else SMOOTH_OF_FEW):
        return f"{100 * smooth:.0f} % of its places have no noise: a map of labels or distances, not an image"
    return ""


def noiseless_share(values: NDArray[Any], inside: NDArray[np.bool_], limit: float) -> float:
    """Return the share of small squares in which the values lie in one plane; 0 where there are too few squares.

    At most ``MOST_PATCHES`` of them, evenly chosen, are looked at.

    Noise keeps the values of a scan from any plane: the share is 0 in real scans (T2 and T2*, 8, 12 and 16 bits), and
    up to 0.1 after a median filter of 5 x 5 pixels in 8 bits. It is 0.08 to 1 in labels that splines have resampled, in
    smoothed labels and in distances.

    Args:
        values: shape (slices, rows, columns).
        inside: where the values are those of no background; squares lie within.
        limit: root mean square of the distances from the plane up to which a square counts.
    """
    windows = [sliding_window_view(one, (PATCH, PATCH), axis=(1, 2))[:, ::2, ::2] for one in (values, inside)]
    places = np.argwhere(windows[1].sum(axis=(3, 4), dtype=np.uint8) > (EMPTY - NEARLY) * PATCH**2)
    if len(places) < FEWEST_PATCHES:
        return 0.0
    chosen = places[:: -(-len(places) // MOST_PATCHES)]
    squares = windows[0][tuple(chosen.T)].reshape(-1, PATCH**2)
    rows, columns = np.indices((PATCH, PATCH)).reshape(2, -1) - PATCH // 2
    plane = np.stack([np.ones(PATCH**2), rows, columns], axis=1)
    off = squares @ (np.eye(PATCH**2) - plane @ np.linalg.pinv(plane))
    return float((np.sqrt((off**2).mean(axis=1)) < limit).mean())
