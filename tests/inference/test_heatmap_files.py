"""Heat maps lie where the slices lie, whatever gaps and angles a series has."""

from __future__ import annotations

import itertools
import json

import nibabel
import numpy as np
import pytest
import torch
from geometry_fixtures import GEOMETRIES, SPACING_MM, angled, blocks, corners_of, even, missing, write_geometry
from monai.data import MetaTensor
from monai.transforms import LoadImage
from pydicom import dcmread
from test_predict_studies import Brightness  # noqa: F401, named by the configuration
from tiny_models import LOADED, SETTINGS, write_t2

from scripts.inference.heatmap_files import on_one_grid, write_heatmaps
from scripts.inference.postprocessing import HeatmapLevelsd
from scripts.readers import SeriesReader
from scripts.runner import run_config

LPS = np.array([-1, -1, 1])


def numbered(folder) -> MetaTensor:
    """Load a series and let every slice hold its number, from 1, as its heat."""
    image = LoadImage(reader=SeriesReader())(str(folder))
    heat = torch.arange(1, image.shape[-1] + 1, dtype=torch.float32).expand(*image.shape)
    return MetaTensor(heat[None].clone(), meta=image.meta)


def world(affine: np.ndarray, shape: tuple[int, ...], place: int) -> np.ndarray:
    """Give the world coordinates (LPS) of the corner voxels of a slice of a NIfTI file, shape (4, 3)."""
    ends = [[i, j, place, 1] for j, i in itertools.product((0, shape[1] - 1), (0, shape[0] - 1))]
    return (ends @ affine.T)[:, :3] * LPS


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_voxel_lies_where_the_header_says(tmp_path, name, seed):
    slices = GEOMETRIES[name](np.random.default_rng([seed, len(name)]))
    headers = {dcmread(path).SOPInstanceUID: dcmread(path) for path in write_geometry(tmp_path / "in", slices)}
    heat = numbered(tmp_path / "in")
    order = [one["sop_uid"] for one in json.loads(heat.meta["slices"])]
    found = set()
    for path in write_heatmaps(heat, tmp_path, "heatmap", "notice"):
        image = nibabel.load(path)
        values = np.asarray(image.dataobj)
        assert (values == values[:1, :1]).all()
        for place, value in enumerate(values[0, 0]):
            if value:
                expected = corners_of(headers[order[int(value) - 1]])
                assert np.linalg.norm(world(image.affine, image.shape, place) - expected, axis=1).max() < 0.1
                found.add(int(value))
    assert found == set(range(1, len(slices) + 1))


def test_whole_gaps_become_empty_places_and_other_gaps_and_angles_files_of_their_own(tmp_path):
    rng = np.random.default_rng(0)
    wanted = {
        "even": (even(rng), ["heatmap.nii.gz"]),
        "missing": (missing(rng), ["heatmap.nii.gz"]),
        "whole": (blocks(rng, 2 * SPACING_MM), ["heatmap.nii.gz"]),
        "fraction": (blocks(rng, 0.5 * SPACING_MM), ["heatmap_1.nii.gz", "heatmap_2.nii.gz"]),
        "long": (blocks(rng, 40 * SPACING_MM), ["heatmap_1.nii.gz", "heatmap_2.nii.gz"]),
        "angled": (angled(rng), ["heatmap_1.nii.gz", "heatmap_2.nii.gz", "heatmap_3.nii.gz"]),
    }
    for name, (slices, files) in wanted.items():
        write_geometry(tmp_path / name / "in", slices)
        paths = write_heatmaps(numbered(tmp_path / name / "in"), tmp_path / name, "heatmap", "notice")
        assert [path.name for path in paths] == files, name
        lowest = [(nibabel.load(path).affine @ [15.5, 15.5, 0, 1])[2] for path in paths]
        assert lowest == sorted(lowest)
    empty = np.asarray(nibabel.load(tmp_path / "missing" / "heatmap.nii.gz").dataobj)[0, 0]
    assert (empty == 0).sum() == 1


