"""The deterministic chain."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Orientationd
from torchvision.models import ResNet50_Weights

from scripts.errors import InputError
from scripts.transforms import SquareFieldOfViewd, from_uint8, scale_slices, to_network_input, to_uint8


def image(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], seed: int = 0) -> MetaTensor:
    affine = torch.diag(torch.tensor([*spacing_mm, 1.0], dtype=torch.float64))
    return MetaTensor(torch.rand(1, *shape, generator=torch.Generator().manual_seed(seed)), affine=affine)


def test_a_slice_alone_equals_the_slice_in_its_series(cohort, axial_series, chain):
    transform = chain(image_size=96, crop_fraction=0.7)
    series = transform({"image": str(axial_series)})["image"]
    files = {}
    for path in axial_series.iterdir():
        alone = transform({"image": str(path)})["image"]
        files[json.loads(alone.meta["slices"])[0]["sop_uid"]] = alone
    assert series.shape == (1, 96, 96, len(files))
    for number, entry in enumerate(json.loads(series.meta["slices"])):
        alone = files[entry["sop_uid"]]
        assert torch.equal(series.as_tensor()[..., number], alone.as_tensor()[..., 0])


def test_a_circle_in_millimetres_stays_a_circle_whatever_the_pixel_shape():
    rows_mm, columns_mm = 0.5, 1.0
    y = (torch.arange(200) - 99.5) * rows_mm
    x = (torch.arange(60) - 29.5) * columns_mm
    disc = (y[:, None] ** 2 + x[None] ** 2 <= 20**2).float()[None, ..., None]
    affine = torch.diag(torch.tensor([rows_mm, columns_mm, 3.0, 1.0], dtype=torch.float64))
    framed = SquareFieldOfViewd("image", 100)({"image": MetaTensor(disc, affine=affine)})["image"]
    height, width = (framed[0, :, :, 0] > 0.5).any(1).sum(), (framed[0, :, :, 0] > 0.5).any(0).sum()
    assert framed.shape == (1, 100, 100, 1)
    assert abs(int(height) - 40) <= 1  # 40 mm across, at 1 mm per pixel
    assert abs(int(width) - 40) <= 1


@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_the_framed_affine_keeps_every_point_where_it_was(fraction):
    original = image((80, 40, 3), (0.5, 0.5, 3.0))
    framed = SquareFieldOfViewd("image", 32, fraction)({"image": original})["image"]
    centre = torch.tensor([15.5, 15.5, 1.0, 1.0], dtype=torch.float64)
    expected = original.affine @ torch.tensor([39.5, 19.5, 1.0, 1.0], dtype=torch.float64)
    assert torch.allclose(framed.affine @ centre, expected, atol=1e-9)
    assert framed.pixdim[0] == pytest.approx(40.0 * fraction / 32)


def test_inverting_puts_a_map_back_onto_the_original_grid_and_orientation():
    affine = torch.tensor([[-1.0, 0, 0, 9], [0, -1, 0, 4], [0, 0, 3, 2], [0, 0, 0, 1]], dtype=torch.float64)
    volume = torch.zeros(1, 48, 64, 5)
    volume[0, 10:20, 40:52, 3] = 1
    transform = Compose([Orientationd("image", axcodes="PLS", labels=None), SquareFieldOfViewd("image", 64)])
    data = transform({"image": MetaTensor(volume, affine=affine)})
    inverse = Invertd("map", transform, orig_keys="image", nearest_interp=False)
    back = inverse({**data, "map": data["image"].clone()})["map"]
    assert back.shape == volume.shape
    assert torch.allclose(back.affine, affine)
    assert torch.allclose(back.as_tensor(), volume, atol=1e-5)


def test_outside_the_crop_a_map_comes_back_as_zero():
    transform = Compose([SquareFieldOfViewd("image", 32, 0.5)])
    data = transform({"image": image((64, 64, 2), (1.0, 1.0, 1.0))})
    ones = MetaTensor(torch.ones(1, 32, 32, 2), meta=data["image"].meta)
    back = Invertd("map", transform, orig_keys="image", nearest_interp=False)({**data, "map": ones})["map"]
    assert back[0, 16:48, 16:48].min() == pytest.approx(1)
    assert back.sum() == pytest.approx(32 * 32 * 2)


def test_every_slice_is_clipped_at_its_own_percentiles_and_rounded_to_8_bits():
    ramp = torch.arange(1001, dtype=torch.float32).reshape(1, 1, 1001, 1)
    scaled = scale_slices(torch.cat([ramp, 7 * ramp + 3], dim=-1), 0.5, 99.5)
    expected = np.round(np.clip((np.arange(1001) - 5) / 990, 0, 1) * 255)
    assert np.array_equal(scaled[0, 0, :, 0].numpy() * 255, expected.astype(np.float32))
    assert torch.equal(scaled[..., 0], scaled[..., 1])


def test_a_constant_slice_becomes_zero_and_leaves_the_others_alone():
    volume = torch.rand(1, 16, 16, 3)
    volume[..., 1] = 412.0
    scaled = scale_slices(volume, 0.5, 99.5)
    assert (scaled[..., 1] == 0).all()
    assert scaled[..., 0].max() == 1
    assert torch.isfinite(scaled).all()


def test_eight_bits_keep_the_scaled_slices_exactly():
    scaled = scale_slices(torch.rand(1, 32, 32, 4), 0.5, 99.5)
    assert torch.equal(from_uint8(to_uint8(scaled)), scaled)


def test_profiles_normalise_for_imagenet_or_leave_zero_to_one():
    grey = torch.full((2, 1, 4, 4), 0.6)
    imagenet = to_network_input(grey, "imagenet")
    theirs = ResNet50_Weights.IMAGENET1K_V2.transforms()
    for channel in range(3):
        expected = torch.tensor((0.6 - theirs.mean[channel]) / theirs.std[channel])
        assert torch.allclose(imagenet[:, channel], expected)
    assert torch.equal(to_network_input(grey, "paper"), grey.expand(-1, 3, -1, -1))
    assert imagenet.is_contiguous(memory_format=torch.channels_last)
    with pytest.raises(InputError, match="got 'raw'"):
        to_network_input(grey, "raw")


def test_impossible_framing_is_refused():
    with pytest.raises(InputError, match="crop_fraction <= 1, got 64 and 0"):
        SquareFieldOfViewd("image", 64, 0)
    with pytest.raises(InputError, match="affine"):
        SquareFieldOfViewd("image", 64)({"image": torch.zeros(1, 4, 4, 1)})
