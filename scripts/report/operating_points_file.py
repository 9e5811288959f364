"""operating_points.json: the one reader and writer of a run's thresholds and calibration.

Light, so that ``predict`` and packing can read a file without the packages of the report.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..evaluation import operating_points
from ..evaluation.estimates import defined
from ..evaluation.operating_points import OperatingPoint
from ..evaluation.platt import Calibration, baseline
from ..files import read_json
from ..records import DEFAULT_PATIENT_RULE, PATIENT_RULES, RunFacts, probability

if TYPE_CHECKING:
    import pandas as pd

    from .inputs.predictions import Predictions

FILE = "operating_points.json"
PAPER = OperatingPoint(0.0)
NO_PATIENT_POINT = "none was chosen for whole patients"
LARGEST = 1e9  # beyond any threshold, slope or intercept; keeps what is computed with them finite


@dataclass(frozen=True)
class OperatingPoints:
    """Thresholds on the raw logit, and the calibration.

    Attributes:
        points: by name; ``paper_0.5`` is always there.
        calibration: what to apply to raw logits; the baseline where none could be fitted, the identity without it.
        baseline: the calibration that undoes the weight of the training loss; ``None`` where the weight is not known.
        source: where it came from, for the reader.
        fitted: whether the calibration was fitted.
        n_patients: patients it was chosen on.
        sha256: of the predictions it was chosen on; ``""`` if nothing was chosen.
        patients: fingerprints of the patient_ids it was chosen on; ``None`` if that was not recorded.
        series: fingerprints of the series_uids it was chosen on; ``None`` if that was not recorded.
        facts: of the run it was chosen on.
        patient_points: thresholds for whole patients, by the name of the point and by rule.
    """

    points: Mapping[str, OperatingPoint]
    calibration: Calibration
    baseline: Calibration | None
    source: str
    fitted: bool
    n_patients: int = 0
    sha256: str = ""
    patients: frozenset[str] | None = None
    series: frozenset[str] | None = None
    facts: RunFacts = field(default_factory=RunFacts)
    patient_points: Mapping[str, Mapping[str, OperatingPoint]] = field(default_factory=dict)

    def patient_point(self, name: str, rule: str) -> OperatingPoint:
        """Return the threshold for whole patients by a rule; NaN with the reason where there is none."""
        return self.patient_points.get(name, {}).get(rule, OperatingPoint(np.nan, NO_PATIENT_POINT))


class Chosen(NamedTuple):
    """What inference.json takes from an operating point.

    Attributes:
        threshold: probability, after calibration, from which a slice is called compressed.
        slope: of the calibration, above 0.
        intercept: of the calibration.
        source: where all of it was chosen, for people.
        patient_rule: by which whole patients are called.
        patient_threshold: score from which they are; None where there is no such point.
        patient_source: where it was chosen, or why there is none, for people.
    """

    threshold: float
    slope: float
    intercept: float
    source: str
    patient_rule: str
    patient_threshold: float | None
    patient_source: str


def read_operating_point(
    path: str, name: str, weights_sha256: str = "", patient_rule: str = DEFAULT_PATIENT_RULE
) -> Chosen:
    """Read one operating point with the calibration of its file; without a fitted one, with the file's baseline.

    Args:
        path: an operating_points.json, written by `python -m scripts report` or `recalibrate`.
        name: of the operating point, e.g. youden.
        weights_sha256: of the weights it is to be used with; empty where that is not known yet.
        patient_rule: by which whole patients are called, see `scripts.evaluation.patient_rules`.

    Raises:
        InputError: the file or the point is missing or malformed, the point was not attained, or it was chosen for
            other weights.
    """
    if patient_rule not in PATIENT_RULES:
        raise InputError(f"patient_rule must be one of {', '.join(PATIENT_RULES)}, got {patient_rule!r}")
    found = read(Path(path))
    if name not in found.points:
        raise InputError(f"{path} has no operating point {name!r}; it has {', '.join(found.points)}")
    point, line = found.points[name], found.calibration
    if not np.isfinite(point.logit):
        raise InputError(f"operating point {name!r} of {path} has no threshold: {point.note}")
    theirs = found.facts.get("weights_sha256", "")
    if weights_sha256 and theirs != weights_sha256:
        of = f"the weights {theirs[:12]}" if theirs else "weights that it does not name"
        raise InputError(
            f"{path} was chosen for {of}, not for {weights_sha256[:12]}; choose one for these weights with "
            "`python -m scripts report` or `recalibrate`"
        )
    undone = ", the weight of the training loss undone" if found.baseline else ""
    how = "calibrated" if found.fitted else f"not calibrated{undone}"
    kind = "phantom patients" if found.facts.get("phantom") else "patients"
    source = f"operating point {name}, chosen on {found.n_patients} {kind}, {how}"
    threshold, patients = probability(point.logit, line.slope, line.intercept), found.patient_point(name, patient_rule)
    if np.isfinite(patients.logit):
        called = patients.logit, f"operating point {name}, chosen on {found.n_patients} {kind}"
        return Chosen(threshold, line.slope, line.intercept, source, patient_rule, *called)
    return Chosen(threshold, line.slope, line.intercept, source, patient_rule, None, f"{name}: {patients.note}")


def fit_operating_points(
    validation: Predictions, facts: RunFacts, geometry: pd.DataFrame | None = None
) -> dict[str, Any]:
    """Choose thresholds and fit the calibration on validation slices; returns the content of the file.

    Args:
        validation: labelled slices of patients that the network was not trained on and that are not tested.
        facts: of the run; ``pos_weight`` gives the baseline.
        geometry: geometry.csv of these slices, if there is one.
    """
    from ..evaluation.calibration import fit_calibration  # needs statsmodels, which reading a file does not
    from .patient_level import fit_patient_points

    frame = validation.slices
    slices = frame["label"].to_numpy(), frame["logit"].to_numpy(), frame["patient_id"].to_numpy(dtype=str)
    fitted = fit_calibration(*slices)
    points = operating_points.choose(*slices)
    line = baseline(float(facts.get("pos_weight", 1.0))) if fitted.note else fitted
    return {
        "scale": "thresholds are raw logits; a slice is called compressed when its logit reaches the threshold",
        "points": {
            name: {"logit": defined(point.logit), "status": point.note or "chosen"} for name, point in points.items()
        },
        "patient_level": fit_patient_points(frame, geometry, line, points),
        "calibration": {
            "formula": "P(compressed) = sigmoid(intercept + slope * logit)",
            "slope": defined(fitted.slope),
            "intercept": defined(fitted.intercept),
            "status": fitted.note or "fitted by unweighted log-loss",
        },
        "baseline": {
            "slope": 1.0,
            "intercept": baseline(float(facts.get("pos_weight", 1.0))).intercept,
            "pos_weight": facts.get("pos_weight"),
        },
        "chosen_on": {
            "predictions": validation.path.name,
            "predictions_sha256": validation.sha256,
            "n_patients": fitted.n_patients,
            "n_slices": fitted.n_slices,
            "n_compressed_slices": int(slices[0].sum()),
            "n_excluded_slices": len(validation.excluded),
            "patients_sha256": sorted(map(fingerprint, set(frame["patient_id"]))),
            "series_sha256": sorted(map(fingerprint, set(frame["series_uid"]) - {""})),
        },
        "facts": dict(facts),
    }


def read(path: Path) -> OperatingPoints:
    """Read and check an operating_points.json.

    Raises:
        InputError: it is missing or malformed.
    """
    return parse_operating_points(read_json(path), path)


def parse_operating_points(content: Any, path: Path) -> OperatingPoints:
    """Check the content of an operating_points.json.

    Args:
        content: as `fit_operating_points` returns it; older files may lack fingerprints.
        path: where it stands or will stand, for messages.

    Raises:
        InputError: it is malformed.
    """
    try:
        facts: RunFacts = content["facts"]
        if not isinstance(facts, dict):
            raise TypeError(f"facts must be an object, got {facts!r:.60}")
        points = {
            name: OperatingPoint(_number(point["logit"]), _reason(point)) for name, point in content["points"].items()
        }
        line, start, origin = content["calibration"], content["baseline"], content["chosen_on"]
        n_patients, n_slices = int(origin["n_patients"]), int(origin["n_slices"])
        fitted = line["slope"] is not None or line["intercept"] is not None
        first = Calibration(_number(start["slope"]), _number(start["intercept"]), n_patients, n_slices)
        calibration = replace(first, note=str(line.get("status", "not fitted")))
        if fitted:
            calibration = Calibration(_number(line["slope"]), _number(line["intercept"]), n_patients, n_slices)
        of_patients = _patient_points(content.get("patient_level") or {})
        patients, series = (_fingerprints(origin.get(f"{name}_sha256")) for name in ("patients", "series"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} is not an operating_points.json ({error!r}); remove it and make it anew with "
            "`python -m scripts report` or `recalibrate`"
        ) from error
    for name, one in (("calibration", calibration), ("baseline", first)):
        if not (one.slope > 0 and np.isfinite(one.intercept)):
            raise InputError(
                f"{path}: the {name} must have a finite intercept and a slope above 0, got {one.slope:g} and "
                f"intercept {one.intercept:g}"
            )
    if points.setdefault("paper_0.5", PAPER).logit != PAPER.logit:
        raise InputError(
            f"{path}: paper_0.5 is the paper's threshold, a raw logit of 0, got {points['paper_0.5'].logit}; give "
            "another threshold another name"
        )
    return OperatingPoints(
        points,
        calibration,
        first if start.get("pos_weight") is not None else None,
        f"{n_patients} patients and {n_slices} slices ({origin.get('predictions', 'unknown file')})",
        fitted,
        n_patients,
        str(origin.get("predictions_sha256", "unknown")),
        patients,
        series,
        facts,
        of_patients,
    )


def default(facts: RunFacts) -> OperatingPoints:
    """Return what remains without validation predictions: the paper's threshold, and the baseline if it is known."""
    start = baseline(float(facts["pos_weight"])) if "pos_weight" in facts else None
    note = "" if start else "none: nothing was fitted, and the weight of the training loss is not known"
    line = start or Calibration(1.0, 0.0, 0, 0, note)
    return OperatingPoints({"paper_0.5": PAPER}, line, start, "nothing: no validation predictions", False)


