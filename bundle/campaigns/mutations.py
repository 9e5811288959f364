"""How sound files are damaged: bytes of any file, and what only zips, tables and JSON have."""

from __future__ import annotations

import io
import json
import random
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Mutation = Callable[[bytearray, random.Random], bytearray]
HEAD = 132
"""Preamble and magic of a DICOM file, which byte mutations leave alone: without them nothing reads the rest."""
JUNK = (
    "", " ", "0", "-1", "nan", "inf", "1e400", "1e-400", "99999999999999999999", "0x10", "1,5", "..", "../../x", "/etc",
    "$(touch x)", "$__import__('os')", "@a", "%b", "=1+1", "<b>", "\0", "\n", "\\", "1\\2\\3\\4\\5\\6\\7", "ÄÖ\ud7ff",
    "x" * 65, "x" * 70_000,
)  # fmt: skip


def start_of(data: bytearray) -> int:
    """Return where a mutation may begin."""
    return HEAD if data[128:132] == b"DICM" else 0


def flip(data: bytearray, rng: random.Random) -> bytearray:
    """Change some bytes."""
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        data[rng.randrange(start_of(data), len(data))] ^= rng.randrange(1, 256)
    return data


def truncate(data: bytearray, rng: random.Random) -> bytearray:
    """Cut the end off."""
    return data[: rng.randrange(len(data))]


def delete(data: bytearray, rng: random.Random) -> bytearray:
    """Take bytes out."""
    start = rng.randrange(start_of(data), len(data))
    del data[start : start + rng.choice([1, 2, 8, 100])]
    return data


def insert(data: bytearray, rng: random.Random) -> bytearray:
    """Put bytes in."""
    start = rng.randrange(start_of(data), len(data))
    data[start:start] = rng.randbytes(rng.choice([1, 2, 8, 100]))
    return data


def double(data: bytearray, rng: random.Random) -> bytearray:
    """Repeat a piece."""
    start = rng.randrange(start_of(data), len(data))
    piece = data[start : start + rng.choice([1, 8, 100, 1000])]
    data[start:start] = piece
    return data


def blank(data: bytearray, rng: random.Random) -> bytearray:
    """Overwrite a piece with one value."""
    start = rng.randrange(start_of(data), len(data))
    n = min(rng.choice([2, 4, 16, 200]), len(data) - start)
    data[start : start + n] = bytes([rng.choice([0, 0xFF, 0x20])]) * n
    return data


def damage_number(data: bytearray, rng: random.Random) -> bytearray:
    """Change a character of a number or UID near the beginning, which is where geometry is."""
    digits = [i for i in range(start_of(data), min(len(data), 3000)) if chr(data[i]) in "0123456789.-\\"]
    if digits:
        data[rng.choice(digits)] = ord(rng.choice("0123456789.-\\ eE"))
    return data


def damage_head(data: bytearray, rng: random.Random) -> bytearray:
    """Change a byte near the beginning: tags, VRs, lengths, magic numbers."""
    start = start_of(data)
    data[rng.randrange(start, max(min(len(data), 1800), start + 1))] = rng.randrange(256)
    return data


BYTES: tuple[Mutation, ...] = (flip, truncate, delete, insert, double, blank, damage_number, damage_head)


def zip_members(data: bytearray, rng: random.Random) -> bytearray:
    """Pack a zip anew with a member that should not be there, or with bytes missing from one."""
    stream = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as old:
            members = [(info.filename, old.read(info)) for info in old.infolist()]
    except Exception:  # another mutation was here first
        return flip(data, rng)
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new:
        warnings.simplefilter("ignore")
        for name, content in members:
            new.writestr(zipfile.ZipInfo(name), content)  # with a fixed date
        name, content = rng.choice(members)
        kind = rng.randrange(7)
        if kind == 0:
            outside = ["../outside", "/outside", "a/../../outside", "..\\outside", "C:\\outside"]
            new.writestr(zipfile.ZipInfo(rng.choice(outside)), content)
        elif kind == 1:
            link = zipfile.ZipInfo("link")
            link.create_system, link.external_attr = 3, 0o120777 << 16
            new.writestr(link, rng.choice(["/etc/passwd", "../..", "/"]))
        elif kind == 2:
            new.writestr(zipfile.ZipInfo("bomb"), bytes(50 * 2**20), zipfile.ZIP_DEFLATED)
        elif kind == 3:
            new.writestr(zipfile.ZipInfo(name), content[: len(content) // 2])
        elif kind == 4:
            new.writestr(zipfile.ZipInfo("inner.zip"), bytes(data))
        elif kind == 5:
            new.writestr(zipfile.ZipInfo("x" * rng.choice([200, 300, 5000])), content)
        else:
            new.writestr(zipfile.ZipInfo(rng.choice(["", ".", "a/", "con", "a\0b", "é" * 100])), content)
    return bytearray(stream.getvalue())


def zip_sizes(data: bytearray, rng: random.Random) -> bytearray:
    """Overwrite a size in a zip's directory."""
    found = [match.start() for match in re.finditer(b"PK\x01\x02", data)]
    if found:
        place = rng.choice(found) + rng.choice([8, 16, 20, 24, 42])
        data[place : place + 4] = rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF]).to_bytes(4, "little")
    return data


