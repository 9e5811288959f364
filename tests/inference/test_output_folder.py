"""One output folder: the last run's files and the user's, whole at every moment, and one run at a time."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from scripts.errors import InputError
from scripts.inference import output_folder
from scripts.inference.output_folder import LOCK, MANIFEST, OutputFolder
from scripts.records import SLICE_COLUMNS


def write(folder: Path, *names: str, text: str = "x") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def score(output: OutputFolder, name: str, *files: str, text: str = "x") -> None:
    with output.series(name) as folder:
        write(folder, *files, text=text)
        (folder / "summary.json").write_text(json.dumps({"files": [*files, "summary.json"], "text": text}))


def run(out: Path, series: dict[str, list[str]], text: str = "x") -> int:
    output = OutputFolder(out)
    output.begin(series)
    for name, files in series.items():
        score(output, name, *files, text=text)
    removed = output.finish(series)
    write(out, "failures.csv", "series.csv", text=text)
    output.end()
    return removed


def content(out: Path) -> dict[str, str]:
    return {
        path.relative_to(out).as_posix(): path.read_text()
        for path in out.rglob("*")
        if path.is_file() and path.name not in (MANIFEST, LOCK)
    }


def test_a_second_run_leaves_its_own_files_and_the_users(tmp_path):
    out = tmp_path / "out"
    assert (
        run(out, {"1.1": ["slices.csv", "dicom/a.dcm", "overlays/slice_001.png"], "1.2": ["slices.csv"]}, "first") == 0
    )
    write(
        out, "notes.txt", "1.1/my/notes.txt", "1.1/slices_corrected.csv", "1.2/mine.txt", "9.9/summary.json", text="u"
    )
    (out / "1.1" / "link").symlink_to(tmp_path)
    assert run(out, {"1.1": ["slices.csv", "dicom/b.dcm"], "1.3": ["slices.csv"]}, "second") == 1
    found = content(out)
    users = {"notes.txt", "1.1/my/notes.txt", "1.1/slices_corrected.csv", "1.2/mine.txt", "9.9/summary.json"}
    ours = {"1.1/slices.csv", "1.1/dicom/b.dcm", "1.1/summary.json", "1.3/slices.csv", "1.3/summary.json"}
    assert set(found) == users | ours | {"series.csv", "failures.csv"}
    assert {found[name] for name in users} == {"u"}
    assert (out / "1.1" / "link").is_symlink()
    assert not list(out.glob(".1.*"))


def test_a_file_of_the_users_that_has_the_name_of_a_new_one_stays_beside_it(tmp_path):
    run(tmp_path, {"1.1": ["slices.csv"]}, "first")
    write(tmp_path, "1.1/heatmap.png", text="mine")
    run(tmp_path, {"1.1": ["slices.csv", "heatmap.png"]}, "second")
    assert content(tmp_path)["1.1/heatmap.png"] == "second"
    assert content(tmp_path)["1.1/heatmap_kept1.png"] == "mine"


def test_results_of_an_earlier_version_are_replaced_and_what_else_lies_there_stays(tmp_path):
    write(tmp_path / "1.1", "slices.csv", "heatmap.nii.gz", "overlays/slice_000.png", "dicom/1.dcm", "notes.txt")
    (tmp_path / "1.1" / "summary.json").write_text('{"weights_sha256": "ab"}')
    run(tmp_path, {"1.1": ["slices.csv"]}, "new")
    assert set(content(tmp_path / "1.1")) == {"slices.csv", "summary.json", "notes.txt"}


def test_a_folder_of_the_users_that_a_run_would_have_written_loses_nothing(tmp_path):
    write(tmp_path, "1.1/mine.txt", "1.1/empty/.keep")
    output = OutputFolder(tmp_path)
    output.begin(["1.1"])
    output.finish([])
    output.end()
    assert set(content(tmp_path)) == {"1.1/mine.txt", "1.1/empty/.keep"}


def test_tables_are_withdrawn_while_a_run_writes_and_a_users_table_is_not(tmp_path):
    write(tmp_path, "series.csv", text="mine")
    output = OutputFolder(tmp_path)
    output.begin(["1.1"])
    assert (tmp_path / "series.csv").read_text() == "mine"  # no earlier run has written here
    output.end()
    run(tmp_path, {"1.1": ["slices.csv"]})
    output = OutputFolder(tmp_path)
    output.begin(["1.1"])
    assert not (tmp_path / "series.csv").exists()
    output.end()


def test_a_block_that_fails_leaves_the_earlier_result(tmp_path):
    run(tmp_path, {"1.1": ["slices.csv"]}, "first")
    output = OutputFolder(tmp_path)
    output.begin(["1.1"])
    with pytest.raises(RuntimeError), output.series("1.1") as folder:  # noqa: PT012
        write(folder, "slices.csv", text="half")
        raise RuntimeError
    output.end()
    assert content(tmp_path) == {"1.1/slices.csv": "first", "1.1/summary.json": content(tmp_path)["1.1/summary.json"]}


class Killed(BaseException):
    """Stands for SIGKILL: nothing runs after it."""


STEPS = (
    *((Path, "rename"), (Path, "unlink"), (Path, "rmdir"), (Path, "mkdir"), (Path, "replace"), (shutil, "rmtree")),
    (output_folder, "write_json"),
)


def test_a_run_killed_between_any_two_steps_is_cleared_up_by_the_next(tmp_path, monkeypatch):
    """The process dies before each of its steps on the disk, in turn; then a new run must come out as if alone."""
    kills = 0
    while True:
        out = tmp_path / str(kills)
        run(out, {"1.1": ["slices.csv", "dicom/a.dcm"], "1.2": ["slices.csv"]}, "first")
        write(out, "1.1/mine.txt", "1.2/mine.txt", text="u")
        done = dead = 0

        def step(original, kills=kills):
            def stepping(*args, **kwargs):
                nonlocal done, dead
                if done == kills or dead:
                    dead = 1
                    raise Killed
                done += 1
                return original(*args, **kwargs)

            return stepping

        with monkeypatch.context() as patch:
            for owner, name in STEPS:
                patch.setattr(owner, name, step(getattr(owner, name)))
            try:
                run(out, {"1.1": ["slices.csv", "dicom/b.dcm"]}, "second")
            except Killed:
                pass
            else:
                break
        if (out / "series.csv").exists():  # it speaks of what lies there
            assert (out / "series.csv").read_text() == (out / "1.1" / "slices.csv").read_text()
        for name in ("1.1", "1.2"):  # what has a summary is whole
            if (out / name / "summary.json").exists() and (out / name / "slices.csv").exists():
                summary = json.loads((out / name / "summary.json").read_text())
                assert (out / name / "slices.csv").read_text() == summary["text"]
        assert sum(path.name.startswith("mine") for path in out.rglob("*")) == 2
        run(out, {"1.1": ["slices.csv"]}, "third")
        assert content(out) | {"1.1/summary.json": ""} == {
            "1.1/slices.csv": "third", "1.1/summary.json": "", "1.1/mine.txt": "u", "1.2/mine.txt": "u",
            "series.csv": "third", "failures.csv": "third",
        }, f"killed before step {kills}"  # fmt: skip
        assert not [path for path in out.iterdir() if path.name.startswith(".1.")]
        kills += 1
    assert kills > 12


HOLD = """
import sys, time
from scripts.inference.output_folder import OutputFolder
folder = OutputFolder(sys.argv[1])
folder.begin(["1.1"])
print("held", flush=True)
time.sleep(60)
"""


def test_two_processes_never_share_a_folder_and_one_that_was_killed_leaves_it_free(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=rf"another run \(process {other.pid} on .*\) is writing to .*--out"):
            OutputFolder(tmp_path).begin(["1.1"])
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    run(tmp_path, {"1.1": ["slices.csv"]})


def test_a_process_of_a_run_that_another_has_taken_over_writes_nothing(tmp_path):
    run(tmp_path, {"1.1": ["slices.csv"]}, "new")
    orphan = OutputFolder(tmp_path, "0ld0ld00")
    with pytest.raises(InputError, match="another run has taken over"):
        score(orphan, "1.1", "slices.csv", text="old")
    assert content(tmp_path)["1.1/slices.csv"] == "new"


def test_nothing_is_written_through_a_link_that_leads_elsewhere(tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    write(elsewhere, "slices.csv", text="precious")
    (elsewhere / "summary.json").write_text('{"files": ["slices.csv", "../out/series.csv"]}')
    out.mkdir()
    (out / "1.1").symlink_to(elsewhere)
    output = OutputFolder(out)
    output.begin(["1.1"])
    with pytest.raises(InputError, match="leads out of"):
        score(output, "1.1", "slices.csv")
    output.finish([])
    output.end()
    assert content(elsewhere)["slices.csv"] == "precious"
    assert (out / "1.1").is_symlink()


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "..", "1.1/../../evil", ""])
def test_a_manifest_or_a_summary_of_a_strangers_removes_nothing_elsewhere(tmp_path, name):
    out = tmp_path / "out"
    run(out, {"1.1": ["slices.csv"]})
    write(tmp_path, "evil", "evil.d/summary.json")
    (out / MANIFEST).write_text(json.dumps({"folders": [name, 3, None, "1.1"]}))
    (out / "1.1" / "summary.json").write_text(
        json.dumps({"files": ["../../evil", "../series.csv", str(tmp_path / "evil")]})
    )
    run(out, {"1.2": ["slices.csv"]})
    assert (tmp_path / "evil").exists()
    assert (tmp_path / "evil.d" / "summary.json").exists()


OWN = ["slices.csv", "heatmap.nii.gz", "heatmap_2.nii.gz", "heatmap_raw.nii.gz", "heatmap.png", "dicom/1.dcm"]


def damaged(folder: Path, kind: str) -> None:
    """Let a result's own list be no list any more."""
    path = folder / "summary.json"
    content = path.read_bytes()
    path.unlink()
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a link":
        (folder.parent.parent / "elsewhere.json").write_bytes(content)
        path.symlink_to(folder.parent.parent / "elsewhere.json")
    elif kind != "absent":
        path.write_bytes({"cut": content[:20], "empty": b"", "no text": b"\xff\xfe", "no record": b"[1, 2]"}[kind])


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("kind", ["cut", "empty", "no text", "no record", "absent", "a pipe", "a link"])
def test_own_files_are_known_where_their_list_is_damaged_and_the_users_stay(tmp_path, kind, again):
    out = tmp_path / "out"
    run(out, {"1.1": OWN}, "first")
    header = ",".join(SLICE_COLUMNS)
    (out / "1.1" / "slices.csv").write_text(f"{header}\n")
    write(out, "1.1/my.png", "1.1/heatmap_mine.nii.gz", "1.1/dicom/note.txt", text="u")
    damaged(out / "1.1", kind)
    run(out, {"1.1": OWN} if again else {"1.2": OWN}, "second")
    found = content(out)
    users = {"1.1/my.png", "1.1/heatmap_mine.nii.gz", "1.1/dicom/note.txt"}
    assert {name for name, text in found.items() if text == "u"} == users
    odd = kind.startswith("a ")  # is nobody's summary, so stays
    own = {f"{'1.1' if again else '1.2'}/{name}" for name in (*OWN, "summary.json")}
    kept = {name for name in found if name.startswith("1.1/summary")} - own
    assert set(found) - kept == own | users | {"series.csv", "failures.csv"}
    left = [path for path in (out / "1.1").iterdir() if path.name.startswith("summary")]
    assert len(left) == (again + odd)


