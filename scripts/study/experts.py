"""The ``experts`` command: one network per rater, and how well raters and networks agree (Won 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import markdown, say
from ..errors import InputError, check_whole
from ..files import check_folder, resolved, sha256, write_csv, write_json, write_text
from ..records import SliceKey, slice_key
from ..tables import read_table

if TYPE_CHECKING:
    from ..evaluation.estimates import Estimate
    from .rater_folds import Calls, Readings

COLUMNS = ("what", "first", "second", "kappa", "low", "high", "slices", "patients", "note", "phantom")
PREDICTED = ("patient_id", "series_uid", "sop_uid", "frame", "label", "logit")


def experts(
    cohort: str,
    out: str,
    raters: str = "",
    labels: str = "",
    folds: int = 10,
    validation: float = 0.25,
    seed: int = 0,
    overlay: str = "",
    overrides: str = "",
) -> None:
    """Train one network per rater on that rater's labels, and measure how well raters and networks agree.

    Writes Cohen's kappa of every two raters, of every network with every rater, and of repeated readings, with 95 %
    intervals clustered by patient: OUT/experts.csv, experts.md, experts.json, experts.png. Each network is tested by
    cross-validation on patients it was not trained on, at the threshold of the largest sensitivity + specificity on its
    own validation patients; the folds are the same for all raters. All patients of the datalist take part, also those
    held out in it. Raters are represented by their first reading of a slice.

    Trainings are folders OUT/RATER/fold_N; those that are finished are not repeated, and an interrupted one continues.
    Datalists lie beside the images, as those of `split`: COHORT/experts_RATER_NofFOLDS_seedSEED.json.

    Args:
        cohort: folder with a datalist.json, or a datalist.
        out: folder of the tables and trainings.
        raters: raters of the labels, separated by commas; default all.
        labels: labels.csv with the raters' labels, before `consensus`; default that of the cohort.
        folds: of the cross-validation.
        validation: share of the other patients that validates.
        seed: of the division into folds.
        overlay: a config over train.json, e.g. configs/quickstart.json.
        overrides: config keys of train.json as JSON, e.g. '{"max_epochs": 5}'.
    """
    check_whole("--folds", folds, 2)
    check_whole("--seed", seed, 0)
    if not 0 < validation < 1:
        raise InputError(f"--validation must be a share between 0 and 1, got {validation}")
    from ..cohort.labels import read_labels
    from ..datalists import datalist_info
    from . import experiments, rater_folds
    from .checks import check_experiments, check_settings

    changes, configs, folder = experiments.parse_overrides(overrides), experiments.overlays(overlay), check_folder(out)
    datalist = resolved(experiments.datalist_path(cohort))
    table = Path(labels) if labels else datalist.parent / "labels.csv"
    readings = rater_folds.readings_of(rater_folds.read_entries(datalist), read_labels(table), raters, table)
    planned = rater_folds.plan(readings, datalist.parent, folds, validation, seed)
    sections, brief = ("validation", "testing"), experiments.BRIEF
    trainings = [
        experiments.Experiment(
            *(folder / one.name / f"fold_{one.number}", configs, str(one.datalist), sections, changes, brief),
            cache=folder / experiments.CACHE,
        )
        for one in planned
    ]
    check_settings(replace(trainings[0], cohort=str(datalist)), resume=False)
    facts = {"phantom": bool(datalist_info(datalist).get("phantom")), "labels_sha256": sha256(table)}
    for one in planned:
        rater_folds.write_datalist(one, seed, **facts, folds=folds)
    check_experiments([replace(one, sections=()) for one in trainings])  # what is tested may have one class
    calls: dict[str, dict[SliceKey, float]] = {rater: {} for rater in readings.first}
    thresholds: dict[str, list[float]] = {rater: [] for rater in readings.first}
    say(f"{len(trainings)} trainings: {len(calls)} raters, {folds} folds")
    for one, experiment in zip(planned, trainings, strict=True):
        say(f"network of rater {one.rater}, fold {one.number} of {folds}")
        experiments.run_experiment(experiment)
        threshold = youden_threshold(experiment.folder)
        thresholds[one.rater].append(threshold)
        calls[one.rater] |= network_calls(experiment.folder, threshold)
    networks = {rater: readings.calls(found) for rater, found in calls.items()}
    found = agreement(readings, networks)
    about = {**facts, "datalist_sha256": datalist_info(datalist)["datalist_sha256"], "seed": seed, "folds": folds}
    about |= {"validation": validation, "raters": {rater: describe(readings, rater) for rater in readings.first}}
    title = f"Raters, and networks trained on each of them, on the {experiments.cohort_title(str(datalist))}"
    write(folder, title, found, list(readings.first), {**about, "threshold_logits": thresholds})


def youden_threshold(folder: Path) -> float:
    """Return the logit of the largest sensitivity + specificity on a training's own validation slices.

    Raises:
        InputError: they could not be read, or only those of one class.
    """
    from ..evaluation.operating_points import youden

    rows = read_table(folder / "predictions_validation.csv", PREDICTED)
    labels, logits = [int(row["label"]) for row in rows], [float(row["logit"]) for row in rows]
    point = youden(labels, logits, [row["patient_id"] for row in rows])
    if point.note:
        raise InputError(f"no threshold can be chosen for {folder}: {point.note}; see its failures_validation.csv")
    return point.logit


def network_calls(folder: Path, threshold: float) -> dict[SliceKey, float]:
    """Return a network's calls of the slices that its training tested."""
    rows = read_table(folder / "predictions.csv", PREDICTED)
    return {slice_key(row.cells): float(float(row["logit"]) >= threshold) for row in rows}


