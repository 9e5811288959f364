"""slices.csv, what is known of each slice beside its label: where it lies, how thick it is, who made the scanner."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from .datalists import Key, key
from .dicom import Stack
from .errors import InputError
from .files import write_csv

COLUMNS = (
    "patient_id", "series_uid", "sop_uid", "frame", "slice_index", "position_mm", "thickness_mm", "manufacturer",
    "model", "field_t",
)  # fmt: skip


def rows_of(stacks: Iterable[Stack], wanted: Collection[Key]) -> list[dict[str, Any]]:
    """Give the rows of the slices in ``wanted``; positions are along the stack's normal, in mm."""
    return [
        {
            "patient_id": stack.patient_id,
            "series_uid": stack.series_uid,
            "sop_uid": one.sop_uid,
            "frame": one.frame,
            "slice_index": number,
            "position_mm": round(one.position_mm, 3),
            "thickness_mm": stack.thickness_mm,
            "manufacturer": stack.manufacturer,
            "model": stack.model,
            "field_t": stack.field_t,
        }
        for stack in stacks
        for number, one in enumerate(stack.slices)
        if (stack.series_uid, one.sop_uid, one.frame) in wanted
    ]


def write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write slices.csv; columns that somebody added, such as ``level``, stay, and so do rows of other slices.

    Raises:
        InputError: the table that is there cannot be read.
    """
    found: dict[Key, dict[str, Any]] = {}
    columns = list(COLUMNS)
    if path.is_file():
        try:
            with path.open(newline="", encoding="utf-8-sig") as stream:
                table = csv.DictReader(stream, strict=True)
                found = {key(row): dict(row) for row in table}
            if any(None in row for row in found.values()):
                raise ValueError("a line has more cells than the head")
        except (OSError, KeyError, ValueError, csv.Error) as error:
            raise InputError(
                f"{path} is no table with the columns series_uid and sop_uid ({error}); move it away, and copy "
                "the columns of your own into the new one"
            ) from error
        columns += [name for name in table.fieldnames or () if name not in COLUMNS]
    for row in rows:
        found[key(row)] = {**found.get(key(row), {}), **row}
    write_csv(path, columns, [found[one] for one in sorted(found)])
