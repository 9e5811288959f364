"""What a report refuses to put side by side, and what its numbers rest on."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
import simulated_runs
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from scripts.__main__ import main
from scripts.errors import InputError
from scripts.evaluation import agreement, calibration
from scripts.report import operating_points_file as points_file
from scripts.report.command import report
from scripts.report.recalibrate import recalibrate

VALIDATION, POINTS = "predictions_validation.csv", "operating_points.json"


def page_text(folder):
    """The text of the page, without its pictures."""
    return re.sub(r"\s+", " ", re.sub(r'src="data:[^"]*"', "", (folder / "report.html").read_text()))


def edit(path, change):
    change(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False)


def odd(ids: pd.Series) -> pd.Series:
    return ids.isin(sorted(ids.unique())[::2])


def edit_points(run, change):
    content = json.loads((run / POINTS).read_text())
    change(content)
    (run / POINTS).write_text(json.dumps(content))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A run, a second model and an external run, reported at a point of its own with a column that nobody has."""
    folder = tmp_path_factory.mktemp("study")
    run = simulated_runs.write(folder / "run", 40, 21, weights_sha256="ab" * 32, datalist_sha256="cd" * 32)
    outside = simulated_runs.write(
        folder / "outside", 30, 22, prefix="x", weights_sha256="ab" * 32, datalist_sha256="ef" * 32
    )
    # every other validation patient is free of compression, so that patients get thresholds, too
    edit(run / VALIDATION, lambda frame: frame.assign(label=frame["label"].where(odd(frame["patient_id"]), "0")))
    edit(run / "geometry.csv", lambda frame: frame.assign(level=np.where(frame.index % 9 == 0, "", frame["level"])))
    (folder / "second").mkdir()
    shutil.copy(run / "predictions.csv", folder / "second")
    edit(folder / "second" / "predictions.csv", lambda f: f.assign(logit=(f["logit"].astype(float) ** 3).astype(str)))
    options = ["--point", "youden", "--columns", "age,agee,site", "--out", str(folder / "report"), "--seed", "5"]
    assert main(["report", str(run), str(folder / "second"), "--external", str(outside), *options]) == 0
    return folder


@pytest.fixture(scope="module")
def content(study):
    return json.loads((study / "report" / "report.json").read_text())


@pytest.fixture(scope="module")
def slices(study):
    return pd.read_csv(study / "run" / "predictions.csv")


@pytest.fixture
def run(tmp_path):
    """A small run with operating points chosen on its validation patients."""
    run = simulated_runs.write(tmp_path / "run", 8, 29, weights_sha256="ab" * 32)
    recalibrate(str(run / VALIDATION), str(run))
    return run


@pytest.fixture
def loaded(run):
    """The same without the validation predictions, so that the operating points are read."""
    (run / VALIDATION).unlink()
    return run


# whom thresholds were chosen on


