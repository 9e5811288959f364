"""The list of slices on which reference raters disagree, and what was ruled on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..records import SliceKey
from ..tables import Row, read_table
from .labels import Label, agreed, by_slice, is_reason

SLICE = ("patient_id", "series_uid", "sop_uid", "frame")
RULED = ("ruling", "ruled_by", "comment")


def dispute_columns(rows: Iterable[Label]) -> list[str]:
    """Return the columns of the list to settle: the slice, a column per reference rater, and the ruling.

    Raises:
        InputError: a rater is called like one of the other columns.
    """
    raters = sorted({one.rater for one in rows if one.role == "reference"})
    taken = [name for name in raters if name in (*SLICE, *RULED)]
    if taken:
        raise InputError(f"rater {taken[0]!r} has the name of a column of the list to settle; give them another code")
    return [*SLICE, *raters, *RULED]


def open_slices(rows: Iterable[Label]) -> list[list[Label]]:
    """Return the slices whose reference raters disagree, each with their labels."""
    return [group for _, group in sorted(by_slice(rows, "reference").items()) if not agreed(group)]


def dispute(group: Sequence[Label]) -> dict[str, Any]:
    """Make a row of the list to settle."""
    series_uid, sop_uid, frame = group[0].key
    row: dict[str, Any] = {
        "patient_id": group[0].patient_id,
        "series_uid": series_uid,
        "sop_uid": sop_uid,
        "frame": frame,
    }
    return row | {one.rater: one.status if one.label is None else one.label for one in group}


def refuse_to_lose_rulings(path: Path) -> None:
    """Refuse to overwrite a list that people have begun to fill in."""
    if path.exists() and any(row["ruling"] for row in read_lenient(path)):
        raise InputError(f"{path} holds rulings already; move it away or choose another --out")


def read_lenient(path: Path) -> list[Row]:
    """Read a list to settle that may hold no rows."""
    if len(path.read_bytes().splitlines()) < 2:
        return []
    return read_table(path, ("series_uid", "sop_uid", "ruling"))


def read_rulings(path: str, disputed: set[SliceKey]) -> dict[SliceKey, Row]:
    """Read the rulings, by slice; rows without one are open and left out.

    Raises:
        InputError: a ruling for a slice nobody disagrees on, two for one slice, or one that is neither a label nor a
            reason.
    """
    if not Path(path).exists():
        raise InputError(
            f"no rulings at {path}, but {len(disputed)} slices to settle; run `python -m scripts agree` first"
        )
    ruled: dict[SliceKey, Row] = {}
    for row in read_lenient(Path(path)):
        key = row.key()
        if key not in disputed:
            raise InputError(
                f"{row.where}: nobody disagrees on this slice in the labels; was the list made from others?"
            )
        if key in ruled:
            raise InputError(f"{row.where}: this slice is ruled on already in {ruled[key].where}")
        if row["ruling"]:
            if row["ruling"] not in ("0", "1") and not is_reason(row["ruling"]):
                raise InputError(
                    f"{row.where}: ruling must be 1 (compressed), 0 (not compressed), or words why the slice is not "
                    f"evaluable, such as motion; got {row['ruling']!r}"
                )
            ruled[key] = row
    return ruled
