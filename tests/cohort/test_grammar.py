"""One grammar of labels.csv and patients.csv, whoever reads them."""

from __future__ import annotations

import re

import pandas as pd
import pytest
import simulated_runs
from conftest import ROOT

from scripts import records
from scripts.cohort.cells import Problem, sentences
from scripts.cohort.labels import read_labels, read_patients
from scripts.errors import InputError
from scripts.phantom.cohort import make_cohort
from scripts.report.inputs.cohorts import read_cohort
from scripts.report.inputs.predicted import join


@pytest.fixture
def run(tmp_path):
    return simulated_runs.write(tmp_path / "run", 6, 41)


def edit(path, column, *cells):
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame.loc[: len(cells) - 1, column] = cells
    frame.to_csv(path, index=False)


@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [
        ("age", ["0", "120", "45.5", "unknown", ""], ["-1", "121", "45,5", "old"]),
        ("weight", ["1", "500", "NA"], ["0", "501", "70,5"]),
        ("height", ["0.3", "2.6", "nan"], ["170", "0.2", "1,70"]),
        ("mjoa", ["0", "18", "None"], ["-1", "19", "x"]),
    ],
)
def test_split_refuses_the_numbers_of_patients_that_the_report_takes_as_unknown(run, column, good, bad):
    path = run / "patients.csv"
    for cell in good:
        edit(path, column, cell)
        assert list(read_patients(path)) == list(read_cohort("internal", run, None, None).patients.index)
        assert read_cohort("internal", run, None, None).problems == []
    for cell in bad:
        edit(path, column, cell)
        with pytest.raises(InputError, match=rf"patients\.csv, line 2: {column} must be a number from"):
            read_patients(path)
        cohort = read_cohort("internal", run, None, None)
        (problem,) = cohort.problems
        assert problem.startswith(f"{column} in patients.csv must be a number from ")
        assert f"1 of 6 values are not and count as unknown, first '{cell}' of patient p0000" in problem
        assert cohort.patients[column].iloc[0] == ""


@pytest.mark.parametrize(
    ("column", "cell", "rule"),
    [
        ("status", "Evaluable", "status in labels.csv must be 'evaluable', or words why the slice is not"),
        ("status", "motion", "label in labels.csv must be left empty where the slice is 'motion'"),
        ("label", "", "label in labels.csv must be 0 or 1 where the slice is evaluable"),
        ("grade", "4", "grade in labels.csv must be a number from 0 to 3"),
        ("grade", "1.5", "grade in labels.csv must be 0, 1, 2 or 3"),
        ("t2_signal", "2", "t2_signal in labels.csv must be a number from 0 to 1"),
        ("t2_signal", "0.5", "t2_signal in labels.csv must be 0 or 1"),
        ("sop_uid", "1.2E+30", "sop_uid in labels.csv must be a UID"),
    ],
)
def test_split_refuses_the_labels_that_the_report_names_and_leaves_out(run, column, cell, rule):
    path = run / "labels.csv"
    before = len(read_labels(path))
    edit(path, column, cell)
    with pytest.raises(InputError, match=r"labels\.csv, line 2: "):
        read_labels(path)
    problems: list[Problem] = []
    labels = read_labels(path, problems)
    assert len(labels) == before
    assert sentences(problems, before)[0].startswith(rule)
    assert labels[0].label is None or column in ("grade", "t2_signal", "sop_uid")
    named = read_cohort("internal", run, None, None).problems
    assert any(one.startswith(rule) and "line 2" in one for one in named)


def test_a_label_that_pandas_wrote_as_a_decimal_number_is_a_label_everywhere(run, tmp_path):
    path = run / "labels.csv"
    before = [one.label for one in read_labels(path)]
    frame = pd.read_csv(path)
    assert frame["label"].dtype == float  # because slices that are not evaluable have none
    frame.to_csv(path, index=False)
    assert [one.label for one in read_labels(path)] == before
    assert len(join(simulated_runs.as_predict_output(run, tmp_path / "predicted"), path).slices) > 0


@pytest.mark.parametrize("text", ["2", "yes", "-1", "0.5", "1e0"])
def test_a_label_that_is_none_is_refused_by_everybody_alike(run, tmp_path, text):
    predicted = simulated_runs.as_predict_output(run, tmp_path / "predicted")
    edit(run / "labels.csv", "label", text)
    readers = (
        lambda: read_labels(run / "labels.csv"),
        lambda: read_cohort("internal", run, None, None),
        lambda: join(predicted, run / "labels.csv"),
    )
    for reader in readers:
        with pytest.raises(InputError, match=rf"labels\.csv, line 2: label must be 0 or 1, got '{text}'"):
            reader()


def test_columns_that_only_a_report_can_do_without_have_a_default(run):
    path = run / "labels.csv"
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame[frame["reading"] == "1"].drop(columns=["patient_id", "reading"]).to_csv(path, index=False)
    with pytest.raises(InputError, match="no column patient_id, reading"):
        read_labels(path)
    assert read_cohort("internal", run, None, None).problems == []
    assert {one.reading for one in read_labels(path, [])} == {"1"}


def test_the_page_names_every_column():
    page = (ROOT / "docs" / "cohort.md").read_text(encoding="utf-8")
    page = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`[^`]+`", page))))
    assert {*records.LABEL_COLUMNS, *records.PATIENT_COLUMNS} <= words


def test_tables_that_the_bundle_writes_have_the_columns_of_records(tmp_path):
    make_cohort(tmp_path / "phantom", patients=2, slices=2, matrix=64, distractors=False)
    for name, columns in (
        ("labels.csv", records.LABEL_COLUMNS),
        ("patients.csv", records.PATIENT_COLUMNS),
        ("geometry.csv", (*records.GEOMETRY_COLUMNS, *records.LEVEL_COLUMNS)),
    ):
        assert tuple(pd.read_csv(tmp_path / "phantom" / name).columns) == columns
    assert not (tmp_path / "phantom" / "slices.csv").exists()
