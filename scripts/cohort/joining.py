"""Joining labels, patients and images by UID; refuses what fits nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import InputError
from ..files import resolved
from ..records import DatalistEntry, SliceKey
from ..tables import spreadsheet_hint
from .labels import EVALUABLE, Label, Patient, agreed, by_slice

if TYPE_CHECKING:
    from ..dicom.stacks import Stack

SHOWN = 5


class Image(NamedTuple):
    """Where a slice is found."""

    path: str
    slice_index: int
    patient_id: str
    reason: str


def reference_labels(labels: Sequence[Label], source: str) -> list[Label]:
    """Return one label per slice, in the order of the file; grade, kind and T2 signal only where all references agree.

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
    return [in_agreement(slices[one.key]) for one in labels if chosen.get(one.key) is one]


def in_agreement(labels: Sequence[Label]) -> Label:
    """Return the first of the labels of a slice, without what the others say otherwise."""
    first, *others = labels
    if any(one.grade != first.grade for one in others):
        first = replace(first, grade=None)
    if any(one.kind != first.kind for one in others):
        first = replace(first, kind="")
    if any(one.t2_signal != first.t2_signal for one in others):
        first = replace(first, t2_signal=None)
    return first


def images_of(stacks: Iterable[Stack]) -> dict[SliceKey, Image]:
    """Find each slice; ``reason`` says why its series is refused, and is empty where it is not."""
    from ..dicom.judgements import judge

    found = {}
    for stack in stacks:
        decision, reason = judge(stack)
        for number, one in enumerate(stack.slices):
            refused = reason if decision == "refuse" else ""
            found[stack.series_uid, one.sop_uid, one.frame] = Image(one.path, number, stack.patient_id, refused)
    return found


def check_folder(dicom: str, folder: Path) -> None:
    """Refuse an images' folder that is none, or that images cannot be named from."""
    images = Path(dicom)
    if not images.exists():
        raise InputError(f"{dicom} does not exist; expected the folder with the images")
    if not resolved(images).is_relative_to(folder):
        raise outside(images, folder)


def check_zips(left_out: Iterable[tuple[str, str]]) -> None:
    """Refuse zips among the images: a datalist names files that stay."""
    from ..dicom.archives import is_archive

    zips = [path for path, _ in left_out if is_archive(path)]
    if zips:
        raise InputError(
            f"{zips[0]} is a zip ({len(zips)} in all), and training needs files that stay: unpack it beside the other "
            "images and remove it, or move it away"
        )


def outside(path: Path, folder: Path) -> InputError:
    """Return the refusal of an image that a datalist in ``folder`` cannot name."""
    return InputError(f"{path} lies outside {folder}; put the datalist (--out) into the images' folder or above it")


def check_patients(final: Sequence[Label], people: Mapping[str, Patient], patients: str) -> None:
    """Refuse labels of patients that the patients' table lacks."""
    unknown = [one for one in final if one.patient_id not in people]
    if unknown:
        name = unknown[0].patient_id
        raise InputError(
            f"{unknown[0].where}: patient {name!r} is not in {patients} "
            f"({len({one.patient_id for one in unknown})} such patients); add a row with the site there"
            f"{spreadsheet_hint(name)}"
        )


def check_labels(
    final: Sequence[Label], people: Mapping[str, Patient], images: Mapping[SliceKey, Image], force: bool
) -> list[str]:
    """Refuse labels that fit no image; returns what is worth noting."""
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
            raise InputError(f"{one.where}: patient_id is not the PatientID of {image.path}, which shows the slice")
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
    from ..dicom.judgements import judge

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
            f"series {stack.series_uid} ({Path(str(stack)).parent}): {len(without)} of "
            f"{len(stack.slices)} slices have no label, from caudal number {numbers}, "
            f"first {stack.slices[without[0]].path} ({len(lacking)} such series); label them, mark them "
            "not evaluable, or leave them out with --force true"
        )
    notes = [f"{sum(len(without) for _, without in lacking)} slices without label left out (forced)"] if lacking else []
    return notes + ([f"{series} accepted series without any label left out"] if series else [])


def check_sites(sites: Mapping[str, str], people: Mapping[str, Patient], scheme: str, force: bool) -> list[str]:
    """Refuse sites whose only patient cannot be on both sides; several visits of one person are one patient."""
    visitors = defaultdict(set)
    for name, site in sites.items():
        visitors[site].add(people[name].person)
    alone = [name for name, site in sites.items() if len(visitors[site]) == 1]
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


def datalist_entry(label: Label, image: Image, patient: Patient, folder: Path) -> DatalistEntry:
    """Make one line of the datalist."""
    path = resolved(image.path)
    if not path.is_relative_to(folder):
        raise outside(path, folder)
    series_uid, sop_uid, frame = label.key
    entry: DatalistEntry = {
        "image": path.relative_to(folder).as_posix(),
        "label": int(label.label or 0),
        "patient_id": label.patient_id,
        "site": patient.site,
        "series_uid": series_uid,
        "sop_uid": sop_uid,
        "frame": frame,
        "slice_index": image.slice_index,
    }
    if "person" in patient.cells:
        entry["person"] = patient.person
    return add_findings(entry, label)


def add_findings(entry: DatalistEntry, label: Label) -> DatalistEntry:
    """Add to a line of a datalist what a label says beside compressed or not, where it does."""
    if label.grade is not None:
        entry["grade"] = label.grade
    if label.kind:
        entry["kind"] = label.kind
    if label.t2_signal is not None:
        entry["t2_signal"] = label.t2_signal
    return entry
