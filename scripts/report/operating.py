"""operating_points.json: thresholds and calibration of a run, for every program that reads its logits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import InputError
from ..evaluation import operating_points
from ..evaluation.calibration import Calibration, baseline, fit_calibration
from ..evaluation.estimates import defined
from ..evaluation.operating_points import OperatingPoint
from ..files import read_json
from .inputs import Predictions

FILE = "operating_points.json"


@dataclass(frozen=True)
class Operating:
    """Thresholds on the raw logit, and the calibration.

    Attributes:
        points: by name; ``paper_0.5`` is always there.
        calibration: what to apply to raw logits; the identity or the baseline where none could be fitted.
        source: where it came from, for the reader.
        fitted: whether the calibration was fitted.
    """

    points: Mapping[str, OperatingPoint]
    calibration: Calibration
    source: str
    fitted: bool


def choose(validation: Predictions, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Choose thresholds and fit the calibration on validation slices; returns the content of the file.

    Args:
        validation: labelled slices of patients that the network was not trained on and that are not tested.
        facts: of the run; ``pos_weight`` gives the baseline.
    """
    frame = validation.slices
    label, logit = frame["label"].to_numpy(), frame["logit"].to_numpy()
    patient, ids = pd.factorize(frame["patient_id"])
    fitted = fit_calibration(label, logit, patient)
    weight = float(facts.get("pos_weight", 1.0))
    return {
        "scale": "thresholds are raw logits; a slice is called compressed when its logit reaches the threshold",
        "points": {
            name: {"logit": defined(point.logit), "status": point.note or "chosen"}
            for name, point in operating_points.choose(label, logit, patient).items()
        },
        "calibration": {
            "formula": "P(compressed) = sigmoid(intercept + slope * logit)",
            "slope": defined(fitted.slope),
            "intercept": defined(fitted.intercept),
            "status": fitted.note or "fitted by unweighted log-loss",
        },
        "baseline": {"slope": 1.0, "intercept": baseline(weight).intercept, "pos_weight": facts.get("pos_weight")},
        "chosen_on": {
            "predictions": validation.path.name,
            "predictions_sha256": validation.sha256,
            "n_patients": len(ids),
            "n_slices": len(label),
            "n_compressed_slices": int(label.sum()),
            "n_excluded_slices": len(validation.excluded),
        },
        "facts": dict(facts),
    }


def understand(content: Any, path: Path) -> Operating:
    """Read the content of operating_points.json.

    Raises:
        InputError: it is malformed.
    """
    try:
        points = {
            name: OperatingPoint(np.nan if point["logit"] is None else float(point["logit"]), _reason(point))
            for name, point in content["points"].items()
        }
        line, start = content["calibration"], content["baseline"]
        number = content["chosen_on"]
        n, m = int(number["n_patients"]), int(number["n_slices"])
        fitted = line["slope"] is not None and line["intercept"] is not None
        if fitted:
            calibration = Calibration(float(line["slope"]), float(line["intercept"]), n, m)
        else:
            calibration = Calibration(float(start["slope"]), float(start["intercept"]), n, m, str(line["status"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} is not an operating_points.json ({error!r}); make it anew with `python -m scripts report`"
        ) from error
    if not calibration.slope > 0:
        raise InputError(f"{path}: the slope of the calibration must be above 0, got {calibration.slope}")
    source = f"{n} patients and {m} slices ({number.get('predictions', 'unknown file')})"
    return Operating({"paper_0.5": OperatingPoint(0.0), **points}, calibration, source, fitted)


def _reason(point: Mapping[str, Any]) -> str:
    return "" if point["logit"] is not None else str(point.get("status", "undefined"))


def load(path: Path) -> Operating:
    """Read an operating_points.json."""
    return understand(read_json(path), path)


def default(facts: Mapping[str, Any]) -> Operating:
    """What remains without validation predictions: the paper's threshold, and the baseline if the weight is known."""
    weight = float(facts.get("pos_weight", 1.0))
    return Operating({"paper_0.5": OperatingPoint(0.0)}, baseline(weight), "nothing: no validation predictions", False)
