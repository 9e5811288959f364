"""What may follow the pixels of a file, and what shows that they are shifted."""

from __future__ import annotations

import struct

import pytest
from dicom_fixtures import axial_t2, write
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from scripts.dicom.judgements import judge
from scripts.dicom.sources import scan

SYNTAXES = {"explicit": ExplicitVRLittleEndian, "implicit": ImplicitVRLittleEndian, "big": ExplicitVRBigEndian}


def element(kind: str, group: int, number: int, value: bytes) -> bytes:
    """Write an element of VR OB."""
    order = ">" if kind == "big" else "<"
    tag, length = struct.pack(f"{order}HH", group, number), struct.pack(f"{order}L", len(value))
    return tag + (b"" if kind == "implicit" else b"OB\0\0") + length + value


def sound(tmp_path, kind: str) -> bytes:
    ds = axial_t2("P", "T2", 1)
    if kind == "big":
        ds["PixelData"].VR = "OW"
    return write(ds, tmp_path / "sound" / "file", SYNTAXES[kind]).read_bytes()


def readable(path, content: bytes) -> bool:
    path.write_bytes(content)
    (stack,), _ = scan(path)
    judgement = judge(stack)
    assert judgement.accepted or "after PixelData" in judgement.reason
    return judgement.accepted


@pytest.mark.parametrize("kind", SYNTAXES)
@pytest.mark.parametrize("n", [4, 8, 100, 1000])
def test_pixels_into_which_bytes_were_put_are_refused(tmp_path, kind, n):
    content = sound(tmp_path, kind)
    for place in (len(content) - 1, len(content) - 700, len(content) - 1999):
        assert not readable(tmp_path / "file", content[:place] + bytes(range(1, 5)) * (n // 4) + content[place:])


@pytest.mark.parametrize("kind", SYNTAXES)
def test_padding_and_private_elements_may_follow_the_pixels(tmp_path, kind):
    content = sound(tmp_path, kind)
    padding, private = element(kind, 0xFFFC, 0xFFFC, b"\0\1" * 20), element(kind, 0x7FE1, 0x1001, b"of a maker")
    for tail in (b"\r\n", bytes(1), bytes(512), padding, private, private + padding, private + bytes(6)):
        assert readable(tmp_path / "file", content + tail), tail
    assert not readable(tmp_path / "file", content + padding[:-1])
    assert not readable(tmp_path / "file", content + b" " * 100)
