"""Cells of the tables that people hand in: each is used, refused, or noted and taken as unknown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..tables import Row

UNITS = {"age": " years", "weight": " kg", "height": " m"}
UNKNOWN = ("", "nan", "na", "none", "unknown")  # in small letters


@dataclass(frozen=True)
class Problem:
    """A cell that cannot be used and counts as unknown.

    Attributes:
        rule: what the column must hold.
        place: line of the table, or patient.
        value: of the cell.
        hint: how to mend it, or empty.
    """

    rule: str
    place: str
    value: str
    hint: str = ""


Problems = list[Problem]


def number(row: Row, column: str, bounds: tuple[float, float], problems: Problems | None) -> float | None:
    """Return a number of a row; None where it is unknown.

    Raises:
        InputError: it is none or out of bounds, and there are no ``problems`` to add it to.
    """
    if row[column].lower() in UNKNOWN:
        return None
    try:
        return row.number(column, *bounds)
    except InputError:
        if problems is None:
            raise
        low, high = bounds
        hint = " (write a decimal point)" if "," in row[column] else ""
        refuse_or_note(row, column, f"must be a number from {low:g} to {high:g}{UNITS.get(column, '')}", problems, hint)
        return None


def refuse_or_note(row: Row, column: str, rule: str, problems: Problems | None, hint: str = "") -> None:
    """Refuse a cell, or note it where a table is read as far as it goes."""
    if problems is None:
        raise InputError(f"{row.where}: {column} {rule}, got {row[column]!r}{hint}")
    table, place = Path(row.where.rpartition(", ")[0]).name, line(row.where)
    problems.append(Problem(f"{column} in {table} {rule}", place, row[column], hint))


def line(where: str) -> str:
    """Return the line of a row without its file: readers of a report need not know the folder."""
    return where.rpartition(", ")[2]


def sentences(problems: Iterable[Problem], n: int) -> list[str]:
    """Sum up problems, one sentence for each rule.

    Args:
        problems: of one table.
        n: rows of it.
    """
    by_rule: dict[str, Problems] = defaultdict(list)
    for one in problems:
        by_rule[one.rule].append(one)
    return [
        f"{rule}: {len(found)} of {n} values are not and count as unknown, first {found[0].value!r} of "
        f"{found[0].place}{found[0].hint}"
        for rule, found in by_rule.items()
    ]
