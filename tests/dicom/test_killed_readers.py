"""A process that reads headers and is killed costs a retry, not the command and no result."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest
from dicom_fixtures import write_series

from scripts.dicom import sources
from scripts.dicom.sources import Read, read, read_all

pytestmark = pytest.mark.skipif(os.name == "nt", reason="kills with signals")


def read_and_die(deadly: str, deaths: int, log: Path, paths: Sequence[str]) -> Read:
    """Read files; another process than the test's dies at one of them, as often as named."""
    if deadly in paths and multiprocessing.parent_process() is not None:
        with log.open("a") as stream:
            stream.write("x")
        if log.stat().st_size <= deaths:
            os.kill(os.getpid(), signal.SIGKILL)
    return read(paths)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Twelve files, which are enough for three processes and six chunks."""
    monkeypatch.setattr(sources, "CHUNK", 2)
    monkeypatch.setattr(sources, "FILES_PER_PROCESS", 1)
    return sorted(map(str, write_series(tmp_path / "in", n=12)))


@pytest.mark.parametrize(("deaths", "lost"), [(3, 0), (99, 1)])
def test_only_a_file_that_ends_every_process_is_unreadable(tmp_path, files, monkeypatch, deaths, lost):
    monkeypatch.setattr(sources, "read_quietly", partial(read_and_die, files[0], deaths, tmp_path / "log"))
    found = read_all(files, workers=3)
    assert sorted(frame.path for frame in found.frames) == files[lost:]
    assert [path for path, _ in found.unreadable] == files[:lost]
    assert all("ends every process that reads it" in reason for _, reason in found.unreadable)
    assert found.no_images == []


def kill_readers(chunks: Iterable[Read], _: int) -> Iterator[Read]:
    """Kill all other processes once, when the first chunk has been read."""
    for number, chunk in enumerate(chunks):
        if number == 0:
            for process in multiprocessing.active_children():
                if isinstance(process, SpawnProcess):  # not those that joblib keeps for other tests
                    process.kill()
        yield chunk


def test_readers_that_are_killed_at_once_lose_no_file(files, capsys):
    assert sorted(frame.path for frame in read_all(files, workers=3, watch=kill_readers).frames) == files
    assert "were killed" in capsys.readouterr().out
