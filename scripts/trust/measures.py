"""Numbers about heat maps: how like each other they are, and whether they lie on the truth."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from monai.metrics.regression import compute_ssim_and_cs
from monai.utils import convert_to_tensor
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, stats
from sklearn.metrics import average_precision_score

Floats = NDArray[np.floating[Any]]
Masks = NDArray[np.bool_]


class Interval(NamedTuple):
    """A mean over patients with its 95 % interval."""

    value: float
    low: float
    high: float
    n_patients: int
    n_slices: int


def over_patients(values: ArrayLike, patients: ArrayLike) -> Interval:
    """Average slices within patients and patients with each other; the interval is Student's over patients.

    Args:
        values: of each slice, shape (S,); NaN where undefined.
        patients: patient of each slice, shape (S,).
    """
    numbers, owners = np.asarray(values, dtype=float), np.asarray(patients)
    known = np.isfinite(numbers)
    numbers, owners = numbers[known], owners[known]
    means = np.array([numbers[owners == one].mean() for one in np.unique(owners)])
    if len(means) < 2:
        only = float(means.mean()) if len(means) else float("nan")
        return Interval(only, float("nan"), float("nan"), len(means), len(numbers))
    half = stats.t.ppf(0.975, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means))
    mean = float(means.mean())
    return Interval(mean, mean - float(half), mean + float(half), len(means), len(numbers))


def unit(heat: Floats) -> Floats:
    """Scale every map of ``(S, H, W)`` to a maximum of 1; a map without heat stays 0."""
    top = heat.max((1, 2), keepdims=True)
    return np.divide(heat, top, out=np.zeros_like(heat), where=top > 0)


def likeness(first: Floats, second: Floats) -> Floats:
    """Return the structural similarity of maps ``(S, H, W)``, each scaled to a maximum of 1; shape (S,).

    Two maps without any heat have nothing to compare: NaN.
    """
    pair = [torch.from_numpy(unit(one).astype(np.float32))[:, None] for one in (first, second)]
    ssim, _ = compute_ssim_and_cs(
        y_pred=convert_to_tensor(pair[0]), y=convert_to_tensor(pair[1]), spatial_dims=2, data_range=torch.tensor(1.0),
        kernel_size=(11, 11), kernel_sigma=(1.5, 1.5),
    )  # fmt: skip
    result = ssim.flatten(1).mean(1).double().numpy()
    result[(first.max((1, 2)) <= 0) & (second.max((1, 2)) <= 0)] = np.nan
    return np.asarray(result)


def precision(heat: Floats, truth: Masks) -> Floats:
    """Return the area under the precision-recall curve over the pixels of each slice, shape (S,)."""
    return np.array([average_precision_score(m.ravel(), h.ravel()) for m, h in zip(truth, heat, strict=True)])


def pointing(heat: Floats, truth: Masks, reach: int) -> Floats:
    """Return whether each slice's hottest pixel lies within ``reach`` pixels of the truth; 0 without any heat."""
    hits = []
    for one, mask in zip(heat, truth, strict=True):
        near = ndimage.distance_transform_edt(~mask) <= reach
        hits.append(float(one.max() > 0 and near[np.unravel_index(one.argmax(), one.shape)]))
    return np.array(hits)


def side_right(heat: Floats, middle: Floats, to_left: Masks, reach: int) -> Floats:
    """Return whether, in each slice, more heat lies on the side of the lesion, within ``reach`` pixels of the cord.

    Args:
        heat: ``(S, H, W)``, columns to the patient's left.
        middle: centre of the cord as row and column, shape (S, 2).
        to_left: whether the lesion is on the patient's left, shape (S,).
        reach: half the width of what is compared, in pixels.

    Returns:
        1 right, 0 wrong, one half where both sides are equal; shape (S,).
    """
    rows, columns = np.mgrid[: heat.shape[1], : heat.shape[2]]
    found = []
    for one, (row, column), left in zip(heat, middle, to_left, strict=True):
        near = (np.abs(rows - row) <= reach) & (np.abs(columns - column) <= reach)
        balance = float(one[near & (columns > column)].sum() - one[near & (columns < column)].sum())
        found.append(0.5 if balance == 0 else float((balance > 0) == left))
    return np.array(found)


def edges(images: Floats) -> Floats:
    """Return the strength of edges (Sobel) of images ``(S, H, W)``: a map that knows nothing of the network."""
    return np.stack([np.hypot(ndimage.sobel(one, 0), ndimage.sobel(one, 1)) for one in images])


def hottest(heat: Floats, share: float, coldest: bool = False) -> Masks:
    """Mark the given share of the pixels of each map ``(S, H, W)`` that is hottest, or coldest.

    Ties are broken at random by position, so that a map without heat marks no place more than another.
    """
    count = max(1, round(share * heat[0].size))
    noise = np.random.default_rng(0).permutation(heat[0].size)
    marked = np.zeros(heat.shape, dtype=bool)
    for number, one in enumerate(heat):
        order = np.lexsort((noise, one.ravel()))
        marked[number].ravel()[order[:count] if coldest else order[-count:]] = True
    return marked
