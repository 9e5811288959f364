"""Tables and their columns; every row is indexed by where it stands, e.g. ``labels.csv, line 6``, for messages."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ... import tables
from ...cohort.cells import UNKNOWN, Problem, Problems, sentences
from ...errors import InputError

KEY = ["series_uid", "sop_uid", "frame"]
CATEGORIES = ("site", "region", "sex", "maker", "manufacturer", "model")  # whose codes may look like numbers
DECIMAL_COMMA = r"[-+]?\d+,\d+"


def read_table(path: Path, required: Sequence[str]) -> pd.DataFrame:
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


def clean(table: pd.DataFrame, file: str) -> tuple[pd.DataFrame, list[str]]:
    """Empty decimal commas in columns of numbers; returns the table and what was wrong with it.

    A category such as "5,6" stays: only where all others are numbers, a comma is taken for a decimal one.

    Args:
        table: with an index that names each row for the reader, each once.
        file: its name, for the same reason.
    """
    problems: Problems = []
    for column in table.columns.difference([*KEY, "patient_id", *CATEGORIES]):
        text = table[column].astype(str).str.strip()
        comma = text.str.fullmatch(DECIMAL_COMMA)
        if not comma.any() or not (comma | numbers(text).notna() | text.str.lower().isin(UNKNOWN)).all():
            continue
        rule = f"{column} in {file} must be a number with a decimal point"
        problems += [Problem(rule, str(place), value) for place, value in text[comma].items()]
        table = table.assign(**{column: table[column].where(~comma, "")})
    return table, sentences(problems, len(table))


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
