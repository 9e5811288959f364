"""The ``search`` command: random search over learning rate and beta1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.utils import optional_import

from .console import say
from .errors import InputError
from .experiments import COLUMNS, cohort_title, overlays, parse_overrides, run_experiment, write_table
from .figures import scatter

optuna, has_optuna = optional_import("optuna")

LEARNING_RATES = (1e-6, 1e-2)
BETA1 = (0.5, 0.99)


def open_study(folder: Path, cohort: str) -> Any:
    """Open the search's database; trials that were interrupted are queued again with their own values."""
    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = f"sqlite:///{(folder / 'search.db').resolve()}"
    study = optuna.create_study(storage=storage, study_name="search", direction="minimize", load_if_exists=True)
    known = study.user_attrs.setdefault("cohort", str(Path(cohort).resolve()))
    if known != str(Path(cohort).resolve()):
        raise InputError(f"{folder} holds a search on {known}; choose another --out")
    study.set_user_attr("cohort", known)
    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params, user_attrs={"folder": trial.user_attrs["folder"]})
    return study


def search(cohort: str, out: str, trials: int = 20, overlay: str = "", overrides: str = "", seed: int = 0) -> None:
    """Try random learning rates and beta1 of Adam, and rank them by validation loss.

    Learning rates are drawn log-uniformly from 1e-6 to 1e-2, beta1 uniformly from 0.5 to 0.99. The search lives in
    OUT/search.db (Optuna, SQLite) and can be stopped and continued; a larger number of trials continues it too. For
    Adam, the paper's "momentum" is beta1.

    Args:
        cohort: folder with a datalist.json, or a datalist.
        out: folder of the search: search.db, search.csv, search.md, search.png and one folder per trial.
        trials: number of trials in all, those already finished included.
        overlay: a config over train.json, e.g. configs/quickstart.json.
        overrides: config keys of train.json as JSON, e.g. '{"max_epochs": 5}'.
        seed: seed of the draws; trial n draws the same values whenever it runs.
    """
    if not has_optuna:
        raise InputError("the search needs Optuna: pip install -e '.[study]'")
    if trials < 1:
        raise InputError(f"trials must be at least 1, got {trials}")
    changes, configs, folder = parse_overrides(overrides), overlays(overlay), Path(out)
    study = open_study(folder, cohort)
    complete = optuna.trial.TrialState.COMPLETE
    while len(study.get_trials(states=[complete])) < trials:
        number = len(study.trials)
        study.sampler = optuna.samplers.RandomSampler(seed=seed * 1_000_003 + number)
        trial = study.ask()
        values = {
            "learning_rate": trial.suggest_float("learning_rate", *LEARNING_RATES, log=True),
            "beta1": trial.suggest_float("beta1", *BETA1),
        }
        name = trial.user_attrs.get("folder", f"trial_{trial.number:03d}")
        trial.set_user_attr("folder", name)
        done = len(study.get_trials(states=[complete]))
        say(f"trial {done + 1} of {trials}: learning rate {values['learning_rate']:.3g}, beta1 {values['beta1']:.3f}")
        result = run_experiment(folder / name, configs, cohort, **{**changes, **values})
        for key in COLUMNS:
            trial.set_user_attr(key, result[key])
        study.tell(trial, result["val_loss"])
    rows = [
        {"trial": trial.user_attrs["folder"], **trial.params, **{key: trial.user_attrs[key] for key in COLUMNS}}
        for trial in sorted(study.get_trials(states=[complete]), key=lambda trial: float(trial.value))
    ]
    title = f"Random search on the validation patients of the {cohort_title(cohort)}, best first"
    write_table(folder / "search", title, ("trial", "learning_rate", "beta1", *COLUMNS), rows)
    drawn = scatter(
        [row["learning_rate"] for row in rows],
        [row["beta1"] for row in rows],
        [row["val_loss"] for row in rows],
        ("learning rate", "beta1", "validation loss"),
        title,
        folder / "search.png",
    )
    say(f"figure: {drawn}")
