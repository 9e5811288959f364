"""predict on series over several zips, odd names, its own results, moved studies and results that were damaged."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from csv_rows import read_rows
from tiny_models import checkpoint, picture, write_t2

from scripts.__main__ import main
from scripts.dicom.archives import Archives
from scripts.heatmaps import montages
from scripts.inference import heatmap_files, writing
from scripts.inference.predict import predict, say_table
from scripts.inference.series import SeriesDataset, find_series

LATIN_1 = os.fsdecode(b"M\xfcller")


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    return str(checkpoint(tmp_path_factory.mktemp("weights") / "model.pt"))


def texts(folder: Path) -> str:
    """All text below a folder, DICOM results too."""
    return "".join(path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.suffix != ".gz" and
                   path.is_file())  # fmt: skip


def zip_into(path: Path, files: list[Path]) -> None:
    """Move files into a zip."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in files:
            archive.write(file, file.name)
            file.unlink()


def counts(capsys: pytest.CaptureFixture[str]) -> str:
    return next(line for line in capsys.readouterr().out.splitlines() if "series scored" in line)


def summary_of(out: Path) -> dict[str, Any]:
    (path,) = out.glob("*/summary.json")
    return json.loads(path.read_text())


def test_series_over_several_zips_are_named_by_the_first_and_never_by_a_temporary_path(
    tmp_path, temporary, weights, capsys, monkeypatch
):
    """Scored, refused and failed ones; copies in other zips; extras that cannot be made."""
    disk, files = tmp_path / "in", {}
    for name, changes in {"good": {}, "t1": {"EchoTime": "12", "RepetitionTime": "600"}, "bad": {}}.items():
        files[name] = write_t2(disk / name, name, name, n=3, **changes)
    broken = files["bad"][2].read_bytes()
    files["bad"][2].write_bytes(broken[:-5000])
    for name, (first, *rest) in files.items():
        zip_into(disk / f"{name} 1.zip", [first])
        zip_into(disk / f"{name} 2.zip", rest)
    shutil.copy(disk / "good 2.zip", disk / "copy.zip")

    def unreadable(paths):
        raise OSError(5, "Input/output error", str(paths[0]))

    monkeypatch.setattr(writing, "headers", unreadable)
    call = {"out": str(tmp_path / "out"), "weights": weights}
    assert predict(str(disk), **call, dicom=True) == 0
    named = {row["input"].removeprefix(f"{disk}/") for row in read_rows(tmp_path / "out" / "failures.csv")}
    assert named == {"t1 1.zip (and 1 more)", "bad 1.zip (and 1 more)"}
    summary = summary_of(tmp_path / "out")
    assert "no dicom: " in summary["warnings"]
    assert f"first {disk}/" in summary["warnings"]
    shown = capsys.readouterr()
    assert temporary.name not in texts(tmp_path / "out") + shown.out + shown.err
    found = find_series(disk)
    dataset = SeriesDataset(found, lambda entry: entry)
    dataset.add_failure(0, f"{dataset.series[0]['stack'].files[0]} is damaged")
    assert dataset.failures[-1]["input"] == f"{disk}/copy.zip (and 1 more)" or "good" in dataset.failures[-1]["input"]
    assert temporary.name not in str(dataset.failures)
    with contextlib.suppress(FileNotFoundError):
        assert main(["deidentify", str(disk), str(tmp_path / "copied"), str(tmp_path / "linkage.csv")]) in (0, 1)
        assert temporary.name not in (tmp_path / "linkage_refused.csv").read_text()
    assert isinstance(found.archives, Archives)


def test_names_that_are_no_utf_8_are_scored_like_others(tmp_path, weights, capsys):
    write_t2(tmp_path / "plain", n=3)
    odd = tmp_path / "in" / LATIN_1
    shutil.copytree(tmp_path / "plain", odd)
    shutil.copytree(odd, tmp_path / "in" / "copy")
    pixels = np.stack([picture(index) for index in range(3)], -1).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(pixels, np.diag([1.0, 1.0, 3.0, 1.0])), tmp_path / "x.nii.gz")
    shutil.copy(tmp_path / "x.nii.gz", odd / os.fsdecode(b"\xfc.nii.gz"))
    out = tmp_path / os.fsdecode(b"r\xe9sultats")
    assert predict(str(odd), str(tmp_path / "in"), out=str(out), weights=weights, dicom=True, overlays=True) == 0
    assert "2 series scored" in counts(capsys)
    assert predict(str(tmp_path / "plain"), out=str(tmp_path / "plain out"), weights=weights) == 0
    (dicom,) = (path for path in out.glob("*/summary.json") if (path.parent / "dicom").is_dir())
    summary = json.loads(dicom.read_text())
    assert all(Path(name).is_file() for name in summary["input_files"])
    expected = [row["logit"] for row in read_rows(next((tmp_path / "plain out").glob("*/slices.csv")))]
    assert [row["logit"] for row in read_rows(dicom.parent / "slices.csv")] == expected
    assert len(list(dicom.parent.glob("dicom/*.dcm"))) == 4
    assert len(list(dicom.parent.glob("overlays/*.png"))) == 3


