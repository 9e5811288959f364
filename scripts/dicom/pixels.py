"""Whether a file's pixels are all there, told from lengths and markers; and whether two files hold the same ones."""

from __future__ import annotations

import os
import struct
from itertools import pairwise
from pathlib import Path

import itk
import numpy as np
from numpy.typing import NDArray

from .elements import UNDEFINED, Header, Pixels, number, read_header
from .names import utf8_path
from .silence import quiet

NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
IMPLICIT = NATIVE[0]
RLE = "1.2.840.10008.1.2.5"
JPEG, JPEG_2000 = b"\xff\xd8\xff", b"\xff\x4f\xff\x51"
JPEG_FRAMES = (0xC0, 0xC1, 0xC3, 0xF7)
"""Markers of the frame headers of baseline, extended, lossless and JPEG-LS images."""
PIXEL_GROUP = 0x7FE0
LONG_VRS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")


def pixel_problem(path: str, header: Header, n_frames: int) -> str:
    """Return what is wrong with a file's pixels, from lengths and markers alone; empty if nothing is."""
    if header.pixels is None:
        return "no PixelData (a header alone, or a truncated file)"
    if not header.transfer_syntax:
        return "TransferSyntaxUID is missing"
    if header.pixels.keyword != "PixelData":
        return f"{header.pixels.keyword} instead of PixelData"
    whole = {name: number(header.fields.get(name)) for name in ("Rows", "Columns", "BitsAllocated", "BitsStored")}
    for name, value in whole.items():
        if value is None or value < 1:
            return f"{name} is missing or no positive number"
    allocated, stored = int(whole["BitsAllocated"] or 0), int(whole["BitsStored"] or 0)
    high = number(header.fields.get("HighBit"))
    if allocated not in (8, 16) or stored > allocated or (high is not None and high != stored - 1):
        return f"{stored} bits stored in {allocated} with the high bit {high} are not supported"
    if number(header.fields.get("PixelRepresentation")) not in (0, 1):
        return "PixelRepresentation is neither 0 nor 1"
    samples = number(header.fields.get("SamplesPerPixel"))
    if samples is None or samples < 1:
        return "SamplesPerPixel is missing or no positive number"
    size = os.stat(path).st_size  # noqa: PTH116, half the time of pathlib's, once per file
    if header.transfer_syntax in NATIVE:
        n_bytes = int(whole["Rows"] or 0) * int(whole["Columns"] or 0) * int(samples) * n_frames * allocated // 8
        return native_problem(header.pixels, n_bytes, size) or trailing_problem(path, header, size)
    shape = int(whole["Rows"] or 0), int(whole["Columns"] or 0)
    return encapsulated_problem(path, header, n_frames, int(samples) * allocated // 8, size, shape)


def native_problem(pixels: Pixels, n_bytes: int, size: int) -> str:
    """Check uncompressed pixels: exactly ``n_bytes`` (one more to make them even), all within the file."""
    if pixels.length not in (n_bytes, n_bytes + n_bytes % 2):
        return f"PixelData has {pixels.length} bytes where rows, columns and bits ask for {n_bytes}"
    if pixels.offset + pixels.length > size:
        return f"truncated: {max(size - pixels.offset, 0)} of {pixels.length} bytes of PixelData"
    return ""


def trailing_problem(path: str, header: Header, size: int) -> str:
    """Check what follows uncompressed pixels: whole elements or zeros, else bytes were put in before and shift them."""
    assert header.pixels is not None
    start = header.pixels.offset + header.pixels.length
    if size - start < 4:
        return ""
    with Path(path).open("rb") as stream:
        stream.seek(start)
        rest = stream.read()
    order = "<" if header.little_endian else ">"
    here = 0
    while any(rest[here:]):
        group, vr, short, long = struct.unpack(f"{order}H2x2sHL", rest[here : here + 12].ljust(12, b"\0"))
        if header.transfer_syntax == IMPLICIT:
            n_head, length = 8, struct.unpack(f"{order}L", rest[here + 4 : here + 8].ljust(4, b"\0"))[0]
        else:
            n_head, length = (12, long) if vr in LONG_VRS else (8, short)
        end = here + n_head + length
        if group < PIXEL_GROUP or (end > len(rest) and length != UNDEFINED):
            return f"{len(rest)} bytes after PixelData that are no elements (was something inserted?)"
        here = len(rest) if length == UNDEFINED else end
    return ""


def encapsulated_problem(
    path: str, header: Header, n_frames: int, n_segments: int, size: int, shape: tuple[int, int]
) -> str:
    """Walk the fragments of compressed pixels without decoding them."""
    assert header.pixels is not None
    if header.pixels.length != UNDEFINED:
        return "compressed PixelData is not encapsulated"
    fragments, problem = fragments_of(path, header.pixels.offset, size)
    if problem:
        return problem
    if len(fragments) < n_frames:
        return f"{len(fragments)} compressed fragments for {n_frames} frames"
    if header.transfer_syntax == RLE:
        if len(fragments) != n_frames:
            return f"{len(fragments)} RLE fragments for {n_frames} frames"
        return next(filter(None, (rle_problem(length, start, n_segments) for length, start in fragments)), "")
    if not fragments[0][1].startswith((JPEG, JPEG_2000)):
        return "compressed PixelData starts with neither a JPEG nor a JPEG 2000 marker"
    for _, start in fragments:
        found = codestream_shape(start)
        if found and found != shape:
            return f"compressed PixelData has {found[0]} x {found[1]} pixels, its header says {shape[0]} x {shape[1]}"
    return ""


def fragments_of(path: str, offset: int, size: int, keep: int = 64) -> tuple[list[tuple[int, bytes]], str]:
    """Walk the fragments of compressed pixels after their offset table.

    Returns:
        Length and first ``keep`` bytes of each, and what is wrong with them.
    """
    found: list[tuple[int, bytes]] = []
    with Path(path).open("rb") as stream:
        stream.seek(offset)
        while True:
            group, element, length = struct.unpack("<HHL", stream.read(8).ljust(8, b"\0"))
            here = stream.tell()
            if (group, element) == (0xFFFE, 0xE0DD):
                return found[1:], ""
            if (group, element) != (0xFFFE, 0xE000) or here + length > size:
                return found[1:], f"truncated: compressed PixelData ends within fragment {len(found)}"
            found.append((length, stream.read(min(length, keep))))
            stream.seek(here + length, os.SEEK_SET)


def codestream_shape(start: bytes) -> tuple[int, int] | None:
    """Return rows and columns of a JPEG, JPEG-LS or JPEG 2000 image, by its own header.

    Source: ISO/IEC 15444-1, A.5.1 (SIZ); 10918-1, B.2.2, and 14495-1, C.2.2 (frame headers).

    Args:
        start: its first bytes.

    Returns:
        None where these bytes begin no image, or do not reach to its size.
    """
    if start.startswith(JPEG_2000) and len(start) >= 24:
        right, bottom, left, top = struct.unpack(">4L", start[8:24])
        return bottom - top, right - left
    here = 2
    while start.startswith(JPEG) and here + 9 <= len(start) and start[here] == 0xFF:
        marker, length, rows, columns = struct.unpack(">xBHxHH", start[here : here + 9])
        if marker in JPEG_FRAMES:
            return (rows, columns) if rows else None
        here += 2 + length
    return None


def rle_problem(length: int, start: bytes, n_segments: int) -> str:
    """Check the header of one RLE frame: one segment per byte plane, offsets that ascend within the fragment."""
    if len(start) < 64:
        return "truncated: an RLE frame shorter than its header"
    count, *offsets = struct.unpack("<16L", start)
    used = offsets[:count]
    if count != n_segments or used[0] != 64 or sorted(set(used)) != used or used[-1] >= length:
        return f"RLE header with {count} segments at {used[:4]} where {n_segments} are expected"
    return ""


@quiet()
def same_pixels(first: str, second: str) -> bool:
    """Return whether two files hold the same pixels: byte for byte, or decoded by ITK where they are compressed.

    Meant for the few files that share a SOPInstanceUID. What cannot be read or decoded is not the same.
    """
    try:
        if os.path.samefile(first, second):  # noqa: PTH121, links to one file
            return True
        headers = [read_header(path) for path in (first, second)]
        contents = [pixel_bytes(path, header) for path, header in zip((first, second), headers, strict=True)]
        syntaxes = {header.transfer_syntax for header in headers}
        if len(syntaxes) == 1 and (contents[0] == contents[1] or syntaxes <= set(NATIVE)):
            return contents[0] == contents[1]
        one, other = headers
        return np.array_equal(decoded(first, one.transfer_syntax), decoded(second, other.transfer_syntax))
    except Exception:  # decoders fail in more ways than can be listed
        return False


def rle_shortage(path: str) -> str:
    """Return which segment of RLE pixels unpacks to too few bytes, which ITK fills up in silence; empty if none does.

    Source: DICOM PS3.5, annex G.
    """
    header = read_header(path)
    assert header.pixels is not None
    wanted = int(number(header.fields.get("Rows")) or 0) * int(number(header.fields.get("Columns")) or 0)
    size = os.stat(path).st_size  # noqa: PTH116
    for frame, (length, content) in enumerate(fragments_of(path, header.pixels.offset, size, size)[0], 1):
        count, *offsets = struct.unpack("<16L", content[:64])
        for start, end in pairwise([*offsets[:count], length]):
            found = unpacked_length(content[start:end])
            if found < wanted:
                return f"frame {frame} has an RLE segment of {found} bytes where {wanted} are expected"
    return ""


def unpacked_length(segment: bytes) -> int:
    """Return how many bytes an RLE segment unpacks to."""
    here = total = 0
    while here < len(segment):
        control = segment[here]
        if control < 128:  # that many bytes and one more follow
            total += min(control + 1, len(segment) - here - 1)
            here += control + 2
        else:  # the next byte is repeated; 128 stands for nothing
            total += (257 - control) * (control > 128 and here + 1 < len(segment))
            here += 1 + (control > 128)
    return total


def decoded(path: str, transfer_syntax_uid: str) -> NDArray[np.float32]:
    """Decode the pixels of a file with ITK, which reads them for the network, too; rescale slope and intercept applied.

    Raises:
        RuntimeError: they cannot be decoded.
    """
    if transfer_syntax_uid == RLE and (shortage := rle_shortage(path)):
        raise RuntimeError(shortage)
    with utf8_path(path) as plain:
        pixels: NDArray[np.float32] = itk.array_from_image(itk.imread(plain, pixel_type=itk.F))
    return pixels


def pixel_bytes(path: str, header: Header) -> bytes:
    """Read the pixels as they are stored; of compressed ones also what follows them."""
    if header.pixels is None:
        return b""
    with Path(path).open("rb") as stream:
        stream.seek(header.pixels.offset)
        return stream.read(-1 if header.pixels.length == UNDEFINED else header.pixels.length)
