"""A synthetic patient: attributes, anatomy, lesions and scan, drawn from the cohort's seed and the patient's number."""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace

import numpy as np
from pydicom.uid import UID, generate_uid

from .anatomy import Anatomy
from .findings import NO_ARTEFACTS, Artefacts
from .lesions import Lesion
from .scanners import Scan, Site

VERSION = 2  # raise it whenever the same settings give other pictures: cohorts are reused by it


@dataclass(frozen=True)
class Settings:
    """What a patient depends on besides their number; the same settings give the same bytes.

    Args:
        seed: seed of the cohort.
        style: ``tse`` (T2 turbo spin echo) or ``gre`` (T2*-weighted gradient echo, the domain shift).
        slices: slices of the axial series, None for as many as cover the neck (20 to 45).
        matrix: pixels along a side before zero filling, None for the scanner's own (256 to 384).
        layout: of the files, ``dicom`` or ``bids``; in BIDS each axial series is one straight stack.
    """

    seed: int
    style: str = "tse"
    slices: int | None = None
    matrix: int | None = None
    layout: str = "dicom"


@dataclass(frozen=True)
class Patient:
    """One synthetic patient, as one hospital knows them.

    Args:
        settings: of the cohort.
        index: number in the cohort; of the visit, not of the person.
        first: number of the person's first visit; ``index`` where this is it.
        site: where they were scanned.
        region: where they live.
        age: years.
        sex: M or F.
        weight_kg: as measured at this visit.
        height_m: of the person.
        mjoa: modified Japanese Orthopaedic Association score, 18 without symptoms.
        anatomy: of the person.
        lesions: of the person.
        scan: of this visit.
    """

    settings: Settings
    index: int
    first: int
    site: Site
    region: str
    age: int
    sex: str
    weight_kg: float
    height_m: float
    mjoa: int
    anatomy: Anatomy
    lesions: tuple[Lesion, ...]
    scan: Scan
    artefacts: Artefacts = NO_ARTEFACTS

    @property
    def patient_id(self) -> str:
        """An identifier that differs between cohorts of other seeds and styles."""
        return f"{self.settings.style.upper()}{self.settings.seed}-{self.index + 1:04d}"

    @property
    def person(self) -> str:
        """Who the patient is: the same at all visits, and in cohorts of the same seed in another style."""
        return f"P{self.settings.seed}-{self.first + 1:04d}"

    @property
    def implants(self) -> str:
        """What metal is in the neck."""
        return self.anatomy.findings.implants

    def twin(self) -> Patient:
        """The same patient without lesions, whose pictures show what the lesions changed."""
        return replace(self, lesions=())

    def uid(self, *parts: object) -> UID:
        """A DICOM UID that depends on the settings, the patient and ``parts`` alone."""
        sources = ("cervical phantom", VERSION, *astuple(self.settings), self.index, *parts)
        return generate_uid(entropy_srcs=[str(part) for part in sources])


def stream(patient: Patient, name: str, number: int = 0) -> np.random.Generator:
    """Random numbers for one purpose of a visit; they do not depend on lesions, so a twin has the same noise."""
    return named_stream(patient.settings.seed, patient.index, name, number)


def person_stream(patient: Patient, name: str, number: int = 0) -> np.random.Generator:
    """Random numbers for one purpose of a person, the same at every visit, e.g. for anatomy."""
    return named_stream(patient.settings.seed, patient.first, name, number)


def named_stream(seed: int, index: int, name: str, number: int = 0) -> np.random.Generator:
    """Random numbers for one purpose of patient ``index``."""
    return np.random.default_rng([seed, index, number, *name.encode()])
