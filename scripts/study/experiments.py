"""One training with its evaluation, as a step of a larger experiment that can be stopped and continued."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from monai.bundle import ConfigParser

from .. import checkpoints, runner
from ..console import markdown, say
from ..datalists import datalist_info
from ..errors import InputError
from ..files import ROOT, read_json, resolved, sha256, write_csv, write_json, write_text
from ..records import section_path
from ..tables import read_table

Metrics = Mapping[str, Any]
"""What metrics.json holds, see `scripts.evaluation.slices.slice_metrics`."""

# what every training gets from `run_experiment`
GIVEN = ("bundle_root", "dataset_dir", "output_dir", "ckpt_dir", "cache_dir", "resume")


BRIEF = {"panels": 1, "sheets": False}
"""Overrides of evaluations whose figures nobody looks at one by one."""


CACHE = "slices"
"""Folder of a study for its preprocessed slices; it can be removed at any time."""


class DivergenceError(InputError):
    """A training had no epoch with a finite validation loss; to repeat it would change nothing."""


@dataclass(frozen=True)
class Experiment:
    """What to train and evaluate.

    Attributes:
        folder: where everything goes; ``result.json`` marks it as finished.
        configs: train.json and its overlays, see `scripts.runner.run_config`.
        cohort: folder with a datalist.json, or a datalist.
        sections: sections of the datalist to evaluate.
        overrides: config keys to values.
        evaluation: the same for the evaluations alone.
        cache: folder where preprocessed slices are kept for all trainings of a study; None keeps none.
    """

    folder: Path
    configs: Sequence[str]
    cohort: str
    sections: Sequence[str] = ("validation",)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    cache: Path | None = None


class Settings(TypedDict):
    """What must be equal for an experiment to be continued."""

    configs: list[str]
    overrides: dict[str, Any]
    datalist_sha256: str


class Summary(TypedDict):
    """What the paper's Table 3 holds of a training; losses and AUC are those of the best epoch."""

    val_loss: float
    val_accuracy: float | None
    val_auc: float | None
    epochs: int
    best_epoch: int
    minutes: float
    head_parameters: int


class Result(Summary):
    """What result.json holds: the summary and the metrics of each section."""

    metrics: dict[str, Metrics]


COLUMNS = tuple(Summary.__annotations__)


def parse_overrides(text: str, varied: Sequence[str] = ()) -> dict[str, Any]:
    """Read ``--overrides``: a JSON object of config keys of train.json.

    Args:
        text: what was given; may be empty.
        varied: keys that the command varies between its trainings.

    Raises:
        InputError: it is no JSON object, or names a key that train.json lacks or that the command sets.
    """
    try:
        overrides = json.loads(text or "{}")
    except ValueError as error:
        raise InputError(f"--overrides must be a JSON object such as '{{\"max_epochs\": 5}}', got {text}") from error
    if not isinstance(overrides, dict):
        raise InputError(f"--overrides must be a JSON object, got {text}")
    parser = ConfigParser()
    parser.read_config(str(ROOT / "configs" / "train.json"))
    unknown = [name for name in overrides if name not in parser.config]
    if unknown:
        raise InputError(f"--overrides names {', '.join(unknown)}, which configs/train.json does not have")
    taken = [name for name in overrides if name in (*GIVEN, *varied)]
    if taken:
        raise InputError(f"--overrides names {', '.join(taken)}, which this command sets itself; leave it out")
    return overrides


def overlays(overlay: str) -> list[str]:
    """Return the configs of an experiment: train.json and what lies over it.

    Raises:
        InputError: the overlay does not exist or is no JSON object.
    """
    if overlay and not Path(overlay).is_file():
        raise InputError(f"overlay {overlay} does not exist; expected a config such as configs/quickstart.json")
    if overlay and not isinstance(read_json(Path(overlay)), dict):
        raise InputError(f"overlay {overlay} is no JSON object; expected config keys of train.json and their values")
    return ["train.json", *([str(resolved(overlay))] if overlay else [])]


def check_unchanged(experiment: Experiment) -> None:
    """Refuse a folder that holds an experiment with other settings.

    Raises:
        InputError: it does.
    """
    marker = experiment.folder / "experiment.json"
    if marker.is_file() and read_json(marker) != settings_of(experiment):
        raise InputError(
            f"{experiment.folder} holds an experiment with other settings or another cohort; choose another --out"
        )


def run_experiment(experiment: Experiment) -> Result:
    """Train and evaluate once; a finished experiment is returned as it is, an interrupted one continued.

    Raises:
        InputError: the folder holds an experiment with other settings.
        DivergenceError: no epoch had a finite validation loss.
    """
    check_unchanged(experiment)
    folder, configs = experiment.folder, experiment.configs
    write_json(folder / "experiment.json", settings_of(experiment))
    common = {
        "dataset_dir": experiment.cohort,
        "output_dir": str(folder),
        "ckpt_dir": str(folder / "models"),
        "cache_dir": cache_dir(experiment),
        **experiment.overrides,
    }
    done = folder / "result.json"
    metrics: dict[str, Metrics] = read_json(done)["metrics"] if done.is_file() else {}
    if not done.is_file():
        try:
            runner.run_config(configs, resume=(folder / "models" / "model_last.pt").is_file(), **common)
        except InputError:
            if (folder / "history.csv").is_file():
                read_history(folder)  # raises where the training diverged
            raise
    for section in experiment.sections:
        if section not in metrics:
            changes = {**common, **experiment.evaluation}
            runner.run_config([*configs, "evaluate.json"], validate__section=section, **changes)
            metrics[section] = read_json(section_path(folder, "metrics.json", section))
    result: Result = {**summarise(folder, metrics.get("validation", {})), "metrics": metrics}
    write_json(done, result)
    return result


