"""From labels, patients and images to datalists, and what must never get into one."""

from __future__ import annotations

import importlib
import inspect
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from cohort_fixtures import N_PATIENTS, N_SLICES, label_row, label_rows, patient_rows, patients, site, write_cohort
from conftest import ROOT
from csv_rows import read_rows, write_rows
from dicom_fixtures import uid, write_series
from PIL import Image
from pydicom import dcmread

from scripts import datalists, records
from scripts.__main__ import COMMANDS, check_complete, main, read_options
from scripts.cohort.adjudication import consensus
from scripts.cohort.leaks import check_split
from scripts.cohort.split import split
from scripts.errors import InputError
from scripts.phantom.cohort import make_cohort


@pytest.fixture(scope="module")
def master(tmp_path_factory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("master"))


@pytest.fixture
def cohort(master, tmp_path) -> Path:
    return shutil.copytree(master, tmp_path, dirs_exist_ok=True)


def run(cohort: Path, **options) -> dict:
    arguments = {name: str(cohort / f"{name}.csv") for name in ("labels", "patients")}
    split(**arguments, dicom=str(cohort / "dicom"), out=str(cohort / "datalist.json"), **options)
    return json.loads((cohort / "datalist.json").read_text())


def test_split_writes_every_labelled_slice_once_and_says_how(cohort):
    content = run(cohort, seed=3)
    entries = [one for section in records.SECTIONS for one in content[section]]
    assert len(entries) == N_PATIENTS * N_SLICES
    for one in entries:
        header = dcmread(cohort / one["image"], stop_before_pixels=True)
        assert (header.SOPInstanceUID, header.PatientID) == (one["sop_uid"], one["patient_id"])
        assert one["sop_uid"] == uid(one["patient_id"], "T2", one["slice_index"])
        assert one["label"] == int(one["slice_index"] >= N_SLICES // 2)
        assert one["site"] == site(one["patient_id"])
    assert content["seed"] == 3
    assert content["counts"]["testing"] == {"patients": 3, "slices": 12, "compressed_slices": 6}
    assert content["prevalence"] == {"training": 0.5, "validation": 0.5, "testing": 0.5}
    # North has 6: round(1.5) = 2 held out, 1 of 4 validates; South has 4: 1 held out, round(0.75) = 1 validates
    assert content["sites"]["North"] == {
        "training": 3, "validation": 1, "testing": 2, "holdout_share": 0.3333, "validation_share": 0.25,
    }  # fmt: skip
    assert content["sites"]["South"]["testing"] == 1
    assert {"monai", "pydicom", "numpy"} <= set(content["versions"])
    assert len(datalists.load(cohort / "datalist.json", "training")) == content["counts"]["training"]["slices"]


def test_neither_file_order_nor_row_order_changes_the_split(cohort, tmp_path):
    before = run(cohort)
    random.seed(0)
    rows = label_rows()
    write_rows(cohort / "labels.csv", random.sample(rows, len(rows)))
    for path in sorted((cohort / "dicom").rglob("*")):
        if path.is_file():
            path.rename(path.with_name(f"{random.random()}"))
    after = run(cohort)
    strip = [
        {(one["sop_uid"], one["slice_index"], s) for s in records.SECTIONS for one in c[s]} for c in (before, after)
    ]
    assert strip[0] == strip[1]


def test_folds_and_sites_get_a_datalist_each(cohort):
    with pytest.raises(FileNotFoundError):
        run(cohort, scheme="folds", folds=3)
    with pytest.raises(FileNotFoundError):
        run(cohort, scheme="leave-site-out")
    tested = [
        one["patient_id"]
        for n in (1, 2, 3)
        for one in json.loads((cohort / f"datalist_fold{n}.json").read_text())["testing"]
    ]
    assert sorted(tested) == sorted(p for p in patients() for _ in range(N_SLICES))
    south = json.loads((cohort / "datalist_South.json").read_text())
    assert {one["site"] for one in south["testing"]} == {"South"}
    assert {one["site"] for section in ("training", "validation") for one in south[section]} == {"North"}


def test_the_scheme_external_trains_on_nobody(cohort):
    content = run(cohort, scheme="external")
    assert [content["counts"][name]["patients"] for name in records.SECTIONS] == [0, 0, N_PATIENTS]


def test_geometry_csv_says_where_each_slice_lies_and_keeps_what_others_added(cohort):
    content = run(cohort)
    rows = read_rows(cohort / "geometry.csv")
    used = {records.slice_key(one): one for section in records.SECTIONS for one in content[section]}
    assert {records.slice_key(row) for row in rows} == set(used)
    for row in rows:
        header = dcmread(cohort / used[records.slice_key(row)]["image"], stop_before_pixels=True)
        assert float(row["position_mm"]) == pytest.approx(header.ImagePositionPatient[2], abs=1e-3)
        assert float(row["thickness_mm"]) == header.SliceThickness
        assert row["manufacturer"] == header.Manufacturer
    rows[0]["level"], rows[0]["position_mm"] = "C5/C6", "17"
    other = {**dict.fromkeys(rows[0], ""), "patient_id": "another", "series_uid": "1.2.3", "sop_uid": "1.2.4"}
    write_rows(cohort / "geometry.csv", [*rows, other])
    run(cohort)
    again = {records.slice_key(row): row for row in read_rows(cohort / "geometry.csv")}
    assert again[records.slice_key(rows[0])]["level"] == "C5/C6"
    assert again[records.slice_key(rows[0])]["position_mm"] != "17"
    assert again["1.2.3", "1.2.4", ""]["patient_id"] == "another"


def test_what_was_added_to_the_slices_csv_of_version_0_2_0_is_carried_over(cohort):
    run(cohort)
    rows = read_rows(cohort / "geometry.csv")
    (cohort / "geometry.csv").unlink()
    rows[0] |= {"position_mm": "17"}
    write_rows(cohort / "slices.csv", [row | {"level": f"C{n}"} for n, row in enumerate(rows)])
    old = (cohort / "slices.csv").read_bytes()
    run(cohort)
    again = {records.slice_key(row): row for row in read_rows(cohort / "geometry.csv")}
    assert [again[records.slice_key(row)]["level"] for row in rows] == [f"C{n}" for n in range(len(rows))]
    assert again[records.slice_key(rows[0])]["position_mm"] != "17"
    assert (cohort / "slices.csv").read_bytes() == old
    write_rows(cohort / "slices.csv", [row | {"level": "stale"} for row in rows])
    run(cohort)
    assert "stale" not in {row["level"] for row in read_rows(cohort / "geometry.csv")}


BAD_SLICES = {
    "other columns": ("name\nfoo\n", "line 1: no column series_uid, sop_uid; the header is name"),
    "a surplus cell": ("series_uid,sop_uid\n1.2,1.3,surplus\n", "line 2 has 3 cells where the header has 2"),
    "no bytes": ("", "line 1: no column series_uid, sop_uid; the header is empty"),
    "no rows": ("series_uid,sop_uid\n", "holds no rows below its header"),
    "a UID that a spreadsheet made a number": (
        "series_uid,sop_uid,level\n1.2E+20,1.2E+20,C3/C4\n1.2E+20,1.2E+20,C4/C5\n",
        r"line 2: series_uid '1.2E\+20' is no UID .*a spreadsheet turned it into a number",
    ),
    "a slice twice": (
        "series_uid,sop_uid,level\n1.2,1.3,C3/C4\n1.2,1.4,C3/C4\n1.2,1.3,C4/C5\n",
        r"line 4: this slice is there already \(.*geometry\.csv, line 2\); delete one",
    ),
}


@pytest.mark.parametrize("name", BAD_SLICES)
def test_a_geometry_csv_that_cannot_be_joined_is_not_overwritten(cohort, name):
    text, message = BAD_SLICES[name]
    (cohort / "geometry.csv").write_text(text)
    with pytest.raises(InputError, match=rf"(?s)geometry\.csv.*{message}.*correct it, or move it away"):
        run(cohort)
    assert (cohort / "geometry.csv").read_text() == text
    assert not (cohort / "datalist.json").exists()


def test_a_split_of_phantom_images_stays_a_phantom_cohort(cohort, tmp_path):
    assert run(cohort)["phantom"] is False
    folder = tmp_path / "phantom"
    make_cohort(folder, patients=4, slices=3, matrix=64, distractors=False)
    before = {records.slice_key(row): row for row in read_rows(folder / "geometry.csv")}
    labels, patients = str(folder / "consensus.csv"), str(folder / "patients.csv")
    consensus(str(folder / "labels.csv"), rulings=str(folder / "rulings.csv"), out=labels)
    split(labels, patients, dicom=str(folder / "dicom"), out=str(folder / "datalist.json"), force=True)
    assert all(one["phantom"] for one in datalists.load(folder / "datalist.json", "training"))
    for key, row in {records.slice_key(row): row for row in read_rows(folder / "geometry.csv")}.items():
        assert {name: row[name] for name in row if name != "position_mm"} == {
            name: before[key][name] for name in row if name != "position_mm"
        }


def test_slices_that_are_not_evaluable_are_left_out_and_counted(cohort):
    rows = label_rows()
    rows[0] |= {"status": "motion", "label": "", "grade": ""}
    write_rows(cohort / "labels.csv", rows)
    content = run(cohort)
    assert sum(n["slices"] for n in content["counts"].values()) == N_PATIENTS * N_SLICES - 1
    assert content["left_out"] == ["1 slices are not evaluable: motion"]


def test_grade_kind_and_t2_signal_reach_the_datalist_where_the_references_agree(cohort):
    rows = label_rows("ab", kind="none", t2_signal=0)
    rows[0] |= {"grade": "", "kind": "", "t2_signal": ""}  # slice 0 of P00, by a alone
    rows[1] |= {"grade": 2, "kind": "torsion", "t2_signal": 1}
    write_rows(cohort / "labels.csv", rows)
    content = run(cohort)
    entries = {one["sop_uid"]: one for section in records.SECTIONS for one in content[section]}
    names = ("grade", "kind", "t2_signal")
    known = {uid: {name: one[name] for name in names if name in one} for uid, one in entries.items()}
    assert known.pop(rows[0]["sop_uid"]) == known.pop(rows[1]["sop_uid"]) == {}
    assert len(known) == N_PATIENTS * N_SLICES - 2
    for row in rows[2 : N_PATIENTS * N_SLICES]:
        assert known[row["sop_uid"]] == {"grade": row["grade"], "kind": "none", "t2_signal": 0}
    loaded = datalists.load(cohort / "datalist.json", "training")
    assert {one.get("kind") for one in loaded} <= {"none", None}


def change_labels(change):
    def apply(cohort: Path) -> None:
        rows = label_rows()
        rows = change(rows) or rows
        write_rows(cohort / "labels.csv", rows)

    return apply


def change_patients(change):
    def apply(cohort: Path) -> None:
        rows = patient_rows()
        rows = change(rows) or rows
        write_rows(cohort / "patients.csv", rows)

    return apply


def rewrite(name: str, encoding: str, *changes: str):
    """Replace texts, given as old, new, old, new, …"""

    def apply(cohort: Path) -> None:
        text = (cohort / name).read_text(encoding="utf-8")
        for old, new in zip(changes[::2], changes[1::2], strict=True):
            text = text.replace(old, new)
        (cohort / name).write_bytes(text.encode(encoding))

    return apply


BAD = {
    "a label for a slice that does not exist": (
        change_labels(lambda rows: rows[5].update(sop_uid="1.2.3")),
        r"labels.csv, line 7: no slice with series_uid .*, sop_uid 1.2.3, frame \(empty\) among the images \(1 of 40",
    ),
    "a slice without label": (
        change_labels(lambda rows: rows[:-1]),
        r"1 of 4 slices have no label, from caudal number 4, first .*P09.*--force true",
    ),
    "two rows by one rater for one slice": (
        change_labels(lambda rows: [*rows, label_row("P00", 0)]),
        r"labels.csv, line 42: rater a has already labelled this slice in reading 1 \(.*labels.csv, line 2\); delete",
    ),
    "a label 2": (change_labels(lambda rows: rows[0].update(label=2)), "line 2: label must be 0 or 1, got '2'"),
    "an empty label": (change_labels(lambda rows: rows[0].update(label="")), "line 2: label must be 0 or 1, got ''"),
    "a grade 4": (change_labels(lambda rows: rows[0].update(grade=4)), "line 2: grade must be a number from 0 to 3"),
    "a label on what is not evaluable": (change_labels(lambda rows: rows[0].update(status="motion")), "leave it empty"),
    "a status that is an answer": (
        change_labels(lambda rows: rows[0].update(status="Evaluable", label="")),
        "line 2: status must be 'evaluable', or words why the slice is not, got 'Evaluable'",
    ),
    "an unknown role": (change_labels(lambda rows: rows[0].update(role="boss")), "role must be reference or reader"),
    "two roles of one rater": (
        change_labels(lambda rows: rows[3].update(role="reader")),
        "line 5: rater a is reader here and reference in .*line 2; nobody may be judged against a reference",
    ),
    "references that disagree": (
        change_labels(lambda rows: [*rows, label_row("P00", 0, "b", label=1)]),
        r"1 slices have references that disagree, first .* \(a, b\); settle them with",
    ),
    "readers only": (
        change_labels(lambda rows: [row | {"role": "reader"} for row in rows]),
        "holds no rows with role 'reference'",
    ),
    "a patient who is not in patients.csv": (
        change_patients(lambda rows: rows[:-1]),
        r"labels.csv, line 38: patient 'P09' is not in .*patients.csv \(1 such patients\)",
    ),
    "labels of another patient": (
        change_labels(lambda rows: [row.update(patient_id="P01") for row in rows[:N_SLICES]] and None),
        "line 2: patient_id is not the PatientID of ",
    ),
    "a series of two patients": (
        change_labels(lambda rows: rows[1].update(patient_id="P05")),
        "line 3: series .* belongs to patient P05 here and to P00",
    ),
    "a patient twice": (
        change_patients(lambda rows: [*rows, rows[0]]),
        r"patients.csv, line 12: patient P00 is there already \(.*line 2\)",
    ),
    "a patient without site": (change_patients(lambda rows: rows[2].update(site="")), "line 4: site is empty"),
    "an age in words": (
        change_patients(lambda rows: rows[2].update(age="old")),
        "patients.csv, line 4: age must be a number from 0 to 120, got 'old'",
    ),
    "a decimal comma": (
        change_patients(lambda rows: rows[2].update(age="44,5")),
        "age must be a number from 0 to 120, got '44,5'; use a decimal point",
    ),
    "a date in place of a score": (
        change_patients(lambda rows: rows[2].update(mjoa="14.02.2024")),
        "mjoa must be a number from 0 to 18, got '14.02.2024'; a spreadsheet turned it into a date",
    ),
    "a site with one patient": (
        change_patients(lambda rows: rows[4].update(site="Alone")),
        r"patients.csv, line 6: site 'Alone' has one patient \(P04\), who cannot be divided",
    ),
    "a UID as a number": (
        change_labels(lambda rows: rows[0].update(series_uid="2,25E+35")),
        "line 2: series_uid '2,25E\\+35' is no UID .*a spreadsheet turned it into a number",
    ),
    "Latin-1": (rewrite("patients.csv", "latin-1", "North", "Köln"), "patients.csv, line 2 is not UTF-8"),
    "semicolons": (rewrite("labels.csv", "utf-8", ",", ";"), "labels.csv, line 1: cells are separated by semicolons"),
    "tabs": (rewrite("labels.csv", "utf-8", ",", "\t"), "labels.csv, line 1: cells are separated by tabs"),
    "a missing column": (rewrite("labels.csv", "utf-8", "status", "state"), "labels.csv, line 1: no column status"),
    "a misspelt column": (rewrite("patients.csv", "utf-8", "mjoa", "mJOA"), "column 'mJOA' should be spelt 'mjoa'"),
    "a cell in a column without name": (
        rewrite("patients.csv", "utf-8", "\n", ",,\n", ",14,,\n", ",14,,x\n"),
        "patients.csv, line 2: cell 8 holds 'x', but column 8 has no name in line 1",
    ),
    "a column twice": (rewrite("patients.csv", "utf-8", "region", "age"), "column age is there twice; delete or"),
    "a line with too many cells": (rewrite("labels.csv", "utf-8", "P03,", "P03,,"), "line 14 has 10 cells where"),
    "an open quote": (rewrite("labels.csv", "utf-8", "P03,", '"P03,'), "is no valid CSV"),
    "no rows": (lambda cohort: (cohort / "labels.csv").write_text("patient_id\n"), "no column series_uid"),
    "no file": (lambda cohort: (cohort / "labels.csv").unlink(), "labels.csv cannot be read: No such file"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_the_place_and_nothing_is_written(cohort, name):
    change, message = BAD[name]
    change(cohort)
    with pytest.raises(InputError, match=f"(?s){message}"):
        run(cohort)
    assert not (cohort / "datalist.json").exists()


@pytest.mark.parametrize(("content", "others"), [((), 0), (("notes.txt", "photo.dcm"), 2)])
def test_a_folder_without_images_is_named_rather_than_the_labels(cohort, content, others):
    (cohort / "other").mkdir()
    for name in content:
        (cohort / "other" / name).write_text("no image")
    with pytest.raises(InputError, match=rf"other holds no DICOM image \({others} other files\); .*--dicom"):
        split(str(cohort / "labels.csv"), str(cohort / "patients.csv"), str(cohort / "other"), str(cohort / "d.json"))
    assert not (cohort / "d.json").exists()


def test_columns_without_name_and_content_are_no_trouble(cohort):
    before = run(cohort)
    for name in ("labels.csv", "patients.csv"):
        lines = (cohort / name).read_text().splitlines()
        (cohort / name).write_text("".join(f",{line},, \n" for line in lines))
    assert run(cohort)["training"] == before["training"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1.5}, "--seed must be a whole number from 0, written in digits, got 1.5"),
        ({"seed": -1}, "--seed must be a whole number from 0"),
        ({"folds": 2.5, "scheme": "folds"}, "--folds must be a whole number from 2"),
        ({"holdout": 1}, "--holdout must be a share from 0 to below 1"),
        ({"scheme": "loso"}, "--scheme must be holdout, folds, leave-site-out, external, got 'loso'"),
    ],
)
def test_split_checks_its_options(cohort, options, message):
    with pytest.raises(InputError, match=message):
        run(cohort, **options)
    assert not (cohort / "geometry.csv").exists()


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (".", "is a folder; give the name of a file"),
        ("labels.csv", r"would overwrite .*labels\.csv, which must stay"),
        ("dicom/../patients.csv", r"would overwrite .*patients\.csv, which must stay"),
        ("geometry.csv", r"would overwrite .*geometry\.csv, which must stay"),
        ("labels.csv/datalist.json", "is a file where a folder is needed"),
    ],
)
def test_split_refuses_where_it_must_not_write_and_writes_nothing(cohort, out, message):
    before = {path: path.read_bytes() for path in cohort.parent.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=message):
        split(str(cohort / "labels.csv"), str(cohort / "patients.csv"), str(cohort / "dicom"), str(cohort / out))
    assert {path: path.read_bytes() for path in cohort.parent.rglob("*") if path.is_file()} == before


