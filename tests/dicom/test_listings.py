"""One walk: folders, files, zips and discs, each file accounted for, and zips that mean harm."""

from __future__ import annotations

import copy
import gc
import json
import os
import pickle
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from dicom_fixtures import write_series

from scripts.dicom import archives
from scripts.dicom.archives import Archives, unpack
from scripts.dicom.listings import list_files
from scripts.dicom.own_results import MANIFEST, own_files, read_record
from scripts.dicom.sources import contents_of, scan
from scripts.errors import InputError


def write_zip(path: Path, members: dict[str, bytes], **attributes: int) -> Path:
    """Write a zip; ``attributes`` are Unix modes by member."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            member = zipfile.ZipInfo(name)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = attributes.get(name, stat.S_IFREG | 0o644) << 16
            archive.writestr(member, content)
    return path


def test_every_file_is_listed_once_whatever_door_it_comes_through(tmp_path):
    write_series(tmp_path / "disk" / "a" / "b", n=2)
    (tmp_path / "disk" / "t2.nii.gz").write_bytes(b"x")
    write_zip(tmp_path / "disk" / "deep" / "study.ZIP", {"s/IM1": b"1", "v.nrrd": b"2", "__MACOSX/s/._IM1": b"3"})
    found = list_files([tmp_path / "disk", tmp_path / "disk" / "a"])
    named = found.archives.named
    root = f"{tmp_path / 'disk'}/"
    assert sorted(named(path).removeprefix(root) for path in found.files if "study" in path) == ["deep/study.ZIP/s/IM1"]
    assert len(found.files) == 3
    assert [named(path).removeprefix(root) for path in found.volumes] == ["deep/study.ZIP/v.nrrd", "t2.nii.gz"]
    assert [named(path).removeprefix(root) for path, _ in found.no_images] == ["deep/study.ZIP/__MACOSX"]
    assert found.unreadable == []


def test_what_other_programs_leave_is_no_failure(tmp_path):
    write_series(tmp_path, n=1)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._IM0001", "DICOMDIR"):
        (tmp_path / name).write_bytes(b"\0\1\2" * 100)
    contents = {"scan.json": b'{"EchoTime": 0.1}', "dwi.bval": b"0 1000", "report": b"Ein \xfcbler Befund\n"}
    contents |= {"key.jpg": b"\xff\xd8\xff\xe0" * 40, "table.xlsx": b"PK\3\4" + bytes(99), "nothing.txt": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    found = contents_of(list_files(tmp_path), 1)
    assert [Path(path).name for path, _ in found.unreadable] == []
    assert len(found.no_images) == 5 + len(contents)
    assert len(found.stacks) == 1


def test_what_may_hold_an_image_and_cannot_be_read_is_a_failure(tmp_path):
    whole = write_series(tmp_path / "x", n=1)[0].read_bytes()
    contents = {"IM0001": b"", "1.2.840.5": bytes(300), "page.dcm": b"<html>not found</html>", "IM2": whole[:140]}
    contents |= {"study.zip": b"PK\3\4", "more.7z": b"7z", "x.dcm.gz": b"gz"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    found = contents_of(list_files(tmp_path), 1)
    assert sorted(Path(path).name for path, _ in found.unreadable) == sorted(contents)
    assert found.no_images == []
    assert all(reason for _, reason in found.unreadable)


def test_naming_the_dicomdir_means_its_disc(tmp_path):
    write_series(tmp_path / "IMAGES", n=2)
    (tmp_path / "dicomdir").write_bytes(b"")
    found = list_files(tmp_path / "dicomdir")
    assert len(found.files) == 2
    assert found.files == list_files(tmp_path).files


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: "", "an empty path names nothing"),
        (lambda folder: " ", "an empty path names nothing"),
        (lambda folder: folder / "absent", "absent does not exist"),
        (lambda folder: os.mkfifo(folder / "pipe") or folder / "pipe", "pipe is neither a file nor a folder"),
        (lambda folder: str(folder / ("n" * 300)), "cannot be looked at: File name too long"),
        (lambda folder: "a\0b", "cannot be looked at"),
    ],
)
def test_a_path_that_names_nothing_is_refused(tmp_path, make: Callable[[Path], str], message):
    with pytest.raises(InputError, match=message):
        list_files(make(tmp_path))


def test_without_unpacking_a_zip_is_listed_with_what_to_do(tmp_path):
    write_series(tmp_path / "a", n=1)
    write_zip(tmp_path / "study.zip", {"IM1": b"1"})
    stacks, left_out = scan(tmp_path)
    assert len(stacks) == 1
    assert left_out == [(str(tmp_path / "study.zip"), "a zip, not opened here; unpack it and name the folder")]


LINK, PIPE, DEVICE = stat.S_IFLNK | 0o777, stat.S_IFIFO | 0o644, stat.S_IFCHR | 0o644


@pytest.mark.parametrize(
    ("name", "mode", "reason"),
    [
        ("../evil", 0, "leads out of its zip"),
        ("a/../../evil", 0, "leads out of its zip"),
        ("/etc/evil", 0, "leads out of its zip"),
        ("..\\evil", 0, "leads out of its zip"),
        ("C:\\evil", 0, "leads out of its zip"),
        ("link", LINK, "a link within a zip"),
        ("a/link.dcm", LINK, "a link within a zip"),
        ("pipe", PIPE, "neither a file nor a folder"),
        ("device", DEVICE, "neither a file nor a folder"),
        ("inner.zip", 0, "a zip within a zip"),
        ("good", 0, "twice in its zip; the first is taken"),
        ("good/below", 0, "cannot be unpacked: "),
        ("n" * 300, 0, "cannot be unpacked: File name too long"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_hostile_member_is_listed_and_the_others_are_unpacked(tmp_path, name, mode, reason):
    modes = {name: mode or stat.S_IFREG | 0o644}
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for one in ("good", name, "later/good"):
            member = zipfile.ZipInfo(one)
            member.external_attr = modes.get(one, stat.S_IFREG | 0o644) << 16
            archive.writestr(member, b"/etc/passwd")
    ((path, why),) = unpack(tmp_path / "x.zip", tmp_path / "deep" / "er")
    assert path == f"{tmp_path / 'x.zip'}/{name}"
    assert reason in why
    unpacked = {one for one in (tmp_path / "deep").rglob("*") if not one.is_dir()}
    assert unpacked == {tmp_path / "deep" / "er" / "good", tmp_path / "deep" / "er" / "later" / "good"}
    assert not any(one.is_symlink() for one in unpacked)
    assert {one.name for one in tmp_path.iterdir()} == {"x.zip", "deep"}


def test_a_damaged_member_is_listed_and_leaves_nothing_half_written(tmp_path):
    path = write_zip(tmp_path / "x.zip", {"bad": bytes(range(256)) * 20, "good": b"fine"})
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)
    path.write_bytes(content)
    ((name, reason),) = unpack(path, tmp_path / "out")
    assert (name, reason.split(" (")[0]) == (f"{path}/bad", "damaged within its zip")
    assert [one.name for one in (tmp_path / "out").iterdir()] == ["good"]


def test_a_zip_that_says_it_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_BYTES_FROM_FEW", 1000)
    path = write_zip(tmp_path / "bomb.zip", {"zeros": bytes(1 << 20)})
    with pytest.raises(InputError, match=r"bomb\.zip unpacks to more than .* GiB"):
        unpack(path, tmp_path / "out")
    monkeypatch.setattr(archives, "MOST_MEMBERS", 1)
    with pytest.raises(InputError, match="has 2 members, more than the 1 allowed"):
        unpack(write_zip(tmp_path / "many.zip", {"a": b"", "b": b""}), tmp_path / "out")


def test_a_zip_that_hides_its_size_is_stopped_while_it_unpacks(tmp_path, monkeypatch):
    """The table of contents says 10 bytes a member; what comes out is counted."""
    monkeypatch.setattr(archives, "MOST_BYTES_FROM_FEW", 1000)
    monkeypatch.setattr(archives, "check_sizes", lambda *_: None)
    path = write_zip(tmp_path / "bomb.zip", {"small": b"1" * 10, "zeros": bytes(1 << 20)})
    found = list_files(path)
    assert found.files == []
    ((name, reason),) = found.unreadable
    assert (name, reason.partition(" than ")[0]) == (str(path), "unpacks to more")
    assert not list(Path(found.archives.folder).rglob("*zeros*"))


def test_an_encrypted_zip_says_so(tmp_path):
    path = write_zip(tmp_path / "secret.zip", {"IM1": b"1"})
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.rindex(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="is encrypted; unpack it with its password"):
        unpack(path, tmp_path / "out")


def test_a_full_disk_is_named_with_what_to_do(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives, "write_member", full)
    path = write_zip(tmp_path / "x.zip", {"a": b"1"})
    ((_, reason),) = list_files(path).unreadable
    assert "No space left on device" in reason
    assert "set TMPDIR to a folder on a disk with more room" in reason


def test_unpacked_files_stay_as_long_as_their_owner_and_no_copy_removes_them(tmp_path):
    owner = Archives()
    folder, _ = owner.unpack(str(write_zip(tmp_path / "x.zip", {"a/b": b"1"})))
    other, _ = owner.unpack(str(write_zip(tmp_path / "y.zip", {"a/b": b"2"})))
    copies = [pickle.loads(pickle.dumps(owner)), copy.deepcopy(owner)]
    assert [one.named(f"{folder}/a/b and {other}/a/b") for one in (owner, *copies)] == [
        f"{tmp_path}/x.zip/a/b and {tmp_path}/y.zip/a/b"
    ] * 3
    del copies
    gc.collect()
    assert Path(folder, "a", "b").read_bytes() == b"1"
    if not (child := os.fork()):
        del owner
        gc.collect()
        os._exit(0)
    os.waitpid(child, 0)
    assert Path(other, "a", "b").is_file()
    place = owner.folder
    assert stat.S_IMODE(Path(place).stat().st_mode) == 0o700
    del owner
    gc.collect()
    assert not Path(place).exists()


def test_a_zip_named_relative_to_here_is_named_so(tmp_path, monkeypatch):
    write_zip(tmp_path / "x.zip", {"a": b"1"})
    monkeypatch.chdir(tmp_path)
    found = list_files("x.zip")
    assert [found.archives.named(path) for path in found.files] == ["x.zip/a"]
    shutil.rmtree(found.archives.folder)


def test_a_summary_of_a_strangers_hides_no_image(tmp_path):
    paths = [*write_series(tmp_path, series="T2"), *write_series(tmp_path / "dicom", series="again")]
    for number, path in enumerate(paths):
        paths[number] = path.rename(path.with_suffix(".dcm"))
    (tmp_path / "t2.nii.gz").write_bytes(b"x")
    (tmp_path / "heatmap.png").write_bytes(b"\x89PNG")
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    (tmp_path / "summary.json").write_text(json.dumps({"weights_sha256": "0", "files": files}))
    listing = list_files(tmp_path)
    assert listing.files == sorted(map(str, paths))
    assert listing.volumes == [str(tmp_path / "t2.nii.gz")]
    assert [Path(path).name for path, _ in listing.no_images] == ["heatmap.png", "summary.json"]


def test_a_summary_that_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "summary.json").symlink_to(tmp_path / "pipe")
    os.mkfifo(tmp_path / MANIFEST)
    assert own_files(tmp_path) == set()
    assert read_record(tmp_path / MANIFEST) == {}
    list_files(tmp_path)


@pytest.mark.skipif(not Path("/proc/version").is_file(), reason="needs files that the system makes up as they are read")
@pytest.mark.parametrize("name", ["link", "link.dcm", "link.nii.gz", "link.zip"])
def test_a_link_to_what_the_system_makes_up_is_not_opened(tmp_path, name):
    """Such a file calls itself regular and empty; to read /proc/kmsg waits for ever."""
    (tmp_path / name).symlink_to("/proc/version")
    found = list_files(tmp_path)
    assert found.unreadable == [(str(tmp_path / name), "link to a file that holds nothing")]
    assert not found.files
    assert not found.volumes
