"""Do planned studies get what was wanted?

``python -m bundle simulate --parts plans`` plans studies of simulated patients, draws as many patients as planned, and
counts how wide the report's intervals are and how often its tests find the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import t

from scripts.console import progress
from scripts.evaluation.auc import pooled_auc
from scripts.evaluation.bootstrap import win_matrix
from scripts.evaluation.comparisons import paired_auc, paired_proportion, subgroup_pooled
from scripts.evaluation.designs import Pilot, correlation_of_models, design_of, pilot_of
from scripts.evaluation.estimates import Bools, Estimate, sum_by
from scripts.evaluation.planning import (
    MEASURES,
    Target,
    Wish,
    cautious,
    patients_needed,
    target_by_assumption,
    target_by_pilot,
)
from scripts.evaluation.proportions import confusion, ratio

from .populations import POPULATIONS, Cohort, Population, draw

WIDTHS = {"auc": 0.04, "sensitivity": 0.12, "specificity": 0.05}
POWER, SHARE = 0.8, 1 / 3
LARGE = 10_000  # patients of the cohort that stands for the truth
PILOT = 30
PERMUTATIONS = 499
ASSUMED = "as the options assume"
LEVELS = Population(level_sd=0.5, separation=2.6, separation_sd=0.0, noise_sd=1.1, free=0.0)
"""Patients who differ in their level alone, as `scripts.evaluation.designs.binormal` assumes."""


@dataclass
class Outcome:
    """What became of the studies of one plan.

    Attributes:
        name: what was wanted.
        patients: planned.
        wanted: width, or power.
        reached: mean width, or share of the studies that found the difference.
        held: share of the intervals that held the truth; NaN for power.
        within: share of the studies whose interval was no wider than wanted; NaN for power.
    """

    name: str
    patients: int
    wanted: float
    reached: float
    held: float = float("nan")
    within: float = float("nan")


def interval(measure: str, c: Cohort) -> Estimate:
    """Return the interval that the report prints."""
    if measure == "auc":
        return pooled_auc(c.labels, c.logits, c.patients)
    counts = confusion(c.labels, c.logits, c.patients, 0.0)
    return (
        ratio(counts.tp, counts.tp + counts.fn) if measure == "sensitivity" else ratio(counts.tn, counts.tn + counts.fp)
    )


def worse(c: Cohort, rng: np.random.Generator) -> Cohort:
    """Return the cohort with a second model that is worse than the first: noisier."""
    return replace(c, second=c.second + rng.normal(0, 0.6, len(c.second)))


def two_groups(rng: np.random.Generator, k: int, population: Population) -> tuple[Cohort, Bools]:
    """Draw a cohort in whose subgroup slices are harder to tell apart; returns it and who belongs to the subgroup."""
    inside = np.arange(k) < round(SHARE * k)
    hard = draw(rng, int(inside.sum()), replace(population, separation=population.separation - 0.6))
    rest = draw(rng, int((~inside).sum()), population)
    pairs = ((hard.labels, rest.labels), (hard.logits, rest.logits), (hard.second, rest.second))
    labels, logits, second = (np.r_[a, b] for a, b in pairs)
    return Cohort(labels, logits, second, np.r_[hard.patients, rest.patients + inside.sum()]), inside


def subgroup_p(measure: str, c: Cohort, inside: Bools, seed: int) -> float:
    """Return the p-value of a subgroup against the others; of sensitivity by Welch's t test of clustered shares."""
    k, hit = len(inside), c.labels == 1
    if measure == "auc":
        m, n = sum_by(c.patients[hit], k), sum_by(c.patients[~hit], k)
        wins = win_matrix(c.labels, c.logits, c.patients)
        return subgroup_pooled(wins, m, n, inside, seed, PERMUTATIONS).p_value
    counts = confusion(c.labels, c.logits, c.patients, 0.0)
    values, variances, sizes = [], 0.0, []
    for group in (inside, ~inside):
        a, b = counts.tp[group], (counts.tp + counts.fn)[group]
        used, value = int((b > 0).sum()), a.sum() / b.sum()
        variances += used / (used - 1) * ((a - value * b) ** 2).sum() / b.sum() ** 2
        values.append(value)
        sizes.append(used)
    return float(2 * t.sf(abs(values[0] - values[1]) / np.sqrt(variances), min(sizes) - 1))


