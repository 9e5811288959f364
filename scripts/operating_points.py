"""One operating point of an operating_points.json, as inference and packing apply it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from .errors import InputError
from .files import read_json
from .records import probability


class Chosen(NamedTuple):
    """What inference.json takes from an operating point.

    Attributes:
        threshold: probability, after calibration, from which a slice is called compressed.
        slope: of the calibration, above 0.
        intercept: of the calibration.
        source: where all of it was chosen, for people.
    """

    threshold: float
    slope: float
    intercept: float
    source: str


def choose(path: str, name: str, weights_sha256: str = "") -> Chosen:
    """Read one operating point with the calibration of its file; without a fitted one, with the file's baseline.

    Args:
        path: an operating_points.json, written by `python -m scripts report` or `recalibrate`.
        name: of the operating point, e.g. youden.
        weights_sha256: of the weights it is to be used with; empty where that is not known yet.

    Raises:
        InputError: the file or the point is missing or malformed, the point was not attained, or it was chosen for
            other weights.
    """
    content = read_json(Path(path))
    points = content.get("points") if isinstance(content, Mapping) else None
    if not isinstance(points, Mapping) or name not in points:
        raise InputError(f"{path} has no operating point {name!r}; it has {', '.join(points or {}) or 'none'}")
    try:
        point, facts, chosen_on = points[name], content["facts"], content["chosen_on"]
        if point["logit"] is None:
            raise InputError(f"operating point {name!r} of {path} has no threshold: {point.get('status')}")
        fitted = content["calibration"]["slope"] is not None
        line = content["calibration"] if fitted else content["baseline"]
        logit, slope, intercept = float(point["logit"]), float(line["slope"]), float(line["intercept"])
        n_patients, theirs = int(chosen_on["n_patients"]), str(facts.get("weights_sha256") or "")
        kind = "phantom patients" if facts.get("phantom") else "patients"
        undone = ", the weight of the training loss undone" if content["baseline"].get("pos_weight") else ""
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} is not an operating_points.json ({error!r}); make it anew with `python -m scripts report`"
        ) from error
    if not all(map(math.isfinite, (logit, slope, intercept))) or slope <= 0:
        raise InputError(f"{path}: numbers must be finite and the calibration's slope above 0, got {slope}")
    if weights_sha256 and theirs != weights_sha256:
        of = f"the weights {theirs[:12]}" if theirs else "weights that it does not name"
        raise InputError(
            f"{path} was chosen for {of}, not for {weights_sha256[:12]}; choose one for these weights with "
            "`python -m scripts report` or `recalibrate`"
        )
    how = "calibrated" if fitted else f"not calibrated{undone}"
    source = f"operating point {name}, chosen on {n_patients} {kind}, {how}"
    return Chosen(probability(logit, slope, intercept), slope, intercept, source)
