"""The report command, its files, and recalibrate."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import simulated_runs
from conftest import ROOT
from PIL import Image
from scipy.special import expit
from scipy.stats import t
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from bundle import populations
from scripts.__main__ import main
from scripts.errors import InputError
from scripts.evaluation import calibration, operating_points
from scripts.report import operating_points_file as points_file
from scripts.report.card import check_card, write_card
from scripts.report.command import report
from scripts.report.recalibrate import recalibrate

LEAF = {"value", "low", "high", "n_patients", "n_slices", "note"}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A run with everything, a second model on the same slices, and an external run; reported."""
    folder = tmp_path_factory.mktemp("study")
    run = simulated_runs.write(folder / "run", 60, 1, phantom=True, weights_sha256="ab" * 32)
    outside = simulated_runs.write(folder / "outside", 30, 2, prefix="x", phantom=True, weights_sha256="ab" * 32)
    frame = pd.read_csv(run / "predictions.csv", dtype={"frame": str}).astype({"label": "Int64"})
    frame.loc[3, "probability"] = frame.loc[5, "logit"] = np.nan
    frame.loc[9, "label"] = pd.NA
    frame.to_csv(run / "predictions.csv", index=False)
    (folder / "second").mkdir()
    drawn = populations.draw(np.random.default_rng(1), 60, populations.POPULATIONS["like the paper"])
    simulated_runs.predictions(drawn, "p", second=True).to_csv(folder / "second" / "predictions.csv", index=False)
    (folder / "second" / "run.json").write_text('{"phantom": true}')
    out = folder / "report"
    arguments = [str(run), str(folder / "second"), "--external", str(outside), "--out", str(out), "--margin", "0.05"]
    assert main(["report", *arguments]) == 0
    return folder


@pytest.fixture(scope="module")
def content(study):
    return json.loads((study / "report" / "report.json").read_text())


@pytest.fixture(scope="module")
def counted(study):
    """The slices of the run that count."""
    frame = pd.read_csv(study / "run" / "predictions.csv").dropna(subset=["label", "logit", "probability"])
    return frame.astype({"label": int})


def leaves(content, path=""):
    if isinstance(content, dict):
        if "low" in content and "value" in content:
            yield path, content
        for name, value in content.items():
            yield from leaves(value, f"{path}.{name}")
    elif isinstance(content, list):
        for number, value in enumerate(content):
            yield from leaves(value, f"{path}[{number}]")


def test_every_leaf_has_its_five_keys_and_an_interval_around_its_value(content):
    found = dict(leaves(content))
    assert len(found) > 200
    for path, leaf in found.items():
        assert set(leaf) == LEAF, path
        if leaf["low"] is not None:
            assert leaf["low"] <= leaf["value"] <= leaf["high"], path
    for name in ("pooled.auc", "pooled.sensitivity", "pooled.specificity", "pooled.ppv", "pooled.npv", "pooled.f1"):
        assert f".{name}" in found
        assert f".external.{name}" in found
    for name in (".pooled.balanced_accuracy", ".per_patient.mean_auc", ".per_patient.median_auc"):
        assert name in found


def test_every_auc_has_one_interval(study, content):
    assert [path for path, _ in leaves(content) if path.startswith(".pooled.auc")] == [".pooled.auc"]
    page = (study / "report" / "report.html").read_text()
    assert page.count("AUC, all slices pooled") == 2  # internal and external
    assert "bootstrap (plain" not in page
    assert "Obuchowski's variance" not in page


def test_numbers_equal_another_library_s(content, counted):
    pooled = content["pooled"]
    assert pooled["auc"]["value"] == pytest.approx(roc_auc_score(counted["label"], counted["logit"]), abs=1e-12)
    called = counted["logit"] >= 0
    assert pooled["sensitivity"]["value"] == pytest.approx(called[counted["label"] == 1].mean())
    assert pooled["specificity"]["value"] == pytest.approx((~called[counted["label"] == 0]).mean())
    assert pooled["auc"]["n_slices"] == len(counted)
    both = counted.groupby("patient_id").filter(lambda own: own["label"].nunique() == 2)
    aucs = [roc_auc_score(own["label"], own["logit"]) for _, own in both.groupby("patient_id")]
    assert content["per_patient"]["mean_auc"]["value"] == pytest.approx(np.mean(aucs))
    assert content["per_patient"]["median_auc"]["value"] == pytest.approx(np.median(aucs))
    assert content["per_patient"]["mean_auc"]["n_slices"] == len(both)


