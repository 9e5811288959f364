"""How many slices change their label with the threshold of the rule."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT
from csv_rows import read_rows

from scripts.__main__ import main
from scripts.phantom import labels
from scripts.phantom.labels import compressed
from scripts.phantom.patients import Settings
from scripts.phantom.rule_sensitivity import sensitivity_of_rule, summary_of_rule
from scripts.phantom.sampling import sample_patient


def test_a_cord_is_compressed_from_the_threshold_on_or_by_its_area():
    indentation, area = [0.79, 0.8, -0.5, 0.0, 1.3], [1.0, 1.0, 0.899, 0.90, 1.0]
    assert compressed(indentation, area).tolist() == [False, True, True, False, True]
    assert compressed(indentation, area, 1.2).tolist() == [False, False, True, False, True]
    assert compressed(indentation, area, 0.0).tolist() == [True, True, True, True, True]


def test_slices_are_counted_under_each_rule():
    expected = "label rule: 2 of 1,000 slices compressed at 0.8 mm of indentation; 4 at 0.4 mm, 1 at 1.2 mm"
    indentation = [0.39, 0.4, 0.79, 0.9, 0.1] + [0.0] * 995
    assert summary_of_rule(indentation, [1.0] * 4 + [0.8] + [1.0] * 995) == expected


@pytest.mark.parametrize(("dent_mm", "area", "label"), [(0.79996, 1.0, 1), (0.0, 0.89996, 0), (0.79994, 1.0, 0)])
def test_the_label_is_that_of_the_numbers_in_the_table(monkeypatch, dent_mm, area, label):
    """truth.csv has four decimals; a label from more of them could not be had again from the table."""
    lesions = SimpleNamespace(hyperintensity=0.0, turn_deg=0.0)
    shape = {"area_mm2": area, "free_area_mm2": 1.0, "ap_mm": 7.0, "free_ap_mm": 7.0, "csf_lost": 0.0}
    dents = {"dent_front_mm": dent_mm, "dent_back_mm": 0.0, "dented_share": 0.0}
    section = SimpleNamespace(lesions=lesions, main=None, cord=SimpleNamespace(rl_mm=12.0), **shape, **dents)
    patient, _ = sample_patient(Settings(seed=1, slices=3), 0)
    monkeypatch.setattr(labels, "sections_of", lambda *_: [section])
    truth = labels.slice_truth(patient, 0)
    assert truth.label == label
    assert bool(label) == compressed(round(truth.indentation_mm, 4), round(truth.area_ratio, 4))


def test_the_command_counts_what_truth_csv_holds(tmp_path, capsys):
    options = ["--patients", "2", "--slices", "4", "--matrix", "96", "--workers", "1", "--distractors", "false"]
    assert main(["phantom", str(tmp_path / "cohort"), *options]) == 0
    line = sensitivity_of_rule(tmp_path / "cohort")
    assert line in capsys.readouterr().out
    rows = read_rows(tmp_path / "cohort" / "truth.csv")
    n = sum(row["label"] == "1" for row in rows)
    assert f"label rule: {n} of {len(rows)} slices compressed at 0.8 mm" in line


@pytest.mark.parametrize(("patients", "settings"), [(64, Settings(1)), (24, Settings(2, style="gre"))])
def test_the_documented_counts_are_those_of_the_study_s_cohorts(patients, settings):
    """docs/phantom.md quotes what the two commands `python -m scripts phantom` of docs/study.md print."""
    truth = [row for index in range(patients) for row in sample_patient(settings, index)[1]]
    line = summary_of_rule(*np.transpose([(row.indentation_mm, row.area_ratio) for row in truth]))
    assert line in (ROOT / "docs" / "phantom.md").read_text(encoding="utf-8")