def models_p(measure: str, c: Cohort) -> float:
    """Return the p-value of the report's test of two models."""
    if measure == "auc":
        return paired_auc(c.labels, c.logits, c.second, c.patients).p_value
    hit = c.labels == 1
    return paired_proportion(c.logits[hit] >= 0, c.second[hit] >= 0, c.patients[hit]).p_value


def needed(target: Target, wish: Wish) -> int:
    """Return the planned number of patients, which these populations always have."""
    size = patients_needed(target, wish)
    if size is None:
        raise ValueError(f"no study of {target.measure} is large enough for {wish}")
    return size.patients


def studies(make: Callable[[np.random.Generator], float], name: str, repetitions: int, seed: tuple[int, ...]) -> float:
    """Return the share of simulated studies with a p-value of at most 0.05."""
    numbers = progress(range(repetitions), name, "study", repetitions)
    return float(np.mean([make(np.random.default_rng([*seed, number])) <= 0.05 for number in numbers]))


def widths(
    population: Population, targets: dict[str, Target], truth: Pilot, repetitions: int, seed: int
) -> Iterator[Outcome]:
    """Plan intervals, and measure those of as many patients as planned."""
    for measure, width in WIDTHS.items():
        value = truth.values[measure]
        k = needed(targets[measure], Wish(value, width=width))
        found = [
            interval(measure, draw(np.random.default_rng([seed, 4, k, number]), k, population))
            for number in progress(range(repetitions), f"{measure}, {k} patients", "study", repetitions)
        ]
        ends = np.array([(one.low, one.high) for one in found])
        held = float(((ends[:, 0] <= value) & (value <= ends[:, 1])).mean())
        spans = ends[:, 1] - ends[:, 0]
        name = f"{measure}: interval of width {width:g}"
        yield Outcome(name, k, width, float(np.nanmean(spans)), held, float((spans <= width).mean()))


def powers(population: Population, truth: Pilot, large: Cohort, repetitions: int, seed: int) -> Iterator[Outcome]:
    """Plan tests, and count how often those of as many patients as planned find the difference."""
    second = worse(large, np.random.default_rng([seed, 5]))
    grouped, _ = two_groups(np.random.default_rng([seed, 6]), LARGE, population)
    own = grouped.patients < round(SHARE * LARGE)
    hard = pilot_of(grouped.labels[own], grouped.logits[own], grouped.patients[own])
    noisy = pilot_of(second.labels, second.second, second.patients)
    for measure in ("auc", "sensitivity"):
        target, value = target_by_pilot(measure, truth.design, truth), truth.values[measure]
        gap = value - hard.values[measure]
        k = needed(target, Wish(value, "subgroup", difference=gap, power=POWER, share=SHARE))
        found = studies(
            lambda rng, k=k, measure=measure: subgroup_p(measure, *two_groups(rng, k, population), 0),  # type: ignore[misc]
            f"subgroup, {measure}, {k} patients",
            repetitions,
            (seed, 7, k),
        )
        yield Outcome(f"{measure}: subgroup (a third) worse by {gap:.3f}", k, POWER, found)
        gap = value - noisy.values[measure]
        both = correlation_of_models(measure, second.labels, second.logits, second.second, second.patients)
        k = needed(target, Wish(value, "model", difference=gap, power=POWER, model_correlation=both))
        found = studies(
            lambda rng, k=k, measure=measure: models_p(measure, worse(draw(rng, k, population), rng)),  # type: ignore[misc]
            f"two models, {measure}, {k} patients",
            repetitions,
            (seed, 8, k),
        )
        yield Outcome(f"{measure}: second model worse by {gap:.3f}", k, POWER, found)


