"""Each rater's labels of one cohort as datalists of their own, all with the same patients in the same folds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from .. import datalists
from ..cohort.divisions import fold_patients
from ..cohort.joining import add_findings
from ..cohort.labels import EVALUABLE, ROLES, Label, by_slice, natural
from ..errors import InputError
from ..files import check_folder, read_json, read_object, safe_names
from ..records import OPTIONAL_FIELDS, SECTIONS, DatalistEntry, SliceKey, slice_key

Calls = NDArray[np.float64]
SCHEME = "experts"
FINDINGS = tuple(name for name in OPTIONAL_FIELDS if name != "person")


@dataclass(frozen=True)
class Readings:
    """What raters said of the slices of a cohort.

    Attributes:
        entries: slices of the cohort, in the order of their keys.
        first: evaluable labels of each rater's first reading of a slice, by rater and slice.
        repeats: calls of two readings of one rater, by what they are called.
    """

    entries: list[DatalistEntry]
    first: dict[str, dict[SliceKey, Label]]
    repeats: dict[tuple[str, str], tuple[Calls, Calls]]

    @property
    def patients(self) -> list[str]:
        """Patient of each slice."""
        return [entry["patient_id"] for entry in self.entries]

    def calls(self, labels: Mapping[SliceKey, float]) -> Calls:
        """Return one call per slice, NaN where there is none."""
        return np.array([labels.get(slice_key(entry), np.nan) for entry in self.entries])

    def calls_of(self, rater: str) -> Calls:
        """Return a rater's calls."""
        return self.calls(calls_by_slice(self.first[rater].values()))


class Fold(NamedTuple):
    """One training.

    Attributes:
        rater: whose labels it learns.
        number: of the fold, from 1.
        name: of the rater's folder.
        datalist: where its datalist is to be written.
        sections: slices of each section.
    """

    rater: str
    number: int
    name: str
    datalist: Path
    sections: dict[str, list[DatalistEntry]]


def calls_by_slice(labels: Iterable[Label]) -> dict[SliceKey, float]:
    """Return the calls of evaluable slices."""
    return {one.key: float(one.label) for one in labels if one.status == EVALUABLE and one.label is not None}


def read_entries(datalist: Path) -> list[DatalistEntry]:
    """Return the slices of all sections of a datalist, their images relative to its folder."""
    content = read_json(datalist)
    entries: list[DatalistEntry] = []
    for section in SECTIONS:
        if not isinstance(content, dict) or content.get(section) != []:
            datalists.load(datalist, section)  # refuses what is malformed
            entries += content[section]
    named = [cast(DatalistEntry, {**entry, "patient_id": str(entry["patient_id"])}) for entry in entries]
    return sorted(named, key=slice_key)


def readings_of(entries: Sequence[DatalistEntry], labels: Sequence[Label], names: str, table: Path) -> Readings:
    """Join raters' labels with the slices of a cohort.

    Args:
        entries: the slices, in the order of their keys.
        labels: rows of labels.csv.
        names: raters, separated by commas; empty for all.
        table: labels.csv, for messages.

    Raises:
        InputError: a rater is unknown, has read no slice of the cohort or called all alike, or there is only one.
    """
    known = sorted({one.rater for one in labels})
    raters = [name.strip() for name in names.split(",") if name.strip()] or known
    unknown = [name for name in raters if name not in known]
    if unknown:
        raise InputError(f"{table} has no rater {', '.join(unknown)}; it has {', '.join(known)}")
    if len(set(raters)) < max(2, len(raters)):
        raise InputError(
            f"expected two raters or more, each once, to compare; got {', '.join(raters)} (--raters, or {table})"
        )
    keys = {slice_key(entry) for entry in entries}
    own = [one for one in labels if one.key in keys and one.rater in raters]
    firsts = [one for role in ROLES for group in by_slice(own, role).values() for one in group]
    first: dict[str, dict[SliceKey, Label]] = {}
    for rater in raters:
        rated = {one.key: one for one in firsts if one.rater == rater and one.status == EVALUABLE}
        said = {one.label for one in rated.values()}
        if len(said) < 2:
            what = f"calls all {len(rated)} slices {'compressed' if said == {1} else 'not compressed'}"
            raise InputError(
                f"rater {rater} {what if said else 'has read no slice'} of the cohort in {table}, so no network can "
                f"learn from them; leave them out: --raters {','.join(name for name in raters if name != rater)}"
            )
        first[rater] = rated
    found = Readings(list(entries), first, {})
    for rater in raters:
        mine = [one for one in own if one.rater == rater]
        for pair in combinations(sorted({one.reading for one in mine}, key=natural), 2):
            calls = [found.calls(calls_by_slice(one for one in mine if one.reading == reading)) for reading in pair]
            found.repeats[f"{rater} ({pair[0]})", f"{rater} ({pair[1]})"] = calls[0], calls[1]
    return found


