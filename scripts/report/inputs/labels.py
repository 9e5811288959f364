"""The raters' labels beside the scored slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ...cohort.cells import line
from ...cohort.labels import EVALUABLE, Label
from .columns import keyed


def label_table(labels: Sequence[Label]) -> pd.DataFrame:
    """Return labels as a table, indexed by file and line; ``call`` is 0, 1, or NaN where there is none.

    So are ``grade`` and ``t2_signal``; ``kind`` is a word, or empty.
    """
    table = pd.DataFrame(
        {
            "patient_id": [one.patient_id for one in labels],
            "series_uid": [one.key[0] for one in labels],
            "sop_uid": [one.key[1] for one in labels],
            "frame": [one.key[2] for one in labels],
            "rater": [one.rater for one in labels],
            "reading": [one.reading for one in labels],
            "role": [one.role for one in labels],
            "status": [one.status for one in labels],
            "call": np.array([one.label for one in labels], dtype=float),
            "grade": np.array([one.grade for one in labels], dtype=float),
            "kind": [one.kind for one in labels],
            "t2_signal": np.array([one.t2_signal for one in labels], dtype=float),
        },
        index=[one.where for one in labels],
    )
    index = np.array([one.slice_index for one in labels], dtype=float)
    return table if np.isnan(index).all() else table.assign(slice_index=index)


def label_problems(table: pd.DataFrame, slices: pd.DataFrame, phantom: bool) -> list[str]:
    """Return which labels are about no scored slice, and which references are not those that scores are set against.

    Args:
        table: of `label_table`.
        slices: scored slices.
        phantom: whether the slices are set against the exact truth of a phantom, on which all raters may err.

    Raises:
        InputError: slices without sop_uid cannot be told apart.
    """
    key, table = keyed(slices, table, "labels.csv")
    truth = table[key].merge(slices[[*key, "label"]], on=key, how="left")["label"].to_numpy()
    table = table.assign(truth=truth)
    problems = []
    reader = table["role"] == "reader"
    mine = reader & (table["patient_id"].isin(slices["patient_id"]) | (table["patient_id"] == ""))
    lost = table.index[mine & table["truth"].isna()]
    if len(lost):
        problems.append(
            f"{len(lost)} of {int(mine.sum())} reader rows of labels.csv about these patients match no scored slice, "
            f"first {line(str(lost[0]))}; expected only of slices that were not tested"
        )
    made = table[~reader & (table["status"] == EVALUABLE) & table["call"].notna() & table["truth"].notna()]
    # makers who disagree with each other are settled elsewhere; it is one voice against predictions.csv that is wrong
    groups = made.groupby(key, sort=False)["call"]
    agreed = groups.transform("min") == groups.transform("max")
    one_each = made[agreed & ~made.duplicated(key)]
    other = one_each[one_each["call"] != one_each["truth"]]
    if len(other) and not phantom:
        row = other.iloc[0]
        problems.append(
            f"{len(other)} of {len(one_each)} slices have another reference label in labels.csv than in "
            f"predictions.csv, first {line(str(other.index[0]))}: {row['call']:g}, and {row['truth']:g} in "
            "predictions.csv, which counts"
        )
    return problems
