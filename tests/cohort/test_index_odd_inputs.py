"""The index of series over several zips, of frames in any order, of odd names, and of our own results."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from csv_rows import read_rows
from dicom_fixtures import axial_t2, uid, write, write_series

from scripts.__main__ import main
from scripts.cohort.index import decodable, index
from scripts.dicom.archives import Archives, unpack
from scripts.dicom.listings import list_files
from scripts.dicom.pixels import decoded
from scripts.dicom.sources import contents_of, one_stack
from scripts.phantom.enhanced import enhanced_of

NATIVE = "1.2.840.10008.1.2.1"
LATIN_1 = os.fsdecode(b"M\xfcller")
TABLES = ("index.csv", "index_slices.csv", "index_unreadable.csv")


def zip_into(path: Path, files: list[Path]) -> None:
    """Move files into a zip."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in files:
            archive.write(file, file.name)
            file.unlink()


def spread(folder: Path, cut: str, **changes: object) -> None:
    """Write a series over two zips, over a zip and a folder, or over two places of one zip."""
    files = write_series(folder, n=5, **changes)
    if cut == "one zip":
        with zipfile.ZipFile(folder / "a.zip", "w") as archive:
            for number, file in enumerate(files):
                archive.write(file, f"{number % 2}/{file.name}")
                file.unlink()
        return
    zip_into(folder / "a.zip", files[:3])
    if cut == "two zips":
        (folder / "sub").mkdir()
        zip_into(folder / "sub" / "b.zip", files[3:])


@pytest.mark.parametrize(
    ("cut", "place"),
    [("two zips", "a.zip (and 1 more)"), ("zip and folder", "a.zip (and 1 more)"), ("one zip", "a.zip")],
)
@pytest.mark.parametrize("changes", [{}, {"EchoTime": "12", "RepetitionTime": "600"}, {"PixelSpacing": None}])
def test_a_series_over_several_places_is_named_by_the_first_and_never_by_a_temporary_path(
    tmp_path, temporary, capsys, cut, place, changes
):
    disk = tmp_path / "disk"
    spread(disk, cut, **changes)
    shutil.copy(disk / "a.zip", disk / "copies.zip")
    (disk / "damaged.zip").write_bytes((disk / "a.zip").read_bytes()[:-30])
    assert main(["index", str(disk), "--out", str(tmp_path / "index.csv")]) == 1
    (row,) = read_rows(tmp_path / "index.csv")
    assert row["path"] == place
    assert row["n_slices"] == "5"
    shown = capsys.readouterr()
    assert temporary.name not in shown.out + "".join((tmp_path / name).read_text() for name in TABLES)
    assert all(path["path"].startswith(("a.zip/", "sub/b.zip/")) or "/" not in path["path"]
               for path in read_rows(tmp_path / "index_slices.csv"))  # fmt: skip


def test_the_place_of_files_is_named_wherever_they_lie(tmp_path):
    place = Archives().place
    assert place(["in/a/1", "in/a/2"]) == "in/a"
    assert place(["in/a/1", "in/b/2"]) == "in"
    assert place(["a/1", "b/2"]) == "."
    assert place(["a/1", str(tmp_path / "2")]) == "a (and 1 more)"


