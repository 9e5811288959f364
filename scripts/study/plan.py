"""``python -m scripts plan``; what it takes is imported when it runs, so that its help is quick."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..files import check_output


def plan(
    measure: str = "auc",
    against: str = "",
    value: float | None = None,
    width: float | None = None,
    difference: float | None = None,
    power: float | None = None,
    prevalence: float | None = None,
    slices: float | None = None,
    slices_sd: float | None = None,
    correlation: float | None = None,
    label_correlation: float | None = None,
    share: float = 0.5,
    model_correlation: float | None = None,
    confidence: float = 0.95,
    tests: int = 1,
    pilot: str = "",
    second: str = "",
    threshold: float = 0.5,
    out: str = "",
) -> None:
    """Compute how many patients a study needs, for an interval of a wanted width or a test of a wanted power.

    The slices of a patient resemble each other, so the patients count. How alike slices are comes from a pilot's
    predictions, or from --prevalence, --slices, --correlation and --label_correlation. docs/planning.md has the
    methods, and how often simulated studies of the planned size got what was wanted.

    Args:
        measure: auc (of all slices), sensitivity or specificity.
        against: subgroup: the difference between a subgroup and the other patients; model: between two models on the
            same slices; by default the value itself.
        value: expected result; of the other patients with a subgroup, of the better model with two. By default the
            pilot's.
        width: wanted width of the interval, e.g. 0.05 for 0.90 to 0.95.
        difference: by how much the subgroup, the other model or a fixed goal lies below the value, for --power.
        power: wanted chance that a two-sided test finds that difference; with --difference it is 0.8 by default.
        prevalence: share of the slices that are compressed.
        slices: mean number of slices of a patient; 1 plans for patients with one image each.
        slices_sd: standard deviation of that number; 0 by default.
        correlation: of the scores of two slices of one patient with the same label, 0 to 1.
        label_correlation: of the labels of two slices of one patient, 0 to 1.
        share: share of the patients that are in the subgroup.
        model_correlation: of the two models' results.
        confidence: of the interval; a test has the level 1 minus this.
        tests: tests in the family; by Holm's method the first is judged at the level divided by their number.
        pilot: predictions.csv of a pilot; what you also give as an option replaces what the pilot says.
        second: predictions.csv of another model on the pilot's slices, for --model_correlation.
        threshold: probability from which the pilot's slices are called compressed.
        out: JSON file to write: what was assumed, the sizes and the warnings.
    """
    if not 0 < threshold < 1:
        raise InputError(f"--threshold must be a probability between 0 and 1, got {threshold}")
    target = check_output(out, [one for one in (pilot, second) if one]) if out else None
    from .plan_options import Options
    from .planned import answer

    options = Options(
        measure=measure,
        against=against,
        value=value,
        width=width,
        difference=difference,
        power=power,
        prevalence=prevalence,
        slices=slices,
        slices_sd=slices_sd,
        correlation=correlation,
        label_correlation=label_correlation,
        share=share,
        model_correlation=model_correlation,
        confidence=confidence,
        tests=tests,
        pilot=Path(pilot) if pilot else None,
        second=Path(second) if second else None,
        threshold=threshold,
    )
    answer(options, target)
