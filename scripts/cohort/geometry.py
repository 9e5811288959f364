"""geometry.csv, what is known of each slice beside its label: where it lies, how thick it is, who made the scanner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..files import write_csv
from ..records import GEOMETRY_COLUMNS, SliceGeometry, SliceKey, slice_key
from ..tables import Row, read_table

if TYPE_CHECKING:
    from ..dicom.stacks import Stack

FILE = "geometry.csv"
OLD_FILE = "slices.csv"  # its name up to version 0.2.0


def rows_of(stacks: Iterable[Stack], wanted: Collection[SliceKey]) -> list[SliceGeometry]:
    """Return the rows of the slices in ``wanted``; positions are along the stack's normal, in mm.

    The stacks of a series are numbered from 1, as in the index.
    """
    of_series: Counter[str] = Counter()
    numbered = []
    for stack in stacks:
        of_series[stack.series_uid] += 1
        numbered.append((of_series[stack.series_uid], stack))
    return [
        {
            "patient_id": stack.patient_id,
            "series_uid": stack.series_uid,
            "sop_uid": one.sop_uid,
            "frame": one.frame,
            "stack": in_series,
            "slice_index": number,
            "position_mm": round(one.position_mm, 3),
            "thickness_mm": stack.thickness_mm,
            "manufacturer": stack.manufacturer,
            "model": stack.model,
            "field_t": stack.field_t,
            "nominal_spacing_mm": stack.nominal_spacing_mm,
        }
        for in_series, stack in numbered
        for number, one in enumerate(stack.slices)
        if (stack.series_uid, one.sop_uid, one.frame) in wanted
    ]


def existing_table(folder: Path) -> Path | None:
    """Return the geometry.csv of a folder, or the slices.csv that stands for it in a cohort of version 0.2.0."""
    return next((path for path in (folder / FILE, folder / OLD_FILE) if path.is_file()), None)


def read(folder: Path) -> dict[SliceKey, Row]:
    """Read the geometry of a folder, by slice; nothing where there is none yet.

    Raises:
        InputError: the table cannot be read, a UID in it is none (a spreadsheet makes numbers of them), or a slice is
            there twice.
    """
    path = existing_table(folder)
    found: dict[SliceKey, Row] = {}
    if path is None:
        return found
    try:
        for row in read_table(path, ("series_uid", "sop_uid"), GEOMETRY_COLUMNS):
            first = found.setdefault(row.key(), row)
            if first is not row:
                raise InputError(f"{row.where}: this slice is there already ({first.where}); delete one of the rows")
    except InputError as error:
        raise InputError(
            f"{error}\n{path} is there already, and what was added to it would be kept: correct it, or move it away"
        ) from error
    return found


def write(folder: Path, rows: Iterable[SliceGeometry]) -> None:
    """Write geometry.csv; columns that somebody added, such as ``level``, stay, and so do rows of other slices.

    Raises:
        InputError: the table that is there cannot be read, see `read`.
    """
    found: dict[SliceKey, Mapping[str, Any]] = {one: row.cells for one, row in read(folder).items()}
    columns = list(dict.fromkeys([*GEOMETRY_COLUMNS, *(name for cells in found.values() for name in cells)]))
    for row in rows:
        found[slice_key(row)] = {**found.get(slice_key(row), {}), **row}
    write_csv(folder / FILE, columns, [found[one] for one in sorted(found)])
