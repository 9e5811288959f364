"""operating_points.json: thresholds and calibration of a run, for every program that reads its logits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
PAPER = OperatingPoint(0.0)
LARGEST = 1e9  # beyond any threshold, slope or intercept; keeps what is computed with them finite


@dataclass(frozen=True)
class Operating:
    """Thresholds on the raw logit, and the calibration.

    Attributes:
        points: by name; ``paper_0.5`` is always there.
        calibration: what to apply to raw logits; the baseline where none could be fitted, the identity without it.
        baseline: the calibration that undoes the weight of the training loss; ``None`` where the weight is not known.
        source: where it came from, for the reader.
        fitted: whether the calibration was fitted.
        sha256: of the predictions it was chosen on; ``""`` if nothing was chosen.
        patients: fingerprints of the patient_ids it was chosen on; ``None`` if that was not recorded.
        series: fingerprints of the series_uids it was chosen on; ``None`` if that was not recorded.
        facts: of the run it was chosen on.
    """

    points: Mapping[str, OperatingPoint]
    calibration: Calibration
    baseline: Calibration | None
    source: str
    fitted: bool
    sha256: str = ""
    patients: frozenset[str] | None = None
    series: frozenset[str] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def fingerprint(name: str) -> str:
    """Hash an identifier, so that it can be recognised but not read."""
    return hashlib.sha256(name.encode()).hexdigest()


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
            "patients_sha256": sorted(map(fingerprint, ids)),
            "series_sha256": sorted(map(fingerprint, set(frame["series_uid"]) - {""})),
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
            name: OperatingPoint(_number(point["logit"]), _reason(point)) for name, point in content["points"].items()
        }
        line, start = content["calibration"], content["baseline"]
        number, facts = content["chosen_on"], dict(content.get("facts") or {})
        n, m = int(number["n_patients"]), int(number["n_slices"])
        fitted = line["slope"] is not None and line["intercept"] is not None
        weighted = start.get("pos_weight") is not None
        first = Calibration(_number(start["slope"]), _number(start["intercept"]), n, m)
        if fitted:
            calibration = Calibration(_number(line["slope"]), _number(line["intercept"]), n, m)
        else:
            calibration = replace(first, note=str(line["status"]))
        patients, series = (_fingerprints(number.get(f"{name}_sha256")) for name in ("patients", "series"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} is not an operating_points.json ({error!r}); remove it and make it anew with "
            "`python -m scripts report` or `recalibrate`"
        ) from error
    for name, one in (("calibration", calibration), ("baseline", first)):
        if not (one.slope > 0 and np.isfinite(one.intercept)):
            raise InputError(
                f"{path}: the slope of the {name} must be above 0 and its intercept a number, got {one.slope} and "
                f"{one.intercept}"
            )
    if points.get("paper_0.5", PAPER).logit != PAPER.logit:
        raise InputError(
            f"{path}: paper_0.5 is the paper's threshold, a raw logit of 0, got {points['paper_0.5'].logit}; give "
            "another threshold another name"
        )
    return Operating(
        {"paper_0.5": PAPER, **points},
        calibration,
        first if weighted else None,
        f"{n} patients and {m} slices ({number.get('predictions', 'unknown file')})",
        fitted,
        str(number.get("predictions_sha256", "unknown")),
        patients,
        series,
        facts,
    )


def _number(value: Any) -> float:
    """Read a number of the file; ``None`` becomes NaN."""
    if value is None:
        return np.nan
    if not abs(float(value)) <= LARGEST:
        raise ValueError(f"expected a number within ± {LARGEST:g}, got {value}")
    return float(value)


def _fingerprints(names: Any) -> frozenset[str] | None:
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"expected a list of SHA-256 hashes, got {names!r:.60}")
    return frozenset(names)


def _reason(point: Mapping[str, Any]) -> str:
    return "" if point["logit"] is not None else str(point.get("status", "undefined"))


def load(path: Path) -> Operating:
    """Read an operating_points.json."""
    return understand(read_json(path), path)


def default(facts: Mapping[str, Any]) -> Operating:
    """What remains without validation predictions: the paper's threshold, and the baseline if the weight is known."""
    start = baseline(float(facts["pos_weight"])) if "pos_weight" in facts else None
    note = "" if start else "none: nothing was fitted, and the weight of the training loss is not known"
    return Operating(
        {"paper_0.5": PAPER},
        start or Calibration(1.0, 0.0, 0, 0, note),
        start,
        "nothing: no validation predictions",
        False,
    )
