"""What a report refuses to read, and what it says of tables that do not fit."""

from __future__ import annotations

import inspect
import json
import shutil
import time

import numpy as np
import pandas as pd
import pytest
import simulated_runs

from scripts.errors import InputError
from scripts.report.command import report
from scripts.report.facts import cohort_summary
from scripts.report.inputs.cohorts import read_cohort, slice_column
from scripts.report.inputs.predicted import join
from scripts.report.inputs.predictions import read_predictions
from scripts.report.readers import readings
from scripts.report.results import slice_arrays
from scripts.report.subgroups import levels, subgroups

PATIENTS = 24


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return simulated_runs.write(tmp_path_factory.mktemp("template") / "run", PATIENTS, 21)


@pytest.fixture
def run(template, tmp_path):
    """A run that is its own cohort, to be spoilt."""
    folder = tmp_path / "run"
    folder.mkdir()
    for path in template.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def cohort_of(run):
    return read_cohort("internal", run, None, None)


def edit(run, name, change):
    frame = change(pd.read_csv(run / name, dtype=str, keep_default_na=False))
    frame.to_csv(run / name, index=False)


def set_cells(column, cells):
    """Write cells into the first rows of a column."""

    def change(frame):
        frame.loc[: len(cells) - 1, column] = cells
        return frame

    return change


def test_a_whole_run_has_no_problems(run):
    assert cohort_of(run).problems == []


def test_predictions_that_were_cut_off_are_refused_with_the_line(run):
    path = run / "predictions.csv"
    lines = path.read_text().splitlines()
    half = len(lines) // 2
    path.write_text("\n".join([*lines[:half], lines[half].rpartition(",")[0]]))
    with pytest.raises(
        InputError, match=rf"predictions\.csv, line {half + 1} has 7 cells where the header has 8; .*cut"
    ):
        cohort_of(run)


def test_predictions_cut_off_between_two_lines_are_told_by_the_count_of_the_evaluation(run):
    path = run / "predictions.csv"
    lines = path.read_text().splitlines()
    (run / "metrics.json").write_text(json.dumps({"n_slices": len(lines) - 1}))
    assert cohort_of(run).problems == []
    path.write_text("\n".join(lines[:200]) + "\n")
    expected = f"predictions.csv has 199 rows where metrics.json counts {len(lines) - 1} slices"
    assert [problem for problem in cohort_of(run).problems if problem.startswith(expected)]


@pytest.mark.parametrize("name", ["predictions.csv", "labels.csv", "geometry.csv", "patients.csv"])
def test_a_trailing_comma_is_refused_and_shifts_no_column(run, name):
    path = run / name
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *(row + "," for row in rows)]))
    n = head.count(",") + 1
    with pytest.raises(InputError, match=rf"{name}, line 2 has {n + 1} cells where the header has {n}"):
        cohort_of(run)


def test_a_nameless_column_that_every_line_has_does_no_harm(run):
    before = cohort_of(run).patients
    path = run / "patients.csv"
    path.write_text("".join(line + ",,\n" for line in path.read_text().splitlines()))
    pd.testing.assert_frame_equal(cohort_of(run).patients, before)


@pytest.mark.parametrize("name", ["predictions.csv", "labels.csv", "geometry.csv", "patients.csv"])
@pytest.mark.parametrize("mark", [";", "\t"])
def test_other_separators_are_named_and_how_to_save_the_table(run, name, mark):
    path = run / name
    path.write_text(path.read_text().replace(",", mark))
    with pytest.raises(InputError, match=rf"{name}, line 1: cells are separated by .*CSV UTF-8 \(comma delimited\)"):
        cohort_of(run)


def test_latin_1_is_named_and_how_to_save_the_table(run):
    edit(run, "patients.csv", set_cells("site", ["north", "Köln"]))
    path = run / "patients.csv"
    path.write_bytes(path.read_text(encoding="utf-8").encode("latin-1"))
    with pytest.raises(InputError, match=r"patients\.csv, line 3 is not UTF-8 .*CSV UTF-8 \(comma delimited\)"):
        cohort_of(run)


