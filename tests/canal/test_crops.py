"""The crop in millimetres around the canal."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from canal_fixtures import bright_localiser, spots
from monai.data import MetaTensor

from scripts.canal.network import centre_of, mass_within
from scripts.errors import InputError
from scripts.transforms import (
    Centre,
    ScaleSlicesd,
    SquareFieldOfViewd,
    central,
    crops_of,
    margins_around,
    scale_slices,
    shift_px,
    with_margin,
)

PLACES = [(30.0, 20.0), (60.5, 44.5), (85.0, 70.0)]


def found_at(*places: tuple[float, float], confidence: float = 1.0):
    return lambda _: [Centre(row, column, confidence) for row, column in places]


def test_the_centre_of_one_pixel_is_that_pixel_and_between_two_it_is_their_middle():
    logits = torch.full((2, 8, 10), -1e4)
    logits[0, 3, 7] = 0
    logits[1, 2, 2] = logits[1, 6, 8] = 0
    centre, mass = centre_of(logits)
    assert centre.tolist() == [[3.0, 7.0], [4.0, 5.0]]
    assert mass.sum((1, 2)).tolist() == pytest.approx([1, 1])
    near = mass_within(mass, centre, torch.tensor([3.0, 3.0], dtype=torch.float64))
    assert near.tolist() == pytest.approx([1, 0])  # two canals are no canal
    wide = mass_within(mass, centre, torch.tensor([3.0, 4.0], dtype=torch.float64))
    assert wide.tolist() == pytest.approx([1, 0])
    assert mass_within(mass, centre, torch.tensor([4.0, 5.0], dtype=torch.float64)).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("mm", [(1.0, 1.0), (0.7, 0.7), (0.6, 1.1)])
def test_a_spot_is_found_where_it_lies_to_a_fraction_of_a_pixel_of_what_the_network_sees(mm):
    image = spots(PLACES, mm=mm)
    one_pixel_mm = max(n * step for n, step in zip(image.shape[1:3], mm, strict=True)) / 64
    for found, place in zip(bright_localiser()(image), PLACES, strict=True):
        off_mm = (np.array(found[:2]) - place) * mm
        assert np.abs(off_mm).max() < 0.5 * one_pixel_mm
        assert found.confidence > 0.8


def test_a_slice_alone_has_the_centre_that_it_has_in_its_series():
    image = spots(PLACES)
    together = bright_localiser()(image)
    alone = [bright_localiser()(image[..., k : k + 1])[0] for k in range(3)]
    assert alone == together


def test_each_square_has_its_side_in_mm_and_its_own_centre():
    image = spots(PLACES, mm=(0.5, 0.8))
    framed = SquareFieldOfViewd("image", 50, side_mm=20, canal=found_at(*PLACES))({"image": image})["image"]
    assert framed.shape == (1, 50, 50, 3)
    assert [float(mm) * 50 for mm in framed.pixdim[:2]] == pytest.approx([20, 20], abs=0.5)
    for index in range(3):
        peak = np.unravel_index(int(framed.as_tensor()[0, ..., index].argmax()), (50, 50))
        assert np.abs(np.array(peak) - 24.5).max() <= 2
    assert [one["crop"] for one in crops_of(framed)] == ["canal"] * 3
    assert [tuple(one["centre_px"]) for one in crops_of(framed)] == PLACES


def test_a_map_of_each_square_lands_where_the_square_was_and_is_zero_elsewhere():
    image = spots(PLACES)
    transform = SquareFieldOfViewd("image", 40, side_mm=40, canal=found_at(*PLACES))
    framed = transform({"image": image})["image"]
    heat = MetaTensor(torch.zeros(framed.shape), meta=framed.meta, applied_operations=framed.applied_operations)
    heat[0, 10:13, 20:23] = 1  # 9 rows above, and 2 columns right of the square's middle
    back = transform.inverse({"image": heat})["image"]
    assert back.shape == image.shape
    assert torch.equal(back.affine, image.affine)
    for index, (row, column) in enumerate(PLACES):
        rows, columns = np.nonzero(back.as_tensor()[0, ..., index].numpy() > 0.5)
        assert abs(rows.mean() - (row - 8.5)) <= 1
        assert abs(columns.mean() - (column + 1.5)) <= 1
        assert float(back.as_tensor()[..., index].sum()) == pytest.approx(9)


def test_what_a_square_has_outside_of_the_slice_is_zero():
    image = spots([(2.0, 3.0)])
    framed = SquareFieldOfViewd("image", 30, side_mm=30, canal=found_at((2.0, 3.0)))({"image": image})["image"]
    # the window begins at row floor(2 - 14.5 + 0.5) = -12 and column -11
    assert float(framed.as_tensor()[0, :12].abs().sum()) == 0
    assert float(framed.as_tensor()[0, :, :11].abs().sum()) == 0
    assert float(framed.as_tensor()[0, 12:, 11:].min()) > 0


def test_a_window_around_the_middle_is_the_one_that_padding_and_cutting_gave():
    rng = np.random.default_rng(0)
    for _ in range(300):
        size, window = (tuple(int(n) for n in rng.integers(1, 50, 2)) for _ in range(2))
        surplus = [w - n for w, n in zip(window, size, strict=True)]
        (top, bottom), (left, right) = ((extra // 2, extra - extra // 2) for extra in surplus)
        middle = [(n - 1) / 2 for n in size]
        assert margins_around(middle, window, size) == [left, right, top, bottom]


def test_an_unsure_centre_is_not_used_and_the_row_says_so():
    image = spots([(30.0, 20.0), None])
    canal = lambda _: [Centre(30.0, 20.0, 0.9), Centre(3.0, 3.0, 0.49)]  # noqa: E731
    crops = crops_of(SquareFieldOfViewd("image", 40, side_mm=40, canal=canal)({"image": image})["image"])
    assert [one["crop"] for one in crops] == ["canal", "central"]
    assert crops[1]["centre_px"] == [59.5, 44.5]
    assert [one["confidence"] for one in crops] == [0.9, 0.49]


def test_without_a_localiser_the_square_lies_in_the_middle_and_without_a_side_there_is_none():
    image = spots(PLACES)
    middle = SquareFieldOfViewd("image", 40, side_mm=40)({"image": image})["image"]
    assert {one["crop"] for one in crops_of(middle)} == {"middle"}
    assert crops_of(SquareFieldOfViewd("image", 40)({"image": image})["image"]) == []


def test_a_margin_adds_around_the_square_and_leaves_it_as_it_is():
    image = spots([(60.0, 45.0)])
    plain = SquareFieldOfViewd("image", 40, side_mm=40, canal=found_at((60.0, 45.0)))
    chain = with_margin([SquareFieldOfViewd("image", 40, side_mm=40, canal=found_at((60.0, 45.0)))], 4.0)
    wide = chain({"image": image})["image"]
    assert wide.shape == (1, 60, 60, 1)
    wanted = plain({"image": image})["image"].as_tensor()
    assert torch.allclose(central(wide.as_tensor(), 40), wanted, atol=1e-3)


def test_training_shifts_by_a_share_of_the_field_of_view_or_by_mm_of_a_square():
    assert shift_px(300, None, 5) == shift_px(300, "null", 5) == pytest.approx(15)  # type: ignore[arg-type]
    assert shift_px(128, 64, 5) == pytest.approx(10)
    (plain,) = with_margin([SquareFieldOfViewd("image", 40)], 5.0).transforms
    assert plain.margin_mm == 0


def test_percentiles_are_those_of_the_square_without_its_margin():
    image = torch.full((1, 8, 8, 1), 100.0)
    image[0, 2:6, 2:6, 0] = torch.linspace(0, 15, 16).view(4, 4)
    scaled = scale_slices(image, 0, 100, inner_size=4)
    assert torch.equal(central(scaled, 4), scale_slices(central(image, 4), 0, 100))
    assert float(scaled[0, 0, 0, 0]) == 1  # brighter than anything in the square
    framed = ScaleSlicesd("image", inner_size=8)({"image": MetaTensor(image)})["image"].as_tensor()
    assert torch.equal(framed, scale_slices(image, 0.5, 99.5))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"side_mm": 0}, "side_mm"),
        ({"side_mm": "wide"}, "side_mm"),
        ({"side_mm": True}, "side_mm"),
        ({"side_mm": -1.0}, "side_mm"),
        ({"margin_mm": -1}, "margin"),
    ],
)
def test_a_square_that_cannot_be_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        SquareFieldOfViewd("image", 40, **settings)