def test_two_patients_at_every_site_fill_every_section(cohort):
    write_rows(cohort / "patients.csv", [row | {"site": f"S{n // 2}"} for n, row in enumerate(patient_rows())])
    counts = run(cohort)["counts"]
    # 25 % of 10 is 2.5, rounded to 2; of the 8 who remain 2; by sites of two alone each would be 0
    assert [counts[name]["patients"] for name in records.SECTIONS] == [6, 2, 2]


def test_a_section_that_nobody_is_left_for_is_refused_unless_forced_or_not_asked_for(cohort):
    rows = [row for row in label_rows() if row["patient_id"] in ("P00", "P01")]
    write_rows(cohort / "labels.csv", rows)
    message = r"2 patients leave nobody for validation \(1 training, 0 validation, 1 testing\)"
    with pytest.raises(InputError, match=message):
        run(cohort)
    assert not (cohort / "geometry.csv").exists()
    assert run(cohort, validation=0)["counts"]["validation"]["patients"] == 0
    assert "2 patients leave nobody for validation" in " ".join(run(cohort, force=True)["left_out"])


def test_sites_that_would_share_a_datalist_are_refused(cohort):
    rows = [row | {"site": ["Site A", "Site-A"][n % 2]} for n, row in enumerate(patient_rows())]
    write_rows(cohort / "patients.csv", rows)
    with pytest.raises(InputError, match="sites 'Site A' and 'Site-A' differ only in punctuation or case"):
        run(cohort, scheme="leave-site-out")
    assert not list(cohort.glob("datalist*"))


