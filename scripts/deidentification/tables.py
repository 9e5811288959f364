"""Labels and patients under their new names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..cohort.cells import UNKNOWN
from ..errors import InputError
from ..files import write_csv
from ..records import LABEL_COLUMNS, PATIENT_COLUMNS
from ..tables import UID, Row, read_table, spreadsheet_hint
from .identifiers import SHORTEST_PIECE, Identifiers, add_pieces
from .linkage import Linkage

COLUMNS = {*LABEL_COLUMNS, *PATIENT_COLUMNS, "source"}  # the last is of what `consensus` writes
UIDS = ("series_uid", "sop_uid")
RENAMED = ("patient_id", "person")
DATE = re.compile(
    r"(?<!\d)(\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{4}|\d{1,2}[./]\d{1,2}[./]\d{2}"
    r"|(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01]))(?!\d)"
)
SHOWN, LINES = 20, 5
ABSENT = "is not among the images; remove the row or add the images"


@dataclass(frozen=True)
class Images:
    """The identifiers that tables may name.

    Attributes:
        patients: PatientID of every image found, and of earlier runs.
        uids: UIDs of every series and image found, and of earlier runs.
        originals: what must not stand in other cells.
    """

    patients: set[str] = field(default_factory=set)
    uids: set[str] = field(default_factory=set)
    originals: Identifiers = field(default_factory=Identifiers)


def read_all(tables: str) -> dict[str, list[Row]]:
    """Read the tables to rename, by file name.

    Args:
        tables: paths with commas between them.

    Raises:
        InputError: tables that cannot be read, columns that are not known, or two tables of one name; all at once.
    """
    found: dict[str, list[Row]] = {}
    problems: list[str] = []
    for path in filter(None, re.split(r"\s*,\s*", tables.strip())):
        try:
            rows = read_table(path, ("patient_id",))
        except InputError as error:
            problems.append(str(error))
            continue
        unknown = sorted(set(rows[0].cells) - COLUMNS)
        if unknown:
            problems.append(
                f"{path}, line 1: column {', '.join(unknown)} might identify someone and is not known here; remove it "
                f"(known: {', '.join(sorted(COLUMNS))})"
            )
        if Path(path).name in found:
            problems.append(f"two tables are called {Path(path).name}; rename one")
        found[Path(path).name] = rows
    refuse(problems)
    return found


def check_against(tables: Mapping[str, list[Row]], images: Images) -> None:
    """Check tables against what the images hold.

    Raises:
        InputError: all that is wrong with the tables, with file, line and column. No cell is quoted.
    """
    for name in {row[column] for rows in tables.values() for row in rows for column in RENAMED}:
        add_pieces(images.originals, name, "PatientID", SHORTEST_PIECE, set())
    refuse([problem for rows in tables.values() for problem in problems_of(rows, images)])


def refuse(problems: list[str]) -> None:
    """Refuse tables with all that is wrong with them, if anything is."""
    if problems:
        more = f"\n  and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        listed = problems[0] if len(problems) == 1 else "".join(f"\n  {one}" for one in problems[:SHOWN]) + more
        raise InputError(f"the tables cannot be copied: {listed}")


def problems_of(rows: list[Row], known: Images) -> list[str]:
    """List what is wrong with a table, each problem once with its lines."""
    found: dict[str, list[str]] = {}
    about_images = any(column in rows[0].cells for column in UIDS)
    checked: dict[tuple[str, str], str] = {}
    for row in rows:
        patient = row["patient_id"]
        line = row.where.rpartition(" ")[2]
        if not patient:
            found.setdefault("patient_id is empty", []).append(line)
        elif about_images and patient not in known.patients:
            text = f"patient_id {ABSENT}{spreadsheet_hint(patient)}"
            found.setdefault(text, []).append(line)
        for column, cell in row.cells.items():
            if not cell or column in RENAMED or column not in COLUMNS:
                continue
            if (column, cell) not in checked:
                checked[column, cell] = uid_problem(cell, known) if column in UIDS else cell_problem(cell, known)
            if checked[column, cell]:
                found.setdefault(f"{column} {checked[column, cell]}", []).append(line)
    path = rows[0].where.rpartition(", ")[0]
    problems = [f"{path}, {line_numbers(lines)}: {text}" for text, lines in found.items()]
    if not about_images and not any(row["patient_id"] in known.patients for row in rows):
        problems.append(f"{path}: none of its {len(rows)} patients is among the images")
    return problems


def line_numbers(lines: list[str]) -> str:
    """Name lines, the first of many."""
    more = f" and {len(lines) - LINES} more" if len(lines) > LINES else ""
    return f"line{'s' * (len(lines) > 1)} {', '.join(lines[:LINES])}{more}"


def uid_problem(cell: str, known: Images) -> str:
    """Return what is wrong with a UID."""
    if len(cell) > 64 or not UID.fullmatch(cell):
        return f"is no UID (digits and dots){spreadsheet_hint(cell)}"
    return "" if cell in known.uids else ABSENT


def cell_problem(cell: str, known: Images) -> str:
    """Return what in another cell identifies someone."""
    origins = known.originals.in_text(cell)
    if origins:
        return f"holds something of {', '.join(origins)} of an image; write a code instead, such as A or site-1"
    return "holds a date; remove it" if DATE.search(cell) else ""


def write_renamed(rows: list[Row], path: Path, linkage: Linkage, patients: set[str], refused: set[str]) -> int:
    """Write a table with pseudonyms and new UIDs; give the number of rows that were left out.

    Args:
        rows: a table that was checked.
        path: where to write it.
        linkage: knows the new names.
        patients: whose rows stay.
        refused: original UIDs of images that were not copied; their rows go.
    """
    renamed = []
    for row in rows:
        if row["patient_id"] not in patients or refused & {row[column] for column in UIDS}:
            continue
        cells = row.cells | {"patient_id": linkage.patient(row["patient_id"])}
        if row["person"].lower() not in UNKNOWN:
            cells["person"] = linkage.person(row["person"])
        cells |= {column: linkage.uid(row[column]) for column in UIDS if row[column]}
        renamed.append(cells)
    write_csv(path, list(rows[0].cells), renamed)
    return len(rows) - len(renamed)
