"""The ``cross-validate`` command: one training per fold or per left-out site."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..console import say
from ..datalists import load
from ..errors import InputError
from ..files import check_folder, resolved

MEASURES = ("auc", "sensitivity", "specificity", "f1")


def require_folds(paths: Sequence[Path]) -> None:
    """Refuse datalists that are no folds of one study: each patient is tested once, phantoms never beside patients.

    Raises:
        InputError: two datalists test the same patient, or only one of them is a phantom; or one cannot be read.
    """
    tested: dict[str, Path] = {}
    kinds: dict[bool, Path] = {}
    for path in paths:
        entries = load(path, "testing")
        for patient in sorted({str(entry["patient_id"]) for entry in entries}):
            if patient in tested:
                raise InputError(
                    f"patient {patient} is in testing of both {tested[patient]} and {path}; every patient may be "
                    "tested once: give the datalists of one `python -m scripts split --scheme folds`"
                )
            tested[patient] = path
        kinds[entries[0]["phantom"]] = path
    if len(kinds) > 1:
        raise InputError(
            f"{kinds[True]} is a phantom cohort, {kinds[False]} is not; their results are never averaged, "
            "so give datalists of one kind"
        )


def cross_validate(*datalists: str, out: str, overlay: str = "", overrides: str = "") -> None:
    """Train and test once per datalist, and average over them.

    `python -m scripts split --scheme folds` or `--scheme leave-site-out` writes the datalists. AUCs are averaged over
    folds, never pooled: scores of different networks are not comparable (Forman and Scholz 2010). Folds that are
    finished are not trained again; every fold's predictions.csv can go through `python -m scripts report`.

    Args:
        datalists: one datalist per fold; no patient may be in testing of two of them.
        out: folder: cross_validation.csv, cross_validation.md and one folder per fold.
        overlay: a config over train.json, e.g. configs/quickstart.json.
        overrides: config keys of train.json as JSON, e.g. '{"max_epochs": 5}'.
    """
    paths = [Path(name) for name in datalists]
    missing = [str(path) for path in paths if not path.is_file()]
    if len(paths) < 2 or missing:
        raise InputError(f"expected the datalists of at least two folds; {', '.join(missing) or len(paths)} not usable")
    if len({path.stem for path in paths}) < len(paths):
        raise InputError("two datalists have the same name; their folds would share a folder")
    require_folds(paths)
    import numpy as np

    from .checks import check_experiments
    from .experiments import CACHE, Experiment, cohort_title, overlays, parse_overrides, run_experiment, write_table

    changes, configs, folder = parse_overrides(overrides), overlays(overlay), check_folder(out)
    sections = ("validation", "testing")
    folds = [
        Experiment(folder / path.stem, configs, str(resolved(path)), sections, changes, cache=folder / CACHE)
        for path in paths
    ]
    check_experiments(folds)
    rows = []
    for fold in folds:
        say(f"fold {fold.folder.name}")
        metrics = run_experiment(fold)["metrics"]
        tested = metrics["testing"]
        rows.append(
            {"fold": fold.folder.name, **{name: tested[name] for name in ("n_patients", "n_slices", *MEASURES)}}
        )
    spread: dict[str, object] = {"fold": "mean (SD)"}
    for name in MEASURES:
        values = [float(row[name]) for row in rows if row[name] is not None]
        spread[name] = f"{np.mean(values):.3f} ({np.std(values, ddof=1):.3f})" if len(values) > 1 else None
        if len(values) < len(rows):
            say(f"{name} is undefined in {len(rows) - len(values)} of {len(rows)} folds, which the mean leaves out")
    spread |= {name: sum(int(row[name]) for row in rows) for name in ("n_patients", "n_slices")}
    cohort = str(resolved(paths[0]))
    title = f"Cross-validation on the {cohort_title(cohort)}, averaged over folds"
    columns = ("fold", "n_patients", "n_slices", *MEASURES)
    write_table(folder / "cross_validation", title, cohort, columns, [*rows, spread])