@pytest.mark.parametrize("command", ["split", "check-split", "agree", "consensus", "describe"])
def test_help_shows_every_word_of_the_docstring(command, capsys):
    module, name = COMMANDS[command][0], command.replace("-", "_")
    documented = inspect.getdoc(getattr(importlib.import_module(f"scripts.{module}"), name))
    assert main([command, "--help"]) == 0
    words = set(capsys.readouterr().out.split())
    names = set(inspect.signature(getattr(importlib.import_module(f"scripts.{module}"), name)).parameters)
    assert [word for word in documented.split() if word not in words and word.rstrip(":") not in {*names, "Args"}] == []


def test_the_page_keeps_the_index_of_the_originals_private_and_its_commands_exist():
    page = (ROOT / "docs" / "cohort.md").read_text(encoding="utf-8")
    lines = [line.split() for block in page.split("```")[1::2] for line in block.splitlines() if line]
    commands = [line[3:] for line in lines if line[:3] == ["python", "-m", "scripts"]]
    for name, *arguments in commands:
        module, function = COMMANDS[name][0], name.replace("-", "_")
        command = getattr(importlib.import_module(f"scripts.{module}"), function)
        check_complete(name, command, *read_options(command, arguments))
    assert lines[0][0] == "mkdir"
    assert [command for command in commands if "/disk" in command] == [
        ["index", "/disk", "--out", f"{lines[0][-1]}/index.csv"],
        ["deidentify", "/disk", "cohort", f"{lines[0][-1]}/linkage.csv", "--tables", "labels.csv,patients.csv"],
    ]
    assert ["index", "cohort/dicom", "--out", "index.csv"] in commands


