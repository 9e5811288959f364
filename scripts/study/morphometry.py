"""The ``morphometry`` command: cord and canal in mm, and the classifier that knows nothing but their shape."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import say
from ..datalists import load, require_both_classes
from ..errors import InputError, exit_status
from ..files import ROOT, check_folder, read_object, write_csv, write_json
from ..records import SECTIONS, section_path

if TYPE_CHECKING:
    from ..canal.localiser import Localiser

ARCHITECTURE = "logistic regression on shape"
THRESHOLD = 0.5
BASELINE = "baseline.json"


def morphometry(cohort: str, weights: str, out: str, table: str = "") -> int:
    """Measure cord and canal in every slice of a cohort, and find compressed slices by their shape alone.

    The outlines are those of a network, in every section of the datalist. OUT/measures.csv (of the held-out patients),
    measures_validation.csv and measures_training.csv have a row for each slice. Where masks are known, the errors are
    printed and kept in metrics.json, in mm.

    A logistic regression on shape (compression ratio, area and solidity of the cord, torsion, AP diameter against the
    median of the series, share of the canal that is filled) is fitted on the training slices. OUT then holds what an
    evaluation of a network holds, so that `python -m scripts report RUN OUT` compares the two. A slice in which no
    canal was found is scored, too; its measures are empty.

    Args:
        cohort: folder with a datalist.json, or the datalist itself.
        weights: checkpoint of configs/canal/train.json, or of a classifier with a localiser, whose crop is taken.
        out: folder of the results; that of no training.
        table: canal.csv with the known masks; default that beside the datalist, where there is one.

    Returns:
        0 if every image could be read, 1 if some could not.
    """
    check_own(check_folder(out))
    folder = Path(out)
    datalist = Path(cohort) if cohort.endswith(".json") else Path(cohort) / "datalist.json"
    require_both_classes(datalist, ["training"])
    entries = {section: load(datalist, section) for section in SECTIONS}
    import torch

    from ..canal.measuring import COLUMNS, MeasureSlices, measure_errors, measured_rows
    from ..canal.truth import read_truth
    from ..checkpoints import about_results
    from ..datasets import SliceDataset
    from ..evaluation.morphometry import baseline_logits, fit_baseline
    from ..handlers.predictions import WritePredictions
    from ..runner import prepare
    from ..trust.samples import preprocessing

    prepare([out])
    known = Path(table) if table else datalist.with_name("canal.csv")
    rows_by_slice = read_truth(known) if table or known.is_file() else {}
    localiser, seen = localiser_and_crop(weights)
    measured = {}
    for section in SECTIONS:
        measurer = MeasureSlices(preprocessing(seen, localiser), localiser, rows_by_slice, known.parent)
        dataset = SliceDataset(entries[section], measurer)
        rows, features = measured_rows(dataset, measurer)
        write_csv(section_path(folder, "measures.csv", section), COLUMNS, rows)
        errors = measure_errors(rows)
        say_errors(section, errors)
        measured[section] = dataset, features, errors
    if not any(errors["errors"] for _, _, errors in measured.values()):
        say("no masks are known, so the errors are not; `python -m scripts canal` makes canal.csv from masks")
    training, features, _ = measured["training"]
    pos_weight = training.pos_weight()
    baseline = fit_baseline(features, training.labels, pos_weight)
    weights_sha256 = write_baseline(folder / BASELINE, baseline, localiser.sha256)
    about = {
        "weights_sha256": weights_sha256,
        "trained_on_phantom": bool(training.counts()["phantom"]),
        "epoch": None,
        "pos_weight": pos_weight,
        "training_precision": None,
    }
    facts = about_results(about, str(datalist), str(ROOT), 0) | {
        "architecture": ARCHITECTURE,
        "canal_sha256": localiser.sha256,
    }
    for section in SECTIONS[1:]:
        dataset, features, errors = measured[section]
        logits = torch.from_numpy(baseline_logits(baseline, features))[:, None]
        writer = WritePredictions(dataset, str(folder), section, THRESHOLD, facts | {"measures": errors})
        writer.write(list(range(len(dataset))), logits)
    n_unreadable = sum(len(dataset.failures) for dataset, _, _ in measured.values())
    return exit_status(sum(len(dataset) for dataset, _, _ in measured.values()), n_unreadable)


def check_own(folder: Path) -> None:
    """Refuse a folder with the results of a network, which would be overwritten.

    Raises:
        InputError: it holds a training, or predictions that are not this command's.
    """
    own = folder / BASELINE  # which is written before any scores
    ours = own.is_file() and read_object(own).get("architecture") == ARCHITECTURE
    others = [name for name in ("models", "history.csv", "predictions.csv") if (folder / name).exists()]
    if others and not ours:
        raise InputError(f"--out {folder} holds the results of another run ({others[0]}); name a folder of its own")


def localiser_and_crop(weights: str) -> tuple[Localiser, dict[str, Any]]:
    """Load a localiser, and return how the slices are cropped: as its classifier does, else as its training did.

    Raises:
        InputError: the checkpoint is missing, or holds no localiser.
    """
    from ..canal.localiser import load_localiser
    from ..checkpoints import SEEN, read

    content = read(weights)
    localiser = load_localiser(weights)
    assert localiser is not None  # only where none is named
    seen = {"image_size": localiser.image_size, "crop_fraction": 1.0, "side_mm": localiser.side_mm}
    if "architecture" in content:
        seen = {name: content[name] for name in SEEN}
    return localiser, seen | {"context": 0}


def write_baseline(path: Path, baseline: Any, canal_sha256: str) -> str:
    """Write what the regression learned, and return the hash of that.

    Args:
        path: the file.
        baseline: of `scripts.evaluation.morphometry.fit_baseline`.
        canal_sha256: of the localiser whose outlines were measured.
    """
    from ..canal.measures import FEATURES

    imputer, scaler, regression = (step for _, step in baseline.steps)
    content = {
        "architecture": ARCHITECTURE,
        "features": list(FEATURES),
        "medians": imputer.statistics_.tolist(),
        "missing": [FEATURES[number] for number in imputer.indicator_.features_],
        "means": scaler.mean_.tolist(),
        "scales": scaler.scale_.tolist(),
        "coefficients": regression.coef_[0].tolist(),
        "intercept": float(regression.intercept_[0]),
        "canal_sha256": canal_sha256,
    }
    write_json(path, content)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def say_errors(section: str, found: Mapping[str, Any]) -> None:
    """Print how far the measures of a section are from the known masks."""
    say(
        f"{section}: {found['n_slices']} slices, {found['n_no_canal']} without a canal found, {found['n_no_cord']} "
        "without a measured cord"
    )
    for name in ("cord_ap_mm", "cord_rl_mm"):
        error = found["errors"].get(name)
        if error and error["n"]:
            say(
                f"  error of {name}: median {error['median']:.2f}, 95th percentile {error['percentile_95']:.2f}, bias "
                f"{error['bias']:+.2f} mm in {error['n']} slices; {error['n_missing']} with a mask not measured"
            )
