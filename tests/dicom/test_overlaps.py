"""Repetitions between which the table or the patient moved: slices that overlap are no volume together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dicom_fixtures import axial_t2, tilted, uid, write
from pydicom import dcmread

from scripts.dicom.judgements import judge
from scripts.dicom.sources import scan
from scripts.dicom.stacks import Stack

SPACING_MM, THICKNESS_MM, N = 3.85, 3.5, 5


def found(folder: Path) -> list[Stack]:
    return scan(folder)[0]


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


UNTOLD = {"InstanceNumber": lambda repeat, index: "1"}


@pytest.mark.parametrize("drift_mm", [0.2, 0.5, 0.9, 1.2, -1.3])
@pytest.mark.parametrize("lost", [(), ((1, N - 1),), ((1, 2),), ((0, 0),), ((0, 1), (1, 3)), ((1, 0), (1, 1))])
def test_repeats_that_drifted_and_that_nothing_divides_are_refused(tmp_path, drift_mm, lost):
    repeats(tmp_path, drift_mm, **UNTOLD)
    for repeat, index in lost:
        (tmp_path / uid("name", repeat, index)[-9:]).unlink()
    (stack,) = found(tmp_path)
    assert len(stack.slices) == 2 * N - len(lost)
    assert "slices overlap by more than half of their thickness" in judge(stack).reason
    assert "no tag or time divides them into whole volumes" in judge(stack).reason


@pytest.mark.parametrize("count", [2, 3])
def test_repeats_aside_that_nothing_divides_are_refused(tmp_path, count):
    repeats(tmp_path, 0.3, count, **UNTOLD)
    for repeat in range(1, count):
        for index in range(N):
            path = tmp_path / uid("name", repeat, index)[-9:]
            ds = dcmread(path)
            ds.ImagePositionPatient = [-8.0 + 3.0 * repeat, -8.0, ds.ImagePositionPatient[2]]
            ds.save_as(path)
    (stack,) = found(tmp_path)
    assert "slices overlap by more than half of their thickness" in judge(stack).reason


def test_a_thin_volume_whose_slices_overlap_evenly_may_lack_some(tmp_path):
    for index in (0, 1, 2, 3, 5, 6, 7, 10, 11):
        ds = axial_t2("P1", "T2", index, 1.0)
        ds.SliceThickness, ds.MRAcquisitionType = "2.4", "3D"
        write(ds, tmp_path / str(index))
    (stack,) = found(tmp_path)
    assert judge(stack).accepted


def turned(folder: Path, degrees: tuple[float, ...], step_mm: float = 0, n: int = N, **tags: Any) -> None:
    """Write packages of slices, each at an angle of its own, and ``step_mm`` above the one before."""
    for package, angle in enumerate(degrees):
        for index in range(n):
            ds = axial_t2("P1", "T2", index, SPACING_MM)
            ds.SliceThickness = str(THICKNESS_MM)
            ds.ImagePositionPatient = [-8.0, -8.0, (index - (n - 1) / 2) * SPACING_MM]
            ds.SOPInstanceUID = uid("repeat", package, index)
            for keyword, value in tags.items():
                setattr(ds, keyword, value(package, index))
            ds = tilted(ds, angle)
            ds.ImagePositionPatient = [
                *ds.ImagePositionPatient[:2],
                float(ds.ImagePositionPatient[2]) + package * step_mm,
            ]
            write(ds, folder / f"{uid('name', package, index)[-9:]}")


@pytest.mark.parametrize("keyword", BY_REPEAT)
@pytest.mark.parametrize("degrees", [(0, 2), (-3, 4), (1, 3, 5)])
def test_repeats_between_which_the_patient_turned_are_a_volume_each(tmp_path, keyword, degrees):
    turned(tmp_path, degrees, **{keyword: BY_REPEAT[keyword]})
    stacks = found(tmp_path)
    assert of_repeats(stacks) == volumes(len(degrees))
    assert all(judge(stack).accepted and stack.warnings == () for stack in stacks)


@pytest.mark.parametrize("keyword", BY_REPEAT)
@pytest.mark.parametrize("degrees", [(0, 2), (-10, 12), (-14, 0, 15)])
@pytest.mark.parametrize("step_mm", [12.0, 16.0, 22.0])
def test_packages_along_the_discs_are_one_volume_whatever_counts_them(tmp_path, keyword, degrees, step_mm):
    turned(tmp_path, degrees, step_mm, **{keyword: BY_REPEAT[keyword]})
    (stack,) = found(tmp_path)
    assert judge(stack).accepted


def test_a_slowly_turning_fan_of_two_acquisitions_is_one_volume(tmp_path):
    for index in range(12):
        ds = tilted(axial_t2("P1", "T2", index, SPACING_MM), index * 0.8)
        ds.SliceThickness, ds.AcquisitionNumber = str(THICKNESS_MM), str(index % 2 + 1)
        write(ds, tmp_path / str(index))
    (stack,) = found(tmp_path)
    assert judge(stack).accepted