def test_force_goes_on_with_what_can_be_left_out(cohort):
    write_rows(cohort / "labels.csv", label_rows()[:-1])
    assert sum(n["slices"] for n in run(cohort, force=True)["counts"].values()) == N_PATIENTS * N_SLICES - 1


def test_labels_of_a_refused_series_need_force(cohort):
    write_series(cohort / "dicom" / "P00", "P00", n=N_SLICES, EchoTime="20")
    with pytest.raises(
        InputError, match=r"line 2: the slice's series is refused: PD-weighted \(TE 20 ms.*--force true"
    ):
        run(cohort)
    assert "4 labelled slices of refused series are used (forced)" in run(cohort, force=True)["left_out"]


def test_a_bom_and_spaces_are_no_trouble(cohort):
    text = (cohort / "labels.csv").read_text()
    (cohort / "labels.csv").write_bytes(b"\xef\xbb\xbf" + text.replace(",a,", ", a ,").encode())
    assert run(cohort)["counts"]["training"]["patients"] == 5


def copy_into_another_patient(cohort: Path, source: str, target: str, **changes) -> None:
    """Give two patients one picture, under other UIDs."""
    donor = sorted((cohort / "dicom" / source).iterdir())
    for path, own in zip(donor, sorted((cohort / "dicom" / target).iterdir()), strict=True):
        ds, mine = dcmread(path), dcmread(own)
        for keyword, value in changes.items():
            setattr(mine, keyword, value)
        mine.PixelData = ds.PixelData
        mine.save_as(own)


