"""Write predictions.csv, metrics.json (AUC, sensitivity, specificity, F1) and roc.png."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.utils import evenly_divisible_all_gather

from ..console import optional, say
from ..datasets import SliceDataset
from ..evaluation.slices import slice_metrics
from ..files import sha256, write_csv, write_json
from ..records import PREDICTION_COLUMNS, probability, section_path
from .figures import roc


class WritePredictions:
    """Write predictions.csv, metrics.json, failures.csv and roc.png when an evaluation ends.

    Args:
        dataset: the evaluated slices.
        output_dir: folder of the files.
        section: section of the datalist; names other than ``testing`` are added to the file names.
        threshold: probability from which a slice is called compressed.
        facts: what the results were made with (weights hash, version …); copied into metrics.json.
    """

    def __init__(
        self, dataset: SliceDataset, output_dir: str, section: str, threshold: float, facts: dict[str, Any]
    ) -> None:
        self.dataset, self.output_dir, self.section = dataset, Path(output_dir), section
        self.threshold, self.facts = float(threshold), facts
        self._rows: list[torch.Tensor] = []

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator whose batches carry ``index`` and which does not decollate."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda _: self._rows.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self)

    def collect(self, engine: Engine) -> None:
        """Keep index and logit of a batch."""
        index = torch.as_tensor(engine.state.batch["index"]).double().reshape(-1, 1)
        self._rows.append(torch.cat([index, engine.state.output["pred"].double().cpu().reshape(-1, 1)], dim=1))

    def __call__(self, engine: Engine) -> None:
        """Gather the rows of all processes, and write them in the first."""
        rows = evenly_divisible_all_gather(torch.cat(self._rows), concat=True)
        if idist.get_rank() == 0:
            self.write({int(index): float(logit) for index, logit in rows.tolist()})

    def write(self, logits: dict[int, float]) -> None:
        """Write the files, given the logit of each index."""
        entries = self.dataset.entries
        table = [
            {
                **{name: entries[i].get(name, "") for name in PREDICTION_COLUMNS[:6]},
                "logit": logit,
                "probability": probability(logit),
            }
            for i, logit in sorted(logits.items())
        ]
        written = section_path(self.output_dir, "predictions.csv", self.section)
        write_csv(written, PREDICTION_COLUMNS, table)
        labels, scores = [row["label"] for row in table], [row["logit"] for row in table]
        metrics = slice_metrics(labels, scores, self.threshold)
        counts = self.dataset.counts()
        write_json(
            section_path(self.output_dir, "metrics.json", self.section),
            {
                **metrics,
                "n_patients": counts["patients"],
                "n_unreadable": counts["unreadable"],
                "section": self.section,
                "phantom": counts["phantom"],
                "predictions_sha256": sha256(written),
                **self.facts,
            },
        )
        write_csv(
            section_path(self.output_dir, "failures.csv", self.section), ("image", "reason"), self.dataset.failures
        )
        kind = "phantom slices" if counts["phantom"] else "slices"
        about = f"{metrics['n_slices']} {kind} of {counts['patients']} patients ({self.section})"
        main_metrics = {name: metrics[name] for name in ("auc", "sensitivity", "specificity", "f1")}
        figures = ", ".join(f"{name} {'undefined' if v is None else f'{v:.3f}'}" for name, v in main_metrics.items())
        say(f"{about}: {figures} at threshold {self.threshold:g}")
        say(f"predictions: {written}")
        if metrics["auc"] is not None:
            curve = section_path(self.output_dir, "roc.png", self.section)
            with optional("ROC curve"):
                say(f"ROC curve: {roc(labels, scores, metrics, about, curve)}")
