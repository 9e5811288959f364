"""Write the results of each series as soon as it is scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor

from ..console import say
from ..errors import root_message
from ..files import write_csv, write_json
from ..heatmaps.montages import grey, overlay, save_png, sheet_picture, source_overlays
from ..readers import decode
from ..records import (
    FAILURE_COLUMNS,
    SCORED,
    SERIES_COLUMNS,
    SLICE_COLUMNS,
    Failure,
    ResultFacts,
    Series,
    SeriesRecord,
    SeriesSummary,
    SliceResult,
)
from .dicom_results.captures import secondary_captures
from .dicom_results.reports import structured_report
from .dicom_results.sources import headers, require_highdicom, save
from .heatmap_files import write_heatmaps
from .results import Outputs, add_identity, findings_in_words, notice_line
from .series import SeriesDataset

SCALE = "Grad-CAM for compression"


class WriteSeries:
    """Write ``OUT/<series_uid>/{slices.csv, summary.json, heatmap.nii.gz, heatmap.png}``, series.csv and failures.csv.

    A series whose slices lie on several grids has heatmap_1.nii.gz, heatmap_2.nii.gz ..., see `write_heatmaps`.

    summary.json comes last, so a folder that has one is complete. A series that cannot be written is recorded in the
    dataset's failures, and the rest go on.

    Args:
        dataset: the series; its failures are written at the end.
        output_dir: OUT.
        facts: what every result repeats, see `scripts.inference.results.result_facts`.
        outputs: what else is written of each series.
        shard: which part of the series this process takes; others than 0 leave the tables to who started them.
    """

    def __init__(
        self, dataset: SeriesDataset, output_dir: str, facts: ResultFacts, outputs: Outputs, shard: int = 0
    ) -> None:
        if outputs.dicom:
            require_highdicom()
        self.dataset, self.output_dir, self.shard = dataset, Path(output_dir), int(shard)
        self.facts, self.outputs = facts, outputs
        self.records: list[SeriesRecord] = []

    def attach(self, engine: Engine) -> None:
        """Attach to the evaluator of inference.json."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.finish)

    def __call__(self, engine: Engine) -> None:
        """Write the series of this batch."""
        for entry, output in zip(engine.state.batch, engine.state.output, strict=True):
            index = int(entry["index"])
            try:
                self.write(self.dataset.series[index], output)
            except Exception as error:  # whatever keeps one series from being written, the others are still good
                self.dataset.add_failure(index, root_message(error))

    def write(self, series: Series, output: dict[str, Any]) -> None:
        """Write one series.

        Args:
            series: the series.
            output: what the postprocessing made of it.
        """
        folder = self.output_dir / series["name"]
        rows, summary = add_identity(series, self.facts, output["slice_results"], output["series_findings"])
        notice = notice_line(summary)
        write_csv(folder / "slices.csv", SLICE_COLUMNS, rows)
        write_heatmaps(output["heatmap"], folder, "heatmap", notice)
        if self.outputs.raw_heatmap:
            write_heatmaps(output["raw_heatmap"], folder, "heatmap_raw", notice)
        self.write_sheet(output["image"], output["network_heatmap"], rows, summary, folder / "heatmap.png")
        if self.outputs.overlays or self.outputs.dicom:
            problem = self.write_overlays(series, output["heatmap"], rows, summary, folder)
            summary["warnings"] = "; ".join(filter(None, (summary["warnings"], problem)))
        write_json(folder / "summary.json", summary)
        self.records.append(series_record(summary, "scored", folder.name))
        say(f"{series['series_uid']}: {findings_in_words(summary)}, results in {folder}")

    @staticmethod
    def write_sheet(
        image: MetaTensor, heatmap: torch.Tensor, rows: Sequence[SliceResult], summary: SeriesSummary, path: Path
    ) -> None:
        """Write all slices, the most caudal first, each above its heat map."""
        slices, heat = image.as_tensor()[0].cpu().numpy(), heatmap.cpu().numpy()
        pictures = [
            [grey(slices[..., index]), overlay(slices[..., index], heat[..., index])] for index in range(len(rows))
        ]
        scores = [f"p {row['probability']:.2f}" if row["status"] == SCORED else "-" for row in rows]
        captions = [f"{row['slice_index']}   {score}" for row, score in zip(rows, scores, strict=True)]
        title = f"{summary['series_uid']}: {findings_in_words(summary)}\n{notice_line(summary)}"
        called = [bool(row["compressed"]) for row in rows]
        save_png(sheet_picture(pictures, captions, called, title, f"{SCALE}, maximum = p"), path)

    def write_overlays(
        self, series: Series, heatmap: MetaTensor, rows: Sequence[SliceResult], summary: SeriesSummary, folder: Path
    ) -> str:
        """Write the overlays on the grid of the source, as PNG and as DICOM; returns why where there can be none."""
        if series["stack"] is None or not rows[0]["sop_uid"]:
            return "no overlays and no DICOM results: they need axial DICOM files"
        heat = heatmap.as_tensor()[0].cpu().numpy()
        colour = source_overlays(decode(series["stack"]), heat, rows, summary)
        if self.outputs.overlays:
            for row, picture in zip(rows, colour, strict=True):
                save_png(picture, folder / "overlays" / f"slice_{row['slice_index']:03d}.png")
        if self.outputs.dicom:
            images = headers(series["stack"].files)
            report = structured_report(images, rows, summary)
            save([report, *secondary_captures(images, rows, summary, colour)], folder / "dicom")
        return ""

    def finish(self) -> None:
        """Add what an earlier run had scored, and write the tables."""
        self.records += [series_record(summary, "kept", "") for summary in self.dataset.kept]
        if self.shard == 0:
            write_tables(self.output_dir, self.records, self.dataset.failures)


def series_record(summary: SeriesSummary, status: str, folder: str) -> SeriesRecord:
    """Make the row of series.csv of a series that has results."""
    return {
        "patient_id": summary["patient_id"],
        "study_uid": summary["study_uid"],
        "series_uid": summary["series_uid"],
        "status": status,
        "n_slices": summary["n_slices"],
        "n_evaluated": summary["n_evaluated"],
        "n_compressed": summary["n_compressed"],
        "max_probability": summary["max_probability"],
        "longest_run_slices": summary["longest_run_slices"],
        "longest_run_mm": summary["longest_run_mm"],
        "folder": folder,
        "reason": "",
    }


def write_tables(output_dir: Path, records: Sequence[SeriesRecord], failures: Sequence[Failure]) -> None:
    """Write series.csv (every series and what became of it) and failures.csv."""
    failed = [
        {"series_uid": row["series_uid"], "status": row["status"], "reason": row["reason"], "folder": row["input"]}
        for row in failures
    ]
    write_csv(output_dir / "series.csv", SERIES_COLUMNS, [*records, *failed])
    write_csv(output_dir / "failures.csv", FAILURE_COLUMNS, failures)
