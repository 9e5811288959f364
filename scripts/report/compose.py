"""From runs and cohorts to a report: reads, computes and writes."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ..console import optional, say
from ..errors import InputError
from ..files import write_csv, write_json
from . import codings, figures, operating_points_file, patient_level, readers, subgroups
from .card import check_card, write_card
from .facts import MARK, check_phantom, cohort_summary, looks_of, warnings_for
from .guards import check_external, check_origin, validation_of
from .inputs.cohorts import Cohort, read_cohort
from .inputs.predictions import Predictions
from .label_rules import label_rules
from .measures import measures_of
from .models import Model, compare_models
from .operating_points_file import OperatingPoints
from .page import write_page
from .results import as_json, calibration, discrimination, mistakes, slice_arrays
from .settings import in_words as settings_in_words
from .settings import run_settings
from .tasks import task_results

PACKAGES = ("numpy", "scipy", "scikit-learn", "statsmodels", "pandas")


def compose(
    runs: Sequence[Path],
    out: Path,
    cohort: Path | None,
    patients: Path | None,
    external: Path | None,
    external_cohort: Path | None,
    external_patients: Path | None,
    columns: Sequence[str],
    point: str,
    compare_at: str,
    margin: float,
    seed: int,
    card: Path | None,
) -> None:
    """Read the runs, compute every number and write report.json, report.html, figures and coding.csv.

    The arguments are those of ``python -m scripts report``.
    """
    if card:
        check_card(card)
    internal = read_cohort("internal", runs[0], cohort, patients)
    validation = validation_of(internal)
    external_run = None
    if external:
        external_run = read_cohort("external", external, external_cohort, external_patients)
        check_external(internal, external_run, validation)
    others = [read_cohort("internal", run, cohort, patients) for run in runs[1:]]
    phantom = check_phantom([one for one in (internal, *others, external_run) if one])
    path = internal.run / operating_points_file.FILE
    chosen, anew = operating_of(internal, validation, path)
    check_point(point, chosen)
    models = [Model(one, operating_of_other(one)) for one in others]
    others_only = {one.name: check_origin(chosen, one, path) for one in (internal, external_run) if one}
    if anew:
        write_json(path, anew)
        say(f"wrote {path}")
    for other in others:
        looks_of(other)
    looks = {one.name: looks_of(one) for one in (internal, external_run) if one}
    phantom_mark = MARK if phantom else ""
    content: dict[str, Any] = {"title": "Spinal cord compression on axial T2-weighted cervical MRI", "phantom": phantom}
    content |= {"seed": seed, "operating_point": point, "threshold": chosen.points[point].logit}
    settings = run_settings(internal.run)
    content |= {"settings": settings, "settings_in_words": settings_in_words(settings)}
    content |= {"warnings": warnings_for(internal, external_run, phantom, looks)}
    notes: list[dict[str, str]] = []
    for one in (internal, external_run):
        if one is None:
            continue
        say(f"{one.name} cohort: {len(one.patients)} patients, {len(one.predictions.slices)} slices")
        found = cohort_results(one, chosen, point, columns, margin, seed, out, phantom_mark)
        found["cohort"] = cohort_summary(one, looks[one.name])
        found["calibration"]["applied"]["apart"] = others_only[one.name]
        if one is internal:
            found |= compare_models(Model(internal, chosen), models, margin, compare_at) or {"models": []}
            content |= as_json(found, "", notes)
        else:
            content["external"] = as_json(found, "external", notes)
    content["measures"] = measures_of([one for one in (internal, *others, external_run) if one])
    content["undefined"] = notes
    content["software"] = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    write_json(out / "report.json", content)
    write_page(out, content)
    if card:
        write_card(card, content)
        say(f"wrote the section on performance of {card}")
    say(f"wrote {out / 'report.html'} and {out / 'report.json'}")


def operating_of(
    internal: Cohort, validation: Predictions | None, path: Path
) -> tuple[OperatingPoints, dict[str, Any] | None]:
    """Choose operating points on validation, or read those that the run has.

    Returns:
        The operating points, and the content of operating_points.json where it is to be written anew.

    Raises:
        InputError: the run has validation predictions, and points that were chosen on something else.
    """
    present = operating_points_file.read(path) if path.is_file() else None
    if validation is None:
        return present or operating_points_file.default(internal.facts), None
    if present and present.sha256 != validation.sha256:
        raise InputError(
            f"{path} was chosen on {present.source}, not on {validation.path} as it is now; to choose anew on that, "
            f"remove {path.name} or move it to another folder; to report with it, move {validation.path.name} away"
        )
    content = operating_points_file.fit_operating_points(validation, internal.facts, internal.slices)
    return operating_points_file.parse_operating_points(content, path), content


def operating_of_other(cohort: Cohort) -> OperatingPoints:
    """Choose or read the operating points of a run that is compared with the reported one; nothing is written there.

    Raises:
        InputError: as `operating_of` and `check_origin`.
    """
    path = cohort.run / operating_points_file.FILE
    chosen, _ = operating_of(cohort, validation_of(cohort), path)
    check_origin(chosen, cohort, path)
    return chosen


def check_point(point: str, chosen: OperatingPoints) -> None:
    """Make sure that there is a threshold of this name."""
    if point not in chosen.points or not np.isfinite(chosen.points[point].logit):
        known = [name for name, p in chosen.points.items() if np.isfinite(p.logit)]
        raise InputError(f"operating point {point!r} is not available; choose one of {', '.join(known)}")


def cohort_results(
    cohort: Cohort,
    chosen: OperatingPoints,
    point: str,
    family: Sequence[str],
    margin: float,
    seed: int,
    folder: Path,
    phantom_mark: str,
) -> dict[str, Any]:
    """All results of one cohort, its figures and its coding.csv."""
    slices = slice_arrays(cohort.predictions.slices)
    threshold = chosen.points[point].logit
    found: dict[str, Any] = discrimination(slices, chosen, seed)
    found["calibration"], judged = calibration(slices, chosen)
    found["subgroups"] = subgroups.subgroups(cohort, slices, family, margin, seed)
    found["trial_coding"], table = codings.trial_coding(cohort, slices, chosen, threshold, seed)
    found["patient_level"], reference, ranks = patient_level.patient_level(
        cohort.predictions.slices, cohort.slices, chosen, point
    )
    found["disc_levels"] = codings.disc_levels(cohort, slices, threshold)
    found["readers"] = readers.reader_study(cohort, threshold)
    found["label_rules"] = label_rules(cohort, slices)
    found["mistakes"] = mistakes(cohort, threshold)
    found["tasks"], of_tasks = task_results(cohort)
    prefix = "" if cohort.name == "internal" else f"{cohort.name}_"
    if len(table):
        rows = [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]
        write_csv(folder / f"{prefix}coding.csv", list(rows[0]), rows)
    pictures: dict[str, Any] = {
        "roc": figures.roc_per_patient(slices, found["per_patient"]["mean_auc"]),
        "precision_recall": figures.precision_recall(slices),
        "confusion": figures.confusion_matrix(slices, threshold, point),
        "calibration": figures.calibration(judged),
        **of_tasks,
    }
    if found["trial_coding"]["agreement"]:
        limits = found["trial_coding"]["agreement"]["n_compressed"]
        pictures["coding"] = figures.bland_altman(table, limits, "n_compressed", "slices")
    if 0 < reference.sum() < len(reference):
        pictures["patients"] = figures.roc_of_rules(found["patient_level"], reference, ranks)
    sizes = dict.fromkeys(pictures, figures.SIZE)
    whole = {"pooled_auc": found["pooled"]["auc"], "mean_auc": found["per_patient"]["mean_auc"]}
    pictures["forest"], sizes["forest"] = figures.forest(found["subgroups"]["rows"], whole)
    found["figures"] = []
    for name, draw in pictures.items():
        with optional(f"figure {name}"):
            figures.save(folder / "figures" / f"{prefix}{name}.png", draw, sizes[name], phantom_mark)
            found["figures"].append(f"figures/{prefix}{name}.png")
    return found
