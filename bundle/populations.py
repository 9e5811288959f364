"""Simulated patients whose slices resemble each other, to try statistics on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from scripts.evaluation.auc import components
from scripts.evaluation.estimates import Bools, Floats, Ints
from scripts.evaluation.per_patient import patient_aucs


@dataclass(frozen=True)
class Population:
    """Where patients are drawn from; scores are logits.

    Attributes:
        level_sd: standard deviation between patients of all their scores.
        separation: mean distance of compressed from other slices.
        separation_sd: its standard deviation between patients.
        noise_sd: standard deviation of slices within a patient.
        prevalence: parameters of the beta distribution of a patient's share of compressed slices.
        free: share of patients without any compression.
        slices: smallest and largest number of slices per patient.
    """

    level_sd: float
    separation: float
    separation_sd: float
    noise_sd: float
    prevalence: tuple[float, float] = (1.5, 3.0)
    free: float = 0.1
    slices: tuple[int, int] = (20, 48)


POPULATIONS = {
    "like the paper": Population(level_sd=0.4, separation=2.6, separation_sd=0.6, noise_sd=1.1),
    "patients differ much": Population(level_sd=1.0, separation=3.6, separation_sd=0.9, noise_sd=1.1),
}


@dataclass(frozen=True)
class Cohort:
    """Simulated slices, each array of shape (N,); ``second`` is another model's logit."""

    labels: Ints
    logits: Floats
    second: Floats
    patients: Ints


def draw(rng: np.random.Generator, k: int, population: Population) -> Cohort:
    """Draw ``k`` patients."""
    p = population
    size = rng.integers(p.slices[0], p.slices[1] + 1, k)
    patients = np.repeat(np.arange(k), size)
    share = rng.beta(*p.prevalence, k) * (rng.random(k) >= p.free)
    labels = (rng.random(len(patients)) < share[patients]).astype(np.int64)
    separation = rng.normal(p.separation, p.separation_sd, k)
    shared = rng.normal(0, p.level_sd, k)[patients] + separation[patients] * labels - p.separation / 2 - 0.3
    noise = rng.normal(0, p.noise_sd, (3, len(patients)))
    mixed = (noise[0] + noise[1]) / np.sqrt(2), (noise[0] + noise[2]) / np.sqrt(2)
    return Cohort(labels, shared + mixed[0], shared + rng.normal(0, 0.3, k)[patients] + mixed[1], patients)


def null_cohort(rng: np.random.Generator, k: int, population: Population, unlike: bool) -> tuple[Cohort, Bools]:
    """Draw a cohort whose subgroup (a third) has the same AUC; ``unlike``: fewer slices, more of them compressed."""
    inside = np.arange(k) % 3 == 0
    if not unlike:
        return draw(rng, k, population), inside
    few = draw(rng, int(inside.sum()), replace(population, slices=(12, 28), prevalence=(3.0, 3.0)))
    many = draw(rng, int((~inside).sum()), population)
    names = np.r_[np.flatnonzero(inside)[few.patients], np.flatnonzero(~inside)[many.patients]]
    both = (np.r_[a, b] for a, b in ((few.labels, many.labels), (few.logits, many.logits), (few.second, many.second)))
    labels, logits, second = both
    order = np.argsort(names, kind="stable")
    return Cohort(labels[order], logits[order], second[order], names[order]), inside


def sentence_about(population: Population, seed: int) -> str:
    """Return one sentence on how hard the population is."""
    cohort = draw(np.random.default_rng([seed, 0]), 40_000, population)
    aucs = patient_aucs(cohort.labels, cohort.logits, cohort.patients)
    pooled = components(cohort.labels, cohort.logits, cohort.patients).auc
    return (
        f"Pooled AUC {pooled:.3f}, per patient mean {np.nanmean(aucs):.3f} and median {np.nanmedian(aucs):.3f} "
        f"(standard deviation {np.nanstd(aucs):.3f}), {100 * cohort.labels.mean():.0f} % of slices compressed, "
        f"{population.slices[0]} to {population.slices[1]} slices per patient, {100 * population.free:.0f} % of "
        "patients without compression."
    )
