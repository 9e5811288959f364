"""Write predictions.csv, metrics.json (AUC, sensitivity, specificity, F1) and roc.png."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.utils import evenly_divisible_all_gather

from ..cohort import looks
from ..console import optional, say
from ..datasets import SliceDataset
from ..evaluation.multiclass import class_metrics
from ..evaluation.slices import slice_metrics
from ..files import sha256, write_csv, write_json
from ..records import PREDICTION_COLUMNS, probability, section_path
from ..tasks import Task, prediction_cells, prediction_columns
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
        """Keep index and logits of a batch."""
        index = torch.as_tensor(engine.state.batch["index"]).double().reshape(-1, 1)
        logits = engine.state.output["pred"].double().cpu().reshape(len(index), -1)
        self._rows.append(torch.cat([index, logits], dim=1))

    def __call__(self, engine: Engine) -> None:
        """Gather the rows of all processes, and write them in the first."""
        rows = evenly_divisible_all_gather(torch.cat(self._rows), concat=True)
        if idist.get_rank() == 0:
            # several processes may have seen a slice twice
            last = {int(row[0]): row[1:] for row in rows}
            self.write(sorted(last), torch.stack([last[index] for index in sorted(last)]))

    def write(self, indices: list[int], logits: torch.Tensor) -> None:
        """Write the files, given the slices and their logits ``(N, K)``."""
        entries, tasks = [self.dataset.entries[index] for index in indices], self.dataset.tasks
        table = [
            {
                **{name: entry.get(name, "") for name in PREDICTION_COLUMNS[:6]},
                "logit": logit,
                "probability": probability(logit),
                **cells,
            }
            for entry, logit, cells in zip(
                entries, logits[:, 0].tolist(), prediction_cells(entries, logits, tasks), strict=True
            )
        ]
        written = section_path(self.output_dir, "predictions.csv", self.section)
        write_csv(written, (*PREDICTION_COLUMNS, *prediction_columns(tasks)), table)
        labels, scores = [row["label"] for row in table], [row["logit"] for row in table]
        metrics = slice_metrics(labels, scores, self.threshold)
        counts = self.dataset.counts()
        write_json(
            section_path(self.output_dir, "metrics.json", self.section),
            {
                **metrics,
                **task_metrics(table, tasks),
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
        if self.section == "testing" and "datalist" in self.facts:
            with optional("count of the looks at the held-out patients"):
                self.count_looks(written)
        if metrics["auc"] is not None:
            curve = section_path(self.output_dir, "roc.png", self.section)
            with optional("ROC curve"):
                say(f"ROC curve: {roc(labels, scores, metrics, about, curve)}")

    def count_looks(self, written: Path) -> None:
        """Record that the held-out patients were looked at, and say how often they have been."""
        facts = self.facts
        found = looks.record(
            Path(facts["datalist"]), facts["datalist_sha256"], facts.get("weights_sha256", ""), sha256(written)
        )
        say(f"{found.sentence()} ({looks.FILE} beside the datalist)")
        for problem in found.problems:
            say(f"warning: {problem}")


def task_metrics(table: Sequence[dict[str, Any]], tasks: Sequence[Task]) -> dict[str, Any]:
    """Return ``tasks`` of metrics.json: each further task over its labelled slices; nothing where there is none."""
    found = {}
    for task in tasks[1:]:
        rows = [row for row in table if row[task.name] != ""]
        true, called = ([task.classes.index(row[name]) for row in rows] for name in (task.name, f"{task.name}_called"))
        patients = [str(row["patient_id"]) for row in rows]
        found[task.name] = class_metrics(true, called, patients, task.classes, task.kind == "ordinal")
    return {"tasks": found} if found else {}
