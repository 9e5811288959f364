"""Do the intervals cover, do the tests hold their level?

``python -m bundle simulate --parts coverage`` draws cohorts of 15 to 200 patients. It counts how
often an interval holds the truth, which is the same number in one very large cohort, and how often a test rejects where
nothing differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import scipy
from scipy.special import expit
from scipy.stats import norm

from scripts.console import progress
from scripts.evaluation.agreement import bland_altman, icc_a1, kappa
from scripts.evaluation.auc import components, covariance, interval_of, obuchowski_auc, pooled_auc
from scripts.evaluation.bootstrap import win_matrix
from scripts.evaluation.calibration import assess
from scripts.evaluation.comparisons import paired_auc, paired_mean, paired_proportion, subgroup_mean, subgroup_pooled
from scripts.evaluation.estimates import Bools, Estimate, sum_by
from scripts.evaluation.patient_rules import patient_scores
from scripts.evaluation.per_patient import mean_auc, median_auc, patient_aucs
from scripts.evaluation.proportions import confusion, rates

from .populations import POPULATIONS, Cohort, Population, draw, null_cohort, sentence_about

SIZES = (15, 30, 88, 200)
THRESHOLD = 0.0


def estimates(c: Cohort, resampled: bool, seed: int = 0) -> Iterator[tuple[str, Estimate]]:
    """Yield every interval on offer for one cohort, by name.

    Args:
        c: the cohort.
        resampled: whether to include those that resample patients (the truth does not need them).
        seed: of the resampling.
    """
    y, s, p, n = c.labels, c.logits, c.patients, len(c.labels)
    parts = components(y, s, p)
    yield "pooled AUC: jackknife over patients, logit, t (recommended)", pooled_auc(y, s, p)
    yield "pooled AUC: Obuchowski, logit, t", interval_of(parts, n)
    aucs, others = patient_aucs(y, s, p), patient_aucs(y, c.second, p)
    yield "mean per-patient AUC: bootstrap-t", mean_auc(aucs, n, seed=seed, repetitions=999 if resampled else 1)
    yield "median per-patient AUC: order statistics", median_auc(aucs, n)
    for name, estimate in rates(confusion(y, s, p, THRESHOLD)).items():
        yield f"{name}: clustered Wilson", estimate
    yield "difference of two models' pooled AUC", paired_auc(y, s, c.second, p)
    yield "difference of two models' mean AUC", paired_mean(aucs, others, n)
    hit = y == 1
    yield "difference of two models' sensitivity", paired_proportion(s[hit] >= 0, c.second[hit] >= 0, p[hit])
    yield "kappa with the reference", kappa(s >= THRESHOLD, y, p)
    report = assess(y, s, p)
    yield "calibration: intercept at slope 1", report.intercept_at_slope_1
    yield "calibration: slope", report.slope
    yield "Brier score", report.brier
    bent = report.curve
    if len(bent.predicted):
        value, low, high = (
            float(np.interp(0.5, bent.predicted, line)) for line in (bent.observed, bent.low, bent.high)
        )
        yield "calibration curve at a predicted probability of 0.5", Estimate(value, low, high, len(aucs), n)
    called, true = sum_by(p, int(p[-1]) + 1, s >= THRESHOLD), sum_by(p, int(p[-1]) + 1, y)
    yield "ICC(A,1) of the number of compressed slices", icc_a1(np.column_stack([called, true]), n)
    agreement = bland_altman(called, true, n, seed=seed, repetitions=999 if resampled else 1)
    yield "Bland-Altman bias", agreement.bias
    yield "Bland-Altman lower limit", agreement.lower_limit
    yield "Bland-Altman upper limit", agreement.upper_limit
    reference, rules = patient_scores(y, s, expit(s), p)
    yield "patient-level AUC, largest logit", obuchowski_auc(reference, rules["max"], np.arange(len(reference)))
    inside = np.arange(int(p[-1]) + 1) % 2 == 0
    if resampled:
        k = int(p[-1]) + 1
        m, q = sum_by(p[hit], k), sum_by(p[~hit], k)
        difference = subgroup_pooled(win_matrix(y, s, p), m, q, inside, seed, 499)
        yield "subgroup difference of pooled AUC: permutation", difference
        yield "subgroup difference of mean AUC: permutation", subgroup_mean(aucs, inside, n, seed, 499)


@dataclass
class Tally:
    """How often intervals held the truth, how often they were undefined, and how wide they were."""

    held: int = 0
    given: int = 0
    undefined: int = 0
    width: float = 0.0


def coverage(population: Population, k: int, repetitions: int, seed: int) -> dict[str, Tally]:
    """Draw cohorts of ``k`` patients and count how often each interval holds the truth."""
    very_large = draw(np.random.default_rng([seed, 0]), 40_000, population)
    truth = {name: estimate.value for name, estimate in estimates(very_large, resampled=False)}
    tallies: dict[str, Tally] = {}
    for number in progress(range(repetitions), f"{k} patients", "cohort", repetitions):
        for name, estimate in estimates(draw(np.random.default_rng([seed, k, number]), k, population), True, number):
            tally = tallies.setdefault(name, Tally())
            if not np.isfinite(estimate.low + estimate.high):
                tally.undefined += 1
                continue
            tally.given += 1
            tally.held += estimate.low <= truth.get(name, 0.0) <= estimate.high  # subgroups do not differ: 0
            tally.width += estimate.high - estimate.low
    return tallies


def null_tests(c: Cohort, inside: Bools, seed: int) -> Iterator[tuple[str, float]]:
    """Yield the p-value of every test on offer where nothing differs."""
    y, s, p, k = c.labels, c.logits, c.patients, len(inside)
    hit = y == 1
    m, n = sum_by(p[hit], k), sum_by(p[~hit], k)
    yield (
        "subgroup, pooled AUC: studentised permutation",
        subgroup_pooled(win_matrix(y, s, p), m, n, inside, seed, 999).p_value,
    )
    aucs = patient_aucs(y, s, p)
    yield "subgroup, mean AUC: studentised permutation", subgroup_mean(aucs, inside, len(y), seed, 999).p_value
    chosen = inside[p]
    groups = [components(y[w], s[w], np.arange(int(w.sum()))) for w in (chosen, ~chosen)]
    spread = sum(covariance(group, group) for group in groups)
    z = (groups[0].auc - groups[1].auc) / np.sqrt(spread)
    yield "subgroup, pooled AUC: DeLong with slices taken as independent (refused)", float(2 * norm.sf(abs(z)))


def paired_null_tests(c: Cohort, rng: np.random.Generator) -> Iterator[tuple[str, float]]:
    """Yield the p-values of the tests of two equally good models."""
    swap = rng.random(int(c.patients[-1]) + 1)[c.patients] < 0.5
    a, b = np.where(swap, c.second, c.logits), np.where(swap, c.logits, c.second)
    y, p = c.labels, c.patients
    hit = y == 1
    yield "two models, pooled AUC: Obuchowski", paired_auc(y, a, b, p).p_value
    aucs = patient_aucs(y, a, p), patient_aucs(y, b, p)
    yield "two models, mean AUC: paired t", paired_mean(*aucs, len(y)).p_value
    yield "two models, sensitivity: clustered McNemar", paired_proportion(a[hit] >= 0, b[hit] >= 0, p[hit]).p_value


def type_one(population: Population, k: int, unlike: bool, repetitions: int, seed: int) -> dict[str, Tally]:
    """Draw null cohorts and count rejections at 5 %; a p-value that is NaN (not tested) is counted apart."""
    tallies: dict[str, Tally] = {}
    for number in progress(range(repetitions), f"null, {k} patients", "cohort", repetitions):
        rng = np.random.default_rng([seed, 1, k, number])
        cohort, inside = null_cohort(rng, k, population, unlike)
        pairs = [*null_tests(cohort, inside, number), *(() if unlike else paired_null_tests(cohort, rng))]
        for name, p_value in pairs:
            tally = tallies.setdefault(name, Tally())
            tally.undefined += bool(np.isnan(p_value))
            tally.given += not np.isnan(p_value)
            tally.held += p_value <= 0.05
    return tallies


def table(columns: Mapping[str, Mapping[str, Tally]], cell: Callable[[Tally], str], head: str) -> list[str]:
    """Lay tallies out as a Markdown table, one row per name and one column per setting."""
    names = list(dict.fromkeys(name for tallies in columns.values() for name in tallies))
    lines = [f"| {head} | " + " | ".join(columns) + " |", "|---" * (1 + len(columns)) + "|"]
    for name in names:
        cells = (cell(tallies[name]) if name in tallies else "" for tallies in columns.values())
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def coverage_cell(tally: Tally) -> str:
    """Coverage in percent and mean width, with the cohorts that gave no interval where there were any."""
    if not tally.given:
        return "none"
    text = f"{100 * tally.held / tally.given:.1f} ({tally.width / tally.given:.3f})"
    return text + (f", {tally.undefined} without" if tally.undefined else "")


def rejection_cell(tally: Tally) -> str:
    """Rejections in percent."""
    if not tally.given:
        return "not tested"
    return f"{100 * tally.held / tally.given:.2f}" + (f", {tally.undefined} not tested" if tally.undefined else "")


def missed(
    columns: Mapping[str, Mapping[str, Tally]], goal: Callable[[str], tuple[float, float]], digits: int
) -> list[str]:
    """List what lies outside its goal, as lines of Markdown.

    Args:
        columns: tallies by setting and name.
        goal: lowest and highest percent that are wanted in a setting.
        digits: to show.
    """
    found: dict[str, list[str]] = {}
    for setting, tallies in columns.items():
        low, high = goal(setting)
        for name, tally in tallies.items():
            percent = 100 * tally.held / tally.given if tally.given else low
            if not low <= round(percent, digits) <= high and "refused" not in name:
                found.setdefault(name, []).append(f"{percent:.{digits}f} ({setting})")
    return [f"- {name}: {', '.join(where)}" for name, where in found.items()]


def coverage_goal(setting: str) -> tuple[float, float]:
    """Return the share of cohorts, in percent, in which an interval should hold the truth."""
    k = int(setting.split()[0])
    return (93.0, 97.0) if k >= 88 else (92.0, 100.0) if k >= 30 else (0.0, 100.0)


def document(
    covered: Mapping[str, Mapping[str, Mapping[str, Tally]]],
    rejected: Mapping[str, Mapping[str, Tally]],
    repetitions: int,
    null_repetitions: int,
    seed: int,
) -> str:
    """Write the simulation up as Markdown.

    Args:
        covered: tallies of intervals by population, setting and name.
        rejected: tallies of tests by setting and name.
        repetitions: cohorts per setting, for intervals.
        null_repetitions: cohorts per setting, for tests.
        seed: of everything that was drawn.
    """
    by_setting = {f"{k}, {title}": tallies for title, sizes in covered.items() for k, tallies in sizes.items()}
    lines = [
        f"numpy {np.__version__}, scipy {scipy.__version__}. Simulated scores, no "
        "images and no patients: this judges formulas, not the model.",
        "",
        "The report prints one interval for each AUC: of the pooled AUC the recommended one. Obuchowski's is measured "
        "because the paired test of two models rests on the same variance.",
        "",
        "## What misses its goal",
        "",
        "The goals: a 95 % interval holds the truth in at least 92 % of cohorts of 30 patients, and in 93 to 97 % from "
        "88 patients on; a test at 5 % rejects 4.5 to 5.5 % of null cohorts (below, it is cautious; above, it finds "
        "differences that are not there). Outside their goal, in percent of the cohorts:",
        "",
        *missed(by_setting, coverage_goal, 1),
        *missed(rejected, lambda _: (4.5, 5.5), 2),
    ]
    for title, sizes in covered.items():
        error = 100 * np.sqrt(0.05 * 0.95 / repetitions)
        lines += ["", f"## Coverage of 95 % intervals: {title}", "", sentence_about(POPULATIONS[title], seed), ""]
        lines += [f"Percent of {repetitions} cohorts (standard error {error:.1f}), mean width in brackets.", ""]
        lines += table(sizes, coverage_cell, "interval")
    error = 100 * np.sqrt(0.05 * 0.95 / null_repetitions)
    lines += ["", "## Type I error at 5 %", ""]
    lines += [
        f"Percent of {null_repetitions} null cohorts (standard error {error:.2f}). A third of the patients is the "
        "subgroup. *Unlike*: it has half as many slices, half of them compressed, and the same AUC, so that patients "
        "are not exchangeable.",
        "",
    ]
    return "\n".join([*lines, *table(rejected, rejection_cell, "test")])


def coverage_part(repetitions: int, null_repetitions: int, seed: int) -> str:
    """Run the whole simulation and write it up as Markdown."""
    covered = {
        title: {f"{k} patients": coverage(population, k, repetitions, seed) for k in SIZES}
        for title, population in POPULATIONS.items()
    }
    rejected = {
        f"{k} patients{', unlike' if unlike else ''}, {title}": type_one(population, k, unlike, null_repetitions, seed)
        for title, population in POPULATIONS.items()
        for k, unlike in ((30, False), (88, False), (88, True))
    }
    return document(covered, rejected, repetitions, null_repetitions, seed)
