"""What a killed process was writing, and when it is removed."""

from __future__ import annotations

import gc
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

from scripts.dicom.archives import Archives
from scripts.files import drafting, write_csv

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has neither signals nor locks that end with a process")

KILLED = """
import sys, time
from pathlib import Path
from scripts.console import end_in_order
from scripts.dicom.archives import Archives
from scripts.files import drafting, replacing
end_in_order()
with drafting(Path(sys.argv[1], "folder")), replacing(Path(sys.argv[1], "table.csv")):
    print("writing", flush=True)
    time.sleep(60)
"""


def running(program: str, *arguments: Path) -> subprocess.Popen[bytes]:
    """Start a program, and wait until it is in the middle of its work."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    return process


def end(process: subprocess.Popen[bytes], number: int) -> int:
    process.send_signal(number)
    process.communicate()
    return process.returncode


def test_what_a_killed_process_was_writing_goes_with_the_next_write_and_what_a_living_one_writes_stays(tmp_path):
    killed, living = running(KILLED, tmp_path), running(KILLED, tmp_path)
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


READS = """
import sys, tempfile, time
from scripts.console import end_in_order
from scripts.dicom.archives import Archives
end_in_order()
tempfile.tempdir = sys.argv[1]
archives = Archives()
archives.unpack(sys.argv[2])
print("writing", flush=True)
time.sleep(60)
"""


def test_a_zip_that_a_killed_process_had_unpacked_goes_with_the_next_one(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as content:
        content.writestr("slice", b"pixels")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    mine = temporary / "cord-of-a-user"
    mine.mkdir()
    killed, living = (running(READS, temporary, tmp_path / "a.zip") for _ in range(2))
    end(killed, signal.SIGKILL)
    assert len([*temporary.iterdir()]) == 3
    archives = Archives()
    folder, _ = archives.unpack(str(tmp_path / "a.zip"))
    assert Path(folder, "slice").read_bytes() == b"pixels"
    assert len([*temporary.iterdir()]) == 3  # the killed one's has gone, ours is there
    assert stat.S_IMODE(Path(folder).parents[1].stat().st_mode) == 0o700
    assert end(living, signal.SIGTERM) == 128 + signal.SIGTERM
    del archives
    gc.collect()
    assert [*temporary.iterdir()] == [mine]


def test_a_command_that_is_asked_to_end_removes_what_it_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as content:
        for number in range(3000):
            content.writestr(f"{number}", b"\0" * 132 + b"DICM")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "scripts", "index", str(tmp_path), "--out", str(tmp_path / "series.csv")]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not [*temporary.glob("cord-*")]:
        time.sleep(0.01)
    assert end(process, signal.SIGTERM) == 128 + signal.SIGTERM
    assert [*temporary.iterdir()] == []


STARTS_OTHERS = """
import os, time
from scripts.cluster.workers import Workers
def work(group):
    os.write(1, b"at work\\n")
    time.sleep(60)
if __name__ == "__main__":
    with Workers(2) as workers:
        list(workers.spread(work, [[1], [2]]))
"""


def test_no_other_process_outlives_a_command_that_is_killed(tmp_path):
    (tmp_path / "program.py").write_text(STARTS_OTHERS)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["at work\n"] * 2  # both are at work
    process.kill()
    process.communicate(timeout=20)  # their output, which ends when the last of them has gone
