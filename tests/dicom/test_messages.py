"""Reasons and warnings are true in their numbers."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_fixtures import axial_t2, tilted, uid, write, write_series

from scripts.dicom.judgements import judge
from scripts.dicom.sources import scan


def test_the_first_missing_slice_is_named_and_not_the_widest_gap(tmp_path):
    for place in (0, 1, 2, 3, 6, 7, 8, 12, 13):
        write(axial_t2("P1", "T2", place), tmp_path / str(place))
    (stack,) = scan(tmp_path)[0]
    assert "; about 5 slices missing, first after slice 4" in stack.warnings[0]


def test_the_widest_gap_between_slices_at_angles_is_named(tmp_path):
    for number, (place, degrees) in enumerate([(0, -5), (1, -5), (3, -5), (6, 5), (7, 5), (11, 5)]):
        ds = tilted(axial_t2("P1", "T2", place), degrees)
        ds.SOPInstanceUID = uid("angle", number)
        write(ds, tmp_path / str(number))
    (stack,) = scan(tmp_path)[0]
    assert next(text for text in stack.warnings if "gaps" in text).endswith("widest after slice 5")


@pytest.mark.parametrize(("count", "n_images", "n_places"), [(2, 10, 5), (3, 15, 5)])
def test_all_images_that_share_positions_are_counted(tmp_path, count, n_images, n_places):
    for repeat in range(count):
        write_series(tmp_path / str(repeat), SOPInstanceUID=lambda index, repeat=repeat: uid("again", repeat, index))
    (stack,) = scan(tmp_path)[0]
    expected = f"{n_images} images share {n_places} positions, and no tag or time divides them into whole volumes"
    assert judge(stack).reason == f"{expected}, first at 0.00 mm"


@pytest.mark.parametrize(
    ("angles", "reason"),
    [
        ((0, 40, 55), "axial and coronal in one series, up to 55° apart"),
        ((0, 30, 60), "axial and coronal in one series, up to 60° apart"),
        ((0, 90), "localizer: axial and coronal in one series"),
        ((-10, 84), "localizer: axial and coronal in one series"),
    ],
)
def test_steep_slices_are_no_localizer(tmp_path, angles, reason):
    for number, degrees in enumerate(angles):
        for index in range(2):
            ds = tilted(axial_t2("P1", "T2", index), degrees)
            ds.SOPInstanceUID = uid("steep", number, index)
            write(ds, tmp_path / f"{number}{index}")
    assert {judge(stack).reason for stack in scan(tmp_path)[0]} == {reason}
    assert np.ptp(angles) < 75 or reason.startswith("localizer")