def test_points_chosen_on_the_reported_predictions_are_refused(tmp_path):
    run = simulated_runs.write(tmp_path / "run", 12, 23)
    (run / VALIDATION).unlink()
    recalibrate(str(run / "predictions.csv"), str(run))
    with pytest.raises(InputError, match=r"was chosen on .*predictions\.csv itself"):
        report(str(run), out=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_points_chosen_on_some_of_the_reported_patients_are_refused(loaded, tmp_path):
    frame = pd.read_csv(loaded / "predictions.csv", dtype=str, keep_default_na=False)
    some = frame[frame["patient_id"].isin(frame["patient_id"].unique()[:4])]
    some.to_csv(tmp_path / "some.csv", index=False)
    recalibrate(str(tmp_path / "some.csv"), str(loaded))
    with pytest.raises(InputError, match=r"series .* is among those that .* was chosen on"):
        report(str(loaded), out=str(tmp_path / "out"))
    # another scan of the same patients is no better
    some.assign(series_uid="9" + some["series_uid"]).to_csv(tmp_path / "some.csv", index=False)
    recalibrate(str(tmp_path / "some.csv"), str(loaded))
    with pytest.raises(InputError, match=r"patient p0000 .* is among those that .* was chosen on"):
        report(str(loaded), out=str(tmp_path / "out"))


def test_the_page_says_never_on_these_patients_only_where_that_was_checked(run, tmp_path):
    claim, doubt = "never on the patients reported here", "some of them may be reported here"
    report(str(run), out=str(tmp_path / "chosen"))
    assert claim in page_text(tmp_path / "chosen")
    (run / VALIDATION).unlink()
    report(str(run), out=str(tmp_path / "checked"))
    assert claim in page_text(tmp_path / "checked")

    def forget(points):
        del points["chosen_on"]["patients_sha256"]

    edit_points(run, forget)
    report(str(run), out=str(tmp_path / "unknown"))
    assert claim not in page_text(tmp_path / "unknown")
    assert doubt in page_text(tmp_path / "unknown")
    (run / POINTS).unlink()
    report(str(run), out=str(tmp_path / "nothing"))
    assert claim not in page_text(tmp_path / "nothing")
    assert "No threshold was chosen" in page_text(tmp_path / "nothing")


def test_identifiers_are_not_readable_in_the_file_of_points(study):
    text = (study / "run" / POINTS).read_text()
    validation = pd.read_csv(study / "run" / VALIDATION)
    assert len(json.loads(text)["chosen_on"]["patients_sha256"]) == validation["patient_id"].nunique()
    assert not any(name in text for name in [*validation["patient_id"], *validation["series_uid"]])


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        (lambda f: f, "series .* is in both predictions_validation.csv of .* and predictions.csv"),
        (lambda f: f.assign(patient_id="z" + f["patient_id"]), "series .* is in both"),
        (lambda f: f.assign(patient_id="z", series_uid="9" + f["series_uid"]), "image .* is in both"),
    ],
)
def test_an_external_run_of_the_validation_images_is_refused(run, tmp_path, rename, message):
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.copy(run / VALIDATION, outside / "predictions.csv")
    edit(outside / "predictions.csv", rename)
    with pytest.raises(InputError, match=message):
        report(str(run), external=str(outside), out=str(tmp_path / "out"))


def test_an_external_run_that_read_points_were_chosen_on_is_refused(study, loaded, tmp_path):
    outside = shutil.copytree(study / "outside", tmp_path / "outside")
    recalibrate(str(outside / VALIDATION), str(loaded))
    edit(outside / VALIDATION, lambda f: f)
    report(str(loaded), external=str(outside), out=str(tmp_path / "out"))
    shutil.copy(outside / VALIDATION, outside / "predictions.csv")
    with pytest.raises(InputError, match=r"was chosen on .*outside.predictions\.csv itself"):
        report(str(loaded), external=str(outside), out=str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        (lambda f: f.assign(patient_id="z" + f["patient_id"]), "series .* is in both .* chosen on patients that are"),
        (lambda f: f.assign(patient_id="z", series_uid="9" + f["series_uid"]), "image .* is in both"),
    ],
)
def test_thresholds_are_not_chosen_on_tested_images_under_another_name(tmp_path, rename, message):
    run = simulated_runs.write(tmp_path / "run", 3, 24)
    shutil.copy(run / "predictions.csv", run / VALIDATION)
    edit(run / VALIDATION, rename)
    with pytest.raises(InputError, match=message):
        report(str(run), out=str(tmp_path / "out"))


# which run operating points belong to


def other_weights(points):
    points["facts"]["weights_sha256"] = "ff" * 32


def synthetic(points):
    points["facts"]["phantom"] = True


def test_points_of_other_weights_or_of_a_phantom_are_refused(loaded, tmp_path):
    for change, message in ((other_weights, r"chosen for other weights \(f{12}\)"), (synthetic, "phantom: True, but")):
        before = (loaded / POINTS).read_text()
        edit_points(loaded, change)
        with pytest.raises(InputError, match=message):
            report(str(loaded), out=str(tmp_path / "out"))
        (loaded / POINTS).write_text(before)
    report(str(loaded), out=str(tmp_path / "out"))


