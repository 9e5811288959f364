"""Pictures drawn in other processes are those that are drawn here, also where a process dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from scripts.heatmaps.drawers import PICTURES_PER_PROCESS, Drawers
from scripts.heatmaps.montages import save_sheet

MANY = 2 * PICTURES_PER_PROCESS


def draw_sheet(drawers: Drawers, path: Path) -> None:
    rng = np.random.default_rng(3)
    slices = [(rng.random((40, 40), dtype=np.float32), rng.random((40, 40), dtype=np.float32)) for _ in range(3)]
    drawers.draw(save_sheet, slices, ["a", "b", "c"], [True, False, True], "title", "scale", ("R", "L"), path)


def write_process(path: Path) -> None:
    path.write_text(str(os.getpid()), encoding="utf-8")


def die_once(path: Path, parent: int) -> None:
    """Kill this process, unless it is the one that began it all."""
    if os.getpid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    path.write_text("here", encoding="utf-8")


def test_a_picture_is_the_same_wherever_it_is_drawn(tmp_path):
    with Drawers(1) as here, Drawers(MANY, processes=2) as elsewhere:
        draw_sheet(here, tmp_path / "here.png")
        draw_sheet(elsewhere, tmp_path / "elsewhere.png")
    assert (tmp_path / "here.png").read_bytes() == (tmp_path / "elsewhere.png").read_bytes()


@pytest.mark.parametrize(("pictures", "here"), [(MANY, False), (MANY - 1, True)])
def test_few_pictures_are_drawn_in_this_process(tmp_path, pictures, here):
    with Drawers(pictures, processes=2) as drawers:
        drawers.draw(write_process, tmp_path / "process")
    assert ((tmp_path / "process").read_text() == str(os.getpid())) == here


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_what_a_process_that_dies_had_not_drawn_is_drawn_here(tmp_path):
    paths = [tmp_path / str(number) for number in range(6)]
    with Drawers(MANY, processes=2) as drawers:
        for path in paths:
            drawers.draw(die_once, path, os.getpid())
    assert [path.read_text() for path in paths] == ["here"] * 6


def test_what_a_drawing_raises_is_raised_here(tmp_path):
    with pytest.raises(FileNotFoundError), Drawers(MANY, processes=2) as drawers:
        drawers.draw(write_process, tmp_path / "no" / "folder")


def test_a_process_that_draws_imports_neither_torch_nor_monai():
    program = "import sys, scripts.heatmaps.montages; print({'torch', 'monai', 'scipy', 'pandas'} & {*sys.modules})"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout == "set()\n"