def cache_dir(experiment: Experiment) -> str | None:
    """Return the folder in which an experiment keeps slices: each preprocessing has one of its own."""
    if experiment.cache is None:
        return None
    parser = ConfigParser()
    parser.read_config([str(ROOT / "configs" / name) for name in experiment.configs])
    said = {name.replace("__", "#"): value for name, value in experiment.overrides.items()}
    chains = ("deterministic_transforms", "train#preprocessing", "validate#preprocessing")
    content: dict[str, Any] = {name: said.get(name, parser[name]) for name in (*chains, *checkpoints.SEEN, "jitter_mm")}
    content |= {name: value for name, value in said.items() if name.startswith(chains)}
    weights = said.get("canal_weights", parser["canal_weights"])
    content["canal"] = sha256(Path(weights)) if weights and Path(weights).is_file() else weights
    content["version"] = read_json(ROOT / "configs" / "metadata.json")["version"]
    return str(experiment.cache / hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16])


def settings_of(experiment: Experiment) -> Settings:
    """Collect what must be equal for an experiment to be continued."""
    return {
        "configs": [Path(name).name for name in experiment.configs],
        "overrides": dict(experiment.overrides),
        "datalist_sha256": datalist_info(datalist_path(experiment.cohort))["datalist_sha256"],
    }


class Epoch(TypedDict):
    """What is read of one row of history.csv."""

    epoch: int
    val_loss: float
    seconds: float


def read_history(folder: Path) -> list[Epoch]:
    """Read history.csv, one row per epoch.

    Raises:
        DivergenceError: no epoch had a finite validation loss.
    """
    history: list[Epoch] = [
        {"epoch": int(row["epoch"]), "val_loss": float(row["val_loss"] or "nan"), "seconds": float(row["seconds"])}
        for row in read_table(folder / "history.csv", required=("epoch", "val_loss", "seconds"))
    ]
    if not any(math.isfinite(row["val_loss"]) for row in history):
        raise DivergenceError(
            f"the training in {folder} diverged: none of {len(history)} epochs had a finite val_loss; "
            "a lower learning rate may help"
        )
    return history


def summarise(folder: Path, validation: Metrics) -> Summary:
    """Read off a finished training what the paper's Table 3 holds."""
    history = read_history(folder)
    best = min(history, key=lambda row: row["val_loss"] if math.isfinite(row["val_loss"]) else math.inf)
    model = checkpoints.read(folder / "models" / "model.pt")["model"]
    return {
        "val_loss": best["val_loss"],
        "val_accuracy": validation.get("accuracy"),
        "val_auc": validation.get("auc"),
        "epochs": len(history),
        "best_epoch": best["epoch"],
        "minutes": sum(row["seconds"] for row in history) / 60,
        "head_parameters": sum(value.numel() for name, value in model.items() if name.startswith("head.")),
    }


def write_table(path: Path, title: str, cohort: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV and as Markdown beside it, and print them.

    A CSV has no title, so there a last column ``phantom`` records whether the numbers are those of a phantom cohort.
    """
    phantom = "yes" if is_phantom(cohort) else "no"
    marked = [{**{name: row.get(name) for name in columns}, "phantom": phantom} for row in rows]
    write_csv(path.with_suffix(".csv"), [*columns, "phantom"], marked)
    table = markdown_table(columns, [[format_cell(row.get(name)) for name in columns] for row in rows])
    write_text(path.with_suffix(".md"), f"{markdown(title)}\n\n{table}\n")
    say(f"\n{title}\n\n{table}\n\ntable: {path.with_suffix('.csv')}")


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out cells as a table in Markdown."""
    lines = [" | ".join(line) for line in [columns, ["---"] * len(columns), *rows]]
    return "\n".join(f"| {line} |" for line in lines)


def format_cell(value: Any) -> str:
    """Format a cell of a table for people; None becomes ``undefined``."""
    if value is None:
        return "undefined"
    return f"{value:.4g}" if isinstance(value, float) else markdown(value)


def datalist_path(cohort: str) -> Path:
    """Return the datalist of a cohort, which is named by its folder or by the datalist itself."""
    return Path(cohort) if cohort.endswith(".json") else Path(cohort) / "datalist.json"


def is_phantom(cohort: str) -> bool:
    """Return whether a cohort is synthetic."""
    return bool(datalist_info(datalist_path(cohort)).get("phantom"))


def cohort_title(cohort: str) -> str:
    """Return how tables name a cohort; a phantom is always called one."""
    return "synthetic phantom cohort" if is_phantom(cohort) else f"cohort {datalist_path(cohort).parent.name}"
