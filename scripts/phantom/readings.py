"""Simulated raters: who reads which series how often, and how raters err.

A rater sees the rule through errors. Some are the rater's habit (calling early or late), some belong to the scan (hard
to read, partly for everybody alike) and some to the slice; part of a rater's own errors returns when they read again,
so raters agree more with themselves than with each other. The sizes are our choice. On 800 patients (200 each of seeds
1, 5, 11 and 31) kappa was 0.80 to 0.84 between the reference raters and 0.88 to 0.90 between two readings of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .fields import Array
from .labels import INDENTATION_MM, NO_KIND, SliceTruth, grade_of, t2_signal_of
from .patients import Patient, stream

SCAN_MM = 0.10  # SD of what a scan adds to everybody's impression
OWN_SCAN_MM = 0.13  # SD of what it adds to that of one rater
SLICE_MM = 0.24  # SD of one rater's error on one slice
HYPERINTENSITY_SD = 0.1
CSF_SD = 0.08
RETURNING = 0.65  # share of the variance of a rater's errors that returns when they read again
CONFUSED = 1.3  # SDs from which an error of one side makes a rater name another kind: 10 % of the slices
MISTAKEN_FOR = {
    "indentation": "flattening",
    "flattening": "indentation",
    "circumferential": "flattening",
    "torsion": "indentation",
}
SLIGHT = "indentation"  # what a cord looks like that is called compressed and is not
REPEATED = 10  # raters who make the reference read every tenth patient twice


@dataclass(frozen=True)
class Rater:
    """One simulated rater; ``bias_mm`` is how much more dented than it is a cord looks to them."""

    name: str
    role: str
    bias_mm: float


RATERS = (Rater("rater_1", "reference", 0.06), Rater("rater_2", "reference", -0.05), Rater("rater_3", "reader", 0.02))


@dataclass(frozen=True)
class Judgement:
    """What a rater says of one slice: label, Kang-style grade, kind of compression, and whether the cord is bright."""

    label: int
    grade: int
    kind: str
    t2_signal: int


def n_readings(rater: Rater, index: int) -> int:
    """Return how often a rater reads the series of patient ``index``."""
    return 2 if rater.role == "reader" or index % REPEATED == 0 else 1


def read_series(patient: Patient, truth: Sequence[SliceTruth], rater: Rater, reading: int) -> list[Judgement]:
    """Let a rater judge every slice of a patient.

    Args:
        patient: whose slices; the errors derive from the patient's seed.
        truth: the patient's slices.
        rater: who reads.
        reading: 1, or 2 for another look at the same slices.
    """
    scan = stream(patient, "scan as read").standard_normal()
    own_scan, (dents, signals, csf, kinds) = errors(patient, len(truth), rater, reading)
    seen_mm = rater.bias_mm + SCAN_MM * scan + OWN_SCAN_MM * own_scan + SLICE_MM * dents
    judgements = []
    for i, row in enumerate(truth):
        compressed = bool(row.pressure_mm + seen_mm[i] >= INDENTATION_MM)
        hyperintensity = row.t2_hyperintensity + HYPERINTENSITY_SD * signals[i] * (row.t2_hyperintensity > 0)
        grade = grade_of(compressed, hyperintensity, row.csf_lost + CSF_SD * csf[i])
        signal = t2_signal_of(hyperintensity)
        kind = SLIGHT if row.kind == NO_KIND else row.kind
        kind = MISTAKEN_FOR[kind] if kinds[i] > CONFUSED else kind
        judgements.append(Judgement(int(compressed), grade, kind if compressed else NO_KIND, signal))
    return judgements


def errors(patient: Patient, n_slices: int, rater: Rater, reading: int) -> tuple[float, Array]:
    """Draw a rater's errors, each of unit variance: of the scan, and of four qualities of each slice, shape (4, S)."""
    shape = (4, 1 + n_slices)
    returning = stream(patient, rater.name).standard_normal(shape)
    passing = stream(patient, rater.name, reading).standard_normal(shape)
    found = np.sqrt(RETURNING) * returning + np.sqrt(1 - RETURNING) * passing
    return float(found[0, 0]), found[:, 1:]
