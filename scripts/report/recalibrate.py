"""``python -m scripts recalibrate``: thresholds and calibration from a site's own labelled slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from ..console import say
from ..errors import InputError
from ..evaluation.calibration import Calibration, assess
from ..files import read_json, write_json
from . import operating
from .facts import VERY_FEW
from .inputs import (
    KEY,
    Predictions,
    calls,
    check_predictions,
    check_roles,
    digest,
    read_facts,
    read_predictions,
    read_table,
)
from .page import interval

SLICE_COLUMNS = ["patient_id", *KEY, "slice_index", "logit", "probability"]
LABEL_COLUMNS = ["series_uid", "sop_uid", "role", "status", "label"]


def recalibrate(predictions: str, out: str, labels: str = "", current: str = "") -> None:
    """Choose thresholds and fit the calibration anew on a site's own labelled slices; the weights stay as they are.

    The slices must be of patients that the network was not trained on, and results must be reported on other patients.

    Args:
        predictions: a predictions.csv with labels, or the output folder of `python -m scripts predict`.
        out: operating_points.json to write, or the folder to write it to.
        labels: labels.csv with the site's reference, for the output of predict.
        current: the operating_points.json in use, to show what the new one changes.
    """
    source = Path(predictions)
    scored = join(source, Path(labels)) if source.is_dir() else read_predictions(source)
    home = source if source.is_dir() else source.parent
    facts = read_facts(home, home) | (facts_of_predict(source) if source.is_dir() else {})
    path = Path(out) if out.endswith(".json") else Path(out) / operating.FILE
    before = operating.load(Path(current)) if current else operating.default(facts)
    content = operating.choose(scored, facts)
    after = operating.understand(content, path)
    write_json(path, content)
    frame = scored.slices
    n_patients, n_compressed = frame["patient_id"].nunique(), int(frame["label"].sum())
    say(
        f"{n_patients} patients, {len(frame)} slices, {n_compressed} compressed; {len(scored.excluded)} slices left out"
    )
    if n_patients < VERY_FEW:
        say(f"warning: fewer than {VERY_FEW} patients; the new thresholds and calibration are rough")
    for name, line in (("before", before.calibration), ("after", after.calibration)):
        say(f"{name + ':':8}{describe(scored, line)}")
    if not after.fitted:
        say(f"no calibration could be fitted: {after.calibration.note}")
    for name, point in after.points.items():
        say(f"{name}: {point.note or format(point.logit, '.3f')}")
    say(f"wrote {path}")


def facts_of_predict(folder: Path) -> dict[str, Any]:
    """Collect what predict says of the weights in its summaries, so that nobody uses the result with others.

    Raises:
        InputError: the series were scored with different weights, or phantom and patients are mixed.
    """
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("*/summary.json")):
        summary = read_json(path)
        for name in ("weights_sha256", "trained_on_phantom", "model_version", "phantom", "pos_weight"):
            if found.setdefault(name, summary.get(name)) != summary.get(name):
                raise InputError(f"{folder}: the series differ in {name}, see {path}; score all of them in one run")
    return {name: value for name, value in found.items() if value is not None}


def describe(scored: Predictions, line: Calibration) -> str:
    """Describe how well a calibration fits the site's slices."""
    frame = scored.slices
    found = assess(frame["label"].to_numpy(), line.logits(frame["logit"]), pd.factorize(frame["patient_id"])[0])
    parts = {"intercept at slope 1": found.intercept_at_slope_1, "slope": found.slope, "Brier score": found.brier}
    return "; ".join(f"{name} {interval(estimate.leaf(), 3)}" for name, estimate in parts.items())


def join(folder: Path, labels: Path) -> Predictions:
    """Join the slices.csv files that predict wrote with the site's reference labels.

    Raises:
        InputError: there are no such files, no reference, or two references for one slice that differ.
    """
    files = sorted(folder.glob("*/slices.csv"))
    if not files:
        raise InputError(f"{folder} holds no */slices.csv; expected the output folder of `python -m scripts predict`")
    if not labels.is_file():
        raise InputError(
            f"--labels must name the labels.csv of these slices, got {str(labels)!r}; it has the columns "
            f"{', '.join(LABEL_COLUMNS)}"
        )
    slices = pd.concat([read_table(path, SLICE_COLUMNS) for path in files])
    table = read_table(labels, LABEL_COLUMNS)
    check_roles(table)
    table = table.assign(call=calls(table))
    table = table[(table["role"] == "reference") & (table["status"] == "evaluable")]
    if table.empty:
        raise InputError(f"{labels} has no row with role reference and status evaluable")
    key = KEY if "frame" in table else ["series_uid", "sop_uid"]
    if key != KEY and (slices["frame"] != "").any():
        raise InputError(f"{labels} needs a column frame, because {folder} holds multi-frame images")
    opinions = table.groupby(key)["call"].nunique()
    if (opinions > 1).any():
        raise InputError(
            f"{labels} gives slice {opinions.idxmax()} {opinions.max()} different reference labels; settle them with "
            "`python -m scripts consensus`"
        )
    merged = slices[SLICE_COLUMNS].merge(table.drop_duplicates(key)[[*key, "label"]], on=key, how="left")
    merged = merged.fillna({"label": ""}).set_axis(slices.index)  # a wrong row is named by its own file and line
    return check_predictions(merged, labels, digest(*files, labels))
