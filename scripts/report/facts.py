"""What a report says of its cohorts before any score: who they are, and what to beware of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ..cohort.looks import Looks, record
from ..errors import InputError
from .inputs.cohorts import Cohort
from .inputs.columns import numbers

MARK = "PHANTOM (synthetic images, not patients)"
MEANING = "These numbers show that the software works. They say nothing about its accuracy in patients."
PHANTOM = f"PHANTOM: synthetic images. {MEANING}"
FEW, VERY_FEW = 100, 30


def check_phantom(cohorts: Sequence[Cohort]) -> bool | None:
    """Whether all cohorts are phantoms; ``None`` if none says so.

    Raises:
        InputError: synthetic and other patients would stand side by side.
    """
    flags = {str(cohort.run): cohort.facts.get("phantom") for cohort in cohorts}
    if True in flags.values() and set(flags.values()) != {True}:
        stated = ", ".join(f"{run}: {'not stated' if flag is None else flag}" for run, flag in flags.items())
        raise InputError(
            f"scores on a phantom never stand beside clinical scores, but `phantom` is {stated}; report them apart, or "
            'write {"phantom": true} to run.json of the run that lacks it'
        )
    return next(iter(flags.values()))


def looks_of(cohort: Cohort) -> Looks | None:
    """Count how many networks were scored on the held-out patients, and record this one if its evaluation did not.

    Returns:
        The count; None where the cohort has no datalist, so that nobody counts.
    """
    if cohort.datalist is None:
        return None
    scored, weights = (cohort.facts.get(name, "") for name in ("datalist_sha256", "weights_sha256"))
    return record(cohort.datalist, str(scored), str(weights), cohort.predictions.sha256, once=True)


def warnings_for(
    internal: Cohort, external: Cohort | None, phantom: bool | None, looks: Mapping[str, Looks | None]
) -> list[str]:
    """What the reader must know before any number.

    Args:
        internal: the reported run.
        external: the external run, if there is one.
        phantom: whether both are synthetic.
        looks: at the held-out patients of each.
    """
    found = [PHANTOM] if phantom else []
    if phantom is None:
        found.append("Neither run nor datalist says whether these patients are real or synthetic.")
    if internal.facts.get("trained_on_phantom") and not phantom:
        found.append("The network was trained on synthetic images only.")
    for one in (internal, external):
        if one is None:
            continue
        counted = looks.get(one.name)
        if counted and counted.networks > 1:
            found.append(
                f"{counted.networks} networks have been scored on the held-out patients of the {one.name} cohort. If "
                "one was chosen by these scores, it was chosen on the patients that it is tested on, and its numbers "
                "here are too good."
            )
        n_patients = len(one.patients)
        size = f"The {one.name} cohort has {n_patients} patients."
        if n_patients < VERY_FEW:
            found.append(
                f"{size} With fewer than {VERY_FEW} patients several intervals are too narrow. Do not draw conclusions "
                "from them."
            )
        elif n_patients < FEW:
            found.append(f"{size} With fewer than {FEW} patients several intervals are slightly too narrow.")
    return found


def cohort_summary(cohort: Cohort, looks: Looks | None = None) -> dict[str, Any]:
    """Return what a cohort is: who was scored, what was left out, where it came from and how often it was looked at."""
    slices, excluded, table = cohort.predictions.slices, cohort.predictions.excluded, cohort.patients
    lost = sorted(set(excluded["patient_id"]) - set(table.index))
    facts = {name: value for name, value in cohort.facts.items() if name != "versions"}
    about: dict[str, Any] = {
        "name": cohort.name,
        "run": cohort.run.name,
        "n_patients": len(table),
        "n_series": int(slices["series_uid"].nunique()),
        "n_slices": len(slices),
        "n_compressed_slices": int(slices["label"].sum()),
        "n_patients_with_compression": int(slices.groupby("patient_id")["label"].max().sum()),
        "slices_per_patient": describe_values(slices.groupby("patient_id").size()),
        "excluded_slices": {str(k): int(v) for k, v in excluded["reason"].value_counts().items()},
        "excluded_examples": excluded[["patient_id", "series_uid", "sop_uid", "reason"]].head(10).to_dict("records"),
        "patients_without_any_slice_left": lost,
        "problems": cohort.problems,
        "predictions_sha256": cohort.predictions.sha256,
        "looks": looks.content() if looks else None,
        "facts": facts,
        "training_versions": cohort.facts.get("versions"),
    }
    for name in ("age", "mjoa", "weight", "height"):
        if name in table:
            about[name] = describe_values(numbers(table[name]))
    for name in ("sex", "site", "region"):
        if name in table:
            about[name] = {str(k) or "not recorded": int(v) for k, v in table[name].value_counts().items()}
    return about


def describe_values(values: pd.Series[Any]) -> dict[str, Any]:
    """Mean, standard deviation, median and range of what is known, and how many are not."""
    known = values.dropna().astype(float)
    if known.empty:
        return {"n": 0, "n_missing": len(values)}
    summary = {"mean": known.mean(), "median": known.median(), "min": known.min(), "max": known.max()}
    sd = float(known.std()) if len(known) > 1 else None
    return {
        "n": len(known),
        "n_missing": int(values.isna().sum()),
        **{k: float(v) for k, v in summary.items()},
        "sd": sd,
    }
