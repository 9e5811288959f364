"""The AUC of a phantom under other label rules."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import simulated_runs

from scripts.phantom.labels import LABEL_RULES_MM, compressed
from scripts.report.card import performance
from scripts.report.command import report

TRUTH = ["series_uid", "sop_uid", "frame", "indentation_mm", "area_ratio"]


def reported(run, out, **options):
    report(str(run), out=str(out), **options)
    return json.loads((out / "report.json").read_text()), (out / "report.html").read_text()


def phantom_run(folder, k=40, seed=1, prefix="p"):
    """Write a phantom run whose labels are the rule's, with the truth of each slice: one in ten by its area alone."""
    run = simulated_runs.write(folder, k, seed, prefix=prefix, everything=False, phantom=True)
    frame = pd.read_csv(run / "predictions.csv", dtype={"frame": str}, keep_default_na=False)
    rng = np.random.default_rng(seed)
    hit = frame["label"] == 1
    depth = np.where(hit, rng.uniform(0.8, 3, len(frame)), rng.uniform(-1, 0.8, len(frame))).round(4)
    area = np.where(hit & (rng.random(len(frame)) < 0.1), 0.85, 0.95)
    truth = frame.assign(indentation_mm=np.where(area < 0.90, 0.1, depth), area_ratio=area)
    truth[TRUTH].to_csv(run / "truth.csv", index=False)
    assert (compressed(truth["indentation_mm"], truth["area_ratio"]) == hit).all()
    return run


