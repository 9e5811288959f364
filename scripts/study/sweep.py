"""The ``sweep`` command: the paper's seven heads under one protocol."""

from __future__ import annotations

from pathlib import Path

from ..console import say
from ..errors import InputError
from ..files import read_json
from ..handlers.figures import bars
from ..runner import ROOT, run_config
from .experiments import COLUMNS, cohort_title, overlays, parse_overrides, run_experiment, write_table


def sweep(
    cohort: str,
    out: str,
    heads: str = "1,2,3,4,5,6,7",
    overlay: str = "",
    overrides: str = "",
    holdout: bool = False,
    external: str = "",
) -> None:
    """Train the paper's heads under one protocol and compare them on the validation patients (its Table 3).

    Each head has a folder OUT/model_N; heads that are finished are not trained again, and an interrupted one continues
    after its last epoch. The winner is the head with the lowest validation loss.

    Args:
        cohort: folder with a datalist.json, or a datalist.
        out: folder of the sweep: sweep.csv, sweep.md, sweep.png and one folder per head.
        heads: numbers of the heads, separated by commas.
        overlay: a config over train.json, e.g. configs/quickstart.json.
        overrides: config keys of train.json as JSON, e.g. '{"max_epochs": 5}'; head is varied, so it is refused.
        holdout: also carry the winner to the held-out patients, once the comparison is final: OUT/winner, ready for
            `python -m scripts report`.
        external: with holdout, carry it to this cohort of other sites too: OUT/winner_external.
    """
    if external and not holdout:
        raise InputError("--external is for the winner alone; add --holdout true once the comparison is final")
    numbers = [part.strip() for part in heads.split(",") if part.strip()]
    unknown = [number for number in numbers if not (ROOT / "configs" / "heads" / f"model_{number}.json").is_file()]
    if unknown or not numbers:
        raise InputError(f"heads are 1 to 7, separated by commas; got {heads!r}")
    changes, configs, folder = parse_overrides(overrides, varied=["head"]), overlays(overlay), Path(out)
    rows = []
    for number in numbers:
        say(f"head {number} of {', '.join(numbers)}")
        config = f"heads/model_{number}.json"
        result = run_experiment(folder / f"model_{number}", [*configs, config], cohort, **changes)
        widths = read_json(ROOT / "configs" / config)["head"]
        rows.append({"model": number, "hidden": " + ".join(map(str, widths)), **result})
    title = f"Heads compared on the validation patients of the {cohort_title(cohort)}"
    write_table(folder / "sweep", title, cohort, ("model", "hidden", *COLUMNS), rows)
    winner = min(rows, key=lambda row: float(row["val_loss"]))
    names = [f"{row['model']}: {row['hidden']}" for row in rows]
    say(f"figure: {bars(names, [row['val_loss'] for row in rows], 'validation loss', title, folder / 'sweep.png')}")
    say(f"lowest validation loss: head {winner['model']} ({winner['hidden']}), {winner['val_loss']:.4f}")
    if not holdout:
        return
    files = [*configs, f"heads/model_{winner['model']}.json", "evaluate.json"]
    weights = str(folder / f"model_{winner['model']}" / "models")
    journeys = [(cohort, "validation", "winner"), (cohort, "testing", "winner")]
    for images, section, name in [*journeys, *([(external, "testing", "winner_external")] if external else [])]:
        run_config(
            files,
            dataset_dir=images,
            output_dir=str(folder / name),
            ckpt_dir=weights,
            validate__section=section,
            **changes,
        )
