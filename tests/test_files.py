"""Files that appear whole or not at all, on any system; seeds; and tables of one's own."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from scripts.errors import InputError, check_seed, check_whole
from scripts.files import check_folder, check_output, replacing, write_text
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
    with pytest.raises(InputError, match=r"cannot be written \(Read-only\); choose another --out"):
        check_folder(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


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
