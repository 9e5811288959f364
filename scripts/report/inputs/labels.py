"""labels.csv: what readers, and the makers of the reference, said of each slice."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ...cohort.labels import EVALUABLE, ROLES
from ...errors import InputError
from .columns import calls, keyed, line, read_table

LABEL_COLUMNS = ["series_uid", "sop_uid", "rater", "role", "status", "label"]


def read_labels(path: Path) -> pd.DataFrame:
    """Read a labels.csv; adds ``call`` (0, 1, or NaN where the label is empty), and ``frame`` and ``reading``.

    Raises:
        InputError: a label is neither 0, 1 nor empty, a role is unknown, or a rater contradicts a row of the same
            reading.
    """
    table = read_table(path, LABEL_COLUMNS)
    check_roles(table)
    table = table.assign(frame=table.get("frame", ""), reading=table.get("reading", "1"), call=calls(table))
    check_contradictions(table)
    return table


def check_roles(table: pd.DataFrame) -> None:
    """Refuse roles that would be passed over."""
    wrong = table.index[~table["role"].isin(ROLES)]
    if len(wrong):
        raise InputError(f"{wrong[0]}: role must be {' or '.join(ROLES)}, got {table['role'][wrong[0]]!r}")


def check_contradictions(table: pd.DataFrame) -> None:
    """Refuse two rows of one rater and reading that say different things of one slice."""
    table = table.assign(place=table["sop_uid"])
    if "slice_index" in table:  # tells slices apart that have no sop_uid
        table["place"] = table["sop_uid"].where(table["sop_uid"] != "", table["slice_index"])
    key = ["series_uid", "place", "frame", "rater", "reading", "role"]
    again = table[(table["place"] != "") & table.duplicated(key, keep=False)]
    said = again["status"].where(again["status"] != EVALUABLE, again["call"].astype(str))
    groups = [again[name] for name in key]
    wrong = again.index[said != said.groupby(groups).transform("first")]
    if len(wrong):
        row = again.loc[wrong[0]]
        first = again.index[(again[key] == row[key]).all(axis=1)][0]
        raise InputError(
            f"{wrong[0]}: rater {row['rater']} says something else of this slice than in {line(str(first))}, both in "
            f"reading {row['reading']} as {row['role']}; delete one of the two rows, or give the second reading "
            "another name"
        )


def label_problems(table: pd.DataFrame, slices: pd.DataFrame) -> list[str]:
    """Return which labels are about no scored slice, and which references are not those that scores are set against.

    Args:
        table: of `read_labels`.
        slices: scored slices.

    Raises:
        InputError: slices without sop_uid cannot be told apart.
    """
    key, table = keyed(slices, table, "labels.csv")
    truth = table[key].merge(slices[[*key, "label"]], on=key, how="left")["label"].to_numpy()
    table = table.assign(truth=truth)
    problems = []
    reader = table["role"] == "reader"
    mine = reader & table["patient_id"].isin(slices["patient_id"]) if "patient_id" in table else reader
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
    if len(other):
        row = other.iloc[0]
        problems.append(
            f"{len(other)} of {len(one_each)} slices have another reference label in labels.csv than in "
            f"predictions.csv, first {line(str(other.index[0]))}: {row['call']:g}, and {row['truth']:g} in "
            "predictions.csv, which counts"
        )
    return problems
