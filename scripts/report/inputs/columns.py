"""Tables and their columns; every row is indexed by where it stands, e.g. ``labels.csv, line 6``, for messages."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from ... import tables
from ...errors import InputError

KEY = ["series_uid", "sop_uid", "frame"]
UNKNOWN = ("", "nan", "na", "none", "unknown")  # in small letters
CATEGORIES = ("site", "region", "sex", "maker", "manufacturer", "model")  # whose codes may look like numbers
# what can be measured on a living patient; body weight and height come in several units
BOUNDS = {"age": (0.0, 120.0), "mjoa": (0.0, 18.0), "weight": (0.0, np.inf), "height": (0.0, np.inf)}
DECIMAL_COMMA = r"[-+]?\d+,\d+"


def read_table(path: Path, required: list[str]) -> pd.DataFrame:
    """Read a CSV as text; an empty cell is ``""``, columns without name and content are left out.

    Returns:
        One row per line, indexed by file and line.

    Raises:
        InputError: the file is missing, unreadable, empty, cut off or lacks a column.
    """
    header, lines = tables.read_cells(path, required)
    if not lines:
        raise InputError(f"{path} holds no rows below its header")
    return pd.DataFrame(list(lines.values()), index=list(lines), columns=header, dtype=str)


def numbers(column: pd.Series) -> pd.Series:
    """Read numbers; what is none, or infinite, becomes NaN."""
    return pd.to_numeric(column, errors="coerce").replace([np.inf, -np.inf], np.nan)


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


def line(where: str) -> str:
    """Return the line of a row without its file: readers of a report need not know the folder."""
    return where.rpartition(", ")[2]


def clean(table: pd.DataFrame, file: str) -> tuple[pd.DataFrame, list[str]]:
    """Empty the cells that cannot be the number their column is of; gives the table and what was wrong with it.

    Args:
        table: with an index that names each row for the reader, each once.
        file: its name, for the same reason.
    """
    problems = []
    for column in table.columns.difference([*KEY, "patient_id", *CATEGORIES]):
        text = table[column].astype(str).str.strip()
        value, known = numbers(text), ~text.str.lower().isin(UNKNOWN)
        comma = text.str.fullmatch(DECIMAL_COMMA)
        if column in BOUNDS:
            low, high = BOUNDS[column]
            wrong = known & ~value.between(low, high)
            meant = f"from {low:g} to {high:g}" if np.isfinite(high) else f"from {low:g} up"
        else:  # a category such as "5,6" stays: only where all others are numbers, a comma is taken for a decimal one
            wrong, meant = comma & bool((comma | value.notna() | ~known).all()), "with a decimal point"
        if not wrong.any():
            continue
        first = table.index[wrong][0]
        hint = " (write a decimal point)" if comma[first] and column in BOUNDS else ""
        problems.append(
            f"{column} in {file} must be a number {meant}: {int(wrong.sum())} of {len(table)} values are not and count "
            f"as unknown, first {text[first]!r} of {first}{hint}"
        )
        table = table.assign(**{column: table[column].where(~wrong, "")})
    return table, problems


def digest(*paths: Path) -> str:
    """Hash files, one after the other."""
    found = hashlib.sha256()
    for path in paths:
        found.update(path.read_bytes())
    return found.hexdigest()


def keyed(slices: pd.DataFrame, table: pd.DataFrame, where: str) -> tuple[list[str], pd.DataFrame]:
    """Return the columns that tell slices apart, and a table in which they compare with those of the scored slices.

    Raises:
        InputError: slices without sop_uid cannot be told apart.
    """
    if (slices["sop_uid"] != "").all():
        return list(KEY), table
    if "slice_index" not in table:
        raise InputError(f"{where} needs a column slice_index, because some slices have no sop_uid")
    return [*KEY, "slice_index"], table.assign(slice_index=numbers(table["slice_index"]))


def look_up(slices: pd.DataFrame, table: pd.DataFrame, column: str, where: str) -> pd.Series:
    """Return a column of a table for each scored slice, NaN where the table has no such slice.

    Args:
        slices: scored slices.
        table: with ``KEY``, and ``slice_index`` where slices have no sop_uid (NIfTI).
        column: of the table.
        where: the file, for messages.

    Raises:
        InputError: slices without sop_uid cannot be told apart.
    """
    key, table = keyed(slices, table, where)
    found = slices[key].merge(table.drop_duplicates(key)[[*key, column]], on=key, how="left")
    return found[column]