def training_and_testing_patient(content: dict) -> tuple[str, str]:
    """Name a patient in training and one in testing."""
    return content["training"][0]["patient_id"], content["testing"][0]["patient_id"]


def test_one_picture_on_both_sides_is_refused_even_under_other_uids(cohort):
    train, test = training_and_testing_patient(run(cohort))
    (cohort / "datalist.json").unlink()
    copy_into_another_patient(cohort, train, test)
    with pytest.raises(
        InputError, match=r"(?s)would leak, nothing is written:\n  4 pictures in two sections:.*training.*testing"
    ):
        run(cohort, force=True)
    assert not (cohort / "datalist.json").exists()


def test_one_study_on_both_sides_is_refused(cohort):
    train, test = training_and_testing_patient(run(cohort))
    for path in (cohort / "dicom" / test).iterdir():
        ds = dcmread(path)
        ds.StudyInstanceUID = uid(train)
        ds.save_as(path)
    with pytest.raises(InputError, match="1 study in two sections"):
        run(cohort)


def test_check_split_passes_what_split_wrote_and_finds_each_kind_of_leak(cohort, capsys):
    content = run(cohort)
    assert check_split(str(cohort / "datalist.json")) == 0
    assert "no patient, study, series or picture is in two sections" in capsys.readouterr().out
    content["testing"].append(content["training"][0])  # what shuffling slices does
    (cohort / "shuffled.json").write_text(json.dumps(content))
    assert main(["check-split", str(cohort / "shuffled.json")]) == 2
    message = capsys.readouterr().err
    for kind in ("1 patient in", "1 study in", "1 series in", "1 picture in"):
        assert kind in message


