"""Diffusion images look like T2; what says that they are none, wherever a maker writes it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dicom_fixtures import axial_t2, enhanced_t2, item, uid, write
from pydicom import Dataset
from pydicom.dataelem import DataElement

from scripts.dicom.judgements import judge
from scripts.dicom.sources import scan

Change = Callable[[Dataset, float], None]


def series(folder: Path, change: Change, b_values: tuple[float, ...] = (0, 800), syntax: str = "") -> list[str]:
    """Write two slices per b-value into one series, and give the reasons of its stacks; empty where accepted."""
    for number, b_value in enumerate(b_values):
        for index in range(2):
            ds = axial_t2("P1", "T2", index)
            ds.SOPInstanceUID, ds.AcquisitionNumber = uid("b", number, index), str(number + 1)
            change(ds, b_value)
            write(ds, folder / f"{number}{index}", syntax or "1.2.840.10008.1.2.1")
    return sorted("" if judge(stack).accepted else judge(stack).reason for stack in scan(folder)[0])


def private(group: int, creator: str, number: int, vr: str, value: Callable[[float], Any], block: int) -> Change:
    """Give a change that adds one private element to a block."""

    def change(ds: Dataset, b_value: float) -> None:
        ds.add(DataElement((group, block), "LO", creator))
        ds.add(DataElement((group, (block << 8) + number), vr, value(b_value)))

    return change


MAKERS = {
    "Siemens": (0x0019, "SIEMENS MR HEADER", 0x0C, "IS", lambda b: str(int(b))),
    "Philips": (0x2001, "Philips Imaging DD 001", 0x03, "FL", float),
    "GE": (0x0043, "GEMS_PARM_01", 0x39, "IS", lambda b: [str(int(b + 1e9 if b else 0)), "8", "0", "0"]),
    "UIH": (0x0065, "Image Private Header", 0x09, "FD", float),
    "Hitachi": (0x0029, "MMCPrivate", 0x30, "FD", float),
}


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"])
@pytest.mark.parametrize("block", [0x10, 0x11, 0xFF])
@pytest.mark.parametrize("maker", MAKERS)
def test_a_private_b_value_is_found_in_any_block_of_its_maker(tmp_path, maker, block, syntax):
    reasons = series(tmp_path, private(*MAKERS[maker], block), syntax=syntax)
    assert reasons == ["diffusion (b = 800 s/mm²)", "diffusion series (other images of it have b = 800 s/mm²)"]


@pytest.mark.parametrize("maker", MAKERS)
def test_a_block_of_somebody_else_is_not_read(tmp_path, maker):
    group, _, *rest = MAKERS[maker]
    assert series(tmp_path, private(group, "SOMEBODY ELSE", *rest, 0x11)) == ["", ""]


def test_two_blocks_of_one_group_are_kept_apart(tmp_path):
    def change(ds: Dataset, b_value: float) -> None:
        private(0x0019, "SOMEBODY ELSE", 0x0C, "IS", lambda _: "900", 0x10)(ds, b_value)
        private(*MAKERS["Siemens"], 0x23)(ds, b_value)

    assert series(tmp_path, change)[0] == "diffusion (b = 800 s/mm²)"


def set_to(keyword: str, value: Callable[[float], Any]) -> Change:
    """Give a change that sets a public element."""
    return lambda ds, b_value: setattr(ds, keyword, value(b_value))


B_800 = "b = 800 s/mm²"
DIRECTION = "DiffusionDirectionality"


@pytest.mark.parametrize(
    ("change", "evidence"),
    [
        *(
            (
                set_to("DiffusionDirectionality", lambda b, way=way: way if b else "NONE"),
                f"DiffusionDirectionality {way}",
            )
            for way in ("DIRECTIONAL", "ISOTROPIC", "BMATRIX")
        ),
        (
            private(0x0019, "SIEMENS MR HEADER", 0x0D, "CS", lambda b: "DIRECTIONAL" if b else "NONE", 0x12),
            f"{DIRECTION} DIRECTIONAL",
        ),
        (
            set_to("DiffusionGradientOrientation", lambda b: [0.0, 0.6, 0.8] if b else [0.0, 0.0, 0.0]),
            "DiffusionGradientOrientation",
        ),
        (set_to("AcquisitionContrast", lambda b: "DIFFUSION" if b else "T2"), "AcquisitionContrast DIFFUSION"),
        (set_to("MRDiffusionSequence", lambda b: item(DiffusionBValue=b)), B_800),
        (set_to("ImageComments", lambda b: f"b={b}(0.445,0.000,0.895)" if b else "b=0"), B_800),
        (set_to("ImageComments", lambda b: f" B = {b:g} (0.445, 0.000, 0.895)\r\nreviewed" if b else "b=0"), B_800),
        (private(0x2001, "Philips Imaging DD 001", 0x03, "OB", lambda b: struct.pack("<f", b), 0x10), B_800),
        (private(0x0019, "SIEMENS MR HEADER", 0x0C, "OB", lambda b: f"{b:g} ".encode(), 0x10), B_800),
        *(
            (set_to(keyword, lambda b, name=name: name if b else "se2d1_0"), B_800)
            for keyword in ("SequenceName", "PulseSequenceName")
            for name in ("*se2d_b800", "re_b800#3", "*re_b800t", "*re_b0_800")
        ),
    ],
)
def test_diffusion_shows_in_other_attributes_and_refuses_the_images_without_weighting_too(tmp_path, change, evidence):
    reasons = series(tmp_path, change)
    assert reasons == [f"diffusion ({evidence})", f"diffusion series (other images of it have {evidence})"]


@pytest.mark.parametrize("keyword", ["SequenceName", "PulseSequenceName"])
def test_a_sequence_name_with_a_b_value_of_0_is_one_of_diffusion(tmp_path, keyword):
    assert series(tmp_path, set_to(keyword, lambda _: "*re_b0"), (0,)) == [f"diffusion ({keyword} *re_b0)"]


@pytest.mark.parametrize(
    "image_type",
    [
        ["DERIVED", "PRIMARY", "ADC"],
        ["DERIVED", "PRIMARY", "DIFFUSION", "TRACEW"],
        *(["ORIGINAL", "PRIMARY", word] for word in ("TRACE_W", "CALC_BVALUE", "COLFA", "EXP_ADC")),
        ["DERIVED", "SECONDARY", "FA"],
        ["DERIVED", "PRIMARY", "DIFFUSION_ANISO"],
        ["DERIVED", "PRIMARY", "EADC"],
    ],
)
def test_a_map_of_the_diffusion_refuses_the_originals_of_its_series(tmp_path, image_type):
    def change(ds: Dataset, b_value: float) -> None:
        ds.ImageType = image_type if b_value else ["ORIGINAL", "PRIMARY", "M", "ND"]

    kind, name = image_type[2], "\\".join(image_type)
    assert series(tmp_path, change) == [
        rf"computed or partial image (ImageType {name})",
        f"diffusion series (other images of it have ImageType {kind})",
    ]


@pytest.mark.parametrize(
    "change",
    [
        set_to("DiffusionDirectionality", lambda _: "NONE"),
        set_to("DiffusionBValue", lambda _: 0.0),
        set_to("MRDiffusionSequence", lambda _: item(DiffusionBValue=0.0, DiffusionDirectionality="NONE")),
        set_to("DiffusionGradientOrientation", lambda _: [0.0, 0.0, 0.0]),
        set_to("ImageComments", lambda _: "with contrast, tab=3 (see report)"),
        set_to("SequenceName", lambda _: "*tse2d1_16"),
        set_to("SequenceName", lambda _: "spcR_b"),
        set_to("AcquisitionContrast", lambda _: "T2"),
        private(*MAKERS["UIH"][:4], lambda _: 0.0, 0x11),
    ],
)
def test_what_only_says_that_there_is_no_diffusion_is_no_ground(tmp_path, change):
    assert series(tmp_path, change, (0,)) == [""]


def test_frames_of_an_enhanced_file_are_searched_for_private_and_public_diffusion(tmp_path):
    public, hidden = Dataset(), Dataset()
    public.DiffusionDirectionality = "ISOTROPIC"
    private(*MAKERS["UIH"], 0x17)(hidden, 700)
    for name, content, evidence in (
        ("MRDiffusionSequence", public, "DiffusionDirectionality ISOTROPIC"),
        ("UnassignedPerFrameConvertedAttributesSequence", hidden, "b = 700 s/mm²"),
    ):
        ds = enhanced_t2()
        for groups in ds.PerFrameFunctionalGroupsSequence:
            setattr(groups, name, [content])
        write(ds, tmp_path / name / "file")
        (stack,) = scan(tmp_path / name)[0]
        assert judge(stack).reason == f"diffusion ({evidence})"
