"""Preprocessed slices that are kept for other runs: decoded once, never stale, never trusted blindly."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import write_t2

from scripts.datasets import SliceDataset
from scripts.slice_files import SliceCache
from scripts.study.experiments import Experiment, cache_dir


class Decoded:
    """Loads an image as levels that depend on the file's content, and counts."""

    def __init__(self):
        self.n = 0

    def __call__(self, data):
        from scripts.trust.samples import preprocessing

        self.n += 1
        settings = {"image_size": 16, "crop_fraction": 1.0, "side_mm": None, "context": 0, "outlines": False}
        return preprocessing(settings)(data)


@pytest.fixture
def entries(tmp_path):
    return [
        {"image": str(path), "label": number % 2, "slice_index": 0}
        for number, path in enumerate(write_t2(tmp_path / "in", n=3))
    ]


def read(entries, folder, kind="plain"):
    decoded = Decoded()
    dataset = SliceDataset(entries, decoded, cache=SliceCache(str(folder), kind))
    return [dataset[n]["image"] for n in range(len(dataset))], dataset, decoded.n


def test_slices_that_were_kept_are_not_decoded_again_and_are_the_same(entries, tmp_path):
    first, _, n_first = read(entries, tmp_path / "kept")
    again, dataset, n_again = read(entries, tmp_path / "kept")
    assert (n_first, n_again) == (3, 0)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert dataset.labels == [0, 1, 0]  # labels are those of the datalist, whatever was kept


def test_without_a_folder_nothing_is_kept(entries, tmp_path):
    for folder in (None, ""):
        dataset = SliceDataset(entries, Decoded(), cache=SliceCache(folder, "plain"))
        assert len(dataset) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


@pytest.mark.parametrize("change", ["another slice", "another kind", "a changed file", "fewer slices"])
def test_what_differs_is_decoded_anew(entries, tmp_path, change):
    read(entries, tmp_path / "kept")
    kind = "plain"
    if change == "another slice":
        entries[0] = {**entries[0], "slice_index": 1}
    if change == "another kind":
        kind = "with-margin"
    if change == "a changed file":
        os.utime(entries[1]["image"], ns=(1, 1))
    if change == "fewer slices":
        entries = entries[:2]
    assert read(entries, tmp_path / "kept", kind)[2] == len(entries)


@pytest.mark.parametrize("damage", ["cut", "text", "pickle", "too few", "gone", "no json"])
def test_a_damaged_entry_is_made_anew(entries, tmp_path, damage):
    first, *_ = read(entries, tmp_path / "kept")
    (levels,) = (tmp_path / "kept").rglob("*-levels.npy")
    (about,) = (tmp_path / "kept").rglob("*.json")
    if damage == "cut":
        levels.write_bytes(levels.read_bytes()[:-10])
    if damage == "text":
        levels.write_text("levels")
    if damage == "pickle":
        np.save(levels, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    if damage == "too few":
        np.save(levels, np.load(levels)[:1])
    if damage == "gone":
        levels.unlink()
    if damage == "no json":
        about.write_text("{")
    again, _, n = read(entries, tmp_path / "kept")
    assert n == 3
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_images_that_could_not_be_read_are_reported_again(entries, tmp_path, capsys):
    broken = entries[1]["image"]
    Path(broken).write_bytes(b"damaged")
    for _ in range(2):
        images, dataset, _ = read(entries, tmp_path / "kept")
        assert len(images) == 2
        assert [one["image"] for one in dataset.failures] == [broken]
        assert f"left out {broken}" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_ends_no_training(entries, tmp_path, capsys):
    (tmp_path / "kept").write_text("a file")
    assert len(read(entries, tmp_path / "kept")[0]) == 3
    assert "the slices are not kept" in capsys.readouterr().out


def test_each_preprocessing_has_a_folder_of_its_own(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"a")
    (tmp_path / "b.pt").write_bytes(b"b")

    def folder(configs=("train.json",), **overrides):
        return cache_dir(Experiment(tmp_path / "x", configs, "cohort", overrides=overrides, cache=tmp_path / "slices"))

    plain = folder()
    assert folder(max_epochs=3, seed=5, architecture="resnet18", tasks=["compressed", "grade"]) == plain
    others = [
        folder(image_size=128),
        folder(side_mm=60.0, canal_weights=str(tmp_path / "a.pt")),
        folder(side_mm=60.0, canal_weights=str(tmp_path / "b.pt")),
        folder(side_mm=60.0, canal_weights=str(tmp_path / "a.pt"), outlines=True),
        folder(side_mm=60.0, canal_weights=str(tmp_path / "a.pt"), jitter_mm=3.0),
        folder(("train.json", "quickstart.json")),
        folder(deterministic_transforms=[]),
        folder(deterministic_transforms__2__axcodes="LPS"),
    ]
    assert len({plain, *others}) == 9
    assert cache_dir(Experiment(tmp_path / "x", ["train.json"], "cohort")) is None
    json.dumps(others)
