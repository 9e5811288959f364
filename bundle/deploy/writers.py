"""Writing what was found: Basic Text SR, Comprehensive 3D SR, Secondary Captures and JSON."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from monai.deploy.core import Operator
from monai.deploy.operators.dicom_text_sr_writer_operator import DICOMTextSRWriterOperator

from scripts.files import write_json
from scripts.heatmaps.montages import source_overlays
from scripts.inference.dicom_results.captures import secondary_captures
from scripts.inference.dicom_results.reports import structured_report
from scripts.inference.dicom_results.sources import save
from scripts.inference.results import notice_line
from scripts.records import SCORED

from .classification import Result


def as_text(result: Result) -> str:
    """Describe a series' result in words, for systems that show text only."""
    summary = result.summary
    lines = [
        notice_line(summary),
        f"Spinal cord compression: {summary['n_compressed']} of {summary['n_evaluated']} slices called compressed.",
    ]
    for row in result.rows:
        probability = f"{row['probability']:.3f}" if row["status"] == SCORED else row["status"]
        lines.append(f"Slice {row['slice_index']}: {probability}")
    return "\n".join(lines)


def folder_of(output_folder: Path, result: Result) -> Path:
    """Return the folder of a series' results."""
    folder = Path(output_folder) / str(result.summary["series_uid"])
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class TextReportOperator(DICOMTextSRWriterOperator):
    """The SDK's Basic Text SR writer, for every scored series."""

    def setup(self, spec: Any) -> None:
        """Name the port."""
        spec.input("results")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Write one report per series."""
        for result in op_input.receive("results"):
            self.write(as_text(result), result.series, folder_of(self.output_folder, result))


class ResultWriterOperator(Operator):
    """Write Comprehensive 3D SR, Secondary Captures and result.json of every scored series.

    Args:
        fragment: the application.
        args: for the base class.
        output_folder: gets one folder per series.
        kwargs: for the base class.
    """

    def __init__(self, fragment: Any, *args: Any, output_folder: Path, **kwargs: Any) -> None:
        self.output_folder = Path(output_folder)
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: Any) -> None:
        """Name the port."""
        spec.input("results")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Write."""
        results: list[Result] = op_input.receive("results")
        for result in results:
            folder, rows, summary = folder_of(self.output_folder, result), result.rows, result.summary
            colour = source_overlays(result.pixels, result.heatmap, rows, summary)
            report = structured_report(result.sources, rows, summary)
            save([report, *secondary_captures(result.sources, rows, summary, colour)], folder)
            write_json(folder / "result.json", {**summary, "slices": rows})
            logging.info("results in %s", folder)