def test_points_chosen_on_patients_are_refused_for_a_phantom(loaded, tmp_path):
    facts = json.loads((loaded / "run.json").read_text())
    (loaded / "run.json").write_text(json.dumps(facts | {"phantom": True}))
    edit_points(loaded, lambda points: points["facts"].update(phantom=False))
    with pytest.raises(InputError, match=r"phantom: False, but phantom of .* is True"):
        report(str(loaded), out=str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p["points"]["paper_0.5"].update(logit=0.3), "paper_0.5 is the paper's threshold, a raw logit of 0"),
        (lambda p: p["points"]["youden"].update(logit=float("inf")), "expected a number within"),
        (lambda p: p["points"]["youden"].update(logit=float("nan")), "expected a number within"),
        (lambda p: p["calibration"].update(slope=float("inf")), "expected a number within"),
        (lambda p: p["calibration"].update(intercept=1e308), "expected a number within"),
        (lambda p: p["calibration"].update(slope=-1.0), "calibration must have a finite intercept and a slope above 0"),
        (lambda p: p["baseline"].update(intercept=None), "baseline must have a finite intercept and a slope above 0"),
        (lambda p: p["chosen_on"].update(patients_sha256="abc"), "expected a list of SHA-256 hashes"),
    ],
)
def test_a_file_of_points_with_a_wrong_number_is_refused(loaded, change, message):
    edit_points(loaded, change)
    with pytest.raises(InputError, match=message):
        points_file.read(loaded / POINTS)


def test_the_points_of_a_site_are_never_overwritten(run, study, tmp_path):
    recalibrate(str(study / "outside" / VALIDATION), str(run))
    before = (run / POINTS).read_bytes()
    with pytest.raises(InputError, match=r"not on .*predictions_validation\.csv as it is now.*remove operating_points"):
        report(str(run), out=str(tmp_path / "out"))
    assert (run / POINTS).read_bytes() == before


def test_an_unknown_point_is_refused_before_anything_is_written(run, tmp_path):
    (run / POINTS).unlink()
    with pytest.raises(InputError, match=r"'foo' is not available; choose one of paper_0\.5, youden"):
        report(str(run), out=str(tmp_path / "out"), point="foo")
    assert not (run / POINTS).exists()


@pytest.mark.parametrize("option", [{"seed": 1.5}, {"seed": "one"}, {"seed": -1}, {"seed": True}, {"margin": "wide"}])
def test_a_seed_or_margin_that_is_none_is_refused(run, tmp_path, option):
    with pytest.raises(InputError, match=f"--{next(iter(option))} must be"):
        report(str(run), out=str(tmp_path / "out"), **option)


@pytest.mark.parametrize("logit", ["1e308", "-1000001"])
def test_a_logit_no_network_gives_is_refused_with_its_line(run, tmp_path, logit):
    edit(run / "predictions.csv", lambda f: f.assign(logit=[logit if i == 4 else x for i, x in enumerate(f["logit"])]))
    with pytest.raises(InputError, match=r"predictions\.csv, line 6: logit must lie within"):
        report(str(run), out=str(tmp_path / "out"))


# what numbers rest on


def test_patient_level_rates_rest_on_the_slices_of_their_patients(content, slices):
    free = slices.groupby("patient_id")["label"].transform("max") == 0
    rule = content["patient_level"]["rules"]["max"]
    called = slices.groupby("patient_id")["logit"].transform("max") >= rule["threshold"]
    assert rule["auc"]["n_slices"] == len(slices)
    for name, entering in (("sensitivity", ~free), ("specificity", free), ("ppv", called), ("npv", ~called)):
        assert rule[name]["n_patients"] == slices[entering]["patient_id"].nunique()
        assert rule[name]["n_slices"] == entering.sum()


def test_disc_levels_rest_on_their_slices(study, content, slices):
    level = pd.read_csv(study / "run" / "geometry.csv", keep_default_na=False)["level"].to_numpy()
    found = content["disc_levels"]
    known = slices.assign(level=level)[level != ""]
    assert found["n_slices_without_level"] == len(slices) - len(known) > 0
    assert found["auc"]["n_slices"] == len(known)
    for row in found["levels"]:
        own = known[known["level"] == row["level"]]
        hit = own.groupby("patient_id")["label"].transform("max") == 1
        assert row["auc"]["n_slices"] == row["prevalence"]["n_slices"] == len(own)
        assert (row["sensitivity"]["n_slices"], row["specificity"]["n_slices"]) == (hit.sum(), (~hit).sum())


def levels_of(run):
    """Names of the disc levels that a report of a run has; None where it has none."""
    assert main(["report", str(run), "--out", str(run / "out")]) == 0
    found = json.loads((run / "out" / "report.json").read_text())["disc_levels"]
    return found and [row["level"] for row in found["levels"]]