def test_a_hundred_thousand_predictions_are_read_in_a_few_seconds_of_processor_time(tmp_path):
    n = 100_000
    patient = pd.Series(np.arange(n) // 33)
    series = "1.2.840.113619.2." + patient.astype(str)
    frame = pd.DataFrame({"patient_id": "p" + patient.astype(str), "series_uid": series})
    frame["sop_uid"] = series + "." + pd.Series(np.arange(n)).astype(str)
    frame = frame.assign(frame="", slice_index=np.arange(n) % 33, label=np.arange(n) % 2, logit=0.25, probability=0.5)
    frame.to_csv(tmp_path / "predictions.csv", index=False)
    before = time.process_time()
    assert len(read_predictions(tmp_path / "predictions.csv").slices) == n
    assert time.process_time() - before < 5


@pytest.mark.parametrize("value", ["1.0001", "-0.2", "inf", "50"])
def test_a_probability_outside_0_to_1_is_refused_with_its_line(run, value):
    edit(run, "predictions.csv", set_cells("probability", ["0.5", "1", value]))
    with pytest.raises(InputError, match=rf"predictions\.csv, line 4: probability .* from 0 to 1, got '{value}'"):
        cohort_of(run)


def test_a_probability_need_not_be_that_of_the_raw_logit(run):
    edit(run, "predictions.csv", lambda frame: frame.assign(probability="0.3"))
    assert cohort_of(run).problems == []


def first_reader_row(frame):
    return int(frame.index[frame["role"] == "reader"][0])


def test_a_reader_who_contradicts_a_row_of_the_same_reading_is_refused_with_both_lines(run):
    frame = pd.read_csv(run / "labels.csv", dtype=str, keep_default_na=False)
    row = first_reader_row(frame)
    again = frame.loc[[row]]
    pd.concat([frame, again]).to_csv(run / "labels.csv", index=False)  # says the same twice: no harm
    assert cohort_of(run).problems == []
    other = again.assign(label="1" if again["label"].iloc[0] == "0" else "0", status="evaluable")
    pd.concat([frame, other]).to_csv(run / "labels.csv", index=False)
    with pytest.raises(
        InputError, match=rf"labels\.csv, line {len(frame) + 2}: rater dr_a has already labelled .*line {row + 2}\)"
    ):
        cohort_of(run)
    pd.concat([frame, other.assign(reading="3")]).to_csv(run / "labels.csv", index=False)
    assert cohort_of(run).problems == []


def test_slices_without_sop_uid_are_contradicted_by_their_index_alone(run):
    for name in ("predictions.csv", "geometry.csv", "labels.csv"):
        edit(run, name, lambda f: f.assign(slice_index=f["sop_uid"].str.split(".").str[-1], sop_uid=""))
    assert cohort_of(run).problems == []
    edit(run, "labels.csv", lambda frame: pd.concat([frame, frame[:1].assign(status="motion")]))
    with pytest.raises(InputError, match=r"rater consensus has already labelled this slice in reading 1 \(.*line 2\)"):
        cohort_of(run)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [("label", "2", "label must be 0 or 1, got '2'"), ("label", "yes", "got 'yes'"),
     ("role", "Reader", "role must be reference or reader, got 'Reader'")],
)  # fmt: skip
def test_a_reader_s_row_that_would_be_passed_over_is_refused_with_its_line(run, column, value, message):
    frame = pd.read_csv(run / "labels.csv", dtype=str, keep_default_na=False)
    row = first_reader_row(frame) + 5
    frame.loc[row, column] = value
    frame.to_csv(run / "labels.csv", index=False)
    with pytest.raises(InputError, match=rf"labels\.csv, line {row + 2}: .*{message}"):
        cohort_of(run)


