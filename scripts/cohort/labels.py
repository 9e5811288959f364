"""labels.csv and patients.csv as people hand them in: the one reader of both, for every command.

Commands that make a cohort refuse a cell that cannot be used. A report keeps what it can: it passes a list, to which
such cells are added, and takes them as unknown (see ``cells``).
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from ..records import LABEL_COLUMNS, PATIENT_COLUMNS, SliceKey
from ..tables import Row, read_table, spreadsheet_hint, whole_number
from .cells import UNKNOWN, Problem, Problems, line, number, refuse_or_note

REQUIRED = ("patient_id", "series_uid", "sop_uid", "rater", "reading", "role", "status", "label")
# what a report and recalibrate take where a table has no such column, or an empty cell in it
DEFAULTS = {"patient_id": "", "rater": "", "reading": "1"}
ROLES = ("reference", "reader")
EVALUABLE = "evaluable"
HIGHEST_GRADE = 3
MOST_SLICES = 100_000
BOUNDS = {"age": (0.0, 120.0), "weight": (1.0, 500.0), "height": (0.3, 2.6), "mjoa": (0.0, 18.0)}
CALLS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}  # the latter two are what pandas writes where a column has empty cells
ANSWERS = {
    "evaluable", "compressed", "not compressed", "uncompressed", "non compressed", "compression", "no compression",
    "positive", "negative", "true", "false", "yes", "no", "y", "n", "t", "f", "nan", "inf", "infinity",
}  # fmt: skip
ANSWER_START = re.compile(r"\s*[01]\b|\s*[-+]?[\d.,]+e[-+]?\d+\s*$", re.IGNORECASE)  # 1 (compressed), 1e0


@dataclass(frozen=True)
class Label:
    """What one rater said of one slice in one reading.

    Attributes:
        where: file and line.
        key: ``(series_uid, sop_uid, frame)``.
        slice_index: of a slice without sop_uid; None elsewhere.
        role: ``reference`` (makes the reference standard) or ``reader`` (is judged against it).
        status: ``evaluable``, or why the slice is not.
        label: 1 compressed, 0 not; None if not evaluable.
        grade: Kang-style grade 0 to 3, where given.
        kind: form of the compression in a word, where given.
        t2_signal: 1 where the cord is bright on T2, 0 where it is not, where given.
    """

    where: str
    patient_id: str
    key: SliceKey
    slice_index: int | None
    rater: str
    reading: str
    role: str
    status: str
    label: int | None
    grade: int | None
    kind: str
    t2_signal: int | None = None


@dataclass(frozen=True)
class Patient:
    """One row of patients.csv; ages in years, weights in kg, heights in m; None or empty where missing.

    Attributes:
        patient_id: of one visit, as in its images.
        person: who the patient is: the same for all visits of one person; their patient_id where nothing is known.
        pathology: diagnosis, e.g. spine-generic's HC, MildCompression, DCM.
        implants: what metal is in the neck, e.g. ``plate C5/C6``, or ``none``.
        cells: all columns of the row as text, without the numbers that cannot be used.
    """

    where: str
    patient_id: str
    person: str
    site: str
    region: str
    sex: str
    pathology: str
    implants: str
    age: float | None
    weight: float | None
    height: float | None
    mjoa: float | None
    cells: Mapping[str, str] = field(default_factory=dict, repr=False)


def read_labels(path: str | Path, problems: Problems | None = None) -> list[Label]:
    """Read a table of labels: one row per rater, reading and slice.

    Args:
        path: the table.
        problems: where to add cells that cannot be used, instead of refusing them; the columns of ``DEFAULTS`` are then
            optional, slices of volumes have no sop_uid, and a row that says the same twice counts once.

    Raises:
        InputError: an unreadable table; a label other than 0 and 1; a role that makes no sense; a slice that one rater
            labelled twice in one reading. Without ``problems`` also: a status that makes no sense; a rater in two
            roles; a series of two patients.
    """
    required = REQUIRED if problems is None else tuple(name for name in REQUIRED if name not in DEFAULTS)
    labels = []
    seen: dict[tuple[object, ...], Label] = {}
    roles: dict[str, Label] = {}
    owners: dict[str, Label] = {}
    for row in read_table(path, required, LABEL_COLUMNS):
        one = label_of(row, problems)
        again = (one.key, one.slice_index, one.rater, one.reading, one.role if problems is not None else "")
        first = seen.setdefault(again, one) if one.key[1] or one.slice_index is not None else one
        if first is not one:
            if problems is not None and (first.status, first.label) == (one.status, one.label):
                continue
            raise InputError(
                f"{one.where}: rater {one.rater} has already labelled this slice in reading {one.reading} "
                f"({first.where}); delete one of the two rows, or give the second reading another name"
            )
        known = roles.setdefault(one.rater, one)
        if known.role != one.role and problems is None:
            raise InputError(
                f"{one.where}: rater {one.rater} is {one.role} here and {known.role} in {known.where}; nobody may be "
                "judged against a reference of their own making"
            )
        owner = owners.setdefault(one.key[0], one)
        if owner.patient_id != one.patient_id:
            rule = f"series {one.key[0]} belongs to patient {one.patient_id} here and to {owner.patient_id}"
            if problems is None:
                raise InputError(f"{one.where}: {rule} in {owner.where}")
            name = f"patient_id in {Path(path).name} must be the same in all rows of a series"
            problems.append(Problem(name, line(one.where), one.patient_id))
        labels.append(one)
    return labels


def label_of(row: Row, problems: Problems | None = None) -> Label:
    """Check one row."""
    names = {column: row[column] or ("" if problems is None else DEFAULTS[column]) for column in DEFAULTS}
    for column, name in names.items():
        if not name and problems is None:
            raise InputError(f"{row.where}: {column} is empty")
    role, status, text = row["role"], row["status"], row["label"]
    if role not in ROLES:
        raise InputError(f"{row.where}: role must be {' or '.join(ROLES)}, got {role!r}")
    label = CALLS.get(text)
    refused = label is None and text.lower() not in UNKNOWN
    if refused or (problems is None and status == EVALUABLE and label is None):
        raise InputError(f"{row.where}: label must be 0 or 1, got {text!r}{spreadsheet_hint(text)}")
    if status != EVALUABLE and not is_reason(status):
        hint = "; it is empty" if not status else ""
        refuse_or_note(row, "status", f"must be {EVALUABLE!r}, or words why the slice is not", problems, hint)
    if status == EVALUABLE and label is None:
        refuse_or_note(row, "label", "must be 0 or 1 where the slice is evaluable", problems)
    if status != EVALUABLE and label is not None:
        refuse_or_note(row, "label", f"must be left empty where the slice is {status!r}; leave it empty", problems)
        label = None
    grade = whole(row, "grade", HIGHEST_GRADE, "0, 1, 2 or 3", problems)
    index = None if row["sop_uid"] else number(row, "slice_index", (0, MOST_SLICES), problems)
    return Label(
        where=row.where,
        **names,
        key=key_of(row, problems),
        slice_index=None if index is None else int(index),
        role=role,
        status=status,
        label=label,
        grade=grade,
        kind=row["kind"],
        t2_signal=whole(row, "t2_signal", 1, "0 or 1", problems),
    )


def whole(row: Row, column: str, highest: int, expected: str, problems: Problems | None) -> int | None:
    """Return the whole number from 0 in a cell, None where it is empty or cannot be used."""
    value = number(row, column, (0, highest), problems)
    if value is not None and value != int(value):
        refuse_or_note(row, column, f"must be {expected}", problems)
        return None
    return None if value is None else int(value)


def key_of(row: Row, problems: Problems | None) -> SliceKey:
    """Return what identifies the slice of a row.

    Raises:
        InputError: a UID is none, or the frame is no number; with ``problems`` it is noted, and fits no image.
    """
    if problems is None:
        return row.key()
    if row["sop_uid"]:  # slices of volumes have none, and their series_uid is no UID
        try:
            return row.key()
        except InputError:
            refuse_or_note(row, "sop_uid", "must be a UID (digits and dots), like series_uid", problems)
    return row["series_uid"], row["sop_uid"], row["frame"]


def is_reason(text: str) -> bool:
    """Return whether a text can be words why a slice is not evaluable, and not a label or a yes written otherwise."""
    words = " ".join(text.lower().replace("_", " ").replace("-", " ").split())
    return any(letter.isalpha() for letter in text) and words not in ANSWERS and not ANSWER_START.match(text)


def read_patients(path: str | Path, problems: Problems | None = None) -> dict[str, Patient]:
    """Read a table of patients, one row each.

    Args:
        path: the table.
        problems: where to add numbers that cannot be used, instead of refusing them; column site is then optional.

    Raises:
        InputError: an unreadable table, or a patient twice. Without ``problems`` also: no site, or a number out of
            range.
    """
    patients: dict[str, Patient] = {}
    needed = ("patient_id", "site") if problems is None else ("patient_id",)
    for row in read_table(path, needed, PATIENT_COLUMNS):
        name = row["patient_id"]
        empty = next((column for column in needed if not row[column]), None)
        if empty:
            raise InputError(f"{row.where}: {empty} is empty")
        if name in patients:
            raise InputError(f"{row.where}: patient {name} is there already ({patients[name].where})")
        own: Problems | None = None if problems is None else []
        found = {column: number(row, column, bounds, own) for column, bounds in BOUNDS.items()}
        if problems is not None and own:
            problems += [Problem(one.rule, f"patient {name}", one.value, one.hint) for one in own]
        unusable = {column: "" for column, value in found.items() if value is None and column in row.cells}
        patients[name] = Patient(
            where=row.where,
            patient_id=name,
            person=name if row["person"].lower() in UNKNOWN else row["person"],
            site=row["site"],
            region=row["region"],
            sex=row["sex"],
            pathology=row["pathology"],
            implants=row["implants"],
            **found,
            cells=row.cells | unusable,
        )
    return patients


def by_slice(labels: Iterable[Label], role: str) -> dict[SliceKey, list[Label]]:
    """Gather each slice's labels of one role, from each rater's first reading alone, in the order of raters.

    Second readings measure how well raters agree with themselves; they do not count twice.
    """
    first_reading: dict[tuple[SliceKey, str], Label] = {}
    for one in labels:
        if one.role == role:
            known = first_reading.setdefault((one.key, one.rater), one)
            if natural(one.reading) < natural(known.reading):
                first_reading[one.key, one.rater] = one
    slices: dict[SliceKey, list[Label]] = defaultdict(list)
    for key, rater in sorted(first_reading):
        slices[key].append(first_reading[key, rater])
    return dict(slices)


def natural(name: str) -> tuple[float, str]:
    """Order readings 1, 2, 10 as numbers and others by name after them."""
    number = whole_number(name)
    return (math.inf, name) if number is None else (number, "")


def agreed(labels: Iterable[Label]) -> bool:
    """Return whether all labels of one slice say the same, evaluable or not included."""
    return len({(one.status == EVALUABLE, one.label) for one in labels}) == 1
