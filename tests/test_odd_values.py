"""Names and values that no file system or table expects: in JSON, in tables, as paths and as checkpoints."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import pytest
from csv_rows import read_rows

from scripts.checks import check_evaluation
from scripts.console import one_line, printable
from scripts.errors import InputError, kind_of
from scripts.files import drafting, read_json, write_csv, write_json
from scripts.models.files import load_safely
from scripts.phantom import cohort as phantom

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


@pytest.mark.parametrize(
    ("error", "kind"), [(struct.error(), "struct error"), (zlib.error(), "zlib error"), (KeyError(1), "KeyError")]
)
def test_a_kind_of_error_says_whose_it_is(error, kind):
    assert kind_of(error) == kind


def test_what_cannot_be_written_in_a_draft_is_named_where_it_would_have_been(tmp_path, monkeypatch):
    def full(path, *_, **__):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "touch", full)
    with pytest.raises(InputError) as caught, drafting(tmp_path / "out") as draft:
        write_csv(draft / "labels.csv", ["a"], [])
    assert str(caught.value).startswith(f"{tmp_path}/out/labels.csv cannot be written (No space left on device")


def test_a_phantom_that_finds_no_room_is_named_where_it_would_have_been(tmp_path, monkeypatch):
    def full(folder, *_):
        raise OSError(28, "No space left on device", str(folder / "dicom"))

    monkeypatch.setattr(phantom, "render_patients", full)
    with pytest.raises(InputError) as caught:
        phantom.make_cohort(tmp_path / "out", patients=1)
    assert str(caught.value).startswith(f"{tmp_path}/out cannot be written (No space left on device")
    assert not list(tmp_path.iterdir())