def wrong_cell(data: bytearray, rng: random.Random) -> bytearray:
    """Put junk into a cell of a table."""
    lines: list[bytes] = list(map(bytes, data.split(b"\n")))
    number = rng.randrange(len(lines))
    cells = lines[number].split(b",")
    junk = rng.choice(JUNK).encode("utf-8", "surrogatepass")
    cells[rng.randrange(len(cells))] = rng.choice([junk, b'"', b"", b";", b"\xff\xfe", b'"a""'])
    lines[number] = b",".join(cells)
    return bytearray(b"\n".join(lines))


def wrong_lines(data: bytearray, rng: random.Random) -> bytearray:
    """Repeat, swap or drop lines of a table."""
    lines = data.split(b"\n")
    number = rng.randrange(len(lines))
    changed = [
        [*lines[:number], *lines[number + 1 :]],
        [*lines, lines[number]],
        lines[::-1],
        [lines[0]] * 2 + lines[1:],
        lines[:1],
    ]
    return bytearray(b"\n".join(rng.choice(changed)))


def wrong_json(data: bytearray, rng: random.Random) -> bytearray:
    """Put another kind of value somewhere into JSON."""
    try:
        content = json.loads(data.decode())
    except (ValueError, RecursionError):  # another mutation was here first
        return flip(data, rng)
    values: Sequence[Any] = (None, True, -1, 0, 1e308, 10**400, "", "x", [], {}, [[]], {"a": 1}, *JUNK)
    found: list[tuple[Any, Any]] = []
    left = [content]
    while left:
        one = left.pop()
        keys = list(one) if isinstance(one, Mapping) else list(range(len(one))) if isinstance(one, list) else []
        found += [(one, key) for key in keys]
        left += [one[key] for key in keys]
    if not found:
        return flip(data, rng)
    holder, key = rng.choice(found)
    if isinstance(holder, dict) and rng.random() < 0.3:
        del holder[key]
    else:
        holder[key] = rng.choice(values)
    return bytearray(json.dumps(content).encode("utf-8", "surrogatepass"))


def deep_json(data: bytearray, rng: random.Random) -> bytearray:
    """Nest lists or objects thousands deep."""
    depth = rng.choice([50, 2000, 200_000])
    opening, closing = rng.choice([(b"[", b"]"), (b'{"a":', b"}")])
    return bytearray(opening * depth + (data if rng.random() < 0.5 else b"0") + closing * depth)


OTHERS: Mapping[str, tuple[Mutation, ...]] = {
    "nifti": BYTES,
    "zip": (*BYTES, zip_members, zip_members, zip_sizes, zip_sizes),
    "csv": (*BYTES, wrong_cell, wrong_cell, wrong_cell, wrong_lines),
    "json": (*BYTES, wrong_json, wrong_json, wrong_json, wrong_json, deep_json),
    "checkpoint": BYTES,
    "config": (*BYTES, wrong_json, wrong_json, wrong_json, wrong_json, deep_json),
}


def mutate(data: bytes, mutations: Sequence[Mutation], rng: random.Random) -> tuple[bytes, list[str]]:
    """Damage a file once or twice; returns it with the names of what was done."""
    damaged, names = bytearray(data), list[str]()
    for _ in range(rng.choice([1, 1, 2])):
        if len(damaged) > 400 or not names:
            mutation = rng.choice(mutations)
            damaged = mutation(damaged, rng)
            names.append(mutation.__name__)
    return bytes(damaged), names
