"""How many slices of a phantom cohort change their label with the threshold of the label rule."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from ..tables import read_table
from .labels import INDENTATION_MM, LABEL_RULES_MM, compressed

MOST_MM = 100.0


def sensitivity_of_rule(folder: Path) -> str:
    """Count the compressed slices of a phantom cohort under each rule, from its truth.csv; returns one sentence.

    Raises:
        InputError: truth.csv is missing, or holds no slice or no numbers.
    """
    rows = read_table(folder / "truth.csv", ("indentation_mm", "area_ratio"))
    indentation = [row.number("indentation_mm", -MOST_MM, MOST_MM) for row in rows]
    area = [row.number("area_ratio", 0, 10) for row in rows]
    return summary_of_rule(np.array(indentation, dtype=float), np.array(area, dtype=float))


def summary_of_rule(indentation_mm: ArrayLike, area_ratio: ArrayLike) -> str:
    """Write the numbers of compressed slices under each rule as one sentence."""
    hits = {mm: compressed(indentation_mm, area_ratio, mm) for mm in LABEL_RULES_MM}
    own = hits.pop(INDENTATION_MM)
    others = ", ".join(f"{hit.sum():,} at {mm} mm" for mm, hit in hits.items())
    return (
        f"label rule: {own.sum():,} of {own.size:,} slices compressed at {INDENTATION_MM} mm of indentation; {others}"
    )
