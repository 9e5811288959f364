"""Several models on the same slices, each against the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import InputError
from ..evaluation.auc import pooled_auc
from ..evaluation.comparisons import equivalence, holm, paired_auc, paired_mean, paired_proportion
from ..evaluation.estimates import Floats, Ints
from ..evaluation.per_patient import patient_aucs
from ..evaluation.proportions import confusion, rates
from .inputs.cohorts import Cohort
from .inputs.columns import KEY
from .operating_points_file import OperatingPoints

CALLS = ("sensitivity", "specificity")
RANKING = ("pooled_auc", "mean_auc")


@dataclass(frozen=True)
class Model:
    """A run, and the operating points that were chosen for it."""

    cohort: Cohort
    chosen: OperatingPoints

    @property
    def name(self) -> str:
        """The name of its folder, and what kind of model it is where the run says so."""
        kind = self.cohort.facts.get("architecture")
        return f"{self.cohort.run.name} ({kind})" if kind else self.cohort.run.name

    def threshold(self, point: str) -> float:
        """Return its raw logit at an operating point; NaN where it has none."""
        return self.chosen.points[point].logit if point in self.chosen.points else np.nan


def compare_models(first: Model, others: Sequence[Model], margin: float, point: str) -> dict[str, Any] | None:
    """Compare every other model with the first one.

    Args:
        first: the model the report is about.
        others: other models on the same slices.
        margin: largest difference of AUC that does not matter; 0 for no claim of equivalence.
        point: operating point at which each model's own threshold was chosen; where one has no such point, that of the
            paper is taken for all.

    Returns:
        ``models``, and at which point they are compared (``compared_at``); None without other models.

    Raises:
        InputError: no model knows such a point, or two share no slice, or disagree on a label.
    """
    if not others:
        return None
    models = [first, *others]
    known = sorted({name for one in models for name in (*one.chosen.points, "youden")})
    if point not in known:
        raise InputError(f"--compare_at {point!r} is no operating point; choose one of {', '.join(known)}")
    lacking = [one.name for one in models if not np.isfinite(one.threshold(point))]
    taken = "paper_0.5" if lacking else point
    frame = first.cohort.predictions.slices
    y, x, patient = frame["label"].to_numpy(), frame["logit"].to_numpy(float), pd.factorize(frame["patient_id"])[0]
    rows = [compare_pair(first, other, margin, taken) for other in others]
    families = [(rows, name) for name in RANKING]
    families += [([row["at_own_point"] for row in rows], name) for name in CALLS]
    for family, name in families:
        for row, p_value in zip(family, holm([row[name].p_value for row in family]), strict=True):
            row[f"{name}_p_holm"] = p_value
    return {
        "models": rows,
        "compared_at": {
            "point": taken,
            "reason": f"{', '.join(lacking)}: no operating point {point}" if lacking else "",
            "this": {"model": first.name, **scores(y, x, patient, first.threshold(taken))},
        },
    }


def scores(labels: Ints, logits: Floats, patients: Ints, threshold: float) -> dict[str, Any]:
    """Compute what a model's row in the table says: threshold, AUC, sensitivity and specificity."""
    found = rates(confusion(labels, logits, patients, threshold))
    return {"logit": threshold, "auc": pooled_auc(labels, logits, patients), **{name: found[name] for name in CALLS}}


def compare_pair(first: Model, second: Model, margin: float, point: str) -> dict[str, Any]:
    """Compare two models on the slices that both scored.

    Args:
        first: the model the report is about.
        second: another model.
        margin: see `compare_models`.
        point: an operating point that both have.

    Returns:
        differences, the first minus the second: of both AUCs; of the calls at the paper's threshold (``sensitivity``,
        ``specificity``); and at each one's own threshold (``at_own_point``).

    Raises:
        InputError: they share no slice, or disagree on a label.
    """
    one, other = first.cohort.predictions, second.cohort.predictions
    both = one.slices.merge(other.slices, on=[*KEY, "slice_index"], suffixes=("", "_second"))
    if both.empty:
        raise InputError(f"{one.path} and {other.path} have no slice in common, so the models cannot be compared")
    wrong = both[both["label"] != both["label_second"]]
    if len(wrong):
        where = f"slice {wrong.iloc[0]['sop_uid']} of series {wrong.iloc[0]['series_uid']}"
        raise InputError(f"{one.path} and {other.path} give {len(wrong)} slices different labels, first {where}")
    y, patient = both["label"].to_numpy(), pd.factorize(both["patient_id"])[0]
    a, b = both["logit"].to_numpy(float), both["logit_second"].to_numpy(float)
    aucs = patient_aucs(y, a, patient), patient_aucs(y, b, patient)
    entering = int(np.isfinite(aucs[0])[patient].sum())
    own = first.threshold(point), second.threshold(point)
    content: dict[str, Any] = {
        "run": second.cohort.run.name,
        "model": second.name,
        "n_slices_in_common": len(both),
        "n_slices_in_one_only": len(one.slices) + len(other.slices) - 2 * len(both),
        "pooled_auc": paired_auc(y, a, b, patient),
        "mean_auc": paired_mean(*aucs, entering),
        **compare_calls(y, a >= 0, b >= 0, patient),
        "other": scores(y, b, patient, own[1]),
        "at_own_point": {"point": point, **compare_calls(y, a >= own[0], b >= own[1], patient)},
    }
    if margin > 0:
        content["equivalent"] = {name: equivalence(content[name], margin).equivalent for name in RANKING}
    return content


def compare_calls(labels: Ints, a: Any, b: Any, patients: Ints) -> dict[str, Any]:
    """Compare sensitivity and specificity of two models' calls."""
    sick = labels == 1
    return {
        "sensitivity": paired_proportion(a[sick], b[sick], patients[sick]),
        "specificity": paired_proportion(~a[~sick], ~b[~sick], patients[~sick]),
    }
