"""A result knows what it was made of, lies where it belongs, and does not depend on what can be left out."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from csv_rows import read_rows
from tiny_models import checkpoint, picture, write_t2

from scripts.errors import InputError
from scripts.inference import heatmap_files, writing
from scripts.inference.finished import Finished, Outputs, summary_sha256
from scripts.inference.predict import predict
from scripts.inference.series import find_series
from scripts.records import ResultFacts, WrittenSummary, fits


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    return str(checkpoint(tmp_path_factory.mktemp("weights") / "model.pt"))


def summaries(out: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(out.glob("*/summary.json"))]


def logits(out: Path) -> list[str]:
    return [row["logit"] for path in sorted(out.glob("*/slices.csv")) for row in read_rows(path)]


def write_nifti(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    slices = np.stack([picture(seed + index) for index in range(3)], -1).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(slices, np.diag([-1.0, -1.0, 3.0, 1.0])), path)
    return path


def test_a_summary_names_its_files_and_can_be_checked_against_them(tmp_path, weights):
    files = write_t2(tmp_path / "in")
    assert predict(str(tmp_path / "in"), out=str(tmp_path / "out"), weights=weights, raw_heatmap=True) == 0
    (summary,) = summaries(tmp_path / "out")
    folder = tmp_path / "out" / summary["folder"]
    assert sorted(summary["input_files"]) == sorted(map(str, files))
    hashes = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)
    assert summary["content_sha256"] == hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    slices = sorted(f"{row['sop_uid']},{row['frame']}" for row in read_rows(folder / "slices.csv"))
    assert summary["slices_sha256"] == hashlib.sha256("\n".join(slices).encode()).hexdigest()
    assert sorted(summary["files"]) == sorted(path.name for path in folder.iterdir())
    (row,) = read_rows(tmp_path / "out" / "series.csv")
    assert row["folder"] == summary["folder"]


def test_resume_scores_again_what_has_grown_what_changed_and_what_another_file_of_that_name_was(
    tmp_path, weights, capsys
):
    call = {"out": str(tmp_path / "out"), "weights": weights, "resume": True}

    def counted(*inputs: Path) -> str:
        capsys.readouterr()
        assert predict(*map(str, inputs), **call) == 0
        return next(line for line in capsys.readouterr().out.splitlines() if "series scored" in line)

    files = write_t2(tmp_path / "all", n=5)
    (tmp_path / "first").mkdir()
    for path in files[:3]:
        shutil.copy(path, tmp_path / "first")
    assert "1 series scored, 0 kept" in counted(tmp_path / "first")
    assert "1 series scored, 0 kept" in counted(tmp_path / "all")
    (row,) = read_rows(tmp_path / "out" / "series.csv")
    assert row["n_slices"] == "5"
    assert "0 series scored, 1 kept" in counted(tmp_path / "all")
    (row,) = read_rows(tmp_path / "out" / "series.csv")
    assert (row["status"], (tmp_path / "out" / row["folder"] / "slices.csv").is_file()) == ("kept", True)
    changed = pydicom.dcmread(files[2])
    changed.PixelData = picture(77).tobytes()
    changed.save_as(files[2])
    before = logits(tmp_path / "out")
    assert "1 series scored, 0 kept" in counted(tmp_path / "all")
    assert logits(tmp_path / "out") != before
    (tmp_path / "out" / row["folder"] / "heatmap.nii.gz").unlink()
    assert "1 series scored, 0 kept" in counted(tmp_path / "all")
    one, other = write_nifti(tmp_path / "a" / "t2.nii.gz", 1), write_nifti(tmp_path / "b" / "t2.nii.gz", 50)
    assert "1 series scored, 0 kept" in counted(one)
    first = logits(tmp_path / "out")
    assert "1 series scored, 0 kept" in counted(other)
    assert len(logits(tmp_path / "out")) == 3
    assert logits(tmp_path / "out") != first


def test_a_second_run_leaves_only_its_own_results_and_the_users_files(tmp_path, weights, capsys):
    write_t2(tmp_path / "one", patient="P1", series="T2 1")
    write_t2(tmp_path / "two", patient="P2", series="T2 2")
    out = tmp_path / "out"
    call = {"out": str(out), "weights": weights}
    assert predict(str(tmp_path / "one"), str(tmp_path / "two"), **call, overlays=True, dicom=True) == 0
    first = {path.relative_to(out).as_posix() for path in out.rglob("*.dcm")}
    (folder,) = {row["folder"] for row in read_rows(out / "series.csv") if row["patient_id"] == "P1"}
    (out / folder / "my notes.txt").write_text("mine")
    (out / "letter.txt").write_text("mine")
    assert predict(str(tmp_path / "one"), **call, threshold=0.3, dicom=True) == 0
    assert "removed the results of 1 series of an earlier run" in capsys.readouterr().out
    second = {path.relative_to(out).as_posix() for path in out.rglob("*.dcm")}
    assert len(second) == 5
    assert not first & second
    assert {path.name for path in out.iterdir() if not path.name.startswith(".")} == {
        folder, "letter.txt", "series.csv", "worklist.csv", "failures.csv",
    }  # fmt: skip
    assert {path.name for path in (out / folder).iterdir()} == {
        "slices.csv", "summary.json", "heatmap.nii.gz", "heatmap.png", "dicom", "my notes.txt",
    }  # fmt: skip


def test_uids_that_are_paths_stay_names(tmp_path, weights):
    hostile = [
        "../../../evil",
        str(tmp_path / "absolute"),
        "CON",
        "series.csv",
        "worklist.csv",
        "..",
        "a/../../b",
        "x" * 200,
        "1.2.",
        "Ä",
    ]
    for number, uid in enumerate(hostile):
        for path in write_t2(tmp_path / "in" / str(number), patient=f"P{number}", n=2):
            image = pydicom.dcmread(path)
            with pydicom.config.disable_value_validation():
                image.SpecificCharacterSet = "ISO_IR 192"
                image.SeriesInstanceUID = uid
                image.save_as(path)
    before = set(tmp_path.rglob("*"))
    assert predict(str(tmp_path / "in"), out=str(tmp_path / "out"), weights=weights) == 0
    assert all(path.is_relative_to(tmp_path / "out") for path in set(tmp_path.rglob("*")) - before)
    rows = read_rows(tmp_path / "out" / "series.csv")
    assert len({row["folder"].lower() for row in rows}) == len(hostile)
    for row in rows:
        assert (
            json.loads((tmp_path / "out" / row["folder"] / "summary.json").read_text())["patient_id"]
            == row["patient_id"]
        )


def test_a_second_process_is_refused_and_nothing_it_finds_is_touched(tmp_path, weights):
    write_t2(tmp_path / "in")
    out = tmp_path / "out"
    assert predict(str(tmp_path / "in"), out=str(out), weights=weights) == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    holder = writing.OutputFolder(out)
    with holder.lock, pytest.raises(InputError, match=r"another run .* is writing to .*choose another --out"):
        predict(str(tmp_path / "in"), out=str(out), weights=weights, threshold=0.3)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("owner", "name", "lost"),
    [(writing.WriteSeries, "write_sheet", {"heatmap.png"}), (writing, "overlays_of", {"overlays", "dicom"})],
)
def test_what_a_result_can_do_without_becomes_a_warning(tmp_path, weights, monkeypatch, capsys, owner, name, lost):
    write_t2(tmp_path / "in")

    def fails(*_: Any, **__: Any) -> None:
        raise ValueError("nothing can be drawn today")

    monkeypatch.setattr(owner, name, staticmethod(fails) if owner is writing.WriteSeries else fails)
    call = {"out": str(tmp_path / "out"), "weights": weights, "dicom": True, "overlays": True}
    assert predict(str(tmp_path / "in"), **call) == 0
    (summary,) = summaries(tmp_path / "out")
    folder, printed = tmp_path / "out" / summary["folder"], capsys.readouterr().out
    wanted = {"slices.csv", "summary.json", "heatmap.nii.gz", "heatmap.png", "overlays", "dicom"}
    assert {path.name for path in folder.iterdir()} == wanted - lost
    for one in lost:
        assert f"no {one}: nothing can be drawn today" in summary["warnings"]
        assert f"warning: no {one}: nothing can be drawn today" in printed


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_disk_that_refuses_the_results_is_one_line_and_leaves_nothing_half_written(
    tmp_path, weights, monkeypatch, number
):
    write_t2(tmp_path / "in")
    save = nibabel.save

    def fails(image: Any, path: Path) -> None:
        save(image, path)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(heatmap_files.nibabel, "save", fails)
    out = tmp_path / "out"
    assert predict(str(tmp_path / "in"), out=str(out), weights=weights) == 2
    (row,) = read_rows(out / "failures.csv")
    assert os.strerror(number) in row["reason"]
    assert "heatmap.nii.gz cannot be written" in row["reason"]
    assert {path.name for path in out.iterdir() if not path.name.startswith(".")} == {
        *("series.csv", "worklist.csv", "failures.csv")
    }
    assert not [path for path in out.iterdir() if path.is_dir()]


def altered(summary: dict[str, Any], name: str) -> dict[str, Any]:
    """Another value of the same field, of its kind where that has another."""
    value = summary[name]
    other = {bool: not value, int: 3, float: 0.25, str: f"{value}x", list: [1], dict: {"slices.csv": 1}}
    return {**summary, name: other.get(type(value), [])}


def test_resume_scores_again_whatever_of_a_summary_or_a_result_was_altered_lost_or_renamed(tmp_path, weights):
    write_t2(tmp_path / "in")
    out = tmp_path / "out"
    assert predict(str(tmp_path / "in"), out=str(out), weights=weights) == 0
    (path,) = out.glob("*/summary.json")
    whole = path.read_text()
    summary = json.loads(whole)
    (series,) = find_series([str(tmp_path / "in")]).series
    facts = {name: summary[name] for name in ResultFacts.__annotations__ if name in summary}
    finished = Finished(True, str(out), facts, Outputs())
    assert finished(series) == summary
    for name in summary:
        lost = {other: value for other, value in summary.items() if other != name}
        for content in (altered(summary, name), {**summary, name: []}, lost, {**lost, f"{name}x": summary[name]}):
            path.write_text(json.dumps(content))
            found = finished(series)
            same = content == summary or name == "input_files"
            assert found == (summary if same and fits(content, WrittenSummary) else None), (name, content.get(name))
    # as if written so: what it says of whose it is must be this series' all the same, and all of its kind
    for name in ("patient_id", "study_uid", "series_uid", "phantom", "folder", "n_slices", "max_probability"):
        for value in (altered(summary, name)[name], []):
            if name in ("n_slices", "max_probability") and value != []:
                continue
            content = {**summary, name: value}
            path.write_text(json.dumps({**content, "summary_sha256": summary_sha256(content)}))
            assert finished(series) is None, (name, value)
    path.write_text(whole)
    assert finished(series) == summary
    for name in summary["file_sha256"]:  # one byte of another value, the size as before
        content = (path.parent / name).read_bytes()
        (path.parent / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert finished(series) is None, name
        (path.parent / name).write_bytes(content)
    assert finished(series) == summary
    path.write_text(json.dumps({**summary, "n_slices": []}))
    assert predict(str(tmp_path / "in"), out=str(out), weights=weights, resume=True) == 0
    (row,) = read_rows(out / "series.csv")
    assert (row["status"], row["n_slices"]) == ("scored", "4")
