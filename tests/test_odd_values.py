"""Names and values that no file system or table expects: in JSON, in tables, as paths and as checkpoints."""

from __future__ import annotations

import os

import pytest
from csv_rows import read_rows

from scripts.checks import check_evaluation
from scripts.console import one_line, printable
from scripts.errors import InputError
from scripts.files import read_json, write_csv, write_json
from scripts.networks import load_safely

CONTROLS = ["\x00", "\x1b[2J", "\x07", "\x7f", "\x9b", "\u2028", "\u202e", "\udcfc"]


def test_json_keeps_any_text_exactly_and_is_utf_8(tmp_path):
    content = {"files": [os.fsdecode(b"/M\xfcller/\xe9"), "Müller", *CONTROLS, "a\nb"]}
    write_json(tmp_path / "a.json", content)
    (tmp_path / "a.json").read_text(encoding="utf-8")
    assert read_json(tmp_path / "a.json") == content


@pytest.mark.parametrize("control", CONTROLS)
def test_control_characters_are_visible_escapes_in_tables(tmp_path, control):
    write_csv(tmp_path / "a.csv", ["a"], [{"a": f"x{control}y\nz"}])
    (row,) = read_rows(tmp_path / "a.csv")
    assert row["a"] == f"x{control[0].encode('unicode_escape').decode()}{control[1:]}y\nz"


@pytest.mark.parametrize("text", ["a\nb", "a\tb", "a\rb", *(f"a{one}b" for one in CONTROLS)])
def test_a_value_is_one_printable_line(text):
    assert one_line(text).isprintable()
    assert printable(one_line(text)) == one_line(text)
    assert one_line("Müller µ ≥ ü") == "Müller µ ≥ ü"


@pytest.mark.parametrize("path", ["", " "])
def test_an_empty_dataset_dir_is_not_this_folder(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datalist.json").write_text("{}")
    with pytest.raises(InputError, match="an empty path names nothing"):
        check_evaluation(path, "testing", 0.5, 0, "fp32")


def test_a_checkpoint_that_may_not_be_read_says_so(tmp_path, monkeypatch):
    (tmp_path / "model.pt").write_bytes(b"x")

    def locked(*_, **__):
        raise PermissionError(13, "Permission denied", str(tmp_path / "model.pt"))

    monkeypatch.setattr("zipfile.is_zipfile", lambda _: False)
    monkeypatch.setattr("torch.load", locked)
    with pytest.raises(InputError, match=r"model\.pt cannot be read: Permission denied; change its permissions"):
        load_safely(tmp_path / "model.pt")
