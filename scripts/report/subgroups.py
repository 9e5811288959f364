"""Does the model do as well in every kind of patient?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ..cohort.cells import UNKNOWN
from ..cohort.labels import natural
from ..evaluation import comparisons
from ..evaluation.auc import pooled_auc
from ..evaluation.bootstrap import win_matrix
from ..evaluation.estimates import NAN, Bools, Comparison, Floats, sum_by
from ..evaluation.per_patient import mean_auc
from .inputs.cohorts import Cohort, slice_column
from .inputs.columns import CATEGORIES, numbers
from .results import MOST_PATIENTS, SliceArrays, too_many

# Merali et al. 2021, Table 4: lower edge of each level; beyond the bounds a value is an error of the table
EDGES = {
    "age": ((0, "< 40"), (40, "40-65"), (65.000001, "> 65"), (120.000001, "")),
    "mjoa": ((0, "< 12"), (12, "12-14"), (15, "15-17"), (18, "18"), (18.000001, "")),
}
COLUMNS = ("age", "mjoa", "region", "site", "sex", "maker")
"""The family where the user names none."""
ALIASES = {"maker": "manufacturer", "manufacturer": "maker"}
MOST_LEVELS = 8


def levels(cohort: Cohort, column: str) -> tuple[pd.Series, list[str]] | None:
    """Return each patient's level, ``""`` where unknown, and the order of levels; ``None`` without the column."""
    raw = patient_column(cohort, column)
    if raw is None:
        return None
    unknown = [word for word in UNKNOWN if (column, word) != ("implants", "none")]  # which is an answer
    raw = raw.str.strip().where(~raw.str.strip().str.lower().isin(unknown), "")
    if column in EDGES:
        edges = EDGES[column]
        cut = pd.cut(numbers(raw), [edge for edge, _ in edges], right=False, labels=[name for _, name in edges[:-1]])
        return cut.astype(object).where(cut.notna(), "").astype(str), [name for _, name in edges[:-1]]
    value = numbers(raw)
    if column not in CATEGORIES and value.nunique() > MOST_LEVELS and value.notna().sum() >= 0.9 * (raw != "").sum():
        cut = pd.qcut(value, 3, duplicates="drop")
        names = {interval: f"{interval.left:.4g} to {interval.right:.4g}" for interval in cut.cat.categories}
        return cut.map(names).astype(object).where(cut.notna(), "").astype(str), list(names.values())
    return raw, sorted(set(raw) - {""}, key=lambda name: (natural(name), name))


def patient_column(cohort: Cohort, column: str) -> pd.Series | None:
    """Return a column of patients.csv, or one of geometry.csv that is the same in all slices of each patient."""
    for name in (column, ALIASES.get(column, column)):
        if name in cohort.patients:
            return cohort.patients[name].astype(str)
    for name in (column, ALIASES.get(column, column)):
        values = slice_column(cohort, name)
        if values is not None:
            grouped = values.groupby(cohort.predictions.slices["patient_id"].to_numpy()).unique()
            single = grouped.map(lambda found: found[0] if len(found) == 1 else "several")
            return single.reindex(cohort.patients.index).fillna("")
    return None


def subgroups(cohort: Cohort, slices: SliceArrays, columns: Sequence[str], margin: float, seed: int) -> dict[str, Any]:
    """Compare every level of every column with all other patients of whom the column is known.

    Two levels that divide the same patients alike, such as the two sides of a column or two columns that say the same,
    are one test.

    Args:
        cohort: for the columns.
        slices: the slices.
        columns: the family of tests.
        margin: largest difference of AUC that does not matter; 0 for no claim of equivalence.
        seed: of the permutations.
    """
    n_patients = len(slices.ids)
    hit = slices.labels == 1
    n_compressed, n_other = sum_by(slices.patients[hit], n_patients), sum_by(slices.patients[~hit], n_patients)
    wins = win_matrix(slices.labels, slices.logits, slices.patients) if n_patients <= MOST_PATIENTS else None
    rows: list[dict[str, Any]] = []
    absent, repeated = [], []
    made: dict[tuple[bytes, ...], Made] = {}
    divided: dict[tuple[bytes, ...], str] = {}
    for column in columns:
        found = levels(cohort, column)
        if found is None:
            absent.append(column)
            continue
        level, order = found[0].to_numpy(dtype=str), found[1]
        known = level != ""
        present = [name for name in order if (level == name).any()]
        if not known.all():
            rows.append(missing(column, int((~known).sum()), int((~known)[slices.patients].sum())))
        sides = [level == name for name in present]
        first = divided.setdefault(tuple(sorted(side.tobytes() for side in sides)), column)
        if first != column and len(present) > 1:
            repeated.append({"column": column, "same_as": first})
        for name, inside in zip(present, sides, strict=True):
            key = tuple(sorted((inside.tobytes(), (known & ~inside).tobytes())))
            earlier = made.get(key)
            if earlier is None:
                tests = compare(slices, wins, n_compressed, n_other, inside, known, seed)
                rows.append(row(column, name, slices, inside, tests, len(present) > 1, margin, seed))
                made[key] = Made(rows[-1], inside, tests)
            else:
                same = bool((inside == earlier.inside).all())
                tests = earlier.tests if same else [swapped(test) for test in earlier.tests]
                rows.append(row(column, name, slices, inside, tests, False, margin, seed))
                rows[-1]["same_test_as"] = f"{earlier.row['column']} {earlier.row['level']}"
    adjust(rows)
    return {
        "family": [column for column in columns if column not in absent],
        "by_default": tuple(columns) == COLUMNS,
        "repeated": repeated,
        "not_recorded": absent,
        "n_tests": len(tested(rows)),
        "margin": margin or None,
        "rows": rows,
    }