def edit(path, change):
    change(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rules")
    run, outside = phantom_run(folder / "run"), phantom_run(folder / "outside", 30, 2, "x")
    edit(outside / "truth.csv", lambda frame: frame[3:])
    return reported(run, folder / "out", external=str(outside))


def test_aucs_under_each_rule_are_those_worked_out_by_hand(tmp_path):
    """Six slices, logits 0 to 5: indentation 0, 0.5, 0.9, 0.2, 1.5 and 0.3 mm, the last of them with 0.85 of its area.

    From 0.4 mm the slices 1, 2, 4 and 5 are compressed: of their 8 pairs with the slices 0 and 3, all are right but
    those of 1 and 2 with 3. From 0.8 mm 2, 4 and 5: of 9 pairs one is wrong, 2 with 3. From 1.2 mm 4 and 5, the
    latter by its area: none is wrong.
    """
    key = {"patient_id": ["a", "a", "b", "b", "c", "c"], "series_uid": ["1.1", "1.1", "1.2", "1.2", "1.3", "1.3"]}
    key |= {"sop_uid": [f"1.9.{number}" for number in range(6)], "frame": [""] * 6}
    logit = np.arange(6.0)
    scores = pd.DataFrame({**key, "slice_index": [0, 1] * 3, "label": [0, 0, 1, 0, 1, 1], "logit": logit})
    run = tmp_path / "run"
    run.mkdir()
    scores.assign(probability=1 / (1 + np.exp(-logit))).to_csv(run / "predictions.csv", index=False)
    (run / "run.json").write_text('{"phantom": true}')
    truth = pd.DataFrame({**key, "indentation_mm": [0, 0.5, 0.9, 0.2, 1.5, 0.3], "area_ratio": [1] * 5 + [0.85]})
    truth[::-1].to_csv(run / "truth.csv", index=False)
    rows = reported(run, tmp_path / "out")[0]["label_rules"]["rules"]
    assert [row["threshold_mm"] for row in rows] == [0.4, 0.8, 1.2]
    assert [row["n_compressed"] for row in rows] == [4, 3, 2]
    assert [row["n_by_area_alone"] for row in rows] == [1, 1, 1]
    assert [row["share"] for row in rows] == pytest.approx([4 / 6, 3 / 6, 2 / 6])
    assert [row["auc"]["value"] for row in rows] == pytest.approx([6 / 8, 8 / 9, 1])


def test_under_the_rule_of_the_labels_the_auc_is_the_headline_s(study):
    content, _ = study
    found = content["label_rules"]
    assert found["phantom"] is True
    assert (found["reason"], found["n_slices_without_truth"], found["n_labelled_otherwise"]) == ("", 0, 0)
    by_rule = {row["threshold_mm"]: row for row in found["rules"]}
    assert tuple(by_rule) == LABEL_RULES_MM
    assert by_rule[0.8]["auc"] == content["pooled"]["auc"]
    assert by_rule[0.8]["n_compressed"] == content["cohort"]["n_compressed_slices"]
    assert by_rule[0.4]["n_compressed"] > by_rule[0.8]["n_compressed"] > by_rule[1.2]["n_compressed"]
    assert len({row["auc"]["value"] for row in found["rules"]}) == 3
    assert all(row["auc"]["low"] < row["auc"]["value"] < row["auc"]["high"] for row in found["rules"])


def test_slices_without_truth_are_counted_and_left_out(study):
    content, page = study
    found = content["external"]["label_rules"]
    assert found["n_slices_without_truth"] == 3
    n = content["external"]["cohort"]["n_slices"]
    assert {row["auc"]["n_slices"] for row in found["rules"]} == {row["n_slices"] for row in found["rules"]} == {n - 3}
    assert found["reason"] == f"3 of {n:,} slices have no indentation and area ratio in truth.csv and are left out"
    assert found["reason"] in page


def test_the_page_has_one_table_per_cohort_and_the_card_one_line(study):
    content, page = study
    assert page.count("Under other label rules (phantom)</h3>") == 2
    assert "a reference of simulated patients" in page
    assert "made by people" not in page
    assert "indentation ≥ 0.4 mm or area ratio &lt; 0.90" in page
    lines = [line for line in performance(content).splitlines() if "0.4 / 0.8 / 1.2 mm" in line]
    assert len(lines) == 1
    cells = lines[0].strip("| ").split(" | ")[1:]
    assert cells[1].endswith("; 3 slices without truth left out")
    for cell, one in zip(cells, (content, content["external"]), strict=True):
        leaves = [row["auc"] for row in one["label_rules"]["rules"]]
        written = [f"{leaf['value']:.3f} ({leaf['low']:.3f} to {leaf['high']:.3f})" for leaf in leaves]
        assert cell.partition(";")[0] == " / ".join(written)


@pytest.mark.parametrize("facts", [{}, {"phantom": False}])
def test_patients_have_no_such_table_whatever_lies_beside_them(tmp_path, facts):
    run = phantom_run(tmp_path / "run", 6)
    (run / "run.json").write_text(json.dumps(facts))
    content, page = reported(run, tmp_path / "out")
    assert content["label_rules"] is None
    assert "other label rules" not in page
    assert "1.2 mm" not in performance(content)


def without_truth(run):
    (run / "truth.csv").unlink()


def of_other_slices(run):
    edit(run / "truth.csv", lambda frame: frame.assign(series_uid="1.2.3"))


def without_numbers(run):
    edit(run / "truth.csv", lambda frame: frame.assign(indentation_mm=""))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without_truth, "no truth.csv in the cohort's folder: the AUC under other label rules is not known"),
        (of_other_slices, "slices have no indentation and area ratio in truth.csv"),
        (without_numbers, "slices have no indentation and area ratio in truth.csv"),
    ],
)
def test_a_phantom_without_truth_says_so_and_has_no_table(tmp_path, change, reason):
    run = phantom_run(tmp_path / "run", 6)
    change(run)
    content, page = reported(run, tmp_path / "out")
    assert content["label_rules"]["rules"] == []
    assert reason in content["label_rules"]["reason"]
    assert "Under other label rules (phantom)</h3>" in page
    assert content["label_rules"]["reason"].replace("'", "&#39;") in page
    assert "1.2 mm" not in performance(content)


def test_labels_that_are_not_the_rule_s_are_counted(tmp_path):
    """Those of raters, say; the headline is measured against them, the rows of the table against the truth."""
    run = phantom_run(tmp_path / "run")
    swapped = {"0": "1", "1": "0"}
    edit(run / "predictions.csv", lambda f: f.assign(label=[*f["label"][:5].map(swapped), *f["label"][5:]]))
    content, page = reported(run, tmp_path / "out")
    assert content["label_rules"]["n_labelled_otherwise"] == 5
    assert content["label_rules"]["rules"][1]["auc"] != content["pooled"]["auc"]
    assert "Labelled otherwise in this run than by the rule of 0.8 mm: 5 slices." in page
