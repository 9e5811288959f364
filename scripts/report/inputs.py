"""Reading what a report is made from.

A *run* is a folder with ``predictions.csv`` and, where they exist, ``predictions_validation.csv`` (same columns),
``operating_points.json``, and ``run.json`` or ``metrics.json`` with the facts in ``FACTS``. A *cohort* is a folder with
``patients.csv`` and, where they exist, ``labels.csv`` (readers), ``slices.csv`` (geometry, scanner, disc level) and
``datalist.json``. ``slices.csv`` has ``series_uid, sop_uid, frame`` and any of ``position_mm`` (of the slice centre
along its normal), ``thickness_mm``, ``level`` (disc level, e.g. C5/C6), ``manufacturer`` and others for subgroups.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .. import datalists
from ..errors import InputError
from ..files import read_json

KEY = ["series_uid", "sop_uid", "frame"]
PREDICTION_COLUMNS = ["patient_id", *KEY, "slice_index", "label", "logit", "probability"]
LARGEST_LOGIT = 1e6  # no network gives more, and sums of squares stay finite
FACTS = (
    "phantom",
    "trained_on_phantom",
    "model_version",
    "weights_sha256",
    "datalist_sha256",
    "seed",
    "pos_weight",
    "versions",
)


@dataclass(frozen=True)
class Predictions:
    """Scored slices of one run.

    Attributes:
        slices: rows that count, with ``label`` 0/1 and a finite ``logit``; patient_id and keys are text.
        excluded: rows that do not, with ``reason``.
        path: the file.
        sha256: of the file.
    """

    slices: pd.DataFrame
    excluded: pd.DataFrame
    path: Path
    sha256: str


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


def read_table(path: Path, required: list[str]) -> pd.DataFrame:
    """Read a CSV as text; an empty cell is ``""``.

    Raises:
        InputError: the file is missing, unreadable, empty or lacks a column.
    """
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(
            f"{path} does not exist; expected a CSV file with the columns {', '.join(required)}"
        ) from error
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise InputError(f"{path} cannot be read as a CSV file: {error}") from error
    lacking = [name for name in required if name not in frame.columns]
    if lacking:
        raise InputError(
            f"{path} lacks the column{'s' * (len(lacking) > 1)} {', '.join(lacking)}; "
            f"it has {', '.join(map(str, frame.columns))}"
        )
    if frame.empty:
        raise InputError(f"{path} holds no rows")
    return frame


def numbers(column: pd.Series) -> pd.Series:
    """Read numbers; what is none, or infinite, becomes NaN."""
    return pd.to_numeric(column, errors="coerce").replace([np.inf, -np.inf], np.nan)


def digest(*paths: Path) -> str:
    """Hash files, one after the other."""
    found = hashlib.sha256()
    for path in paths:
        found.update(path.read_bytes())
    return found.hexdigest()


def read_predictions(path: Path) -> Predictions:
    """Read a predictions.csv; rows without a label or a finite score are set apart, never counted.

    Raises:
        InputError: as ``check_predictions``, or a column is missing.
    """
    return check_predictions(read_table(path, PREDICTION_COLUMNS), path, digest(path))


def check_predictions(frame: pd.DataFrame, path: Path, sha256: str) -> Predictions:
    """Check and convert rows of text.

    Args:
        frame: with ``PREDICTION_COLUMNS``.
        path: where they came from, for messages.
        sha256: of that.

    Raises:
        InputError: a label is neither 0, 1 nor empty, a slice comes twice, a series belongs to two patients, or nothing
            remains.
    """
    label = numbers(frame["label"])
    wrong = frame.index[~label.isin([0, 1]) & (frame["label"].str.strip() != "")]
    wrong = wrong[frame["label"][wrong].str.lower() != "nan"]
    if len(wrong):
        raise InputError(f"{path}, line {wrong[0] + 2}: label must be 0, 1 or empty, got {frame['label'][wrong[0]]!r}")
    unnamed = frame.index[frame["patient_id"] == ""]
    if len(unnamed):
        raise InputError(f"{path}, line {unnamed[0] + 2}: patient_id is empty")
    repeated = frame.index[frame.duplicated(KEY if (frame["sop_uid"] != "").all() else [*KEY, "slice_index"])]
    if len(repeated):
        row = frame.loc[repeated[0]]
        raise InputError(
            f"{path}, line {repeated[0] + 2}: slice {row['sop_uid']} {row['frame']} of series {row['series_uid']} "
            "comes twice; keep one row per slice"
        )
    owners = frame.groupby("series_uid")["patient_id"].nunique()
    if (owners > 1).any():
        raise InputError(f"{path}: series {owners.idxmax()} belongs to several patients")
    frame["label"], frame["logit"], frame["slice_index"] = label, numbers(frame["logit"]), numbers(frame["slice_index"])
    huge = frame.index[frame["logit"].abs() > LARGEST_LOGIT]
    if len(huge):
        raise InputError(
            f"{path}, line {huge[0] + 2}: logit must lie within ± {LARGEST_LOGIT:g}, got {frame['logit'][huge[0]]:g}"
        )
    no_score = frame["logit"].isna() | numbers(frame["probability"]).isna()
    reason = np.where(frame["label"].isna(), "no reference label", np.where(no_score, "no finite score", ""))
    good = reason == ""
    if not good.any():
        raise InputError(f"{path}: none of {len(frame)} slices has both a label and a finite score")
    kept = frame[good].astype({"label": int}).reset_index(drop=True)
    return Predictions(kept, frame[~good].assign(reason=reason[~good]).reset_index(drop=True), path, sha256)


def read_facts(run: Path, cohort: Path) -> dict[str, Any]:
    """Collect the facts that a run and its cohort record about themselves; what neither says is absent."""
    found: dict[str, Any] = {}
    sources = [read_json(path) for path in (run / "metrics.json", run / "run.json") if path.is_file()]
    if (cohort / "datalist.json").is_file():
        sources.insert(0, datalists.facts(cohort / "datalist.json"))
    for source in sources:
        if isinstance(source, dict):
            found |= {name: source[name] for name in FACTS if source.get(name) is not None}
    flags = [
        bool(source[name]) for source in sources if isinstance(source, dict) for name in ("phantom",) if name in source
    ]
    if flags:
        found["phantom"] = any(flags)
    return found


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
    return frame.reindex(ids, fill_value=""), problems


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
        slices = read_table(folder / "slices.csv", ["series_uid", "sop_uid"])
        slices = slices.assign(frame=slices.get("frame", ""))
    if (folder / "labels.csv").is_file():
        labels = read_table(folder / "labels.csv", ["series_uid", "sop_uid", "rater", "role", "status", "label"])
        labels = labels.assign(frame=labels.get("frame", ""))
    return Cohort(name, run, predictions, table, slices, labels, read_facts(run, folder), problems)


def look_up(slices: pd.DataFrame, table: pd.DataFrame, column: str, where: str) -> pd.Series:
    """Give a column of a table for each scored slice, NaN where the table has no such slice.

    Args:
        slices: scored slices.
        table: with ``KEY``, and ``slice_index`` where slices have no sop_uid (NIfTI).
        column: of the table.
        where: the file, for messages.

    Raises:
        InputError: slices without sop_uid cannot be told apart.
    """
    key = list(KEY)
    if (slices["sop_uid"] == "").any():
        if "slice_index" not in table:
            raise InputError(f"{where} needs a column slice_index, because some slices have no sop_uid")
        key, table = [*KEY, "slice_index"], table.assign(slice_index=numbers(table["slice_index"]))
    found = slices[key].merge(table.drop_duplicates(key)[[*key, column]], on=key, how="left")
    return found[column]


def slice_column(cohort: Cohort, column: str) -> pd.Series | None:
    """Give a column of slices.csv for each scored slice, ``""`` where unknown; ``None`` if there is no such column."""
    if cohort.slices is None or column not in cohort.slices:
        return None
    return look_up(cohort.predictions.slices, cohort.slices, column, "slices.csv").fillna("")
