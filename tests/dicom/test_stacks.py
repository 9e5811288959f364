"""What is one volume: angles, gaps, repeats, echoes; and what a whole series says of its parts."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import itk
import numpy as np
import pytest
from dicom_fixtures import axial_t2, item, uid, write, write_series
from geometry_fixtures import GEOMETRIES, SPACING_MM, angled, fan, turned, write_geometry
from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.uid import JPEGLosslessSV1, RLELossless

from scripts.dicom.judgements import judge
from scripts.dicom.pieces import pieces
from scripts.dicom.sources import scan
from scripts.evaluation.coding import runs
from scripts.phantom.enhanced import enhanced_of


def stacks_in(folder: Path) -> list[Any]:
    stacks, unreadable = scan(folder)
    assert unreadable == []
    return stacks


def decisions(folder: Path) -> list[tuple[str, int]]:
    return [(judge(stack).decision, len(stack.slices)) for stack in stacks_in(folder)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_series_is_one_volume_in_the_order_of_its_slices(tmp_path, name, seed):
    slices = GEOMETRIES[name](np.random.default_rng([seed, 7]))
    paths = write_geometry(tmp_path, slices)
    uids = {str(dcmread(path).SOPInstanceUID): number for number, path in enumerate(paths)}
    (stack,) = stacks_in(tmp_path)
    assert judge(stack).accepted, judge(stack).reason
    along = [one.position_mm for one in stack.slices]
    assert along == sorted(along)
    if name != "stacks along discs":  # whose outer slices may lie between one another
        assert [uids[one.sop_uid] for one in stack.slices] == list(range(len(slices)))
    normal = np.mean([axes[:, 2] for _, axes in slices], axis=0)
    middles = np.array([slices[uids[one.sop_uid]][0] for one in stack.slices])
    expected = middles @ normal / np.linalg.norm(normal)
    np.testing.assert_allclose(np.diff(along), np.diff(expected), atol=0.02 if name != "very slow drift" else 0.1)
    assert stack.spacing_mm is None or stack.spacing_mm == pytest.approx(SPACING_MM, abs=0.25)


def test_warnings_say_that_slices_stand_at_angles_and_where_some_are_missing(tmp_path):
    three = angled(np.random.default_rng(4))
    write_geometry(tmp_path / "whole", three)
    write_geometry(tmp_path / "gap", [*three[:5], *three[7:]])
    (whole,), (gap,) = stacks_in(tmp_path / "whole"), stacks_in(tmp_path / "gap")
    assert whole.warnings[0].startswith("slices at 3 angles, up to ")
    assert gap.warnings[1].startswith("gaps of up to ")
    assert gap.warnings[1].endswith("where 3.30 are usual, widest after slice 5")
    write_geometry(tmp_path / "fan", fan(np.random.default_rng(0), 3.0))
    (stack,) = stacks_in(tmp_path / "fan")
    assert stack.warnings[0].startswith(f"slices at {len(stack.slices)} angles, up to {3 * (len(stack.slices) - 1)}.0°")


def test_a_run_of_compressed_slices_goes_on_across_the_border_of_two_angles(tmp_path):
    slices = []
    for number, degrees in enumerate((-8, 3, 12)):
        tilt = turned(degrees)
        slices += [(np.array([0, 0, 12.0 * number]) + tilt @ [0, 0, 3.0 * n], tilt) for n in (-1.5, -0.5, 0.5, 1.5)]
    write_geometry(tmp_path, slices)
    (stack,) = stacks_in(tmp_path)
    along = [one.position_mm for one in stack.slices]
    called = [2 < number < 10 for number in range(12)]
    (run,) = runs(called, along, [3.0] * 12, [1] * 12)
    assert run.slices == tuple(range(3, 10))
    assert run.length_mm == pytest.approx(7 * 3, abs=0.3)


def test_neither_angles_nor_order_depend_on_file_names(tmp_path):
    slices = angled(np.random.default_rng(1))
    paths = write_geometry(tmp_path / "a", slices)
    (tmp_path / "b").mkdir()
    for path, name in zip(paths, random.Random(0).sample(range(100), len(paths)), strict=True):
        (tmp_path / "b" / str(name)).write_bytes(path.read_bytes())
    first, second = ([one.sop_uid for one in stacks_in(tmp_path / name)[0].slices] for name in "ab")
    assert first == second


def test_stacks_that_cross_share_no_place_and_a_quarter_turn_is_another_volume(tmp_path):
    crossing = [(np.array([0, 0, 3.0 * n]), turned(degrees)) for degrees in (-10, 10) for n in range(4)]
    write_geometry(tmp_path / "crossing", crossing)
    assert decisions(tmp_path / "crossing") == [("accept", 8)]
    level = [(np.array([0, 0, 3.0 * n]), np.eye(3)) for n in range(4)]
    quarter = [(np.array([0, 0, 3.0 * n]), turned(90, 2)) for n in range(4)]
    write_geometry(tmp_path / "turned", [*level, *quarter])
    assert sorted(len(stack.slices) for stack in stacks_in(tmp_path / "turned")) == [4, 4]


def test_two_stacks_at_one_angle_that_lie_aside_of_each_other_are_pieces_and_one_that_jumps_is_refused(tmp_path):
    apart = [(np.array([0, 8.0 * (n > 3), 3.0 * n + 12 * (n > 3)]), np.eye(3)) for n in range(8)]
    write_geometry(tmp_path / "apart", apart)
    (stack,) = stacks_in(tmp_path / "apart")
    assert judge(stack).accepted
    assert [piece.slices for piece in pieces(stack)] == [(0, 1, 2, 3), (4, 5, 6, 7)]
    jump = [(np.array([0, 8.0 * (n == 4), 3.0 * n]), np.eye(3)) for n in range(8)]
    write_geometry(tmp_path / "jump", jump)
    assert decisions(tmp_path / "jump") == [("refuse", 8)]


def test_stacks_whose_slices_interleave_keep_a_piece_each(tmp_path):
    tilt = turned(4)
    slices = [(np.array([0, 0, 3.0 * n]), np.eye(3)) for n in range(5)]
    slices += [(np.array([0, 0, 10.5]) + tilt @ [0, 0, 3.0 * n], tilt) for n in range(5)]
    write_geometry(tmp_path, slices)
    (stack,) = stacks_in(tmp_path)
    assert [piece.slices for piece in pieces(stack)] == [(0, 1, 2, 3, 5), (4, 6, 7, 8, 9)]


@pytest.mark.parametrize(("second_mm", "places"), [(6.0, [(0, 2)]), (4.5, [(0,), (0,)])])
def test_two_slices_with_a_gap_are_a_piece_with_an_empty_place_or_two_pieces(tmp_path, second_mm, places):
    """Their distance is no slice spacing, so neither fills the gap."""
    slices = [(np.array([0, 0, height_mm]), np.eye(3)) for height_mm in (0, second_mm)]
    slices += [(np.array([0, 0, 15.0]) + turned(8) @ [0, 0, 3.0 * n], turned(8)) for n in range(6)]
    write_geometry(tmp_path, slices)
    (stack,) = stacks_in(tmp_path)
    found = pieces(stack)
    assert [piece.places for piece in found] == [*places, (0, 1, 2, 3, 4, 5)]
    assert [np.linalg.norm(piece.affine[:3, 2]) for piece in found] == pytest.approx([3.0] * len(found), abs=0.01)


def repeats(folder: Path, count: int, n: int = 8, leave_out: tuple[int, int] | None = None, **tags: Any) -> None:
    """Write a series ``count`` times over; ``tags`` get repeat and slice."""
    for repeat in range(count):
        for index in range(n):
            ds = axial_t2("P1", "T2", index)
            ds.SOPInstanceUID = uid("repeat", repeat, index)
            for keyword, value in tags.items():
                if value is None:
                    delattr(ds, keyword)
                else:
                    setattr(ds, keyword, value(repeat, index))
            if (repeat, index) != leave_out:
                write(ds, folder / f"{uid('name', repeat, index)[-9:]}")


TIME_OF_SLICE = {
    "after one another": lambda repeat, index: f"10{repeat:02d}{3 * index:02d}.5",
    "interleaved": lambda repeat, index: f"10{repeat:02d}{(index % 2) * 30 + index:02d}.25",
    "each slice repeated at once": lambda repeat, index: f"1{index}0{repeat}00.0",
    "in pairs": lambda repeat, index: f"10{repeat:02d}{index // 2:02d}.0",
}


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("name", TIME_OF_SLICE)
def test_repeats_whose_time_differs_by_slice_are_whole_volumes(tmp_path, name, count):
    repeats(tmp_path, count, AcquisitionTime=TIME_OF_SLICE[name], InstanceNumber=lambda repeat, index: "1")
    found = stacks_in(tmp_path)
    assert [(judge(stack).decision, len(stack.slices)) for stack in found] == [("accept", 8)] * count
    for repeat, stack in enumerate(found):
        assert [one.sop_uid for one in stack.slices] == [uid("repeat", repeat, index) for index in range(8)]
        assert stack.warnings == ()


@pytest.mark.parametrize(
    "tags",
    [
        {"AcquisitionNumber": lambda repeat, index: str(10 * index + repeat + 1)},
        {"AcquisitionNumber": None, "InstanceNumber": lambda repeat, index: str(100 * repeat + index)},
        {"InstanceNumber": lambda repeat, index: str(3 * index + repeat)},
        {"TemporalPositionIdentifier": lambda repeat, index: str(repeat + 9)},
        {"AcquisitionNumber": lambda repeat, index: str(repeat + 9)},
    ],
    ids=["acquisition by slice", "instance after instance", "instances by slice", "temporal position", "acquisition"],
)
def test_repeats_are_told_by_any_number_that_counts_them(tmp_path, tags):
    repeats(tmp_path, 3, n=4, **tags)
    found = stacks_in(tmp_path)
    assert [[one.sop_uid for one in stack.slices] for stack in found] in (
        [[uid("repeat", repeat, index) for index in range(4)] for repeat in order]
        for order in ((0, 1, 2), (1, 2, 0))  # 10 and 11 come before 9 as text
    )


def test_a_repeat_that_lacks_an_image_is_a_volume_where_a_tag_says_which_it_is_and_else_one_refusal(tmp_path):
    lacking = {"leave_out": (1, 3)}
    repeats(tmp_path / "tag", 2, AcquisitionNumber=lambda repeat, index: str(repeat), **lacking)
    assert sorted(decisions(tmp_path / "tag")) == [("accept", 7), ("accept", 8)]
    repeats(tmp_path / "time", 2, AcquisitionTime=TIME_OF_SLICE["interleaved"], **lacking)
    assert decisions(tmp_path / "time") == [("refuse", 15)]


def test_images_side_by_side_in_one_plane_are_no_repeats(tmp_path):
    beside = [[-8.0 + 9 * (repeat % 2), -8.0, 3.0 * index] for repeat in (0, 1) for index in range(4)]
    repeats(tmp_path, 2, n=4, InstanceNumber=lambda repeat, index: str(4 * repeat + index + 1),
            ImagePositionPatient=lambda repeat, index: beside[4 * repeat + index])  # fmt: skip
    assert decisions(tmp_path) == [("refuse", 8)]
    (stack,) = stacks_in(tmp_path)
    assert "8 images share 4 positions" in judge(stack).reason


def test_concatenations_of_a_series_are_one_volume_and_repeated_ones_two(tmp_path):
    """Odd and even slices are acquired one after the other, under two numbers."""
    repeats(tmp_path / "once", 1, AcquisitionNumber=lambda repeat, index: str(index % 2))
    assert decisions(tmp_path / "once") == [("accept", 8)]
    repeats(tmp_path / "twice", 2, AcquisitionNumber=lambda repeat, index: str(2 * repeat + index % 2))
    assert decisions(tmp_path / "twice") == [("accept", 8), ("accept", 8)]


def test_repeats_of_angled_stacks_are_two_volumes(tmp_path):
    slices = angled(np.random.default_rng(3))
    for repeat in (0, 1):
        write_geometry(
            tmp_path / str(repeat), slices, SOPInstanceUID=lambda index, repeat=repeat: uid("angled", repeat, index),
            AcquisitionTime=lambda index, repeat=repeat: f"10{repeat:02d}{index:02d}",
        )  # fmt: skip
    assert decisions(tmp_path) == [("accept", 12), ("accept", 12)]


def test_echoes_and_repeats_in_one_enhanced_file_are_volumes_of_their_own(tmp_path):
    frames = [axial_t2("P1", "E", index) for index in range(4)]
    ds = enhanced_of([*frames, *frames], uid("echo"))
    for number, groups in enumerate(ds.PerFrameFunctionalGroupsSequence):
        groups.MREchoSequence = item(EffectiveEchoTime=30.0 if number < 4 else 90.0)
    write(ds, tmp_path / "echoes" / "file")
    assert sorted(decisions(tmp_path / "echoes")) == [("accept", 4), ("refuse", 4)]
    (kept,) = (stack for stack in stacks_in(tmp_path / "echoes") if judge(stack).accepted)
    assert [int(one.frame) for one in kept.slices] == [5, 6, 7, 8]
    for keyword in ("TemporalPositionIndex", "FrameAcquisitionNumber"):
        ds = enhanced_of([*frames, *frames], uid("repeat", keyword))
        for number, groups in enumerate(ds.PerFrameFunctionalGroupsSequence):
            setattr(groups.FrameContentSequence[0], keyword, 1 + number // 4)
        write(ds, tmp_path / keyword / "file")
        assert decisions(tmp_path / keyword) == [("accept", 4), ("accept", 4)]


def test_one_image_with_diffusion_weighting_refuses_its_whole_series(tmp_path):
    write_series(tmp_path / "0", DiffusionBValue=0.0)
    write_series(tmp_path / "1", DiffusionBValue=1000.0, SOPInstanceUID=lambda index: uid("b", index))
    write_series(tmp_path / "2", series="other", DiffusionBValue=0.0)
    found = {judge(stack).reason: judge(stack).decision for stack in stacks_in(tmp_path)}
    assert found == {
        "diffusion series (other images of it have b = 1000 s/mm²)": "refuse",
        "diffusion (b = 1000 s/mm²)": "refuse",
        "axial T2 (SE 2D, TE 100 ms, TR 4000 ms)": "accept",
    }


def private(group: int, creator: str, **elements: Any) -> Any:
    """Give a change that adds private elements, named xELEMENT, each as (VR, value)."""

    def change(ds: Any) -> None:
        ds.add(DataElement((group, 0x0010), "LO", creator))
        for name, (vr, value) in elements.items():
            ds.add(DataElement((group, int(name[1:], 16)), vr, value))

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (private(0x2001, "Philips Imaging DD 001", x1003=("FL", 800.0)), "diffusion (b = 800 s/mm²)"),
        (private(0x0019, "SIEMENS MR HEADER", x100C=("IS", "500")), "diffusion (b = 500 s/mm²)"),
        (private(0x0043, "GEMS_PARM_01", x1039=("IS", ["1000000750", "8", "0", "0"])), "diffusion (b = 750 s/mm²)"),
        (private(0x0043, "GEMS_PARM_01", x1039=("IS", ["0", "2", "0", "0"])), ""),
        (private(0x2001, "Philips Imaging DD 001", x1013=("SL", 7)), "echo planar (EPI or GRASE, EPI factor 7)"),
        (private(0x2001, "Philips Imaging DD 001", x1013=("SL", 1), x1003=("FL", 0.0)), ""),
        (private(0x2001, "SOMEBODY ELSE", x1013=("SL", 7), x1003=("FL", 800.0)), ""),
    ],
)
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"])
def test_diffusion_and_epi_are_found_where_makers_hide_them(tmp_path, change, reason, syntax):
    for index in range(3):
        ds = axial_t2("P1", "T2", index)
        change(ds)
        write(ds, tmp_path / str(index), syntax)
    (stack,) = stacks_in(tmp_path)
    assert judge(stack).accepted is not bool(reason)
    assert not reason or judge(stack).reason == reason


def test_private_values_of_unknown_vr_are_read_as_what_they_are(tmp_path):
    ds = axial_t2("P1", "T2", 0)
    ds.add(DataElement((0x2001, 0x0010), "LO", "Philips Imaging DD 001"))
    ds.add(DataElement((0x2001, 0x1003), "UN", np.float32(600).tobytes()))
    write(ds, tmp_path / "0")
    (stack,) = stacks_in(tmp_path)
    assert judge(stack).reason == "diffusion (b = 600 s/mm²)"


@pytest.mark.parametrize(
    ("changes", "compressed", "accepted"),
    [
        ({"ImageType": ["DERIVED", "PRIMARY", "M", "ND"]}, True, True),
        ({"ImageType": ["DERIVED", "PRIMARY"]}, True, True),
        ({"ImageType": ["DERIVED", "PRIMARY", "M", "ND"]}, False, False),
        ({"ImageType": ["DERIVED", "PRIMARY", "M", "ND"], "LossyImageCompression": "00"}, False, False),
        ({"ImageType": ["DERIVED", "PRIMARY", "M", "ND"], "LossyImageCompression": "01"}, True, False),
        ({"ImageType": ["DERIVED", "PRIMARY", "MPR"]}, True, False),
        ({"ImageType": ["DERIVED", "PRIMARY", "M", "AVERAGE"]}, True, False),
        ({"ImageType": ["DERIVED", "SECONDARY", "M"]}, True, False),
        ({"ImageType": ["DERIVED", "PRIMARY", "M"], "DerivationDescription": "MEDCOM RESAMPLED"}, True, False),
        ({"ImageType": ["DERIVED", "SECONDARY"], "DerivationDescription": "Lossless JPEG compression"}, False, True),
    ],
)
def test_an_image_derived_by_lossless_compression_alone_is_accepted(tmp_path, changes, compressed, accepted):
    for path in write_series(tmp_path, n=2, **changes):
        if compressed:
            ds = dcmread(path)
            ds.compress(RLELossless, generate_instance_uid=False)
            ds.save_as(path)
    assert [decision for decision, _ in decisions(tmp_path)] == ["accept" if accepted else "refuse"]


def as_jpeg_lossless(path: Path, out: Path, change: int = 0) -> None:
    """Write a copy of a file in JPEG lossless, which ITK writes and pydicom has no decoder for."""
    plain = dcmread(path)
    del plain.RescaleSlope, plain.RescaleIntercept
    plain.save_as(out)
    pixels = itk.array_from_image(itk.imread(str(out), pixel_type=itk.US))
    pixels[0, 0, 0] += change
    image = itk.image_from_array(pixels)
    writer = itk.ImageFileWriter.New(image, FileName=str(out), UseCompression=True)
    codec = itk.GDCMImageIO.New()
    codec.SetCompressionType(itk.GDCMImageIOEnums.Compression_JPEG)
    writer.SetImageIO(codec)
    writer.Update()
    encoded, ds = dcmread(out), dcmread(path)
    assert encoded.file_meta.TransferSyntaxUID == JPEGLosslessSV1
    ds.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    ds.PixelData = encoded.PixelData
    ds["PixelData"].is_undefined_length = True
    ds.save_as(out)


@pytest.mark.parametrize("change", [0, 1])
def test_a_copy_in_jpeg_lossless_is_compared_by_the_decoder_that_reads_it(tmp_path, change, monkeypatch):
    paths = write_series(tmp_path / "native", n=3, RescaleSlope="2.5", RescaleIntercept="-3")
    as_jpeg_lossless(paths[1], tmp_path / "copy.dcm", change)
    # without the packages of the tests, pydicom cannot decode it
    monkeypatch.setattr("pydicom.Dataset.pixel_array", property(lambda _: pytest.fail("decoded by pydicom")))
    ((decision, reason),) = [judge(stack) for stack in stacks_in(tmp_path)]
    assert decision == ("refuse" if change else "accept"), reason
    assert not change or reason.startswith("files of one SOPInstanceUID disagree in their pixels: ")
