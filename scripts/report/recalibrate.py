"""``python -m scripts recalibrate``: thresholds and calibration from a site's own labelled slices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..console import say
from ..errors import InputError
from ..files import check_output, write_json
from ..records import RunFacts

if TYPE_CHECKING:
    from ..evaluation.platt import Calibration
    from .inputs.predictions import Predictions


def recalibrate(predictions: str, out: str, labels: str = "", current: str = "") -> None:
    """Choose thresholds and fit the calibration anew on a site's own labelled slices; the weights stay as they are.

    The slices must be of patients that the network was not trained on, and results must be reported on other patients.

    Args:
        predictions: a predictions.csv with labels, or the output folder of `python -m scripts predict`.
        out: operating_points.json to write, or the folder to write it to.
        labels: labels.csv with the site's reference, for the output of predict.
        current: the operating_points.json in use, to show what the new one changes.
    """
    from . import operating_points_file
    from .facts import VERY_FEW
    from .inputs.cohorts import geometry_table
    from .inputs.facts import cohort_of, read_facts
    from .inputs.predicted import facts_of_predict, geometry_of_predict, join
    from .inputs.predictions import read_predictions

    source = Path(predictions)
    path = check_output(Path(out) if out.endswith(".json") else Path(out) / operating_points_file.FILE, [predictions])
    before = operating_points_file.read(Path(current)) if current else None
    if not source.exists():
        raise InputError(f"{source} does not exist; expected a predictions.csv, or the output folder of `predict`")
    if source.is_dir() and not labels:
        raise InputError(f"{source} holds no labels; name the site's labels.csv with --labels")
    if labels and not source.is_dir():
        raise InputError(f"--labels is for the output folder of predict; {source} has a column label of its own")
    home = source if source.is_dir() else source.parent
    facts: RunFacts = {**read_facts(home, home), **(facts_of_predict(source) if source.is_dir() else RunFacts())}
    scored = join(source, Path(labels)) if source.is_dir() else read_predictions(source)
    before = before or operating_points_file.default(facts)
    geometry = geometry_of_predict(source) if source.is_dir() else geometry_table(cohort_of(home)[0])[0]
    content = operating_points_file.fit_operating_points(scored, facts, geometry)
    after = operating_points_file.parse_operating_points(content, path)
    write_json(path, content)
    frame = scored.slices
    n_patients, n_compressed = frame["patient_id"].nunique(), int(frame["label"].sum())
    say(
        f"{n_patients} patients, {len(frame)} slices, {n_compressed} compressed; {len(scored.excluded)} slices left out"
    )
    if n_patients < VERY_FEW:
        say(f"warning: fewer than {VERY_FEW} patients; the new thresholds and calibration are rough")
    for name, line in (("before", before.calibration), ("after", after.calibration)):
        say(f"{name + ':':8}{fit_text(scored, line)}")
    for text in operating_points_file.summary_lines(after):
        say(text)
    say(f"wrote {path}")


def fit_text(scored: Predictions, line: Calibration) -> str:
    """Return how well a calibration fits the site's slices, as text."""
    from ..evaluation.calibration import assess
    from ..evaluation.estimates import in_words

    frame = scored.slices
    found = assess(frame["label"].to_numpy(), line.logits(frame["logit"]), frame["patient_id"].to_numpy(dtype=str))
    parts = {"intercept at slope 1": found.intercept_at_slope_1, "slope": found.slope, "Brier score": found.brier}
    return "; ".join(f"{name} {in_words(estimate.leaf())}" for name, estimate in parts.items())
