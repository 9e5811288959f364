"""looks.jsonl counts the networks that were scored on held-out patients."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import ROOT

from scripts import datalists
from scripts.cohort import looks

ENTRY = {"label": 0, "site": "", "series_uid": "1.2", "sop_uid": "1.2.3", "frame": "", "slice_index": 0}


def datalist_of(folder, testing=("a", "b"), seed=0, name="datalist.json"):
    path = folder / name
    rows = [{**ENTRY, "image": f"{one}.dcm", "patient_id": one} for one in testing]
    datalists.write(path, {"training": [{**ENTRY, "image": "t.dcm", "patient_id": "t"}], "testing": rows}, seed)
    return path


def look(path, weights, predictions="p", **options):
    return looks.record(path, datalists.datalist_info(path)["datalist_sha256"], weights, predictions, **options)


def lines(path):
    return [json.loads(line) for line in path.with_name(looks.FILE).read_text().splitlines()]


def test_every_network_is_a_look_and_the_same_weights_are_none(tmp_path):
    path = datalist_of(tmp_path)
    found = [look(path, weights) for weights in ("w1", "w2", "w1", "w3")]
    assert [(one.number, one.networks, one.again) for one in found] == [
        (1, 1, False),
        (2, 2, False),
        (1, 2, True),
        (3, 3, False),
    ]
    assert found[3].sentence() == "this is look 3 at these held-out patients, with 2 other networks before"
    assert found[0].sentence() == "this is look 1 at these held-out patients, with no other network before"
    assert "with this network before (look 1); with 1 other network besides" in found[2].sentence()
    assert [one["weights_sha256"] for one in lines(path)] == ["w1", "w2", "w1", "w3"]
    assert found[3].first == lines(path)[0]["time"]


def test_a_look_says_who_when_and_at_what(tmp_path):
    path = datalist_of(tmp_path)
    look(path, "w", "hash of predictions")
    (line,) = lines(path)
    assert set(line) == set(looks.Look.__annotations__)
    assert line["datalist_sha256"] == datalists.datalist_info(path)["datalist_sha256"]
    assert line["predictions_sha256"] == "hash of predictions"
    assert line["time"].endswith("+00:00")


def test_scores_without_known_weights_count_by_their_predictions(tmp_path):
    path = datalist_of(tmp_path)
    assert [look(path, "", one).networks for one in ("p1", "p2", "p1")] == [1, 2, 2]


def test_a_new_datalist_with_the_same_held_out_patients_counts_on(tmp_path):
    path = datalist_of(tmp_path, seed=0)
    look(path, "w1")
    assert look(datalist_of(tmp_path, seed=1), "w2").number == 2


def test_other_held_out_patients_in_the_same_folder_are_counted_apart(tmp_path):
    look(datalist_of(tmp_path, ("a", "b"), name="fold_1.json"), "w1")
    assert look(datalist_of(tmp_path, ("c",), name="fold_2.json"), "w2").networks == 1


def test_a_datalist_that_changed_since_is_counted_by_the_hash_that_was_scored(tmp_path):
    path = datalist_of(tmp_path)
    assert looks.record(path, "old", "w1", "p").networks == 1
    assert looks.record(path, "old", "w2", "p").networks == 2
    assert lines(path)[0]["held_out_sha256"] == ""


@pytest.mark.parametrize(
    "damage", [b"{", b"[]", b'{"time": 3}', b"\xff\xfe\x00", b"null", b"[" * 100_000, b'{"time": "x"}']
)
def test_a_damaged_line_is_named_kept_and_not_counted(tmp_path, damage):
    path = datalist_of(tmp_path)
    look(path, "w1")
    file = path.with_name(looks.FILE)
    file.write_bytes(file.read_bytes() + damage + b"\n")
    found = look(path, "w2")
    assert (found.number, found.networks) == (2, 2)
    assert list(found.problems) == ["looks.jsonl, line 2 is damaged and not counted"]
    assert damage in file.read_bytes()
    assert len(file.read_bytes().splitlines()) == 3


def test_a_line_cut_off_by_a_kill_does_not_swallow_the_next(tmp_path):
    path = datalist_of(tmp_path)
    look(path, "w1")
    file = path.with_name(looks.FILE)
    file.write_bytes(file.read_bytes() + b'{"time": "2026')
    assert look(path, "w2").networks == 2
    assert look(path, "w3").networks == 3


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_a_read_only_folder_stops_nothing(tmp_path):
    """In a process of its own, because root writes everywhere: it gives up that right where it has it."""
    folder = Path(tempfile.mkdtemp(prefix="cord-"))  # pytest's own folders are closed to others
    path = datalist_of(folder)
    look(path, "w1")
    folder.chmod(0o555)
    (tmp_path / "other").mkdir()
    other = datalist_of(tmp_path / "other")
    program = (
        "import os, pathlib, json\n"
        "from scripts.cohort import looks\n"
        f"looks.record(pathlib.Path({str(other)!r}), 'other', 'w2', 'p')\n"  # which imports what it needs
        "os.getuid() or os.setuid(65534)\n"
        f"found = looks.record(pathlib.Path({str(path)!r}), 'other', 'w2', 'p')\n"
        "print(json.dumps([found.number, list(found.problems)]))\n"
    )
    try:
        ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        assert len(lines(path)) == 1
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)
    number, (problem,) = json.loads(ended.stdout)
    assert number == 1
    assert "this look is not recorded" in problem


def test_a_folder_in_the_place_of_the_file_stops_nothing(tmp_path):
    path = datalist_of(tmp_path)
    path.with_name(looks.FILE).mkdir()
    found = look(path, "w1")
    assert found.networks == 1
    assert "is a folder" in found.problems[0]


def test_a_report_records_a_network_once(tmp_path):
    path = datalist_of(tmp_path)
    look(path, "w1", once=True)
    assert look(path, "w1", once=True).again
    assert len(lines(path)) == 1


def append(arguments):
    path, weights = arguments
    return look(path, weights).number


def test_processes_append_one_after_the_other(tmp_path):
    path = datalist_of(tmp_path)
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        numbers = pool.map(append, [(path, f"w{number}") for number in range(24)], chunksize=1)
    assert sorted(numbers) == list(range(1, 25))
    assert len(lines(path)) == 24