def with_persons(cohort: Path, persons: dict[str, str]) -> None:
    """Add who the patients are to patients.csv; empty where nothing is known."""
    rows = [row | {"person": persons.get(row["patient_id"], "")} for row in patient_rows()]
    write_rows(cohort / "patients.csv", rows)


def sections_of(content: dict) -> dict[str, str]:
    return {one["patient_id"]: section for section in records.SECTIONS for one in content[section]}


def test_two_visits_of_a_person_are_divided_together_whatever_the_seed(cohort):
    with_persons(cohort, {"P01": "A", "P08": "A", "P02": "B", "P09": "B"})
    found = set()
    for seed in range(6):
        content = run(cohort, seed=seed)
        section = sections_of(content)
        assert section["P01"] == section["P08"]
        assert section["P02"] == section["P09"]
        assert set(section) == set(patients())
        assert check_split(str(cohort / "datalist.json")) == 0
        found |= {section["P01"], section["P02"]}
    assert len(found) > 1
    person = {one["patient_id"]: one["person"] for name in records.SECTIONS for one in content[name]}
    assert (person["P01"], person["P08"], person["P00"]) == ("A", "A", "P00")
    loaded = datalists.load(cohort / "datalist.json", "training")
    assert all(one["person"] == person[one["patient_id"]] for one in loaded)


