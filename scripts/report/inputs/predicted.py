"""The output folder of ``predict``, joined with a site's own labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from ...cohort.cells import Problems, sentences
from ...cohort.labels import EVALUABLE, REQUIRED, read_labels
from ...console import say
from ...errors import InputError
from ...files import inside, read_object
from ...records import SCORED, RunFacts
from ...tables import read_cells
from .columns import KEY, digest, keyed, numbers, read_table
from .labels import label_table
from .predictions import Predictions, check_predictions

WEIGHTS = ("weights_sha256", "ensemble_sha256", "trained_on_phantom", "model_version", "phantom", "pos_weight")
SLICE_COLUMNS = ["patient_id", *KEY, "slice_index", "logit", "probability"]


def summaries(folder: Path) -> list[Path]:
    """Return the summary.json of every series that the last run of predict scored; what else lies there is not read.

    Raises:
        InputError: the folder holds no results, the run was stopped before its end, or a result is not whole.
    """
    table = folder / "series.csv"
    if not any(folder.glob("*/slices.csv")):
        raise InputError(f"{folder} holds no */slices.csv; expected the output folder of `python -m scripts predict`")
    if not table.is_file():
        raise InputError(
            f"{folder} has no series.csv, so the run of predict that wrote it was stopped before its end; "
            "run it again with --resume true"
        )
    rows = [row for row in read_cells_of(table) if row["status"] in (SCORED, "kept")]
    names = [row["folder"] or row.get("series_uid", "") for row in rows]  # up to 0.4.0, kept series had no folder
    found = [inside(folder, name) / "summary.json" for name in names]
    for path in found:
        listed = read_object(path).get("files", ["slices.csv"])
        if not isinstance(listed, list):
            raise InputError(f"{path}: files must be a list of names, got {listed!r}; score the series again")
        lost = [name for name in listed if not (path.parent / str(name)).is_file()]
        if lost:
            raise InputError(f"{path.parent} has lost {lost[0]}; score the series again with --resume true")
    if not found:
        raise InputError(f"{folder} holds no scored series, see {folder / 'failures.csv'}")
    return found


def geometry_of_predict(folder: Path) -> pd.DataFrame:
    """Return where the slices that predict scored lie, as far as its slices.csv say it, as geometry.csv has it."""
    tables = [read_table(path.with_name("slices.csv"), [*KEY, "slice_index"]) for path in summaries(folder)]
    return pd.concat(tables).filter([*KEY, "slice_index", "position_mm", "thickness_mm"]).fillna("")


def read_cells_of(table: Path) -> list[dict[str, str]]:
    """Read the rows of series.csv."""
    header, lines = read_cells(table, ("status", "folder"))
    return [dict(zip(header, cells, strict=True)) for cells in lines.values()]


def join(folder: Path, labels: Path) -> Predictions:
    """Join the slices.csv files that predict wrote with the site's reference labels.

    Raises:
        InputError: there are no such files, no reference, or two references for one slice that differ.
    """
    files = [path.with_name("slices.csv") for path in summaries(folder)]
    if not labels.is_file():
        raise InputError(
            f"--labels must name the labels.csv of these slices, got {str(labels)!r}; it has the columns "
            f"{', '.join(REQUIRED)}"
        )
    slices = pd.concat([read_table(path, SLICE_COLUMNS) for path in files])
    unusable: Problems = []
    rows = read_labels(labels, unusable)
    for problem in sentences(unusable, len(rows)):
        say(f"note: {problem}")
    table = label_table([one for one in rows if one.role == "reference" and one.status == EVALUABLE])
    if table.empty:
        raise InputError(f"{labels} has no row with role reference and status evaluable")
    if (slices["frame"] != "").any() and (table["frame"] == "").all():
        raise InputError(f"{labels} needs a column frame, because {folder} holds multi-frame images")
    slices["slice_index"] = numbers(slices["slice_index"])
    key, table = keyed(slices, table, str(labels))
    opinions = table.groupby(key)["call"].nunique()
    if (opinions > 1).any():
        raise InputError(
            f"{labels} gives slice {opinions.idxmax()} {opinions.max()} different reference labels; settle them with "
            "`python -m scripts consensus`"
        )
    merged = slices[SLICE_COLUMNS].merge(table.drop_duplicates(key)[[*key, "call"]], on=key, how="left")
    merged["label"] = merged.pop("call").map({0: "0", 1: "1"}).fillna("")
    return check_predictions(merged.set_axis(slices.index), labels, digest(*files, labels))  # a row keeps its place


def facts_of_predict(folder: Path) -> RunFacts:
    """Collect what predict says of the weights in its summaries, so that nobody uses the result with others.

    Raises:
        InputError: the series were scored with different weights, or phantom and patients are mixed.
    """
    found: dict[str, Any] = {}
    for path in summaries(folder):
        summary = read_object(path)
        for name in WEIGHTS:
            if found.setdefault(name, summary.get(name)) != summary.get(name):
                raise InputError(f"{folder}: the series differ in {name}, see {path}; score all of them in one run")
    facts: RunFacts = {name: value for name, value in found.items() if value is not None}  # type: ignore[assignment]
    return facts