def describe(readings: Readings, rater: str) -> dict[str, int]:
    """Count what a rater's first readings hold."""
    labels = list(readings.first[rater].values())
    compressed = sum(one.label == 1 for one in labels)
    patients = len({one.patient_id for one in labels})
    return {"n_patients": patients, "n_slices": len(labels), "n_compressed_slices": compressed}


def agreement(readings: Readings, networks: Mapping[str, Calls]) -> dict[tuple[str, str, str], Estimate]:
    """Compute all kappas, each on the slices that both called.

    Args:
        readings: what raters said.
        networks: calls of each rater's network.

    Returns:
        By what is compared, and the names of both: ``raters``, ``network`` (of the first) with a rater, ``readings`` of
        one rater, and ``mean``.
    """
    from ..evaluation.agreement import mean_kappa

    patients = readings.patients
    raters = {rater: readings.calls_of(rater) for rater in readings.first}
    pairs = {("raters", one, other): (raters[one], raters[other]) for one, other in combinations(raters, 2)}
    pairs |= {("network", one, other): (networks[one], raters[other]) for one in networks for other in raters}
    pairs |= {("readings", *names): calls for names, calls in readings.repeats.items()}
    means = {
        ("raters", "each other"): [names for names in pairs if names[0] == "raters"],
        **{(f"network of {one}", "all raters"): [("network", one, other) for other in raters] for one in networks},
        ("networks", "their own raters"): [("network", one, one) for one in networks],
        ("networks", "other raters"): [names for names in pairs if names[0] == "network" and names[1] != names[2]],
    }
    found = {names: mean_kappa([calls], patients) for names, calls in pairs.items()}
    return found | {
        ("mean", *who): mean_kappa([pairs[names] for names in several], patients) for who, several in means.items()
    }


def write(
    folder: Path,
    title: str,
    found: Mapping[tuple[str, str, str], Estimate],
    raters: Sequence[str],
    about: Mapping[str, Any],
) -> None:
    """Write and print the tables, and draw the matrix of raters and networks by raters."""
    from ..evaluation.estimates import NAN
    from ..handlers.figures import matrix
    from .experiments import markdown_table

    rows = [
        {"what": what, "first": first, "second": second, **one.leaf()} for (what, first, second), one in found.items()
    ]
    phantom = "yes" if about["phantom"] else "no"
    renamed = {"value": "kappa", "n_slices": "slices", "n_patients": "patients"}
    table = [{**{renamed.get(name, name): value for name, value in row.items()}, "phantom": phantom} for row in rows]
    write_csv(folder / "experts.csv", COLUMNS, table)
    write_json(folder / "experts.json", {"title": title, **about, "kappas": rows})
    lines = {rater: [found.get(("raters", *sorted_by(raters, rater, other))) for other in raters] for rater in raters}
    lines |= {f"network of {rater}": [found["network", rater, other] for other in raters] for rater in raters}
    cells = [[markdown(name), *map(kappa_in_words, line)] for name, line in lines.items()]
    others = [name for name in found if name[0] in ("readings", "mean")]
    listed = [
        [markdown(f"{what}: {one}, {other}"), kappa_in_words(found[what, one, other])] for what, one, other in others
    ]
    texts = [markdown_table(["kappa (95 %)", *map(markdown, raters)], cells)]
    texts.append(markdown_table(["kappa", "(95 %)"], listed))
    tables = "\n\n".join(texts)
    write_text(folder / "experts.md", f"{markdown(title)}\n\n{tables}\n")
    say(f"\n{title}\n\n{tables}\n\ntable: {folder / 'experts.csv'}")
    values = [[NAN if one is None else one.value for one in line] for line in lines.values()]
    say(f"figure: {matrix(values, list(lines), raters, 'kappa', title, folder / 'experts.png')}")


def sorted_by(raters: Sequence[str], one: str, other: str) -> tuple[str, str]:
    """Return two raters in the order of the table."""
    return (one, other) if raters.index(one) < raters.index(other) else (other, one)


def kappa_in_words(kappa: Estimate | None) -> str:
    """Return a kappa with its interval as tables show it."""
    from ..evaluation.estimates import in_words

    return "-" if kappa is None else in_words(kappa.leaf(), 2)
