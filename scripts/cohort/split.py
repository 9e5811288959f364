"""From labels, patients and images to datalists: joins them by UID, divides the patients, refuses leaks."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .. import datalists, records
from ..console import say
from ..dicom.judgements import judge
from ..dicom.sources import scan
from ..dicom.stacks import Stack
from ..errors import InputError, check_whole
from ..files import check_output
from ..records import SliceKey
from ..tables import spreadsheet_hint
from . import geometry as slice_tables
from .divisions import SCHEMES, check_sections, divide, rounding
from .index import watch_headers
from .labels import EVALUABLE, Label, Patient, agreed, by_slice, read_labels, read_patients
from .leaks import leaks, shown

SHOWN = 5


class Image(NamedTuple):
    """Where a slice is found."""

    path: str
    slice_index: int
    patient_id: str
    reason: str


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
    """Divide labelled patients into training, validation and testing, and write datalist.json and slices.csv.

    Patients are divided, never slices, and each site gives the same shares: by default 25 % of its patients to the
    holdout (testing), and of the rest 25 % to validation. Before anything is written, both sides of every division are
    compared by patient, study, series and the pixels themselves, and any overlap is refused.

    Labels come from raters who make the reference (role "reference") and must agree: settle differences with
    `python -m scripts agree` and `consensus` first. Slices that are not evaluable are left out and counted.

    Args:
        labels: CSV with patient_id, series_uid, sop_uid, rater, reading, role, status, label.
        patients: CSV with patient_id, site and what else is known of the patients.
        dicom: the folder with the images, any nesting; they are named in the datalist relative to its folder.
        out: the datalist to write, in the images' folder or above it; folds and sites add their name to it.
        scheme: holdout; folds, a grouped cross-validation; leave-site-out, one datalist per site; or external, all
            patients for testing and none for training.
        seed: seed of the division; the same seed gives the same division whatever the order of files and rows.
        holdout: share of each site's patients for testing.
        validation: share of each site's other patients for validation.
        folds: number of folds for the scheme folds.
        force: go on with slices that lack a label (they are left out), with labels of refused series, with sites too
            small to be divided, and with sections that nobody is left for. Overlap is never forced.
    """
    if scheme not in SCHEMES:
        raise InputError(f"--scheme must be {', '.join(SCHEMES)}, got {scheme!r}")
    for name, share in (("holdout", holdout), ("validation", validation)):
        if not 0 <= share < 1:
            raise InputError(f"--{name} must be a share from 0 to below 1, got {share}")
    check_whole("--seed", seed, 0)
    check_whole("--folds", folds, 2)
    target = check_output(out, [labels, patients])
    table = check_output(target.with_name("slices.csv"), [labels, patients])
    slice_tables.read(table)
    people = read_patients(patients)
    final = reference_labels(read_labels(labels), labels)
    folder = target.resolve().parent
    stacks, _ = scan(dicom, watch=watch_headers)
    images = images_of(stacks)
    notes = check_labels(final, people, images, labels, patients, force)
    notes += check_unlabelled(final, stacks, force)
    entries = [entry(one, images[one.key], people[one.patient_id], folder) for one in final if one.label is not None]
    entries.sort(key=records.slice_key)
    if not entries:
        raise InputError(f"{labels} holds no evaluable slice")
    notes += [f"{n} slices are not evaluable: {why}" for why, n in Counter(reasons(final)).most_common()]
    sites = {name: people[name].site for name in sorted({one["patient_id"] for one in entries})}
    notes += check_sites(sites, people, scheme, force)
    divisions = divide(sites, scheme, seed, holdout, validation, folds)
    paths = {
        name: check_output(target.with_name(f"{target.stem}{name}{target.suffix}"), [labels, patients, table])
        for name in divisions
    }
    notes += check_sections(divisions, scheme, holdout, validation, force)
    check_leaks(entries, divisions, folder)
    used = {records.slice_key(one) for one in entries}
    rows = slice_tables.rows_of(stacks, used)
    slice_tables.write(table, rows)
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


def reference_labels(labels: Sequence[Label], source: str) -> list[Label]:
    """Return one label per slice, in the order of the file.

    Raises:
        InputError: nobody makes the reference, or they disagree.
    """
    slices = by_slice(labels, "reference")
    if not slices:
        raise InputError(
            f"{source} holds no rows with role 'reference'; only readers, who are judged against a reference"
        )
    open_slices = [several for several in slices.values() if not agreed(several)]
    if open_slices:
        raters = ", ".join(sorted({one.rater for one in open_slices[0]}))
        raise InputError(
            f"{len(open_slices)} slices have references that disagree, first {open_slices[0][0].where} ({raters}); "
            "settle them with `python -m scripts agree` and `python -m scripts consensus`, and split the consensus"
        )
    chosen = {key: several[0] for key, several in slices.items()}
    return [one for one in labels if chosen.get(one.key) is one]


def images_of(stacks: Iterable[Stack]) -> dict[SliceKey, Image]:
    """Find each slice; ``reason`` says why its series is refused, and is empty where it is not."""
    found = {}
    for stack in stacks:
        decision, reason = judge(stack)
        for number, one in enumerate(stack.slices):
            refused = reason if decision == "refuse" else ""
            found[stack.series_uid, one.sop_uid, one.frame] = Image(one.path, number, stack.patient_id, refused)
    return found


def check_labels(
    final: Sequence[Label],
    people: Mapping[str, Patient],
    images: Mapping[SliceKey, Image],
    labels: str,
    patients: str,
    force: bool,
) -> list[str]:
    """Refuse labels that fit no image or no patient; returns what is worth noting."""
    unknown = [one for one in final if one.patient_id not in people]
    if unknown:
        name = unknown[0].patient_id
        raise InputError(
            f"{unknown[0].where}: patient {name!r} is not in {patients} "
            f"({len({one.patient_id for one in unknown})} such patients); add a row with the site there"
            f"{spreadsheet_hint(name)}"
        )
    absent = [one for one in final if one.key not in images]
    if absent:
        series, sop_uid, frame = absent[0].key
        raise InputError(
            f"{absent[0].where}: no slice with series_uid {series}, sop_uid {sop_uid}, frame {frame or '(empty)'} "
            f"among the images ({len(absent)} of {len(final)} labels); is --dicom the folder, and are the UIDs those "
            "after de-identification?"
        )
    for one in final:
        image = images[one.key]
        if image.patient_id != one.patient_id:
            raise InputError(f"{one.where}: patient {one.patient_id}, but {image.path} says {image.patient_id}")
    refused = [one for one in final if images[one.key].reason and one.label is not None]
    if refused and not force:
        raise InputError(
            f"{refused[0].where}: the slice's series is refused: {images[refused[0].key].reason} "
            f"({len(refused)} such labels); delete the rows, or use the series nevertheless with --force true"
        )
    notes = [f"{len(refused)} labelled slices of refused series are used (forced)"] if refused else []
    named = {one.patient_id for one in final}
    notes += [f"{one.where}: patient {name} has no label" for name, one in people.items() if name not in named]
    return notes


def check_unlabelled(final: Sequence[Label], stacks: Iterable[Stack], force: bool) -> list[str]:
    """Refuse series that are labelled in part; count those without any label."""
    labelled = {one.key for one in final}
    lacking = []
    series = 0
    for stack in stacks:
        keys = [(stack.series_uid, one.sop_uid, one.frame) for one in stack.slices]
        without = [number for number, key in enumerate(keys) if key not in labelled]
        if len(without) == len(keys):
            series += judge(stack).accepted
        elif without:
            lacking.append((stack, without))
    if lacking and not force:
        stack, without = lacking[0]
        numbers = ", ".join(str(number + 1) for number in without[:SHOWN])
        raise InputError(
            f"series {stack.series_uid} of patient {stack.patient_id} ({stack.folder}): {len(without)} of "
            f"{len(stack.slices)} slices have no label, from caudal number {numbers}, "
            f"first {stack.slices[without[0]].path} ({len(lacking)} such series); label them, mark them "
            "not evaluable, or leave them out with --force true"
        )
    notes = [f"{sum(len(without) for _, without in lacking)} slices without label left out (forced)"] if lacking else []
    return notes + ([f"{series} accepted series without any label left out"] if series else [])


def check_sites(sites: Mapping[str, str], people: Mapping[str, Patient], scheme: str, force: bool) -> list[str]:
    """Refuse sites whose only patient cannot be on both sides."""
    alone = [name for name, site in sites.items() if list(sites.values()).count(site) == 1]
    if not alone or scheme in ("leave-site-out", "external"):
        return []
    where = f"{people[alone[0]].where}: site {sites[alone[0]]!r} has one patient ({alone[0]})"
    if not force:
        raise InputError(
            f"{where}, who cannot be divided between development and holdout; merge the site with another in column "
            "site, use --scheme leave-site-out, or go on with --force true"
        )
    return [f"{where}; whichever side it is on, the other side does not know the site"]


def reasons(final: Iterable[Label]) -> list[str]:
    """List why slices are not evaluable."""
    return [one.status for one in final if one.status != EVALUABLE]


def entry(label: Label, image: Image, patient: Patient, folder: Path) -> dict[str, Any]:
    """Make one line of the datalist."""
    path = Path(image.path).resolve()
    if not path.is_relative_to(folder):
        raise InputError(f"{path} lies outside {folder}; put the datalist (--out) into the images' folder or above it")
    series_uid, sop_uid, frame = label.key
    return {
        "image": path.relative_to(folder).as_posix(),
        "label": label.label,
        "patient_id": label.patient_id,
        "site": patient.site,
        "series_uid": series_uid,
        "sop_uid": sop_uid,
        "frame": frame,
        "slice_index": image.slice_index,
    }


def check_leaks(entries: Sequence[dict[str, Any]], divisions: Mapping[str, Mapping[str, str]], folder: Path) -> None:
    """Refuse any division whose sections share a patient, study, series or picture."""
    for name, sections in divisions.items():
        absolute = [{**one, "image": str(folder / one["image"])} for one in entries]
        by_section: dict[str, list[dict[str, Any]]] = {section: [] for section in records.SECTIONS}
        for one in absolute:
            by_section[sections[one["patient_id"]]].append(one)
        found = leaks(by_section)
        if found:
            raise InputError(f"division{name} would leak, nothing is written:\n{shown(found)}")


def write(
    path: Path,
    entries: Sequence[dict[str, Any]],
    sections: Mapping[str, str],
    sites: Mapping[str, str],
    seed: int,
    facts: Mapping[str, Any],
) -> None:
    """Write one datalist and say what is in it."""
    parts: dict[str, list[dict[str, Any]]] = {section: [] for section in records.SECTIONS}
    for one in entries:
        parts[sections[one["patient_id"]]].append(one)
    counts = {section: datalists.count(rows) for section, rows in parts.items()}
    prevalence = {
        section: round(n["compressed_slices"] / n["slices"], 4) if n["slices"] else None
        for section, n in counts.items()
    }
    datalists.write(path, parts, seed, **facts, prevalence=prevalence, sites=rounding(sites, sections))
    say(str(path))
    for section, n in counts.items():
        share = (
            "" if prevalence[section] is None else f", {100 * n['compressed_slices'] / n['slices']:.1f} % compressed"
        )
        say(f"  {section:10} {n['patients']:5} patients {n['slices']:6} slices{share}")
