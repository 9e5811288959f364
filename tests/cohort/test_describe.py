"""Table 1."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cohort_fixtures import patient_rows, patients, write_cohort
from csv_rows import read_rows, write_rows
from dicom_fixtures import write_series
from scipy import stats

from scripts.cohort.describe import describe
from scripts.cohort.split import split
from scripts.errors import InputError
from scripts.evaluation.groups import compare_means, compare_shares


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    folder = write_cohort(tmp_path_factory.mktemp("cohort"))
    write_series(folder / "dicom" / "P00", "P00", n=4, Manufacturer="Philips", PixelSpacing=[0.25, 0.5])
    rows = patient_rows()
    rows[3]["age"] = ""
    write_rows(folder / "patients.csv", rows)
    split(
        str(folder / "labels.csv"), str(folder / "patients.csv"), str(folder / "dicom"), str(folder / "datalist.json")
    )
    return folder


def run(cohort: Path, **options) -> list[dict[str, str]]:
    out = cohort / "table1.csv"
    describe(str(cohort / "datalist.json"), str(cohort / "patients.csv"), str(out), **options)
    return read_rows(out)


def test_the_table_holds_means_shares_tests_and_missing_counts(cohort):
    table = run(cohort)
    rows = {(row["variable"], row["level"]): row for row in table}
    age = rows["age, years", ""]
    assert int(age["n_first"]) + int(age["n_second"]) == 9
    assert int(age["missing_first"]) + int(age["missing_second"]) == 1
    assert age["test"] == "Welch's t"
    assert (rows["slices", ""]["first"], rows["slices", ""]["second"]) == ("28", "12")
    assert rows["compressed slices", ""]["first"] == "50.0%"
    assert rows["weight, kg", ""]["note"] == "too few values"
    assert rows["mJOA", ""]["note"] == "no spread"
    north = sum(int(rows["site", "North"][side].split(" ")[0]) for side in ("first", "second"))
    assert north == 6
    assert {level for variable, level in rows if variable == "maker" and level} == {"PHILIPS", "SIEMENS"}
    assert rows["sex", ""]["test"] == "Fisher's exact"
    text = (cohort / "table1.md").read_text()
    assert text.count("\n|") == len(table) + 1
    assert "| training,validation (7 patients) | testing (3 patients) |" in text


def test_pathology_and_implants_are_described_where_the_table_has_them(cohort, tmp_path):
    more = [
        {"pathology": ["HC", "DCM"][n % 2], "implants": "plate C5/C6" if n == 4 else "none"}
        for n, _ in enumerate(patients())
    ]
    write_rows(tmp_path / "patients.csv", [row | own for row, own in zip(patient_rows(), more, strict=True)])
    describe(str(cohort / "datalist.json"), str(tmp_path / "patients.csv"), str(tmp_path / "t.csv"))
    rows = read_rows(tmp_path / "t.csv")
    counts = {
        (row["variable"], row["level"]): sum(int(row[side].split(" ")[0]) for side in ("first", "second"))
        for row in rows
        if row["level"] and row["variable"] in ("pathology", "implants")
    }
    assert counts == {
        ("pathology", "HC"): 5, ("pathology", "DCM"): 5, ("implants", "none"): 9, ("implants", "plate C5/C6"): 1,
    }  # fmt: skip
    assert not {row["variable"] for row in run(cohort)} & {"pathology", "implants"}


def test_the_t_test_is_of_patients_and_not_of_slices(cohort):
    row = next(row for row in run(cohort) if row["variable"] == "age, years")
    ages = {name: 40 + number for number, name in enumerate(patients()) if number != 3}
    sections = {}
    for name in ("training", "validation", "testing"):
        from_list = json.loads((cohort / "datalist.json").read_text())[name]
        sections |= {one["patient_id"]: name == "testing" for one in from_list}
    groups = [[age for name, age in ages.items() if sections[name] is side] for side in (False, True)]
    expected = stats.ttest_ind(*groups, equal_var=False)
    assert float(row["statistic"]) == pytest.approx(expected.statistic, abs=1e-3)
    assert row["first"] == f"{np.mean(groups[0]):.2f} ± {np.std(groups[0], ddof=1):.2f}"


def test_two_datalists_are_compared_and_overlap_is_refused(cohort):
    both = {"other": str(cohort / "datalist.json"), "other_patients": str(cohort / "patients.csv")}
    assert run(cohort, **both, first="training", second="testing")
    with pytest.raises(InputError, match=r"\d patients are in both cohorts, first P\d\d"):
        run(cohort, **both, first="training", second="training")
    with pytest.raises(InputError, match="--other needs --other_patients"):
        run(cohort, other="x")


def test_a_patient_without_a_row_is_named(cohort, tmp_path):
    write_rows(tmp_path / "patients.csv", patient_rows()[:-1])
    with pytest.raises(InputError, match=r"patient P09 of .* is not in .*patients.csv"):
        describe(str(cohort / "datalist.json"), str(tmp_path / "patients.csv"), str(tmp_path / "t.csv"))
    assert not (tmp_path / "t.csv").exists()


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("patients.csv", r"would overwrite .*patients\.csv"),
        ("patients.md", r"would overwrite .*patients\.csv"),
        ("datalist.json", r"would overwrite .*datalist\.json"),
        ("", "is a folder"),
        ("dicom", "is a folder"),
        ("patients.csv/table1.csv", "is a file where a folder is needed"),
    ],
)
def test_describe_overwrites_none_of_its_inputs(cohort, out, message):
    tables = cohort / "datalist.json", cohort / "patients.csv"
    before = [path.read_bytes() for path in tables]
    with pytest.raises(InputError, match=message):
        describe(*map(str, tables), str(cohort / out))
    assert [path.read_bytes() for path in tables] == before


def test_markdown_asked_for_has_the_csv_beside_it(cohort, tmp_path):
    run(cohort)
    describe(str(cohort / "datalist.json"), str(cohort / "patients.csv"), str(tmp_path / "t.md"))
    assert (tmp_path / "t.csv").read_bytes() == (cohort / "table1.csv").read_bytes()
    assert (tmp_path / "t.md").read_bytes() == (cohort / "table1.md").read_bytes()


def test_one_sex_is_counted_once_however_it_is_written(cohort, tmp_path):
    spelt = dict(zip(patients(), ["M", "F", "male", "Female", "m", "f", "MALE", "female", "diverse", ""], strict=True))
    write_rows(tmp_path / "patients.csv", [row | {"sex": spelt[row["patient_id"]]} for row in patient_rows()])
    describe(str(cohort / "datalist.json"), str(tmp_path / "patients.csv"), str(tmp_path / "t.csv"))
    rows = [row for row in read_rows(tmp_path / "t.csv") if row["variable"] == "sex" and row["level"]]
    counts = {row["level"]: sum(int(row[side].split(" ")[0]) for side in ("first", "second")) for row in rows}
    assert counts == {"F": 4, "M": 4, "diverse": 1}


def test_empty_sections_are_passed_over_or_say_where_the_patients_are(cohort, tmp_path):
    tables = {"patients": str(cohort / "patients.csv"), "out": str(cohort / "t.csv")}
    content = json.loads((cohort / "datalist.json").read_text())
    content["training"], content["validation"] = content["training"] + content["validation"], []
    (cohort / "no_validation.json").write_text(json.dumps(content))
    describe(str(cohort / "no_validation.json"), **tables)
    content["testing"], content["training"] = content["testing"] + content["training"], []
    (cohort / "external.json").write_text(json.dumps(content))
    with pytest.raises(
        InputError, match=r"--first training,validation: .* hold no patients; testing \(10\) do\. .*--other"
    ):
        describe(str(cohort / "external.json"), **tables)
    with pytest.raises(InputError, match="no section 'train'"):
        describe(str(cohort / "datalist.json"), **tables, first="train")


def test_means_are_compared_by_welch_and_by_student():
    first, second = [1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 6.0, 8.0, 30.0]
    # Welch by hand: difference of means over the root of the summed variances of the means
    t = (np.mean(first) - np.mean(second)) / np.sqrt(np.var(first, ddof=1) / 4 + np.var(second, ddof=1) / 5)
    assert compare_means(first, second).statistic == pytest.approx(t)
    pooled = (3 * np.var(first, ddof=1) + 4 * np.var(second, ddof=1)) / 7
    student = (np.mean(first) - np.mean(second)) / np.sqrt(pooled * (1 / 4 + 1 / 5))
    assert compare_means(first, second, equal_variances=True).statistic == pytest.approx(student)


def test_shares_are_compared_by_chi_squared_fisher_or_not_at_all():
    # 30/70 against 50/50: Pearson's chi-squared is n (ad - bc)^2 / product of margins
    result = compare_shares(["a"] * 30 + ["b"] * 70, ["a"] * 50 + ["b"] * 50)
    assert (result.test, result.note) == ("chi-squared", "")
    assert result.statistic == pytest.approx(200 * (30 * 50 - 70 * 50) ** 2 / (100 * 100 * 80 * 120))
    tea = compare_shares(["milk"] * 3 + ["tea"], ["milk"] + ["tea"] * 3)  # Fisher's lady tasting tea, two-sided 34/70
    assert (tea.test, tea.p) == ("Fisher's exact", pytest.approx(34 / 70))
    assert compare_shares(["a", "b", "c"], ["a", "b", "b"]).note == "expected counts below 5"
    assert compare_shares(["a"], ["a"]).note == "one category"
    assert compare_shares([], ["a", "b"]).note == "too few values"
