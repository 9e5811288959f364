"""A process that dies costs another try, not results."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from scripts.inference.shares import Share, score_shares

pytestmark = pytest.mark.skipif(os.name == "nt", reason="kills with signals")


def score(folder: Path, deadly: str, deaths: int, share: Share) -> list[str]:
    """Score names; the process dies at one of them as often as told."""
    for name in share.series:
        with (folder / str(name)).open("a") as stream:
            stream.write("x")
        if name == deadly and (folder / str(name)).stat().st_size <= deaths:
            os.kill(os.getpid(), signal.SIGKILL)
    return list(share.series)


@pytest.mark.parametrize(("deaths", "lost"), [(2, []), (99, ["s3"])])
def test_series_are_scored_though_processes_die_and_only_what_kills_each_of_them_is_lost(tmp_path, deaths, lost):
    names = tuple(f"s{number}" for number in range(4))
    found = list(score_shares(partial(score, tmp_path, "s3", deaths), names, 2))
    scored = [name for _, result in found if result is not None for name in result]
    assert sorted(scored) == sorted(set(names) - set(lost))
    assert [name for share, result in found if result is None for name in share.series] == lost
    assert all((tmp_path / name).stat().st_size == 1 for name in ("s0", "s2"))  # the other process's


def test_an_error_of_a_share_ends_all_and_comes_out(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(score_shares(partial(score, tmp_path / "missing", "", 0), ("a", "b"), 2))
