"""The distance that slices should have, from the header, where most of them are missing."""

from __future__ import annotations

import json

import pytest
from dicom_fixtures import write_series

from scripts.cohort.geometry import rows_of
from scripts.dicom.sources import scan
from scripts.inference.results import series_findings, slice_results
from scripts.readers import SeriesReader


@pytest.mark.parametrize(
    ("tags", "nominal_mm"),
    [
        ({"SpacingBetweenSlices": "3.85", "SliceThickness": "3.5"}, 3.85),
        ({"SpacingBetweenSlices": "0.35", "SliceThickness": "3.5"}, 3.5),  # the gap, as some makers write
        ({"SpacingBetweenSlices": "1", "SliceThickness": "2"}, 2),
        ({"SpacingBetweenSlices": "3.85", "SliceThickness": None}, 3.85),
        ({"SliceThickness": "3.5"}, None),
    ],
)
def test_the_nominal_spacing_is_what_the_header_states_but_no_less_than_the_thickness(tmp_path, tags, nominal_mm):
    write_series(tmp_path, n=2, ImagePositionPatient=lambda index: [0.0, 0.0, 19.25 * index], **tags)
    ((stack,), _) = scan(tmp_path)
    assert stack.nominal_spacing_mm == nominal_mm
    reader = SeriesReader()
    _, meta = reader.get_data(reader.read(str(tmp_path)))
    assert {one["nominal_spacing_mm"] for one in json.loads(meta["slices"])} == {nominal_mm}
    wanted = {(stack.series_uid, one.sop_uid, one.frame) for one in stack.slices}
    assert {row["nominal_spacing_mm"] for row in rows_of([stack], wanted)} == {nominal_mm}


@pytest.mark.parametrize(("stated", "slices", "length_mm"), [("3.85", 1, 3.5), (None, 2, 22.75)])
def test_two_slices_far_apart_are_one_run_only_where_nothing_says_that_slices_are_missing(
    tmp_path, stated, slices, length_mm
):
    from monai.data import MetaTensor

    from scripts.dicom.loaded import nominal_spacing_mm

    changes = {} if stated is None else {"SpacingBetweenSlices": stated}
    write_series(
        tmp_path, n=2, ImagePositionPatient=lambda index: [0.0, 0.0, 19.25 * index], SliceThickness="3.5", **changes
    )
    reader = SeriesReader()
    pixels, meta = reader.get_data(reader.read(str(tmp_path)))
    image = MetaTensor(pixels[None], meta=meta)
    rows = slice_results(image, [2.0, 2.0], ["", ""], 0.5)
    found = series_findings([rows], [nominal_spacing_mm(image)])
    assert (found["longest_run_slices"], found["longest_run_mm"]) == (slices, length_mm)
