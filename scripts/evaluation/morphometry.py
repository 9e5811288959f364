"""How well do masks and measures fit the truth, and how well does shape alone find compression?

The baseline is what users of the Spinal Cord Toolbox know as `sct_detect_compression`: a logistic regression on shape.
Its coefficients (compression ratio, area, solidity, torsion, level C6/C7) are of slices at the discs C3/C4 to C6/C7,
measured by an earlier version; here they are fitted again, on the patients that the network is trained on.

Source: Horáková et al., Quant Imaging Med Surg 12:2261-2279 (2022), equation 4 and table 3, doi:10.21037/qims-21-782.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .estimates import NAN, Floats


class Baseline(NamedTuple):
    """A fitted logistic regression on F features, of which M were missing in a training slice.

    Attributes:
        medians: of the training slices, (F,); what a missing feature takes.
        missing: numbers of the features with a further column that says that they are missing, (M,).
        means: of the columns, (F + M,).
        scales: standard deviations of the columns, (F + M,).
        coefficients: of the standardised columns, (F + M,).
        intercept: logit of a slice whose columns are the means.
    """

    medians: list[float]
    missing: list[int]
    means: list[float]
    scales: list[float]
    coefficients: list[float]
    intercept: float


def fit_baseline(features: ArrayLike, labels: ArrayLike, pos_weight: float | None = None) -> Baseline:
    """Fit a logistic regression on shape.

    A missing feature takes the median of the training slices, and a further column for each feature that is missing
    in one of them says so: that no cord was found may itself speak for or against compression. All columns are
    standardised; scikit-learn's L2 penalty (C = 1) keeps coefficients finite where a feature separates the classes.

    Args:
        features: of the training slices, shape (N, F), NaN where missing.
        labels: 1 compressed, 0 not, shape (N,).
        pos_weight: weight of a compressed slice, as in the network's loss; None for classes that weigh the same.

    Raises:
        ValueError: shapes differ, a label is neither 0 nor 1, or one class is missing.
    """
    x, label = np.asarray(features, dtype=np.float64), np.asarray(labels)
    if x.ndim != 2 or label.shape != x.shape[:1]:
        raise ValueError(f"features must have shape (N, F) and labels (N,), got {x.shape} and {label.shape}")
    if set(label.tolist()) != {0, 1}:
        raise ValueError(f"labels must be 0 and 1, and both must be there, got {sorted(set(label.tolist()))[:3]}")
    weights = "balanced" if pos_weight is None else {0: 1.0, 1: pos_weight}
    imputer, scaler, regression = (
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(class_weight=weights, max_iter=1000),
    )
    make_pipeline(imputer, scaler, regression).fit(x, label.astype(int))
    return Baseline(
        imputer.statistics_.tolist(),
        imputer.indicator_.features_.tolist(),
        scaler.mean_.tolist(),
        scaler.scale_.tolist(),
        regression.coef_[0].tolist(),
        float(regression.intercept_[0]),
    )


def baseline_logits(baseline: Baseline, features: ArrayLike) -> Floats:
    """Return the logits of slices, shape (N,): of the weighted classes, as those of a network are.

    Args:
        baseline: of `fit_baseline`.
        features: the same ones in the same order, shape (N, F), NaN where missing.
    """
    x = np.asarray(features, dtype=np.float64)
    absent = np.isnan(x)
    columns = np.hstack([np.where(absent, baseline.medians, x), absent[:, baseline.missing]])
    standard = (columns - baseline.means) / baseline.scales
    return np.asarray(standard @ np.array(baseline.coefficients) + baseline.intercept, dtype=np.float64)


def dice(mask: ArrayLike, truth: ArrayLike) -> float:
    """Compute how much two masks overlap: 2 |A and B| / (|A| + |B|); NaN where both are empty.

    Args:
        mask: boolean, or probabilities, which are inside from 0.5; any shape.
        truth: the same of the truth.

    Raises:
        ValueError: the masks differ in shape.

    Source: Dice, Ecology 26:297-302 (1945).
    """
    first, second = np.asarray(mask, dtype=np.float64) >= 0.5, np.asarray(truth, dtype=np.float64) >= 0.5
    if first.shape != second.shape:
        raise ValueError(f"masks must share one shape, got {first.shape} and {second.shape}")
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else NAN


@dataclass(frozen=True)
class MeasurementError:
    """How far a measure is from the truth, in its own unit.

    Attributes:
        bias: mean of measured minus true; NaN where nothing was measured.
        median: of the absolute errors.
        percentile_95: of the absolute errors.
        n: slices that were measured.
        n_missing: slices with a truth that were not.
    """

    bias: float
    median: float
    percentile_95: float
    n: int
    n_missing: int


def measurement_error(measured: Sequence[float | None], truth: Sequence[float | None]) -> MeasurementError:
    """Compare a measure of many slices with the truth.

    Args:
        measured: None, or NaN, where there is no measure; those are counted, not guessed.
        truth: None, or NaN, where there is nothing to measure; such slices are left out.

    Raises:
        ValueError: the two differ in length.
    """
    found, true = (np.array(values, dtype=np.float64) for values in (measured, truth))
    if found.shape != true.shape:
        raise ValueError(f"measures and truth must be of the same slices, got {found.shape} and {true.shape}")
    error = (found - true)[np.isfinite(true)]
    known = error[np.isfinite(error)]
    n, n_missing = len(known), len(error) - len(known)
    if not n:
        return MeasurementError(NAN, NAN, NAN, 0, n_missing)
    size = np.abs(known)
    return MeasurementError(float(known.mean()), float(np.median(size)), float(np.quantile(size, 0.95)), n, n_missing)
