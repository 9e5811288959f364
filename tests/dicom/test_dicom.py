"""Reading, grouping, ordering and judging DICOM."""

from __future__ import annotations

import math
import random
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_fixtures import AXIAL, CORONAL, SAGITTAL, axial_t2, enhanced_t2, item, uid, write, write_series
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless
from spreads import last_first

from scripts.dicom import sources
from scripts.dicom.judgements import body_part_warning, judge
from scripts.dicom.pixels import same_pixels
from scripts.dicom.sources import one_stack, scan
from scripts.errors import InputError


def only(folder: Path):
    stacks, unreadable = scan(folder)
    assert unreadable == []
    assert len(stacks) == 1, [stack.description for stack in stacks]
    return stacks[0]


def decisions(folder: Path) -> list[tuple[str, str, int]]:
    return [(*judge(stack), len(stack.slices)) for stack in scan(folder)[0]]


def test_an_axial_t2_is_accepted_and_ordered_from_caudal_to_cranial(tmp_path):
    write_series(tmp_path)
    stack = only(tmp_path)
    assert judge(stack) == ("accept", "axial T2 (SE 2D, TE 100 ms, TR 4000 ms)")
    assert [one.sop_uid for one in stack.slices] == [uid("P1", "T2", index) for index in range(5)]
    assert [one.position_mm for one in stack.slices] == [0, 3, 6, 9, 12]
    assert (stack.plane, stack.oblique_degrees, stack.spacing_mm, stack.warnings) == ("axial", 0, 3, ())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"EchoTime": "10", "RepetitionTime": "600"}, "T1-weighted (TE 10 ms, TR 600 ms)"),
        ({"EchoTime": "30"}, "PD-weighted (TE 30 ms, TR 4000 ms)"),
        ({"ScanningSequence": ["SE", "IR"], "InversionTime": "160"}, "STIR (inversion time 160 ms)"),
        ({"ScanningSequence": ["SE", "IR"], "InversionTime": "2500"}, "inversion recovery (inversion time 2500 ms)"),
        ({"ScanningSequence": ["SE", "IR"]}, "inversion recovery (inversion time missing)"),
        ({"ScanOptions": ["PFP", "FS"]}, "fat saturation (ScanOptions FS)"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "DIXON", "WATER"]}, "water image (Dixon)"),
        ({"ScanningSequence": ["SE", "EP"]}, "echo planar (EPI)"),
        ({"DiffusionBValue": 800.0}, "diffusion (b = 800 s/mm²)"),
        ({"EchoTime": None}, "weighting unknown (EchoTime missing)"),
        ({"EchoTime": None, "ScanningSequence": None}, "weighting unknown (EchoTime, ScanningSequence missing)"),
        ({"RepetitionTime": "1500"}, "weighting unknown (SE, TE 100 ms, TR 1500 ms fit none)"),
        ({"ScanningSequence": "GR", "EchoTime": "3"}, "weighting unknown (GR, TE 3 ms, TR 4000 ms fit none)"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, "mosaic"),
        ({"ImageType": ["DERIVED", "SECONDARY"]}, r"derived or secondary image (ImageType DERIVED\SECONDARY)"),
        ({"ImageType": ["DERIVED", "PRIMARY", "MPR"]}, "computed or partial image"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}, "not a magnitude image"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        (
            {"ImageOrientationPatient": list(SAGITTAL), "ImagePositionPatient": lambda index: [3.0 * index, 0.0, 0.0]},
            "sagittal (the normal is 0° off the nearest axis), not axial",
        ),
        (
            {"ImageOrientationPatient": list(CORONAL), "ImagePositionPatient": lambda index: [0.0, 3.0 * index, 0.0]},
            "coronal (the normal is 0° off the nearest axis), not axial",
        ),
        ({"Modality": "CT"}, "not an MR image (modality CT"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "MONOCHROME1"),
        ({"LossyImageCompression": "01"}, "lossily compressed"),
        ({"PixelData": None}, "no PixelData"),
        ({"PixelData": bytes(2 * 32 * 31)}, "PixelData has 1984 bytes where rows, columns and bits ask for 2048"),
        ({"ImagePositionPatient": None}, "no position or orientation"),
        ({"ImageOrientationPatient": [1.0, 0, 0, 0.5, 1, 0]}, "not two perpendicular unit vectors"),
        ({"PixelSpacing": [0.0, 0.5]}, "PixelSpacing is missing or impossible"),
        ({"RescaleSlope": "0"}, "RescaleSlope is 0"),
        ({"SeriesInstanceUID": ""}, "SeriesInstanceUID or SOPInstanceUID is missing"),
    ],
)
def test_what_is_no_axial_t2_is_refused_with_the_reason(tmp_path, changes, reason):
    write_series(tmp_path, n=2, **changes)
    found = decisions(tmp_path)
    assert [decision for decision, _, _ in found] == ["refuse"] * len(found)
    assert all(text.startswith(reason) or reason in text for _, text, _ in found), found


