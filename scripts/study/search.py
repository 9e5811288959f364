"""The ``search`` command: random search over learning rate and beta1."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import say
from ..errors import InputError, check_seed, check_whole, root_message
from ..files import check_folder, inside, resolved
from ..records import derive_seed

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

LEARNING_RATES = (1e-6, 1e-2)
BETA1 = (0.5, 0.99)
DATABASE = "search.db"


@contextmanager
def storing(folder: Path) -> Iterator[None]:
    """Turn what the database says when it cannot be read or written into one line.

    Raises:
        InputError: it cannot.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        reason = f"{folder / DATABASE} cannot be used ({root_message(error)})"
        raise InputError(f"{reason}; make room on its disk if that is full, or choose another --out") from error


def open_study(folder: Path, settings: Mapping[str, Any]) -> Study:
    """Open the search's database; trials that were interrupted are queued again with their own values.

    Args:
        folder: the search's folder.
        settings: what all trials must share to be ranked in one table.

    Raises:
        InputError: the folder holds a search with other settings.
    """
    import optuna
    from sqlalchemy import NullPool

    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # no URL: a folder's name may hold what a URL reads as something else
    connect = partial(sqlite3.connect, resolved(folder / DATABASE))
    storage = optuna.storages.RDBStorage("sqlite://", {"creator": connect, "poolclass": NullPool})
    study = optuna.create_study(storage=storage, study_name="search", direction="minimize", load_if_exists=True)
    known = {**settings, **study.user_attrs}
    others = [f"{name} was {known[name]}, now {value}" for name, value in settings.items() if known[name] != value]
    if others:
        raise InputError(f"{folder} holds a search with other settings ({'; '.join(others)}); choose another --out")
    for name, value in settings.items():
        study.set_user_attr(name, value)
    states = optuna.trial.TrialState
    queued: set[str | None] = {trial.user_attrs.get("folder") for trial in study.get_trials(states=[states.WAITING])}
    for trial in study.get_trials(states=[states.RUNNING]):
        place = trial.user_attrs.get("folder")  # without one it had not begun, and its number is drawn again
        if place is not None and place not in queued:
            study.enqueue_trial(trial.params, user_attrs={"folder": place})
            queued.add(place)
        study.tell(trial.number, state=states.FAIL)  # last: who is killed before it finds the trial in the queue
    return study


def ended_trials(study: Study) -> list[FrozenTrial]:
    """List the trials that will not run again, best first; the diverged ones, which optuna calls pruned, come last."""
    import optuna

    states = optuna.trial.TrialState
    trials = study.get_trials(states=[states.COMPLETE, states.PRUNED])
    return sorted(trials, key=lambda trial: float("inf") if trial.value is None else float(trial.value))


def search(cohort: str, out: str, trials: int = 20, overlay: str = "", overrides: str = "", seed: int = 0) -> None:
    """Try random learning rates and beta1 of Adam, and rank them by validation loss.

    Learning rates are drawn log-uniformly from 1e-6 to 1e-2, beta1 uniformly from 0.5 to 0.99. The search lives in
    OUT/search.db (Optuna, SQLite) and can be stopped and continued, on the same cohort with the same overlay and
    overrides; a larger number of trials continues it too. A trial whose loss diverges ends without a loss, is ranked
    last and not tried again. For Adam, the paper's "momentum" is beta1.

    Args:
        cohort: folder with a datalist.json, or a datalist.
        out: folder of the search: search.db, search.csv, search.md, search.png and one folder per trial.
        trials: number of trials in all, those already finished or diverged included.
        overlay: a config over train.json, e.g. configs/quickstart.json.
        overrides: config keys of train.json as JSON, e.g. '{"max_epochs": 5}'; learning_rate and beta1 are drawn, so
            they are refused.
        seed: seed of the draws, from 0 to 2^63 - 1; trial n draws the same values whenever it runs.
    """
    check_whole("--trials", trials, 1)
    check_seed(seed)
    import optuna

    from ..checkpoints import sha256
    from .checks import check_experiments
    from .experiments import (
        CACHE,
        COLUMNS,
        DivergenceError,
        Experiment,
        overlays,
        parse_overrides,
        run_experiment,
        settings_of,
    )

    changes = parse_overrides(overrides, varied=["learning_rate", "beta1"])
    configs, folder = overlays(overlay), check_folder(out)
    planned = Experiment(folder / "trials", configs, cohort, overrides=changes)
    check_experiments([planned])
    settings = {"cohort": str(resolved(cohort)), **settings_of(planned)}
    with storing(folder):
        study = open_study(folder, settings | {"overlay_sha256": sha256(overlay) if overlay else None})
        while (done := len(ended_trials(study))) < trials:
            begun = {one.user_attrs.get("folder") for one in study.trials}
            number = next(count for count in itertools.count() if f"trial_{count:03d}" not in begun)
            study.sampler = optuna.samplers.RandomSampler(seed=derive_seed(seed, number))
            trial = study.ask()
            values = {
                "learning_rate": trial.suggest_float("learning_rate", *LEARNING_RATES, log=True),
                "beta1": trial.suggest_float("beta1", *BETA1),
            }
            name = trial.user_attrs.get("folder", f"trial_{number:03d}")
            place = inside(folder, name)
            trial.set_user_attr("folder", name)
            drawn = f"learning rate {values['learning_rate']:.3g}, beta1 {values['beta1']:.3f}"
            say(f"trial {done + 1} of {trials}: {drawn}")
            try:
                result = run_experiment(
                    Experiment(place, configs, cohort, overrides={**changes, **values}, cache=folder / CACHE)
                )
            except DivergenceError as error:
                say(str(error))
                trial.set_user_attr("reason", str(error))
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                continue
            for key, value in result.items():
                if key in COLUMNS:
                    trial.set_user_attr(key, value)
            study.tell(trial, result["val_loss"])
        ended = ended_trials(study)
    write_results(ended, folder, cohort)


def write_results(trials: Sequence[FrozenTrial], folder: Path, cohort: str) -> None:
    """Write search.csv, search.md and search.png, which shows the trials that have a loss.

    Raises:
        InputError: no trial has one.
    """
    from ..handlers.figures import scatter
    from .experiments import COLUMNS, cohort_title, write_table

    rows = [
        {
            "trial": trial.user_attrs["folder"],
            **trial.params,
            "status": "diverged" if trial.value is None else "finished",
            **{key: trial.user_attrs.get(key) for key in COLUMNS},
        }
        for trial in trials
    ]
    title = f"Random search on the validation patients of the {cohort_title(cohort)}, best first"
    write_table(folder / "search", title, cohort, ("trial", "learning_rate", "beta1", "status", *COLUMNS), rows)
    finished = [row for row in rows if row["status"] == "finished"]
    if not finished:
        raise InputError(
            f"every trial in {folder} diverged, so there is nothing to rank; check the images, the overlay "
            "and the overrides, or give more --trials"
        )
    drawn = scatter(
        [row["learning_rate"] for row in finished],
        [row["beta1"] for row in finished],
        [row["val_loss"] for row in finished],
        ("learning rate", "beta1", "validation loss"),
        title,
        folder / "search.png",
    )
    say(f"figure: {drawn}")