def test_labels_written_as_decimal_numbers_or_left_empty_are_read(run):
    before = readings(cohort_of(run))[0]["reader:dr_b"]
    edit(
        run,
        "labels.csv",
        lambda frame: frame.assign(label=frame["label"].where(frame["label"] == "", frame["label"] + ".0")),
    )
    pd.testing.assert_series_equal(readings(cohort_of(run))[0]["reader:dr_b"], before)
    edit(run, "labels.csv", lambda f: f.assign(label=f["label"].where(f["rater"] != "dr_b", "")))
    assert "reader:dr_b" not in readings(cohort_of(run))[0]


def test_reader_rows_of_other_slices_are_counted(run):
    frame = pd.read_csv(run / "labels.csv", dtype=str, keep_default_na=False)
    row, n = first_reader_row(frame), int((frame["role"] == "reader").sum())
    frame.loc[row + 1 : row + 3, "sop_uid"] = ["9.9.1", "9.9.2", "9.9.3"]
    frame.loc[0, "sop_uid"] = "9.9.4"  # a reference of another slice is no reading lost
    frame.to_csv(run / "labels.csv", index=False)
    expected = f"3 of {n} reader rows of labels.csv about these patients match no scored slice, first line {row + 3}"
    assert cohort_of(run).problems == [f"{expected}; expected only of slices that were not tested"]


def test_a_reference_that_is_not_that_of_the_predictions_is_reported(run):
    frame = pd.read_csv(run / "labels.csv", dtype=str, keep_default_na=False)
    n = int((frame["role"] == "reference").sum())
    was = frame["label"][:4].astype(int)
    frame.loc[[1, 3], "label"] = (1 - was[[1, 3]]).astype(str)
    frame.to_csv(run / "labels.csv", index=False)
    (problem,) = cohort_of(run).problems
    assert problem.startswith(f"2 of {n} slices have another reference label in labels.csv than in predictions.csv")
    assert f"first line 3: {1 - was[1]}, and {was[1]} in predictions.csv" in problem


def test_makers_of_the_reference_who_disagree_are_no_contradiction(run):
    def disagree(frame):
        made = frame[frame["role"] == "reference"].assign(rater="second")
        made.loc[0, "label"] = str(1 - int(made.loc[0, "label"]))
        return pd.concat([frame, made])

    edit(run, "labels.csv", disagree)
    assert cohort_of(run).problems == []


def test_raters_who_agree_on_something_else_than_the_exact_truth_of_a_phantom_are_no_contradiction(run):
    edit(run, "labels.csv", lambda f: f.assign(label=f["label"].where(f.index > 1, (f["label"] == "0").astype(int))))
    assert len(cohort_of(run).problems) == 1
    (run / "metrics.json").write_text('{"phantom": true}')
    assert cohort_of(run).problems == []


@pytest.mark.parametrize("name", ["metrics.json", "run.json"])
@pytest.mark.parametrize(
    ("key", "value"),
    [("phantom", "false"), ("phantom", 0), ("trained_on_phantom", "true"), ("pos_weight", "3.8"), ("pos_weight", 0),
     ("pos_weight", -1), ("pos_weight", True), ("pos_weight", float("nan")), ("versions", "torch 2.8"),
     ("versions", ["2.8"]), ("weights_sha256", 12), ("n_unreadable", "3")],
)  # fmt: skip
def test_a_fact_of_another_kind_is_refused_with_file_and_key(run, name, key, value):
    (run / name).write_text(json.dumps({key: value}))
    with pytest.raises(InputError, match=rf"{name}: {key} must be .*, got "):
        cohort_of(run)


