"""The ``sweep`` command: the paper's seven heads under one protocol."""

from __future__ import annotations

from ..console import say
from ..datalists import require_both_classes
from ..errors import InputError
from ..files import ROOT, check_folder, read_json


def sweep(
    cohort: str,
    out: str,
    heads: str = "1,2,3,4,5,6,7",
    overlay: str = "",
    overrides: str = "",
    holdout: bool = False,
    external: str = "",
) -> None:
    """Train the paper's heads under one protocol and compare them on the validation patients (Table 3 of the paper).

    Each head has a folder OUT/model_N; heads that are finished are not trained again, and an interrupted one continues
    after its last epoch. The winner is the head with the lowest validation loss.

    Args:
        cohort: folder with a datalist.json, or a datalist.
        out: folder of the sweep: sweep.csv, sweep.md, sweep.png and one folder per head.
        heads: numbers of the heads, separated by commas.
        overlay: a config over train.json, e.g. configs/quickstart.json.
        overrides: config keys of train.json as JSON, e.g. '{"max_epochs": 5}'; head is varied, so it is refused.
        holdout: after the comparison, also evaluate the best head on the held-out patients; writes OUT/winner for
            `python -m scripts report`.
        external: with --holdout, also evaluate it on this cohort; writes OUT/winner_external.
    """
    if external and not holdout:
        raise InputError("--external is for the winner alone; add --holdout true once the comparison is final")
    numbers = [part.strip() for part in heads.split(",") if part.strip()]
    unknown = [number for number in numbers if not (ROOT / "configs" / "heads" / f"model_{number}.json").is_file()]
    if unknown or not numbers or len(set(numbers)) < len(numbers):
        raise InputError(f"heads are 1 to 7, each once, separated by commas; got {heads!r}")
    from ..handlers.figures import bars
    from ..runner import run_config
    from .checks import check_experiments
    from .experiments import (
        CACHE,
        COLUMNS,
        Experiment,
        Result,
        cohort_title,
        datalist_path,
        overlays,
        parse_overrides,
        run_experiment,
        write_table,
    )

    changes, configs, folder = parse_overrides(overrides, varied=["head"]), overlays(overlay), check_folder(out)
    experiments = {
        number: Experiment(
            folder / f"model_{number}",
            [*configs, f"heads/model_{number}.json"],
            cohort,
            overrides=changes,
            cache=folder / CACHE,
        )
        for number in numbers
    }
    check_experiments(list(experiments.values()))
    evaluations = [(cohort, "validation", "winner"), (cohort, "testing", "winner")]
    evaluations += [(external, "testing", "winner_external")] if external else []
    for images, section, name in evaluations if holdout else []:
        require_both_classes(datalist_path(images), [section])
        check_folder(folder / name)
    results: dict[str, Result] = {}
    names: dict[str, str] = {}
    for number, experiment in experiments.items():
        say(f"head {number} of {', '.join(numbers)}")
        results[number] = run_experiment(experiment)
        widths = read_json(ROOT / "configs" / "heads" / f"model_{number}.json")["head"]
        names[number] = " + ".join(map(str, widths))
    title = f"Heads compared on the validation patients of the {cohort_title(cohort)}"
    rows = [{"model": number, "hidden": names[number], **result} for number, result in results.items()]
    write_table(folder / "sweep", title, cohort, ("model", "hidden", *COLUMNS), rows)
    losses = {number: result["val_loss"] for number, result in results.items()}
    labels = [f"{number}: {name}" for number, name in names.items()]
    say(f"figure: {bars(labels, list(losses.values()), 'validation loss', title, folder / 'sweep.png')}")
    winner = min(losses, key=losses.__getitem__)
    say(f"lowest validation loss: head {winner} ({names[winner]}), {losses[winner]:.4f}")
    best = experiments[winner]
    for images, section, name in evaluations if holdout else []:
        run_config(
            [*best.configs, "evaluate.json"],
            dataset_dir=images,
            output_dir=str(folder / name),
            ckpt_dir=str(best.folder / "models"),
            validate__section=section,
            **changes,
        )