def test_a_zip_that_finds_no_room_is_named_with_the_folder_that_has_none(tmp_path, temporary, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("scripts.dicom.archives.write_member", full)
    zip_into(tmp_path / "x.zip", write_series(tmp_path, n=1))
    ((_, reason),) = list_files(tmp_path / "x.zip").unreadable
    assert f"cannot be unpacked into {temporary}: No space left" in reason


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_a_member_that_is_twice_in_its_zip_the_first_is_taken(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, content in (("a/b", b"1"), ("a/b", b"2"), ("a\\b", b"3")):
            archive.writestr(name, content)
    left_out = unpack(tmp_path / "x.zip", tmp_path / "out")
    assert (tmp_path / "out" / "a" / "b").read_bytes() == b"1"
    assert {reason for _, reason in left_out} == {"twice in its zip; the first is taken"}
    assert len(left_out) == 2


@pytest.mark.parametrize(("start", "reason"), [(35, "damaged within its zip (its data do not unpack)"), (0, "damaged")])
def test_a_member_that_does_not_unpack_says_so_in_words(tmp_path, start, reason):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(range(256)) * 9)
    raw = bytearray((tmp_path / "x.zip").read_bytes())
    raw[start : start + 20] = b"\xff" * 20
    (tmp_path / "x.zip").write_bytes(raw)
    ((_, why),) = unpack(tmp_path / "x.zip", tmp_path / "out")
    assert why.startswith(reason)
    assert "error" not in why.lower()


ORDERS = {
    "caudal first": [0, 1, 2, 3, 4],
    "cranial first": [4, 3, 2, 1, 0],
    "shuffled": [3, 0, 4, 1, 2],
    "two echoes, cranial first": [4, 4, 3, 3, 2, 2, 1, 1, 0, 0],
    "two echoes in blocks": [2, 1, 0, 2, 1, 0],
    "one frame": [2],
}


def enhanced(path: Path, order: list[int]) -> Path:
    """Write an enhanced file with frames in some order; those at one place have two echoes."""
    frames = []
    for number, at in enumerate(order):
        frame = axial_t2("P1", "E", at)
        frame.EchoTime = "30" if at in order[:number] else "100"
        frames.append(frame)
    return write(enhanced_of(frames, uid("P1", "E", path.name)), path)


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_enhanced_frames_in_any_order_are_indexed_as_they_are_loaded(tmp_path, order):
    path = enhanced(tmp_path / "disk" / "e.dcm", order)
    index(str(path.parent), str(tmp_path / "index.csv"), workers=1)
    decisions = [row["decision"] for row in read_rows(tmp_path / "index.csv") if row["te_ms"] == "100"]
    assert decisions == ["accept"]


@pytest.mark.parametrize("spacing", ["3", "-3", "0", "-0", "1e-30", "1e400"])
def test_what_the_index_accepts_the_reader_decodes_and_nothing_else(tmp_path, spacing):
    image = axial_t2("A", "T2", 0)
    image.SpacingBetweenSlices = "3"
    path = write(image, tmp_path / "a")
    tag, value = b"\x18\x00\x88\x00DS", spacing.encode() + b" " * (len(spacing) % 2)
    path.write_bytes(path.read_bytes().replace(tag + b"\x02\x003 ", tag + bytes([len(value), 0]) + value))
    stack = one_stack(tmp_path)
    try:
        loads = decoded(str(path), NATIVE).size > 0
    except RuntimeError:
        loads = False
    assert decodable(str(path), stack, NATIVE) is loads


def test_files_in_folders_that_are_no_utf_8_are_indexed_like_others(tmp_path):
    disk = tmp_path / "disk"
    write_series(disk / LATIN_1 / "deep", n=3)
    named = write_series(disk, "P2", n=1)[0]
    named.rename(disk / LATIN_1 / os.fsdecode(b"\xe9"))
    pixels = np.random.default_rng(0).integers(0, 4096, (20, 20, 4)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(pixels, np.diag([0.5, 0.5, 3.0, 1.0])), tmp_path / "x.nii.gz")
    shutil.copy(tmp_path / "x.nii.gz", disk / os.fsdecode(b"\xfc_T2w.nii.gz"))
    header = b"ObjectType = Image\nNDims = 3\nDimSize = 20 20 4\nElementType = MET_SHORT\nElementSpacing = 0.5 0.5 3\n"
    (disk / LATIN_1 / "v.mhd").write_bytes(header + b"ElementDataFile = v.raw\n")
    (disk / LATIN_1 / "v.raw").write_bytes(pixels.tobytes())
    (disk / LATIN_1 / os.fsdecode(b"\xfc.mha")).write_bytes(header + b"ElementDataFile = LOCAL\n" + pixels.tobytes())
    assert main(["index", str(disk), "--out", str(tmp_path / "index.csv")]) in (0, 1)
    rows = read_rows(tmp_path / "index.csv")
    assert {row["decision"] for row in rows} == {"accept"}, [row["reason"] for row in rows]
    assert sorted(row["path"] for row in rows) == [
        "M\\udcfcller", "M\\udcfcller/\\udcfc.mha", "M\\udcfcller/deep", "M\\udcfcller/v.mhd", "\\udcfc_T2w.nii.gz"
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_control_characters_of_headers_and_names_are_escapes_in_tables_and_on_the_console(tmp_path, capsys):
    disk = tmp_path / "disk"
    write_series(
        disk,
        n=2,
        SpecificCharacterSet="ISO_IR 192",
        SeriesDescription="a\x1b[2Jb\x00c\u202ed",
        BodyPartExamined="HE\x1bAD\nx",
    )
    (disk / "new\nline\x1b.txt").write_text("no image")
    index(str(disk), str(tmp_path / "index.csv"), workers=1)
    for name in TABLES:
        text = (tmp_path / name).read_bytes().decode()
        assert not set(text) & set("\x1b\x00\u202e"), name
    (row,) = read_rows(tmp_path / "index.csv")
    assert row["description"].startswith("a\\x1b[2Jb\\x00c")
    assert row["warnings"] == "BodyPartExamined says HE\\x1bAD\\nx"
    (left_out,) = read_rows(tmp_path / "index_unreadable.csv")
    assert left_out["path"] == "new\nline\\x1b.txt"
    assert "\x1b" not in capsys.readouterr().out


RESULTS = {
    "slices.csv": b"a", "heatmap.png": b"\x89PNG", "heatmap.nii.gz": b"", "overlays/slice_000.png": b"\x89PNG",
    "dicom/1.2.dcm": b"",
}  # fmt: skip


def earlier_results(folder: Path) -> None:
    """Write what a run leaves of a series."""
    for name, content in RESULTS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (capture,) = write_series(folder / "dicom", n=1, SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    capture.replace(folder / "dicom" / "1.2.dcm")
    summary = {"weights_sha256": "ab", "model_name": "m", "files": [*RESULTS, "summary.json"]}
    (folder / "summary.json").write_text(json.dumps(summary))


def test_earlier_results_are_passed_over_and_what_else_lies_among_them_is_not(tmp_path):
    write_series(tmp_path / "in", n=2)
    earlier_results(tmp_path / "in" / "out" / "1.2.3")
    for name in (".cervical_cord_compression.json", ".cervical_cord_compression.lock"):
        (tmp_path / "in" / "out" / name).write_bytes(b"")
    mine = write_series(tmp_path / "in" / "out" / "1.2.3" / "dicom", "P2", n=1)[0]
    found = list_files(tmp_path / "in")
    assert len(found.files) == 3
    assert str(mine) in found.files
    assert found.volumes == found.unreadable == []
    assert {reason for _, reason in found.no_images} == {"a result of this program, no image to score"}
    assert len(found.no_images) == len(RESULTS) + 1 + 2


def test_a_summary_of_another_program_hides_no_image(tmp_path):
    files = write_series(tmp_path, n=2)
    (tmp_path / "summary.json").write_text(json.dumps({"files": [path.name for path in files]}))
    assert len(contents_of(list_files(tmp_path), 1).stacks) == 1


def test_a_heat_map_that_was_copied_elsewhere_is_refused_as_what_it_is(tmp_path):
    pixels = np.random.default_rng(0).random((20, 20, 4)).astype(np.float32)
    image = nibabel.Nifti1Image(pixels, np.diag([0.5, 0.5, 3.0, 1.0]))
    image.header["descrip"] = b"Research use only, not for diagnosis. cervical_cord_compression 0.5.0"
    (tmp_path / "disk").mkdir()
    nibabel.save(image, tmp_path / "disk" / "sub-01_T2w.nii.gz")
    index(str(tmp_path / "disk"), str(tmp_path / "index.csv"), workers=1)
    (row,) = read_rows(tmp_path / "index.csv")
    assert (row["decision"], row["reason"]) == ("refuse", "a heat map of this program, by its header, not an image")
