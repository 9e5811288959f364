"""Readers and the model against a reference that neither of them made."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from ..cohort.labels import EVALUABLE, natural
from ..evaluation.agreement import kappa
from ..evaluation.comparisons import holm, paired_proportion
from ..evaluation.estimates import Floats
from ..evaluation.proportions import confusion, rates
from .inputs.cohorts import Cohort
from .inputs.columns import look_up

NAMES = ("sensitivity", "specificity", "accuracy")


def readings(cohort: Cohort) -> tuple[pd.DataFrame, list[str], dict[str, tuple[Floats, Floats]]]:
    """Join the readers' calls to the scored slices.

    Returns:
        The scored slices with one column per reader (first reading; NaN where not evaluable), sentences on what was
        left out, and first and second reading of those who read twice, by reader.
    """
    slices = cohort.predictions.slices
    table, notes = cohort.labels, list[str]()
    repeated: dict[str, tuple[Floats, Floats]] = {}
    if table is None:
        return slices, [], {}
    makers = set(table.loc[table["role"] == "reference", "rater"].unique())
    evaluable = table[(table["role"] == "reader") & (table["status"] == EVALUABLE)]
    evaluable = evaluable[evaluable["call"].notna()]
    for reader in sorted(table.loc[table["role"] == "reader", "rater"].unique()):
        if reader in makers:
            notes.append(f"{reader} took part in the reference and is not judged against it")
            continue
        own = evaluable[evaluable["rater"] == reader]
        calls = list(calls_of(slices, own).values())
        if not calls or np.isnan(calls[0]).all():
            notes.append(f"{reader} has no evaluable reading of a scored slice")
            continue
        slices = slices.assign(**{f"reader:{reader}": calls[0]})
        if len(calls) > 1:
            repeated[reader] = calls[0], calls[1]
    return slices, notes, repeated


def calls_of(slices: pd.DataFrame, own: pd.DataFrame, column: str = "call") -> dict[str, Floats]:
    """Return one rater's calls of the scored slices, by reading in their order; NaN where there is none."""
    names = sorted(own["reading"].unique(), key=natural)
    return {name: look_up(slices, own[own["reading"] == name], column, "labels.csv").to_numpy() for name in names}


def pairs_of(slices: pd.DataFrame, table: pd.DataFrame, column: str = "call") -> list[tuple[str, str, Floats, Floats]]:
    """Return the calls of every two raters (their first readings), then of every two readings of one.

    Args:
        slices: the scored slices.
        table: the raters' evaluable rows that have a call.
        column: that holds it.

    Returns:
        two names, and two calls of each scored slice, NaN where there is none.
    """
    raters = sorted(table["rater"].unique())
    calls = {rater: calls_of(slices, table[table["rater"] == rater], column) for rater in raters}
    pairs = list(combinations([(rater, next(iter(own.values()))) for rater, own in calls.items()], 2))
    for rater, own in calls.items():
        pairs += combinations([(f"{rater} ({name})", call) for name, call in own.items()], 2)
    return [(one, other, a, b) for (one, a), (other, b) in pairs]


def reference_agreement(cohort: Cohort) -> list[dict[str, Any]]:
    """Kappa of every two raters of the reference, then of every two readings of one, on the scored slices.

    It describes the raters; scores are set against the labels of the predictions.
    """
    slices, table = cohort.predictions.slices, cohort.labels
    if table is None:
        return []
    made = table[(table["role"] == "reference") & (table["status"] == EVALUABLE) & table["call"].notna()]
    patient = pd.factorize(slices["patient_id"])[0]
    found = []
    for one, other, a, b in pairs_of(slices, made):
        both = ~np.isnan(a) & ~np.isnan(b)
        found.append({"first": one, "second": other, "kappa": kappa(a[both], b[both], patient[both])})
    return found


def reader_study(cohort: Cohort, threshold: float) -> dict[str, Any] | None:
    """Compare each reader and the model with the reference, and with each other; ``None`` without raters to compare.

    Args:
        cohort: its ``labels.csv`` holds the readings.
        threshold: raw logit from which the model calls a slice compressed.
    """
    slices, notes, repeated = readings(cohort)
    columns = [name for name in slices.columns if name.startswith("reader:")]
    made = reference_agreement(cohort)
    if not columns:
        found = {"readers": [], "n_tests": 0, "notes": notes, "agreement": [], "reference_raters": made}
        return found if notes or made else None
    model = (slices["logit"] >= threshold).astype(float)
    label, patient = slices["label"].to_numpy(), pd.factorize(slices["patient_id"])[0]
    rows, tests = [], []
    for column in columns:
        read = slices[column].notna().to_numpy()
        call, truth, who, machine = slices[column].to_numpy()[read], label[read], patient[read], model.to_numpy()[read]
        reader_rates, model_rates = (rates(confusion(truth, x, who, 0.5)) for x in (call, machine))
        row: dict[str, Any] = {"reader": column.removeprefix("reader:")}
        row |= {name: reader_rates[name] for name in NAMES}
        row |= {f"model_{name}": model_rates[name] for name in NAMES}
        row["kappa_with_reference"] = kappa(call, truth, who)
        if row["reader"] in repeated:
            first, second = repeated[row["reader"]]
            twice = ~np.isnan(first) & ~np.isnan(second)
            row["kappa_with_own_second_reading"] = kappa(first[twice], second[twice], patient[twice])
        for name, chosen in (("sensitivity", truth == 1), ("specificity", truth == 0)):
            right = machine[chosen] == truth[chosen], call[chosen] == truth[chosen]
            test = paired_proportion(*right, who[chosen])
            row[f"model_minus_reader_{name}"] = test
            tests.append((row, f"model_minus_reader_{name}_p_holm", test.p_value))
        rows.append(row)
    for (row, name, _), p_value in zip(tests, holm([p for _, _, p in tests]), strict=True):
        row[name] = p_value
    n_tests = int(np.isfinite([p for _, _, p in tests]).sum())
    agreement = agreement_matrix(slices, columns, model, patient)
    return {"readers": rows, "n_tests": n_tests, "notes": notes, "agreement": agreement, "reference_raters": made}


def agreement_matrix(slices: pd.DataFrame, columns: list[str], model: pd.Series, patient: Any) -> list[dict[str, Any]]:
    """Kappa of every pair among reference, model and readers, each on the slices that both called."""
    calls = {"reference": slices["label"].astype(float), "model": model}
    calls |= {column.removeprefix("reader:"): slices[column] for column in columns}
    names, found = list(calls), []
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            both = (calls[first].notna() & calls[second].notna()).to_numpy()
            pair = calls[first].to_numpy()[both], calls[second].to_numpy()[both]
            found.append({"first": first, "second": second, "kappa": kappa(*pair, patient[both])})
    return found
