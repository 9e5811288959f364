"""What a killed process was writing, and when it is removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from scripts.files import drafting, write_csv

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has neither signals nor locks that end with a process")

KILLED = """
import sys, time
from pathlib import Path
from scripts.console import end_in_order
from scripts.files import drafting, replacing
end_in_order()
with drafting(Path(sys.argv[1], "folder")), replacing(Path(sys.argv[1], "table.csv")):
    print("writing", flush=True)
    time.sleep(60)
"""


def writing(folder: Path) -> subprocess.Popen[bytes]:
    """Start a process that is in the middle of writing a file and a folder."""
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    return process


def end(process: subprocess.Popen[bytes], number: int) -> int:
    process.send_signal(number)
    process.communicate()
    return process.returncode


def test_what_a_killed_process_was_writing_goes_with_the_next_write_and_what_a_living_one_writes_stays(tmp_path):
    killed, living = writing(tmp_path), writing(tmp_path)
    (tmp_path / ".table-personal.csv").touch()
    end(killed, signal.SIGKILL)
    assert len([*tmp_path.iterdir()]) == 5
    write_csv(tmp_path / "table.csv", ("a",), [{"a": 1}])
    with drafting(tmp_path / "folder") as draft:
        draft.rename(tmp_path / "folder")
    assert len([*tmp_path.glob(".folder-*")]) == 1
    assert len([*tmp_path.glob(".table-*")]) == 2  # the living one's, and a file of somebody's own
    assert end(living, signal.SIGTERM) == 128 + signal.SIGTERM
    assert {path.name for path in tmp_path.iterdir()} == {".table-personal.csv", "folder", "table.csv"}


def test_the_next_write_removes_what_lies_there_and_nobody_holds(tmp_path):
    for name in (".table-0123abcd.csv", ".table-0123abcd.tsv", ".table-0123abc.csv", ".other-0123abcd.csv"):
        (tmp_path / name).touch()
    write_csv(tmp_path / "table.csv", ("a",), [])
    names = {".table-0123abcd.tsv", ".table-0123abc.csv", ".other-0123abcd.csv", "table.csv"}
    assert {path.name for path in tmp_path.iterdir()} == names
