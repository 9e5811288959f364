"""The campaigns, small: what they find, and that they find it."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

import pytest
from csv_rows import read_rows

from bundle.__main__ import COMMANDS
from bundle.campaigns import doors, load, pool, processes, targets, torture
from bundle.campaigns.dicom_mutations import DICOM
from bundle.campaigns.mutations import OTHERS
from bundle.campaigns.samples import make_samples
from bundle.campaigns.wholeness import half_written, unlike_values
from scripts.__main__ import main
from scripts.errors import InputError
from scripts.files import read_json
from scripts.study import page

pytestmark = pytest.mark.skipif(os.name == "nt", reason="kills process groups")


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """Sound files of every kind."""
    folder = tmp_path_factory.mktemp("fuzz") / "sound"
    make_samples(folder)
    return folder


def run(*words: object) -> int:
    return main(list(map(str, words)), COMMANDS, "bundle")


def test_killed_commands_go_on_and_end_as_if_nobody_had_killed_them(tmp_path):
    assert run("torture", tmp_path, "--kills", 4, "--targets", "deidentify,index", "--seed", 3) == 0
    found = read_json(tmp_path / "torture.json")
    assert (found["kills"], found["violations"]) == (4, 0)
    shutil.rmtree(tmp_path / "index")
    assert run("torture", tmp_path, "--kills", 4, "--targets", "deidentify,index", "--seed", 3) == 0
    again = read_json(tmp_path / "torture.json")
    assert (again["targets"], (tmp_path / "index").exists()) == (found["targets"], False)  # kept, not done again


CARELESS = """
import sys, time
from pathlib import Path
folder = Path(sys.argv[1])
with (folder / "table.csv").open("w") as stream:
    stream.write("a,b\\n1")
    stream.flush()
    (folder / ".half").touch()
    time.sleep(0.4)
    stream.write(",2\\n")
(folder / ".half").unlink()
"""


def test_a_command_that_leaves_half_a_table_behind_is_found_out(tmp_path, monkeypatch):
    careless = targets.Target(lambda inputs, folder: ["-c", CARELESS, str(folder)], lambda folder, whole: [])
    monkeypatch.setitem(targets.TARGETS, "careless", careless)
    assert run("torture", tmp_path, "--kills", 2, "--targets", "careless", "--workers", 1) == 1
    (row,) = read_json(tmp_path / "torture.json")["targets"].values()
    assert any("half-written: table.csv" in text for text in row["violations"])


SLOW = """
import signal, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
number = len(list(folder.glob("start_*")))
(folder / f"start_{number}").touch()
if number < 2:
    (folder / f".half_{number}").touch()
    try:
        time.sleep(20)
    finally:
        (folder / f".half_{number}").unlink()
