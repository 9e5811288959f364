"""The participants of a BIDS data set: their names, and their rows of participants.tsv."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .dicom import study_header
from .labels import SliceTruth
from .patients import Patient, Settings
from .sampling import draw_site

MANUFACTURERS = {
    "SIEMENS": "Siemens",
    "GE MEDICAL SYSTEMS": "GE",
    "Philips Medical Systems": "Philips",
    "TOSHIBA": "Toshiba",
}
CAUSES = {"ligament": "ligamentum flavum hypertrophy", "opll": "ossification of the posterior longitudinal ligament"}
PARTICIPANTS: dict[str, dict[str, Any]] = {
    "participant_id": {"LongName": "Participant ID", "Description": "Unique ID"},
    "sex": {"LongName": "Participant sex", "Description": "M or F"},
    "age": {"LongName": "Participant age", "Description": "yy", "Units": "year"},
    "height": {"LongName": "Participant height", "Description": "cm", "Units": "cm"},
    "weight": {"LongName": "Participant weight", "Description": "kg", "Units": "kg"},
    "date_of_scan": {"LongName": "Date of scan", "Description": "yyyy-mm-dd"},
    "institution_id": {"LongName": "institution_id", "Description": "InstitutionId"},
    "institution": {"LongName": "InstitutionName", "Description": "InstitutionName"},
    "manufacturer": {"LongName": "ManufacturerName", "Description": "ManufacturerName"},
    "manufacturers_model_name": {"LongName": "ManufacturersModelName", "Description": "ManufacturersModelName"},
    "receive_coil_name": {"LongName": "ReceiveCoilName", "Description": "ReceiveCoilName"},
    "software_versions": {"LongName": "SoftwareVersions", "Description": "SoftwareVersions"},
    "researcher": {"LongName": "Researcher", "Description": "Researcher"},
    "pathology": {
        "LongName": "Pathology name",
        "Description": "The diagnosis of pathology of the participant",
        "Levels": {
            "HC": "Healthy Control",
            "DCM": "Degenerative Cervical Myelopathy (synonymous with CSM - Cervical Spondylotic Myelopathy)",
            "MildCompression": "Asymptomatic cord compression, without myelopathy",
        },
    },
    "notes": {
        "LongName": "Qualitative assessment notes",
        "Description": "What compresses the cord, and at which discs; exact, because the participant is synthetic",
    },
}


def participant_ids(settings: Settings, patients: int) -> list[str]:
    """Name the participants of a cohort by institution, counted within each: ``sub-site101``, ``sub-site201``."""
    counts: Counter[str] = Counter()
    names = []
    for index in range(patients):
        institution = institution_id(draw_site(settings, index)[1].name)
        counts[institution] += 1
        names.append(f"sub-{institution}{counts[institution]:02d}")
    return names


def institution_id(site: str) -> str:
    """Return a site's name without what BIDS separates parts of file names with."""
    return re.sub("[^A-Za-z0-9]", "", site)


def spaceless(text: str) -> str:
    """Replace spaces, as dcm2niix does."""
    return text.replace(" ", "_")


def participant_row(
    participant: str, patient: Patient, truth: Sequence[SliceTruth], attributes: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a participant's row of participants.tsv."""
    header = study_header(patient)
    date = header.StudyDate
    compressed = [row for row in truth if row.label]
    pathology = attributes["pathology"]
    return {
        "participant_id": participant,
        "sex": patient.sex,
        "age": patient.age,
        "height": round(100 * patient.height_m),
        "weight": f"{patient.weight_kg:g}",
        "date_of_scan": f"{date[:4]}-{date[4:6]}-{date[6:]}",
        "institution_id": institution_id(patient.site.name),
        "institution": patient.site.name,
        "manufacturer": MANUFACTURERS[header.Manufacturer],
        "manufacturers_model_name": spaceless(header.ManufacturerModelName),
        "software_versions": spaceless(header.SoftwareVersions),
        "pathology": pathology,
        "notes": notes(compressed, "Mild spinal" if pathology == "MildCompression" else "Spinal"),
    }


def notes(compressed: Iterable[SliceTruth], beginning: str) -> str:
    """Name what compresses the cord, and at which discs; empty where nothing does."""
    causes: dict[str, dict[str, None]] = {}
    for row in sorted(compressed, key=lambda row: -row.z_mm):
        levels = causes.setdefault(CAUSES.get(row.lesion, "disc protrusion"), {})
        levels[row.disc.replace("/C", "/").replace("/T", "/Th")] = None
    parts = [f"{cause} {joined(list(levels))}" for cause, levels in causes.items()]
    return f"{beginning} cord compression due to {', '.join(parts)}" if parts else ""


def joined(words: Sequence[str]) -> str:
    """Join words with commas and a final "and"."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
