"""Write the results of each series as soon as it is scored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor

from ..console import say
from ..files import read_json, replacing, write_csv, write_json
from ..heatmaps.montages import grey, overlay, save_png, sheet_picture, source_overlays
from ..readers import SeriesReader
from .dicom_results.captures import secondary_captures
from .dicom_results.reports import structured_report
from .dicom_results.sources import headers, require_highdicom, save
from .results import SCORED, SERIES_COLUMNS, SLICE_COLUMNS, caveats, slice_rows, summarise
from .series import SeriesDataset

SCALE = "Grad-CAM for compression"


class WriteSeries:
    """Write ``OUT/<series_uid>/{slices.csv, summary.json, heatmap.nii.gz, heatmap.png}``, series.csv and failures.csv.

    summary.json comes last, so a folder that has one is complete.

    Args:
        dataset: the series; its failures are written at the end.
        output_dir: OUT.
        bundle_root: folder of the bundle, for the model's version.
        checkpoint: what `scripts.checkpoints.load_network` gave.
        threshold: probability from which a slice is called compressed.
        threshold_source: where the threshold was chosen.
        overlays: also write each slice with its heat map, on the pixel grid of the source, as ``overlays/*.png``.
        dicom: also write a structured report and Secondary Capture overlays as ``dicom/*.dcm``; needs highdicom.
        raw_heatmap: also write the map as Grad-CAM gives it (comparable between slices) as heatmap_raw.nii.gz.
        method: what else results depend on; added to summary.json.
        shard: which part of the series this process takes; others than 0 leave the tables to who started them.
    """

    def __init__(
        self,
        dataset: SeriesDataset,
        output_dir: str,
        bundle_root: str,
        checkpoint: dict[str, Any],
        threshold: float,
        threshold_source: str = "",
        overlays: bool = False,
        dicom: bool = False,
        raw_heatmap: bool = False,
        method: Mapping[str, Any] | None = None,
        shard: int = 0,
    ) -> None:
        if dicom:
            require_highdicom()
        self.dataset, self.output_dir, self.shard = dataset, Path(output_dir), int(shard)
        self.overlays, self.dicom, self.raw_heatmap = overlays, dicom, raw_heatmap
        metadata = read_json(Path(bundle_root) / "configs" / "metadata.json")
        self.facts = {
            "model_name": metadata["name"],
            "model_version": metadata["version"],
            **checkpoint,
            "slope": 1.0,
            "intercept": 0.0,
            **(method or {}),
            "research_use_only": True,
            "threshold": float(threshold),
            "threshold_source": threshold_source,
        }
        self.records: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        """Attach to the evaluator of inference.json."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the series of this batch."""
        for entry, output in zip(engine.state.batch, engine.state.output, strict=True):
            self.write(entry, output)

    def write(self, entry: dict[str, Any], output: dict[str, Any]) -> None:
        """Write one series."""
        image: MetaTensor = output["image"]
        folder = self.output_dir / str(entry["name"])
        logits, problems = output["logits"].double().tolist(), output["problems"]
        calibration = {name: self.facts[name] for name in ("slope", "intercept")}
        rows = slice_rows(entry, image, logits, problems, self.facts["threshold"], **calibration)
        identity = {name: entry[name] for name in ("patient_id", "study_uid", "series_uid", "phantom")}
        summary = {**identity, **self.facts, **summarise(rows), "warnings": entry["warnings"]}
        notice = caveats(summary)
        for row in rows:
            row["notice"] = notice
        write_csv(folder / "slices.csv", SLICE_COLUMNS, rows)
        self.write_heatmap(output["heatmap"], folder / "heatmap.nii.gz", notice)
        if self.raw_heatmap:
            self.write_heatmap(output["raw_heatmap"], folder / "heatmap_raw.nii.gz", notice)
        self.write_sheet(image, output["network_heatmap"], rows, summary, folder / "heatmap.png")
        if self.overlays or self.dicom:
            problem = self.write_overlays(output, rows, summary, folder)
            summary["warnings"] = "; ".join(filter(None, (summary["warnings"], problem)))
        write_json(folder / "summary.json", summary)
        self.records.append(record(summary, "scored", folder.name))
        say(f"{entry['series_uid']}: {describe(summary)}, results in {folder}")

    @staticmethod
    def write_heatmap(heatmap: MetaTensor, path: Path, notice: str) -> None:
        """Write a heat map on the grid of the original image."""
        values = heatmap.as_tensor()[0].cpu().numpy().astype(np.float32)
        written = nibabel.Nifti1Image(values, heatmap.affine.cpu().numpy())
        written.header["descrip"] = notice.encode("ascii", "replace")[:79]
        with replacing(path) as temporary:
            nibabel.save(written, temporary)

    def write_sheet(
        self,
        image: MetaTensor,
        heatmap: torch.Tensor,
        rows: list[dict[str, Any]],
        summary: Mapping[str, Any],
        path: Path,
    ) -> None:
        """Write all slices, the most caudal first, each above its heat map."""
        slices, heat = image.as_tensor()[0].cpu().numpy(), heatmap.cpu().numpy()
        pictures = [
            [grey(slices[..., index]), overlay(slices[..., index], heat[..., index])] for index in range(len(rows))
        ]
        scores = [f"p {row['probability']:.2f}" if row["status"] == SCORED else "-" for row in rows]
        captions = [f"{row['slice_index']}   {score}" for row, score in zip(rows, scores, strict=True)]
        title = f"{summary['series_uid']}: {describe(summary)}\n{caveats(summary)}"
        called = [bool(row.get("compressed")) for row in rows]
        save_png(sheet_picture(pictures, captions, called, title, f"{SCALE}, maximum = p"), path)

    def write_overlays(
        self, output: dict[str, Any], rows: list[dict[str, Any]], summary: Mapping[str, Any], folder: Path
    ) -> str:
        """Write the overlays on the grid of the source, as PNG and as DICOM; says why where there can be none."""
        files = self.dataset.current["image"]
        if not rows[0]["sop_uid"] or isinstance(files, str):
            return "no overlays and no DICOM results: they need axial DICOM files"
        pixels, _ = SeriesReader().dicom(list(files))
        heat = output["heatmap"].as_tensor()[0].cpu().numpy()
        colour = source_overlays(pixels, heat, rows, summary)
        if self.overlays:
            for row, picture in zip(rows, colour, strict=True):
                save_png(picture, folder / "overlays" / f"slice_{row['slice_index']:03d}.png")
        if self.dicom:
            images = headers(files)
            report = structured_report(images, rows, summary)
            save([report, *secondary_captures(images, rows, summary, colour)], folder / "dicom")
        return ""

    def finish(self) -> None:
        """Add what was left out and what was there already, and write the tables."""
        self.records += [record(summary, "kept", "") for summary in self.dataset.kept]
        if self.shard == 0:
            write_tables(self.output_dir, self.records, self.dataset.failures)


def describe(summary: Mapping[str, Any]) -> str:
    """Summarise in a few words what was found in a series."""
    left_out = summary["n_slices"] - summary["n_evaluated"]
    text = f"{summary['n_compressed']} of {summary['n_evaluated']} slices compressed"
    return text + (f", {left_out} not evaluable" if left_out else "")


def record(summary: Mapping[str, Any], status: str, folder: str) -> dict[str, Any]:
    """Make the row of series.csv of a series that has results."""
    row = {name: summary.get(name) for name in SERIES_COLUMNS}
    return {**row, "status": status, "folder": folder, "reason": ""}


def write_tables(output_dir: Path, records: list[dict[str, Any]], failures: list[dict[str, str]]) -> None:
    """Write series.csv (every series and what became of it) and failures.csv."""
    left_out = [
        {**{name: row[name] for name in ("series_uid", "status", "reason")}, "folder": row["input"]} for row in failures
    ]
    write_csv(output_dir / "series.csv", SERIES_COLUMNS, [*records, *left_out])
    write_csv(output_dir / "failures.csv", ("input", "series_uid", "status", "reason"), failures)
