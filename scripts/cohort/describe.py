"""The paper's Table 1: who the patients of two cohorts are, and whether the cohorts differ."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import datalists, records
from ..console import markdown, progress, say
from ..errors import InputError
from ..files import check_output, read_json, write_csv, write_text
from .labels import Patient, read_patients
from .leaks import first_file

if TYPE_CHECKING:
    from ..dicom.frames import Facts
    from ..evaluation.groups import GroupTest

COLUMNS = (
    "variable", "level", "first", "second", "n_first", "n_second", "missing_first", "missing_second", "test",
    "statistic", "p", "note",
)  # fmt: skip


class Member(NamedTuple):
    """One patient of a cohort: who, what the scanner says of each of their series, and their slices' labels."""

    patient: Patient
    scans: list[Facts]
    labels: list[int]


def describe(
    datalist: str,
    patients: str,
    out: str = "table1.csv",
    first: str = "training,validation",
    second: str = "testing",
    other: str = "",
    other_patients: str = "",
    equal_variances: bool = False,
) -> int:
    """Describe two cohorts side by side: age, sex, mJOA, region, scanner, voxels, thickness, each with a test.

    Pathology and implants are described too where the patients' table has them.

    Writes OUT (CSV) and the same as Markdown beside it. The patient is the unit: means with standard deviation are
    compared by Welch's t-test, shares by χ² or Fisher's exact test. Missing values are counted, never filled in. The
    p values are not corrected for their number. Slices and their labels are counted without a test.

    Args:
        datalist: what `python -m scripts split` wrote.
        patients: CSV with patient_id, site, region, age, sex, weight (kg), height (m), mjoa, pathology, implants.
        out: the table to write, as CSV; the Markdown beside it has the same name with .md.
        first: sections that make the first cohort.
        second: sections that make the second.
        other: another datalist for the second cohort, e.g. of an external hospital.
        other_patients: the table of its patients.
        equal_variances: take Student's t-test, as the paper may have done.
    """
    if bool(other) != bool(other_patients):
        raise InputError("--other needs --other_patients, and the other way round")
    inputs = [one for one in (datalist, patients, other, other_patients) if one]
    path = check_output(out, inputs)
    path = check_output(path.with_suffix(".csv") if path.suffix.lower() == ".md" else path, inputs)
    beside = check_output(path.with_suffix(".md"), inputs)
    cohorts = [
        cohort(datalist, patients, first, "--first"),
        cohort(other or datalist, other_patients or patients, second, "--second"),
    ]
    members = [one for one, _ in cohorts]
    both = sorted(set(members[0]) & set(members[1]))
    if both:
        raise InputError(f"{len(both)} patients are in both cohorts, first {both[0]}; the two must not overlap")
    for own, series in cohorts:
        read_scans(own, series)
    table = table_rows(list(members[0].values()), list(members[1].values()), equal_variances)
    write_csv(path, COLUMNS, table)
    text = as_markdown(table, [f"{first} ({len(members[0])} patients)", f"{second} ({len(members[1])} patients)"])
    write_text(beside, text)
    say(text)
    say(f"wrote {path} and {beside}")
    return 0


Series = dict[tuple[str, str], str]
"""One image of each patient_id and series_uid."""


def cohort(datalist: str, patients: str, sections: str, option: str) -> tuple[dict[str, Member], Series]:
    """Gather the patients of some sections, and one image of each of their series."""
    people = read_patients(patients)
    names = nonempty_sections(
        list(dict.fromkeys(name.strip() for name in sections.split(",") if name.strip())), datalist, option
    )
    entries = [one for name in names for one in datalists.load(datalist, name)]
    members: dict[str, Member] = {}
    series: Series = {}
    for one in entries:
        name = str(one["patient_id"])
        if name not in people:
            raise InputError(f"patient {name} of {datalist} is not in {patients}; add a row for them there")
        members.setdefault(name, Member(people[name], [], [])).labels.append(int(one["label"]))
        series.setdefault((name, str(one.get("series_uid") or one["image"])), str(one["image"]))
    return members, series


def read_scans(members: Mapping[str, Member], series: Series) -> None:
    """Add what the scanner says to the members of a cohort, from the header of one image of each series."""
    from ..dicom.elements import UnreadableError
    from ..dicom.frames import read_frames

    for (name, _), image in progress(series.items(), "reading headers", "series", total=len(series)):
        try:
            members[name].scans.append(read_frames(first_file(image))[0].facts)
        except UnreadableError:
            continue  # no DICOM: the scanner is unknown and counts as missing


def nonempty_sections(names: Sequence[str], datalist: str, option: str) -> list[str]:
    """Return those of some sections that hold slices.

    Raises:
        InputError: a section does not exist, or all are empty; says which hold patients.
    """
    if not names:
        raise InputError(f"{option} expects sections such as training,validation, got nothing")
    content = read_json(Path(datalist))
    known = {name: content.get(name) for name in records.SECTIONS} if isinstance(content, dict) else {}
    chosen = [name for name in names if known.get(name) != []]  # datalists.load judges what is no list
    if chosen:
        return chosen
    holding = [f"{name} ({datalists.count(rows)['patients']})" for name, rows in known.items() if rows]
    raise InputError(
        f"{option} {','.join(names)}: these sections of {datalist} hold no patients; {', '.join(holding) or 'none'} "
        "do. Name others with --first and --second; or, to compare development with an external cohort, give the "
        "datalist and patients of development first, and the external ones as --other and --other_patients"
    )