@pytest.mark.parametrize(
    ("changes", "weighting"),
    [
        ({"ScanningSequence": "GR", "EchoTime": "14", "RepetitionTime": "700"}, "T2*"),
        ({"MRAcquisitionType": "3D", "RepetitionTime": "1500", "EchoTime": "120"}, "T2"),
        ({"ImageType": ["DERIVED", "SECONDARY"], "DerivationDescription": "Lossless RLE compression"}, "T2"),
        ({"SeriesDescription": "sag T1 STIR localizer"}, "T2"),
        ({"PixelRepresentation": 1}, "T2"),
        ({"PatientPosition": "HFDL"}, "T2"),
        ({"RescaleSlope": lambda index: str(1 + index), "RescaleIntercept": "0"}, "T2"),
    ],
)
def test_variants_of_the_axial_t2_are_accepted(tmp_path, changes, weighting):
    write_series(tmp_path, **changes)
    stack = only(tmp_path)
    assert judge(stack).accepted
    assert stack.weighting == weighting


def test_slopes_are_carried_slice_by_slice(tmp_path):
    write_series(tmp_path, RescaleSlope=lambda index: f"{index + 1}.5", RescaleIntercept="-7")
    assert [(one.slope, one.intercept) for one in only(tmp_path).slices] == [(i + 1.5, -7.0) for i in range(5)]


def test_a_position_of_more_than_sixteen_characters_still_counts(tmp_path):
    for path in write_series(tmp_path, n=1):
        raw = path.read_bytes()
        old = dcmread(path).get_item("ImagePositionPatient").value
        new = b"-8.0000000000000001\\-8.0\\1.250000000000000001 ".ljust(46)
        head = b"\x20\x00\x32\x00DS"
        at = raw.index(head)
        path.write_bytes(raw[: at + 6] + len(new).to_bytes(2, "little") + new + raw[at + 8 + len(old) + len(old) % 2 :])
    assert only(tmp_path).slices[0].origin_mm == (-8.0, -8.0, 1.25)


def test_a_localizer_is_told_by_its_three_planes(tmp_path):
    for name, orientation in (("a", AXIAL), ("s", SAGITTAL), ("c", CORONAL)):
        write_series(
            tmp_path / name, n=2, ImageOrientationPatient=list(orientation),
            SOPInstanceUID=lambda index, name=name: uid(name, index),
            ImagePositionPatient=lambda index, o=orientation: list(np.cross(o[:3], o[3:]) * 5.0 * index),
        )  # fmt: skip
    found = decisions(tmp_path)
    assert [(decision, n) for decision, _, n in found] == [("refuse", 2)] * 3
    assert {reason for _, reason, _ in found} == {"localizer: axial and coronal and sagittal in one series"}


def test_two_echoes_at_one_position_are_two_stacks(tmp_path):
    write_series(tmp_path / "1", EchoTime="100", EchoNumbers="2")
    write_series(tmp_path / "2", EchoTime="20", EchoNumbers="1", SOPInstanceUID=lambda index: uid("echo", index))
    assert sorted(decisions(tmp_path)) == [
        ("accept", "axial T2 (SE 2D, TE 100 ms, TR 4000 ms)", 5),
        ("refuse", "PD-weighted (TE 20 ms, TR 4000 ms)", 5),
    ]


def test_time_points_at_one_position_are_stacks_of_their_own(tmp_path):
    write_series(tmp_path / "1")
    write_series(tmp_path / "2", AcquisitionNumber="2", SOPInstanceUID=lambda index: uid("again", index))
    assert [(decision, n) for decision, _, n in decisions(tmp_path)] == [("accept", 5), ("accept", 5)]


def test_images_at_one_position_that_no_tag_tells_apart_are_refused(tmp_path):
    write_series(tmp_path / "1")
    write_series(tmp_path / "2", SOPInstanceUID=lambda index: uid("again", index))
    ((decision, reason, n),) = decisions(tmp_path)
    assert (decision, n) == ("refuse", 10)
    assert "10 images share 5 positions" in reason


