"""What deidentify returns, leaves and says where something cannot be read, is not there, or finds no room."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from dicom_fixtures import write_series

from scripts.__main__ import main


def run(folder: Path) -> int:
    return main(["deidentify", str(folder / "in"), str(folder / "out"), str(folder / "private" / "l.csv")])


def unreadable_folder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path / "locked").mkdir()
    listed = os.scandir

    def scandir(folder):
        if Path(folder).name == "locked":  # the superuser may read any folder
            raise PermissionError(13, "Permission denied")
        return listed(folder)

    monkeypatch.setattr(os, "scandir", scandir)


@pytest.mark.parametrize(
    ("make", "status"),
    [
        (lambda path, _: None, 0),
        (lambda path, _: (path / "notes.txt").write_text("no image"), 0),
        (lambda path, _: write_series(path / "ct", "P2", n=1, Modality="CT"), 0),
        (unreadable_folder, 1),
        (lambda path, _: (path / "IM9").write_bytes(bytes(300)), 1),
        (lambda path, _: (path / "x.zip").write_bytes(b"PK"), 1),
        (lambda path, _: (path / "loop").symlink_to(path / "loop"), 1),
    ],
)
def test_the_exit_status_says_whether_anything_was_missed_as_that_of_index(tmp_path, monkeypatch, make, status):
    write_series(tmp_path / "in", n=2)
    make(tmp_path / "in", monkeypatch)
    assert run(tmp_path) == status
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 2
    assert main(["index", str(tmp_path / "in"), "--out", str(tmp_path / "index.csv")]) == status


def test_an_empty_folder_is_refused_and_nothing_is_left(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    assert run(tmp_path) == 2
    assert "in holds no files" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_full_disk_is_named(tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    write_series(tmp_path / "in", n=2)
    monkeypatch.setattr(Path, "write_bytes", full)
    assert run(tmp_path) == 2
    message = (
        rf"error: {tmp_path}/out cannot be written \(No space left on device; the disk is mounted at [^)]+\); free"
    )
    assert re.search(message, capsys.readouterr().err)
    assert not list((tmp_path).glob("*out*"))
    assert not (tmp_path / "private" / "l.csv").exists()


def test_names_that_are_no_utf_8_are_copied_and_listed(tmp_path):
    odd = tmp_path / "in" / os.fsdecode(b"M\xfcller")
    write_series(odd, n=2)
    (odd / os.fsdecode(b"\xe9.txt")).write_text("no image")
    assert run(tmp_path) == 0
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 2
    with (tmp_path / "private" / "l_refused.csv").open("rb") as stream:
        assert b"M\xfcller/\xe9.txt" in stream.read()
