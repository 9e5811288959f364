"""Files that appear whole or not at all, on any system; seeds; and tables of one's own."""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
from pathlib import Path

import pytest

from scripts.deidentification.command import deidentify
from scripts.errors import InputError, check_seed, check_whole
from scripts.files import (
    RESERVED_NAMES,
    check_folder,
    check_output,
    inside,
    replacing,
    safe_name,
    safe_names,
    write_csv,
    write_text,
)
from scripts.records import derive_seed


def test_a_file_gets_the_users_own_permissions_and_the_process_keeps_its_mask(tmp_path, monkeypatch):
    """A mask that is set and set back, even for a moment, is that of every thread."""

    def changed(*_):
        raise AssertionError("the mask of the whole process was changed")

    monkeypatch.setattr(os, "umask", changed)
    monkeypatch.setattr(Path, "chmod", changed)
    write_text(tmp_path / "new" / "table.csv", "a\n")
    (tmp_path / "plain.csv").write_text("a\n")
    modes = {path.stat().st_mode for path in (tmp_path / "new" / "table.csv", tmp_path / "plain.csv")}
    assert len(modes) == 1


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "map.nii.gz", "old")
    with pytest.raises(RuntimeError), replacing(tmp_path / "map.nii.gz") as temporary:  # noqa: PT012
        assert temporary.name.endswith(".nii.gz")
        temporary.write_text("half")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["map.nii.gz"]
    assert (tmp_path / "map.nii.gz").read_text() == "old"


def test_a_file_that_another_program_holds_open_is_named(tmp_path, monkeypatch):
    """Windows does not replace a file that a spreadsheet has open."""

    def held(*_):
        raise PermissionError(13, "The process cannot access the file")

    monkeypatch.setattr(Path, "replace", held)
    with pytest.raises(InputError, match=r"table.csv cannot be written \(The process cannot access"):
        write_text(tmp_path / "table.csv", "a")
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_is_checked_without_being_made(tmp_path, monkeypatch):
    assert check_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    (tmp_path / "file").write_text("notes")
    for place in ("file", "file/below"):
        with pytest.raises(InputError, match="file is a file where a folder is needed"):
            check_folder(tmp_path / place)
        with pytest.raises(InputError, match="file is a file where a folder is needed"):
            check_output(tmp_path / "file" / "below" / "table.csv")
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: (_ for _ in ()).throw(OSError(30, "Read-only")))
    with pytest.raises(InputError, match=r"cannot be written \(Read-only; the disk .* choose another --out"):
        check_folder(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


SPECIAL = {"a pipe": stat.S_IFIFO, "a socket": stat.S_IFSOCK, "a device": stat.S_IFCHR}


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("linked", [False, True])
def test_a_file_is_written_over_nothing_but_a_regular_file(tmp_path, kind, linked):
    node = tmp_path / "node"
    try:
        os.mknod(node, SPECIAL[kind] | 0o600, os.makedev(1, 7) if kind == "a device" else 0)
    except PermissionError:
        pytest.skip("only root may make devices")
    path = tmp_path / "table.csv" if linked else node
    if linked:
        path.symlink_to(node)
    for write in (check_output, lambda place: write_text(place, "text"), lambda place: write_csv(place, ["a"], [])):
        with pytest.raises(InputError, match=rf"{path.name} is {kind}, .*choose another"):
            write(path)
        assert stat.S_IFMT(node.lstat().st_mode) == SPECIAL[kind]
        assert path.is_symlink() == linked
    with pytest.raises(InputError, match="where a folder is needed"):
        check_folder(path)


@pytest.mark.parametrize("seed", [0, 20240101, 2**32, 2**63 - 1])
def test_any_seed_of_63_bits_is_taken_and_gives_one_of_32_bits(seed):
    check_seed(seed)
    assert 0 <= derive_seed(seed) < 2**32
    assert derive_seed(seed) == derive_seed(seed)
    assert len({derive_seed(seed, number) for number in range(100)}) == 100


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5])
def test_any_other_seed_is_refused(seed):
    with pytest.raises(InputError, match=r"--seed must be a whole number from 0 to 9223372036854775807, .* got"):
        check_seed(seed)


@pytest.mark.parametrize(("value", "high"), [(0, None), (7, 6), (1.5, 6)])
def test_a_number_out_of_range_is_told_its_range(value, high):
    with pytest.raises(InputError, match="--folds must be a whole number from 2" + (f" to {high}" if high else ",")):
        check_whole("--folds", value, 2, high)


