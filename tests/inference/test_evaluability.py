"""Which slices the network can be asked about."""

from __future__ import annotations

import pytest
from tiny_models import write_t2

from scripts.inference.evaluability import slice_problems


@pytest.mark.parametrize(
    ("spacing_mm", "crop_fraction", "reason"),
    [
        (1.0, 1.0, ""),
        (1.0, 0.6, ""),
        (1.0, 0.5, "field of view of 48 mm, expected 50 to 400 mm"),
        (0.5, 1.0, "field of view of 48 mm, expected 50 to 400 mm"),
        (1.5, 0.5, ""),
    ],
)
def test_the_field_of_view_is_what_the_crop_leaves_for_the_network(tmp_path, chain, spacing_mm, crop_fraction, reason):
    write_t2(tmp_path, n=2, PixelSpacing=[spacing_mm, spacing_mm])
    image = chain(64, crop_fraction)({"image": str(tmp_path)})["image"]
    assert slice_problems(image) == [reason] * 2


def test_a_field_of_view_at_the_very_limit_is_evaluated(tmp_path, chain):
    write_t2(tmp_path, n=2, PixelSpacing=[0.52083333333, 0.52083333333])
    image = chain(299)({"image": str(tmp_path)})["image"]
    assert slice_problems(image) == [""] * 2
