"""What compressed pixels say of themselves, and how much of a file a damaged length may ask for."""

from __future__ import annotations

import io
import struct

import pytest
from dicom_fixtures import axial_t2, write
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from scripts.dicom.elements import Whole
from scripts.dicom.judgements import judge
from scripts.dicom.pixels import codestream_shape, decoded, unpacked_length
from scripts.dicom.sources import scan


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless], ids=lambda uid: uid.name)
@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (-1, 0), (0, 1), (1, -1)])
def test_compressed_pixels_of_another_size_than_the_header_says_are_refused(tmp_path, syntax, rows, columns):
    for index in range(2):
        ds = axial_t2("P", "T2", index)
        path = write(ds, tmp_path / str(index))
        ds.compress(syntax, generate_instance_uid=False)
        height, width = ds.Rows, ds.Columns
        ds.Rows, ds.Columns = height + rows, width + columns
        write(ds, path, syntax)
    (stack,), _ = scan(tmp_path)
    decision, reason = judge(stack)
    if not rows and not columns:
        assert decision == "accept", reason
    else:
        wanted = (
            f"compressed PixelData has {height} x {width} pixels, its header says {height + rows} x {width + columns}"
        )
        assert (decision, reason.split(" (")[0]) == ("refuse", wanted)


@pytest.mark.parametrize("literal", [0, 7, 127])
def test_a_short_rle_segment_is_no_image_to_the_reader(tmp_path, literal):
    """One byte less than rows by columns: ITK alone would fill it up in silence."""
    ds = axial_t2("P", "T2", 0)
    n = ds.Rows * ds.Columns
    rest = n - literal - 1
    runs = bytes([literal]) + bytes(range(literal + 1)) + b"".join(bytes([257 - k, 9]) for k in lengths(rest))
    short = runs[:-2] + bytes([runs[-2] + 1, 9])
    assert (unpacked_length(runs), unpacked_length(short), unpacked_length(b"\x80\x05ab")) == (n, n - 1, 2)
    path = str(tmp_path / "slice")
    for segment, reason in ((runs, ""), (short, f"frame 1 has an RLE segment of {n - 1} bytes where {n} are expected")):
        table = struct.pack("<16L", 2, 64, 64 + len(segment), *[0] * 13)
        frame = table + segment + runs + b"\0" * ((len(segment) + len(runs)) % 2)
        ds.PixelData = encapsulate([frame])
        ds["PixelData"].is_undefined_length = True
        write(ds, tmp_path / "slice", RLELossless)
        if reason:
            with pytest.raises(RuntimeError, match=reason):
                decoded(path, RLELossless)
        else:
            assert decoded(path, RLELossless).size == n


def lengths(n: int) -> list[int]:
    """Return lengths of runs, 3 to 128, that make ``n``."""
    hundreds, rest = (n - 50) // 100, (n - 50) % 100 + 50
    return [100] * hundreds + [rest // 2, rest - rest // 2]


FRAME = struct.pack(">HBHHB", 11, 16, 320, 256, 1)
APP0 = b"\xff\xe0\x00\x10" + bytes(14)


@pytest.mark.parametrize(
    ("start", "shape"),
    [
        (b"\xff\xd8\xff\xc3" + FRAME, (320, 256)),
        (b"\xff\xd8\xff\xf7" + FRAME, (320, 256)),
        (b"\xff\xd8" + APP0 + b"\xff\xc0" + FRAME, (320, 256)),
        (b"\xff\xd8" + APP0 * 9, None),
        (b"\xff\xd8\xff\xc3" + FRAME[:4], None),
        (b"\xff\xd8\xff\xc3" + struct.pack(">HBHHB", 11, 16, 0, 256, 1), None),  # the number of rows comes later
        (b"\xff\x4f\xff\x51" + struct.pack(">HH4L", 41, 0, 300, 400, 44, 80), (320, 256)),
        (b"\xff\x4f\xff\x51" + bytes(8), None),
        (bytes(64), None),
        (b"", None),
    ],
)
def test_a_codestream_says_how_large_its_image_is(start, shape):
    assert codestream_shape(start) == shape


def test_a_damaged_length_claims_no_more_than_the_file_holds(tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789")
    with Whole(io.FileIO(tmp_path / "file")) as stream:
        assert stream.read(3) == b"012"
        assert stream.read(1 << 62) == b"3456789"
        assert stream.read() == b""
