"""Repetitions between which the table or the patient moved: slices that overlap are no volume together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_fixtures import axial_t2, tilted, uid, write

from scripts.dicom.judgements import judge
from scripts.dicom.sources import scan
from scripts.dicom.stacks import Stack

SPACING_MM, THICKNESS_MM, N = 3.85, 3.5, 5


def found(folder: Path) -> list[Stack]:
    return scan(folder, workers=0)[0]


def repeats(folder: Path, drift_mm: float, count: int = 2, n: int = N, degrees: float = 0, **tags: Any) -> None:
    """Write a series ``count`` times, each further than the one before; ``tags`` get repeat and slice."""
    for repeat in range(count):
        for index in range(n):
            ds = axial_t2("P1", "T2", index, SPACING_MM)
            ds.SliceThickness, ds.SpacingBetweenSlices = str(THICKNESS_MM), str(SPACING_MM)
            ds.ImagePositionPatient = [-8.0, -8.0, index * SPACING_MM + repeat * drift_mm]
            ds.SOPInstanceUID = uid("repeat", repeat, index)
            for keyword, value in tags.items():
                setattr(ds, keyword, value(repeat, index))
            write(tilted(ds, degrees), folder / f"{uid('name', repeat, index)[-9:]}")


def of_repeats(stacks: list[Stack]) -> list[list[str]]:
    return sorted([one.sop_uid for one in stack.slices] for stack in stacks)


def volumes(count: int, n: int = N) -> list[list[str]]:
    return sorted([uid("repeat", repeat, index) for index in range(n)] for repeat in range(count))


BY_REPEAT = {
    "AcquisitionNumber": lambda repeat, index: str(repeat + 1),
    "TemporalPositionIdentifier": lambda repeat, index: str(repeat + 1),
    "TriggerTime": lambda repeat, index: str(100 + 300 * repeat),
    "AcquisitionTime": lambda repeat, index: f"1000{repeat:02d}.5",
}
BY_SLICE = {
    "one after the other": lambda repeat, index: f"10{repeat:02d}{index:02d}.5",
    "even slices first": lambda repeat, index: f"10{repeat:02d}{index % 2 * 30 + index:02d}.5",
    "each slice again at once": lambda repeat, index: f"10{index:02d}{repeat:02d}.5",
}


@pytest.mark.parametrize("degrees", [0, 17])
@pytest.mark.parametrize("drift_mm", [0.3, 1.2, -1.6])
@pytest.mark.parametrize("keyword", BY_REPEAT)
def test_repeats_that_drifted_are_a_volume_each_where_a_tag_counts_them(tmp_path, keyword, drift_mm, degrees):
    repeats(tmp_path, drift_mm, degrees=degrees, **{keyword: BY_REPEAT[keyword]})
    stacks = found(tmp_path)
    assert of_repeats(stacks) == volumes(2)
    assert all(judge(stack).accepted and stack.warnings == () for stack in stacks)


@pytest.mark.parametrize("name", BY_SLICE)
def test_repeats_that_drifted_are_a_volume_each_where_the_time_differs_by_slice(tmp_path, name):
    repeats(tmp_path, 1.2, AcquisitionTime=BY_SLICE[name], InstanceNumber=lambda repeat, index: "1")
    assert of_repeats(found(tmp_path)) == volumes(2)


def test_three_repeats_that_drift_on_and_one_that_lacks_a_slice_are_volumes_by_their_tag(tmp_path):
    repeats(tmp_path / "three", 1.2, 3, AcquisitionNumber=BY_REPEAT["AcquisitionNumber"])
    assert of_repeats(found(tmp_path / "three")) == volumes(3)
    repeats(tmp_path / "lacking", 1.2, AcquisitionNumber=BY_REPEAT["AcquisitionNumber"])
    (tmp_path / "lacking" / uid("name", 1, 2)[-9:]).unlink()
    assert sorted(len(stack.slices) for stack in found(tmp_path / "lacking")) == [N - 1, N]


@pytest.mark.parametrize("step_mm", [THICKNESS_MM, 1.9])
def test_packages_of_one_volume_stay_one_where_their_slices_do_not_overlap_by_half(tmp_path, step_mm):
    for index in range(8):
        ds = axial_t2("P1", "T2", index, step_mm)
        ds.SliceThickness, ds.AcquisitionNumber = str(THICKNESS_MM), str(index % 2 + 1)
        write(ds, tmp_path / str(index))
    assert [len(stack.slices) for stack in found(tmp_path)] == [8]


@pytest.mark.parametrize(
    "number",
    [lambda index: index % 2, lambda index: index // 4, lambda index: index],
    ids=["odd and even", "slabs", "each its own"],
)
def test_evenly_overlapping_slices_are_one_volume(tmp_path, number):
    for index in range(8):
        ds = axial_t2("P1", "T2", index, 1.0)
        ds.SliceThickness, ds.MRAcquisitionType, ds.AcquisitionNumber = "2.4", "3D", str(number(index))
        write(ds, tmp_path / str(index))
    assert [len(stack.slices) for stack in found(tmp_path)] == [8]


def test_overlapping_slices_that_no_tag_tells_apart_stay_together(tmp_path):
    repeats(tmp_path, 1.2, InstanceNumber=lambda repeat, index: "1")
    (stack,) = found(tmp_path)
    assert np.diff([one.position_mm for one in stack.slices]).min() == pytest.approx(1.2)
