"""Write the results of each series as soon as it is scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from operator import itemgetter
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from numpy.typing import NDArray

from ..console import one_line, say
from ..dicom.own_results import SUMMARY, read_record
from ..errors import root_message
from ..files import remove, sha256, write_csv, write_json
from ..heatmaps.montages import save_png, save_sheet
from ..heatmaps.overlays import sides_of, source_overlays
from ..heatmaps.targets import explained_task, heat_in_words
from ..readers import decode
from ..records import (
    FAILURE_COLUMNS,
    SCORED,
    SERIES_COLUMNS,
    SLICE_COLUMNS,
    TASK_FINDINGS,
    WORKLIST_COLUMNS,
    Failure,
    ResultFacts,
    Series,
    SeriesRecord,
    SeriesSummary,
    SliceResult,
    TaskFindings,
    WrittenSummary,
)
from ..transforms import own_slices
from .dicom_results.captures import secondary_captures
from .dicom_results.reports import structured_report
from .dicom_results.sources import headers, require_highdicom, save
from .evaluator import SeriesEvents
from .finished import Outputs, series_input, summary_sha256
from .heatmap_files import sides_of_slices, write_heatmaps
from .output_folder import OutputFolder, files_below
from .results import add_identity, all_warnings, findings_in_words, notice_line, result_warnings
from .series import SeriesDataset


class WriteSeries:
    """Write ``OUT/<series_uid>/{slices.csv, summary.json, heatmap.nii.gz, heatmap.png}``, series.csv and failures.csv.

    A series whose slices lie on several grids has heatmap_1.nii.gz, heatmap_2.nii.gz ..., see `write_heatmaps`.

    The folder of a series appears when it is complete. A series that cannot be written is recorded in the dataset's
    failures, and the rest go on. Figures, overlays and DICOM are extras: what keeps one of them from being made becomes
    a warning of the result.

    A series is written in a thread of its own while the network looks at the next one; at most one waits.

    Args:
        dataset: the series; its failures are written at the end.
        output_dir: OUT.
        facts: what every result repeats, see `scripts.inference.results.result_facts`.
        outputs: what else is written of each series.
        shared_run: name of the run whose share this process scores, and which writes the tables; None where this
            process is the whole run.
    """

    def __init__(
        self,
        dataset: SeriesDataset,
        output_dir: str,
        facts: ResultFacts,
        outputs: Outputs,
        shared_run: str | None = None,
    ) -> None:
        if outputs.dicom:
            require_highdicom()
        self.dataset, self.shared_run = dataset, shared_run
        self.folder = OutputFolder(output_dir, shared_run)
        self.facts, self.outputs = facts, outputs
        self.records: list[SeriesRecord] = []
        self.thread, self.writing = ThreadPoolExecutor(1, "writer"), Future[None]()
        self.writing.set_result(None)

    def attach(self, engine: Engine) -> None:
        """Attach to the evaluator of inference.json."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.finish)
        engine.add_event_handler(SeriesEvents.LEFT, self.thread.shutdown)

    def start(self) -> None:
        """Take the output folder, unless the run that this process belongs to has taken it."""
        if self.shared_run is None:
            kept = [summary["folder"] for summary in self.dataset.kept]
            self.folder.begin([*kept, *(one["name"] for one in self.dataset.series)])

    def __call__(self, engine: Engine) -> None:
        """Begin to write the series of this batch, once the one before is written."""
        for entry, output in zip(engine.state.batch, engine.state.output, strict=True):
            self.writing.result()
            self.writing = self.thread.submit(self.try_to_write, int(entry["index"]), output)

    def try_to_write(self, index: int, output: dict[str, Any]) -> None:
        """Write one series, or record why it cannot be written."""
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
        name, place = series["name"], self.folder.path / series["name"]
        rows, summary = add_identity(series, self.facts, output["slice_results"], output["series_findings"])
        with self.folder.series(name) as folder:
            write_csv(folder / "slices.csv", tuple(dict.fromkeys((*SLICE_COLUMNS, *(rows[0] if rows else ())))), rows)
            write_heatmaps(output["heatmap"], folder, "heatmap", notice_line(summary))
            problems = result_warnings(rows) + [
                one_line(self.dataset.found.archives.named(problem).replace(str(folder), str(place)))
                for problem in self.write_extras(series, output, rows, summary, folder)
            ]
            summary["warnings"] = all_warnings(series, problems)
            hashes = {file: sha256(folder / file) for file in files_below(folder)}
            written: WrittenSummary = {
                **summary,
                **series_input(series),
                "folder": name,
                "files": [*hashes, SUMMARY],
                "file_sha256": hashes,
                "problems": problems,
                "summary_sha256": "",
            }
            write_json(folder / SUMMARY, {**written, "summary_sha256": summary_sha256(written)})
        self.records.append(series_record(summary, "scored", name))
        say(f"{one_line(series['series_uid'])}: {findings_in_words(summary)}, results in {place}")
        for problem in problems:
            say(f"warning: {problem}")

    def write_extras(
        self, series: Series, output: dict[str, Any], rows: Sequence[SliceResult], summary: SeriesSummary, folder: Path
    ) -> list[str]:
        """Write what a result can do without; returns why where something could not be written."""
        sheet, raw = output["network_heatmap"], output["raw_heatmap"]
        drawn = cache(partial(overlays_of, series, output["heatmap"], rows, summary))  # decodes the pixels once
        extras: dict[str, Callable[[], object]] = {
            "heatmap.png": lambda: self.write_sheet(output["image"], sheet, rows, summary, folder / "heatmap.png")
        }
        if self.outputs.raw_heatmap:
            extras["heatmap_raw*.nii.gz"] = lambda: write_heatmaps(raw, folder, "heatmap_raw", notice_line(summary))
        problems = []
        if (self.outputs.overlays or self.outputs.dicom) and (series["stack"] is None or not rows[0]["sop_uid"]):
            problems.append("no overlays and no DICOM results: they need axial DICOM files")
        else:
            if self.outputs.overlays:
                extras["overlays"] = lambda: self.write_overlays(drawn(), rows, folder / "overlays")
            if self.outputs.dicom:
                extras["dicom"] = lambda: self.write_dicom(series, drawn(), rows, summary, folder / "dicom")
        for name, write in extras.items():
            try:
                write()
            except Exception as error:  # whatever keeps an extra from being made, the result is good without it
                problems.append(f"no {name.replace('*', '')}: {root_message(error)}")
                for path in folder.glob(name):
                    remove(path)
        return problems

    @staticmethod
    def write_sheet(
        image: MetaTensor, heatmap: torch.Tensor, rows: Sequence[SliceResult], summary: SeriesSummary, path: Path
    ) -> None:
        """Write all slices, the most caudal first, each above its heat map."""
        slices, heat = own_slices(image.as_tensor())[0].cpu().numpy(), heatmap.cpu().numpy()
        pairs = [(slices[..., index], heat[..., index]) for index in range(len(rows))]
        scores = [f"p {row['probability']:.2f}" if row["status"] == SCORED else "-" for row in rows]
        captions = [f"{row['slice_index']}   {score}" for row, score in zip(rows, scores, strict=True)]
        title = f"{summary['series_uid']}: {findings_in_words(summary)}\n{notice_line(summary)}"
        scale, task = "Grad-CAM for compression", explained_task(summary)
        if task is not None:
            captions = [f"{one}\n{heat_in_words(row, task)}" for one, row in zip(captions, rows, strict=True)]
            title += (
                f"\nHeat maps of {task.name}: each explains what stands over its slice; its maximum is that probability"
            )
            scale = f"Grad-CAM for {task.name}"
        called = [bool(row["compressed"]) for row in rows]
        sides = sides_of(image.affine.cpu().numpy(), across=1)
        save_sheet(pairs, captions, called, title, f"{scale}, maximum = p", sides, path)

    @staticmethod
    def write_overlays(drawn: Sequence[NDArray[np.uint8]], rows: Sequence[SliceResult], folder: Path) -> None:
        """Write each slice with its heat map as PNG, on the grid of its source."""
        for row, picture in zip(rows, drawn, strict=True):
            save_png(picture, folder / f"slice_{row['slice_index']:03d}.png")

    @staticmethod
    def write_dicom(
        series: Series,
        drawn: Sequence[NDArray[np.uint8]],
        rows: Sequence[SliceResult],
        summary: SeriesSummary,
        folder: Path,
    ) -> None:
        """Write the structured report, and each slice with its heat map, as DICOM."""
        assert series["stack"] is not None
        images = headers(series["stack"].files)
        report = structured_report(images, rows, summary)
        save([report, *secondary_captures(images, rows, summary, drawn)], folder)

    def finish(self) -> None:
        """Add what an earlier run had scored; a whole run also writes the tables, and lets the folder go."""
        self.writing.result()
        for summary in self.dataset.kept:
            self.records.append(series_record(summary, "kept", summary["folder"]))
            place = self.folder.path / summary["folder"] / SUMMARY
            if read_record(place) != summary:  # its source has moved
                write_json(place, summary)
        if self.shared_run is None:
            finish_run(self.folder, self.records, sorted(self.dataset.failures, key=itemgetter("input")))


