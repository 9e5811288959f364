"""predictions.csv: the scored slices of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ...errors import InputError
from ...files import sha256
from ...records import PREDICTION_COLUMNS
from .columns import KEY, digest, numbers, read_table
from .facts import read_object

LARGEST_LOGIT = 1e6  # no network gives more, and sums of squares stay finite


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


def read_predictions(path: Path) -> Predictions:
    """Read a predictions.csv; rows without a label or a finite score are set apart, never counted.

    Raises:
        InputError: as ``check_predictions`` and ``require_whole``, or a column is missing.
    """
    require_whole(path)
    return check_predictions(read_table(path, PREDICTION_COLUMNS), path, digest(path))


def require_whole(path: Path) -> None:
    """Refuse predictions of an evaluation that was stopped, or of other weights than those of the run.

    Raises:
        InputError: metrics.json is missing in the folder of a training, or speaks of other predictions or weights.
    """
    metrics = path.with_name(f"{path.stem.replace('predictions', 'metrics', 1)}.json")
    again = "evaluate the run again with configs/evaluate.json"
    if not metrics.is_file() or metrics == path:
        if path.is_file() and path.with_name("history.csv").is_file():
            raise InputError(f"{path.parent} has no {metrics.name}, so its evaluation was stopped; {again}")
        return
    about = read_object(metrics)
    if about.get("predictions_sha256", "") not in ("", sha256(path) if path.is_file() else ""):
        raise InputError(
            f"{path} is not what {metrics.name} was made of: the evaluation was stopped, or the file edited; {again}"
        )
    model = path.parent / "models" / "model.pt"
    weights = about.get("ensemble_sha256") or [about.get("weights_sha256", "")]
    if any(weights) and model.is_file() and sha256(model) not in weights:
        raise InputError(f"{path} was made with other weights than {model} has now; {again}")


def check_predictions(frame: pd.DataFrame, path: Path, sha256: str) -> Predictions:
    """Check and convert rows of text.

    Args:
        frame: with ``PREDICTION_COLUMNS``, indexed by file and line.
        path: where they came from, for messages.
        sha256: of that.

    Raises:
        InputError: a label is neither 0, 1 nor empty, a probability is outside 0 to 1, a logit is huge, a slice comes
            twice, a series belongs to two patients, or nothing remains.
    """
    label, probability = calls(frame), pd.to_numeric(frame["probability"], errors="coerce")
    beyond = frame.index[probability.notna() & ~probability.between(0, 1)]
    if len(beyond):
        raise InputError(
            f"{beyond[0]}: probability must be a number from 0 to 1, got {frame['probability'][beyond[0]]!r}"
        )
    unnamed = frame.index[frame["patient_id"] == ""]
    if len(unnamed):
        raise InputError(f"{unnamed[0]}: patient_id is empty")
    repeated = frame.index[frame.duplicated(KEY if (frame["sop_uid"] != "").all() else [*KEY, "slice_index"])]
    if len(repeated):
        row = frame.loc[repeated[0]]
        raise InputError(
            f"{repeated[0]}: slice {row['sop_uid']} {row['frame']} of series {row['series_uid']} comes twice; keep one "
            "row per slice"
        )
    owners = frame.groupby("series_uid")["patient_id"].nunique()
    if (owners > 1).any():
        raise InputError(f"{path}: series {owners.idxmax()} belongs to several patients")
    frame["label"], frame["logit"], frame["slice_index"] = label, numbers(frame["logit"]), numbers(frame["slice_index"])
    huge = frame.index[frame["logit"].abs() > LARGEST_LOGIT]
    if len(huge):
        value = frame["logit"][huge[0]]
        raise InputError(f"{huge[0]}: logit must lie within ± {LARGEST_LOGIT:g}, got {value:g}")
    no_score = frame["logit"].isna() | probability.isna()
    reason = np.where(frame["label"].isna(), "no reference label", np.where(no_score, "no finite score", ""))
    good = reason == ""
    if not good.any():
        raise InputError(f"{path}: none of {len(frame)} slices has both a label and a finite score")
    kept = frame[good].astype({"label": int}).reset_index(drop=True)
    return Predictions(kept, frame[~good].assign(reason=reason[~good]).reset_index(drop=True), path, sha256)


def calls(frame: pd.DataFrame) -> pd.Series:
    """Read the column ``label``: 0, 1, or NaN where it is empty.

    Raises:
        InputError: it holds something else.
    """
    found, text = numbers(frame["label"]), frame["label"].str.strip()
    wrong = frame.index[~found.isin([0, 1]) & ~text.str.lower().isin(["", "nan"])]
    if len(wrong):
        raise InputError(f"{wrong[0]}: label must be 0, 1 or empty, got {text[wrong[0]]!r}")
    return found
