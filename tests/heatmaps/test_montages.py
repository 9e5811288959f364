"""What stands beside the pictures of heat maps: the scale, and the patient's right and left."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from scripts.heatmaps import montages
from scripts.heatmaps.montages import NETWORK_SIDES, colour_bar, grey, overlay, sheet_picture, write_on
from scripts.heatmaps.overlays import sides_of
from scripts.inference import writing
from scripts.inference.heatmap_files import sides_of_slices

PLS = np.array([[0.0, -1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
"""Rows to posterior, columns to the patient's left, in RAS."""


def test_every_colour_of_an_overlay_is_on_its_bar():
    rng = np.random.default_rng(0)
    shown = overlay(rng.random((60, 60)), rng.random((60, 60))).reshape(-1, 3).astype(int)
    bar = colour_bar(320, "0", "1", "p")[20:300, 4 : 4 + montages.BAR].reshape(-1, 3).astype(int)
    distances = np.array([np.abs(bar - one).max(axis=1).min() for one in shown[::7]])
    assert distances.max() <= 6
    assert np.abs(bar[0] - bar[-1]).max() > 50


@pytest.mark.parametrize(
    ("affine", "across", "sides"),
    [
        (PLS, 1, ("R", "L")),
        (PLS @ np.diag([1.0, -1, 1, 1]), 1, ("L", "R")),
        (np.diag([-1.0, -1, 1, 1]), 0, ("R", "L")),
        (np.diag([1.0, -1, 1, 1]), 0, ("L", "R")),
        (np.diag([1.0, -1, 1, 1]), 1, ("A", "P")),
    ],
)
def test_sides_are_those_that_the_affine_gives(affine, across, sides):
    assert sides_of(affine, across) == sides


def test_slices_at_angles_have_their_own_sides():
    other = np.diag([1.0, -1, 1, 1])
    pieces = [{"slices": [0], "places": [0], "affine": np.diag([-1.0, -1, 1, 1]).tolist()}]
    pieces.append({"slices": [1, 2], "places": [0, 1], "affine": other.tolist()})
    heat = MetaTensor(torch.zeros(1, 4, 4, 3), affine=torch.eye(4), meta={"pieces": json.dumps(pieces)})
    assert sides_of_slices(heat) == [("R", "L"), ("L", "R"), ("L", "R")]


@pytest.mark.parametrize("flipped", [False, True])
def test_heatmap_png_has_the_sides_of_its_own_pictures(tmp_path, monkeypatch, flipped):
    drawn = []
    monkeypatch.setattr(montages, "sheet_picture", lambda *args: drawn.append(args) or np.zeros((4, 4, 3), np.uint8))
    affine = PLS @ np.diag([1.0, -1 if flipped else 1, 1, 1])
    image = MetaTensor(torch.rand(1, 32, 32, 1), affine=torch.from_numpy(affine))
    row = {"status": "scored", "probability": 0.5, "slice_index": 0, "compressed": 1}
    monkeypatch.setattr(writing, "findings_in_words", lambda _: "")
    monkeypatch.setattr(writing, "notice_line", lambda _: "")
    summary = {"series_uid": "1.2", "heatmap_task": "compressed"}
    writing.WriteSeries.write_sheet(image, torch.rand(32, 32, 1), [row], summary, tmp_path / "heatmap.png")
    assert drawn[0][-1] == (("L", "R") if flipped else ("R", "L"))


def test_the_letters_stand_at_the_edges_of_the_upper_picture_alone():
    picture = grey(np.zeros((96, 96)))

    def sheet(sides):
        return sheet_picture([[picture, picture]], ["caption"], [False], "title", "", sides)

    without, plain, swapped = sheet(None), sheet(NETWORK_SIDES), sheet(NETWORK_SIDES[::-1])
    for one, other in ((without, plain), (plain, swapped)):
        rows, columns = np.nonzero((one != other).any(axis=-1))
        assert rows.max() - rows.min() < 20
        assert sorted({bool(x < 48) for x in columns}) == [False, True]
        assert not ((columns > 20) & (columns < 76)).any()
    assert (write_on(picture, ["p"], ("R", "L")) != write_on(picture, ["p"], ("L", "R"))).any()
