"""Drawing patients so that a cohort is balanced at any size and its attributes tell mildly of severity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .anatomy import sample_anatomy
from .labels import SliceTruth, patient_truth
from .layouts import laid_out
from .lesions import sample_lesions
from .patients import Patient, Settings, named_stream
from .scanners import SITES, Scan, Site, sample_scan

FREE_SHARE = 0.30  # patients without a compressed slice
N_COMPRESSIVE = (1, 2, 3, 4, 5)
N_COMPRESSIVE_SHARES = (0.08, 0.17, 0.28, 0.28, 0.19)
MAX_DRAWS = 500
# Steps of the R2 sequence (Roberts 2018): any run of patients covers the square evenly
R2_STEPS = np.array([0.7548776662466927, 0.5698402909980532])


def draw_site(settings: Settings, index: int) -> tuple[bool, Site]:
    """Decide whether a patient is free of compression, and the site, in even shares for any number of patients."""
    start = named_stream(settings.seed, 0, "place").random(2)
    first, second = (start + index * R2_STEPS) % 1
    ends = np.cumsum([site.share for site in SITES])
    return bool(first < FREE_SHARE), SITES[min(int(np.searchsorted(ends, second, side="right")), len(SITES) - 1)]


def sample_patient(settings: Settings, index: int) -> tuple[Patient, list[SliceTruth]]:
    """Draw patient ``index`` of a cohort, and the truth of the slices.

    Age makes discs darker and disease wider spread; the disability score (mJOA) follows the worst slice loosely, so
    that subgroup tables have something to find.
    """
    free, site = draw_site(settings, index)
    rng = named_stream(settings.seed, index, "person")
    sex = "F" if rng.random() < 0.42 else "M"
    age = int(np.clip(round(rng.normal(51 if free else 56, 12.5)), 21, 88))
    height = float(np.clip(rng.normal(1.63 if sex == "F" else 1.76, 0.07), 1.42, 2.0))
    body_mass_index = float(np.clip(rng.normal(27, 4.5), 18, 44))
    anatomy = sample_anatomy(rng, age, sex == "F", body_mass_index)
    scan = sample_scan(
        named_stream(settings.seed, index, "scan"), site, settings.style, anatomy.pitch_mm, settings.matrix
    )
    base = Patient(
        settings=settings,
        index=index,
        site=site,
        age=age,
        sex=sex,
        weight_kg=round(body_mass_index * height**2, 1),
        height_m=round(height, 2),
        mjoa=18,
        anatomy=anatomy,
        lesions=(),
        scan=scan,
    )
    base = laid_out(base)
    lesion_rng = named_stream(settings.seed, index, "lesions")
    shares = np.array(N_COMPRESSIVE_SHARES) * np.array(N_COMPRESSIVE) ** (0.02 * (age - 55))
    for _ in range(MAX_DRAWS):
        count = 0 if free else int(lesion_rng.choice(N_COMPRESSIVE, p=shares / shares.sum()))
        patient = replace(base, lesions=sample_lesions(lesion_rng, count))
        truth = patient_truth(patient)
        if any(row.label for row in truth) != free:
            break
    else:
        raise RuntimeError(f"patient {index} of seed {settings.seed}: no lesions fit after {MAX_DRAWS} draws")
    if settings.slices is not None and settings.slices < base.scan.n_slices:
        patient = replace(patient, scan=shortened(base.scan, settings.slices, truth))
        truth = patient_truth(patient)
    patient = replace(patient, mjoa=disability(rng, truth, age))
    return patient, truth


def shortened(scan: Scan, slices: int, truth: Sequence[SliceTruth]) -> Scan:
    """Keep ``slices`` neighbouring slices about the most compressed one."""
    worst = max(truth, key=lambda row: row.pressure_mm).slice_index
    first = int(np.clip(worst - slices // 2, 0, scan.n_slices - slices))
    return scan.straight(slices, scan.z_mm(first) + 0.5 * (slices - 1) * scan.step_mm)


def disability(rng: np.random.Generator, truth: Sequence[SliceTruth], age: int) -> int:
    """Draw the modified Japanese Orthopaedic Association score, 18 at best; no compression does not promise an 18."""
    worst_mm = max(row.pressure_mm for row in truth)
    bright = any(row.grade == 3 for row in truth)
    score = 16.9 - 0.75 * min(worst_mm, 4.0) - 0.6 * bright - 0.02 * (age - 55) + rng.normal(0, 2.2)
    return int(np.clip(round(score), 4, 18))
