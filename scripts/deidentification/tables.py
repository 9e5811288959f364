"""Labels and patients under their new names."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import InputError
from ..files import write_csv
from ..labels import OPTIONAL, PATIENT_COLUMNS, REQUIRED
from ..tables import Row, read_table
from .linkage import Linkage

COLUMNS = {*REQUIRED, *OPTIONAL, "site", "source", *PATIENT_COLUMNS}
UIDS = ("series_uid", "sop_uid")


def read_all(tables: str) -> dict[str, list[Row]]:
    """Read the tables to rename, by file name.

    Args:
        tables: paths with commas between them.

    Raises:
        InputError: a table cannot be read, has no patient_id, or has columns that might identify someone.
    """
    found: dict[str, list[Row]] = {}
    for path in filter(None, re.split(r"\s*,\s*", tables.strip())):
        rows = read_table(path, ("patient_id",))
        unknown = sorted(set(rows[0].cells) - COLUMNS)
        if unknown:
            raise InputError(
                f"{path}, line 1: column {', '.join(unknown)} might identify someone and is not known here; remove it "
                f"(known: {', '.join(sorted(COLUMNS))})"
            )
        if Path(path).name in found:
            raise InputError(f"two tables are called {Path(path).name}; rename one")
        found[Path(path).name] = rows
    return found


def write_renamed(rows: list[Row], path: Path, linkage: Linkage) -> None:
    """Write a table with pseudonyms and new UIDs.

    Raises:
        InputError: a row is about a patient or image that is not among the images.
    """
    renamed = []
    for row in rows:
        cells = dict(row.cells)
        for column, kind in (("patient_id", "patient"), *((name, "uid") for name in UIDS)):
            if cells.get(column):
                new = linkage.known.get((kind, cells[column]))
                if new is None:
                    raise InputError(f"{row.where}: {column} is not among the images; remove the row or add the images")
                cells[column] = new
        renamed.append(cells)
    write_csv(path, list(rows[0].cells), renamed)