def test_copies_of_a_file_count_once(tmp_path):
    first = write_series(tmp_path)[0]
    shutil.copy(first, tmp_path / "copy")
    stack = only(tmp_path)
    assert len(stack.slices) == 5
    assert stack.copies == (max(str(first), str(tmp_path / "copy")),)


def test_copies_whose_pixels_differ_are_refused(tmp_path):
    first = write_series(tmp_path)[0]
    ds = dcmread(first)
    ds.PixelData = bytes(len(ds.PixelData))
    ds.save_as(tmp_path / "other")
    ((decision, reason, _),) = decisions(tmp_path)
    assert decision == "refuse"
    assert reason.startswith("files of one SOPInstanceUID disagree in their pixels: ")


def test_a_compressed_copy_is_a_copy_unless_its_pixels_differ(tmp_path):
    ds = dcmread(write_series(tmp_path)[0])
    ds.compress(RLELossless, generate_instance_uid=False)
    ds.save_as(tmp_path / "compressed")
    stack = only(tmp_path)
    assert judge(stack).accepted
    assert len(stack.copies) == 1
    ds.decompress(generate_instance_uid=False)
    ds.PixelData = ds.PixelData[::-1]
    ds.compress(RLELossless, generate_instance_uid=False)
    ds.save_as(tmp_path / "compressed")
    assert not judge(only(tmp_path)).accepted


def test_pixels_are_compared_only_where_files_share_a_uid(tmp_path, monkeypatch):
    monkeypatch.setattr("scripts.dicom.copies.same_pixels", None)
    write_series(tmp_path)
    assert judge(only(tmp_path)).accepted


def test_one_uid_on_two_different_images_is_refused(tmp_path):
    write_series(tmp_path, SOPInstanceUID=lambda index: uid("same", max(index, 1)))
    ((decision, reason, _),) = decisions(tmp_path)
    assert decision == "refuse"
    assert "files of one SOPInstanceUID disagree" in reason


def test_one_series_uid_in_two_patients_is_refused(tmp_path):
    for name in ("A", "B"):
        write_series(tmp_path / name, name, SeriesInstanceUID="1.2.3")
    assert {reason for _, reason, _ in decisions(tmp_path)} == {
        "several patients or studies share this SeriesInstanceUID"
    }


def test_a_missing_slice_is_reported_with_the_numbers(tmp_path):
    paths = write_series(tmp_path, n=6)
    paths[3].unlink()
    stack = only(tmp_path)
    assert judge(stack).accepted
    assert stack.warnings == ("uneven gaps: 3.00 to 6.00 mm, median 3.00; about 1 slices missing, first after slice 3",)


def test_a_tilted_stack_reports_its_angle_and_keeps_its_order(tmp_path):
    angle = math.radians(20)
    column = [0.0, math.cos(angle), math.sin(angle)]
    normal = np.cross([1.0, 0, 0], column)
    write_series(
        tmp_path, ImageOrientationPatient=[1.0, 0.0, 0.0, *column],
        ImagePositionPatient=lambda index: list(3.0 * index * normal),
    )  # fmt: skip
    stack = only(tmp_path)
    assert (stack.plane, judge(stack).decision) == ("axial", "accept")
    assert stack.oblique_degrees == pytest.approx(20)
    assert stack.shear_degrees == pytest.approx(0, abs=1e-6)
    assert [one.sop_uid for one in stack.slices] == [uid("P1", "T2", index) for index in range(5)]


def test_gantry_tilt_is_a_warning_and_a_jump_sideways_a_refusal(tmp_path):
    shift_mm = 3 * math.tan(math.radians(10))
    write_series(tmp_path / "tilt", "A", ImagePositionPatient=lambda index: [0.0, index * shift_mm, 3.0 * index])
    stack = only(tmp_path / "tilt")
    assert stack.shear_degrees == pytest.approx(10)
    assert judge(stack).accepted
    write_series(tmp_path / "jump", "B", ImagePositionPatient=lambda index: [0.0, 9.0 * (index == 2), 3.0 * index])
    ((decision, reason, _),) = decisions(tmp_path / "jump")
    assert decision == "refuse"
    assert "shifted sideways against each other by up to 7.2 mm" in reason


