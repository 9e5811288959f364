"""Datalists, tables and paths that no command makes, but people and other programs do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.__main__ import main
from scripts.cohort.leaks import check_split
from scripts.datalists import load
from scripts.errors import InputError

needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")


@pytest.fixture
def pictures(tmp_path):
    """Three different pictures, and a copy of the first."""
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        Image.fromarray(rng.integers(0, 255, (8, 8)).astype(np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "copy.png").write_bytes((tmp_path / "a.png").read_bytes())
    return tmp_path


def datalist(folder: Path, **sections: object) -> str:
    (folder / "list.json").write_text(json.dumps(sections), encoding="utf-8")
    return str(folder / "list.json")


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ([{"image": "a.png"}, {"label": 1}], r"training\[1\] must be an object with an 'image'"),
        ([{"image": "a.png"}, 7], r"training\[1\] must be"),
        ([{"image": ""}, {"image": "a.png"}], r"training\[0\]: image is empty"),
        ([{"image": "a\0.png"}], r"training\[0\]: image .* is no path"),
        ([{"image": "\ud800.png"}], r"training\[0\]: image .* is no path"),
        ({"image": "a.png"}, "training must be a list"),
        ("a.png", "training must be a list"),
        (None, "training must be a list"),
    ],
)
def test_a_section_that_cannot_be_compared_is_refused_and_not_passed_over(pictures, training, message):
    path = datalist(pictures, training=training, validation=[{"image": "b.png"}], testing=[{"image": "c.png"}])
    with pytest.raises(InputError, match=message):
        check_split(path)


def test_a_decathlon_list_of_names_is_compared(pictures):
    apart = datalist(pictures, training=[{"image": "a.png"}], test=["b.png", "c.png"], left_out=["a note"])
    assert check_split(apart) == 0
    with pytest.raises(InputError, match="1 picture in two sections"):
        check_split(datalist(pictures, training=[{"image": "a.png"}], test=["b.png", "copy.png"]))


@needs_pipes
@pytest.mark.parametrize("command", ["check-split", "describe"])
def test_a_pipe_is_refused_where_an_image_is_expected_and_not_waited_for(pictures, command, capsys):
    os.mkfifo(pictures / "pipe")
    (pictures / "patients.csv").write_text("patient_id,site\nA,x\nB,x\n")
    a, b = ({"image": name, "patient_id": who, "label": 0} for name, who in (("pipe", "A"), ("b.png", "B")))
    path = datalist(pictures, training=[a], validation=[], testing=[b])
    more = [str(pictures / "patients.csv"), "--out", str(pictures / "t.csv")] if command == "describe" else []
    assert main([command, path, *more]) == 2
    assert "pipe is neither a file nor a folder" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize("name", ["\ud800.dcm", "a\0b", "n" * 300, "loop"])
def test_an_image_whose_name_is_none_is_refused_in_one_line(tmp_path, name):
    (tmp_path / "loop").symlink_to("loop")
    path = datalist(tmp_path, training=[{"image": name, "label": 0, "patient_id": "A"}])
    with pytest.raises(InputError, match=r"is no path|do not exist"):
        load(path, "training")


@pytest.mark.parametrize("phantom", ["false", "true", 0, 1, [], None])
def test_a_cohort_is_a_phantom_or_not_in_no_other_words(tmp_path, phantom):
    (tmp_path / "a").write_bytes(b"")
    path = datalist(tmp_path, phantom=phantom, training=[{"image": "a", "label": 0, "patient_id": "A"}])
    with pytest.raises(InputError, match="phantom must be true or false, without quotes"):
        load(path, "training")


@pytest.mark.parametrize("content", ["[]", "null", "5", '"text"'])
def test_a_datalist_that_is_no_object_is_refused_by_canal(tmp_path, content, capsys):
    (tmp_path / "list.json").write_text(content)
    assert main(["canal", str(tmp_path / "list.json")]) == 2
    assert "has no section" in capsys.readouterr().err


def test_json_may_begin_with_a_byte_order_mark_as_tables_may(pictures):
    path = Path(datalist(pictures, training=[{"image": "a.png"}], testing=[{"image": "b.png"}]))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert check_split(str(path)) == 0


def test_a_folder_in_place_of_json_is_named_once(tmp_path):
    with pytest.raises(InputError) as caught:
        check_split(str(tmp_path))
    assert str(caught.value).count(str(tmp_path)) == 1
    assert "not valid JSON" not in str(caught.value)


LABELS = "patient_id,series_uid,sop_uid,frame,rater,reading,role,status,label\n"


def labels(folder: Path, *rows: str) -> str:
    (folder / "labels.csv").write_text(LABELS + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return str(folder / "labels.csv")


@pytest.mark.parametrize("frame", ["9" * 5000, "²", "\u0661", "0", "1.0"])
def test_a_frame_is_a_number_in_plain_digits(tmp_path, frame, capsys):
    table = labels(tmp_path, f"A,1.2,1.2.3,{frame},a,1,reference,evaluable,1")
    assert main(["agree", table, "--out", str(tmp_path / "list.csv")]) == 2
    assert "line 2: frame must be empty or a number from 1" in capsys.readouterr().err


@pytest.mark.parametrize("reading", ["²", "9" * 5000, "\u0661", "①"])
def test_a_reading_may_be_called_anything(tmp_path, reading):
    rows = [f"A,1.2,1.2.{n},,a,{name},reference,evaluable,{n % 2}" for n in (3, 4) for name in ("1", reading)]
    assert main(["agree", labels(tmp_path, *rows), "--out", str(tmp_path / "list.csv")]) == 0


@pytest.mark.parametrize("rater", ["ruling", "frame", "patient_id", "comment"])
def test_a_rater_called_like_a_column_of_the_list_to_settle_is_refused(tmp_path, rater, capsys):
    rows = [f"A,1.2,1.2.3,,{one},1,reference,evaluable,{call}" for one, call in (("a", 0), (rater, 1))]
    assert main(["agree", labels(tmp_path, *rows), "--out", str(tmp_path / "list.csv")]) == 2
    assert f"rater {rater!r}" in capsys.readouterr().err
    assert not (tmp_path / "list.csv").exists()


def test_a_section_named_twice_counts_once(tmp_path):
    (tmp_path / "a").write_bytes(b"no image")
    (tmp_path / "patients.csv").write_text("patient_id,site\nA,x\nB,x\n")
    a, b = ({"image": "a", "patient_id": who, "label": 0} for who in "AB")
    path = datalist(tmp_path, training=[a], validation=[], testing=[b])
    out = str(tmp_path / "t.csv")
    assert main(["describe", path, str(tmp_path / "patients.csv"), "--first", "training,training", "--out", out]) == 0
    assert Path(out).read_text(encoding="utf-8").splitlines()[1].startswith("slices,,1,1,")


def test_a_link_to_itself_is_refused_as_folder_and_as_input(tmp_path, capsys):
    (tmp_path / "loop").symlink_to("loop")
    table = labels(tmp_path, "A,1.2,1.2.3,,a,1,reference,evaluable,1")
    assert main(["agree", table, "--out", str(tmp_path / "loop" / "list.csv")]) == 2
    assert str(tmp_path / "loop") in capsys.readouterr().err
    assert main(["agree", str(tmp_path / "loop"), "--out", str(tmp_path / "list.csv")]) == 2
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("rulings", [".", "n" * 300])
def test_what_cannot_be_a_file_is_not_said_to_be_written(tmp_path, rulings, capsys):
    rows = [f"A,1.2,1.2.3,,{one},1,reference,evaluable,{call}" for one, call in (("a", 0), ("b", 1))]
    table, out = labels(tmp_path, *rows), str(tmp_path / "out.csv")
    assert main(["consensus", table, "--rulings", str(tmp_path / rulings), "--out", out]) == 2
    assert "written" not in capsys.readouterr().err


def test_a_number_of_too_many_digits_is_refused_in_one_line(capsys):
    assert main(["split", "a", "b", "c", "--seed", "9" * 5000]) == 2
    assert "--seed must be a whole number" in capsys.readouterr().err


@pytest.mark.parametrize("workers", ["0", "-1"])
def test_index_needs_a_process(tmp_path, workers, capsys):
    assert main(["index", str(tmp_path), "--workers", workers, "--out", str(tmp_path / "index.csv")]) == 2
    assert "--workers must be a whole number from 1" in capsys.readouterr().err
