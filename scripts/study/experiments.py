"""One training with its evaluation, as a step of a larger experiment that can be stopped and continued."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from monai.bundle import ConfigParser

from .. import checkpoints
from ..console import say
from ..datalists import facts
from ..errors import InputError
from ..files import read_json, write_csv, write_json, write_text
from ..runner import ROOT, run_config

COLUMNS = ("val_loss", "val_accuracy", "val_auc", "epochs", "best_epoch", "minutes", "head_parameters")

# what `run_experiment` gives every training itself
GIVEN = ("bundle_root", "dataset_dir", "output_dir", "ckpt_dir", "resume")


class DivergenceError(InputError):
    """A training had no epoch with a finite validation loss; to repeat it would change nothing."""


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
        InputError: the overlay does not exist.
    """
    if overlay and not Path(overlay).is_file():
        raise InputError(f"overlay {overlay} does not exist; expected a config such as configs/quickstart.json")
    return ["train.json", *([str(Path(overlay).resolve())] if overlay else [])]


def run_experiment(
    folder: Path, configs: Sequence[str], cohort: str, sections: Sequence[str] = ("validation",), **overrides: Any
) -> dict[str, Any]:
    """Train and evaluate once; a finished experiment is returned as it is, an interrupted one continued.

    Args:
        folder: where everything goes; ``result.json`` marks it as finished.
        configs: train.json and its overlays, see `scripts.runner.run_config`.
        cohort: folder with a datalist.json, or a datalist.
        sections: sections of the datalist to evaluate.
        overrides: config keys to values.

    Returns:
        ``COLUMNS`` (losses and AUC at the best epoch) and ``metrics``, those of each section.

    Raises:
        InputError: the folder holds an experiment with other settings.
        DivergenceError: no epoch had a finite validation loss.
    """
    settings = describe(configs, cohort, overrides)
    marker = folder / "experiment.json"
    if marker.is_file() and read_json(marker) != settings:
        raise InputError(f"{folder} holds an experiment with other settings or another cohort; choose another --out")
    write_json(marker, settings)
    common = {"dataset_dir": cohort, "output_dir": str(folder), "ckpt_dir": str(folder / "models"), **overrides}
    done = folder / "result.json"
    result: dict[str, Any] = read_json(done) if done.is_file() else {}
    if not result:
        try:
            run_config(configs, resume=(folder / "models" / "model_last.pt").is_file(), **common)
        except InputError:
            if (folder / "history.csv").is_file():
                read_history(folder)  # says so where the training diverged
            raise
    metrics = result.get("metrics", {})
    for section in sections:
        if section not in metrics:
            run_config([*configs, "evaluate.json"], validate__section=section, **common)
            name = "metrics.json" if section == "testing" else f"metrics_{section}.json"
            metrics[section] = read_json(folder / name)
    result = {**summarise(folder, metrics.get("validation", {})), "metrics": metrics}
    write_json(done, result)
    return result


def describe(configs: Sequence[str], cohort: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Collect what must be equal for an experiment to be continued."""
    settings = {"configs": [Path(name).name for name in configs], "overrides": dict(overrides)}
    return {**settings, "datalist_sha256": facts(datalist_path(cohort))["datalist_sha256"]}


def read_history(folder: Path) -> pd.DataFrame:
    """Read history.csv, one row per epoch.

    Raises:
        DivergenceError: no epoch had a finite validation loss.
    """
    history = pd.read_csv(folder / "history.csv")
    if not np.isfinite(history["val_loss"]).any():
        raise DivergenceError(
            f"the training in {folder} diverged: none of {len(history)} epochs had a finite val_loss; "
            "a lower learning rate may help"
        )
    return history


def summarise(folder: Path, validation: Mapping[str, Any]) -> dict[str, Any]:
    """Read off a finished training what the paper's Table 3 holds."""
    history = read_history(folder)
    best = history.iloc[int(np.nanargmin(history["val_loss"]))]
    model = checkpoints.read(folder / "models" / "model.pt")["model"]
    return {
        "val_loss": float(best["val_loss"]),
        "val_accuracy": validation.get("accuracy"),
        "val_auc": validation.get("auc"),
        "epochs": len(history),
        "best_epoch": int(best["epoch"]),
        "minutes": float(history["seconds"].sum() / 60),
        "head_parameters": sum(value.numel() for name, value in model.items() if name.startswith("head.")),
    }


def write_table(path: Path, title: str, cohort: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV and as Markdown beside it, and print them.

    A CSV has no title, so there a last column ``phantom`` says whether the numbers are those of a phantom cohort.
    """
    phantom = "yes" if is_phantom(cohort) else "no"
    marked = [{**{name: row.get(name) for name in columns}, "phantom": phantom} for row in rows]
    write_csv(path.with_suffix(".csv"), [*columns, "phantom"], marked)
    shown = [[text(row.get(name)) for name in columns] for row in rows]
    lines = [" | ".join(cells) for cells in [list(columns), ["---"] * len(columns), *shown]]
    table = "\n".join(f"| {line} |" for line in lines)
    write_text(path.with_suffix(".md"), f"{title}\n\n{table}\n")
    say(f"\n{title}\n\n{table}\n\ntable: {path.with_suffix('.csv')}")


def text(value: Any) -> str:
    """Show a cell; what is undefined is said to be so."""
    if value is None:
        return "undefined"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def datalist_path(cohort: str) -> Path:
    """Return the datalist of a cohort, which is named by its folder or by the datalist itself."""
    return Path(cohort) if cohort.endswith(".json") else Path(cohort) / "datalist.json"


def is_phantom(cohort: str) -> bool:
    """Return whether a cohort is synthetic."""
    return bool(facts(datalist_path(cohort)).get("phantom"))


def cohort_title(cohort: str) -> str:
    """Return whose slices a table speaks of; phantom results are called so everywhere."""
    return "synthetic phantom cohort" if is_phantom(cohort) else f"cohort {datalist_path(cohort).parent.name}"
