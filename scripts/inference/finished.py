"""What is written of each series, what it was made of, and whether an earlier run has finished it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..dicom.own_results import SUMMARY, read_record
from ..files import sha256, text_sha256
from ..records import ResultFacts, Series, SeriesInput, WrittenSummary, fits
from .results import all_warnings

IDENTITY = ("patient_id", "study_uid", "series_uid", "phantom")
"""What a `Series` and its summary.json both say of whose it is."""


@dataclass(frozen=True)
class Outputs:
    """What is written of each series beyond slices.csv, summary.json, heatmap.nii.gz and heatmap.png.

    Attributes:
        dicom: a structured report and Secondary Capture overlays as ``dicom/*.dcm``; needs highdicom.
        overlays: each slice with its heat map, on the pixel grid of the source, as ``overlays/*.png``.
        raw_heatmap: the map as Grad-CAM returns it, comparable between slices, as heatmap_raw.nii.gz.
    """

    dicom: bool = False
    overlays: bool = False
    raw_heatmap: bool = False

    def complete_in(self, folder: Path, series: Series) -> bool:
        """Return whether a series' folder has all of it that the series can have."""
        from_dicom = series["stack"] is not None
        names = {"dicom": self.dicom and from_dicom, "overlays": self.overlays and from_dicom}
        names["heatmap_raw*.nii.gz"] = self.raw_heatmap
        return all(any(folder.glob(name)) for name, wanted in names.items() if wanted)


def series_input(series: Series) -> SeriesInput:
    """Return what a series is made of; this reads its files, but decodes nothing."""
    stack = series["stack"]
    files = [str(series["image"])] if stack is None else list(stack.files)
    hashes = sorted(map(sha256, files))
    slices = sorted(f"{one.sop_uid},{one.frame}" for one in stack.slices) if stack is not None else []
    return {
        "input_files": series["files"],
        "content_sha256": hashes[0] if len(hashes) == 1 else text_sha256(hashes),
        "slices_sha256": text_sha256(slices) if slices else "",
    }


def summary_sha256(summary: Mapping[str, Any]) -> str:
    """Hash what a summary.json says but this hash, and but where the source lies."""
    content = {name: value for name, value in summary.items() if name not in ("summary_sha256", "input_files")}
    return text_sha256([json.dumps(content, sort_keys=True)])


class Finished:
    """Find series that an earlier run has scored in the same way, so that an interrupted run can be resumed.

    Args:
        enabled: whether to look at all.
        output_dir: folder of the results.
        facts: what their summary.json must say, beside what the series is made of.
        outputs: what must be there beside it.
    """

    def __init__(self, enabled: bool, output_dir: str, facts: ResultFacts, outputs: Outputs) -> None:
        self.enabled, self.output_dir, self.facts, self.outputs = enabled, Path(output_dir), facts, outputs

    def __call__(self, series: Series) -> WrittenSummary | None:
        """Return the summary of a series that is finished, with the files of this run's source; None of any other."""
        folder = self.output_dir / series["name"]
        if not self.enabled or folder.is_symlink() or not self.outputs.complete_in(folder, series):
            return None
        summary = read_record(folder / SUMMARY)
        # of an earlier version, or damaged
        if not fits(summary, WrittenSummary) or summary["summary_sha256"] != summary_sha256(summary):
            return None
        wanted = {**self.facts, "folder": series["name"], "warnings": all_warnings(series, summary["problems"])}
        wanted |= {name: series[name] for name in IDENTITY}  # type: ignore[literal-required]
        if any(summary.get(name) != value for name, value in wanted.items()):
            return None
        try:
            whole = all(sha256(folder / name) == digest for name, digest in summary["file_sha256"].items())
            source = series_input(series)
        except OSError:  # a file is missing, or the source can no longer be read
            return None
        same = all(summary[name] == source[name] for name in ("content_sha256", "slices_sha256"))
        found: Any = {**summary, "input_files": source["input_files"]}
        return found if whole and same else None