def test_slices_without_score_or_label_are_listed_and_not_counted(content):
    assert content["cohort"]["excluded_slices"] == {"no finite score": 2, "no reference label": 1}
    assert len(content["cohort"]["excluded_examples"]) == 3


def test_patients_with_one_class_are_listed_and_not_counted(content, counted):
    single = counted.groupby("patient_id")["label"].nunique() == 1
    assert [row["patient_id"] for row in content["per_patient"]["undefined"]] == sorted(single.index[single])
    assert content["per_patient"]["mean_auc"]["n_patients"] == int((~single).sum())


def test_a_missing_age_is_in_no_level(content):
    rows = [row for row in content["subgroups"]["rows"] if row["column"] == "age"]
    assert [row["level"] for row in rows] == ["not recorded", "< 40", "40-65", "> 65"]
    assert rows[0]["n_patients"] == 1
    assert sum(row["n_patients"] for row in rows) == content["cohort"]["n_patients"] == 60
    assert all(row["pooled_difference"]["difference"]["n_patients"] == 59 for row in rows[1:])


def test_the_two_sides_of_a_column_are_one_test(content):
    north, south = (row for row in content["subgroups"]["rows"] if row["column"] == "site")
    assert north["counted"]
    assert not south["counted"]
    assert south["pooled_p_holm"] == north["pooled_p_holm"] > 0
    difference = [row["pooled_difference"]["difference"]["value"] for row in (north, south)]
    assert difference[0] == -difference[1]


def test_what_is_undefined_is_named_with_its_reason(content):
    small = [row for row in content["undefined"] if "fewer than 10 patients" in row["reason"]]
    assert small
    assert all(row["path"] and row["reason"] for row in content["undefined"])


def test_operating_points_are_those_of_the_validation_slices(study, content):
    own = pd.read_csv(study / "run" / "predictions_validation.csv")
    expected = operating_points.choose(own["label"], own["logit"], own["patient_id"])
    written = json.loads((study / "run" / "operating_points.json").read_text())
    assert written["points"]["youden"]["logit"] == expected["youden"].logit
    assert written["points"]["sensitivity_95"]["logit"] is None
    assert written["points"]["sensitivity_95"]["status"].startswith("unattained")
    assert written["baseline"]["intercept"] == pytest.approx(-np.log(3.8))
    fitted = calibration.fit_calibration(own["label"], own["logit"], own["patient_id"])
    read = points_file.read(study / "run" / "operating_points.json")
    assert (read.calibration.slope, read.calibration.intercept) == (fitted.slope, fitted.intercept)
    assert content["operating_points"]["youden"]["logit"] == expected["youden"].logit
    assert content["calibration"]["applied"]["fitted"]


def test_coding_has_one_row_per_patient_in_slices_and_mm(study, content, counted):
    table = pd.read_csv(study / "report" / "coding.csv").set_index("patient_id")
    assert len(table) == 60
    own = counted[counted["patient_id"] == table.index[1]]
    assert table["n_compressed_reference"].iloc[1] == own["label"].sum()
    assert table["n_compressed_model"].iloc[1] == (own["logit"] >= 0).sum()
    longest = (table["longest_run_slices_model"] - 1) * 3.6 + 3.0
    none = table["longest_run_slices_model"] == 0
    assert table["longest_run_mm_model"][~none].to_numpy() == pytest.approx(longest[~none].to_numpy())
    assert set(content["trial_coding"]["agreement"]) == {
        "n_compressed",
        "expected_count",
        "n_runs",
        "longest_run_slices",
        "longest_run_mm",
    }


def test_readers_are_near_the_errors_they_were_drawn_with(content):
    rows = {row["reader"]: row for row in content["readers"]["readers"]}
    assert set(rows) == set(simulated_runs.READERS)
    for name, wrong in simulated_runs.READERS.items():
        assert rows[name]["accuracy"]["value"] == pytest.approx(1 - wrong, abs=0.03)
    assert "kappa_with_own_second_reading" in rows["dr_a"]
    pairs = {(row["first"], row["second"]) for row in content["readers"]["agreement"]}
    assert ("reference", "model") in pairs
    assert len(pairs) == 6


