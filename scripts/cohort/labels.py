"""Raters' labels and the patients they are about, as people hand them in."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..records import SliceKey
from ..tables import Row, read_table, spreadsheet_hint

REQUIRED = ("patient_id", "series_uid", "sop_uid", "rater", "reading", "role", "status", "label")
OPTIONAL = ("frame", "grade", "kind")
PATIENT_COLUMNS = ("region", "age", "sex", "weight", "height", "mjoa")
ROLES = ("reference", "reader")
EVALUABLE = "evaluable"
HIGHEST_GRADE = 3
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
        role: ``reference`` (makes the reference standard) or ``reader`` (is judged against it).
        status: ``evaluable``, or why the slice is not.
        label: 1 compressed, 0 not; None if not evaluable.
        grade: Kang-style grade 0 to 3, where given.
    """

    where: str
    patient_id: str
    key: SliceKey
    rater: str
    reading: str
    role: str
    status: str
    label: int | None
    grade: int | None
    kind: str


@dataclass(frozen=True)
class Patient:
    """One row of patients.csv; ages in years, weights in kg, heights in m; None or empty where missing."""

    where: str
    patient_id: str
    site: str
    region: str
    sex: str
    age: float | None
    weight: float | None
    height: float | None
    mjoa: float | None


def read_labels(path: str | Path) -> list[Label]:
    """Read a table of labels: one row per rater, reading and slice.

    Raises:
        InputError: an unreadable table; a label other than 0 and 1; a role or status that makes no sense; a slice that
            one rater labelled twice in one reading; a rater in two roles; a series of two patients.
    """
    labels = [label_of(row) for row in read_table(path, REQUIRED, OPTIONAL)]
    seen: dict[tuple[SliceKey, str, str], Label] = {}
    roles: dict[str, Label] = {}
    patients: dict[str, Label] = {}
    for one in labels:
        first = seen.setdefault((one.key, one.rater, one.reading), one)
        if first is not one:
            raise InputError(
                f"{one.where}: rater {one.rater} has already labelled this slice in reading {one.reading} "
                f"({first.where}); delete one of the two rows, or give the second reading another name"
            )
        known = roles.setdefault(one.rater, one)
        if known.role != one.role:
            raise InputError(
                f"{one.where}: rater {one.rater} is {one.role} here and {known.role} in {known.where}; nobody may be "
                "judged against a reference of their own making"
            )
        owner = patients.setdefault(one.key[0], one)
        if owner.patient_id != one.patient_id:
            raise InputError(
                f"{one.where}: series {one.key[0]} belongs to patient {one.patient_id} here "
                f"and to {owner.patient_id} in {owner.where}"
            )
    return labels


def label_of(row: Row) -> Label:
    """Check one row."""
    for column in ("patient_id", "rater", "reading"):
        if not row[column]:
            raise InputError(f"{row.where}: {column} is empty")
    role, status, text = row["role"], row["status"], row["label"]
    if role not in ROLES:
        raise InputError(f"{row.where}: role must be {' or '.join(ROLES)}, got {role!r}")
    if not status:
        raise InputError(f"{row.where}: status is empty; write {EVALUABLE!r}, or why the slice is not")
    if status != EVALUABLE and not is_reason(status):
        raise InputError(f"{row.where}: status must be {EVALUABLE!r}, or words why the slice is not, got {status!r}")
    if status == EVALUABLE and text not in ("0", "1"):
        raise InputError(f"{row.where}: label must be 0 or 1, got {text!r}{spreadsheet_hint(text)}")
    if status != EVALUABLE and text:
        raise InputError(f"{row.where}: the slice is {status!r} but has label {text!r}; leave it empty")
    grade = row.number("grade", 0, HIGHEST_GRADE)
    if grade is not None and grade != int(grade):
        raise InputError(f"{row.where}: grade must be 0, 1, 2 or 3, got {row['grade']!r}")
    return Label(
        where=row.where,
        patient_id=row["patient_id"],
        key=row.key(),
        rater=row["rater"],
        reading=row["reading"],
        role=role,
        status=status,
        label=int(text) if text else None,
        grade=None if grade is None else int(grade),
        kind=row["kind"],
    )


def is_reason(text: str) -> bool:
    """Return whether a text can be words why a slice is not evaluable, and not a label or a yes written otherwise."""
    words = " ".join(text.lower().replace("_", " ").replace("-", " ").split())
    return any(letter.isalpha() for letter in text) and words not in ANSWERS and not ANSWER_START.match(text)


def read_patients(path: str | Path) -> dict[str, Patient]:
    """Read a table of patients, one row each.

    Raises:
        InputError: an unreadable table, a patient twice, no site, or a number out of range.
    """
    patients: dict[str, Patient] = {}
    for row in read_table(path, ("patient_id", "site"), PATIENT_COLUMNS):
        name = row["patient_id"]
        if not name or not row["site"]:
            raise InputError(f"{row.where}: {'site' if name else 'patient_id'} is empty")
        if name in patients:
            raise InputError(f"{row.where}: patient {name} is there already ({patients[name].where})")
        patients[name] = Patient(
            where=row.where,
            patient_id=name,
            site=row["site"],
            region=row["region"],
            sex=row["sex"],
            age=row.number("age", 0, 120),
            weight=row.number("weight", 1, 500),
            height=row.number("height", 0.3, 2.6),
            mjoa=row.number("mjoa", 0, 18),
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
    return (float(name), "") if name.isdigit() else (float("inf"), name)


def agreed(labels: Iterable[Label]) -> bool:
    """Return whether all labels of one slice say the same, evaluable or not included."""
    return len({(one.status == EVALUABLE, one.label) for one in labels}) == 1
