"""Nothing is tested on what it was chosen on: who may stand beside whom in a report."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from .inputs.cohorts import Cohort
from .inputs.predictions import Predictions, read_predictions
from .operating_points_file import Operating, fingerprint

VALIDATION = "predictions_validation.csv"


def shared_image(a: Predictions, b: Predictions) -> str:
    """Name a series or an image that both hold, ``""`` if there is none."""
    for column, name in (("series_uid", "series"), ("sop_uid", "image")):
        both = (set(a.slices[column]) & set(b.slices[column])) - {""}
        if both:
            return f"{name} {min(both)}"
    return ""


def check_external(inside: Cohort, outside: Cohort, validation: Predictions | None) -> None:
    """Make sure that the external run is of the same weights, and shares no image with the internal cohort.

    Args:
        inside: the reported run.
        outside: the external run; patients named alike are listed in its ``problems``.
        validation: what thresholds are chosen on, if that is known.
    """
    mine, theirs = (c.facts.get("weights_sha256") for c in (inside, outside))
    if mine and theirs and mine != theirs:
        raise InputError(f"{outside.run} was made with other weights ({theirs[:12]}) than {inside.run} ({mine[:12]})")
    shared = shared_image(inside.predictions, outside.predictions)
    if shared:
        raise InputError(f"{shared} is in both cohorts; an external cohort shares no image with the internal one")
    shared = shared_image(validation, outside.predictions) if validation else ""
    if shared:
        raise InputError(
            f"{shared} is in both {VALIDATION} of {inside.run} and predictions.csv of {outside.run}; an external "
            "cohort shares no image with the internal validation patients"
        )
    known = {"in both cohorts": set(inside.patients.index)}
    if validation:
        known[f"also in {VALIDATION} of the internal cohort"] = set(validation.slices["patient_id"])
    for where, ids in known.items():
        alike = sorted(ids & set(outside.patients.index))
        if alike:
            outside.problems.append(
                f"{len(alike)} patient_ids are {where}, first {alike[0]}; they are taken for different patients"
            )


def validation_of(inside: Cohort) -> Predictions | None:
    """Read predictions_validation.csv of a run, if it has one; nothing in it may be tested."""
    path = inside.run / VALIDATION
    if not path.is_file():
        return None
    validation = read_predictions(path)
    patients = set(validation.slices["patient_id"]) & set(inside.patients.index)
    shared = f"patient {min(patients)}" if patients else shared_image(validation, inside.predictions)
    if shared:
        raise InputError(
            f"{shared} is in both predictions.csv and {path.name} of {inside.run}; thresholds must not be "
            "chosen on patients that are tested"
        )
    return validation


def check_origin(chosen: Operating, c: Cohort, path: Path) -> bool | None:
    """Make sure that operating points fit a cohort, and were not chosen on it.

    Args:
        chosen: the operating points.
        c: the cohort that they would be applied to.
        path: operating_points.json, for messages.

    Returns:
        Whether it is certain that they were chosen on other patients; ``None`` if nothing was chosen.

    Raises:
        InputError: they belong to other weights, to a phantom where the cohort is none or the reverse, or were chosen
            on what is reported.
    """
    advice = f"remove {path}, or put one there that fits"
    weights = chosen.facts.get("weights_sha256"), c.facts.get("weights_sha256")
    if all(weights) and weights[0] != weights[1]:
        raise InputError(
            f"{path} was chosen for other weights ({str(weights[0])[:12]}) than those of {c.run} "
            f"({str(weights[1])[:12]}); {advice}"
        )
    origin, phantom = chosen.facts.get("phantom"), c.facts.get("phantom")
    if (origin and not phantom) or (origin is False and phantom):
        told = "not stated" if phantom is None else phantom
        raise InputError(
            f"{path} was chosen with phantom: {bool(origin)}, but phantom of {c.run} is {told}; thresholds never pass "
            f"between synthetic images and patients; {advice}"
        )
    if not chosen.sha256:
        return None
    advice += "; make one on other patients with `python -m scripts recalibrate`"
    if chosen.sha256 == c.predictions.sha256:
        raise InputError(f"{path} was chosen on {c.predictions.path} itself, which is to be reported; {advice}")
    columns = {"series": ("series_uid", chosen.series)}
    if c.name == "internal":  # elsewhere equal patient_ids may be different people
        columns["patient"] = "patient_id", chosen.patients
    for name, (column, known) in columns.items():
        shared = [x for x in sorted(set(c.predictions.slices[column]) - {""}) if fingerprint(x) in (known or ())]
        if shared:
            raise InputError(
                f"{name} {shared[0]} of {c.run} is among those that {path} was chosen on; thresholds must not be "
                f"chosen on patients that are tested; {advice}"
            )
    return all(known is not None for _, known in columns.values())