@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_one_map_that_monai_label_shows_is_hot_where_the_anatomy_is(tmp_path, name):
    """Its grid is that of the image's metadata, which MONAI Label's Restored goes by; right to half a voxel."""
    slices = GEOMETRIES[name](np.random.default_rng(5))
    headers = {dcmread(path).SOPInstanceUID: dcmread(path) for path in write_geometry(tmp_path, slices)}
    heat = numbered(tmp_path)
    hot = torch.zeros_like(heat)
    hot[0, 20:22, 6:8, 1] = 1.0  # one spot in the second slice
    data = {"heatmap": MetaTensor(hot.as_tensor(), meta=heat.meta), "image": heat, "result": {"class": "compressed"}}
    data = HeatmapLevelsd("heatmap")(data)
    image = data["image"]
    assert tuple(data["pred"].shape[1:]) == tuple(image.meta["spatial_shape"])
    affine = np.asarray(image.meta["original_affine"])
    ordinary = name in ("even", "gantry tilt")
    assert ("slices are missing or stand at angles" in data["result"].get("heatmap_grid", "")) is not ordinary
    assert data["result"]["class"] == "compressed"  # what was there stays
    lit = np.argwhere(np.asarray(data["pred"][0]) > 0)
    assert len(lit)
    found = (np.column_stack([lit, np.ones(len(lit))]) @ affine.T)[:, :3] * LPS
    header = headers[json.loads(heat.meta["slices"])[1]["sop_uid"]]
    row, column = np.reshape(np.array(header.ImageOrientationPatient, float), (2, 3))
    middle = np.array(header.ImagePositionPatient, float) + 5.0 * (20.5 * row + 6.5 * column)
    away = found - middle
    assert np.abs(away @ row).max() < 7.6  # half the spot and half a voxel
    assert np.abs(away @ column).max() < 7.6
    assert np.abs(away @ np.cross(row, column)).max() < 3.5
    assert np.linalg.norm(away.mean(0)) < 2.0


def test_an_even_series_keeps_its_grid_to_the_last_bit(tmp_path):
    write_geometry(tmp_path, even(np.random.default_rng(1)))
    heat = numbered(tmp_path)
    values, affine = on_one_grid(heat)
    np.testing.assert_array_equal(affine, heat.affine.numpy())
    np.testing.assert_array_equal(values, heat.as_tensor()[0].numpy())
    assert "result" not in HeatmapLevelsd("heatmap")({"heatmap": heat, "image": heat})


def test_a_bright_marker_in_angled_stacks_is_hot_at_its_own_place(tmp_path):
    """Through inference.json: three stacks at angles, one answer, each slice's marker hot where it was drawn."""
    slices = angled(np.random.default_rng(2))

    def pixels(index: int) -> bytes:
        image = np.random.default_rng(index).integers(0, 60, (96, 96))
        image[30 + 3 * index : 38 + 3 * index, 20:28] = 3000
        return image.astype("<u2").tobytes()

    def place(index: int) -> list[str]:
        middle, axes = slices[index]
        return [f"{value:.5f}" for value in middle - 47.5 * (axes[:, 0] + axes[:, 1])]

    def direction(index: int) -> list[str]:
        return [f"{value:.8f}" for value in slices[index][1][:, :2].T.ravel()]

    paths = write_t2(
        tmp_path / "in", n=12, PixelData=pixels, ImagePositionPatient=place, ImageOrientationPatient=direction
    )
    parser = run_config(
        ["inference.json"],
        dataset_dir=str(tmp_path / "in"),
        output_dir=str(tmp_path / "out"),
        network={"_target_": "test_heatmap_files.Brightness"},
        checkpoint={"weights_sha256": "0" * 64, "trained_on_phantom": False},
        loaded=LOADED,
        precision="fp32",
        raw_heatmap=True,
        **{**SETTINGS, "profile": "paper"},
    )
    assert parser.get_parsed_content("dataset").failures == []
    (summary,) = (json.loads(path.read_text()) for path in (tmp_path / "out").glob("*/summary.json"))
    assert summary["n_slices"] == summary["n_evaluated"] == 12
    assert "slices at 3 angles" in summary["warnings"]
    expected = np.array([
        np.array(header.ImagePositionPatient, float)
        + 23.5 * np.array(header.ImageOrientationPatient[:3], float)
        + (33.5 + 3 * (int(header.InstanceNumber) - 1)) * np.array(header.ImageOrientationPatient[3:], float)
        for header in map(dcmread, paths)
    ])  # fmt: skip
    n_maps = 0
    for path in (tmp_path / "out").glob("*/heatmap_raw_*.nii.gz"):
        image = nibabel.load(path)
        values = image.get_fdata()
        for index in range(values.shape[-1]):
            hot = np.argwhere(values[..., index] > 0.6 * values[..., index].max()).mean(0)
            found = (image.affine @ [*hot, index, 1])[:3] * LPS
            assert np.linalg.norm(expected - found, axis=1).min() < 1.0
            n_maps += 1
    assert n_maps == 12


def test_a_level_begins_at_its_lower_border():
    heat = torch.tensor([0.0, 0.24, 0.25, 0.49, 0.5, 0.74, 0.75, 1.0, float("nan")])
    levels = HeatmapLevelsd("heatmap")({"heatmap": heat})["pred"]
    assert levels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 0]
    assert levels.dtype == torch.uint8