def test_models_are_compared_on_their_common_slices(content):
    (model,) = content["models"]
    assert model["n_slices_in_common"] == content["pooled"]["auc"]["n_slices"]
    assert model["n_slices_in_one_only"] == 3
    assert 0 < model["pooled_auc"]["p_value"] <= 1
    assert set(model["equivalent"]) == {"pooled_auc", "mean_auc"}


def test_figures_are_pictures_with_something_on_them(study, content):
    names = [*content["figures"], *content["external"]["figures"]]
    assert len(names) == 14
    for name in names:
        with Image.open(study / "report" / name) as image:
            assert len(np.unique(np.asarray(image.convert("L")))) > 20


def test_the_page_says_phantom_and_needs_nothing_but_itself(study):
    page = (study / "report" / "report.html").read_text()
    assert page.count("PHANTOM") >= 2
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)
    assert "url(" not in page
    assert page.count("data:image/png;base64,") == 14


CARD = "# Card\n\n<!-- performance: begin -->\nof the last run\n<!-- performance: end -->\n\nafter\n"


def test_the_model_card_takes_its_numbers_from_the_report(study, content):
    card = study / "card.md"
    card.write_text(CARD)
    write_card(card, content)
    text = card.read_text()
    assert text.startswith("# Card\n\n<!-- performance: begin -->\n**Synthetic phantom, not patients.**")
    assert text.endswith("<!-- performance: end -->\n\nafter\n")
    assert "of the last run" not in text
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("|")}
    leaves = content["pooled"]["auc"], content["external"]["pooled"]["auc"]
    for leaf, cell in zip(leaves, rows["AUC, all slices pooled"].strip("| ").split(" | ")[1:], strict=True):
        assert cell == f"{leaf['value']:.3f} ({leaf['low']:.3f} to {leaf['high']:.3f})"
    assert "fewer than 100 patients" in text
    assert "weights abababababab" in text
    write_card(card, {**content, "phantom": False, "external": None})
    assert "phantom" not in card.read_text().lower()
    assert "| held-out patients |" in card.read_text()


@pytest.mark.parametrize(
    "text", ["# Card\n", CARD + CARD, "<!-- performance: end -->\n<!-- performance: begin -->\n", None]
)
def test_a_card_without_a_place_for_numbers_is_refused_before_any_work(study, tmp_path, text):
    if text is not None:
        (tmp_path / "card.md").write_text(text)
    with pytest.raises(InputError, match=r"--card .*card\.md"):
        report(str(study / "run"), out=str(tmp_path / "out"), card=str(tmp_path / "card.md"))
    assert not (tmp_path / "out").exists()


def test_the_shipped_model_card_has_a_place_for_numbers():
    assert "performance" in check_card(ROOT / "docs" / "README.md")


def has_proc():
    probe = ["Rscript", "-e", "quit(status = !requireNamespace('pROC', quietly = TRUE))"]
    return shutil.which("Rscript") is not None and subprocess.run(probe, capture_output=True).returncode == 0


