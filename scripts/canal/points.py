"""From masks of cord and canal to canal.csv."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ignite.distributed as idist
import numpy as np
from monai.data import MetaTensor

from .. import datalists
from ..console import progress, say
from ..dicom.listings import is_volume_file
from ..errors import InputError, root_message
from ..files import resolved, write_csv
from ..slice_files import position
from .truth import COLUMNS, file_point, load_mask, matching_slice, oriented_image

CANAL_WORDS = ("canal",)
CORD_WORDS = ("label-sc_", "_seg", "cord")
IDENTITY = ("patient_id", "series_uid", "sop_uid", "frame", "slice_index")


class Found(NamedTuple):
    """What `make_table` found: numbers of slices, and how many series were left out for which reason."""

    centres: int
    empty: int
    without: int
    reasons: Counter[str]


def canal_table(datalist: str) -> str:
    """Return the canal.csv of a cohort; where there is none but masks, make it.

    Args:
        datalist: the cohort's datalist.
    """
    path = Path(datalist).parent / "canal.csv"
    if not path.exists() and (path.parent / "masks").is_dir():
        if idist.get_rank() == 0:
            say(f"no {path} yet: making it from the masks in {path.parent / 'masks'}")
            make_table(Path(datalist), path.parent / "masks", path)
        idist.barrier()
    return str(path)


def make_table(datalist: Path, folder: Path, target: Path) -> Found:
    """Find the masks of a cohort's slices and write canal.csv.

    Args:
        datalist: the cohort's datalist.
        folder: with masks named by patient_id.
        target: the table; masks must lie below its folder.

    Raises:
        InputError: no slice has a mask.
    """
    entries = [entry for section in datalists.sections_of(datalist) for entry in datalists.load(datalist, section)]
    masks = sorted(folder.rglob("*.nii*"))
    by_image: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        by_image.setdefault(place_of(entry), []).append(entry)
    rows: list[dict[str, Any]] = []
    reasons: Counter[str] = Counter()
    for members in progress(by_image.values(), "reading images and masks", "series"):
        try:
            rows += rows_of(members, mask_files(members[0], masks), target.parent)
        except Exception as error:  # whatever one series provokes, the others are still good
            reasons[root_message(error)] += 1
    if not rows:
        first = f"; the first: {next(iter(reasons))}" if reasons else ""
        raise InputError(f"no mask belongs to a slice of {datalist} ({len(entries)} slices; looked in {folder}){first}")
    write_csv(target, COLUMNS, rows)
    centres = sum(row["canal_row_px"] is not None for row in rows)
    return Found(centres, len(rows) - centres, len(entries) - len(rows), reasons)


def place_of(entry: Mapping[str, Any]) -> str:
    """Return what the slices of one series have in common: a volume file, or the folder and the series of files."""
    path = Path(str(entry["image"]))
    return f"{path.parent}|{entry.get('series_uid', '')}" if entry.get("sop_uid") else str(path)


def mask_files(entry: Mapping[str, Any], masks: Iterable[Path]) -> list[Path]:
    """List the masks that may belong to a slice: of some files those of its patient, and those beside its image."""
    patient, image = str(entry.get("patient_id", "")), Path(str(entry["image"]))
    found = [path for path in masks if patient and is_named_after(path, patient)]
    return list(dict.fromkeys([*found, *(beside(image) if is_volume_file(str(image)) else [])]))


def beside(image: Path) -> list[Path]:
    """List the masks of cord or canal beside a volume file, by their names."""
    stem = image.name.partition(".")[0]
    near = [one for one in sorted(image.parent.glob("*.nii*")) if is_named_after(one, stem) and one != image]
    return [one for one in near if len(mask_columns(one)) == 1]


def is_named_after(path: Path, name: str) -> bool:
    """Return whether a file's name is another, or goes on after it with a mark: ``P1_seg`` is of P1, ``P10`` is not."""
    rest = path.name.removeprefix(name)
    return rest != path.name and not rest[:1].isalnum()


def mask_columns(path: Path) -> tuple[str, ...]:
    """Return the columns of canal.csv that a mask fills, by its name; both where it holds two values."""
    name = path.name.lower()
    if any(word in name for word in CANAL_WORDS):
        return ("canal_mask",)
    return ("cord_mask",) if any(word in name for word in CORD_WORDS) else ("canal_mask", "cord_mask")


def rows_of(members: Sequence[Mapping[str, Any]], masks: Iterable[Path], root: Path) -> list[dict[str, Any]]:
    """Make the rows of one series.

    Args:
        members: its slices, as the datalist names them.
        masks: files that may hold its masks.
        root: folder of canal.csv.
    """
    paths = list(dict.fromkeys(str(entry["image"]) for entry in members))
    image = oriented_image(paths if len(paths) > 1 else paths[0])
    rows = []
    for entry in members:
        index = position(image, dict(entry))
        if index is None:
            continue
        row = row_of(entry, image, index, masks, root)
        if row is not None:
            rows.append(row)
    return rows


def row_of(
    entry: Mapping[str, Any], image: MetaTensor, index: int, masks: Iterable[Path], root: Path
) -> dict[str, Any] | None:
    """Make the row of one slice; None where no mask lies where it does."""
    named: dict[str, str] = {}
    number, outlines = None, dict[str, Any]()
    for path in masks:
        found = matching_slice(image, index, str(path))
        if found is None:
            continue
        number = found
        for column in mask_columns(path):
            named.setdefault(column, resolved(path).relative_to(resolved(root)).as_posix())
            outlines.setdefault(column, load_mask(str(path))[0][..., found])
    if number is None:
        return None
    rows, columns = np.nonzero(outlines["canal_mask"] if "canal_mask" in outlines else outlines["cord_mask"])
    point = file_point(image, (float(rows.mean()), float(columns.mean()))) if len(rows) else None
    return {
        **{name: entry.get(name, "") for name in IDENTITY},
        "image": Path(str(entry["image"])).relative_to(resolved(root)).as_posix(),
        "canal_row_px": None if point is None else round(point[0], 2),
        "canal_column_px": None if point is None else round(point[1], 2),
        "canal_mask": named.get("canal_mask", ""),
        "cord_mask": named.get("cord_mask", ""),
        "mask_slice": number,
    }