def test_disc_levels_are_the_nearest_discs_where_geometry_has_them_and_else_its_levels(run):
    """Old phantoms and tables of people have `level` alone; the phantom's `level` also holds vertebrae."""

    def name(frame):
        odd = frame.index % 2 == 1
        return frame.assign(disc=np.where(odd, "C4/C5", "C5/C6"), level=np.where(odd, "C5", "C5/C6"))

    edit(run / "geometry.csv", name)
    assert levels_of(run) == ["C4/C5", "C5/C6"]
    edit(run / "geometry.csv", lambda frame: frame.assign(disc=""))
    assert levels_of(run) == ["C5", "C5/C6"]
    edit(run / "geometry.csv", lambda frame: frame.drop(columns="disc"))
    assert levels_of(run) == ["C5", "C5/C6"]
    edit(run / "geometry.csv", lambda frame: frame.drop(columns="level"))
    assert levels_of(run) is None


def test_differences_of_mean_auc_rest_on_the_slices_of_patients_that_have_one(study, content, slices):
    patients = pd.read_csv(study / "run" / "patients.csv", keep_default_na=False).set_index("patient_id")
    both = slices.groupby("patient_id")["label"].transform("nunique") == 2
    of_age = slices["patient_id"].map(patients["age"]) != ""
    for row in content["subgroups"]["rows"]:
        if row["level"] != "not recorded":
            entering = both & of_age if row["column"] == "age" else both
            assert row["mean_difference"]["difference"]["n_slices"] == entering.sum() < len(slices)
    (model,) = content["models"]
    assert model["mean_auc"]["difference"]["n_slices"] == both.sum()
    assert model["pooled_auc"]["difference"]["n_slices"] == len(slices)


def test_only_tests_that_were_made_are_counted(study, content):
    found = content["subgroups"]
    counted = [row for row in found["rows"] if row["counted"]]
    made = [row[name]["p_value"] for row in counted for name in ("pooled_difference", "mean_difference")]
    assert found["n_tests"] == sum(p is not None for p in made) < len(made)
    assert f"{found['n_tests']} tests" in page_text(study / "report")


def test_the_limits_of_agreement_follow_the_seed(study, content):
    table = pd.read_csv(study / "report" / "coding.csv")
    a, b = table["n_compressed_model"], table["n_compressed_reference"]
    limit = content["trial_coding"]["agreement"]["n_compressed"]["lower_limit"]
    five, zero = (agreement.bland_altman(a, b, 1, seed=seed).lower_limit for seed in (5, 0))
    assert limit["low"] == five.low != zero.low


def test_two_stacks_of_one_series_do_not_interleave(tmp_path):
    """One stack of 3 mm slices every 4 mm, compressed in all three; another at 2 mm beside it, free of compression."""
    rows = [(stack, 4.0 * i + 2.0 * stack, 1 - stack) for stack in (0, 1) for i in range(3)]
    frame = pd.DataFrame(rows, columns=["stack", "position_mm", "label"])
    frame = frame.assign(patient_id="a", series_uid="1.2", frame="", slice_index=frame.index, thickness_mm=3.0)
    frame["sop_uid"] = [f"1.2.{i}" for i in frame.index]
    frame["logit"] = frame["label"] * 0.8 - 0.4
    frame["probability"] = expit(frame["logit"])
    frame.to_csv(tmp_path / "predictions.csv", index=False)
    for columns, runs, length in ((["stack"], 1, 11.0), ([], 3, 3.0)):
        kept = ["series_uid", "sop_uid", "frame", "position_mm", "thickness_mm", *columns]
        frame[kept].to_csv(tmp_path / "geometry.csv", index=False)
        report(str(tmp_path), out=str(tmp_path / "out"))
        (row,) = pd.read_csv(tmp_path / "out" / "coding.csv").to_dict("records")
        assert (row["n_runs_model"], row["longest_run_mm_model"]) == (runs, length)


@pytest.mark.parametrize(("facts", "mark"), [({"phantom": True}, "yes"), ({"phantom": False}, "no"), ({}, "unknown")])
def test_coding_says_whether_its_patients_are_synthetic(tmp_path, facts, mark):
    run = simulated_runs.write(tmp_path / "run", 4, 25, everything=False, **facts)
    report(str(run), out=str(tmp_path / "out"))
    assert set(pd.read_csv(tmp_path / "out" / "coding.csv")["phantom"]) == {mark}


