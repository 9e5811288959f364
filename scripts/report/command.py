"""``python -m scripts report``."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ..console import say
from ..errors import InputError
from ..files import write_csv, write_json
from . import codings, figures, operating, readers, subgroups
from .card import check_card, write_card
from .facts import MARK, check_phantom, describe, warnings_for
from .guards import check_external, check_origin, validation_of
from .inputs import Cohort, Predictions, read_cohort
from .operating import Operating
from .page import write_page
from .results import as_json, calibration, discrimination, mistakes, scored

PACKAGES = ("numpy", "scipy", "scikit-learn", "statsmodels", "pandas")


def report(
    *runs: str,
    out: str,
    cohort: str = "",
    patients: str = "",
    external: str = "",
    external_cohort: str = "",
    external_patients: str = "",
    columns: str = "age,mjoa,region,site,sex,maker",
    point: str = "paper_0.5",
    margin: float = 0.0,
    seed: int = 0,
    card: str = "",
) -> None:
    """Turn predictions into evidence: report.json, figures and one HTML page, with patient-clustered intervals.

    A run is a folder with predictions.csv (patient_id, series_uid, sop_uid, frame, slice_index, label, logit,
    probability). If it also holds predictions_validation.csv, thresholds and calibration are chosen on that and written
    to operating_points.json in the run. docs/report.md describes every file.

    Args:
        runs: the run to report; further runs are other models on the same slices and are compared with it.
        out: folder for report.json, report.html, coding.csv and figures/.
        cohort: folder with patients.csv and, where they exist, labels.csv, slices.csv and datalist.json; by default the
            run's own folder.
        patients: patients.csv, if it is not in the cohort's folder.
        external: run of the same model on patients of other sites, reported beside the first and never pooled with it.
        external_cohort: cohort folder of the external run.
        external_patients: patients.csv of the external run.
        columns: subgroups, separated by commas; the family of tests, to be fixed before looking.
        point: operating point for coding, readers and mistakes.
        margin: largest difference of AUC that does not matter, for claims of equivalence; 0 makes none.
        seed: of everything that is resampled.
        card: model card, e.g. docs/README.md, whose section on performance to write from this report.
    """
    if not runs:
        raise InputError("no run given; usage: python -m scripts report RUN --out DIR")
    check_numbers(margin, seed)
    if card:
        check_card(Path(card))
    folder = Path(out)
    inside = read_cohort("internal", Path(runs[0]), optional(cohort), optional(patients))
    validation = validation_of(inside)
    outside = None
    if external:
        outside = read_cohort("external", Path(external), optional(external_cohort), optional(external_patients))
        check_external(inside, outside, validation)
    others = [read_cohort("internal", Path(run), optional(cohort), optional(patients)) for run in runs[1:]]
    phantom = check_phantom([c for c in (inside, *others, outside) if c])
    path = inside.run / operating.FILE
    chosen, anew = operating_of(inside, validation, path)
    check_point(point, chosen)
    apart = {c.name: check_origin(chosen, c, path) for c in (inside, outside) if c}
    if anew:
        write_json(path, anew)
        say(f"wrote {path}")
    mark = MARK if phantom else ""
    family = [name.strip() for name in columns.split(",") if name.strip()]
    content: dict[str, Any] = {"title": "Spinal cord compression on axial T2-weighted cervical MRI", "phantom": phantom}
    content |= {"seed": seed, "operating_point": point, "threshold": chosen.points[point].logit}
    content |= {"warnings": warnings_for(inside, outside, phantom)}
    notes: list[dict[str, str]] = []
    for one in (inside, outside):
        if one is None:
            continue
        say(f"{one.name} cohort: {len(one.patients)} patients, {len(one.predictions.slices)} slices")
        found = cohort_results(one, chosen, validation, point, family, margin, seed, folder, mark)
        found["calibration"]["applied"]["apart"] = apart[one.name]
        if one is inside:
            found["models"] = compare(inside, others, margin)
            content |= as_json(found, "", notes)
        else:
            content["external"] = as_json(found, "external", notes)
    content["undefined"] = notes
    content["software"] = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    write_json(folder / "report.json", content)
    write_page(folder, content)
    if card:
        write_card(Path(card), content)
        say(f"wrote the section on performance of {card}")
    say(f"wrote {folder / 'report.html'} and {folder / 'report.json'}")


def optional(path: str) -> Path | None:
    """A path, or nothing."""
    return Path(path) if path else None


def check_numbers(margin: float, seed: int) -> None:
    """Refuse what a typing error makes of the two numbers."""
    if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not 0 <= margin <= 1:
        raise InputError(f"--margin must be a difference of AUC from 0 to 1, got {margin!r}")
    if type(seed) is not int or seed < 0:
        raise InputError(f"--seed must be a whole number from 0 on, got {seed!r}")


def operating_of(inside: Cohort, validation: Predictions | None, path: Path) -> tuple[Operating, dict[str, Any] | None]:
    """Choose operating points on validation, or read those that the run has.

    Returns:
        The operating points, and the content of operating_points.json where it is to be written anew.

    Raises:
        InputError: the run has validation predictions, and points that were chosen on something else.
    """
    present = operating.load(path) if path.is_file() else None
    if validation is None:
        return present or operating.default(inside.facts), None
    if present and present.sha256 != validation.sha256:
        raise InputError(
            f"{path} was chosen on {present.source}, not on {validation.path} as it is now; to choose anew on that, "
            f"remove {path.name} or move it to another folder; to report with it, move {validation.path.name} away"
        )
    content = operating.choose(validation, inside.facts)
    return operating.understand(content, path), content


def check_point(point: str, chosen: Operating) -> None:
    """Make sure that there is a threshold of this name."""
    if point not in chosen.points or not np.isfinite(chosen.points[point].logit):
        known = [name for name, p in chosen.points.items() if np.isfinite(p.logit)]
        raise InputError(f"operating point {point!r} is not available; choose one of {', '.join(known)}")


def cohort_results(
    c: Cohort,
    chosen: Operating,
    validation: Predictions | None,
    point: str,
    family: Sequence[str],
    margin: float,
    seed: int,
    folder: Path,
    mark: str,
) -> dict[str, Any]:
    """All results of one cohort, its figures and its coding.csv."""
    s = scored(c.predictions.slices)
    threshold = chosen.points[point].logit
    found: dict[str, Any] = {"cohort": describe(c)}
    found |= discrimination(s, chosen, seed)
    found["calibration"], judged = calibration(s, chosen)
    found["subgroups"] = subgroups.subgroups(c, s, family, margin, seed)
    found["trial_coding"], table = codings.trial_coding(c, s, chosen, threshold, seed)
    found["patient_level"] = codings.patient_level(s, chosen, validation)
    found["disc_levels"] = codings.disc_levels(c, s, threshold)
    found["readers"] = readers.reader_study(c, threshold)
    found["mistakes"] = mistakes(c, threshold)
    prefix = "" if c.name == "internal" else f"{c.name}_"
    if len(table):
        rows = [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]
        write_csv(folder / f"{prefix}coding.csv", list(rows[0]), rows)
    pictures: dict[str, Any] = {
        "roc": figures.roc_per_patient(s, found["per_patient"]["mean_auc"]),
        "precision_recall": figures.precision_recall(s),
        "confusion": figures.confusion_matrix(s, threshold, point),
        "calibration": figures.calibration(judged),
    }
    if found["trial_coding"]["agreement"]:
        limits = found["trial_coding"]["agreement"]["n_compressed"]
        pictures["coding"] = figures.bland_altman(table, limits, "n_compressed", "slices")
    reference, ranks = codings.rules(s, chosen)
    if 0 < reference.sum() < len(reference):
        pictures["patients"] = figures.roc_of_rules(found["patient_level"], reference, ranks)
    for name, draw in pictures.items():
        figures.save(folder / "figures" / f"{prefix}{name}.png", draw, mark=mark)
    whole = {"pooled_auc": found["pooled"]["auc"], "mean_auc": found["per_patient"]["mean_auc"]}
    draw, size = figures.forest(found["subgroups"]["rows"], whole)
    figures.save(folder / "figures" / f"{prefix}forest.png", draw, size, mark)
    found["figures"] = [f"figures/{prefix}{name}.png" for name in (*pictures, "forest")]
    return found


def compare(first: Cohort, others: Sequence[Cohort], margin: float) -> list[dict[str, Any]]:
    """Compare the reported run with every other one."""
    return [
        {"run": other.run.name, **readers.compare_models(first.predictions, other.predictions, margin)}
        for other in others
    ]
