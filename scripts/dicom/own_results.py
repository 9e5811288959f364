"""What this program wrote itself, so that it is removed with its run and never read as an image."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import read_json
from ..records import SLICE_COLUMNS
from .elements import UnreadableError, read_header, text

MANIFEST = ".cervical_cord_compression.json"
LOCK = ".cervical_cord_compression.lock"
SUMMARY = "summary.json"
OWN_RESULT = "a result of this program, no image to score"
KINDS = (
    *("slices.csv", "heatmap.nii.gz", "heatmap_[0-9]*.nii.gz", "heatmap_raw.nii.gz", "heatmap_raw_[0-9]*.nii.gz"),
    *("heatmap.png", "overlays/slice_*.png", "dicom/*.dcm"),
)
"""What is written of a series beside its summary.json; no other file is ours, whatever a summary.json lists."""
DICOM_CLASSES = ("1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.88.")
"""What the SOP Class UIDs of Secondary Captures and of structured reports begin with."""


def is_regular(path: Path) -> bool:
    """Return whether a path is that of a file that opens without waiting; a link is none, since it is a user's."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def read_record(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty where there is none."""
    try:
        content = read_json(path) if is_regular(path) else None
    except InputError:
        return {}
    return content if isinstance(content, dict) else {}


def has_own_table(folder: Path) -> bool:
    """Return whether a folder's slices.csv begins with the columns of ours, those of earlier versions included."""
    path, columns = folder / "slices.csv", ",".join(SLICE_COLUMNS[:8]).encode()
    try:
        if not is_regular(path):
            return False
        with path.open("rb") as stream:
            return stream.read(len(columns)) == columns
    except OSError:
        return False


def own_files(folder: Path) -> set[str]:
    """Return the files of a series' folder that a run wrote, relative to it, as its summary.json lists them.

    Versions before 0.5 did not list them, and a list may be damaged, where a slices.csv of ours speaks for the others.
    """
    summary = read_record(folder / SUMMARY)
    found = {path.relative_to(folder).as_posix() for pattern in KINDS for path in folder.glob(pattern)}
    files = summary.get("files")
    if isinstance(files, list):
        return (found & {str(name) for name in files}) | {SUMMARY}
    if "weights_sha256" in summary:
        return found | {SUMMARY}
    if summary or not has_own_table(folder):
        return set()
    return found | ({SUMMARY} if is_regular(folder / SUMMARY) else set())


def result_paths(folder: str) -> set[str]:
    """Return the paths of the results in a folder that has a summary.json; none where that is another program's.

    Images that lie among them, as the sources may, are no results.
    """
    if "weights_sha256" not in read_record(Path(folder, SUMMARY)):
        return set()
    own = (name for name in own_files(Path(folder)) if not name.endswith(".dcm") or is_own_dicom(Path(folder, name)))
    return {os.path.join(folder, *name.split("/")) for name in own}  # noqa: PTH118, as scandir does


def is_own_dicom(path: Path) -> bool:
    """Return whether a file is of a class of which our DICOM results are."""
    try:
        return is_regular(path) and text(read_header(path).fields.get("SOPClassUID")).startswith(DICOM_CLASSES)
    except (UnreadableError, ValueError):
        return False
