"""What this program wrote itself, so that it is removed with its run and never read as an image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import read_json

MANIFEST = ".cervical_cord_compression.json"
LOCK = ".cervical_cord_compression.lock"
SUMMARY = "summary.json"
OWN_RESULT = "a result of this program, no image to score"
EARLIER = ("slices.csv", "heatmap.nii.gz", "heatmap_raw.nii.gz", "heatmap.png", "overlays/slice_*.png", "dicom/*.dcm")
"""What versions before 0.5 wrote of a series, which did not list it."""


def read_record(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty where there is none."""
    try:
        content = read_json(path)
    except InputError:
        return {}
    return content if isinstance(content, dict) else {}


def own_files(folder: Path) -> set[str]:
    """Return the files of a series' folder that a run wrote, relative to it, as its summary.json lists them."""
    summary = read_record(folder / SUMMARY)
    files = summary.get("files")
    if isinstance(files, list):
        return {str(name) for name in files} | {SUMMARY}
    if "weights_sha256" not in summary:
        return set()
    return {path.relative_to(folder).as_posix() for pattern in EARLIER for path in folder.glob(pattern)} | {SUMMARY}


def result_paths(folder: str) -> set[str]:
    """Return the paths of the results in a folder that has a summary.json; none where that is another program's."""
    if "weights_sha256" not in read_record(Path(folder, SUMMARY)):
        return set()
    return {os.path.join(folder, *name.split("/")) for name in own_files(Path(folder))}  # noqa: PTH118, as scandir does