def test_a_person_may_be_named_by_the_patient_id_of_another_visit_and_unknown_is_nobody(cohort):
    with_persons(cohort, {"P08": "P01", "P03": "unknown", "P04": "NA", "P05": "none"})
    section = sections_of(content := run(cohort))
    assert section["P01"] == section["P08"]
    person = {one["patient_id"]: one["person"] for name in records.SECTIONS for one in content[name]}
    assert len(set(person.values())) == N_PATIENTS - 1


def test_without_a_column_person_the_split_is_that_of_0_2_0(cohort):
    """The sections were recorded with version 0.2.0."""
    section = sections_of(content := run(cohort, seed=3))
    assert [section[name][:2] for name in patients()] == ["te", "tr", "te", "tr", "tr", "va", "te", "va", "tr", "tr"]
    for section in records.SECTIONS:
        for one in content[section]:
            known = ("image", "label", "patient_id", "site", "series_uid", "sop_uid", "frame", "slice_index")
            assert tuple(name for name in one if name not in ("grade", "kind", "t2_signal")) == known


def test_leaving_a_site_out_names_the_visits_that_are_in_no_section(cohort, capsys):
    with_persons(cohort, {"P01": "A", "P08": "A"})
    with pytest.raises(FileNotFoundError):
        run(cohort, scheme="leave-site-out")
    said = "datalist_South.json: 1 patients are in no section, because a visit of theirs at another site is tested: P01"
    assert said in capsys.readouterr().out
    south = json.loads((cohort / "datalist_South.json").read_text())
    north = json.loads((cohort / "datalist_North.json").read_text())
    assert set(patients()) - set(sections_of(south)) == {"P01"}
    assert set(patients()) - set(sections_of(north)) == {"P08"}
    assert any("in no section" in note and note.endswith(": P01") for note in south["left_out"])
    assert south["sites"]["North"]["training"] + south["sites"]["North"]["validation"] == 5
    assert check_split(str(cohort / "datalist_South.json")) == 0


