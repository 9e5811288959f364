"""Drawing patients so that a cohort is balanced at any size and its attributes tell mildly of severity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from .anatomy import sample_anatomy
from .fields import clamp
from .findings import Artefacts, sample_artefacts, sample_findings
from .labels import SliceTruth, patient_truth
from .layouts import laid_out
from .lesions import sample_lesions
from .patients import Patient, Settings, named_stream, person_stream
from .scanners import SITES, Scan, Site, sample_scan

FREE_SHARE = 0.30  # patients without a compressed slice
N_COMPRESSIVE = (1, 2, 3, 4, 5)
N_COMPRESSIVE_SHARES = (0.08, 0.17, 0.28, 0.28, 0.19)
MAX_DRAWS = 500
FIRST_RETURN = 9  # from this number on ...
RETURN_EVERY = 15  # ... one patient in so many was seen at another site before
YEARS_BETWEEN = 2
WEIGHT_CHANGE_SD = 0.02
UNIMPAIRED = 18  # the best mJOA
# Steps of the R2 sequence (Roberts 2018): any run of patients covers the square evenly
R2_STEPS = np.array([0.7548776662466927, 0.5698402909980532])


def draw_site(settings: Settings, index: int) -> tuple[bool, Site]:
    """Decide whether a patient is free of compression, and the site, in even shares for any number of patients."""
    start = named_stream(settings.seed, 0, "place").random(2)
    first, second = (start + index * R2_STEPS) % 1
    ends = np.cumsum([site.share for site in SITES])
    return bool(first < FREE_SHARE), SITES[min(int(np.searchsorted(ends, second, side="right")), len(SITES) - 1)]


def first_visit(settings: Settings, index: int) -> int:
    """Return the number of the first visit of the person who is patient ``index``; ``index`` for nearly everybody.

    The others are the nearest earlier patient at another site who is as free of compression as draws want patient
    ``index`` to be, so that a cohort keeps its shares; nobody who comes again themselves.
    """
    if not comes_again(settings, index):
        return index
    free, site = draw_site(settings, index)
    for earlier in reversed(range(index)):
        free_then, site_then = draw_site(settings, earlier)
        if free_then == free and site_then.name != site.name and not comes_again(settings, earlier):
            return earlier
    return index


def comes_again(settings: Settings, index: int) -> bool:
    """Draw one patient of every `RETURN_EVERY`, from number `FIRST_RETURN` on."""
    block, place = divmod(index - FIRST_RETURN, RETURN_EVERY)
    return block >= 0 and place == named_stream(settings.seed, block, "who comes again").integers(RETURN_EVERY)


def sample_patient(settings: Settings, index: int) -> tuple[Patient, list[SliceTruth]]:
    """Draw patient ``index`` of a cohort, and the truth of the slices.

    Age makes discs darker and disease wider spread; the disability score (mJOA) follows the worst slice loosely, so
    that subgroup tables have something to find.
    """
    free, site = draw_site(settings, index)
    first = first_visit(settings, index)
    drawn = first_visits(settings, index, free, site) if first == index else later_visits(settings, first, index, site)
    for patient in islice(drawn, MAX_DRAWS):
        truth = patient_truth(patient)
        if any(row.label for row in truth) != free:
            break
    else:
        raise RuntimeError(f"patient {index} of seed {settings.seed}: nothing fits after {MAX_DRAWS} draws")
    if settings.slices is not None and settings.slices < patient.scan.n_slices:
        patient = replace(patient, scan=shortened(patient.scan, settings.slices, truth))
        truth = patient_truth(patient)
    return replace(patient, mjoa=disability(person_stream(patient, "disability"), truth, patient.age)), truth


def first_visits(settings: Settings, index: int, free: bool, site: Site) -> Iterator[Patient]:
    """Draw a person, and their lesions again and again."""
    rng = named_stream(settings.seed, index, "person")
    sex = "F" if rng.random() < 0.42 else "M"
    age = int(np.clip(round(rng.normal(51 if free else 56, 12.5)), 21, 88))
    height = clamp(rng.normal(1.63 if sex == "F" else 1.76, 0.07), 1.42, 2.0)
    body_mass_index = clamp(rng.normal(27, 4.5), 18, 44)
    anatomy = sample_anatomy(rng, age, sex == "F", body_mass_index)
    findings = sample_findings(named_stream(settings.seed, index, "findings"), age, anatomy.pitch_mm)
    region_rng = named_stream(settings.seed, index, "region")
    base = Patient(
        settings=settings,
        index=index,
        first=index,
        site=site,
        region=str(region_rng.choice(list(site.regions), p=list(site.regions.values()))),
        age=age,
        sex=sex,
        weight_kg=round(body_mass_index * height**2, 1),
        height_m=round(height, 2),
        mjoa=UNIMPAIRED,
        anatomy=replace(anatomy, findings=findings),
        lesions=(),
        scan=scan_at(site, settings, index, anatomy.pitch_mm),
        artefacts=artefacts_of(settings, index),
    )
    base = laid_out(base)
    lesion_rng = named_stream(settings.seed, index, "lesions")
    shares = np.array(N_COMPRESSIVE_SHARES) * np.array(N_COMPRESSIVE) ** (0.02 * (age - 55))
    while True:
        count = 0 if free else int(lesion_rng.choice(N_COMPRESSIVE, p=shares / shares.sum()))
        yield replace(base, lesions=sample_lesions(lesion_rng, count))


def later_visits(settings: Settings, first: int, index: int, site: Site) -> Iterator[Patient]:
    """Take a person to another site, up to two years later and with the same lesions, and draw the scan until it fits.

    The scan is drawn again where another position of the slices would make a patient of the other kind.
    """
    earlier, _ = sample_patient(settings, first)
    rng = named_stream(settings.seed, index, "return")
    later = replace(
        earlier,
        index=index,
        site=site,
        age=earlier.age + int(rng.integers(YEARS_BETWEEN + 1)),
        weight_kg=round(earlier.weight_kg * rng.normal(1, WEIGHT_CHANGE_SD), 1),
        artefacts=artefacts_of(settings, index),
    )
    for attempt in range(MAX_DRAWS):
        yield laid_out(replace(later, scan=scan_at(site, settings, index, later.anatomy.pitch_mm, attempt)))


def scan_at(site: Site, settings: Settings, index: int, pitch_mm: float, attempt: int = 0) -> Scan:
    """Draw the axial series of a visit."""
    rng = named_stream(settings.seed, index, "scan", attempt)
    return sample_scan(rng, site, settings.style, pitch_mm, settings.matrix)


def artefacts_of(settings: Settings, index: int) -> Artefacts:
    """Draw what goes wrong in the scan of a visit."""
    return sample_artefacts(named_stream(settings.seed, index, "artefacts"))


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
    return int(np.clip(round(score), 4, UNIMPAIRED))


def pathology(patient: Patient, truth: Sequence[SliceTruth]) -> str:
    """Return the diagnosis in the levels of spine-generic: ``HC``, ``MildCompression``, ``DCM``, or empty.

    The rule is ours: compression without symptoms (mJOA 18) is mild; compression with symptoms is degenerative cervical
    myelopathy. Without a compressed slice a patient without symptoms is a healthy control, and one with symptoms has
    another illness.
    """
    if not any(row.label for row in truth):
        return "HC" if patient.mjoa == UNIMPAIRED else ""
    return "MildCompression" if patient.mjoa == UNIMPAIRED else "DCM"