def overlays_of(
    series: Series, heatmap: MetaTensor, rows: Sequence[SliceResult], summary: SeriesSummary
) -> list[NDArray[np.uint8]]:
    """Draw each slice with its heat map, on the grid of its source."""
    assert series["stack"] is not None
    values = heatmap.as_tensor()[0].cpu().numpy()
    return source_overlays(decode(series["stack"]), values, rows, summary, sides_of_slices(heatmap))


def finish_run(folder: OutputFolder, records: Sequence[SeriesRecord], failures: Sequence[Failure]) -> None:
    """Remove what only earlier runs had made, write the tables of this one, and let the folder go."""
    n_removed = folder.finish(row["folder"] for row in records)
    write_tables(folder.path, records, failures)
    folder.end()
    if n_removed:
        say(f"removed the results of {n_removed} series of an earlier run in {folder.path}")


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
        "patient_score": summary["patient_score"],
        "patient_rule": summary["patient_rule"],
        "patient_threshold": summary["patient_threshold"],
        "patient_compressed": summary["patient_compressed"],
        "smallest_cord_ap_mm": summary["smallest_cord_ap_mm"],
        "largest_mscc_percent": summary["largest_mscc_percent"],
        "folder": folder,
        "reason": "",
        **task_findings_of(summary),
    }


