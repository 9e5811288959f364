"""Whether two sections of a datalist share anything: a patient, a person, a study, a series, or the same picture."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..console import progress, say
from ..datalists import check_image_path
from ..errors import InputError
from ..files import NEITHER, read_json, resolved
from ..records import SECTIONS
from ..tables import whole_number

SHOWN = 5
NAMES = (*SECTIONS, "test")
PLURALS = {"patient": "patients", "person": "persons", "study": "studies", "series": "series", "picture": "pictures"}
KEYS = {"patient": "patient_id", "person": "person", "series": "series_uid"}  # of an item
Entries = Sequence[Mapping[str, Any]]
Leaks = dict[str, dict[str, dict[str, str]]]


def check_split(datalist: str, images: str = "") -> int:
    """Check that no patient, person, study, series or picture is in two sections of a datalist.

    Any JSON with lists under training, validation and testing (or other names) of items with an "image" will do, also
    those of other projects: DICOM, NIfTI, PNG. An item's "person" says who the patient is, where one person has several
    patient_ids. Pictures are compared by their pixels, so that copies under other names
    or other UIDs, or encoded otherwise, are found; constant pictures are not compared. An external cohort, of which all
    is for testing, has nothing to compare. Exit status 2 means a leak.

    Args:
        datalist: the file.
        images: the folder that image names start from; by default the datalist's.
    """
    path = Path(datalist)
    content = read_json(path)
    root = Path(images) if images else resolved(path).parent
    lists = {
        name: [{**one, "image": str(root / str(one["image"]))} for one in items_of(path, name, value)]
        for name, value in (content.items() if isinstance(content, dict) else ())
        if value != [] and is_section(name, value)
    }
    if len(lists) == 1 and all(content.get(name) == [] for name in SECTIONS if name not in lists):
        (name,) = lists
        say(f"{path}: all {len(lists[name])} items are in section {name}, so there is nothing to compare")
        return 0
    if len(lists) < 2:
        raise InputError(f"{path} has {len(lists)} lists of items with an 'image'; expected two or more of {SECTIONS}")
    found = leaks(lists)
    if found:
        raise InputError(f"{path} leaks:\n{leak_lines(found)}")
    for name, entries in lists.items():
        say(f"  {name:10} {len(entries):6} items")
    person = "person, " if any("person" in one for entries in lists.values() for one in entries) else ""
    say(f"{path}: no patient, {person}study, series or picture is in two sections")
    return 0


def is_section(name: str, value: Any) -> bool:
    """Return whether a value of a datalist is meant as a list of images: by its name, or by what it holds."""
    return name in NAMES or (isinstance(value, list) and any(isinstance(one, dict) and "image" in one for one in value))


def items_of(path: Path, section: str, value: Any) -> list[dict[str, Any]]:
    """Return the items of a section; a text, as in the decathlon's lists, is the image itself.

    Raises:
        InputError: an item names no image, so that it could not be compared.
    """
    if not isinstance(value, list):
        raise InputError(f"{path}: {section} must be a list of items with an 'image', got {type(value).__name__}")
    found = [{"image": one} if isinstance(one, str) else one for one in value]
    for number, one in enumerate(found):
        where = f"{path}, {section}[{number}]"
        if not isinstance(one, dict) or "image" not in one:
            raise InputError(f"{where} must be an object with an 'image'; else it could not be compared")
        check_image_path(str(one["image"]), where)
    return found


def leaks(sections: Mapping[str, Entries]) -> Leaks:
    """Find what several sections hold.

    Args:
        sections: items of each section; ``image`` is a path that can be opened.

    Returns:
        For each kind of ``PLURALS`` what is shared, and in each section one item that holds it.

    Raises:
        InputError: an image cannot be read.
    """
    where: dict[str, dict[str, dict[str, str]]] = {kind: defaultdict(dict) for kind in PLURALS}
    items = [(section, entry) for section, entries in sections.items() for entry in entries]
    known: dict[tuple[str, str, str], tuple[dict[str, str], list[str]]] = {}
    for section, entry in progress(items, "comparing pictures", "slice"):
        image = str(entry["image"])
        key = (image, str(entry.get("frame", "")), str(entry.get("slice_index", "")))
        if key not in known:
            known[key] = identity(entry), pictures(image, entry)
        names, hashes = known[key]
        for kind, name in names.items():
            where[kind][name].setdefault(section, image)
        for digest in hashes:
            where["picture"][digest].setdefault(section, image)
    found = {kind: {name: by for name, by in names.items() if len(by) > 1} for kind, names in where.items()}
    return {kind: names for kind, names in found.items() if names}


def identity(entry: Mapping[str, Any]) -> dict[str, str]:
    """Return what an item and its DICOM header say of patient, person, study and series."""
    from ..dicom.elements import UnreadableError
    from ..dicom.frames import read_frames

    names = {name: entry.get(key) for name, key in KEYS.items()}
    with suppress(UnreadableError):  # no DICOM: what the item says is all that is known
        facts = read_frames(first_file(str(entry["image"])))[0].facts
        patient = names["patient"] or facts.patient_id
        names |= {"patient": patient, "study": facts.study_uid, "series": facts.series_uid}
    return {kind: str(name) for kind, name in names.items() if name not in (None, "")}


def first_file(image: str) -> str:
    """Return a file, or the first of a folder; see `image_files`."""
    return image_files(image)[0]


def image_files(image: str) -> list[str]:
    """Return the files of an image: itself, or those below a folder.

    Raises:
        InputError: the folder holds no files, or some that cannot be read.
    """
    from ..dicom.listings import list_files

    if not Path(image).is_dir():
        if Path(image).exists() and not Path(image).is_file():
            raise InputError(f"{image} is {NEITHER}")
        return [image]
    found = list_files(image, unpack=False)
    if found.unreadable:
        raise InputError(f"{found.unreadable[0][0]} cannot be read as an image: {found.unreadable[0][1]}")
    if not found.files and not found.volumes:
        raise InputError(f"{image} is a folder without files; expected an image; restore it or correct the datalist")
    return [*found.files, *found.volumes]


def pictures(image: str, entry: Mapping[str, Any]) -> list[str]:
    """Hash the pixels of an item, each slice by itself.

    Raises:
        InputError: the image cannot be read.
    """
    import itk

    digests = []
    for path in image_files(image):
        try:
            volume = np.asarray(itk.array_from_image(itk.imread(path, itk.F)))
        except (RuntimeError, OSError) as error:
            raise InputError(f"{path} cannot be read as an image: {' '.join(str(error).split())[:200]}") from error
        slices = volume.reshape(-1, *volume.shape[-2:])
        digests += [digest(one) for one in chosen(slices, entry, Path(path)) if one.min() < one.max()]
    return digests


def chosen(slices: np.ndarray, entry: Mapping[str, Any], path: Path) -> Iterable[np.ndarray]:
    """Return the slice that an item names, else all."""
    frame = whole_number(str(entry.get("frame", "")))
    if frame and frame <= len(slices):
        return slices[frame - 1 : frame]
    volume_format = path.name.lower().endswith((".nii", ".nii.gz", ".nrrd", ".mha"))
    number = entry.get("slice_index")
    if volume_format and isinstance(number, int) and 0 <= number < len(slices):
        return slices[number : number + 1]
    return slices


def digest(picture: np.ndarray) -> str:
    """Hash one slice, shape (rows, columns), by its values whatever their type was."""
    values = np.ascontiguousarray(picture, dtype=np.float32)
    return hashlib.sha256(repr(values.shape).encode() + values.tobytes()).hexdigest()


def leak_lines(found: Leaks) -> str:
    """Describe leaks for a person, a few of each kind."""
    lines = []
    for kind, names in found.items():
        lines.append(f"  {len(names)} {kind if len(names) == 1 else PLURALS[kind]} in two sections:")
        for name, by in list(names.items())[:SHOWN]:
            places = ", ".join(f"{section} ({image})" for section, image in by.items())
            lines.append(f"    {name[:64]}: {places}")
        if len(names) > SHOWN:
            lines.append(f"    and {len(names) - SHOWN} more")
    return "\n".join(lines)
