"""A run and the patients and slices it scored."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ...errors import InputError
from .columns import KEY, clean, line, look_up, read_table
from .facts import evaluation_problems, read_facts
from .labels import label_problems, read_labels
from .predictions import Predictions, read_predictions


@dataclass(frozen=True)
class Cohort:
    """Everything known of the patients and slices of one run.

    Attributes:
        name: ``internal`` or ``external``.
        run: the run's folder.
        predictions: its scored slices.
        patients: one row per patient that has predictions, indexed by patient_id; unknown cells are NaN or empty.
        slices: ``slices.csv`` or ``None``.
        labels: ``labels.csv`` or ``None``.
        facts: what run and datalist say of themselves.
        problems: what was missing or did not fit, for the reader.
    """

    name: str
    run: Path
    predictions: Predictions
    patients: pd.DataFrame
    slices: pd.DataFrame | None
    labels: pd.DataFrame | None
    facts: dict[str, Any]
    problems: list[str] = field(default_factory=list)


def read_patients(path: Path, ids: pd.Index) -> tuple[pd.DataFrame, list[str]]:
    """Read patients.csv for the patients ``ids``; a patient without a row is kept, with everything unknown."""
    if not path.is_file():
        return pd.DataFrame(index=ids), [
            f"no {path.name}: nothing is known of the patients, and there are no subgroups"
        ]
    frame = read_table(path, ["patient_id"])
    twice = frame["patient_id"][frame["patient_id"].duplicated()]
    if len(twice):
        raise InputError(f"{path}: patient {twice.iloc[0]} has two rows")
    frame = frame.set_index("patient_id")
    unknown = ids.difference(frame.index)
    problems = []
    if len(unknown):
        problems.append(f"{len(unknown)} of {len(ids)} patients have no row in {path.name}, first {unknown[0]}")
    frame, wrong = clean(frame.reindex(ids, fill_value="").rename("patient {}".format), path.name)
    return frame.set_axis(ids), [*problems, *wrong]


def read_cohort(name: str, run: Path, cohort: Path | None, patients: Path | None) -> Cohort:
    """Read a run and the cohort it scored.

    Args:
        name: ``internal`` or ``external``.
        run: folder with predictions.csv.
        cohort: folder with patients.csv and so on; the run's own folder by default.
        patients: patients.csv, if not in ``cohort``.
    """
    if not run.is_dir():
        raise InputError(f"{run} is not a folder; expected a run with predictions.csv")
    folder = cohort or run
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; expected a cohort with patients.csv")
    if patients and not patients.is_file():
        raise InputError(f"{patients} does not exist; expected a CSV file with the column patient_id")
    predictions = read_predictions(run / "predictions.csv")
    ids = pd.Index(sorted(predictions.slices["patient_id"].unique()), name="patient_id")
    table, problems = read_patients(patients or folder / "patients.csv", ids)
    slices, labels = None, None
    if (folder / "slices.csv").is_file():
        slices, wrong = clean(read_table(folder / "slices.csv", KEY[:2]).rename(line), "slices.csv")
        slices, problems = slices.assign(frame=slices.get("frame", "")), [*problems, *wrong]
    if (folder / "labels.csv").is_file():
        labels = read_labels(folder / "labels.csv")
        problems += label_problems(labels, predictions.slices)
    counted, wrong = evaluation_problems(run, len(predictions.slices) + len(predictions.excluded))
    facts = read_facts(run, folder) | counted
    return Cohort(name, run, predictions, table, slices, labels, facts, [*problems, *wrong])


def slice_column(cohort: Cohort, column: str) -> pd.Series | None:
    """Return a column of slices.csv for each scored slice, ``""`` where unknown; ``None`` without such a column."""
    if cohort.slices is None or column not in cohort.slices:
        return None
    return look_up(cohort.predictions.slices, cohort.slices, column, "slices.csv").fillna("")
