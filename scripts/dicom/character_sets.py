"""Text of headers in the character sets that they declare."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydicom.charset import convert_encodings, decode_bytes

ESCAPES = re.compile(r"\x1b[ -/]+[0-~]")
"""Sequences that change the character set (ISO 2022); pydicom leaves those of ISO 2022 IR 58 in the text."""
LATIN_9 = "iso8859_15"
LATIN_9_NAMES = ("ISO_IR 203", "ISO 2022 IR 203")
LATIN_9_ESCAPE = b"\x1b-b"


def decode(value: bytes, charset: Sequence[str]) -> str:
    """Decode bytes in the character sets of a header; in Latin-1 where it names none.

    pydicom does not know Latin-9, and would take it for Latin-1.

    Args:
        value: the bytes, with escape sequences of ISO 2022 where there are several character sets.
        charset: values of SpecificCharacterSet.
    """
    names = list(charset) if any(charset) else ["ISO_IR 100"]
    encodings = convert_encodings([LATIN_9 if name in LATIN_9_NAMES else name for name in names])
    first, *others = value.split(LATIN_9_ESCAPE)
    parts = [str(decode_bytes(first, encodings, {ord("\\")}))]
    for other in others:
        own, escape, rest = other.partition(b"\x1b")
        parts += [own.decode(LATIN_9), str(decode_bytes(escape + rest, encodings, {ord("\\")}))]
    return "".join(parts)