@pytest.mark.skipif(not has_proc(), reason="R with the package pROC is not installed")
def test_pooled_and_patient_level_auc_equal_those_of_r(content, counted, tmp_path):
    """An independent route: pROC's areas, and DeLong's variance where each patient has one row."""
    counted.to_csv(tmp_path / "counted.csv", index=False)
    script = """
        suppressMessages(library(pROC)); d <- read.csv(commandArgs(TRUE)[1])
        p <- merge(aggregate(label ~ patient_id, d, max), aggregate(logit ~ patient_id, d, max))
        area <- function(x) roc(x$label, x$logit, levels = c(0, 1), direction = "<")
        cat(format(c(auc(area(d)), auc(area(p)), var(area(p))), digits = 15))"""
    (tmp_path / "areas.R").write_text(script)
    command = ["Rscript", tmp_path / "areas.R", tmp_path / "counted.csv"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    pooled, patients, variance = (float(number) for number in printed.split())
    assert content["pooled"]["auc"]["value"] == pytest.approx(pooled, abs=1e-9)
    rule = content["patient_level"]["rules"]["max"]["auc"]
    assert rule["value"] == pytest.approx(patients, abs=1e-9)
    free = content["patient_level"]["n_compression_free_patients"]
    half = t.ppf(0.975, min(free, 60 - free) - 1) * np.sqrt(variance) / (patients * (1 - patients))
    ends = expit(np.array([-half, half]) + np.log(patients / (1 - patients)))
    assert [rule["low"], rule["high"]] == pytest.approx(ends, abs=1e-6)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_chromium_shows_every_figure_of_the_page(study, tmp_path):
    probe = """<script>addEventListener("load", () => { document.body.dataset.shown = [...document.images]
        .filter(image => image.naturalWidth > 300).length + " of " + document.images.length; })</script></body>"""
    page = (study / "report" / "report.html").read_text()
    (tmp_path / "probe.html").write_text(page.replace("</body>", probe))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command = ["chromium", *options, "--virtual-time-budget=5000", "--dump-dom", (tmp_path / "probe.html").as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    assert 'data-shown="14 of 14"' in dom
    headings = re.findall(r"<h2[^>]*>([^<]+)</h2>", dom)
    assert headings[:4] == ["What was asked", "The answer in short", "Data", "Results, internal cohort"]
    assert headings[-3:] == ["Failures", "Limits", "Where the numbers come from"]


def test_the_bare_minimum_is_reported(tmp_path):
    run = simulated_runs.write(tmp_path / "run", 12, 3, everything=False)
    (run / "patients.csv").unlink()
    (run / "run.json").unlink()
    report(str(run), out=str(tmp_path / "out"))
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert list(content["operating_points"]) == ["paper_0.5"]
    assert content["readers"] is None
    assert "patients.csv" in content["cohort"]["problems"][0]
    assert any("fewer than 30 patients" in warning for warning in content["warnings"])
    assert any("real or synthetic" in warning for warning in content["warnings"])
    assert "PHANTOM" not in (tmp_path / "out" / "report.html").read_text()
    assert not content["trial_coding"]["millimetres"]


def one_class(frame):
    frame["label"] = 0


def constant_score(frame):
    frame["logit"] = 1.5


def separated(frame):
    frame["logit"] = np.where(frame["label"] == 1, 2.0, -2.0)


@pytest.mark.parametrize("change", [one_class, constant_score, separated])
def test_degenerate_scores_are_reported_and_never_invented(tmp_path, change):
    run = simulated_runs.write(tmp_path / "run", 12, 4)
    for name in ("predictions.csv", "predictions_validation.csv"):
        frame = pd.read_csv(run / name, dtype={"frame": str})
        change(frame)
        frame.to_csv(run / name, index=False)
    report(str(run), out=str(tmp_path / "out"))
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    auc = content["pooled"]["auc"]
    assert auc["value"] == {one_class: None, constant_score: 0.5, separated: 1.0}[change]
    assert (auc["low"], auc["high"]) == (None, None)
    assert "pooled.auc" in [row["path"] for row in content["undefined"]]
    assert not content["calibration"]["applied"]["fitted"]


def edit(run, name, change):
    frame = pd.read_csv(run / name, dtype=str, keep_default_na=False)
    frame = change(frame)
    frame.to_csv(run / name, index=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="logit"), "line 1: no column logit"),
        (lambda frame: pd.concat([frame, frame[:1]]), "comes twice"),
        (lambda frame: frame.assign(label="2"), "line 2: label must be 0, 1 or empty, got '2'"),
        (lambda frame: frame.assign(logit="nan"), "none of .* slices has both"),
        (lambda frame: frame.assign(series_uid="1.2.3"), "belongs to several patients"),
        (lambda frame: frame.assign(patient_id=""), "patient_id is empty"),
        (lambda frame: frame[:0], "holds no rows"),
    ],
)
def test_predictions_that_cannot_be_used_are_refused(tmp_path, change, message):
    run = simulated_runs.write(tmp_path / "run", 3, 5, everything=False)
    edit(run, "predictions.csv", change)
    with pytest.raises(InputError, match=message):
        report(str(run), out=str(tmp_path / "out"))


