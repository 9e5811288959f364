"""Writing what was found: Basic Text SR, Comprehensive 3D SR, Secondary Capture and JSON."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from monai.deploy.core import Operator
from monai.deploy.operators.dicom_text_sr_writer_operator import DICOMTextSRWriterOperator

from scripts.files import write_json

from .classification import Scored
from .reports import NOTE, secondary_captures, structured_report


def as_text(result: dict[str, Any]) -> str:
    """Say a series' result in words, for systems that show text only."""
    found = f"{result['n_compressed']} of {result['n_slices']} slices called compressed"
    lines = [
        NOTE.upper(),
        f"Spinal cord compression: {found} (probability {result['threshold']:.3f} or more)",
        f"Highest probability: {result['max_probability']:.3f}",
    ]
    if result["trained_on_phantom"]:
        lines.append("The model was trained on synthetic patients: these numbers mean nothing for this patient.")
    lines += [f"Slice {row['slice_index'] + 1}: {row['probability']:.3f}" for row in result["slices"]]
    return "\n".join(lines)


class TextReportOperator(DICOMTextSRWriterOperator):
    """The SDK's Basic Text SR writer, for every scored series."""

    def setup(self, spec: Any) -> None:
        """Name the port."""
        spec.input("scored")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Write one report per series."""
        scored: list[Scored] = op_input.receive("scored")
        for one in scored:
            self.write(as_text(one.result), one.series, folder_of(self.output_folder, one))


def folder_of(output_folder: Path, one: Scored) -> Path:
    """Give the folder of a series' results."""
    folder = Path(output_folder) / str(one.result["series_uid"])
    folder.mkdir(parents=True, exist_ok=True)
    return folder


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
        spec.input("scored")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Write."""
        scored: list[Scored] = op_input.receive("scored")
        for one in scored:
            folder, rows = folder_of(self.output_folder, one), one.result["slices"]
            report = structured_report(rows, one.sources, one.result)
            captures = secondary_captures(rows, one.sources, one.pixels, one.heatmap, one.result)
            for dataset in (report, *captures):
                dataset.save_as(folder / f"{dataset.SOPInstanceUID}.dcm")
            write_json(folder / "result.json", one.result)
            logging.info("results in %s", folder)
