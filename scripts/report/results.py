"""The numbers of one cohort: ranking, thresholds, calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score

from ..evaluation.auc import pooled_auc
from ..evaluation.calibration import Assessment, assess
from ..evaluation.estimates import NAN, Comparison, Estimate, Floats, Ints, defined
from ..evaluation.per_patient import mean_auc, median_auc, patient_aucs
from ..evaluation.proportions import confusion, rates
from ..records import slice_key
from .inputs.cohorts import Cohort
from .operating_points_file import OperatingPoints

MOST_PATIENTS = 5000  # for a matrix of patients by patients; 200 MB
LISTED = 10


@dataclass(frozen=True)
class SliceArrays:
    """The slices of a cohort as arrays, each of shape (N,).

    Attributes:
        labels: 0/1.
        logits: raw.
        patients: codes 0 ... K-1.
        ids: patient_id of each code, shape (K,).
        aucs: AUC of each patient, shape (K,).
    """

    labels: Ints
    logits: Floats
    patients: Ints
    ids: np.ndarray[Any, Any]
    aucs: Floats = field(repr=False)


def slice_arrays(frame: pd.DataFrame) -> SliceArrays:
    """Turn rows of predictions into arrays."""
    codes, ids = pd.factorize(frame["patient_id"], sort=True)
    labels, logits = frame["label"].to_numpy(np.int64), frame["logit"].to_numpy(np.float64)
    return SliceArrays(labels, logits, codes.astype(np.int64), np.asarray(ids), patient_aucs(labels, logits, codes))


def discrimination(slices: SliceArrays, operating: OperatingPoints, seed: int) -> dict[str, Any]:
    """Pooled and per-patient results and those of every operating point."""
    y, x, p = slices.labels, slices.logits, slices.patients
    known = np.isfinite(slices.aucs)
    in_known = int(known[p].sum())
    both = 0 < y.sum() < len(y)
    precision = float(average_precision_score(y, x)) if both else NAN
    note = "it is biased upwards in few slices" if both else "all slices have the same label"
    pooled: dict[str, Any] = {
        "auc": pooled_auc(y, x, p),
        "average_precision": Estimate(precision, NAN, NAN, len(slices.ids), len(y), note),
        **rates(confusion(y, x, p, 0.0)),
        "threshold": {"name": "paper_0.5", "logit": 0.0},
    }
    points: dict[str, Any] = {}
    for name, point in operating.points.items():
        points[name] = {"logit": defined(point.logit), "status": point.note or "chosen"}
        if np.isfinite(point.logit):
            points[name] |= dict(rates(confusion(y, x, p, point.logit)))
    return {
        "pooled": pooled,
        "per_patient": {
            "mean_auc": mean_auc(slices.aucs, in_known, seed=seed),
            "median_auc": median_auc(slices.aucs, in_known),
            "sd_auc": defined(float(np.std(slices.aucs[known], ddof=1))) if known.sum() > 1 else None,
            "undefined": undefined_patients(slices),
        },
        "operating_points": points,
    }


def too_many(slices: SliceArrays) -> Estimate:
    """Return the estimate without an interval, with the note that patients were not resampled."""
    note = f"more than {MOST_PATIENTS} patients are not resampled; the other intervals are exact enough there"
    return Estimate(NAN, NAN, NAN, len(slices.ids), len(slices.labels), note)


def undefined_patients(slices: SliceArrays) -> list[dict[str, Any]]:
    """List the patients that have no AUC, with the reason."""
    found = []
    total = np.bincount(slices.patients, minlength=len(slices.ids))
    compressed = np.bincount(slices.patients, slices.labels, minlength=len(slices.ids))
    for code in np.flatnonzero(~np.isfinite(slices.aucs)):
        reason = "no slice is compressed" if compressed[code] == 0 else "every slice is compressed"
        found.append({"patient_id": str(slices.ids[code]), "n_slices": int(total[code]), "reason": reason})
    return found


def calibration(slices: SliceArrays, operating: OperatingPoints) -> tuple[dict[str, Any], dict[str, Assessment]]:
    """Judge the raw probabilities, those of the baseline if it is known, and the calibrated ones if there are any."""
    line = operating.calibration
    logits = {"uncalibrated": slices.logits}
    if operating.baseline:
        logits["baseline"] = operating.baseline.logits(slices.logits)
    if operating.fitted:
        logits["calibrated"] = line.logits(slices.logits)
    judged = {name: assess(slices.labels, x, slices.patients) for name, x in logits.items()}
    content: dict[str, Any] = {
        name: {"intercept_at_slope_1": a.intercept_at_slope_1, "slope": a.slope, "brier": a.brier, "ece": a.ece}
        for name, a in judged.items()
    }
    content["applied"] = {"slope": line.slope, "intercept": line.intercept, "fitted": operating.fitted}
    status = line.note or ("calibrated" if operating.fitted else "baseline")
    content["applied"] |= {"chosen_on": operating.source, "status": status}
    return content, judged


def mistakes(cohort: Cohort, threshold: float) -> dict[str, list[dict[str, Any]]]:
    """List the slices that were wrong with the greatest confidence, and the files to look at."""
    frame = cohort.predictions.slices
    columns = ["patient_id", "series_uid", "sop_uid", "frame", "slice_index", "logit"]
    missed = frame[(frame["label"] == 1) & (frame["logit"] < threshold)].nsmallest(LISTED, "logit")
    false = frame[(frame["label"] == 0) & (frame["logit"] >= threshold)].nlargest(LISTED, "logit")
    as_rows: dict[str, list[dict[str, Any]]] = {}
    for name, rows in (("false_negatives", missed), ("false_positives", false)):
        as_rows[name] = [
            {"file": cohort.files.get(slice_key(row), ""), **{column: plain(row[column]) for column in columns}}
            for _, row in rows.iterrows()
        ]
    return as_rows


def plain(value: Any) -> Any:
    """Turn a cell into what JSON knows; NaN becomes ``None``."""
    if isinstance(value, (float, np.floating)):
        return None if not np.isfinite(value) else int(value) if float(value).is_integer() else float(value)
    return value.item() if isinstance(value, np.generic) else value


def as_json(content: Any, path: str, notes: list[dict[str, str]]) -> Any:
    """Turn results into JSON; every note on something undefined goes to ``notes`` with its path."""
    if isinstance(content, Estimate):
        if content.note:
            notes.append({"path": path, "reason": content.note})
        if isinstance(content, Comparison):
            extra = {"p_value": defined(content.p_value), "statistic": defined(content.statistic)}
            return {"difference": content.leaf(), **extra}
        return content.leaf()
    if isinstance(content, Mapping):
        return {name: as_json(value, f"{path}.{name}" if path else str(name), notes) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [as_json(value, f"{path}[{name_of(value, number)}]", notes) for number, value in enumerate(content)]
    return plain(content)


def name_of(item: Any, number: int) -> str:
    """Name an item of a list by what it is about, or by its number."""
    keys = ("column", "level", "reader", "first", "second", "run", "threshold_mm")
    words = [str(item[key]) for key in keys if key in item] if isinstance(item, Mapping) else []
    return " ".join(words) or str(number)
