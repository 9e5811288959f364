"""What lies in a folder: what is whole, what was left over, and whether two folders say the same."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

TOLERANCE = 1e-5
OWN_RECORD = ".cervical_cord_compression."
"""How the names of the files begin in which `predict` notes what it wrote, and that it is at work."""


def visible_files(folder: Path) -> list[Path]:
    """List files that do not lie in, and are not, something hidden."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def leftovers(folder: Path) -> list[str]:
    """List hidden files and folders, which only an unfinished write may have; `predict` keeps a record of its own."""
    hidden = [path.name for path in sorted(folder.glob("**/.*")) if not path.name.startswith(OWN_RECORD)]
    return [f"left over: {name}" for name in hidden]


def read_csv(path: Path, without: Sequence[str] = ()) -> list[dict[str, str]]:
    """Read a table without some columns.

    Raises:
        ValueError: a line has too few or too many cells, or the last one does not end.
    """
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    header, *rows = list(csv.reader(text.splitlines(keepends=True), strict=True)) or [[]]
    if not text.endswith("\n") or any(len(row) != len(header) for row in rows):
        raise ValueError("a table that is cut off")
    return [{name: cell for name, cell in zip(header, row, strict=True) if name not in without} for row in rows]


def read_dicom(path: Path) -> None:
    """Read a DICOM file with its pixels.

    Raises:
        ValueError: there are fewer pixels than the header says.
    """
    from pydicom import dcmread

    dataset = dcmread(path)
    if "PixelData" in dataset:
        dataset.pixel_array.sum()


def read_picture(path: Path) -> None:
    """Read all of a PNG."""
    from PIL import Image

    with Image.open(path) as picture:
        picture.load()


def read_volume(path: Path) -> Any:
    """Read the voxels of a NIfTI file."""
    import nibabel

    return nibabel.load(path).get_fdata()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint as the product does."""
    from scripts import checkpoints

    return checkpoints.read(path)


READERS: dict[str, Callable[[Path], Any]] = {
    ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
    ".csv": read_csv,
    ".pt": read_checkpoint,
    ".png": read_picture,
    ".gz": read_volume,
    ".dcm": read_dicom,
}


def half_written(folder: Path) -> list[str]:
    """List the files that look finished and are not."""
    found = []
    for path in visible_files(folder):
        try:
            READERS.get(path.suffix, lambda _: None)(path)
        except Exception as error:  # whatever half a file provokes
            found.append(f"half-written: {path.relative_to(folder)} ({type(error).__name__}: {error})")
    return found


def close(first: str, second: str) -> bool:
    """Return whether two cells are equal, or numbers within ``TOLERANCE``."""
    if first == second:
        return True
    try:
        return math.isclose(float(first), float(second), rel_tol=0, abs_tol=TOLERANCE)
    except ValueError:
        return False


def unlike_tables(
    one: Path, other: Path, without: Sequence[str] = (), near: Sequence[str] = (), key: Sequence[str] = ()
) -> list[str]:
    """Compare two tables.

    Args:
        one: a table.
        other: what it must say.
        without: columns that may differ, such as seconds.
        near: columns of numbers that may differ by ``TOLERANCE``.
        key: columns to sort by where the order of rows is free.
    """
    if not one.is_file() or not other.is_file():
        return [f"{one.name} is missing"] if one.is_file() != other.is_file() else []
    tables = [sorted(read_csv(path, without), key=lambda row: [row[name] for name in key]) for path in (one, other)]
    if len(tables[0]) != len(tables[1]):
        return [f"{one.name} has {len(tables[0])} rows, not {len(tables[1])}"]
    for number, (mine, whole) in enumerate(zip(*tables, strict=True), 1):
        for name in {**mine, **whole}:
            first, second = mine.get(name), whole.get(name)
            if first != second and not (name in near and first and second and close(first, second)):
                return [f"{one.name}, row {number}: {name} is {first!r}, not {second!r}"]
    return []


def unlike_values(one: Any, other: Any, where: str, without: Sequence[str] = ()) -> list[str]:
    """Compare two nested values exactly, tensors bit by bit."""
    import torch

    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        same = one.dtype == other.dtype and torch.equal(one, other)
        return [] if same else [f"{where} differs by up to {(one.double() - other.double()).abs().max():.3g}"]
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if one.keys() != other.keys():
            return [f"{where} has other keys: {sorted(map(str, one.keys() ^ other.keys()))}"]
        names = [name for name in one if name not in without]
        return [text for name in names for text in unlike_values(one[name], other[name], f"{where}[{name}]", without)]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            return [f"{where} has {len(one)} entries, not {len(other)}"]
        pairs = enumerate(zip(one, other, strict=True))
        return [text for n, pair in pairs for text in unlike_values(*pair, f"{where}[{n}]", without)]
    both_nan = isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
    return [] if one == other or both_nan else [f"{where} is {one!r}, not {other!r}"]


def unlike_names(one: Path, other: Path) -> list[str]:
    """Compare which files two folders hold, the event files of TensorBoard aside."""
    names = [
        {path.relative_to(folder).as_posix() for path in visible_files(folder) if "tensorboard" not in path.parts}
        for folder in (one, other)
    ]
    missing, surplus = sorted(names[1] - names[0]), sorted(names[0] - names[1])
    return [f"missing: {name}" for name in missing[:3]] + [f"too much: {name}" for name in surplus[:3]]


def unlike_bytes(one: Path, other: Path) -> list[str]:
    """Compare all files of two folders byte by byte."""
    found = unlike_names(one, other)
    for path in [] if found else visible_files(other):
        name = path.relative_to(other)
        if (one / name).read_bytes() != path.read_bytes():
            found.append(f"{name} differs")
    return found
