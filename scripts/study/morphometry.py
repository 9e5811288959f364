"""The ``morphometry`` command: cord and canal in mm, and the classifier that knows nothing but their shape."""

from __future__ import annotations

import hashlib
import json
import math
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
    from ..evaluation.morphometry import Baseline

ARCHITECTURE = "logistic regression on shape"
THRESHOLD = 0.5
BASELINE = "baseline.json"


def morphometry(cohort: str, weights: str, out: str, table: str = "", baseline: str = "") -> int:
    """Measure cord and canal in every slice of a cohort, and find compressed slices by their shape alone.

    The outlines are those of a network, in every section of the datalist. OUT/measures.csv (of the held-out patients),
    measures_validation.csv and measures_training.csv have a row for each slice. Where masks are known, the errors are
    printed and kept in metrics.json, in mm.

    A logistic regression on shape (compression ratio, area and solidity of the cord, torsion, AP diameter against the
    median of the series, share of the canal that is filled) is fitted on the training slices. OUT then holds what an
    evaluation of a network holds, so that `python -m scripts report RUN OUT` compares the two. A slice in which no
    canal was found is scored, too; its measures are empty.

    With --baseline nothing is fitted: the held-out patients of another cohort are scored by a regression that this
    command has fitted before.

    Args:
        cohort: folder with a datalist.json, or the datalist itself.
        weights: checkpoint of configs/canal/train.json, or of a classifier with a localiser, whose crop is taken.
        out: folder of the results; that of no training.
        table: canal.csv with the known masks; default that beside the datalist, where there is one.
        baseline: baseline.json that this command has written, of the same localiser.

    Returns:
        0 if every image could be read, 1 if some could not.
    """
    check_own(check_folder(out))
    folder = Path(out)
    datalist = Path(cohort) if cohort.endswith(".json") else Path(cohort) / "datalist.json"
    sections = SECTIONS[-1:] if baseline else SECTIONS
    require_both_classes(datalist, sections[:1])
    entries = {section: load(datalist, section) for section in sections}
    import torch

    from ..canal.measuring import COLUMNS, MeasureSlices, measure_errors, measured_rows
    from ..canal.truth import read_truth
    from ..checkpoints import about_results
    from ..datasets import SliceDataset
    from ..evaluation.morphometry import baseline_logits, fit_baseline
    from ..handlers.predictions import WritePredictions
    from ..runner import prepare
    from ..trust.samples import preprocessing

    localiser, seen = localiser_and_crop(weights)
    fitted = read_baseline(Path(baseline), localiser.sha256) if baseline else None
    prepare([out])
    known = Path(table) if table else datalist.with_name("canal.csv")
    rows_by_slice = read_truth(known) if table or known.is_file() else {}
    measured = {}
    for section in sections:
        measurer = MeasureSlices(preprocessing(seen, localiser), localiser, rows_by_slice, known.parent)
        dataset = SliceDataset(entries[section], measurer)
        rows, features = measured_rows(dataset, measurer)
        write_csv(section_path(folder, "measures.csv", section), COLUMNS, rows)
        errors = measure_errors(rows)
        say_errors(section, errors)
        measured[section] = dataset, features, errors
    if not any(errors["errors"] for _, _, errors in measured.values()):
        say("no masks are known, so the errors are not; `python -m scripts canal` makes canal.csv from masks")
    if fitted is None:
        training, features, _ = measured["training"]
        pos_weight = training.pos_weight()
        facts_of_training = {
            "canal_sha256": localiser.sha256,
            "pos_weight": pos_weight,
            "trained_on_phantom": bool(training.counts()["phantom"]),
        }
        fitted = fit_baseline(features, training.labels, pos_weight), facts_of_training
    regression, origin = fitted
    about = {
        "weights_sha256": write_baseline(folder / BASELINE, regression, origin),
        "trained_on_phantom": origin["trained_on_phantom"],
        "epoch": None,
        "pos_weight": origin["pos_weight"],
        "training_precision": None,
    }
    facts = about_results(about, str(datalist), str(ROOT), 0) | {
        "architecture": ARCHITECTURE,
        "canal_sha256": localiser.sha256,
    }
    for section in [one for one in sections if one != "training"]:
        dataset, features, errors = measured[section]
        logits = torch.from_numpy(baseline_logits(regression, features))[:, None]
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
    return localiser, seen | {"context": 0, "outlines": False}


def write_baseline(path: Path, baseline: Baseline, origin: Mapping[str, Any]) -> str:
    """Write what the regression learned, and return the hash of that.

    Args:
        path: the file.
        baseline: of `scripts.evaluation.morphometry.fit_baseline`.
        origin: hash of the localiser whose outlines were measured, weight of a compressed slice, whether of a phantom.
    """
    from ..canal.measures import FEATURES

    missing = [FEATURES[number] for number in baseline.missing]
    about = {"architecture": ARCHITECTURE, "features": list(FEATURES)}
    content = {**about, **baseline._asdict(), "missing": missing, **origin}
    write_json(path, content)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_baseline(path: Path, canal_sha256: str) -> tuple[Baseline, dict[str, Any]]:
    """Read what `write_baseline` wrote: the regression, and where it comes from.

    Args:
        path: the file.
        canal_sha256: of the localiser that will be measured with.

    Raises:
        InputError: the file is missing or says something else, or was fitted on the outlines of another localiser.
    """
    from ..canal.measures import FEATURES
    from ..evaluation.morphometry import Baseline

    if not path.is_file():
        raise InputError(f"no regression at {path}; `python -m scripts morphometry` writes {BASELINE} to its --out")
    found = read_object(path)
    missing = found["missing"] if isinstance(found.get("missing"), list) else [None]
    known = found.get("features") == list(FEATURES) and all(one in FEATURES for one in missing)
    columns = len(FEATURES) + len(missing)
    numbers = [found.get("intercept"), found.get("pos_weight")]
    for name, length in {
        "medians": len(FEATURES),
        "means": columns,
        "scales": columns,
        "coefficients": columns,
    }.items():
        values = found.get(name)
        numbers += values if isinstance(values, list) and len(values) == length else [None]
    finite = all(isinstance(one, int | float) and math.isfinite(one) for one in numbers)
    if not known or not finite or 0 in found["scales"]:
        raise InputError(f"{path} is no {BASELINE} of `python -m scripts morphometry`; make it anew")
    if found.get("canal_sha256") != canal_sha256:
        raise InputError(f"{path} was fitted on the outlines of another localiser; name that one with --weights")
    numbered = {"missing": [FEATURES.index(one) for one in missing]}
    regression = Baseline(**{name: found[name] for name in Baseline._fields} | numbered)
    origin = {"canal_sha256": canal_sha256, "pos_weight": found["pos_weight"]}
    return regression, origin | {"trained_on_phantom": bool(found.get("trained_on_phantom"))}


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
