"""The line from raw to calibrated logits, as fitted on a site's slices or known from the training loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from .estimates import Floats


@dataclass(frozen=True)
class Calibration:
    """Calibrated logit = ``intercept`` + ``slope`` x logit, with ``slope`` above 0, so that ranking never changes.

    Attributes:
        slope: NaN where no calibration could be fitted.
        intercept: NaN where no calibration could be fitted.
        n_patients: patients it was fitted on.
        n_slices: slices it was fitted on.
        note: why it is undefined; empty otherwise.
    """

    slope: float
    intercept: float
    n_patients: int
    n_slices: int
    note: str = ""

    def logits(self, logits: ArrayLike) -> Floats:
        """Calibrate raw logits."""
        return self.intercept + self.slope * np.asarray(logits, dtype=np.float64)

    def probabilities(self, logits: ArrayLike) -> Floats:
        """Calibrated P(compressed) of raw logits."""
        return np.asarray(expit(self.logits(logits)), dtype=np.float64)


def baseline(pos_weight: float, n_patients: int = 0, n_slices: int = 0) -> Calibration:
    """Undo the weight of compressed slices in the training loss: logit - ln(pos_weight), nothing fitted."""
    return Calibration(1.0, -float(np.log(pos_weight)), n_patients, n_slices)
