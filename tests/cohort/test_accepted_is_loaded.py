"""What `index` accepts and `split` takes can be trained on, evaluated and scored, whatever files it lies in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import SMALL
from csv_rows import read_rows, write_rows
from dicom_fixtures import uid, write_several
from tiny_models import SIZE, picture, write_t2

from scripts import datalists
from scripts.__main__ import main
from scripts.cohort.split import split as divide
from scripts.deidentification.command import deidentify
from scripts.errors import InputError
from scripts.inference.predict import predict
from scripts.records import SECTIONS, slice_key
from scripts.runner import run_config

KINDS = ("classic", "enhanced", "enhanced", "classic")
N = 3
LARGER = {**SMALL, "crop_fraction": 1.0}  # a crop of these small pictures is too small to be evaluated


def write_patient(folder: Path, name: str, kind: str) -> None:
    """Write three slices of a classic series, or six of two angles beside a first echo in one enhanced file."""
    pixels = {"PixelData": lambda index: picture(index + 100 * int(name[1:])).tobytes()}
    if kind == "classic":
        write_t2(folder / name, name, "T2", n=N, **pixels)
    else:
        write_several(folder / name, name, "E", n=N, Rows=SIZE, Columns=SIZE, PixelSpacing=[1.0, 1.0], **pixels)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kinds") / "cohort"
    names = [f"P{number}" for number in range(8)]
    for number, name in enumerate(names):
        write_patient(folder / "dicom", name, KINDS[number % len(KINDS)])
    assert main(["index", str(folder / "dicom"), "--out", str(folder / "index.csv")]) == 0
    rows = [
        {name: row[name] for name in ("patient_id", "series_uid", "sop_uid", "frame")}
        | {"rater": "a", "reading": "1", "role": "reference", "status": "evaluable", "label": number % 2}
        for number, row in enumerate(read_rows(folder / "index_slices.csv"))
    ]
    write_rows(folder / "labels.csv", rows)
    write_rows(folder / "patients.csv", [{"patient_id": name, "site": "North"} for name in names])
    return folder


def split(folder: Path) -> int:
    arguments = [folder / "labels.csv", folder / "patients.csv", folder / "dicom", "--out", folder / "datalist.json"]
    return main(["split", *map(str, arguments)])


def test_what_is_accepted_is_trained_on_evaluated_and_scored_slice_by_slice(cohort, tmp_path):
    accepted = {slice_key(row) for row in read_rows(cohort / "index_slices.csv")}
    assert len(accepted) == 4 * N + 4 * 2 * N
    assert split(cohort) == 0
    sections = {name: datalists.load(cohort / "datalist.json", name) for name in SECTIONS}
    assert {slice_key(entry) for entries in sections.values() for entry in entries} == accepted
    folders = {"dataset_dir": str(cohort), "output_dir": str(tmp_path), "ckpt_dir": str(tmp_path)}
    trained = run_config(["train.json"], max_epochs=1, **LARGER, **folders)
    for name, dataset in (("training", "train#dataset"), ("validation", "validate#dataset")):
        counts = trained.get_parsed_content(dataset).counts()
        assert (counts["slices"], counts["unreadable"]) == (len(sections[name]), 0)
    run_config(["train.json", "evaluate.json"], **LARGER, **folders)
    evaluated = {slice_key(row): float(row["logit"]) for row in read_rows(tmp_path / "predictions.csv")}
    assert evaluated.keys() == {slice_key(entry) for entry in sections["testing"]}
    out = tmp_path / "out"
    assert predict(str(cohort / "dicom"), out=str(out), weights=str(tmp_path / "model_last.pt")) == 0
    rows = [row for path in out.glob("*/slices.csv") for row in read_rows(path)]
    assert {slice_key(row) for row in rows} == accepted
    assert {row["status"] for row in rows} == {"scored"}
    reasons = [row["reason"].split(" (")[0] for row in read_rows(out / "failures.csv")]
    assert reasons == ["PD-weighted"] * 4


def test_zips_among_the_images_are_refused_by_split_and_copied_from_by_deidentify(tmp_path):
    write_patient(tmp_path / "in", "P0", "classic")
    write_patient(tmp_path / "in", "P1", "enhanced")
    shutil.make_archive(str(tmp_path / "dicom" / "study"), "zip", tmp_path / "in")
    (tmp_path / "dicom" / "notes.txt").write_text("no image")
    assert deidentify(str(tmp_path / "dicom"), str(tmp_path / "out"), str(tmp_path / "private" / "l.csv")) == 0
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == N + 1
    refused = read_rows(tmp_path / "private" / "l_refused.csv")
    assert [row["path"] for row in refused] == [str(tmp_path / "dicom" / "notes.txt")]
    plain = tmp_path / "plain"
    assert deidentify(str(tmp_path / "in"), str(plain), str(tmp_path / "private" / "l.csv")) == 0
    copied, expected = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.dcm")}
        for folder in (tmp_path / "out", plain)
    )
    assert copied == expected
    series = uid("P0", "T2")
    label = {"patient_id": "P0", "series_uid": series, "sop_uid": uid("P0", "T2", 0), "rater": "a", "reading": 1}
    write_rows(tmp_path / "labels.csv", [label | {"role": "reference", "status": "evaluable", "label": 1}])
    write_rows(tmp_path / "patients.csv", [{"patient_id": "P0", "site": "A"}])
    with pytest.raises(InputError, match=r"study\.zip is a zip \(1 in all\), and training needs files that stay"):
        divide(*(str(tmp_path / name) for name in ("labels.csv", "patients.csv", "dicom")), str(tmp_path / "d.json"),
               scheme="external")  # fmt: skip
