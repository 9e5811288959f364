"""Tables that people open in spreadsheets: read strictly, with the line of whatever is wrong; no cell is a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import InputError

UID = re.compile(r"[0-9]+(\.[0-9]+)+")
EXCEL_DATE = re.compile(
    r"\d{1,2}[-/ .]\d{1,2}[-/ .]\d{2,4}( .*)?|\d{4}-\d{2}-\d{2}( .*)?"  # 01.02.2024, 2024-02-01 00:00:00
    r"|\d{1,2}[-. /]+[A-Za-z]{3,4}\.?|[A-Za-z]{3}[- ]\d{2}"  # 01-Feb, Feb-01
)
EXCEL_NUMBER = re.compile(r"\d[.,]?\d*E\+?\d+", re.IGNORECASE)
SAVE = "save the table as 'CSV UTF-8 (comma delimited)'"
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
# a spreadsheet takes what begins so for a formula; where lists are separated by semicolons, also after one of them
CELL_START = r"(?:^|(?<=[;\t\r\n]))"
FORMULA_START = r"(?:['\s]*[=+\-@\uff1d\uff0b\uff0d\uff20]|'*[\t\r\n])"
FORMULA = re.compile(f"{CELL_START}(?={FORMULA_START})")
GUARDED = re.compile(f"{CELL_START}'(?={FORMULA_START})")


@dataclass(frozen=True)
class Row:
    """One line of a table; ``where`` names file and line for messages."""

    where: str
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        """Return a cell, empty where the table lacks the column."""
        return self.cells.get(column, "")

    def uid(self, column: str) -> str:
        """Return a DICOM UID.

        Raises:
            InputError: the cell holds none, perhaps because a spreadsheet turned it into a number.
        """
        value = self[column]
        if len(value) > 64 or not UID.fullmatch(value):
            raise InputError(f"{self.where}: {column} {value!r} is no UID (digits and dots){spreadsheet_hint(value)}")
        return value

    def key(self) -> tuple[str, str, str]:
        """Return what identifies a slice: ``(series_uid, sop_uid, frame)``.

        Raises:
            InputError: a UID is none, or the frame is no number.
        """
        frame = self["frame"]
        if frame and not whole_number(frame):
            raise InputError(f"{self.where}: frame must be empty or a number from 1, got {frame[:64]!r}")
        return self.uid("series_uid"), self.uid("sop_uid"), frame

    def number(self, column: str, low: float, high: float) -> float | None:
        """Return a number between two bounds, None where the cell is empty.

        Raises:
            InputError: the cell holds something else.
        """
        value = self[column]
        if not value:
            return None
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not low <= number <= high:
            hint = spreadsheet_hint(value) or ("; use a decimal point" if "," in value else "")
            raise InputError(f"{self.where}: {column} must be a number from {low:g} to {high:g}, got {value!r}{hint}")
        return number


def whole_number(text: str) -> int | None:
    """Return the whole number that a text of up to 19 digits 0 to 9 is; None where it is something else."""
    return int(text) if re.fullmatch(r"[0-9]{1,19}", text) else None


def guard(cell: Any) -> Any:
    """Return a cell that no spreadsheet computes: an apostrophe stands before text that looks like a formula.

    Text from headers and from people's tables, such as ``=HYPERLINK(...)``, else runs where a table is opened. Numbers
    stay as they are, and `unguard` returns exactly the text that went in.

    Source: OWASP, "CSV Injection", https://owasp.org/www-community/attacks/CSV_Injection.
    """
    return FORMULA.sub("'", cell) if isinstance(cell, str) and not NUMBER.fullmatch(cell) else cell


def unguard(cell: str) -> str:
    """Return the text that `guard` was given."""
    return GUARDED.sub("", cell)


def spreadsheet_hint(value: str) -> str:
    """Return a hint where a cell looks like what a spreadsheet makes of an identifier; empty elsewhere."""
    if EXCEL_DATE.fullmatch(value):
        return "; a spreadsheet turned it into a date: format the column as Text, enter it again and save as CSV"
    if EXCEL_NUMBER.fullmatch(value):
        return "; a spreadsheet turned it into a number: format the column as Text, enter it again and save as CSV"
    return ""


def read_table(path: str | Path, required: Sequence[str], optional: Sequence[str] = ()) -> list[Row]:
    """Read a CSV with a header line; unknown columns are allowed and kept, those without name or content are not.

    Args:
        path: UTF-8, separated by commas.
        required: columns that must be there.
        optional: columns that may be there; a near miss such as ``Grade`` is an error and not ignored.

    Raises:
        InputError: as `read_cells`, or there is no row below the header.
    """
    header, lines = read_cells(path, required, optional)
    if not lines:
        raise InputError(f"{path} holds no rows below its header")
    return [Row(where, dict(zip(header, cells, strict=True))) for where, cells in lines.items()]


def read_cells(
    path: str | Path, required: Sequence[str], optional: Sequence[str] = ()
) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """Return the header, and the cells of every line below it that is not empty by "file, line number".

    Every line has as many cells as the header. Columns without name and content, which spreadsheets add, are left out.

    Raises:
        InputError: missing, empty, not UTF-8, not separated by commas, a missing column, a line with too few or too
            many cells, or a cell in a column without name.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}; expected a CSV with {', '.join(required)}"
        ) from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, line {line} is not UTF-8 (probably Latin-1); {SAVE}") from error
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows = {}
    try:
        header = [unguard(name.strip()).strip() for name in next(lines, [])]
        check_header(path, header, required, optional)
        named = [number for number, name in enumerate(header) if name]
        nameless = [number for number, name in enumerate(header) if not name]
        for row in lines:
            cells = tuple(unguard(cell.strip()).strip() for cell in row)
            if not any(cells):
                continue
            where = f"{path}, line {lines.line_num}"
            if len(cells) != len(header):
                hint = "was the file cut off?" if len(cells) < len(header) else "a cell with a comma needs quotes"
                raise InputError(f"{where} has {len(cells)} cells where the header has {len(header)}; {hint}")
            surplus = next((number for number in nameless if cells[number]), None)
            if surplus is not None:
                raise InputError(
                    f"{where}: cell {surplus + 1} holds {cells[surplus]!r}, but column {surplus + 1} has no name in "
                    "line 1; name the column or empty the cell"
                )
            rows[where] = tuple(cells[number] for number in named) if nameless else cells
    except csv.Error as error:
        raise InputError(f"{path}, line {lines.line_num} is no valid CSV: {error}") from error
    return [header[number] for number in named], rows


def check_header(path: Path, header: Sequence[str], required: Sequence[str], optional: Sequence[str]) -> None:
    """Refuse a header that lacks or misspells columns."""
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        mark = "semicolons" if ";" in header[0] else "tabs"
        raise InputError(f"{path}, line 1: cells are separated by {mark}; {SAVE}")
    missing = [column for column in required if column not in header]
    if missing:
        found = ", ".join(filter(None, header)) or "empty"
        raise InputError(f"{path}, line 1: no column {', '.join(missing)}; the header is {found}")
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise InputError(f"{path}, line 1: column {', '.join(twice)} is there twice; delete or rename one of them")
    known = {name.lower(): name for name in (*required, *optional)}
    for name in header:
        meant = known.get(name.lower().replace(" ", "_"))
        if meant and name != meant:
            raise InputError(f"{path}, line 1: column {name!r} should be spelt {meant!r}")
