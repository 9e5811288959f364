"""The label rule and each slice's truth.

Rule (ours): *compressed* when the slice's mean indentation is at least 0.8 mm or the cord's area is below 0.90 of the
same cord without lesions. Grades after Kang et al., AJR 197:W134 (2011): 1 over half the CSF gone without deformity,
2 deformity, 3 deformity with T2 signal; Kang graded sagittal images, so these are Kang-style.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .cross_sections import CrossSection, cross_section
from .findings import SliceFindings, slice_findings
from .patients import Patient

INDENTATION_MM = 0.8
AREA_RATIO = 0.90
BORDERLINE_MM = (0.4, 1.2)
LABEL_RULES_MM = (BORDERLINE_MM[0], INDENTATION_MM, BORDERLINE_MM[1])  # thresholds that results are compared under
BORDERLINE_AREA_RATIO = 0.85
HYPERINTENSE = 0.4
DECIMALS = 4  # more than a slice can hold
SUB_SLICES = 3  # a slice's truth is the mean over its thickness, as its picture is
NO_KIND = "none"  # of a slice without compression


@dataclass(frozen=True, kw_only=True)
class SliceTruth(SliceFindings):
    """What is true of one slice; the means over its thickness.

    Attributes:
        level: the vertebra or the disc that the slice passes through.
        vertebra: nearest vertebral body.
        disc: nearest disc.
        kind: form of the compression, `NO_KIND` where there is none.
        lesion: what compresses; empty where nothing does.
        side: where that lies; empty where nothing does.
    """

    slice_index: int
    z_mm: float
    level: str
    vertebra: str
    disc: str
    label: int
    grade: int
    borderline: int
    kind: str
    lesion: str
    side: str
    indentation_mm: float
    area_ratio: float
    cord_area_mm2: float
    cord_ap_mm: float
    cord_rl_mm: float
    ap_rl_ratio: float
    mscc_like_percent: float
    csf_lost: float
    rotation_deg: float
    t2_hyperintensity: float

    @property
    def pressure_mm(self) -> float:
        """One number for how compressed the cord looks; the rule's threshold is `INDENTATION_MM`."""
        return max(self.indentation_mm, INDENTATION_MM * (1 - self.area_ratio) / (1 - AREA_RATIO))


def compressed(
    indentation_mm: ArrayLike, area_ratio: ArrayLike, threshold_mm: float = INDENTATION_MM
) -> NDArray[np.bool_]:
    """Return which slices are compressed by the label rule; another threshold leaves the part on the area as it is."""
    return (np.asarray(indentation_mm) >= threshold_mm) | (np.asarray(area_ratio) < AREA_RATIO)


def sub_slice_heights(patient: Patient, slice_index: int, count: int = SUB_SLICES) -> list[float]:
    """Heights (mm) at which a slice is sampled through its thickness."""
    offsets = (np.arange(count) + 0.5) / count - 0.5
    return (patient.scan.z_mm(slice_index) + offsets * patient.scan.thickness_mm).tolist()


def sections_of(patient: Patient, slice_index: int) -> list[CrossSection]:
    """The cross-sections a slice averages over."""
    heights = sub_slice_heights(patient, slice_index)
    return [cross_section(patient.anatomy, patient.lesions, z_mm) for z_mm in heights]


def kind_of(sections: Sequence[CrossSection]) -> str:
    """Name the form of a compression, in the words of Merali 2021."""
    if abs(np.mean([section.lesions.turn_deg for section in sections])) >= 6:
        return "torsion"
    dents = sorted(
        (float(np.mean([s.dent_front_mm for s in sections])), float(np.mean([s.dent_back_mm for s in sections])))
    )
    if dents[0] >= max(0.6, 0.5 * dents[1]) and np.mean([section.csf_lost for section in sections]) > 0.75:
        return "circumferential"
    return "flattening" if np.mean([section.dented_share for section in sections]) > 0.65 else "indentation"


def slice_truth(patient: Patient, slice_index: int) -> SliceTruth:
    """Measure one slice."""
    sections = sections_of(patient, slice_index)

    def mean(name: str) -> float:
        return float(np.mean([getattr(section, name) for section in sections]))

    # rounded as truth.csv holds them, so that the rule gives the same label there
    dents = [max(section.dent_front_mm, section.dent_back_mm) for section in sections]
    indentation = round(float(np.mean(dents)), DECIMALS)
    area_ratio = round(mean("area_mm2") / mean("free_area_mm2"), DECIMALS)
    hyperintensity = float(np.mean([section.lesions.hyperintensity for section in sections]))
    csf_lost = mean("csf_lost")
    label = bool(compressed(indentation, area_ratio))
    main = sections[len(sections) // 2].main if label else None
    width = float(np.mean([section.cord.rl_mm for section in sections]))
    z_mm = patient.scan.z_mm(slice_index)
    heights_mm = sub_slice_heights(patient, slice_index)
    return SliceTruth(
        **vars(slice_findings(patient.anatomy.findings, patient.artefacts, slice_index, heights_mm)),
        slice_index=slice_index,
        z_mm=z_mm,
        level=patient.anatomy.level_name(z_mm),
        vertebra=patient.anatomy.vertebra_name(z_mm),
        disc=patient.anatomy.disc_name(z_mm),
        label=int(label),
        grade=grade_of(label, hyperintensity, csf_lost),
        borderline=int(BORDERLINE_MM[0] <= indentation < BORDERLINE_MM[1] and area_ratio > BORDERLINE_AREA_RATIO),
        kind=kind_of(sections) if label else NO_KIND,
        lesion=main.kind if main else "",
        side=main.side if main else "",
        indentation_mm=indentation,
        area_ratio=area_ratio,
        cord_area_mm2=mean("area_mm2"),
        cord_ap_mm=mean("ap_mm"),
        cord_rl_mm=width,
        ap_rl_ratio=mean("ap_mm") / width,
        mscc_like_percent=100 * (1 - mean("ap_mm") / mean("free_ap_mm")),
        csf_lost=csf_lost,
        rotation_deg=float(np.mean([section.lesions.turn_deg for section in sections])),
        t2_hyperintensity=hyperintensity,
    )


def grade_of(compressed: bool, hyperintensity: float, csf_lost: float) -> int:
    """Kang-style grade."""
    if compressed:
        return 3 if t2_signal_of(hyperintensity) else 2
    return int(csf_lost > 0.5)


def t2_signal_of(hyperintensity: float) -> int:
    """Return 1 where the cord is bright on T2."""
    return int(hyperintensity > HYPERINTENSE)


def patient_truth(patient: Patient) -> list[SliceTruth]:
    """Measure every slice, caudal first."""
    return [slice_truth(patient, slice_index) for slice_index in range(patient.scan.n_slices)]
