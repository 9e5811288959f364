"""The index command."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from csv_rows import read_rows
from dicom_fixtures import SAGITTAL, axial_t2, uid, write, write_series
from pydicom.uid import RLELossless

from scripts.__main__ import main
from scripts.cohort.index import index


def test_index_accounts_for_every_file(tmp_path, capsys):
    disk = tmp_path / "disk"
    write_series(disk / "A" / "deep" / "deeper", "A")
    write_series(disk / "A", "A", "T1", n=4, EchoTime="10", RepetitionTime="500", BodyPartExamined="HEAD")
    write_series(
        disk / "B", "B", "sag", n=3, ImageOrientationPatient=list(SAGITTAL),
        ImagePositionPatient=lambda index: [3.0 * index, 0, 0],
    )  # fmt: skip
    (disk / "B" / "report.txt").write_text("no image")
    shutil.copy(next((disk / "B").glob("[0-9a-f]*")), disk / "copy")
    assert index(str(disk), str(tmp_path / "index.csv"), workers=1) == 0
    rows = read_rows(tmp_path / "index.csv")
    assert [(row["path"], row["decision"], row["reason"].split(" (")[0], row["n_slices"]) for row in rows] == [
        ("A", "refuse", "T1-weighted", "4"),
        ("A/deep/deeper", "accept", "axial T2", "5"),
        ("B", "refuse", "sagittal", "3"),
    ]
    assert rows[0]["warnings"] == "BodyPartExamined says HEAD"
    assert (rows[1]["field_t"], rows[1]["row_spacing_mm"], rows[1]["spacing_mm"]) == ("3", "0.5", "3")
    slices = read_rows(tmp_path / "index_slices.csv")
    assert [row["sop_uid"] for row in slices] == [uid("A", "T2", number) for number in range(5)]
    assert [row["slice_index"] for row in slices] == list("01234")
    assert all((disk / row["path"]).is_file() for row in slices)
    left_out = {row["path"]: row["reason"] for row in read_rows(tmp_path / "index_unreadable.csv")}
    assert set(left_out.values()) == {"not DICOM (text)", "a copy of a slice that another file holds"}
    assert sum(int(row["n_slices"]) for row in rows) + len(left_out) == sum(p.is_file() for p in disk.rglob("*"))
    assert "14 files" in capsys.readouterr().out


def test_indexing_twice_gives_the_same_tables_even_inside_the_folder(tmp_path):
    write_series(tmp_path, n=2)
    tables = []
    for _ in range(2):
        index(str(tmp_path), str(tmp_path / "index.csv"), workers=1)
        tables.append([(tmp_path / f"index{end}.csv").read_text() for end in ("", "_slices", "_unreadable")])
    assert tables[0] == tables[1]


@pytest.mark.parametrize(("decode", "decision"), [(True, "refuse"), (False, "accept")])
def test_compressed_pixels_that_do_not_decode_are_refused(tmp_path, decode, decision):
    ds = axial_t2("A", "T2", 0)
    path = write(ds, tmp_path / "disk" / "slice")
    ds.compress(RLELossless, generate_instance_uid=False)
    write(ds, path, RLELossless)
    index(str(tmp_path / "disk"), str(tmp_path / "whole.csv"), workers=1)
    assert read_rows(tmp_path / "whole.csv")[0]["decision"] == "accept"
    raw = bytearray(path.read_bytes())
    start = raw.rindex(ds.PixelData[16 + 64 : 16 + 84])
    raw[start : start + 1000] = b"\x80" * 1000  # 0x80 is "do nothing" in RLE, so bytes go missing
    path.write_bytes(raw)
    index(str(tmp_path / "disk"), str(tmp_path / "damaged.csv"), workers=1, decode=decode)
    assert read_rows(tmp_path / "damaged.csv")[0]["decision"] == decision


def test_native_files_that_the_decoder_takes_for_something_else_are_refused(tmp_path):
    """Their headers satisfy us, and ITK makes no image of them, or one of another size."""
    for index_of in range(2):
        write(axial_t2("A", "sound", index_of), tmp_path / "disk" / f"sound{index_of}")
        flat = axial_t2("B", "flat", index_of)
        flat.SpacingBetweenSlices = "0"
        write(flat, tmp_path / "disk" / f"flat{index_of}")
    index(str(tmp_path / "disk"), str(tmp_path / "index.csv"), workers=1)
    rows = {row["patient_id"]: row for row in read_rows(tmp_path / "index.csv")}
    assert {patient: row["decision"] for patient, row in rows.items()} == {"A": "accept", "B": "refuse"}
    assert "pixels cannot be decoded (2 of 2 files, first flat" in rows["B"]["reason"]
    index(str(tmp_path / "disk"), str(tmp_path / "undecoded.csv"), workers=1, decode=False)
    assert {row["decision"] for row in read_rows(tmp_path / "undecoded.csv")} == {"accept"}


def test_the_benchmark_prints_the_ratio(tmp_path, capsys):
    write_series(tmp_path / "disk")
    index(str(tmp_path / "disk"), str(tmp_path / "index.csv"), workers=1, benchmark=True)
    assert "times as fast" in capsys.readouterr().out


@pytest.mark.parametrize("folder", ["absent", "empty"])
def test_index_refuses_what_holds_no_files(tmp_path, capsys, folder):
    (tmp_path / "empty").mkdir()
    assert main(["index", str(tmp_path / folder), "--out", str(tmp_path / "index.csv")]) == 2
    assert folder in capsys.readouterr().err
    assert not (tmp_path / "index.csv").exists()


def test_what_cannot_be_opened_is_listed_and_neither_waited_for_nor_passed_over(tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    write_series(disk / "A", n=2)
    (disk / "locked").mkdir()
    os.mkfifo(disk / "pipe")
    (disk / "broken").symlink_to(tmp_path / "absent")
    (disk / "loop").symlink_to(disk / "loop")
    (disk / "elsewhere").symlink_to(tmp_path)
    listed = os.scandir

    def scandir(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)  # the superuser may read any folder
    index(str(disk), str(tmp_path / "index.csv"), workers=1)
    assert [row["decision"] for row in read_rows(tmp_path / "index.csv")] == ["accept"]
    left_out = {row["path"]: row["reason"] for row in read_rows(tmp_path / "index_unreadable.csv")}
    assert left_out.pop("loop").startswith("cannot be read: ")
    assert left_out == {
        "locked": "folder cannot be read: Permission denied",
        "pipe": "neither a file nor a folder (a pipe, socket or device), not opened",
        "broken": "link that leads to no file",
        "elsewhere": "link to a folder, not followed; name that folder itself if its images are wanted",
    }


def test_a_file_name_that_is_no_utf_8_is_written_with_escapes(tmp_path):
    path = write_series(tmp_path / "disk", n=1)[0]
    shutil.copy(path, os.fsdecode(bytes(tmp_path / "disk") + b"/M\xfcller"))
    index(str(tmp_path / "disk"), str(tmp_path / "index.csv"), workers=1)
    names = {read_rows(tmp_path / f"index{end}.csv")[0]["path"] for end in ("_slices", "_unreadable")}
    assert names == {path.name, "M\\udcfcller"}
