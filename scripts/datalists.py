"""datalist.json: which slice belongs to which patient, label and section.

The file looks like MONAI's decathlon datalists: lists under ``training``, ``validation`` and ``testing``, here of
slices, plus the facts it was made with. MONAI's own loader turns every string that names a file into a path, so we read
it ourselves and join ``image`` only.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .errors import InputError
from .files import NEITHER, read_json, read_object, resolved, write_json
from .records import DATALIST_FIELDS, OPTIONAL_FIELDS, SECTIONS

TEXTS = ("image", "patient_id", "person", "site", "series_uid", "sop_uid", "frame")


def count(entries: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Count patients, slices and compressed slices."""
    rows = list(entries)
    return {
        "patients": len({row["patient_id"] for row in rows}),
        "slices": len(rows),
        "compressed_slices": sum(int(row["label"]) for row in rows),
    }


def write(path: Path, sections: Mapping[str, Sequence[Mapping[str, Any]]], seed: int, **facts: Any) -> None:
    """Write a datalist with its counts, seed and software versions.

    Args:
        path: the file; images are named relative to its folder.
        sections: slices of ``training``, ``validation`` and ``testing``; see `scripts.records.DatalistEntry`.
        seed: what the split was drawn with.
        facts: anything else worth keeping, e.g. ``phantom=True``.
    """
    versions = {name: version(name) for name in ("monai", "numpy", "pydicom")}
    content: dict[str, Any] = {"name": "cervical_cord_compression", "seed": seed, "versions": versions, **facts}
    content["counts"] = {name: count(sections.get(name, [])) for name in SECTIONS}
    for name in SECTIONS:
        content[name] = [entry_of(entry) for entry in sections.get(name, [])]
    write_json(path, content)


def entry_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a datalist holds of a slice; `OPTIONAL_FIELDS` only where they are known."""
    known = {field: entry[field] for field in OPTIONAL_FIELDS if field in entry}
    return {field: entry.get(field, "") for field in DATALIST_FIELDS} | known


def load(path: str | Path, section: str) -> list[dict[str, Any]]:
    """Load one section; every ``image`` becomes an absolute path below the datalist's folder.

    Each entry also says whether the cohort is a ``phantom``.

    Args:
        path: a datalist.json.
        section: ``training``, ``validation`` or ``testing``.

    Raises:
        InputError: the file or section is missing, empty or malformed, or an image is missing or outside the folder.
    """
    path = resolved(path)
    if not path.is_file():
        raise InputError(
            f"no datalist at {path}; make one with `python -m scripts split`, or a phantom cohort with "
            f"`python -m scripts phantom --out {path.parent}`"
        )
    content = read_json(path)
    if not isinstance(content, dict) or section not in content:
        raise InputError(f"{path} has no section {section!r}; expected {', '.join(SECTIONS)}")
    entries = content[section]
    if not isinstance(entries, list) or not entries:
        raise InputError(f"section {section!r} of {path} holds no slices")
    found: dict[str, str] = {}
    missing = []
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise InputError(f"{path}, {section}[{number}] must be an object, got {type(entry).__name__}")
        absent = [field for field in ("image", "label", "patient_id") if field not in entry]
        if absent:
            raise InputError(f"{path}, {section}[{number}] lacks {', '.join(absent)}")
        wrong = [field for field in TEXTS if not isinstance(entry.get(field, ""), str | int)]
        if wrong:
            raise InputError(f"{path}, {section}[{number}]: {', '.join(wrong)} must be text")
        if entry["label"] not in (0, 1):
            raise InputError(f"{path}, {section}[{number}]: label must be 0 or 1, got {entry['label']!r}")
        name = str(entry["image"])
        if name not in found:
            where = f"{path}, {section}[{number}]"
            check_image_path(name, where)
            image = resolved(path.parent / name)
            if not image.is_relative_to(path.parent):
                raise InputError(f"{where}: image {name} lies outside {path.parent}")
            if not os.path.exists(image):  # noqa: PTH110, pathlib raises where a name is too long
                missing.append(name)
            elif not (image.is_file() or image.is_dir()):
                raise InputError(f"{where}: image {name} is {NEITHER}")
            found[name] = str(image)
    if missing:
        raise InputError(
            f"{len(missing)} of {len(found)} images in section {section!r} of {path} do not exist, first {missing[0]}; "
            "restore them or make the datalist anew"
        )
    phantom = content.get("phantom", False)
    if not isinstance(phantom, bool):
        raise InputError(f"{path}: phantom must be true or false, without quotes, got {phantom!r}")
    return [{**entry, "image": found[str(entry["image"])], "phantom": phantom} for entry in entries]


def check_image_path(name: str, where: str) -> None:
    """Refuse text that names no file on any disk.

    Args:
        name: of an image, as a datalist has it.
        where: which item has it.

    Raises:
        InputError: it is empty, or holds what no name can.
    """
    if not name.strip():
        raise InputError(f"{where}: image is empty; expected the path of a file")
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:
        encoded = b"\0"
    if b"\0" in encoded:
        raise InputError(f"{where}: image {name!r} is no path")


def sections_of(path: str | Path) -> list[str]:
    """Return the sections of a datalist that hold something.

    Raises:
        InputError: none does, or the file is no datalist.
    """
    content = read_json(Path(path))
    found = [section for section in SECTIONS if isinstance(content, dict) and content.get(section)]
    if not found:
        raise InputError(f"{path} has no section that holds slices; expected {', '.join(SECTIONS)}")
    return found


def require_both_classes(path: str | Path, sections: Iterable[str]) -> None:
    """Refuse a datalist with a section that is empty or has one class; no image is read.

    Args:
        path: a datalist.json.
        sections: sections that will be used.

    Raises:
        InputError: see above; or an image does not exist.
    """
    for section in sections:
        labels = {entry["label"] for entry in load(path, section)}
        if len(labels) < 2:
            kind = "compressed" if labels == {1} else "uncompressed"
            raise InputError(
                f"section {section!r} of {path} holds {kind} slices only; training and the AUC need both kinds: "
                "divide the patients anew with `python -m scripts split`"
            )


def datalist_info(path: str | Path) -> dict[str, Any]:
    """Return what a datalist says about itself (seed, counts, whether it is a phantom) and the hash of its content."""
    content = read_object(Path(path))
    about = {name: value for name, value in content.items() if name not in SECTIONS}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return {**about, "datalist_sha256": digest}
