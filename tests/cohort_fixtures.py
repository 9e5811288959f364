"""A small labelled cohort for tests: ten patients at two sites, one axial T2 series each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from csv_rows import write_rows
from dicom_fixtures import uid, write_series

N_PATIENTS = 10
N_SLICES = 4
LABEL_COLUMNS = ["patient_id", "series_uid", "sop_uid", "rater", "reading", "role", "status", "label", "grade"]


def patients() -> list[str]:
    """Name the patients."""
    return [f"P{number:02}" for number in range(N_PATIENTS)]


def site(patient: str) -> str:
    """Give the site of a patient: the first six are at North."""
    return "North" if int(patient[1:]) < 6 else "South"


def label_row(patient: str, index: int, rater: str = "a", **changes: Any) -> dict[str, Any]:
    """Give one rater's row for one slice; slices above the middle are compressed."""
    row = {
        "patient_id": patient,
        "series_uid": uid(patient, "T2"),
        "sop_uid": uid(patient, "T2", index),
        "rater": rater,
        "reading": "1",
        "role": "reference",
        "status": "evaluable",
        "label": int(index >= N_SLICES // 2),
        "grade": index % 4,
    }
    return row | changes


def label_rows(raters: str = "a", **changes: Any) -> list[dict[str, Any]]:
    """Give the rows of raters who agree on everything."""
    return [label_row(p, i, rater, **changes) for rater in raters for p in patients() for i in range(N_SLICES)]


def patient_rows() -> list[dict[str, Any]]:
    """Give patients.csv."""
    return [
        {
            "patient_id": name,
            "site": site(name),
            "region": "EU",
            "age": 40 + number,
            "sex": "MF"[number % 2],
            "mjoa": 14,
        }
        for number, name in enumerate(patients())
    ]


def write_cohort(folder: Path) -> Path:
    """Write images, labels.csv and patients.csv."""
    for patient in patients():
        write_series(folder / "dicom" / patient, patient, n=N_SLICES)
    write_rows(folder / "labels.csv", label_rows())
    write_rows(folder / "patients.csv", patient_rows())
    return folder
