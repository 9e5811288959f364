"""Write the results of each series as soon as it is scored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor

from ..console import say
from ..datasets import identities
from ..figures import series_sheet
from ..files import read_json, replacing, write_csv, write_json
from ..series import SeriesDataset

COLUMNS = (
    *("patient_id", "series_uid", "sop_uid", "frame", "slice_index", "logit", "probability"),
    *("compressed", "threshold", "status"),
)


class WriteSeries:
    """Write ``OUT/<series_uid>/{slices.csv, summary.json, heatmap.nii.gz, heatmap.png}`` and ``OUT/failures.csv``.

    Args:
        dataset: the series; its failures are written at the end.
        output_dir: OUT.
        bundle_root: folder of the bundle, for the model's version.
        checkpoint: what `scripts.checkpoints.load_network` gave.
        threshold: probability from which a slice is called compressed.
    """

    def __init__(
        self, dataset: SeriesDataset, output_dir: str, bundle_root: str, checkpoint: dict[str, Any], threshold: float
    ) -> None:
        self.dataset, self.output_dir = dataset, Path(output_dir)
        self.threshold, self.checkpoint = float(threshold), checkpoint
        metadata = read_json(Path(bundle_root) / "configs" / "metadata.json")
        self.model = {"model_name": metadata["name"], "model_version": metadata["version"]}
        self.summaries: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        """Attach to the evaluator of inference.json."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.finish)

    def __call__(self, engine: Engine) -> None:
        """Write the series of this batch."""
        for entry, output in zip(engine.state.batch, engine.state.output, strict=True):
            self.write(entry, output)

    def write(self, entry: dict[str, Any], output: dict[str, Any]) -> None:
        """Write one series."""
        image: MetaTensor = output["image"]
        folder = self.output_dir / str(entry["name"])
        logits = output["logits"].double()
        probabilities = torch.sigmoid(logits).tolist()
        called = [p >= self.threshold for p in probabilities]
        keys = {"patient_id": entry["patient_id"], "series_uid": entry["series_uid"]}
        rows = [
            {
                **keys,
                "sop_uid": sop_uid,
                "frame": frame,
                "slice_index": index,
                "logit": logit,
                "probability": probability,
                "compressed": int(flag),
                "threshold": self.threshold,
                "status": "scored",
            }
            for index, ((sop_uid, frame), logit, probability, flag) in enumerate(
                zip(identities(image), logits.tolist(), probabilities, called, strict=True)
            )
        ]
        write_csv(folder / "slices.csv", COLUMNS, rows)
        summary = {
            **keys,
            "study_uid": entry["study_uid"],
            **self.model,
            **self.checkpoint,
            "research_use_only": True,
            "threshold": self.threshold,
            "n_slices": len(rows),
            "n_compressed": sum(called),
            "max_probability": max(probabilities),
            "warnings": entry["warnings"],
        }
        write_json(folder / "summary.json", summary)
        self.write_heatmap(output["heatmap"], folder / "heatmap.nii.gz")
        phantom = "trained on a phantom, " if self.checkpoint["trained_on_phantom"] else ""
        model = f"{self.model['model_name']} {self.model['model_version']}"
        series_sheet(
            image.as_tensor()[0].cpu().numpy(),
            output["network_heatmap"].cpu().numpy(),
            probabilities,
            self.threshold,
            f"{entry['series_uid']}\n{model}, {phantom}research use only",
            folder / "heatmap.png",
        )
        self.summaries.append(summary)
        say(f"{entry['series_uid']}: {sum(called)} of {len(rows)} slices compressed, results in {folder}")

    @staticmethod
    def write_heatmap(heatmap: MetaTensor, path: Path) -> None:
        """Write the heat map on the grid of the original image."""
        values = heatmap.as_tensor()[0].cpu().numpy().astype(np.float32)
        with replacing(path) as temporary:
            nibabel.save(nibabel.Nifti1Image(values, heatmap.affine.cpu().numpy()), temporary)

    def finish(self, engine: Engine) -> None:
        """Write the failures and say how many there were."""
        write_csv(self.output_dir / "failures.csv", ("input", "series_uid", "reason"), self.dataset.failures)
        say(f"{len(self.summaries)} series scored, {len(self.dataset.failures)} refused or unreadable")
        if self.dataset.failures:
            say(f"reasons: {self.output_dir / 'failures.csv'}")