def test_a_site_whose_patients_are_one_person_cannot_be_divided(cohort):
    rows = [row | {"person": ""} for row in patient_rows()]
    for number in (4, 7):
        rows[number] |= {"site": "Alone", "person": "A"}
    write_rows(cohort / "patients.csv", rows)
    with pytest.raises(InputError, match=r"line 6: site 'Alone' has one patient \(P04\), who cannot be divided"):
        run(cohort)


def test_check_split_finds_a_person_with_other_patient_ids_in_two_sections(cohort, capsys):
    """As where a datalist was put together from the lists of two hospitals."""
    with_persons(cohort, {})
    content = run(cohort)
    capsys.readouterr()
    assert check_split(str(cohort / "datalist.json")) == 0
    assert "no patient, person, study, series or picture is in two sections" in capsys.readouterr().out
    for section in ("training", "testing"):
        known = content[section][0]["patient_id"]
        content[section] = [one | {"person": "A"} if one["patient_id"] == known else one for one in content[section]]
    (cohort / "leaking.json").write_text(json.dumps(content))
    assert main(["check-split", str(cohort / "leaking.json")]) == 2
    message = capsys.readouterr().err
    assert "1 person in two sections:\n    A: training" in message
    assert "patient in two" not in message


def test_check_split_compares_pictures_of_other_formats(tmp_path):
    rng = np.random.default_rng(0)
    for name in "abc":
        Image.fromarray(rng.integers(0, 255, (16, 16)).astype(np.uint8)).save(tmp_path / f"{name}.png")
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "blank.png")
    shutil.copy(tmp_path / "a.png", tmp_path / "renamed.png")
    shutil.copy(tmp_path / "blank.png", tmp_path / "blank2.png")

    def write(train: list[str], test: list[str]) -> str:
        lists = {"train": [{"image": f"{n}.png"} for n in train], "test": [{"image": f"{n}.png"} for n in test]}
        (tmp_path / "list.json").write_text(json.dumps(lists))
        return str(tmp_path / "list.json")

    assert check_split(write(["a", "b", "blank"], ["c", "blank2"])) == 0
    with pytest.raises(InputError, match=r"(?s)1 picture in two sections.*a\.png.*renamed\.png"):
        check_split(write(["a", "b"], ["c", "renamed"]))
    with pytest.raises(InputError, match=r"absent\.png cannot be read as an image"):
        check_split(write(["a"], ["absent"]))


def test_check_split_accepts_an_external_cohort_and_no_other_single_list(cohort, capsys):
    run(cohort, scheme="external")
    assert check_split(str(cohort / "datalist.json")) == 0
    assert "all 40 items are in section testing, so there is nothing to compare" in capsys.readouterr().out
    image = {"image": "x.nii.gz"}
    (cohort / "decathlon.json").write_text(json.dumps({"training": [image], "left_out": ["2 slices"]}))
    with pytest.raises(InputError, match="1 lists of items with an 'image'"):
        check_split(str(cohort / "decathlon.json"))


def test_check_split_names_a_folder_without_files(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.json").write_text(json.dumps({name: [{"image": "empty"}] for name in ("train", "test")}))
    with pytest.raises(InputError, match="empty is a folder without files"):
        check_split(str(tmp_path / "list.json"))


def test_a_constant_picture_is_no_leak(cohort):
    for patient in patients():
        for path in (cohort / "dicom" / patient).iterdir():
            ds = dcmread(path)
            if ds.InstanceNumber == 1:
                ds.PixelData = bytes(len(ds.PixelData))
                ds.save_as(path)
    assert run(cohort)["counts"]["training"]["patients"] == 5


def test_images_outside_the_datalists_folder_are_refused(cohort, tmp_path):
    with pytest.raises(InputError, match=r"lies outside .*put the datalist"):
        split(
            str(cohort / "labels.csv"), str(cohort / "patients.csv"), str(cohort / "dicom"),
            str(tmp_path / "elsewhere" / "datalist.json"),
        )  # fmt: skip


def test_read_rows_round_trip(cohort):
    assert read_rows(cohort / "labels.csv")[0]["patient_id"] == "P00"