def divide(readings: Readings, folds: int, validation: float, seed: int) -> list[dict[str, str]]:
    """Return the section of each patient in each fold; all visits of a person are on one side.

    Raises:
        InputError: there are fewer persons than folds.
    """
    sites = {entry["patient_id"]: str(entry.get("site", "")) for entry in readings.entries}
    persons = {entry["patient_id"]: str(entry.get("person", entry["patient_id"])) for entry in readings.entries}
    return fold_patients(sites, seed, folds, validation, persons)


def sections_of(
    readings: Readings, rater: str, section_of: Mapping[str, str], fold: int
) -> dict[str, list[DatalistEntry]]:
    """Return the sections of one rater's fold: they train and choose on their own labels, and all is scored.

    Testing keeps every slice and the cohort's own labels, so that each network's calls can be compared with everyone's.

    Raises:
        InputError: training or validation has not both classes by the rater's labels.
    """
    parts: dict[str, list[DatalistEntry]] = {section: [] for section in SECTIONS}
    for entry in readings.entries:
        section, label = section_of[entry["patient_id"]], readings.first[rater].get(slice_key(entry))
        if section == "testing":
            parts[section].append(entry)
        elif label is not None:
            plain = {name: value for name, value in entry.items() if name not in FINDINGS}
            parts[section].append(add_findings(cast(DatalistEntry, plain | {"label": label.label}), label))
    for section in ("training", "validation"):
        said = {entry["label"] for entry in parts[section]}
        if len(said) < 2:
            kind = "compressed slices only" if said == {1} else "uncompressed slices only" if said else "no slices"
            raise InputError(
                f"{section} of fold {fold} holds {kind} by the labels of rater {rater}; take fewer --folds, a larger "
                "--validation, another --seed, or leave the rater out of --raters"
            )
    return parts


def plan(readings: Readings, folder: Path, folds: int, validation: float, seed: int) -> list[Fold]:
    """Return every training.

    Args:
        readings: what raters said.
        folder: of the cohort; datalists lie beside their images.
        folds: how many.
        validation: share of the other patients that validates.
        seed: of the division.

    Raises:
        InputError: a fold cannot be trained, or a file is in the way.
    """
    divisions = divide(readings, folds, validation, seed)
    check_folder(folder, "cohort")
    found = []
    for rater, name in zip(readings.first, safe_names(list(readings.first)), strict=True):
        for fold, section_of in enumerate(divisions, start=1):
            path = folder / f"experts_{name}_{fold}of{folds}_seed{seed}.json"
            if path.is_file() and read_object(path).get("scheme") != SCHEME:
                raise InputError(f"{path} is in the way of a datalist of that name; move it away")
            found.append(Fold(rater, fold, name, path, sections_of(readings, rater, section_of, fold)))
    return found


def write_datalist(fold: Fold, seed: int, **facts: Any) -> None:
    """Write a datalist; one with the same slices stays as it is, so that what was trained on it can be continued."""
    wanted = {section: [datalists.entry_of(entry) for entry in rows] for section, rows in fold.sections.items()}
    known = read_object(fold.datalist) if fold.datalist.is_file() else {}
    if any(known.get(section) != rows for section, rows in wanted.items()):
        datalists.write(fold.datalist, wanted, seed, scheme=SCHEME, rater=fold.rater, fold=fold.number, **facts)