@dataclass(frozen=True)
class Made:
    """A level's tests, which another that divides the patients alike takes over.

    Attributes:
        row: of the level.
        inside: the patients of the level, shape (K,).
        tests: as `compare` returns them.
    """

    row: dict[str, Any]
    inside: Bools
    tests: list[Comparison]


def compare(
    slices: SliceArrays,
    wins: Floats | None,
    n_compressed: Floats,
    n_other: Floats,
    inside: Bools,
    known: Bools,
    seed: int,
) -> list[Comparison]:
    """Test pooled and mean AUC of the patients inside against the others of whom the column is known."""
    n_slices = int(known[slices.patients].sum())
    if wins is None:
        pooled = Comparison(NAN, NAN, NAN, int(known.sum()), n_slices, too_many(slices).note)
    else:
        matrix = wins[np.ix_(known, known)] if not known.all() else wins
        pooled = comparisons.subgroup_pooled(matrix, n_compressed[known], n_other[known], inside[known], seed)
    entering = int((known & np.isfinite(slices.aucs))[slices.patients].sum())
    return [pooled, comparisons.subgroup_mean(slices.aucs[known], inside[known], entering, seed)]


def swapped(comparison: Comparison) -> Comparison:
    """Swap the two sides of a comparison."""
    return replace(
        comparison, value=-comparison.value, low=-comparison.high, high=-comparison.low, statistic=-comparison.statistic
    )


def missing(column: str, n_patients: int, n_slices: int) -> dict[str, Any]:
    """Count the patients of whom the column is unknown; they enter no level."""
    return {"column": column, "level": "not recorded", "n_patients": n_patients, "n_slices": n_slices, "counted": False}


def row(
    column: str,
    name: str,
    slices: SliceArrays,
    inside: Bools,
    tests: list[Comparison],
    counted: bool,
    margin: float,
    seed: int,
) -> dict[str, Any]:
    """Results of one level."""
    chosen = inside[slices.patients]
    defined_slices = int((inside & np.isfinite(slices.aucs))[slices.patients].sum())
    content: dict[str, Any] = {
        "column": column,
        "level": name,
        "n_patients": int(inside.sum()),
        "n_slices": int(chosen.sum()),
        "counted": counted,
        "pooled_auc": pooled_auc(slices.labels[chosen], slices.logits[chosen], slices.patients[chosen]),
        "mean_auc": mean_auc(slices.aucs[inside], defined_slices, seed=seed),
        "pooled_difference": tests[0],
        "mean_difference": tests[1],
        "pooled_p_holm": NAN,
        "mean_p_holm": NAN,
    }
    if margin > 0:
        for estimand, test in zip(("pooled", "mean"), tests, strict=True):
            content[f"{estimand}_equivalent"] = comparisons.equivalence(test, margin).equivalent
    return content


def tested(rows: list[dict[str, Any]]) -> list[tuple[dict[str, Any], str]]:
    """Return the tests of the family that were made: of small cells there is none."""
    family = [(r, name) for r in rows if r["counted"] for name in ("pooled", "mean")]
    return [(r, name) for r, name in family if np.isfinite(r[f"{name}_difference"].p_value)]


def adjust(rows: list[dict[str, Any]]) -> None:
    """Add Holm's p-values over all tests of the family, both estimands together."""
    family = tested(rows)
    adjusted = comparisons.holm([r[f"{name}_difference"].p_value for r, name in family])
    for (r, name), p_value in zip(family, adjusted, strict=True):
        r[f"{name}_p_holm"] = p_value
    known = {f"{r['column']} {r['level']}": r for r in rows}
    for r in rows:
        if "same_test_as" in r:
            r |= {key: value for key, value in known[r["same_test_as"]].items() if key.endswith("_p_holm")}