def test_the_order_of_files_and_their_names_decide_nothing(tmp_path):
    write_series(tmp_path / "a" / "b", "P1")
    write_series(tmp_path / "a", "P2", "T1", EchoTime="10", RepetitionTime="500")
    write_series(tmp_path / "c", "P1", "sag", ImageOrientationPatient=list(SAGITTAL))
    write_series(tmp_path / "d", "P3", "twice", SOPInstanceUID=lambda index: uid("x", index % 3))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    expected = decisions(tmp_path)
    for seed in range(5):
        again = tmp_path / f"again{seed}"
        again.mkdir()
        names = random.Random(seed).sample(range(1000), len(files))
        for path, name in zip(files, names, strict=True):
            shutil.copy(path, again / str(name))
        strip = [(decision, reason.split(": /")[0].split(" disagree")[0]) for decision, reason, _ in decisions(again)]
        assert strip == [(decision, reason.split(" disagree")[0]) for decision, reason, _ in expected]


def test_chunks_that_are_read_in_another_order_give_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "CHUNK", 7)
    monkeypatch.setattr(sources, "FEWEST", 1)
    for patient in ("A", "B", "C"):
        write_series(tmp_path / patient, patient, n=30)
    (tmp_path / "notes.txt").write_text("hello")
    assert scan(tmp_path, last_first) == scan(tmp_path)


def test_enhanced_multi_frame_is_accepted_and_its_frames_ordered(tmp_path):
    write(enhanced_t2(), tmp_path / "enhanced")
    stack = only(tmp_path)
    assert judge(stack) == ("accept", "axial T2 (SE 2D, TE 100 ms, TR 4000 ms)")
    assert [one.frame for one in stack.slices] == ["5", "4", "3", "2", "1"]
    assert [one.slope for one in stack.slices] == [5, 4, 3, 2, 1]
    assert stack.multi_frame
    assert {one.sop_uid for one in stack.slices} == {uid("P1", "E", 0)}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda ds: setattr(ds, "NumberOfFrames", 4), "NumberOfFrames is 4"),
        (lambda ds: setattr(ds, "NumberOfFrames", -5), "NumberOfFrames is no whole number from 1"),
        (
            lambda ds: delattr(ds.PerFrameFunctionalGroupsSequence[2], "PlanePositionSequence"),
            "ImagePositionPatient is missing from frame 3",
        ),
        (lambda ds: delattr(ds, "PerFrameFunctionalGroupsSequence"), "5 frames without functional groups"),
        (lambda ds: setattr(ds, "EchoPlanarPulseSequence", "YES"), "echo planar"),
        (
            lambda ds: setattr(
                ds.SharedFunctionalGroupsSequence[0],
                "MRModifierSequence",
                item(InversionRecovery="YES", InversionTimes=[150.0]),
            ),
            "STIR (inversion time 150 ms)",
        ),
        (
            lambda ds: setattr(
                ds.SharedFunctionalGroupsSequence[0], "MRModifierSequence", item(SpectrallySelectedSuppression="FAT")
            ),
            "fat suppression (spectrally selective: FAT)",
        ),
    ],
)
def test_enhanced_multi_frame_is_refused_by_its_functional_groups(tmp_path, change, reason):
    ds = enhanced_t2()
    change(ds)
    if ds.NumberOfFrames == 4:
        ds.PixelData = ds.PixelData[: 4 * 2048]
    write(ds, tmp_path / "enhanced")
    for decision, text, _ in decisions(tmp_path):
        assert decision == "refuse"
        assert reason in text


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless])
def test_the_transfer_syntax_changes_nothing(tmp_path, syntax):
    for index in range(3):
        ds = axial_t2("P1", "T2", index)
        if syntax == RLELossless:
            write(ds, tmp_path / str(index))
            ds.compress(RLELossless, generate_instance_uid=False)
        elif syntax == ExplicitVRBigEndian:
            ds["PixelData"].VR = "OW"
            ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
        write(ds, tmp_path / str(index), syntax)
    write_series(tmp_path / "plain", "P1", n=3)
    coded, plain = only_of(tmp_path, syntax), only(tmp_path / "plain")
    assert judge(coded) == judge(plain)
    assert [(s.sop_uid, s.origin_mm) for s in coded.slices] == [(s.sop_uid, s.origin_mm) for s in plain.slices]


