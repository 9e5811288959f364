"""Where raters disagree, by how much, and what was ruled: from several raters' labels to one reference."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from ..console import say
from ..errors import InputError
from ..files import check_output, write_csv
from ..tables import Row
from .labels import EVALUABLE, Label, by_slice, natural, read_labels
from .rulings import SLICE, dispute, dispute_columns, open_slices, read_rulings, refuse_to_lose_rulings

FEW_PATIENTS = 30


class Pair(TypedDict):
    """One row of OUT_kappa: how well two raters, or two readings of one, agree; undefined numbers are empty."""

    what: str
    first: str
    second: str
    kappa: str
    low: str
    high: str
    observed_percent: str
    slices: int
    patients: int
    not_compared: int
    weights: str
    note: str


def agree(labels: str, out: str = "adjudicate.csv", weights: str = "linear") -> int:
    """Measure how well raters agree, and list the slices on which the reference must be settled.

    Prints Cohen's kappa of every two raters, and of the two readings of one rater, with 95 % intervals clustered by
    patient (slices of one patient are not independent), as `python -m scripts report` has them; for Kang-style grades
    weighted kappa; and the matrix of all pairs. Raters are compared by their first readings.

    Writes OUT: the slices whose reference raters disagree, with an empty column "ruling" for 0, 1 or why the slice is
    not evaluable. Settle them together, then run `python -m scripts consensus`. OUT_kappa: the numbers of all pairs.

    Args:
        labels: CSV with patient_id, series_uid, sop_uid, rater, reading, role, status, label, and perhaps grade.
        out: the list to settle; an existing one with rulings is not overwritten.
        weights: weighting of grades: linear, quadratic, or none.
    """
    from ..evaluation.agreement import WEIGHTS

    if weights not in WEIGHTS:
        raise InputError(f"--weights must be {', '.join(WEIGHTS)}, got {weights!r}")
    disputes = check_output(out, [labels])
    kappas = check_output(disputes.with_name(f"{disputes.stem}_kappa.csv"), [labels])
    rows = read_labels(labels)
    refuse_to_lose_rulings(disputes)
    columns = dispute_columns(rows)
    table = []
    for first, second, one, other in pairs(rows):
        table.append(compare("label", first, second, one, other, "none"))
        if any(label.grade is not None for label in rows):
            table.append(compare("grade", first, second, one, other, weights))
    for line in lines(table):
        say(line)
    disputed = open_slices(rows)
    write_csv(disputes, columns, (dispute(group) for group in disputed))
    write_csv(kappas, tuple(Pair.__annotations__), table)
    n = len(by_slice(rows, "reference"))
    say(f"{len(disputed)} of {n} slices to settle, see {out}; all pairs in {kappas}")
    return 0


def consensus(labels: str, rulings: str = "adjudicate.csv", out: str = "consensus.csv") -> int:
    """Merge agreed labels and rulings into one final label per slice; refuses while a disagreement is open.

    The result has the columns of the labels, with rater "consensus" and role "reference", and says in column "source"
    whether the label was agreed, ruled, or given by one rater alone. Grade and kind are kept where all raters of that
    label gave the same. Give it to `python -m scripts split`.

    Args:
        labels: the raters' labels that `agree` read.
        rulings: the list that `agree` wrote, with its column "ruling" filled in.
        out: the table to write.
    """
    target = check_output(out, [labels, rulings])
    rows = read_labels(labels)
    slices = by_slice(rows, "reference")
    if not slices:
        raise InputError(f"{labels} holds no rows with role 'reference'")
    disputed = {group[0].key for group in open_slices(rows)}
    ruled = read_rulings(rulings, disputed) if Path(rulings).exists() or disputed else {}
    unsettled = [key for key in sorted(disputed) if key not in ruled]
    if unsettled:
        first = slices[unsettled[0]][0]
        raise InputError(
            f"{len(unsettled)} of {len(disputed)} disagreements are open, first patient {first.patient_id}, sop_uid "
            f"{first.key[1]}; fill in column ruling of {rulings} (0, 1, or why the slice is not evaluable)"
        )
    final = [consensus_row(group, ruled.get(key)) for key, group in sorted(slices.items())]
    columns = [*SLICE, "rater", "reading", "role", "status", "label", "grade", "kind", "t2_signal", "source"]
    write_csv(target, columns, final)
    for source, n in Counter(row["source"] for row in final).most_common():
        say(f"  {n:6} slices {source}")
    positive = sum(row["label"] == 1 for row in final)
    say(f"{out}: {len(final)} slices, {positive} compressed")
    return 0


def pairs(rows: Sequence[Label]) -> Iterable[tuple[str, str, list[Label], list[Label]]]:
    """Yield every two raters by their first readings, then every two readings of one rater."""
    readings: dict[str, dict[str, list[Label]]] = defaultdict(lambda: defaultdict(list))
    for one in rows:
        readings[one.rater][one.reading].append(one)
    names = {rater: sorted(readings[rater], key=natural) for rater in sorted(readings)}
    for first, second in combinations(names, 2):
        yield first, second, readings[first][names[first][0]], readings[second][names[second][0]]
    for rater, own in names.items():
        for before, after in combinations(own, 2):
            yield f"{rater} ({before})", f"{rater} ({after})", readings[rater][before], readings[rater][after]


def compare(what: str, first: str, second: str, one: Iterable[Label], other: Iterable[Label], weights: str) -> Pair:
    """Compare two readings of the same slices; those that either could not evaluate or did not see are counted."""
    from ..evaluation.agreement import kappa

    left, right = ({label.key: label for label in labels} for labels in (one, other))
    shared = sorted(set(left) & set(right))
    rated = [key for key in shared if None not in (getattr(left[key], what), getattr(right[key], what))]
    a, b = (np.array([getattr(own[key], what) for key in rated]) for own in (left, right))
    result = kappa(a, b, [left[key].patient_id for key in rated], weights)
    values = {"kappa": result.value, "low": result.low, "high": result.high}
    written = {name: f"{value:.4f}" if math.isfinite(value) else "" for name, value in values.items()}
    return {
        "what": what,
        "first": first,
        "second": second,
        "kappa": written["kappa"],
        "low": written["low"],
        "high": written["high"],
        "observed_percent": f"{100 * np.mean(a == b):.1f}" if rated else "",
        "slices": len(rated),
        "patients": result.n_patients,
        "not_compared": len(set(left) | set(right)) - len(rated),
        "weights": weights,
        "note": result.note,
    }


def lines(table: Sequence[Pair]) -> Iterable[str]:
    """Lay the pairs out for reading, then the matrix of label kappas."""
    from ..evaluation.estimates import in_words

    for row in table:
        ends = {name: float(cell) if cell else None for name, cell in (("low", row["low"]), ("high", row["high"]))}
        value = in_words({"value": float(row["kappa"]) if row["kappa"] else None, **ends, "note": row["note"]}, 2)
        kind = "kappa" if row["weights"] == "none" else f"{row['weights']} weighted kappa"
        share = f", {row['observed_percent']} % equal" if row["slices"] else ""
        counts = f"{row['slices']} slices of {row['patients']} patients"
        few = "; few patients, a rough interval" if row["low"] and row["patients"] < FEW_PATIENTS else ""
        yield f"{row['what']}: {row['first']} and {row['second']}: {kind} {value}{share}, {counts}{few}"
    yield from matrix([row for row in table if row["what"] == "label" and not row["first"].endswith(")")])


def matrix(table: Sequence[Pair]) -> Iterable[str]:
    """Lay out the kappas of more than two raters as a matrix."""
    known = {frozenset((row["first"], row["second"])): row["kappa"] for row in table}
    raters = sorted(set().union(*known))
    if len(raters) < 3:
        return
    width = max(6, *map(len, raters))
    yield " ".join(["label kappa".ljust(width + 6), *(name.rjust(width) for name in raters)])
    for one in raters:
        kappas = [known.get(frozenset((one, other))) for other in raters]
        cells = [f"{float(value):.2f}" if value else "-" for value in kappas]
        yield " ".join([one.ljust(width + 6), *(cell.rjust(width) for cell in cells)])


def consensus_row(group: Sequence[Label], ruling: Row | None) -> dict[str, Any]:
    """Make the final row of one slice."""
    row = {name: value for name, value in dispute(group).items() if name in SLICE}
    row |= {"rater": "consensus", "reading": "1", "role": "reference"}
    if ruling is None:
        source = "agreed" if len(group) > 1 else "by one rater"
        status, label = group[0].status, group[0].label
    else:
        source = "ruled"
        label = int(ruling["ruling"]) if ruling["ruling"] in ("0", "1") else None
        status = ruling["ruling"] if label is None else EVALUABLE
    row |= {"status": status, "label": label, "source": source}
    for column in ("grade", "kind", "t2_signal"):
        found = {getattr(one, column) for one in group if one.label == label}
        row[column] = found.pop() if len(found) == 1 and label is not None else None
    return row