def test_facts_that_are_no_object_are_refused_and_null_is_not_stated(run):
    (run / "run.json").write_text('{"phantom": null, "pos_weight": null, "seed": 4}')
    assert cohort_of(run).facts == {"seed": 4}
    (run / "run.json").write_text('{"phantom": false, "trained_on_phantom": true, "pos_weight": 3}')
    assert cohort_of(run).facts == {"phantom": False, "trained_on_phantom": True, "pos_weight": 3}
    (run / "run.json").write_text("[1]")
    with pytest.raises(InputError, match=r"run\.json must hold a JSON object"):
        cohort_of(run)


@pytest.mark.parametrize("column", ["site", "region", "sex", "maker"])
def test_coded_categories_are_never_ranges(run, column):
    codes = [str(number % 12 + 1) for number in range(PATIENTS)]
    edit(run, "patients.csv", lambda frame: frame.assign(**{column: codes}))
    level, order = levels(cohort_of(run), column)
    assert order == [str(number) for number in range(1, 13)]
    assert level.tolist() == codes


def test_what_is_new_in_patients_csv_makes_no_test_that_nobody_declared(run):
    """Holm's family is what --columns names: each further column would cost the others power."""
    declared = inspect.signature(report).parameters["columns"].default.split(",")
    assert declared == ["age", "mjoa", "region", "site", "sex", "maker"]
    before = subgroups(cohort_of(run), slice_arrays(cohort_of(run).predictions.slices), declared, 0.0, 0)
    more = {"person": [f"N{n // 2}" for n in range(PATIENTS)], "pathology": ["HC", "DCM"] * 12}
    edit(run, "patients.csv", lambda frame: frame.assign(**more, implants=["none", "plate C5/C6"] * 12))
    after = subgroups(cohort_of(run), slice_arrays(cohort_of(run).predictions.slices), declared, 0.0, 0)
    assert (after["family"], after["n_tests"]) == (before["family"], before["n_tests"])


def test_no_implants_is_known_and_not_unknown(run):
    cells = ["none", "plate C5/C6", "", "unknown"] * 6
    edit(run, "patients.csv", lambda frame: frame.assign(implants=cells))
    level, order = levels(cohort_of(run), "implants")
    assert order == ["none", "plate C5/C6"]
    assert level.tolist() == ["none", "plate C5/C6", "", ""] * 6


def test_other_measured_columns_become_three_ranges(run):
    edit(run, "patients.csv", lambda frame: frame.assign(bmi=[str(20 + number) for number in range(PATIENTS)]))
    level, order = levels(cohort_of(run), "bmi")
    assert len(order) == 3
    assert level.value_counts().tolist() == [8, 8, 8]


@pytest.mark.parametrize(
    ("column", "cells", "message", "known"),
    [
        (
            "age",
            ["45,0", "-1", "121", "old", "50", "120", "0"],
            "from 0 to 120 years: 4 of 24 .* '45,0' .*decimal point",
            20,
        ),
        ("mjoa", ["19", "-999", "18", "0", "14.5"], "from 0 to 18: 2 of 24 .* '19' of patient p0000$", 22),
        ("weight", ["70,5", "-1"], "from 1 to 500 kg: 2 of 24 .* '70,5' .*decimal point", 22),
    ],
)
def test_what_cannot_be_an_age_or_score_is_reported_and_unknown_everywhere(run, column, cells, message, known):
    rest = ["60" if column == "age" else "12"] * (PATIENTS - len(cells))
    edit(run, "patients.csv", lambda frame: frame.assign(**{column: [*cells, *rest]}))
    cohort = cohort_of(run)
    (problem,) = cohort.problems
    assert problem.startswith(f"{column} in patients.csv must be a number ")
    (found,) = pd.Series([problem]).str.contains(message)
    assert found, problem
    bad = pd.to_numeric(pd.Series(cells), errors="coerce")
    bounds = {"age": (0, 120), "mjoa": (0, 18), "weight": (1, 500)}[column]
    values = [*bad[bad.between(*bounds)], *map(float, rest)]
    summary = cohort_summary(cohort)[column]
    assert (summary["n"], summary["n_missing"]) == (known, PATIENTS - known)
    assert summary["mean"] == pytest.approx(np.mean(values))
    if column != "weight":
        assert int((levels(cohort, column)[0] != "").sum()) == known


