"""What ``python -m scripts plan`` was asked, checked and completed by a pilot."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import InputError, check_whole
from ..evaluation.designs import Design, Pilot, correlation_of_models, design_of, pilot_of
from ..evaluation.planning import AGAINST, MEASURES, Target, Wish, target_by_assumption, target_by_pilot
from ..report.inputs.columns import KEY
from ..report.inputs.predictions import Predictions, read_predictions

DESIGN = ("prevalence", "slices", "slices_sd", "label_correlation")
POWER = 0.8


@dataclass(frozen=True)
class Options:
    """The arguments of ``python -m scripts plan``; None where one was not given."""

    measure: str
    against: str
    value: float | None
    width: float | None
    difference: float | None
    power: float | None
    prevalence: float | None
    slices: float | None
    slices_sd: float | None
    correlation: float | None
    label_correlation: float | None
    share: float
    model_correlation: float | None
    confidence: float
    tests: int
    pilot: Path | None
    second: Path | None
    threshold: float


def check_options(options: Options) -> None:
    """Refuse options that are out of range or do not go together.

    Raises:
        InputError: see above.
    """
    for name, known in (("measure", MEASURES), ("against", AGAINST)):
        if getattr(options, name) not in known:
            raise InputError(f"--{name} must be {' or '.join(filter(None, known))}, got {getattr(options, name)!r}")
    between = ("value", "width", "difference", "power", "prevalence", "share", "confidence")
    for name in between:
        number = getattr(options, name)
        if number is not None and not 0 < number < 1:
            raise InputError(f"--{name} must be a number between 0 and 1, got {number}")
    for name in ("correlation", "label_correlation"):
        number = getattr(options, name)
        if number is not None and not 0 <= number <= 1:
            raise InputError(f"--{name} must be a number from 0 to 1, got {number}")
    if options.model_correlation is not None and not -1 <= options.model_correlation < 1:
        raise InputError(f"--model_correlation must be a number from -1 to below 1, got {options.model_correlation}")
    if options.slices is not None and not 1 <= options.slices <= 10_000:
        raise InputError(f"--slices must be a number from 1 to 10000, got {options.slices}")
    if options.slices_sd is not None and not 0 <= options.slices_sd <= 10_000:
        raise InputError(f"--slices_sd must be a number from 0 to 10000, got {options.slices_sd}")
    check_whole("--tests", options.tests, 1, 10_000)
    if (options.width is None) == (options.difference is None):
        raise InputError("say what the study is for: either --width W, or --difference D with --power P")
    if options.width is not None and options.power is not None:
        raise InputError("--power is the chance to find a --difference; leave it out, or --width")
    if options.power is not None and options.power <= 1 - options.confidence:
        raise InputError(f"--power must be above the level of the test, {1 - options.confidence:.3g}")
    if options.second and (options.against != "model" or not options.pilot):
        raise InputError("--second is another model on the slices of --pilot; it needs that, and --against model")
    if options.model_correlation is not None and options.against != "model":
        raise InputError("--model_correlation needs --against model")


def read_pilot(predictions: Predictions, options: Options) -> Pilot:
    """Describe the pilot.

    Raises:
        InputError: it has fewer than three patients with slices of the kind that counts, or one label only.
    """
    y, x, patients = arrays(predictions)
    if not 0 < y.sum() < len(y):
        raise InputError(f"{predictions.path} holds slices of one label only; a pilot needs both")
    found = pilot_of(y, x, patients, math.log(options.threshold / (1 - options.threshold)))
    counted = found.n_patients[options.measure]
    if counted < 3:
        raise InputError(
            f"{counted} patients of {predictions.path} count for {options.measure}: too few to say how patients "
            "differ; expected at least 3"
        )
    return found


def arrays(predictions: Predictions) -> tuple[Any, Any, Any]:
    """Return label, logit and patient of each slice, each of shape (N,)."""
    frame = predictions.slices
    return frame["label"].to_numpy(), frame["logit"].to_numpy(float), pd.factorize(frame["patient_id"])[0]


def design_from(options: Options, pilot: Pilot | None) -> tuple[Design, dict[str, Any]]:
    """Describe a patient's slices, by the pilot where there is one and no option says otherwise.

    Returns:
        The design, and what it assumes.

    Raises:
        InputError: neither a pilot nor an option says what is needed.
    """
    said = {name: getattr(options, name) for name in DESIGN}
    if pilot:
        measured = (pilot.prevalence, pilot.design.slices, pilot.slices_sd, pilot.label_correlation)
        full = {name: found if said[name] is None else said[name] for name, found in zip(DESIGN, measured, strict=True)}
        return (design_of(**full) if any(one is not None for one in said.values()) else pilot.design), full
    single = said["slices"] == 1 and not said["slices_sd"]
    said |= {name: 0.0 for name in ("slices_sd", *(["label_correlation"] if single else [])) if said[name] is None}
    known = {**said, "correlation": 0.0 if single and options.correlation is None else options.correlation}
    known["value"] = options.value
    missing = [f"--{name}" for name, one in known.items() if one is None]
    if missing:
        raise InputError(f"missing {', '.join(missing)}; give them, or a pilot's predictions with --pilot")
    return design_of(**said), said


def target_from(options: Options, design: Design, pilot: Pilot | None) -> Target:
    """Describe the measure.

    Raises:
        InputError: the pilot cannot say how it varies.
    """
    if pilot is None or options.correlation is not None:
        return target_by_assumption(options.measure, design, options.correlation or 0.0)
    found = pilot.values[options.measure]
    if not 0 < found < 1:
        raise InputError(
            f"the pilot's {options.measure} is {found:.3g}, so it does not say how patients differ; give --correlation "
            "and --value"
        )
    return target_by_pilot(options.measure, design, pilot)


def wish_from(options: Options, pilot: Pilot | None, predictions: Predictions | None) -> Wish:
    """Collect what the study is to show.

    Raises:
        InputError: the value is unknown, or the difference leads out of the range that results can have.
    """
    value = options.value if options.value is not None or pilot is None else pilot.values[options.measure]
    floor = 0.5 if options.measure == "auc" else 0.0
    if value is None or not floor < value < 1:
        raise InputError(f"--value must be {options.measure} between {floor:g} and 1, got {value}")
    difference = options.difference or 0.0
    if value - difference <= 0:
        raise InputError(f"--difference {difference:g} is more than the value, {value:.3g}")
    correlation = 0.0
    if options.against == "model":
        correlation = model_correlation(options, predictions)
    power = None if options.width is not None else options.power or POWER
    return Wish(
        value,
        options.against,
        options.width,
        difference,
        power,
        options.share,
        correlation,
        options.confidence,
        options.tests,
    )


def model_correlation(options: Options, predictions: Predictions | None) -> float:
    """Return the correlation of two models' results: the option's, or that of both pilots.

    Raises:
        InputError: neither is there, or the pilots do not fit together.
    """
    if options.model_correlation is not None:
        return options.model_correlation
    if predictions is None or options.second is None:
        raise InputError("missing --model_correlation; give it, or another model's predictions with --second")
    other = read_predictions(options.second)
    both = predictions.slices.merge(other.slices, on=[*KEY, "slice_index"], suffixes=("", "_second"))
    if both.empty or (both["label"] != both["label_second"]).any():
        what = "share no slice" if both.empty else "give a slice different labels"
        raise InputError(f"{predictions.path} and {other.path} {what}; expected two models on the same slices")
    limit = math.log(options.threshold / (1 - options.threshold))
    found = correlation_of_models(
        options.measure,
        both["label"].to_numpy(),
        both["logit"].to_numpy(float),
        both["logit_second"].to_numpy(float),
        pd.factorize(both["patient_id"])[0],
        limit,
    )
    if not -1 <= found < 1:
        raise InputError(
            f"the pilots do not say how the models' {options.measure} goes together (it is equal in all patients, or "
            "does not vary); give --model_correlation"
        )
    return found