@pytest.mark.parametrize("inside", ["results", ""])
def test_a_second_run_over_its_own_results_scores_the_same_series(tmp_path, weights, capsys, inside):
    write_t2(tmp_path / "in", n=3)
    call = {"out": str(tmp_path / "in" / inside), "weights": weights, "raw_heatmap": True, "dicom": True}
    for _ in range(2):
        assert predict(str(tmp_path / "in"), **call) == 0
        assert "1 series scored, 0 kept" in counts(capsys)
    reasons = {row["reason"] for row in read_rows(tmp_path / "in" / inside / "failures.csv")}
    assert {"a result of this program, no image to score"} == reasons - {"not DICOM (text)"}
    (heat,) = (tmp_path / "in").rglob("heatmap.nii.gz")
    shutil.copy(heat, tmp_path / "copied.nii.gz")
    assert predict(str(tmp_path / "copied.nii.gz"), out=str(tmp_path / "none"), weights=weights, force=True) == 2


@pytest.mark.parametrize("name", ["heatmap.nii.gz", "slices.csv", "heatmap.png"])
def test_resume_scores_again_what_was_emptied_or_cut(tmp_path, weights, capsys, name):
    write_t2(tmp_path / "in", n=3)
    call = {"out": str(tmp_path / "out"), "weights": weights, "resume": True}
    predict(str(tmp_path / "in"), **call)
    (path,) = (tmp_path / "out").glob(f"*/{name}")
    whole = path.read_bytes()
    for content in (b"", whole[:200]):
        path.write_bytes(content)
        capsys.readouterr()
        predict(str(tmp_path / "in"), **call)
        assert "1 series scored, 0 kept" in counts(capsys)
        assert len(path.read_bytes()) > 200
    predict(str(tmp_path / "in"), **call)
    assert "0 series scored, 1 kept" in counts(capsys)


def test_resume_names_the_files_of_this_run_where_a_study_was_moved(tmp_path, weights, capsys):
    write_t2(tmp_path / "in", n=3)
    call = {"out": str(tmp_path / "out"), "weights": weights, "resume": True}
    predict(str(tmp_path / "in"), **call)
    before = summary_of(tmp_path / "out")
    (tmp_path / "in").rename(tmp_path / "moved")
    capsys.readouterr()
    predict(str(tmp_path / "moved"), **call)
    assert "0 series scored, 1 kept" in counts(capsys)
    after = summary_of(tmp_path / "out")
    assert [Path(name).parent for name in after["input_files"]] == [tmp_path / "moved"] * 3
    assert after == before | {"input_files": after["input_files"]}
    shutil.copytree(tmp_path / "moved", tmp_path / "again" / "copies")
    shutil.copytree(tmp_path / "moved", tmp_path / "again" / "originals")
    predict(str(tmp_path / "again"), **call)
    assert "3 copies left out" in summary_of(tmp_path / "out")["warnings"]


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_header_value_never_breaks_a_line_of_the_console(tmp_path, weights, capsys):
    write_t2(tmp_path / "in", n=3, SeriesInstanceUID="1.2\n3.4\x1b[2J5")
    assert predict(str(tmp_path / "in"), out=str(tmp_path / "out"), weights=weights) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("1.2\\n3.4\\x1b[2J5" in line for line in lines) == 2
    assert "\x1b" not in "".join(lines)
    record = {"series_uid": "a\nb", "status": "kept", "n_slices": 1, "n_compressed": 0, "longest_run_mm": 0.0}
    say_table([{**record, "max_probability": None}])
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_header_that_allows_no_dicom_results_is_named(tmp_path, weights):
    for keyword in ("SeriesInstanceUID", "FrameOfReferenceUID"):
        for path in write_t2(tmp_path / keyword, keyword, n=2):
            image = pydicom.dcmread(path)
            setattr(image, keyword, "\\\\server\\share\\x")
            image.save_as(path)
        call = {"out": str(tmp_path / "out"), "weights": weights, "dicom": True}
        assert predict(str(tmp_path / keyword), **call) == 0
        expected = f"no dicom: {keyword} is no valid UID (digits and dots), which DICOM results need"
        named = keyword == "SeriesInstanceUID"
        assert summary_of(tmp_path / "out")["warnings"] == (expected if named else "")
        written = [pydicom.dcmread(path) for path in tmp_path.glob("out/*/dicom/*.dcm")]
        assert len(written) == (0 if named else 3)
        assert not any("FrameOfReferenceUID" in result for result in written)


def test_what_cannot_be_written_is_named_where_it_would_have_been(tmp_path, weights, monkeypatch, capsys):
    def full(image, path):
        raise OSError(28, "No space left on device", str(path))

    write_t2(tmp_path / "in", n=2)
    call = {"out": str(tmp_path / "out"), "weights": weights}
    with monkeypatch.context() as patch:
        patch.setattr(montages, "save_png", full)
        predict(str(tmp_path / "in"), **call)
    folder = next((tmp_path / "out").glob("*/summary.json")).parent
    assert str(folder / "heatmap.png") in summary_of(tmp_path / "out")["warnings"]
    assert ".new" not in texts(tmp_path / "out")
    monkeypatch.setattr(heatmap_files.nibabel, "save", full)
    predict(str(tmp_path / "in"), **call)
    (row,) = read_rows(tmp_path / "out" / "failures.csv")
    assert row["reason"].startswith(f"{folder}/heatmap.nii.gz cannot be written (No space left on device")
    assert ".new" not in texts(tmp_path / "out") + capsys.readouterr().out
