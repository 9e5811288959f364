"""The same raters have one kappa, whichever command prints it."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import simulated_runs
from csv_rows import read_rows

from scripts.cohort.adjudication import agree
from scripts.report.command import report


def test_agree_and_report_print_the_same_kappa_and_interval_for_the_same_raters(tmp_path):
    run = simulated_runs.write(tmp_path / "run", 12, 31)
    report(str(run), out=str(tmp_path / "out"))
    agree(str(run / "labels.csv"), str(tmp_path / "adjudicate.csv"))
    table = {(row["first"], row["second"]): row for row in read_rows(tmp_path / "adjudicate_kappa.csv")}
    readers = json.loads((tmp_path / "out" / "report.json").read_text())["readers"]
    names = {"reference": "consensus"}
    pairs = {(names.get(a := row["first"], a), names.get(b := row["second"], b)): row["kappa"]
             for row in readers["agreement"] if "model" not in (row["first"], row["second"])}  # fmt: skip
    pairs["dr_a (1)", "dr_a (2)"] = readers["readers"][0]["kappa_with_own_second_reading"]
    assert set(pairs) == set(table)
    for pair, leaf in pairs.items():
        printed = [float(table[pair][column]) for column in ("kappa", "low", "high")]
        assert printed == pytest.approx([leaf["value"], leaf["low"], leaf["high"]], abs=5e-5), pair
        assert int(table[pair]["slices"]) == leaf["n_slices"]


def test_agree_and_report_print_the_same_kappa_of_those_who_made_the_reference(tmp_path):
    run = simulated_runs.write(tmp_path / "run", 12, 31)
    frame = pd.read_csv(run / "labels.csv", dtype=str, keep_default_na=False)
    frame[frame["rater"] != "consensus"].assign(role="reference").to_csv(run / "labels.csv", index=False)
    report(str(run), out=str(tmp_path / "out"))
    agree(str(run / "labels.csv"), str(tmp_path / "adjudicate.csv"))
    table = {(row["first"], row["second"]): row for row in read_rows(tmp_path / "adjudicate_kappa.csv")}
    found = json.loads((tmp_path / "out" / "report.json").read_text())["readers"]["reference_raters"]
    pairs = {(row["first"], row["second"]): row["kappa"] for row in found}
    assert set(pairs) == set(table) == {("dr_a", "dr_b"), ("dr_a (1)", "dr_a (2)")}
    for pair, leaf in pairs.items():
        printed = [float(table[pair][column]) for column in ("kappa", "low", "high")]
        assert printed == pytest.approx([leaf["value"], leaf["low"], leaf["high"]], abs=5e-5), pair
        assert int(table[pair]["slices"]) == leaf["n_slices"]
