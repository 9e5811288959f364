"""Codes of what a report names: of a standard scheme where it has one, else of our own."""

from __future__ import annotations

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

SCHEME = "99CORD"
COMPRESSION = Code("71286001", "SCT", "Spinal cord compression")
NOT_EVALUATED = Code("373121007", "SCT", "Not Evaluated")
ENGLISH = Code("en-US", "RFC5646", "English (United States)")
SLICES = Code("{slices}", "UCUM", "slices")
# what no standard scheme has a code for
N_EVALUATED = Code("EVALUATED", SCHEME, "Number of evaluated slices")
N_COMPRESSED = Code("COMPRESSED", SCHEME, "Number of compressed slices")
RUN_SLICES = Code("RUN_SLICES", SCHEME, "Longest run of compressed slices")
RUN_MM = Code("RUN_MM", SCHEME, "Length of the longest run of compressed slices")
HIGHEST = Code("HIGHEST", SCHEME, "Highest probability among the slices")
SMALLEST_AP = Code("SMALLEST_AP", SCHEME, "Smallest anteroposterior diameter of the cord among the slices")
PATIENT_SCORE = Code("PATIENT_SCORE", SCHEME, "Patient-level score")
NO_CALL = Code("NO_PATIENT_CALL", SCHEME, "No patient-level call")
LOGIT = Code("{logit}", "UCUM", "logit")
UNITS = {"logit": LOGIT, "slices": SLICES, "mm": codes.UCUM.Millimeter}
"""Unit of the patient-level score by each rule."""
LARGEST_MSCC = Code("LARGEST_MSCC", SCHEME, "Largest MSCC among the compressed slices")
MEASURES: dict[str, tuple[Code, Code]] = {
    "cord_ap_mm": (Code("CORD_AP", SCHEME, "Anteroposterior diameter of the cord"), codes.UCUM.Millimeter),
    "cord_rl_mm": (Code("CORD_RL", SCHEME, "Right-left diameter of the cord"), codes.UCUM.Millimeter),
    "cord_ap_rl_ratio": (Code("CORD_AP_RL", SCHEME, "Compression ratio of the cord, AP / RL"), codes.UCUM.NoUnits),
    "cord_area_mm2": (Code("CORD_AREA", SCHEME, "Cross-sectional area of the cord"), codes.UCUM.SquareMillimeter),
    "cord_solidity": (Code("CORD_SOLIDITY", SCHEME, "Solidity of the cord"), codes.UCUM.NoUnits),
    "canal_area_mm2": (Code("CANAL_AREA", SCHEME, "Cross-sectional area of the canal"), codes.UCUM.SquareMillimeter),
    "cord_canal_area_ratio": (Code("CORD_CANAL", SCHEME, "Area ratio of cord and canal"), codes.UCUM.NoUnits),
    "mscc_percent": (Code("MSCC", SCHEME, "Maximum spinal cord compression"), codes.UCUM.Percent),
}
"""Measures of a slice: their name and unit."""

# the further tasks; RadLex has T2 hyperintensity, SNOMED CT the words for how much of the cord is compressed
GRADE = Code("GRADE", SCHEME, "Grade of compression, 0 to 3, after Kang")
HIGHEST_GRADE = Code("HIGHEST_GRADE", SCHEME, "Highest grade of compression among the slices")
KIND = Code("KIND", SCHEME, "Kind of compression")
T2_SIGNAL = Code("RID39467", "RADLEX", "T2 Hyperintensity")
CONSISTENCY = Code("CONSISTENCY", SCHEME, "Consistency of the findings of the slice")
CONTRADICTORY = Code("CONTRADICTORY", SCHEME, "Contradictory")
CALLS: dict[str, tuple[Code, dict[str, Code]]] = {
    "grade": (GRADE, {str(grade): Code(f"GRADE_{grade}", SCHEME, f"Grade {grade}") for grade in range(4)}),
    "kind": (
        KIND,
        {
            "none": Code("260413007", "SCT", "None"),
            "partial": Code("255609007", "SCT", "Partial"),
            "circumferential": Code("255593009", "SCT", "Circumferential"),
        },
    ),
    "t2_signal": (T2_SIGNAL, {"no": codes.SCT.Absent, "yes": codes.SCT.Present}),
}
"""What each further task calls a slice: the concept, and the value of each class."""
CHANCES = {
    "grade": Code("GRADE_P", SCHEME, "Probability of the grade or a higher one"),
    "kind": Code("KIND_P", SCHEME, "Probability of the kind of compression"),
    "t2_signal": Code("T2_SIGNAL_P", SCHEME, "Probability of T2 hyperintensity of the cord"),
}
"""Probability of the call, see `scripts.inference.task_results.chance_of_call`."""
COUNTS = {
    "n_partial": Code("PARTIAL", SCHEME, "Number of slices with partial compression"),
    "n_circumferential": Code("CIRCUMFERENTIAL", SCHEME, "Number of slices with circumferential compression"),
    "n_t2_signal": Code("T2_SIGNAL", SCHEME, "Number of slices with T2 hyperintensity of the cord"),
    "n_contradictory": Code("N_CONTRADICTORY", SCHEME, "Number of slices with contradictory findings"),
}
"""What is counted in a series, by the key of summary.json."""
