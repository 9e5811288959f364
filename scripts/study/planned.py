"""The size of a study, told as a table and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..console import say
from ..errors import InputError
from ..evaluation.designs import Pilot
from ..evaluation.estimates import defined
from ..evaluation.planning import (
    CAUTION,
    FEW,
    LARGEST,
    Size,
    Target,
    Wish,
    cautions,
    cautious,
    patients_needed,
    size_of,
)
from ..files import write_json
from ..report.inputs.predictions import read_predictions
from .plan_options import Options, check_options, design_from, read_pilot, target_from, wish_from

SHOWN = (0.5, 0.75, 1.0, 1.5, 2.0)
"""Sizes that the table shows, as multiples of the answer."""


def answer(options: Options, out: Path | None) -> None:
    """Compute, print and write how large the study must be.

    Raises:
        InputError: something is missing, out of range, or cannot be had with any number of patients.
    """
    check_options(options)
    predictions = read_predictions(options.pilot) if options.pilot else None
    pilot = read_pilot(predictions, options) if predictions else None
    design, assumed = design_from(options, pilot)
    target, wish = target_from(options, design, pilot), wish_from(options, pilot, predictions)
    needed = patients_needed(target, wish)
    if needed is None:
        raise InputError(impossible(target, wish))
    warnings = cautions(needed, target, wish)
    careful = None
    if pilot and options.correlation is None:
        careful, warning = careful_size(options, target, wish, pilot)
        warnings.append(warning)
    measured = pilot.correlations[options.measure] if pilot else 0.0
    assumed |= {"value": wish.value, "correlation": measured if options.correlation is None else options.correlation}
    patients = sorted({max(2, math.ceil(factor * needed.patients)) for factor in SHOWN})
    sizes = [size_of(number, target, wish) for number in patients]
    tell(options, wish, assumed, needed, sizes, warnings)
    if out:
        content: dict[str, Any] = {
            "measure": options.measure,
            "wish": asdict(wish),
            "assumed": assumed,
            "pilot": None,
            "patients": needed.patients,
            "slices": math.ceil(needed.slices),
            "compressed_slices": math.ceil(needed.compressed_slices),
            "cautious_patients": careful,
            "sizes": [as_row(one) for one in sizes],
            "warnings": warnings,
        }
        if pilot and predictions:
            about = {"file": predictions.path.name, "sha256": predictions.sha256, "threshold": options.threshold}
            content["pilot"] = {**about, "n_patients": pilot.n_patients, "values": pilot.values}
        write_json(out, content)
        say(f"wrote {out}")


def impossible(target: Target, wish: Wish) -> str:
    """Say that no study is large enough, and what the largest one would show."""
    largest = size_of(LARGEST, target, wish)
    got = (
        f"a power of {largest.power:.2f}" if wish.power is not None else f"a width of {largest.high - largest.low:.2g}"
    )
    wanted = f"a power of {wish.power:g}" if wish.power is not None else f"a width of {wish.width:g}"
    return f"not even {LARGEST:,} patients are expected to give {wanted}: they give {got}; ask for less"


def careful_size(options: Options, target: Target, wish: Wish, pilot: Pilot) -> tuple[int | None, str]:
    """Compute the size for the upper limit of the variance that the pilot showed, and the sentence about it."""
    counted = pilot.n_patients[options.measure]
    size = patients_needed(cautious(target, counted), wish)
    beware = "" if counted >= FEW else f", fewer than {FEW}"
    many = f"{size.patients:,} patients" if size else f"more than {LARGEST:,} patients"
    return (size.patients if size else None), (
        f"how patients differ is itself estimated, from {counted} patients of the pilot{beware}: with the upper "
        f"{100 * CAUTION:g} % limit of that variance (Browne 1995), plan for {many}"
    )


def tell(
    options: Options, wish: Wish, assumed: dict[str, Any], needed: Size, sizes: Sequence[Size], warnings: Sequence[str]
) -> None:
    """Print the answer, the sizes around it, what was assumed, and what to beware of."""
    measure = "AUC" if options.measure == "auc" else options.measure
    about = {"": measure, "subgroup": f"{measure} of a subgroup", "model": f"{measure} of two models"}
    what = about[wish.against]
    if wish.power is not None:
        goal = "" if wish.against else " from a fixed goal"
        family = f", {wish.tests} tests in the family" if wish.tests > 1 else ""
        aim = f"to find a difference of {wish.difference:g}{goal} with a power of {wish.power:g}{family}"
    else:
        aim = f"for a {100 * wish.confidence:g} % interval of width {wish.width:g}"
    say(f"{what[0].upper() + what[1:]}: {needed.patients:,} patients are needed {aim}.")
    say(f"They have about {needed.slices:,.0f} slices, {needed.compressed_slices:,.0f} of them compressed.")
    columns = ("patients", "slices", "compressed", "standard error", "expected interval", "width", "power")
    rows = [columns[: 7 if wish.power is not None else 6]]
    for one in sizes:
        cells = [f"{one.patients:,}", f"{one.slices:,.0f}", f"{one.compressed_slices:,.0f}"]
        if math.isfinite(one.standard_error):
            cells += [f"{one.standard_error:.4f}", f"{one.low:.3f} to {one.high:.3f}", f"{one.high - one.low:.3f}"]
        else:
            cells += ["-", "too few", "-"]
        rows.append((*cells, f"{one.power:.2f}")[: len(rows[0])])
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    say()
    for row in rows:
        say("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
    say()
    source = f"by the pilot {options.pilot}, where no option says otherwise" if options.pilot else "by the options"
    pairs = ", ".join(f"{name} {one:.3g}" for name, one in assumed.items() if one is not None)
    more = f", share {wish.share:g}" if wish.against == "subgroup" else ""
    more += f", model_correlation {wish.model_correlation:.3g}" if wish.against == "model" else ""
    say(f"Assumed {source}: {pairs}{more}.")
    if wish.power is None:
        say("The width is the expected one: about half of such studies get a wider interval.")
    for warning in warnings:
        say(f"warning: {warning}")


def as_row(size: Size) -> dict[str, Any]:
    """Return a size as JSON; what is undefined is None."""
    numbers = ("slices", "compressed_slices", "informative", "standard_error", "low", "high", "power")
    return {"patients": size.patients, **{name: defined(getattr(size, name)) for name in numbers}}