def test_patient_level_rules_have_a_roc_curve_where_patients_are_free_of_compression(study, content, slices, tmp_path):
    own = slices.groupby("patient_id")[["label", "logit"]].max()
    area = content["patient_level"]["rules"]["max"]["auc"]["value"]
    assert area == pytest.approx(roc_auc_score(own["label"], own["logit"]))
    assert "figures/patients.png" in content["figures"]
    assert "ROC of the patients by each rule" in page_text(study / "report")
    run = simulated_runs.write(tmp_path / "run", 4, 26, everything=False)
    edit(run / "predictions.csv", lambda f: f.assign(label=np.where(f["slice_index"] == "0", "1", f["label"])))
    report(str(run), out=str(tmp_path / "out"))
    assert not (tmp_path / "out" / "figures" / "patients.png").exists()
    assert "ROC of the patients" not in page_text(tmp_path / "out")


@pytest.mark.parametrize(
    ("fitted", "weight", "rows"),
    [
        (True, True, ["uncalibrated", "baseline", "calibrated"]),
        (True, False, ["uncalibrated", "calibrated"]),
        (False, True, ["uncalibrated", "baseline"]),
        (False, False, ["uncalibrated"]),
    ],
)
def test_the_baseline_is_shown_where_the_weight_of_the_loss_is_known(tmp_path, fitted, weight, rows):
    run = simulated_runs.write(tmp_path / "run", 12, 27, everything=fitted)
    if not weight:
        (run / "run.json").unlink()
    report(str(run), out=str(tmp_path / "out"))
    found = json.loads((tmp_path / "out" / "report.json").read_text())["calibration"]
    assert [name for name in found if name != "applied"] == rows
    assert found["applied"]["fitted"] is fitted
    assert ("There is no baseline" in page_text(tmp_path / "out")) is not weight
    if weight:
        frame = pd.read_csv(run / "predictions.csv")
        judged = calibration.assess(frame["label"], frame["logit"] - np.log(3.8), frame["patient_id"])
        assert found["baseline"]["brier"]["value"] == pytest.approx(judged.brier.value)
    if not fitted:
        assert found["applied"]["intercept"] == pytest.approx(-np.log(3.8) if weight else 0)


# what the page says


def test_every_section_names_the_operating_point_it_rests_on(study, content):
    page = page_text(study / "report")
    point = f"the operating point youden (raw logit {content['operating_points']['youden']['logit']:.3f} or more)"
    for heading in ("Trial coding and patients", "Disc levels", "Readers", "Failures"):
        section = re.search(rf"<h[23][^>]*>{heading}</h[23]>(.*?)<h[23]", page).group(1)
        assert point in section, heading


def test_a_column_nobody_has_is_named(study, run, tmp_path):
    sentence = "Asked for, but not recorded of any patient: agee."
    assert page_text(study / "report").count(sentence) == 2
    report(str(run), out=str(tmp_path / "out"), columns="agee")
    assert sentence in page_text(tmp_path / "out")


def test_the_origin_of_the_external_cohort_is_on_the_page(study):
    page = page_text(study / "report")
    assert f"<th>external datalist_sha256</th><td><code>{'ef' * 32}</code>" in page
    assert f"<th>external weights_sha256</th><td><code>{'ab' * 32}</code>" in page


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_no_table_is_cut_off_at_1200_pixels(study, tmp_path):
    probe = """<script>addEventListener("load", () => { const all = [...document.querySelectorAll("main, .scroll")];
        const wide = all.filter(part => part.scrollWidth > part.clientWidth + 1);
        const cut = wide.map(part => part.innerText.slice(0, 60));
        document.body.dataset.cut = `${cut.length} of ${all.length}: ${cut}`; })</script></body>"""
    page = (study / "report" / "report.html").read_text()
    (tmp_path / "probe.html").write_text(page.replace("</body>", probe))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command = ["chromium", *options, "--window-size=1200,6000", "--virtual-time-budget=5000", "--dump-dom"]
    command.append((tmp_path / "probe.html").as_uri())
    found = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    cut, parts = re.search(r'data-cut="(\d+) of (\d+)', found).groups()
    assert int(parts) > 10
    assert cut == "0", re.search(r'data-cut="([^"]*)', found).group(1)
