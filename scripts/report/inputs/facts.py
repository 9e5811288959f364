"""What a run, and the evaluation that made it, record about themselves."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ... import datalists
from ...errors import InputError
from ...files import read_json
from ...records import RunFacts
from ...tables import read_cells

FACTS = (
    "phantom",
    "trained_on_phantom",
    "model_version",
    "architecture",
    "weights_sha256",
    "ensemble_sha256",
    "datalist_sha256",
    "seed",
    "pos_weight",
    "versions",
)


def is_flag(value: Any) -> bool:
    """Whether a value is JSON's true or false."""
    return isinstance(value, bool)


def is_count(value: Any) -> bool:
    """Whether a value is a whole number from 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_texts(value: Any) -> bool:
    """Whether a value is a list of texts."""
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def is_positive(value: Any) -> bool:
    """Whether a value is a finite number above 0."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "phantom": (is_flag, "true or false, without quotes"),
    "trained_on_phantom": (is_flag, "true or false, without quotes"),
    "architecture": (lambda value: isinstance(value, str), "a text"),
    "weights_sha256": (lambda value: isinstance(value, str), "a text"),
    "ensemble_sha256": (is_texts, "a list of hashes"),
    "datalist": (lambda value: isinstance(value, str), "a path"),
    "datalist_sha256": (lambda value: isinstance(value, str), "a text"),
    "pos_weight": (is_positive, "a number above 0"),
    "versions": (lambda value: isinstance(value, dict), 'an object such as {"torch": "2.8.0"}'),
    "n_slices": (is_count, "a whole number"),
    "n_unreadable": (is_count, "a whole number"),
}


def read_object(path: Path) -> RunFacts:
    """Read a JSON object; what is null is absent.

    Raises:
        InputError: it is none, or a key of ``KINDS`` holds something else.
    """
    return check_kinds(read_json(path), path)


def check_kinds(content: Any, path: Path) -> RunFacts:
    """Refuse facts that would be misread."""
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a JSON object, got {type(content).__name__}")
    content = {name: value for name, value in content.items() if value is not None}
    for name, (fits, expected) in KINDS.items():
        if name in content and not fits(content[name]):
            raise InputError(f"{path}: {name} must be {expected}, got {content[name]!r}")
    facts: RunFacts = content
    return facts


def cohort_of(run: Path) -> tuple[Path, list[str]]:
    """Return the folder of the cohort that a run scored, as its evaluation recorded it, else the run's own folder.

    Returns:
        The folder, and why it is not the recorded one. No sentence holds a path: reports are passed on.
    """
    metrics = run / "metrics.json"
    record = read_object(metrics) if metrics.is_file() and not (run / "patients.csv").is_file() else RunFacts()
    if "datalist" not in record:
        return run, []
    path = Path(record["datalist"])
    advice = "its tables are not used; name its folder with --cohort or --external_cohort"
    if not path.is_file():
        return run, [f"the cohort of the run is no longer where it was: {advice}"]
    if datalists.datalist_info(path)["datalist_sha256"] != record.get("datalist_sha256"):
        return run, [f"the cohort's {path.name} has changed since the run was made: {advice}"]
    return path.parent, []


def read_facts(run: Path, cohort: Path) -> RunFacts:
    """Collect the facts that a run and its cohort record about themselves; what neither says is absent.

    Raises:
        InputError: a file is no JSON object, or a fact is not of its kind.
    """
    found = RunFacts()
    sources = [read_object(path) for path in (run / "metrics.json", run / "run.json") if path.is_file()]
    datalist = cohort / "datalist.json"
    if datalist.is_file():
        sources.insert(0, check_kinds(datalists.datalist_info(datalist), datalist))
    for source in sources:
        found |= {name: value for name, value in source.items() if name in FACTS}  # type: ignore[typeddict-item]
    flags = [source["phantom"] for source in sources if "phantom" in source]
    if flags:
        found["phantom"] = any(flags)
    return found


def evaluation_problems(run: Path, n_rows: int) -> tuple[RunFacts, list[str]]:
    """Return what the evaluation could not read, and whether predictions.csv still holds all that it scored.

    Args:
        run: folder with metrics.json and failures.csv, where they exist.
        n_rows: rows of predictions.csv.

    Returns:
        ``n_unreadable`` images, where known, and sentences.
    """
    metrics, failures = run / "metrics.json", run / "failures.csv"
    said = read_object(metrics) if metrics.is_file() else RunFacts()
    lines = list(read_cells(failures, ())[1].values()) if failures.is_file() else []
    problems = []
    if said.get("n_slices", n_rows) != n_rows:
        problems.append(
            f"predictions.csv has {n_rows} rows where metrics.json counts {said['n_slices']} slices: was it cut off or "
            "edited?"
        )
    known = failures.is_file() or "n_unreadable" in said
    n = max(len(lines), said.get("n_unreadable", 0))
    if n:
        first = f" (first {Path(lines[0][0]).name}: {' '.join(lines[0][1:])})" if lines else ""
        problems.append(f"{n} images could not be read by the evaluation, see failures.csv{first}")
    return ({"n_unreadable": n} if known else {}), problems
