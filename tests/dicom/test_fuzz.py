"""Two thousand damaged DICOM files: no uncaught exception, no hang, and nothing damaged accepted."""

from __future__ import annotations

import random
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicom_fixtures import axial_t2, enhanced_t2, write
from pydicom import dcmread
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from scripts.cohort.index import decoded
from scripts.dicom.judgements import judge
from scripts.dicom.sources import scan

N_FILES = 2000
SLOWEST_S = 5.0


def whole_files(folder: Path) -> list[bytes]:
    """Give sound files, each accepted as it is: native, compressed, big endian, enhanced."""
    found = []
    for number, syntax in enumerate(
        (
            ExplicitVRLittleEndian,
            ImplicitVRLittleEndian,
            ExplicitVRBigEndian,
            RLELossless,
            JPEGLSLossless,
            JPEG2000Lossless,
        )
    ):
        ds = axial_t2("P", "T2", 1)
        path = write(ds, folder / str(number))
        if syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless):
            ds.compress(syntax, generate_instance_uid=False)
        elif syntax == ExplicitVRBigEndian:
            ds["PixelData"].VR = "OW"
            ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
        found.append(write(ds, path, syntax).read_bytes())
    found.append(write(enhanced_t2("P", n=3), folder / "enhanced").read_bytes())
    return found


def flip(data: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        data[rng.randrange(128, len(data))] ^= rng.randrange(1, 256)
    return data


def truncate(data: bytearray, rng: random.Random) -> bytearray:
    return data[: rng.randrange(len(data))]


def delete(data: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(128, len(data))
    del data[start : start + rng.choice([1, 2, 8, 100])]
    return data


def insert(data: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(128, len(data))
    data[start:start] = rng.randbytes(rng.choice([1, 2, 8, 100]))
    return data


def blank(data: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(128, len(data))
    n = min(rng.choice([2, 4, 16, 200]), len(data) - start)
    data[start : start + n] = bytes([rng.choice([0, 0xFF, 0x20])]) * n
    return data


def damage_number(data: bytearray, rng: random.Random) -> bytearray:
    """Change a character of a number or UID in the header, which is where geometry is."""
    digits = [i for i in range(132, min(len(data), 3000)) if chr(data[i]) in "0123456789.-\\"]
    data[rng.choice(digits)] = ord(rng.choice("0123456789.-\\ eE"))
    return data


def damage_head(data: bytearray, rng: random.Random) -> bytearray:
    """Change a byte before the pixels: tags, VRs and lengths."""
    data[rng.randrange(132, min(len(data), 1800))] = rng.randrange(256)
    return data


MUTATIONS: list[Callable[[bytearray, random.Random], bytearray]] = [
    flip, truncate, delete, insert, blank, damage_number, damage_head,
]  # fmt: skip


def contradiction(path: Path) -> str:
    """Say what pydicom, decoding everything, finds wrong with an accepted file; an oracle of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ds = dcmread(path, force=True)
            shape = ds.pixel_array.shape
        except Exception as error:  # whatever the decoder says
            return f"undecodable: {error}"
        frames = int(ds.get("NumberOfFrames", 1) or 1)
        if shape != ((frames, ds.Rows, ds.Columns) if frames > 1 else (ds.Rows, ds.Columns)):
            return f"pixels of shape {shape} for {frames} x {ds.Rows} x {ds.Columns}"
        groups = ds.get("PerFrameFunctionalGroupsSequence")
        if groups is not None and len(groups) != frames:
            return f"{len(groups)} functional groups for {frames} frames"
        shared = ds.SharedFunctionalGroupsSequence[0] if groups is not None else None
        geometry = shared.PlaneOrientationSequence[0] if shared is not None else ds
        measures = shared.PixelMeasuresSequence[0] if shared is not None else ds
        row, column = np.reshape([float(value) for value in geometry.ImageOrientationPatient], (2, 3))
        if abs(row @ column) > 0.02 or abs(np.linalg.norm(row) - 1) > 0.02 or abs(np.linalg.norm(column) - 1) > 0.02:
            return f"orientation {row} {column}"
        if min(float(value) for value in measures.PixelSpacing) <= 0:
            return f"spacing {measures.PixelSpacing}"
    return ""


@pytest.mark.filterwarnings("ignore")  # the decoders complain of what we feed them
def test_damaged_files_are_never_accepted_never_crash_and_never_hang(tmp_path, capfd):
    sound = whole_files(tmp_path / "sound")
    neighbours = [write(axial_t2("P", "T2", index), tmp_path / f"neighbour{index}") for index in (0, 2)]
    for number, content in enumerate(sound):
        (tmp_path / "file").write_bytes(content)
        stacks = scan(tmp_path / "file", workers=0)[0]
        assert [one.decision for one in decoded(stacks, [judge(stack) for stack in stacks])] == ["accept"], number
    found: Counter[str] = Counter()
    rng = random.Random(0)
    path = tmp_path / "file"
    for number in range(N_FILES):
        data = bytearray(rng.choice(sound))
        for _ in range(rng.choice([1, 1, 2])):
            data = rng.choice(MUTATIONS)(data, rng) if len(data) > 400 else data
        path.write_bytes(data)
        together = number % 3 == 0  # every third within a series of three
        started = time.perf_counter()
        stacks, unreadable = scan([path, *neighbours] if together else [path], workers=0)
        judgements = decoded(stacks, [judge(stack) for stack in stacks])
        assert time.perf_counter() - started < SLOWEST_S, number
        assert len(stacks) + len(unreadable) >= 1
        mine = [
            judgement.accepted and stack
            for stack, judgement in zip(stacks, judgements, strict=True)
            if any(one.path == str(path) for one in stack.slices)
        ]
        for stack in filter(None, mine):
            assert contradiction(path) == "", (number, contradiction(path))
            if len(stack.slices) > 1 and not stack.multi_frame:
                assert np.all(np.diff([one.position_mm for one in stack.slices]) > 0.05)
        found["unreadable" if unreadable else "accepted" if any(mine) else "refused"] += 1
    capfd.readouterr()
    assert sum(found.values()) == N_FILES
    assert min(found.values()) > N_FILES / 20, found  # the damage is neither all harmless nor all fatal
