"""A phantom under other label rules: its indentation is known in mm, so the threshold can be moved."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..evaluation.auc import pooled_auc
from ..phantom.labels import AREA_RATIO, INDENTATION_MM, LABEL_RULES_MM, compressed
from .inputs.cohorts import TRUTH_COLUMNS, Cohort
from .inputs.columns import look_up
from .results import SliceArrays


def label_rules(cohort: Cohort, slices: SliceArrays) -> dict[str, Any] | None:
    """Compute the pooled AUC under each rule of `LABEL_RULES_MM`; ``None`` where the cohort is no phantom.

    Args:
        cohort: for the truth; slices without it are counted and left out.
        slices: its scored slices.
    """
    if not cohort.facts.get("phantom"):
        return None
    own = {"indentation_mm": INDENTATION_MM, "area_ratio": AREA_RATIO}
    content: dict[str, Any] = {"phantom": True, **own, "reason": "", "rules": []}
    n = len(slices.labels)
    if cohort.truth is None:
        reason = "no truth.csv in the cohort's folder: the AUC under other label rules is not known"
        return {**content, "n_slices_without_truth": n, "n_labelled_otherwise": None, "reason": reason}
    indentation, area = (
        look_up(cohort.predictions.slices, cohort.truth, name, "truth.csv").to_numpy(float) for name in TRUTH_COLUMNS
    )
    known = np.isfinite(indentation) & np.isfinite(area)
    indentation, area, patients = indentation[known], area[known], slices.patients[known]
    lost = n - len(patients)
    if lost:
        content["reason"] = f"{lost:,} of {n:,} slices have no indentation and area ratio in truth.csv and are left out"
    for threshold in LABEL_RULES_MM if len(patients) else ():
        labels = compressed(indentation, area, threshold)
        content["rules"].append(
            {
                "threshold_mm": threshold,
                "n_slices": len(labels),
                "n_compressed": int(labels.sum()),
                "n_by_area_alone": int((labels & (indentation < threshold)).sum()),
                "share": float(labels.mean()),
                "auc": pooled_auc(labels, slices.logits[known], patients),
            }
        )
    otherwise = int((compressed(indentation, area) != slices.labels[known]).sum())
    return {**content, "n_slices_without_truth": lost, "n_labelled_otherwise": otherwise}