def test_a_phantom_never_stands_beside_patients(tmp_path):
    phantom = simulated_runs.write(tmp_path / "a", 3, 6, everything=False, phantom=True)
    for number, facts in enumerate(({"phantom": False}, {})):
        other = simulated_runs.write(tmp_path / f"b{number}", 3, 7, prefix="x", everything=False, **facts)
        with pytest.raises(InputError, match="never stand beside clinical scores"):
            report(str(phantom), external=str(other), out=str(tmp_path / "out"))


def test_an_external_run_of_other_weights_is_refused(tmp_path):
    a = simulated_runs.write(tmp_path / "a", 3, 6, everything=False, weights_sha256="a" * 64)
    b = simulated_runs.write(tmp_path / "b", 3, 7, prefix="x", everything=False, weights_sha256="b" * 64)
    with pytest.raises(InputError, match="other weights"):
        report(str(a), external=str(b), out=str(tmp_path / "out"))


def test_an_external_cohort_with_an_image_of_the_internal_one_is_refused(tmp_path):
    a = simulated_runs.write(tmp_path / "a", 3, 6, everything=False)
    b = simulated_runs.write(tmp_path / "b", 3, 7, everything=False)
    with pytest.raises(InputError, match="is in both cohorts"):
        report(str(a), external=str(b), out=str(tmp_path / "out"))


def test_thresholds_are_not_chosen_on_tested_patients(tmp_path):
    run = simulated_runs.write(tmp_path / "run", 3, 8)
    shutil.copy(run / "predictions.csv", run / "predictions_validation.csv")
    with pytest.raises(InputError, match="must not be chosen on patients that are tested"):
        report(str(run), out=str(tmp_path / "out"))


def test_an_operating_point_that_was_not_attained_is_refused(tmp_path):
    run = simulated_runs.write(tmp_path / "run", 12, 9)
    with pytest.raises(InputError, match=r"'sensitivity_95' is not available; choose one of paper_0.5, youden"):
        report(str(run), out=str(tmp_path / "out"), point="sensitivity_95")


def test_a_reader_who_made_the_reference_is_not_judged(tmp_path):
    run = simulated_runs.write(tmp_path / "run", 6, 10)
    edit(run, "labels.csv", lambda frame: frame.replace({"rater": {"consensus": "dr_a"}}))
    report(str(run), out=str(tmp_path / "out"))
    found = json.loads((tmp_path / "out" / "report.json").read_text())["readers"]
    assert [row["reader"] for row in found["readers"]] == ["dr_b"]
    assert found["notes"] == ["dr_a took part in the reference and is not judged against it"]


def add_reference_raters(run):
    """Replace the consensus by two who made it, of whom the second errs on the first slice of every patient."""

    def change(frame):
        consensus = frame["rater"] == "consensus"
        made = frame[consensus]
        other = made["label"].map({"0": "1", "1": "0"})
        erring = made.assign(label=made["label"].where(made["patient_id"].duplicated(), other))
        both = [made.assign(rater="dr_m"), made.assign(rater="dr_m", reading="2"), erring.assign(rater="dr_n")]
        return pd.concat([*both, frame[~consensus]])

    edit(run, "labels.csv", change)