def only_of(folder: Path, syntax: str):
    stack = one_stack([path for path in folder.iterdir() if path.is_file()])
    assert stack.transfer_syntax_uid == syntax
    return stack


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_truncated_file_is_never_accepted(tmp_path, share):
    path = write_series(tmp_path)[2]
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    stacks, unreadable = scan(tmp_path)
    for stack in stacks:
        names = {Path(one.path).name for one in stack.slices}
        assert not judge(stack).accepted or path.name not in names
    assert len(stacks) + len(unreadable) >= 1


def test_what_is_no_dicom_is_listed_with_its_reason(tmp_path):
    write_series(tmp_path)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_text("no image " * 100)
    shutil.copy(get_testdata_file("DICOMDIR"), tmp_path / "DICOMDIR")
    shutil.copy(get_testdata_file("UN_sequence.dcm"), tmp_path / "nothing")
    shutil.copy(get_testdata_file("image_dfl.dcm"), tmp_path / "deflated")
    stacks, unreadable = scan(tmp_path)
    assert len(stacks) == 1
    assert {Path(path).name: reason.split(" (")[0].split(";")[0].split(",")[0] for path, reason in unreadable} == {
        "empty": "empty file",
        "text": "not DICOM",
        "DICOMDIR": "DICOMDIR",
        "nothing": "DICOM that parses to nothing",
        "deflated": "deflated DICOM is not supported",
    }


def test_every_file_of_pydicom_is_accounted_for_and_only_mr_could_be_accepted():
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    stacks, unreadable = scan(folder)
    n_files = sum(path.is_file() for path in folder.rglob("*"))
    used = {one.path for stack in stacks for one in stack.slices}
    copies = {path for stack in stacks for path in stack.copies}
    assert len(used | copies) + len(unreadable) == n_files
    assert [stack for stack in stacks if judge(stack).accepted] == []


def test_real_series_come_out_right(real_data):
    found = {
        Path(stack.slices[0].path).name: (*judge(stack), len(stack.slices), stack.weighting)
        for stack in scan([real_data / "nema_axial_dicom", real_data / "toshiba_axial_dicom"])[0]
    }
    assert found.pop("MR1_RLE") == ("accept", "axial T2 (SE 3D, TE 240 ms, TR 4000 ms)", 1, "T2")
    assert found.pop("MR4_RLE")[:2] == ("refuse", "STIR (inversion time 140 ms)")
    ((decision, reason, n, _),) = found.values()
    assert (decision, reason, n) == ("refuse", "echo planar (EPI)", 26)


def test_one_stack_takes_a_file_a_list_in_any_order_or_a_folder(tmp_path):
    paths = write_series(tmp_path)
    (tmp_path / "README").write_text("not an image")
    folder = one_stack(tmp_path)
    assert [one.path for one in one_stack(paths[::-1]).slices] == [one.path for one in folder.slices]
    assert [one.path for one in one_stack(paths[2]).slices] == [str(paths[2])]


def test_one_stack_lists_what_it_found_when_there_are_several(tmp_path):
    write_series(tmp_path / "a", "P1")
    write_series(tmp_path / "b", "P1", "T1", n=4, EchoTime="10", RepetitionTime="500")
    with pytest.raises(
        InputError, match=r"(?s)holds 2 stacks where one is expected.*TE 100 ms: series [0-9.]+, .*TE 10 ms"
    ):
        one_stack(tmp_path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "absent", "does not exist"),
        (lambda folder: folder, "holds no DICOM image"),
        (lambda folder: write_series(folder, PixelData=None), "no PixelData"),
        (lambda folder: [*write_series(folder), Path(__file__)], "cannot be read: not DICOM"),
    ],
)
def test_one_stack_says_what_is_wrong(tmp_path, make, message):
    with pytest.raises(InputError, match=message):
        one_stack(make(tmp_path))


@pytest.mark.parametrize(("part", "warned"), [("CSPINE", False), ("", False), ("HEAD", True), ("NECK", False)])
def test_another_body_part_is_a_warning_and_no_refusal(tmp_path, part, warned):
    write_series(tmp_path, BodyPartExamined=part)
    stack = only(tmp_path)
    assert judge(stack).accepted
    assert bool(body_part_warning(stack)) is warned


def test_links_to_one_file_hold_the_same_pixels_and_are_not_read(tmp_path):
    (tmp_path / "a").write_bytes(b"no DICOM")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    (tmp_path / "c").write_bytes(b"no DICOM")
    assert same_pixels(str(tmp_path / "a"), str(tmp_path / "b"))
    assert not same_pixels(str(tmp_path / "a"), str(tmp_path / "c"))
