"""Writing what was found: Basic Text SR, Comprehensive 3D SR, Secondary Captures and JSON."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from monai.deploy.core import Operator
from monai.deploy.operators.dicom_text_sr_writer_operator import DICOMTextSRWriterOperator

from scripts.errors import root_message
from scripts.files import inside, safe_name, write_json
from scripts.heatmaps.overlays import source_overlays
from scripts.inference.dicom_results.captures import secondary_captures
from scripts.inference.dicom_results.reports import structured_report
from scripts.inference.dicom_results.sources import save
from scripts.inference.results import findings_in_words, notice_line, patient_line
from scripts.inference.task_results import calls_in_words
from scripts.records import SCORED

from .classification import Result


def as_text(result: Result) -> str:
    """Describe a series' result in words, for systems that show text only."""
    summary = result.summary
    lines = [
        notice_line(summary),
        f"Spinal cord compression: {findings_in_words(summary)}.",
        patient_line(summary),
        *([f"Highest grade: {summary['highest_grade']}."] if summary.get("highest_grade") is not None else []),
    ]
    for row in result.rows:
        probability = f"{row['probability']:.3f}" if row["status"] == SCORED else row["status"]
        found = ", ".join(filter(None, (probability, calls_in_words(row))))
        lines.append(f"Slice {row['slice_index']}: {found}")
    if summary["warnings"]:
        lines.append(summary["warnings"])
    return "\n".join(lines)


def folder_of(output_folder: Path, result: Result) -> Path:
    """Return the folder of a series' results."""
    folder = inside(Path(output_folder), safe_name(str(result.summary["series_uid"])))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_extra(folder: Path, what: str, write: Callable[[], object]) -> None:
    """Write what a result can do without; what keeps it from being made is logged."""
    try:
        write()
    except Exception as error:  # whatever it is, the result is good without it
        logging.warning("%s: no %s: %s", folder, what, root_message(error))


class TextReportOperator(DICOMTextSRWriterOperator):
    """The SDK's Basic Text SR writer, for every scored series."""

    def setup(self, spec: Any) -> None:
        """Name the port."""
        spec.input("results")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Write one report per series."""
        for result in op_input.receive("results"):
            folder = folder_of(self.output_folder, result)
            write_extra(folder, "Basic Text SR", partial(self.write, as_text(result), result.series, folder))


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
            write_json(folder / "result.json", {**summary, "slices": rows})
            write_extra(folder, "Comprehensive 3D SR", partial(write_report, result, folder))
            write_extra(folder, "Secondary Captures", partial(write_captures, result, folder))
            logging.info("results in %s", folder)


def write_report(result: Result, folder: Path) -> None:
    """Write what was found as a structured report."""
    save([structured_report(result.sources, result.rows, result.summary)], folder)


def write_captures(result: Result, folder: Path) -> None:
    """Write each slice with its heat map as a Secondary Capture."""
    colour = source_overlays(result.pixels, result.heatmap, result.rows, result.summary, result.sides)
    save(secondary_captures(result.sources, result.rows, result.summary, colour), folder)