def test_the_agreement_of_those_who_made_the_reference_is_described_and_nobody_is_judged_by_it(tmp_path):
    run = simulated_runs.write(tmp_path / "run", 6, 10)
    report(str(run), out=str(tmp_path / "before"))
    add_reference_raters(run)
    report(str(run), out=str(tmp_path / "out"))
    before, found = (json.loads((tmp_path / name / "report.json").read_text())["readers"] for name in ("before", "out"))
    pairs = {(row["first"], row["second"]): row["kappa"] for row in found["reference_raters"]}
    assert set(pairs) == {("dr_m", "dr_n"), ("dr_m (1)", "dr_m (2)")}
    assert pairs["dr_m (1)", "dr_m (2)"]["value"] == 1
    slices = pd.read_csv(run / "predictions.csv")
    erring = slices["label"].where(slices["patient_id"].duplicated(), 1 - slices["label"])
    assert pairs["dr_m", "dr_n"]["value"] == pytest.approx(cohen_kappa_score(slices["label"], erring))
    assert before["reference_raters"] == []
    assert found["readers"] == before["readers"]
    assert found["agreement"] == before["agreement"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "dr_m (2)" in page
    assert "raters with role reference" in page


def test_the_agreement_of_those_who_made_the_reference_needs_no_readers(tmp_path):
    run = simulated_runs.write(tmp_path / "run", 6, 10)
    add_reference_raters(run)
    edit(run, "labels.csv", lambda frame: frame[frame["role"] == "reference"])
    report(str(run), out=str(tmp_path / "out"))
    found = json.loads((tmp_path / "out" / "report.json").read_text())["readers"]
    assert (found["readers"], found["agreement"], found["notes"]) == ([], [], [])
    assert len(found["reference_raters"]) == 2
    assert "raters with role reference" in (tmp_path / "out" / "report.html").read_text()


def test_nifti_slices_are_told_apart_by_their_index(tmp_path):
    run = simulated_runs.write(tmp_path / "run", 6, 11)
    for name in ("predictions.csv", "geometry.csv"):
        edit(run, name, lambda f: f.assign(slice_index=f["sop_uid"].str.split(".").str[-1], sop_uid=""))
    (run / "labels.csv").unlink()
    report(str(run), out=str(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "report.json").read_text())["trial_coding"]["millimetres"]


def test_recalibrate_finds_the_shift_of_a_site(tmp_path, capsys):
    run = simulated_runs.write(tmp_path / "run", 60, 12)
    edit(run, "predictions.csv", lambda f: f.assign(logit=(f["logit"].astype(float) * 0.5 + 2).astype(str)))
    home = tmp_path / "home"
    recalibrate(str(run / "predictions_validation.csv"), str(home))
    assert main(["recalibrate", str(run / "predictions.csv"), "--out", str(tmp_path / "site.json")]) == 0
    assert "60 patients" in capsys.readouterr().out
    own, site = points_file.read(home / "operating_points.json"), points_file.read(tmp_path / "site.json")
    assert site.calibration.slope == pytest.approx(2 * own.calibration.slope, rel=0.35)
    assert site.points["youden"].logit == pytest.approx(0.5 * own.points["youden"].logit + 2, abs=0.5)


def test_recalibrate_joins_the_output_of_predict_with_labels(tmp_path):
    run = simulated_runs.write(tmp_path / "run", 20, 13)
    found = simulated_runs.as_predict_output(run, tmp_path / "predicted")
    recalibrate(str(found), str(tmp_path / "joined.json"), labels=str(run / "labels.csv"))
    recalibrate(str(run / "predictions.csv"), str(tmp_path / "direct.json"))
    joined, direct = (json.loads((tmp_path / name).read_text()) for name in ("joined.json", "direct.json"))
    assert joined["points"] == direct["points"]
    assert joined["calibration"] == direct["calibration"]


def test_recalibrate_refuses_two_references_that_differ(tmp_path):
    run = simulated_runs.write(tmp_path / "run", 3, 14)
    found = simulated_runs.as_predict_output(run, tmp_path / "predicted")
    edit(run, "labels.csv", lambda frame: frame.assign(role="reference"))
    with pytest.raises(InputError, match="python -m scripts consensus"):
        recalibrate(str(found), str(tmp_path / "site.json"), labels=str(run / "labels.csv"))


@pytest.mark.parametrize("text", ['{"points": {}}', '{"points": 3}', "[]"])
def test_a_broken_operating_points_file_is_refused(tmp_path, text):
    (tmp_path / "operating_points.json").write_text(text)
    with pytest.raises(InputError, match="is not an operating_points"):
        points_file.read(tmp_path / "operating_points.json")


@pytest.mark.slow
def test_a_hundred_thousand_slices_take_less_than_two_gigabytes(tmp_path):
    run = simulated_runs.write(tmp_path / "run", 3000, 1, phantom=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    # the high-water mark of the process itself: what wait4 gives includes its parent's before the program starts
    program = """
import sys
from pathlib import Path
from scripts.__main__ import main
status = main(sys.argv[1:])
print(Path("/proc/self/status").read_text())
sys.exit(status)
"""
    command = [sys.executable, "-c", program, "report", str(run), "--out", str(tmp_path / "out")]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=600)
    peak_kib = int(re.search(r"VmHWM:\s*(\d+) kB", ended.stdout).group(1))
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert content["pooled"]["auc"]["n_slices"] > 100_000
    assert peak_kib < 2 * 1024**2