def pilots(population: Population, truth: Pilot, repetitions: int, seed: int) -> list[str]:
    """Plan from many small pilots, and compare with what is needed; returns a row for each measure."""
    rows = []
    for measure in MEASURES:
        value = truth.values[measure]
        wish = Wish(value, width=WIDTHS[measure])
        exact = needed(target_by_pilot(measure, truth.design, truth), wish)
        plain, careful = [], []
        for number in range(repetitions):
            c = draw(np.random.default_rng([seed, 9, number]), PILOT, population)
            pilot = pilot_of(c.labels, c.logits, c.patients)
            if 0 < pilot.values[measure] < 1:
                target = target_by_pilot(measure, pilot.design, pilot)
                plain.append(needed(target, wish))
                careful.append(needed(cautious(target, pilot.n_patients[measure]), wish))
        low, middle, high = np.quantile(plain, [0.1, 0.5, 0.9])
        enough = [100 * float(np.mean(np.array(sizes) >= exact)) for sizes in (plain, careful)]
        rows.append(
            f"| {measure}: width {WIDTHS[measure]:g} | {exact} | {middle:.0f} ({low:.0f} to {high:.0f}) "
            f"| {enough[0]:.0f} % | {np.median(careful):.0f} | {enough[1]:.0f} % |"
        )
    return rows


def planned_part(repetitions: int, seed: int) -> str:
    """Run all plans, and write them up as Markdown.

    Args:
        repetitions: studies for each plan.
        seed: of everything that is drawn.
    """
    lines = [
        f"Each plan of `python -m scripts plan` was tried on {repetitions} simulated studies of the planned size "
        f"(standard error of a share near 80 %: {100 * np.sqrt(0.16 / repetitions):.1f}). *Reached*: the mean width, "
        "or the share of studies whose two-sided test at 5 % found the difference. Intervals and tests are those of "
        "the report; a subgroup's sensitivity, which the report does not test, by a t test of clustered proportions. "
        f"What a plan assumed is the truth here: a pilot of {LARGE:,} patients or, in the last three rows, the "
        "parameters.",
        "",
        "| population | wanted | patients planned | wanted | reached | interval holds the truth | interval no wider |",
        "|---" * 7 + "|",
    ]
    settings = {**POPULATIONS, ASSUMED: LEVELS}
    truths = {}
    for title, population in settings.items():
        large = draw(np.random.default_rng([seed, 3]), LARGE, population)
        truth = pilot_of(large.labels, large.logits, large.patients)
        truths[title] = truth
        if title == ASSUMED:
            likeness = population.level_sd**2 / (population.level_sd**2 + population.noise_sd**2)
            few, many = population.slices
            a, b = population.prevalence
            spread = float(np.sqrt(((many - few + 1) ** 2 - 1) / 12))
            design = design_of(a / (a + b), (few + many) / 2, spread, 1 / (a + b + 1))
            targets = {one: target_by_assumption(one, design, likeness) for one in MEASURES}
            outcomes = list(widths(population, targets, truth, repetitions, seed))
        else:
            targets = {one: target_by_pilot(one, truth.design, truth) for one in MEASURES}
            outcomes = [
                *widths(population, targets, truth, repetitions, seed),
                *powers(population, truth, large, repetitions, seed),
            ]
        for one in outcomes:
            shares = ["" if np.isnan(share) else f"{100 * share:.0f} %" for share in (one.held, one.within)]
            goal = (
                (f"{one.wanted:g}", f"{one.reached:.3f}") if shares[0] else (f"{one.wanted:.0%}", f"{one.reached:.1%}")
            )
            lines.append(f"| {title} | {one.name} | {one.patients} | {' | '.join(goal)} | {' | '.join(shares)} |")
    lines += [
        "",
        f"### From a pilot of {PILOT} patients",
        "",
        f"Patients needed, and patients planned from each of {repetitions} pilots: median, with the 10th and 90th "
        "percentile. The value itself is taken as known. *Enough*: share of the plans that reach the number needed. "
        "*Cautiously*: with the upper 95 % limit of the pilot's variance, which the command states as a warning.",
        "",
    ]
    for title in POPULATIONS:
        lines += [
            *(f"{title[0].upper()}{title[1:]}:", ""),
            "| wanted | needed | planned | enough | planned cautiously | enough |",
            "|---" * 6 + "|",
            *pilots(settings[title], truths[title], repetitions, seed),
            "",
        ]
    return "\n".join(lines).rstrip()
