"""What is written of each series, what it was made of, and whether an earlier run has finished it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..files import read_json, sha256, text_sha256
from ..records import ResultFacts, Series, SeriesInput, WrittenSummary
from .results import all_warnings


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
        if not self.enabled or not (folder / "summary.json").is_file() or not self.outputs.complete_in(folder, series):
            return None
        try:
            summary: WrittenSummary = read_json(folder / "summary.json")
            wanted = {**self.facts, "series_uid": series["series_uid"], "folder": series["name"]}
            wanted["warnings"] = all_warnings(series, summary["problems"])
            if any(summary.get(name) != value for name, value in wanted.items()):
                return None
            whole = all((folder / name).stat().st_size == size for name, size in summary["file_sizes"].items())
            source = series_input(series)
            same = all(summary[name] == source[name] for name in ("content_sha256", "slices_sha256"))
        except (
            InputError,
            AttributeError,
            KeyError,
            TypeError,
            OSError,
        ):  # of an earlier version, or damaged; or the input is
            return None
        return {**summary, "input_files": source["input_files"]} if whole and same else None