UIDS = ["1.2.840.113619.2.5", "0", "9" * 64, "1." * 31 + "1"]
HOSTILE = [
    *("../../../evil", "/etc/passwd", "..", ".", "", " ", "CON", "con", "Nul", "lpt1", "COM9", "series.csv"),
    *("failures.csv", ".hidden", "1.2.", ".1.2", "1..2", "1.2\n", "a\\b", "C:\\x", "1.2 ", "日本語", "ÄÖÜ", "A B"),
    *("9" * 65, "x" * 300, "a/b", "a\0b", "~", "$(touch x)", "\ud800", "1.2.3/../4", "CON.txt", "٣.٤"),
]


@pytest.mark.parametrize("uid", UIDS)
def test_a_uid_is_its_own_name(uid):
    assert safe_name(uid) == uid


def test_every_other_text_gets_a_name_that_is_safe_on_any_system_and_no_two_share_one():
    names = safe_names([*UIDS, *HOSTILE])
    assert len({name.lower() for name in names}) == len(names)
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,70}", name), name
        assert not name.endswith(".")
        assert name.split(".")[0].lower() not in RESERVED_NAMES
        assert name not in ("series.csv", "failures.csv")
    assert "evil" in safe_name("../../../evil")


def test_equal_texts_are_numbered_and_texts_that_differ_in_case_only_are_distinct():
    assert safe_names(["1.2.3", "1.2.3", "4"]) == ["1.2.3_1", "1.2.3_2", "4"]
    for texts in (["T2", "t2"], ["CON", safe_name("CON")], ["x", "x", "x_1"], ["1.2", "1.2", "1.2_1"], ["a/b"] * 3):
        names = safe_names(texts)
        assert len({name.lower() for name in names}) == len(texts), names
        assert all(re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]*", name) for name in names)


def test_what_is_written_is_proved_to_lie_below_its_folder(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out" / "real").mkdir()
    (tmp_path / "out" / "within").symlink_to(tmp_path / "out" / "real")
    assert inside(tmp_path / "out", "new", "file") == tmp_path / "out" / "new" / "file"
    assert inside(tmp_path / "out", "within")
    for names in (("link",), ("link", "new"), ("..", "evil"), ("/etc",), ("a", "..", "..", "b")):
        with pytest.raises(InputError, match="leads out of"):
            inside(tmp_path / "out", *names)


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, r"No space left on device; the disk is mounted at /.*free some space there, or choose another"),
        (errno.EDQUOT, "quota there"),
        (errno.EROFS, "mounted read-only"),
        (errno.EACCES, "change its permissions"),
        (errno.ENAMETOOLONG, "choose a shorter name"),
        (errno.EIO, "the disk is faulty"),
        (errno.EFBIG, "limit on the size of files"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", ["touch", "write", "replace"])
def test_what_the_system_refuses_is_one_line_that_names_the_file_and_what_to_do(
    tmp_path, monkeypatch, step, number, advice
):
    (tmp_path / "table.csv").write_text("old")
    refused = OSError(number, os.strerror(number))

    def refuses(*_, **__):
        raise refused

    if step == "write":
        monkeypatch.setattr(Path, "write_text", refuses)
    else:
        monkeypatch.setattr(Path, step, refuses)
    with pytest.raises(InputError, match=advice) as caught:
        write_text(tmp_path / "table.csv", "new")
    monkeypatch.undo()
    assert str(tmp_path / "table.csv") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
    assert (tmp_path / "table.csv").read_text() == "old"


def test_a_file_that_cannot_be_read_is_not_taken_for_one_that_cannot_be_written(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.txt"), replacing(tmp_path / "table.csv"):
        Path("/nowhere/nothing.txt").read_text()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("made", [False, True])
def test_a_tilde_that_the_shell_left_alone_is_no_folder_of_that_name(tmp_path, monkeypatch, made):
    """Libraries that write images take it for the home folder, and would write there."""
    monkeypatch.chdir(tmp_path)
    if made:
        (tmp_path / "~").mkdir()
    for check, path in ((check_folder, "~/results"), (check_output, "~/results/table.csv")):
        with pytest.raises(InputError, match="begins with ~, which the shell did not replace"):
            check(path)
    with pytest.raises(InputError, match=r"~/linkage\.csv begins with ~"):
        deidentify(".", str(tmp_path / "out"), "~/linkage.csv")
    with pytest.raises(InputError, match=r"~/index\.csv begins with ~"):
        check_output("~/index.csv")
    assert check_folder("a~/results") == Path("a~/results")
