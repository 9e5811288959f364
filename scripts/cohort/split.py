"""From labels, patients and images to datalists: joins them by UID, divides the patients, refuses leaks."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import datalists, records
from ..cluster.workers import Workers
from ..console import say
from ..errors import InputError, check_whole
from ..files import check_output, resolved
from ..records import DatalistEntry
from . import geometry
from .divisions import SCHEMES, check_sections, divide, rounding
from .joining import (
    check_folder,
    check_labels,
    check_patients,
    check_sites,
    check_unlabelled,
    check_zips,
    datalist_entry,
    images_of,
    reasons,
    reference_labels,
)
from .labels import read_labels, read_patients
from .leaks import leak_lines, leaks


def split(
    labels: str,
    patients: str,
    dicom: str,
    out: str = "datalist.json",
    scheme: str = "holdout",
    seed: int = 0,
    holdout: float = 0.25,
    validation: float = 0.25,
    folds: int = 5,
    force: bool = False,
) -> int:
    """Divide labelled patients into training, validation and testing, and write datalist.json and geometry.csv.

    Patients are divided, never slices, and each site gives the same shares: by default 25 % of its patients to the
    holdout (testing), and of the rest 25 % to validation. Before anything is written, both sides of every division are
    compared by patient, person, study, series and the pixels themselves, and any overlap is refused.

    Where the patients' table has a column person, all visits of a person stay together, whatever their patient_ids and
    sites. With leave-site-out, visits of a tested person to other sites are in no section, and are named.

    Labels come from raters who make the reference (role "reference") and must agree: settle differences with
    `python -m scripts agree` and `consensus` first. Slices that are not evaluable are left out and counted.

    Args:
        labels: CSV with patient_id, series_uid, sop_uid, rater, reading, role, status, label.
        patients: CSV with patient_id, site and what else is known of the patients, such as person.
        dicom: folder with the images, at any depth.
        out: datalist to write. Put it into the images' folder or a folder above it; image paths are relative to it.
            With folds or leave-site-out, the fold or site is added to the name.
        scheme: holdout; folds, a grouped cross-validation; leave-site-out, one datalist per site; or external, all
            patients for testing and none for training.
        seed: seed of the division; the same seed gives the same division whatever the order of files and rows.
        holdout: share of each site's patients for testing.
        validation: share of each site's other patients for validation.
        folds: number of folds for the scheme folds.
        force: go on with slices that lack a label (they are left out), with labels of refused series, with sites too
            small to be divided, and with sections that nobody is left for. Overlap is never forced.
    """
    from ..dicom.sources import scan, watch_headers

    if scheme not in SCHEMES:
        raise InputError(f"--scheme must be {', '.join(SCHEMES)}, got {scheme!r}")
    for name, share in (("holdout", holdout), ("validation", validation)):
        if not 0 <= share < 1:
            raise InputError(f"--{name} must be a share from 0 to below 1, got {share}")
    check_whole("--seed", seed, 0)
    check_whole("--folds", folds, 2)
    target = check_output(out, [labels, patients])
    table = check_output(target.with_name(geometry.FILE), [labels, patients])
    geometry.read(target.parent)
    folder = resolved(target).parent
    check_folder(dicom, folder)
    people = read_patients(patients)
    final = reference_labels(read_labels(labels), labels)
    check_patients(final, people, patients)
    sites = {name: people[name].site for name in sorted({one.patient_id for one in final if one.label is not None})}
    if not sites:
        raise InputError(f"{labels} holds no evaluable slice")
    persons = {name: people[name].person for name in sites}
    of_sites = check_sites(sites, people, scheme, force)
    divisions = divide(sites, scheme, seed, holdout, validation, folds, persons)
    paths = {
        name: check_output(target.with_name(f"{target.stem}{name}{target.suffix}"), [labels, patients, table])
        for name in divisions
    }
    of_sites += check_sections(divisions, scheme, holdout, validation, force)
    with Workers() as workers:  # all that can be checked without images was
        stacks, left_out = scan(dicom, workers.spread, watch_headers)
    check_zips(left_out)
    if not stacks:
        raise InputError(
            f"{dicom} holds no DICOM image ({len(left_out)} other files); --dicom must name the folder with the images"
        )
    images = images_of(stacks)
    notes = check_labels(final, people, images, force)
    notes += check_unlabelled(final, stacks, force)
    entries = [
        datalist_entry(one, images[one.key], people[one.patient_id], folder) for one in final if one.label is not None
    ]
    entries.sort(key=records.slice_key)
    notes += [f"{n} slices are not evaluable: {why}" for why, n in Counter(reasons(final)).most_common()]
    notes += of_sites
    check_leaks(entries, divisions, folder)
    used = {records.slice_key(one) for one in entries}
    rows = geometry.rows_of(stacks, used)
    geometry.write(target.parent, rows)
    facts = {
        "phantom": any(stack.phantom for stack in stacks if stack.series_uid in {uid for uid, _, _ in used}),
        "scheme": scheme,
        "holdout": holdout,
        "validation_share": validation,
        "labels_sha256": hashlib.sha256(Path(labels).read_bytes()).hexdigest(),
        "left_out": notes,
    }
    for note in notes:
        say(f"note: {note}")
    for name, sections in divisions.items():
        write(paths[name], entries, sections, sites, seed, facts)
    return 0


def outside_notes(sites: Mapping[str, str], sections: Mapping[str, str]) -> list[str]:
    """Name the patients who are in no section."""
    absent = sorted(set(sites) - set(sections))
    reason = "patients are in no section, because a visit of theirs at another site is tested"
    return [f"{len(absent)} {reason}: {', '.join(absent)}"] if absent else []


def check_leaks(entries: Sequence[DatalistEntry], divisions: Mapping[str, Mapping[str, str]], folder: Path) -> None:
    """Refuse any division whose sections share a patient, person, study, series or picture."""
    absolute: list[DatalistEntry] = [{**one, "image": str(folder / one["image"])} for one in entries]
    for name, sections in divisions.items():
        found = leaks(by_section(absolute, sections))
        if found:
            raise InputError(f"division{name} would leak, nothing is written:\n{leak_lines(found)}")


def by_section(entries: Sequence[DatalistEntry], sections: Mapping[str, str]) -> dict[str, list[DatalistEntry]]:
    """Gather the slices of each section; patients who are in none are left out."""
    parts: dict[str, list[DatalistEntry]] = {section: [] for section in records.SECTIONS}
    for one in entries:
        if one["patient_id"] in sections:
            parts[sections[one["patient_id"]]].append(one)
    return parts


def write(
    path: Path,
    entries: Sequence[DatalistEntry],
    sections: Mapping[str, str],
    sites: Mapping[str, str],
    seed: int,
    facts: Mapping[str, Any],
) -> None:
    """Write one datalist and say what is in it."""
    parts = by_section(entries, sections)
    counts = {section: datalists.count(rows) for section, rows in parts.items()}
    prevalence = {
        section: round(n["compressed_slices"] / n["slices"], 4) if n["slices"] else None
        for section, n in counts.items()
    }
    outside = outside_notes(sites, sections)
    own = {**facts, "left_out": [*facts["left_out"], *outside], "prevalence": prevalence}
    datalists.write(path, parts, seed, **own, sites=rounding(sites, sections))
    for note in outside:
        say(f"note: {path.name}: {note}")
    say(str(path))
    for section, n in counts.items():
        share = (
            "" if prevalence[section] is None else f", {100 * n['compressed_slices'] / n['slices']:.1f} % compressed"
        )
        say(f"  {section:10} {n['patients']:5} patients {n['slices']:6} slices{share}")