(folder / ".half_0").unlink(missing_ok=True)
"""


def test_what_a_sigkill_leaves_is_not_held_against_the_sigterm_after_it(tmp_path, monkeypatch):
    slow = targets.Target(lambda inputs, folder: ["-c", SLOW, str(folder)], lambda folder, whole: [])
    whole = processes.Run(seconds=1, events=2)
    kills = iter([processes.Kill(event=2, delay_s=0.2), processes.Kill(event=2, delay_s=0.2, polite=True)])
    monkeypatch.setattr(torture, "draw", lambda *_: next(kills))
    inputs = targets.Inputs(tmp_path, tmp_path, tmp_path)
    found = torture.chain(slow, inputs, tmp_path / "run", tmp_path / "whole", 2, random.Random(0), whole)
    assert (found.kills, found.polite, found.violations) == (2, 1, [])


def test_what_differs_between_two_checkpoints_is_named():
    import torch

    one = {"a": [torch.zeros(2), {"seconds": 1.0}], "b": float("nan")}
    assert unlike_values(one, {"a": [torch.zeros(2), {"seconds": 2.0}], "b": float("nan")}, "x", ("seconds",)) == []
    other = {"a": [torch.tensor([0.0, 0.5]), {"seconds": 1.0}], "b": float("nan")}
    assert unlike_values(one, other, "x") == ["x[a][0] differs by up to 0.5"]


@pytest.mark.parametrize("name", ["a.json", "a.csv", "a.pt", "a.png", "a.nii.gz", "a.dcm"])
def test_half_a_file_of_every_kind_is_found(tmp_path, name):
    (tmp_path / f".{name}").write_bytes(b"{")
    assert half_written(tmp_path) == []
    (tmp_path / name).write_bytes(b"{")
    assert len(half_written(tmp_path)) == 1


def test_mutations_are_the_same_for_the_same_seed_and_change_the_file(sound):
    samples = make_samples(sound)
    plan = pool.Plan(sound, 5, 300)
    cases = [plan.case(samples, number) for number in range(330)]
    assert [case.data for case in cases] == [plan.case(samples, number).data for number in range(330)]
    changed = sum(case.data != case.sample.path.read_bytes() for case in cases)
    assert changed > 300
    assert {name for case in cases for name in case.mutations} >= {one.__name__ for one in DICOM}
    assert {case.sample.kind for case in cases} == {"dicom", *OTHERS}


def test_every_sound_file_comes_in_but_deflated_dicom(sound, tmp_path):
    place = pool.make_place(pool.Plan(sound, 0, 0), tmp_path)
    for sample in make_samples(sound):
        wanted = "refused" if "deflated" in sample.name or sample.name == "small.pt" else "accepted"
        assert doors.try_file(sample, sample.path.read_bytes(), [], 1, place) == wanted, sample.name


def serve_badly(plan, folder, connection) -> None:
    """A worker that dies at file 2, and hangs at file 5."""
    connection.send(None)
    while (numbers := connection.recv()) is not None:
        for number in numbers:
            if number == 2:
                os._exit(11)
            if number == 5:
                time.sleep(60)
            connection.send(pool.Outcome(number, "accepted", "", 0.0))


def test_a_file_that_ends_or_stops_its_process_is_named_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "serve", serve_badly)
    monkeypatch.setattr(pool, "SLOWEST_S", 0.5)
    found = list(pool.outcomes(pool.Plan(tmp_path, 0, 0), range(8), 2))
    bad = {one.number: one.result for one in found if one.result != "accepted"}
    assert bad == {2: "crash", 5: "hang"}
    assert sorted(one.number for one in found) == list(range(8))


@pytest.mark.parametrize(
    ("raised", "result"),
    [(KeyError("x"), "exception"), (MemoryError(), "memory"), (doors.WrongError("x"), "wrong"), (None, "accepted")],
)
def test_what_a_door_lets_out_is_a_failure(sound, monkeypatch, raised, result):
    def door(*_):
        if raised is not None:
            raise raised
        return "accepted"

    monkeypatch.setattr(doors, "try_file", door)
    assert pool.attempt(pool.Plan(sound, 0, 10), make_samples(sound), 3, None).result == result


def test_damaged_files_of_every_kind_are_refused_or_read_as_they_are(tmp_path, sound):
    (tmp_path / "sound").symlink_to(sound)
    assert run("fuzz", tmp_path, "--dicom", 200, "--others", 60, "--workers", 1) == 0
    counts = read_json(tmp_path / "fuzz.json")["counts"]
    assert {kind: sum(found.values()) for kind, found in counts.items()} == {"dicom": 200, **dict.fromkeys(OTHERS, 10)}
    assert min(counts["dicom"][name] for name in ("accepted", "refused")) > 20  # neither all harmless nor all fatal
    assert read_rows(tmp_path / "failures.csv") == []


def test_a_load_of_files_with_bad_ones_among_them_is_indexed(tmp_path):
    assert run("load", tmp_path, "--files", 800, "--series", 0, "--commands", "index") == 0
    found = read_json(tmp_path / "load.json")["index"]
    assert (found["good"], found["bad"], found["violations"]) == ([792, 792], [8, 8], [])
    assert not (tmp_path / "load").exists()


def test_memory_that_grows_is_found():
    assert load.halves([10.0, 20.0, 5.0, 50.0, 60.0]) == (20.0, 60.0)


def test_figures_go_between_the_marks_of_their_campaign(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("a\n<!-- fuzz: begin -->\nold\n<!-- fuzz: end -->\nb\n", encoding="utf-8")
    page.write_page(path, "fuzz", "python -m bundle fuzz OUT", [["files", "number"], ["dicom", 3]], 90)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("a\n<!-- fuzz: begin -->\n")
    assert text.endswith(".\n<!-- fuzz: end -->\nb\n")
    assert "| dicom | 3 |" in text
    assert "1.5 minutes; bundle " in text
    assert "old" not in text
    with pytest.raises(InputError, match="needs one line <!-- load: begin -->"):
        page.check_page(path, "load")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("torture", "--targets", "train,sleep"), "--targets knows"),
        (("torture", "--kills", 0), "--kills"),
        (("load", "--commands", "split"), "split needs index"),
        (("load", "--files", 10), "--files"),
        (("fuzz", "--dicom", -1), "--dicom"),
        (("fuzz", "--doc", "missing.md"), "--doc missing.md cannot be read"),
    ],
)
def test_a_campaign_that_cannot_be_run_says_why(tmp_path, capsys, words, message):
    assert run(words[0], tmp_path / "out", *words[1:]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
