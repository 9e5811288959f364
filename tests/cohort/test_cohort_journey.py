"""From a disk of mixed studies and a spreadsheet to a trained network, as docs/cohort.md tells it."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pydicom
import pytest
from csv_rows import read_rows, write_rows

from scripts import datalists, records
from scripts.__main__ import main
from scripts.phantom.cohort import make_cohort
from scripts.runner import run_config


@pytest.fixture(scope="module")
def disk(tmp_path_factory) -> Path:
    """A disk with phantoms of two kinds, pydicom's test files, broken files, and raters' tables beside it."""
    folder = tmp_path_factory.mktemp("journey")
    labels, patients = [], []
    for style, n in (("tse", 8), ("gre", 4)):
        make_cohort(folder / style, patients=n, seed=n, style=style, slices=4, matrix=96, rle=style == "gre")
        shutil.copytree(folder / style / "dicom", folder / "disk" / f"{style} scans")
        patients += read_rows(folder / style / "patients.csv")
        labels += read_rows(folder / style / "labels.csv")
    shutil.copytree(Path(pydicom.__file__).parent / "data" / "test_files", folder / "disk" / "other")
    broken = folder / "disk" / "broken"
    broken.mkdir()
    whole = next(path for path in sorted((folder / "tse" / "dicom").rglob("*")) if path.is_file()).read_bytes()
    for name, content in {
        "cut": whole[:3000],
        "stub": whole[:300],
        "empty": b"",
        "noise": random.Random(0).randbytes(5000),
    }.items():
        (broken / name).write_bytes(content)
    write_rows(folder / "labels.csv", [row | {"role": "reference"} for row in labels])
    write_rows(folder / "patients.csv", patients)
    return folder


def run(*arguments: object, status: int = 0) -> None:
    assert main([str(argument) for argument in arguments]) == status


def decisions(folder: Path, out: Path, status: int) -> list[tuple[str, ...]]:
    run("index", folder, "--out", out, status=status)
    columns = ("decision", "reason", "n_slices", "spacing_mm", "te_ms", "rows")
    return sorted(tuple(row[column] for column in columns) for row in read_rows(out))


@pytest.mark.slow
def test_a_mixed_disk_becomes_a_cohort_that_trains(disk):
    before = decisions(disk / "disk", disk / "index.csv", status=1)  # there are broken files
    rows = read_rows(disk / "index.csv")
    files = [path for path in (disk / "disk").rglob("*") if path.is_file()]
    left_out = read_rows(disk / "index_unreadable.csv")
    multi_frame = sum(int(row["n_slices"]) - 1 for row in rows if row["multi_frame"] == "yes")
    assert sum(int(row["n_slices"]) for row in rows) - multi_frame + len(left_out) == len(files)
    accepted = [row for row in rows if row["decision"] == "accept"]
    assert [row["weighting"] for row in accepted].count("T2") == 8
    assert [row["weighting"] for row in accepted].count("T2*") == 4
    assert all("scans" in row["path"] for row in accepted)

    # other file names, in another order, decide nothing
    names = random.Random(1).sample(range(10**6), len(files))
    (disk / "shuffled").mkdir()
    for path, name in zip(files, names, strict=True):
        shutil.copy(path, disk / "shuffled" / str(name))
    assert decisions(disk / "shuffled", disk / "shuffled.csv", status=1) == before

    cohort, linkage = disk / "cohort", disk / "private" / "linkage.csv"
    tables = f"{disk / 'labels.csv'},{disk / 'patients.csv'}"
    run("deidentify", disk / "disk", cohort, linkage, "--tables", tables, status=1)
    after = decisions(cohort / "dicom", disk / "cohort.csv", status=0)
    assert [row for row in after if row[0] == "accept"] == [row for row in before if row[0] == "accept"]

    run("agree", cohort / "labels.csv", "--out", disk / "adjudicate.csv")
    assert main(["consensus", str(cohort / "labels.csv"), "--rulings", str(disk / "adjudicate.csv")]) == 2
    disputed = read_rows(disk / "adjudicate.csv")
    assert disputed
    write_rows(disk / "adjudicate.csv", [row | {"ruling": "1"} for row in disputed])
    run("consensus", cohort / "labels.csv", "--rulings", disk / "adjudicate.csv", "--out", cohort / "consensus.csv")
    run("split", cohort / "consensus.csv", cohort / "patients.csv", cohort / "dicom", "--out", cohort / "datalist.json")
    run("check-split", cohort / "datalist.json")
    run("describe", cohort / "datalist.json", cohort / "patients.csv", "--out", disk / "table1.csv")
    assert sum(len(datalists.load(cohort / "datalist.json", name)) for name in records.SECTIONS) == 12 * 4

    run_config(
        ["train.json", "quickstart.json"], max_epochs=1, image_size=64, dataset_dir=str(cohort),
        output_dir=str(disk / "run"), ckpt_dir=str(disk / "run"),
    )  # fmt: skip
    assert (disk / "run" / "model_last.pt").is_file()
