"""What can be known without images is refused before a header is read; and what other systems lack."""

from __future__ import annotations

import builtins

import pytest
from cohort_fixtures import label_rows, patient_rows
from csv_rows import read_rows, write_rows
from dicom_fixtures import write_series

from scripts.cohort import index as index_module
from scripts.cohort.describe import describe
from scripts.cohort.index import index
from scripts.cohort.split import split
from scripts.deidentification import linkage as linkage_module
from scripts.deidentification.command import deidentify
from scripts.errors import InputError


@pytest.fixture
def no_images(monkeypatch):
    """Let every look at an image fail."""

    def look(*args, **options):
        raise AssertionError("an image was looked at")

    for name in ("deidentification.copying.list_files", "dicom.sources.scan", "dicom.listings.list_files",
                 "dicom.frames.read_frames"):  # fmt: skip
        monkeypatch.setattr(f"scripts.{name}", look)


@pytest.fixture
def tables(tmp_path):
    (tmp_path / "dicom").mkdir()
    write_rows(tmp_path / "labels.csv", label_rows())
    write_rows(tmp_path / "patients.csv", patient_rows())
    return tmp_path


def run_split(folder, **options):
    arguments = {"labels": folder / "labels.csv", "patients": folder / "patients.csv", "dicom": folder / "dicom"}
    return split(**{name: str(path) for name, path in arguments.items()}, **{"out": str(folder / "d.json"), **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheme": "folds", "folds": 11}, "expected 2 to 10 folds for 10 patients"),
        ({"holdout": 0.9}, "leave nobody for validation"),
        ({"out": "elsewhere/d.json"}, "lies outside .*put the datalist"),
    ],
)
def test_split_checks_tables_and_division_before_it_looks_at_images(tables, no_images, options, message):
    if "out" in options:
        options = {"out": str(tables / options["out"])}
    with pytest.raises(InputError, match=message):
        run_split(tables, **options)
    assert not (tables / "elsewhere").exists()


@pytest.mark.parametrize("change", ["unknown patient", "one patient at a site", "no images' folder"])
def test_split_checks_patients_before_it_looks_at_images(tables, no_images, change):
    rows = patient_rows()
    if change == "unknown patient":
        rows, message = rows[1:], "patient 'P00' is not in"
    elif change == "one patient at a site":
        rows[0]["site"], message = "Alone", "site 'Alone' has one patient"
    else:
        (tables / "dicom").rmdir()
        message = "does not exist; expected the folder with the images"
    write_rows(tables / "patients.csv", rows)
    with pytest.raises(InputError, match=message):
        run_split(tables)


def test_index_checks_where_it_writes_before_it_looks_at_images(tables, no_images):
    with pytest.raises(InputError, match="is a folder; give the name of a file"):
        index(str(tables), out=str(tables / "dicom"))
    (tables / "x_slices.csv").mkdir()
    with pytest.raises(InputError, match=r"x_slices\.csv is a folder"):
        index(str(tables), out=str(tables / "x.csv"))


def test_deidentify_reads_tables_before_it_looks_at_images(tables, no_images):
    write_rows(tables / "patients.csv", [row | {"surname": "x"} for row in patient_rows()])
    names = f"{tables / 'absent.csv'},{tables / 'patients.csv'}"
    with pytest.raises(InputError, match=r"(?s)absent\.csv cannot be read.*column surname might identify"):
        deidentify(str(tables / "dicom"), str(tables / "out"), str(tables / "l.csv"), tables=names)


def test_describe_checks_both_cohorts_before_it_looks_at_images(tables, monkeypatch):
    image = write_series(tables / "dicom", "P00", n=1)[0]
    entry = {"image": image.relative_to(tables).as_posix(), "label": 0, "patient_id": "P00", "series_uid": "1"}
    sections = {"training": [entry], "validation": [], "testing": [{**entry, "patient_id": "P77"}]}
    from scripts.files import write_json

    write_json(tables / "d.json", sections)
    monkeypatch.setattr("scripts.dicom.frames.read_frames", None)
    with pytest.raises(InputError, match=r"patient P77 of .* is not in"):
        describe(str(tables / "d.json"), str(tables / "patients.csv"), str(tables / "t.csv"), first="training")


def test_without_the_module_resource_the_index_says_that_memory_is_not_known(tmp_path, monkeypatch, capsys):
    write_series(tmp_path / "in", "P1", n=2)
    real = builtins.__import__

    def without(name, *args, **options):
        if name == "resource":
            raise ModuleNotFoundError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    assert index_module.index(str(tmp_path / "in"), out=str(tmp_path / "i.csv"), benchmark=True) == 0
    assert "not known on this system" in capsys.readouterr().out


def test_where_modes_mean_nothing_a_linkage_table_is_taken_and_the_command_says_where_to_keep_it(
    tmp_path, monkeypatch, capsys
):
    write_series(tmp_path / "in", "P1", n=2)
    secret = tmp_path / "linkage.csv"
    deidentify(str(tmp_path / "in"), str(tmp_path / "first"), str(secret))
    assert "note: this system" not in capsys.readouterr().out
    secret.chmod(0o666)  # what Windows shows for every file
    with pytest.raises(InputError, match="can be read by others; run chmod 600"):
        deidentify(str(tmp_path / "in"), str(tmp_path / "second"), str(secret))
    for module in (linkage_module.__name__, "scripts.deidentification.command"):
        monkeypatch.setattr(f"{module}.NO_MODES", True)
    assert deidentify(str(tmp_path / "in"), str(tmp_path / "second"), str(secret)) == 0
    assert "keep it where only you can read" in capsys.readouterr().out
    assert read_rows(secret)[0]["kind"] == "key"
    assert (tmp_path / "linkage_refused.csv").is_file()
