"""A run and the patients and slices it scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ...cohort import geometry
from ...cohort.cells import Problems, line, sentences
from ...cohort.labels import read_labels, read_patients
from ...errors import InputError
from ...files import read_object
from ...records import SECTIONS, RunFacts, SliceKey, slice_key
from .columns import KEY, clean, look_up, numbers, read_table
from .facts import cohort_of, evaluation_problems, read_facts
from .labels import label_problems, label_table
from .predictions import Predictions, read_predictions

TRUTH_COLUMNS = ("indentation_mm", "area_ratio")


@dataclass(frozen=True)
class Cohort:
    """Everything known of the patients and slices of one run.

    Attributes:
        name: ``internal`` or ``external``.
        run: the run's folder.
        predictions: its scored slices.
        patients: one row per patient that has predictions, indexed by patient_id; unknown cells are NaN or empty.
        slices: ``geometry.csv`` or ``None``.
        labels: ``labels.csv`` or ``None``.
        truth: ``truth.csv`` of a phantom, its numbers NaN where there is none, or ``None``.
        files: image of each slice by its key, relative to the cohort's folder, as far as datalist.json names it.
        facts: what run and datalist record about themselves.
        problems: what was missing or did not fit, for the reader.
        datalist: that of the cohort, where it has one.
    """

    name: str
    run: Path
    predictions: Predictions
    patients: pd.DataFrame
    slices: pd.DataFrame | None
    labels: pd.DataFrame | None
    truth: pd.DataFrame | None
    facts: RunFacts
    files: Mapping[SliceKey, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    datalist: Path | None = None


def patient_table(path: Path, ids: pd.Index) -> tuple[pd.DataFrame, list[str]]:
    """Read patients.csv for the patients ``ids``; a patient without a row is kept, with everything unknown.

    Returns:
        One row per patient, and what was missing or cannot be used.
    """
    if not path.is_file():
        return pd.DataFrame(index=ids), [
            f"no {path.name}: nothing is known of the patients, and there are no subgroups"
        ]
    unusable: Problems = []
    people = read_patients(path, unusable)
    frame = pd.DataFrame([one.cells for one in people.values()], index=list(people), dtype=str)
    frame = frame.drop(columns="patient_id").reindex(ids, fill_value="")
    unknown = ids.difference(list(people))
    problems = []
    if len(unknown):
        problems.append(f"{len(unknown)} of {len(ids)} patients have no row in {path.name}, first {unknown[0]}")
    scored = {f"patient {name}" for name in ids}
    problems += sentences([one for one in unusable if one.place in scored], len(ids))
    frame, wrong = clean(frame.rename("patient {}".format), path.name)
    return frame.set_axis(ids), [*problems, *wrong]


def geometry_table(folder: Path) -> tuple[pd.DataFrame | None, list[str]]:
    """Read geometry.csv of a cohort, or the slices.csv that ``split`` wrote in its place up to version 0.2.0."""
    path = geometry.existing_table(folder)
    if path is None:
        return None, []
    new = path.name == geometry.FILE
    notes = [] if new else [f"no {geometry.FILE}: {path.name}, as `split` called it up to 0.2.0, was read in its place"]
    table, wrong = clean(read_table(path, KEY[:2]).rename(line), path.name)
    return table.assign(frame=table.get("frame", "")), [*notes, *wrong]


def truth_table(folder: Path) -> pd.DataFrame | None:
    """Read indentation and area ratio of each slice of a phantom, where its cohort has truth.csv."""
    path = folder / "truth.csv"
    if not path.is_file():
        return None
    table = read_table(path, (*KEY[:2], *TRUTH_COLUMNS))
    exact = {name: numbers(table[name]) for name in TRUTH_COLUMNS}
    return table.assign(frame=table.get("frame", ""), **exact)


def image_files(folder: Path) -> dict[SliceKey, str]:
    """Read which file each slice of a cohort is in; nothing where the cohort has no datalist.json.

    Nothing is opened, so the files need not be there any more.
    """
    path = folder / "datalist.json"
    content = read_object(path) if path.is_file() else {}
    entries = [one for section in SECTIONS for one in content.get(section, ()) if isinstance(one, dict)]
    return {slice_key(one): str(one.get("image", "")) for one in entries if "series_uid" in one and "sop_uid" in one}


def read_cohort(name: str, run: Path, cohort: Path | None, patients: Path | None) -> Cohort:
    """Read a run and the cohort it scored.

    Args:
        name: ``internal`` or ``external``.
        run: folder with predictions.csv.
        cohort: folder with patients.csv and so on; by default that of the run's own record, or the run's own folder.
        patients: patients.csv, if not in ``cohort``.
    """
    if not run.is_dir():
        raise InputError(f"{run} is not a folder; expected a run with predictions.csv")
    folder, problems = (cohort, []) if cohort else cohort_of(run)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; expected a cohort with patients.csv")
    if patients and not patients.is_file():
        raise InputError(f"{patients} does not exist; expected a CSV file with the column patient_id")
    predictions = read_predictions(run / "predictions.csv")
    ids = pd.Index(sorted(predictions.slices["patient_id"].unique()), name="patient_id")
    table, found = patient_table(patients or folder / "patients.csv", ids)
    slices, wrong = geometry_table(folder)
    problems += [*found, *wrong]
    counted, wrong = evaluation_problems(run, len(predictions.slices) + len(predictions.excluded))
    facts: RunFacts = {**read_facts(run, folder), **counted}
    labels = None
    if (folder / "labels.csv").is_file():
        unusable: Problems = []
        rows = read_labels(folder / "labels.csv", unusable)
        labels = label_table(rows)
        problems += [
            *sentences(unusable, len(rows)),
            *label_problems(labels, predictions.slices, facts.get("phantom", False)),
        ]
    truth = truth_table(folder) if facts.get("phantom") else None
    path = folder / "datalist.json"
    datalist = path if path.is_file() else None
    files = image_files(folder)
    return Cohort(name, run, predictions, table, slices, labels, truth, facts, files, [*problems, *wrong], datalist)


def slice_column(cohort: Cohort, column: str) -> pd.Series | None:
    """Return a column of geometry.csv for each scored slice, ``""`` where unknown; ``None`` without such a column."""
    return column_of(cohort.predictions.slices, cohort.slices, column)


def column_of(frame: pd.DataFrame, table: pd.DataFrame | None, column: str) -> pd.Series | None:
    """Return a column of geometry.csv for scored slices, ``""`` where unknown; ``None`` without such a column.

    Args:
        frame: scored slices.
        table: geometry.csv, if there is one.
        column: of it.
    """
    if table is None or column not in table:
        return None
    return look_up(frame, table, column, geometry.FILE).fillna("")
