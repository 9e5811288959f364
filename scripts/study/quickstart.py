"""The ``quickstart`` command: the whole path on synthetic patients, in minutes, on any machine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ..console import say
from ..datalists import load, require_both_classes
from ..errors import check_seed, check_whole
from ..files import check_folder, read_json, resolved
from ..records import SECTIONS

FEWEST = 8  # patients that every section needs to hold both kinds of slices
LOCALISER_EPOCHS = 5
LAYER = "layer2"
"""Of the heat maps: cells of 3.75 mm in this crop, where those of layer4 have 15 mm."""


def shown_patient(entries: list[dict[str, Any]]) -> str:
    """Choose whom to score as new DICOM: of the patients with one stack, who give one result, the most compressed."""
    rows = {one["patient_id"]: [row for row in entries if row["patient_id"] == one["patient_id"]] for one in entries}
    straight = {name: own for name, own in rows.items() if len({row["slice_index"] for row in own}) == len(own)}
    return max(straight or rows, key=lambda name: (sum(row["label"] for row in rows[name]), name))


def quickstart(out: str = "runs/quickstart", patients: int = 40, seed: int = 0, epochs: int = 8) -> None:
    """Make a phantom cohort, train on it, evaluate on held-out phantom patients, and explain one of them.

    All of it runs through the shipped configs: train.json with canal/train.json for the localiser of the canal; then
    train.json, evaluate.json and inference.json with the overlays quickstart.json (small images, no pretrained weights)
    and canal/crop.json (a ResNet-18 that sees 60 mm around the canal, and its outlines). The scores speak of the
    phantom alone.

    Args:
        out: folder of everything this makes.
        patients: size of the phantom cohort, at least 8.
        seed: seed of the cohort, its split and the training; from 0 to 2^63 - 1.
        epochs: most epochs to train for; the localiser takes at most five of them.
    """
    check_whole("--patients", patients, FEWEST)
    check_whole("--epochs", epochs, 1)
    check_seed(seed)
    from ..cluster.workers import Workers
    from ..inference.predict import predict
    from ..phantom.cohort import make_cohort
    from ..runner import run_config
    from .checks import check_settings
    from .experiments import CACHE, Experiment, cache_dir

    started_s = time.monotonic()
    folder = resolved(check_folder(out))
    cohort = folder / "phantom"
    for name in ("models", "phantom", "predictions"):
        check_folder(folder / name)
    canal = folder / "canal"
    check_folder(canal / "models")
    configs = ["train.json", "quickstart.json", "canal/crop.json"]
    known = {"max_epochs": epochs, "outlines": False}  # which need the localiser that is not trained yet
    check_settings(Experiment(folder, configs, str(cohort), overrides=known), resume=False)
    say(f"1/5  making {patients} synthetic patients as DICOM in {cohort}")
    with Workers() as workers:
        make_cohort(cohort, patients=patients, seed=seed, reuse=True, spread=workers.spread)
    require_both_classes(cohort / "datalist.json", SECTIONS)
    say("2/5  training the localiser of the canal (configs/train.json with configs/canal/train.json)")
    first: dict[str, Any] = {"dataset_dir": str(cohort), "seed": seed}
    few = min(epochs, LOCALISER_EPOCHS)
    places = {"output_dir": str(canal), "ckpt_dir": str(canal / "models")}
    run_config(["train.json", "canal/train.json"], max_epochs=few, min_epochs=few, **first, **places)
    common: dict[str, Any] = {
        **first,
        "output_dir": str(folder),
        "ckpt_dir": str(folder / "models"),
        "canal_weights": str(canal / "models" / "model.pt"),
    }
    common["cache_dir"] = cache_dir(Experiment(folder, configs, str(cohort), overrides=common, cache=folder / CACHE))
    say(f"3/5  training (configs/{' with configs/'.join(configs)})")
    run_config(configs, max_epochs=epochs, **common)
    say("4/5  evaluating on patients the training never saw")
    for section in ("validation", "testing"):
        run_config([*configs, "evaluate.json"], validate__section=section, heatmap_layer=LAYER, **common)
    say("5/5  scoring one held-out patient as new DICOM, with heat maps")
    held_out = load(cohort / "datalist.json", "testing")
    patient = shown_patient(held_out)
    series = {str(Path(row["image"]).parent) for row in held_out if row["patient_id"] == patient}
    weights = str(folder / "models" / "model.pt")
    predict(*sorted(series), out=str(folder / "predictions"), weights=weights, heatmap_layer=LAYER)
    metrics = read_json(folder / "metrics.json")
    say()
    minutes = (time.monotonic() - started_s) / 60
    say(f"done in {minutes:.1f} min. On held-out phantom patients the slice AUC is {metrics['auc']:.3f}.")
    say("This number shows that the software works. It says nothing about real patients. Look at:")
    for name in ("training_curve.png", "roc.png", "metrics.json", "predictions.csv"):
        say(f"  {folder / name}")
    for name in ("heatmap.png", "heatmap*.nii.gz", "slices.csv", "summary.json"):
        for path in sorted((folder / "predictions").glob(f"*/{name}")):
            say(f"  {path}")
