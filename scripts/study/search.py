"""The ``search`` command: random search over learning rate and beta1."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import FileLock, Timeout

from ..console import say
from ..errors import InputError, check_seed, check_whole
from ..files import check_folder, inside, resolved
from ..records import derive_seed
from .databases import locked, open_storage, storing, without_password

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

LEARNING_RATES = (1e-6, 1e-2)
BETA1 = (0.5, 0.99)


def open_study(folder: Path, settings: Mapping[str, Any], storage: str = "") -> Study:
    """Open the search's study.

    Args:
        folder: the search's folder.
        settings: what all trials must share to be ranked in one table.
        storage: URL of its database, see `open_storage`.

    Raises:
        InputError: the database cannot be opened, or holds a search with other settings.
    """
    import optuna

    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    opened = open_storage(folder, storage)
    study = optuna.create_study(storage=opened, study_name="search", direction="minimize", load_if_exists=True)
    known = {**settings, **study.user_attrs}
    others = [f"{name} was {known[name]}, now {value}" for name, value in settings.items() if known[name] != value]
    if others:
        place = without_password(storage) or folder
        raise InputError(f"{place} holds a search with other settings ({'; '.join(others)}); choose another --out")
    for name, value in settings.items():
        study.set_user_attr(name, value)
    return study


def queue_interrupted(study: Study, folder: Path) -> int:
    """Queue trials that were interrupted again, with their own values.

    Returns:
        How many trials run at this moment, in other processes: each holds the lock of its folder.
    """
    import optuna

    states = optuna.trial.TrialState
    queued: set[str | None] = {trial.user_attrs.get("folder") for trial in study.get_trials(states=[states.WAITING])}
    running = 0
    for trial in study.get_trials(states=[states.RUNNING]):
        place = trial.user_attrs.get("folder")  # without one it had not begun, and its number is drawn again
        if place is not None:
            try:
                locked(folder, place).release()
            except Timeout:
                running += 1
                continue
        if place is not None and place not in queued:
            study.enqueue_trial(trial.params, user_attrs={"folder": place})
            queued.add(place)
        study.tell(trial.number, state=states.FAIL)  # last: who is killed before it finds the trial in the queue
    return running


class Claim(NamedTuple):
    """A trial that this process runs.

    Attributes:
        trial: of Optuna.
        values: what it tries.
        name: of its folder.
        lock: what tells other processes that it runs.
    """

    trial: Trial
    values: dict[str, float]
    name: str
    lock: FileLock


def claim(study: Study, folder: Path, trials: int, seed: int) -> Claim | None:
    """Begin the next trial; None where as many as wanted have ended, or run in other processes."""
    import optuna

    search_lock = locked(folder, "search", timeout_s=-1)
    try:
        running = queue_interrupted(study, folder)
        ended = len(ended_trials(study))
        if ended + running >= trials:
            if running:
                say(f"{running} trials still run in other processes; the last of these writes all tables")
            return None
        begun = {one.user_attrs.get("folder") for one in study.trials}
        number = next(count for count in itertools.count() if f"trial_{count:03d}" not in begun)
        study.sampler = optuna.samplers.RandomSampler(seed=derive_seed(seed, number))
        trial = study.ask()
        values = {
            "learning_rate": trial.suggest_float("learning_rate", *LEARNING_RATES, log=True),
            "beta1": trial.suggest_float("beta1", *BETA1),
        }
        name = trial.user_attrs.get("folder", f"trial_{number:03d}")
        try:
            lock = locked(folder, name)
        except Timeout as error:
            raise InputError(
                f"another process runs {name} in {folder}, and not in this database; give both the same --storage, or "
                "choose another --out"
            ) from error
        try:
            trial.set_user_attr("folder", name)
        except BaseException:
            lock.release()
            raise
    finally:
        search_lock.release()
    drawn = f"learning rate {values['learning_rate']:.3g}, beta1 {values['beta1']:.3f}"
    say(f"trial {ended + running + 1} of {trials}: {drawn}")
    return Claim(trial, values, name, lock)


def ended_trials(study: Study) -> list[FrozenTrial]:
    """List the trials that will not run again, best first; the diverged ones, which optuna calls pruned, come last."""
    import optuna

    states = optuna.trial.TrialState
    trials = study.get_trials(states=[states.COMPLETE, states.PRUNED])
    return sorted(trials, key=lambda trial: float("inf") if trial.value is None else float(trial.value))


def search(
    cohort: str, out: str, trials: int = 20, overlay: str = "", overrides: str = "", seed: int = 0, storage: str = ""
) -> None:
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
        storage: URL of another database that Optuna opens, e.g. postgresql+psycopg://user:password@host/database;
            machines with the same one and the same OUT share the trials, see docs/many_machines.md.
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
    with storing(folder, storage):
        study = open_study(folder, settings | {"overlay_sha256": sha256(overlay) if overlay else None}, storage)
        while (claimed := claim(study, folder, trials, seed)) is not None:
            trial, values, name, lock = claimed
            own = {**changes, **values}
            try:
                result = run_experiment(
                    Experiment(inside(folder, name), configs, cohort, overrides=own, cache=folder / CACHE)
                )
                for key, value in result.items():
                    if key in COLUMNS:
                        trial.set_user_attr(key, value)
                study.tell(trial, result["val_loss"])
            except DivergenceError as error:
                say(str(error))
                trial.set_user_attr("reason", str(error))
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            finally:
                lock.release()
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