def test_a_table_of_the_users_beside_a_summary_of_nobody_is_the_users(tmp_path):
    write(tmp_path, "1.1/slices.csv", "1.1/heatmap.png", "1.1/summary.json", text="mine")
    run(tmp_path, {"1.1": ["slices.csv"]}, "new")
    assert sum(text == "mine" for text in content(tmp_path).values()) == 3


def test_a_file_that_stays_beside_a_new_one_keeps_its_suffix(tmp_path):
    run(tmp_path, {"1.1": ["slices.csv"]}, "first")
    write(tmp_path, "1.1/heatmap.nii.gz", "1.1/slices.v2.csv", text="mine")
    run(tmp_path, {"1.1": ["slices.csv", "heatmap.nii.gz", "slices.v2.csv"]}, "second")
    assert content(tmp_path)["1.1/heatmap_kept1.nii.gz"] == "mine"
    assert content(tmp_path)["1.1/slices.v2_kept1.csv"] == "mine"


def test_a_summary_that_lists_the_users_files_makes_none_of_them_ours(tmp_path):
    run(tmp_path, {"1.1": ["slices.csv"]})
    write(tmp_path, "1.1/notes.txt", "1.1/scan.nii.gz", "1.1/IM0001", text="u")
    listed = ["notes.txt", "scan.nii.gz", "IM0001", "slices.csv", "summary.json"]
    (tmp_path / "1.1" / "summary.json").write_text(json.dumps({"files": listed, "weights_sha256": "ab"}))
    run(tmp_path, {"1.2": ["slices.csv"]})
    assert {name for name, text in content(tmp_path).items() if text == "u"} == {
        "1.1/notes.txt", "1.1/scan.nii.gz", "1.1/IM0001",
    }  # fmt: skip


def test_a_series_folder_that_is_a_link_to_another_leaves_the_other_as_it_is(tmp_path):
    run(tmp_path, {"1.1": ["slices.csv"], "1.2": ["slices.csv", "heatmap.png"]}, "first")
    shutil.rmtree(tmp_path / "1.1")
    (tmp_path / "1.1").symlink_to("1.2")
    before = content(tmp_path / "1.2")
    for names in (["1.1", "1.2"], ["1.2"], ["1.1"]):
        output = OutputFolder(tmp_path)
        output.begin(names)
        for name in names:
            if name == "1.1":
                with pytest.raises(InputError, match=r"1\.1 is a link, .*remove it"):
                    score(output, name, "slices.csv")
        output.finish(["1.2"])
        output.end()
        assert content(tmp_path / "1.2") == before
        assert (tmp_path / "1.1").is_symlink()