def test_words_for_unknown_are_no_problem(run):
    words = ["", "unknown", "NA", "nan", "None"]
    edit(run, "patients.csv", set_cells("age", words))
    cohort = cohort_of(run)
    assert cohort.problems == []
    assert cohort_summary(cohort)["age"]["n_missing"] == len(words)


def test_a_decimal_comma_in_a_measured_column_is_reported_and_a_list_is_left_alone(run):
    edit(run, "patients.csv", lambda f: f.assign(bmi=["24,5", *["25"] * 23], operated=["5,6", *["C5"] * 23]))
    edit(run, "geometry.csv", set_cells("position_mm", ["0", "3,6"]))
    cohort = cohort_of(run)
    bmi, position = cohort.problems
    assert bmi.startswith("bmi in patients.csv must be a number with a decimal point: 1 of 24 values")
    assert "position_mm in geometry.csv" in position
    assert position.endswith("first '3,6' of line 3")
    assert levels(cohort, "bmi")[1] == ["25"]
    assert levels(cohort, "operated")[1] == ["5,6", "C5"]


def test_images_that_evaluation_could_not_read_are_told(run):
    (run / "metrics.json").write_text('{"n_unreadable": 0}')
    (run / "failures.csv").write_text("image,reason\n")
    cohort = cohort_of(run)
    assert (cohort.problems, cohort.facts["n_unreadable"]) == ([], 0)
    (run / "failures.csv").write_text('image,reason\n/a/one.dcm,"broken, cut"\n/a/two.dcm,empty\n')
    cohort = cohort_of(run)
    expected = "2 images could not be read by the evaluation, see failures.csv (first one.dcm: broken, cut)"
    assert cohort_summary(cohort)["problems"] == [expected]
    assert cohort_summary(cohort)["facts"]["n_unreadable"] == 2
    (run / "failures.csv").unlink()
    (run / "metrics.json").write_text('{"n_unreadable": 3}')
    assert cohort_of(run).problems == ["3 images could not be read by the evaluation, see failures.csv"]


def test_recalibrate_names_the_line_of_the_file_that_is_wrong(run, tmp_path):
    folder = simulated_runs.as_predict_output(run, tmp_path / "predicted")
    labels = run / "labels.csv"
    edit(run, "labels.csv", lambda frame: frame.sample(frac=1, random_state=0))
    whole = join(folder, labels)
    assert len(whole.slices) == len(cohort_of(run).predictions.slices)
    text = labels.read_text()
    edit(run, "labels.csv", set_cells("label", ["0", "0", "0", "0", "2"]))
    with pytest.raises(InputError, match=r"labels\.csv, line 6: label must be 0 or 1, got '2'"):
        join(folder, labels)
    labels.write_text(text)
    last = max(folder.glob("*/slices.csv"))
    edit(last.parent, last.name, set_cells("probability", ["0.5", "7"]))
    with pytest.raises(InputError, match=rf"{last.parent.name}/slices\.csv, line 3: probability"):
        join(folder, labels)


def test_a_slices_csv_of_version_0_2_0_is_read_where_there_is_no_geometry_csv(run):
    before = slice_column(cohort_of(run), "level")
    shutil.copy(run / "geometry.csv", run / "slices.csv")
    edit(run, "slices.csv", lambda frame: frame.assign(level="old"))
    pd.testing.assert_series_equal(slice_column(cohort_of(run), "level"), before)
    (run / "geometry.csv").unlink()
    cohort = cohort_of(run)
    assert cohort.problems == ["no geometry.csv: slices.csv, as `split` called it up to 0.2.0, was read in its place"]
    assert set(slice_column(cohort, "level")) == {"old"}
