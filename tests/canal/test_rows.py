"""What results say of the crop and of the measures in it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from canal_fixtures import bright_localiser
from monai.data import MetaTensor

from scripts.canal.outlines import mask_dice
from scripts.inference.crops import canal_warnings, slice_crops
from scripts.inference.evaluability import slice_problems
from scripts.inference.results import add_identity, slice_results
from scripts.records import CROP_COLUMNS, MEASURE_COLUMNS, SLICE_COLUMNS


def cropped(places: list[tuple[str, float, float]], size: int = 64, mm: float = 0.5) -> MetaTensor:
    """Crops of 32 mm with an ellipse of 12 by 6 mm in the middle, of a file with rows and columns of 0.5 mm."""
    crops = [
        {"crop": crop, "confidence": 0.9, "centre_px": [row, column], "centre_mm": [row * mm, column * mm]}
        for crop, row, column in places
    ]
    affine = np.diag([-mm, -mm, 3.0, 1.0])
    away = (np.arange(size) - (size - 1) / 2) * mm
    inside = (away[:, None] / 3) ** 2 + (away[None] / 6) ** 2 <= 1
    one = torch.from_numpy(np.where(inside, 0.95, 0.2)).float()
    meta = {"crops": json.dumps(crops), "original_affine": affine, "spatial_shape": np.array([400, 400, len(places)])}
    oriented = torch.tensor([[0, -mm, 0, 0], [-mm, 0, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]], dtype=torch.float64)
    return MetaTensor(one[None, ..., None].repeat(1, 1, 1, len(places)), affine=oriented, meta=meta)


CANAL, MIDDLE = ("canal", 200.0, 180.0), ("central", 199.5, 199.5)


def test_a_row_says_where_the_canal_lies_in_the_files_pixels_and_how_far_from_its_neighbours():
    rows = slice_crops(cropped([CANAL, ("canal", 206.0, 188.0), CANAL, MIDDLE]))
    assert [row["crop"] for row in rows] == ["canal", "canal", "canal", "central"]
    assert [(row["canal_row_px"], row["canal_column_px"]) for row in rows] == [
        (200, 180),
        (206, 188),
        (200, 180),
        (None,) * 2,
    ]
    assert [row["canal_offset_mm"] for row in rows] == [5.0, 5.0, 5.0, None]  # 6 and 8 pixels of 0.5 mm


def test_a_canal_far_from_its_neighbours_is_a_warning_and_so_is_a_slice_without_one():
    image = cropped([CANAL, CANAL, ("canal", 224.0, 180.0), CANAL, MIDDLE])
    rows = slice_results(image, [0.0] * 5, [""] * 5, 0.5)
    far, central = canal_warnings(rows)
    # 12 mm off both neighbours; each neighbour is 6 mm off the mean of its own
    assert far == "canal over 10 mm off its neighbours' in slice 2, 3"
    assert central == "no canal found, the middle was scored, in slice 4"
    facts = {"trained_on_phantom": False, "threshold": 0.5, "threshold_source": "", "weights_sha256": "ab" * 32}
    facts |= {"model_name": "n", "model_version": "1"}
    series = {"patient_id": "", "study_uid": "", "series_uid": "", "phantom": False, "warnings": "first"}
    _, summary = add_identity(series, facts, rows, {})  # type: ignore[arg-type]
    assert summary["warnings"] == f"first; {far}; {central}"


def test_a_series_without_any_canal_has_no_score_and_one_with_some_has():
    assert slice_problems(cropped([MIDDLE, MIDDLE])) == ["no spinal canal found in the series"] * 2
    assert slice_problems(cropped([MIDDLE, CANAL])) == ["", ""]
    assert slice_problems(cropped([("middle", 199.5, 199.5)])) == [""]


def test_a_crop_is_no_reason_to_find_the_field_of_view_too_small():
    image = cropped([CANAL])  # 32 mm of a field of view of 200
    assert slice_problems(image) == [""]
    image.meta["spatial_shape"] = np.array([80, 80, 1])
    assert slice_problems(image) == ["field of view of 40 mm, expected 50 to 400 mm"]


def test_measures_are_those_of_the_ellipse_in_the_crop_and_absent_where_no_canal_was_found():
    first, second = bright_localiser(64).measures(cropped([CANAL, MIDDLE]))
    assert first["cord_ap_mm"] == pytest.approx(6, abs=0.35)
    assert first["cord_rl_mm"] == pytest.approx(12, abs=0.35)
    assert first["cord_area_mm2"] == pytest.approx(np.pi * 18, rel=0.05)
    assert set(second.values()) == {None}


def test_measures_do_not_depend_on_the_classifiers_resolution():
    fine = bright_localiser(64).measures(cropped([CANAL], size=128, mm=0.25))[0]
    coarse = bright_localiser(64).measures(cropped([CANAL]))[0]
    assert fine["cord_ap_mm"] == pytest.approx(coarse["cord_ap_mm"], abs=0.3)


def test_mscc_compares_a_called_slice_with_its_uncompressed_neighbours():
    image = cropped([CANAL] * 3)
    measures = [dict.fromkeys(MEASURE_COLUMNS) | {"cord_ap_mm": ap} for ap in (8.0, 4.0, 8.0)]
    rows = slice_results(image, [-9.0, 9.0, -9.0], [""] * 3, 0.5, measures=measures)  # type: ignore[arg-type]
    assert rows[1]["mscc_percent"] == pytest.approx(50)


def test_the_columns_of_crop_and_measures_come_after_those_of_before():
    assert SLICE_COLUMNS[-len(CROP_COLUMNS) - len(MEASURE_COLUMNS) - 1 :] == (
        *CROP_COLUMNS,
        *MEASURE_COLUMNS,
        "mscc_percent",
    )
    assert SLICE_COLUMNS[: len(SLICE_COLUMNS) - len(CROP_COLUMNS) - len(MEASURE_COLUMNS) - 1][-1] == "notice"
    assert len(set(SLICE_COLUMNS)) == len(SLICE_COLUMNS)


def test_dice_of_a_mask_and_half_of_it_is_two_thirds():
    mask = np.zeros((4, 4), np.uint8)
    mask[:2] = 1
    half = np.zeros((4, 4), np.float32)
    half[0] = 0.9
    assert mask_dice(mask, half) == pytest.approx(2 / 3, abs=1e-4)
    assert mask_dice(None, half) is mask_dice(np.zeros((4, 4), np.uint8), half) is None