def worklist(records: Sequence[SeriesRecord]) -> list[dict[str, Any]]:
    """Return the rows of worklist.csv: series by falling patient-level score, those without any score last."""

    def place(row: SeriesRecord) -> tuple[bool, float, str, str]:
        score = row["patient_score"]
        return score is None, -(score or 0.0), row["patient_id"], row["series_uid"]

    return [
        {"rank": rank, **{name: row[name] for name in WORKLIST_COLUMNS[1:]}}  # type: ignore[literal-required]
        for rank, row in enumerate(sorted(records, key=place), start=1)
    ]


def task_findings_of(summary: SeriesSummary | WrittenSummary) -> TaskFindings:
    """Return what the further tasks found in a series; nothing of a network that has none."""
    return cast(TaskFindings, {name: value for name, value in summary.items() if name in TASK_FINDINGS})


def write_tables(output_dir: Path, records: Sequence[SeriesRecord], failures: Sequence[Failure]) -> None:
    """Write failures.csv, worklist.csv, and series.csv (what became of every series), which marks a run as finished."""
    failed = [{"folder" if name == "input" else name: value for name, value in row.items()} for row in failures]
    write_csv(output_dir / "failures.csv", FAILURE_COLUMNS, failures)
    write_csv(output_dir / "worklist.csv", WORKLIST_COLUMNS, worklist(records))
    columns = [name for name in TASK_FINDINGS if any(name in row for row in records)]
    write_csv(output_dir / "series.csv", (*SERIES_COLUMNS, *columns), [*records, *failed])