def mean_of(value: Callable[[Facts], float | None]) -> Callable[[Member], float | None]:
    """Average a number over a patient's series."""

    def mean(member: Member) -> float | None:
        found = [number for number in map(value, member.scans) if number is not None]
        return float(np.mean(found)) if found else None

    return mean


def name_of(value: Callable[[Facts], str]) -> Callable[[Member], str]:
    """Name what a patient's series have, several names joined."""
    return lambda member: " and ".join(sorted({name for name in map(value, member.scans) if name}))


NUMBERS: Mapping[str, Callable[[Member], float | None]] = {
    "age, years": lambda member: member.patient.age,
    "weight, kg": lambda member: member.patient.weight,
    "height, m": lambda member: member.patient.height,
    "mJOA": lambda member: member.patient.mjoa,
    "voxel height, mm": mean_of(lambda facts: facts.row_spacing_mm),
    "voxel width, mm": mean_of(lambda facts: facts.column_spacing_mm),
    "slice thickness, mm": mean_of(lambda facts: facts.thickness_mm),
}
SEXES = {"m": "M", "male": "M", "f": "F", "female": "F"}
NAMES: Mapping[str, Callable[[Member], str]] = {
    "sex": lambda member: SEXES.get(member.patient.sex.lower(), member.patient.sex),
    "region": lambda member: member.patient.region,
    "site": lambda member: member.patient.site,
    "maker": name_of(lambda facts: facts.manufacturer.upper()),
    "field strength": name_of(lambda facts: "" if facts.field_t is None else f"{facts.field_t:.1f} T"),
    "pathology": lambda member: member.patient.pathology,
    "implants": lambda member: member.patient.implants,
}
OPTIONAL = ("pathology", "implants")  # left out where nothing is known of anybody


def table_rows(first: Sequence[Member], second: Sequence[Member], equal_variances: bool) -> list[dict[str, Any]]:
    """Make the table's rows."""
    from ..evaluation.groups import compare_means, compare_shares

    table = [counted(first, second)]
    share = [f"{np.mean([label for member in group for label in member.labels]):.1%}" for group in (first, second)]
    table.append({"variable": "compressed slices", "first": share[0], "second": share[1]})
    for variable, value in NUMBERS.items():
        found = [[number for number in map(value, group) if number is not None] for group in (first, second)]
        texts = [f"{np.mean(one):.2f} ± {np.std(one, ddof=1):.2f}" if len(one) > 1 else "" for one in found]
        result = compare_means(found[0], found[1], equal_variances)
        table.append(
            {"variable": variable, "first": texts[0], "second": texts[1]} | test_cells(result, found, first, second)
        )
    for variable, name in NAMES.items():
        named = [[text for text in map(name, group) if text] for group in (first, second)]
        if variable in OPTIONAL and not any(named):
            continue
        result = compare_shares(named[0], named[1])
        table.append({"variable": variable} | test_cells(result, named, first, second))
        for level in sorted({*named[0], *named[1]}):
            counts = [Counter(one)[level] for one in named]
            texts = [f"{n} ({n / len(one):.1%})" if one else "" for n, one in zip(counts, named, strict=True)]
            table.append({"variable": variable, "level": level, "first": texts[0], "second": texts[1]})
    return table


def counted(first: Sequence[Member], second: Sequence[Member]) -> dict[str, Any]:
    """Count slices."""
    n = [sum(len(member.labels) for member in group) for group in (first, second)]
    return {"variable": "slices", "first": n[0], "second": n[1], "n_first": len(first), "n_second": len(second)}


def test_cells(
    result: GroupTest, found: Sequence[Sequence[Any]], first: Sequence[Member], second: Sequence[Member]
) -> dict[str, Any]:
    """Write a test's result with what it rests on."""
    return {
        "n_first": len(found[0]),
        "n_second": len(found[1]),
        "missing_first": len(first) - len(found[0]),
        "missing_second": len(second) - len(found[1]),
        "test": result.test,
        "statistic": "" if math.isnan(result.statistic) else f"{result.statistic:.3f}",
        "p": "" if math.isnan(result.p) else ("<0.001" if result.p < 0.001 else f"{result.p:.3f}"),
        "note": result.note,
    }


def as_markdown(table: Sequence[Mapping[str, Any]], cohorts: Sequence[str]) -> str:
    """Lay the table out as Markdown."""
    lines = [f"| | {markdown(cohorts[0])} | {markdown(cohorts[1])} | missing | p | test |", "|---|---|---|---|---|---|"]
    for row in table:
        name = f"&nbsp;&nbsp;{markdown(row['level'])}" if row.get("level") else row["variable"]
        missing = f"{row['missing_first']} / {row['missing_second']}" if "missing_first" in row else ""
        test = "; ".join(filter(None, [row.get("test", ""), row.get("note", "")]))
        cells = [name, row.get("first", ""), row.get("second", ""), missing, row.get("p", ""), test]
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    return "\n".join(lines) + "\n"