def summary_lines(found: OperatingPoints) -> Sequence[str]:
    """Return one line for each operating point, and one where no calibration could be fitted."""
    missing = [] if found.fitted else [f"no calibration could be fitted: {found.calibration.note}"]
    lines = [f"{name}: {point.note or format(point.logit, '.3f')}" for name, point in found.points.items()]
    for name, rules in found.patient_points.items():
        point = rules[DEFAULT_PATIENT_RULE]
        lines.append(f"{name}, whole patients by {DEFAULT_PATIENT_RULE}: {point.note or format(point.logit, '.3f')}")
    return missing + lines


def fingerprint(name: str) -> str:
    """Hash an identifier, so that it can be recognised but not read."""
    return hashlib.sha256(name.encode()).hexdigest()


def _number(value: Any) -> float:
    """Read a number of the file; ``None`` becomes NaN."""
    if value is None:
        return np.nan
    if isinstance(value, (bool, str)) or not abs(float(value)) <= LARGEST:
        raise ValueError(f"expected a number within ± {LARGEST:g}, got {value}")
    return float(value)


def _patient_points(content: Any) -> dict[str, dict[str, OperatingPoint]]:
    """Read the thresholds for whole patients; files up to 0.8 have none."""
    return {
        str(name): {
            rule: OperatingPoint(_number(rules[rule]["score"]), _reason(rules[rule], "score")) for rule in PATIENT_RULES
        }
        for name, rules in content.get("points", {}).items()
    }


def _fingerprints(names: Any) -> frozenset[str] | None:
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"expected a list of SHA-256 hashes, got {names!r:.60}")
    return frozenset(names)


def _reason(point: Mapping[str, Any], value: str = "logit") -> str:
    return "" if point[value] is not None else str(point.get("status", "undefined"))
