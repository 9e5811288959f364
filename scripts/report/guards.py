"""Nothing is tested on what it was chosen on: who may stand beside whom in a report."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from .inputs.cohorts import Cohort
from .inputs.predictions import Predictions, read_predictions
from .operating_points_file import OperatingPoints, fingerprint

VALIDATION = "predictions_validation.csv"


def shared_image(a: Predictions, b: Predictions) -> str:
    """Name a series or an image that both hold, ``""`` if there is none."""
    for column, name in (("series_uid", "series"), ("sop_uid", "image")):
        both = (set(a.slices[column]) & set(b.slices[column])) - {""}
        if both:
            return f"{name} {min(both)}"
    return ""


def check_external(internal: Cohort, external: Cohort, validation: Predictions | None) -> None:
    """Make sure that the external run is of the same weights, and shares no image with the internal cohort.

    Args:
        internal: the reported run.
        external: the external run; patients named alike are listed in its ``problems``.
        validation: what thresholds are chosen on, if that is known.
    """
    mine, theirs = (cohort.facts.get("weights_sha256") for cohort in (internal, external))
    if mine and theirs and mine != theirs:
        raise InputError(
            f"{external.run} was made with other weights ({theirs[:12]}) than {internal.run} ({mine[:12]})"
        )
    shared = shared_image(internal.predictions, external.predictions)
    if shared:
        raise InputError(f"{shared} is in both cohorts; an external cohort shares no image with the internal one")
    shared = shared_image(validation, external.predictions) if validation else ""
    if shared:
        raise InputError(
            f"{shared} is in both {VALIDATION} of {internal.run} and predictions.csv of {external.run}; an external "
            "cohort shares no image with the internal validation patients"
        )
    known = {"in both cohorts": set(internal.patients.index)}
    if validation:
        known[f"also in {VALIDATION} of the internal cohort"] = set(validation.slices["patient_id"])
    for where, ids in known.items():
        same_ids = sorted(ids & set(external.patients.index))
        if same_ids:
            external.problems.append(
                f"{len(same_ids)} patient_ids are {where}, first {same_ids[0]}; they are taken for different patients"
            )


def validation_of(internal: Cohort) -> Predictions | None:
    """Read predictions_validation.csv of a run, if it has one; nothing in it may be tested."""
    path = internal.run / VALIDATION
    if not path.is_file():
        return None
    validation = read_predictions(path)
    patients = set(validation.slices["patient_id"]) & set(internal.patients.index)
    shared = f"patient {min(patients)}" if patients else shared_image(validation, internal.predictions)
    if shared:
        raise InputError(
            f"{shared} is in both predictions.csv and {path.name} of {internal.run}; thresholds must not be "
            "chosen on patients that are tested"
        )
    return validation


def check_origin(chosen: OperatingPoints, cohort: Cohort, path: Path) -> bool | None:
    """Make sure that operating points fit a cohort, and were not chosen on it.

    Args:
        chosen: the operating points.
        cohort: the cohort that they would be applied to.
        path: operating_points.json, for messages.

    Returns:
        Whether it is certain that they were chosen on other patients; ``None`` if nothing was chosen.

    Raises:
        InputError: they belong to other weights, to a phantom where the cohort is none or the reverse, or were chosen
            on what is reported.
    """
    advice = f"remove {path}, or put one there that fits"
    weights = chosen.facts.get("weights_sha256"), cohort.facts.get("weights_sha256")
    if all(weights) and weights[0] != weights[1]:
        raise InputError(
            f"{path} was chosen for other weights ({str(weights[0])[:12]}) than those of {cohort.run} "
            f"({str(weights[1])[:12]}); {advice}"
        )
    origin, phantom = chosen.facts.get("phantom"), cohort.facts.get("phantom")
    if (origin and not phantom) or (origin is False and phantom):
        stated = "not stated" if phantom is None else phantom
        raise InputError(
            f"{path} was chosen with phantom: {bool(origin)}, but phantom of {cohort.run} is {stated}; thresholds "
            f"never pass between synthetic images and patients; {advice}"
        )
    if not chosen.sha256:
        return None
    advice += "; make one on other patients with `python -m scripts recalibrate`"
    if chosen.sha256 == cohort.predictions.sha256:
        raise InputError(f"{path} was chosen on {cohort.predictions.path} itself, which is to be reported; {advice}")
    columns = {"series": ("series_uid", chosen.series)}
    if cohort.name == "internal":  # elsewhere equal patient_ids may be different people
        columns["patient"] = "patient_id", chosen.patients
    for name, (column, known) in columns.items():
        shared = [x for x in sorted(set(cohort.predictions.slices[column]) - {""}) if fingerprint(x) in (known or ())]
        if shared:
            raise InputError(
                f"{name} {shared[0]} of {cohort.run} is among those that {path} was chosen on; thresholds must not be "
                f"chosen on patients that are tested; {advice}"
            )
    return all(known is not None for _, known in columns.values())
