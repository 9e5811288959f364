"""predict: what is scored, what is left out and why, and what is written."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from conftest import ROOT
from csv_rows import read_rows
from dicom_fixtures import SAGITTAL
from tiny_models import LOADED, SETTINGS, SIZE, checkpoint, picture, write_t2
from torch import nn

from bundle.campaigns.processes import workers_of
from scripts import checkpoints
from scripts.errors import InputError
from scripts.inference import writing
from scripts.inference.predict import predict
from scripts.phantom.cohort import make_cohort
from scripts.runner import run_config


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    return str(checkpoint(tmp_path_factory.mktemp("weights") / "model.pt"))


@pytest.fixture(scope="module")
def phantom_weights(tmp_path_factory) -> str:
    return str(checkpoint(tmp_path_factory.mktemp("weights") / "model.pt", phantom=True))


def results(out: Path) -> dict[str, dict]:
    return {path.parent.name: json.loads(path.read_text()) for path in out.glob("*/summary.json")}


def test_a_series_gets_all_its_files_and_each_names_model_weights_threshold_and_use(tmp_path, weights):
    write_t2(tmp_path / "in")
    arguments = {"dicom": True, "overlays": True, "raw_heatmap": True, "threshold": 0.4}
    assert predict(str(tmp_path / "in"), out=str(tmp_path / "out"), weights=weights, **arguments) == 0
    (folder,) = [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
    found = {path.relative_to(folder).parts[0] for path in folder.rglob("*")}
    assert found == {
        *("slices.csv", "summary.json", "heatmap.nii.gz", "heatmap_raw.nii.gz", "heatmap.png", "overlays", "dicom")
    }
    assert len(list((folder / "overlays").iterdir())) == 4
    assert len(list((folder / "dicom").iterdir())) == 5
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["weights_sha256"] == checkpoints.sha256(weights)
    assert summary["threshold_source"] == "given with --threshold"
    rows = read_rows(folder / "slices.csv")
    assert [float(row["position_mm"]) for row in rows] == [0.0, 3.0, 6.0, 9.0]
    assert {float(row["thickness_mm"]) for row in rows} == {2.5}
    notice = rows[0]["notice"]
    assert "Research use only" in notice
    assert summary["weights_sha256"][:16] in notice
    assert "0.4 (given with --threshold)" in notice
    heatmap = nibabel.load(folder / "heatmap.nii.gz")
    assert heatmap.shape == (SIZE, SIZE, 4)
    assert heatmap.header["descrip"].item().decode().startswith("Research use only")
    (entry,) = read_rows(tmp_path / "out" / "series.csv")
    assert (entry["status"], entry["folder"]) == ("scored", folder.name)


def test_the_longest_run_is_measured_from_face_to_face(tmp_path, weights):
    write_t2(tmp_path / "in", n=5)
    predict(str(tmp_path / "in"), out=str(tmp_path / "out"), weights=weights, threshold=1e-9)
    (summary,) = results(tmp_path / "out").values()
    assert (summary["longest_run_slices"], summary["longest_run_mm"]) == (5, 4 * 3.0 + 2.5)


def test_slices_that_cannot_be_evaluated_are_not_scored_and_say_why(tmp_path, weights):
    flat = np.full((SIZE, SIZE), 700)
    bright = np.minimum(picture(4), np.percentile(picture(4), 80))
    slices = [picture(1), flat, 0 * flat, bright, picture(2)]
    write_t2(tmp_path / "in", n=5, PixelData=lambda index: slices[index].astype("<u2").tobytes())
    assert predict(str(tmp_path / "in"), out=str(tmp_path / "out"), weights=weights, threshold=1e-9, dicom=True) == 0
    (folder,) = [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
    rows = read_rows(folder / "slices.csv")
    status = [row["status"] for row in rows]
    assert status[:3] == ["scored", "not evaluable: blank slice", "not evaluable: blank slice"]
    assert status[3].startswith("not evaluable: saturated")
    assert [(row["logit"] != "", row["probability"] != "", row["compressed"] != "") for row in rows] == [
        (done, done, done) for done in (True, False, False, False, True)
    ]
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["n_slices"], summary["n_evaluated"], summary["n_compressed"]) == (5, 2, 2)
    assert summary["longest_run_slices"] == 1
    heat = nibabel.load(folder / "heatmap.nii.gz").get_fdata()
    assert heat[..., 1:4].max() == 0
    assert np.isfinite(heat).all()


@pytest.mark.parametrize(
    ("spacing", "reason"),
    [([3.0, 3.0], "pixels of 3 x 3 mm"), ([0.3, 0.3], "field of view of 29 mm"), ([0.5, 2.0], "pixels of")],
)
def test_a_series_of_odd_geometry_is_not_scored(tmp_path, weights, spacing, reason):
    write_t2(tmp_path / "in", PixelSpacing=spacing)
    assert predict(str(tmp_path / "in"), out=str(tmp_path / "out"), weights=weights) == 0
    (folder,) = [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
    assert all(reason in row["status"] and row["logit"] == "" for row in read_rows(folder / "slices.csv"))
    (summary,) = results(tmp_path / "out").values()
    assert (summary["n_evaluated"], summary["max_probability"]) == (0, None)


def test_bad_series_are_reported_and_the_others_are_scored(tmp_path, weights, monkeypatch):
    for number in range(4):
        write_t2(tmp_path / "in" / str(number), patient=f"P{number}", series=f"T2 {number}")
    write_t2(tmp_path / "in" / "sagittal", patient="P8", series="S", ImageOrientationPatient=list(SAGITTAL))
    broken = sorted((tmp_path / "in" / "1").iterdir())[0]
    broken.write_bytes(broken.read_bytes()[:-5000])
    written = writing.write_csv

    def fails_for_one(path, columns, rows):
        if path.name == "slices.csv" and rows[0]["patient_id"] == "P2":
            raise OSError(errno.ENOSPC, "No space left on device")
        written(path, columns, rows)

    monkeypatch.setattr(writing, "write_csv", fails_for_one)
    assert predict(str(tmp_path / "in"), out=str(tmp_path / "out"), weights=weights) == 1
    assert {summary["patient_id"] for summary in results(tmp_path / "out").values()} == {"P0", "P3"}
    failures = {
        row["input"].rsplit("/", 1)[1]: (row["status"], row["reason"])
        for row in read_rows(tmp_path / "out" / "failures.csv")
    }
    assert failures["sagittal"][0] == "refused"
    assert failures["2"][0] == "failed"
    assert re.search(r"cannot be written \(No space left on device; .*free some space there", failures["2"][1])
    assert set(failures) == {"1", "2", "sagittal"}
    for name in ("failures.csv", "series.csv"):
        patients = {row["series_uid"]: row["patient_id"] for row in read_rows(tmp_path / "out" / name)}
        assert patients.pop("", "") == ""  # a file that nobody could read
        assert "P2" in patients.values()
        assert all(patients.values())
    assert len(read_rows(tmp_path / "out" / "series.csv")) == 5


def test_resume_scores_only_what_is_missing_or_was_made_otherwise(tmp_path, weights, capsys):
    for number in range(2):
        write_t2(tmp_path / "in" / str(number), patient=f"P{number}", series=f"T2 {number}")
    call = {"out": str(tmp_path / "out"), "weights": weights}
    predict(str(tmp_path / "in" / "0"), **call)
    (first,) = (tmp_path / "out").glob("*/summary.json")
    stamp = first.stat().st_mtime_ns
    capsys.readouterr()
    assert predict(str(tmp_path / "in"), **call, resume=True) == 0
    assert "1 series scored, 1 kept" in capsys.readouterr().out
    assert first.stat().st_mtime_ns == stamp
    assert sorted(row["status"] for row in read_rows(tmp_path / "out" / "series.csv")) == ["kept", "scored"]
    predict(str(tmp_path / "in"), **call, resume=True, threshold=0.3)
    assert "2 series scored, 0 kept" in capsys.readouterr().out
    predict(str(tmp_path / "in"), **call, resume=True, threshold=0.3, overlays=True)
    assert "2 series scored, 0 kept" in capsys.readouterr().out
    other = checkpoint(tmp_path / "other.pt", seed=1)
    predict(str(tmp_path / "in"), **{**call, "weights": str(other)}, resume=True, threshold=0.3)
    assert "2 series scored, 0 kept" in capsys.readouterr().out


def test_phantom_weights_score_the_phantom_alone_unless_told_otherwise(tmp_path, phantom_weights):
    make_cohort(tmp_path / "phantom", patients=1, slices=2, matrix=192)
    write_t2(tmp_path / "real")
    nibabel.save(nibabel.Nifti1Image(picture(0)[..., None].repeat(2, 2), np.eye(4)), tmp_path / "scan.nii.gz")
    inputs = [str(tmp_path / name) for name in ("phantom/dicom", "real", "scan.nii.gz")]
    assert predict(*inputs, out=str(tmp_path / "out"), weights=phantom_weights) == 0
    (summary,) = results(tmp_path / "out").values()
    assert summary["patient_id"] == "TSE0-0001"
    reasons = [row["reason"] for row in read_rows(tmp_path / "out" / "failures.csv") if row["status"] == "refused"]
    assert sum("--allow_phantom_weights true" in reason for reason in reasons) == 2
    assert predict(inputs[1], out=str(tmp_path / "none"), weights=phantom_weights) == 2
    assert predict(*inputs, out=str(tmp_path / "all"), weights=phantom_weights, allow_phantom_weights=True) == 0
    found = results(tmp_path / "all")
    assert len(found) == 3
    assert all(summary["trained_on_phantom"] for summary in found.values())
    for path in (tmp_path / "all").glob("*/slices.csv"):
        assert all("trained on a synthetic phantom" in row["notice"] for row in read_rows(path))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the worker processes in /proc")
def test_several_processes_share_the_series_and_give_the_same_results_though_one_is_killed(tmp_path, weights):
    for number in range(6):
        write_t2(tmp_path / "in" / str(number), patient=f"P{number}", series=f"T2 {number}")
    shutil.make_archive(str(tmp_path / "in" / "zipped"), "zip", tmp_path / "in" / "0")
    shutil.rmtree(tmp_path / "in" / "0")
    predict(str(tmp_path / "in"), out=str(tmp_path / "one"), weights=weights)
    words = ["predict", str(tmp_path / "in"), "--out", str(tmp_path / "two"), "--weights", weights, "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts", *words],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    while process.poll() is None and not list(tmp_path.glob("two/*/summary.json")):
        time.sleep(0.01)
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert out.count("6 series scored, 0 kept") == 1
    assert "Traceback" not in err
    one, two = results(tmp_path / "one"), results(tmp_path / "two")
    assert one == two
    assert len(one) == 6
    for name in ("series.csv", "failures.csv"):
        assert (tmp_path / "one" / name).read_text() == (tmp_path / "two" / name).read_text()


class Brightness(nn.Module):
    """A network whose Grad-CAM map is the brightness of its input, known in closed form."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential()
        self.features.add_module("layer4", nn.Identity())
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(3, 1)
        nn.init.constant_(self.head.weight, 1.0)
        nn.init.zeros_(self.head.bias)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(self.features(image)))


def test_a_bright_marker_is_hot_at_its_own_place_in_the_patient(tmp_path):
    tilt = np.radians(20)
    row, column = np.array([1.0, 0, 0]), np.array([0, np.cos(tilt), np.sin(tilt)])
    normal = np.cross(row, column)
    origin = np.array([-30.0, -50.0, 12.0])

    def pixels(index: int) -> bytes:
        image = np.random.default_rng(index).integers(0, 60, (SIZE, SIZE))
        image[50 + 5 * index : 58 + 5 * index, 20:28] = 3000
        return image.astype("<u2").tobytes()

    place = {"ImageOrientationPatient": [*row, *column]}
    place["ImagePositionPatient"] = lambda index: list(origin + index * 3 * normal)
    write_t2(tmp_path / "in", PixelData=pixels, **place)
    parser = run_config(
        ["inference.json"],
        dataset_dir=str(tmp_path / "in"),
        output_dir=str(tmp_path / "out"),
        network={"_target_": "test_predict_studies.Brightness"},
        checkpoint={"weights_sha256": "0" * 64, "trained_on_phantom": False},
        loaded=LOADED,
        precision="fp32",
        raw_heatmap=True,
        **{**SETTINGS, "profile": "paper"},
    )
    assert parser.get_parsed_content("dataset").failures == []
    (path,) = (tmp_path / "out").glob("*/heatmap_raw.nii.gz")
    heatmap = nibabel.load(path)
    values = heatmap.get_fdata()
    for index in range(4):
        hot = np.argwhere(values[..., index] > 0.6 * values[..., index].max()).mean(0)
        middle = np.array([23.5, 53.5 + 5 * index])
        assert np.abs(hot - middle).max() < 0.8
        expected_lps = origin + middle[0] * row + middle[1] * column + index * 3 * normal
        found_lps = (heatmap.affine @ [*hot, index, 1])[:3] * [-1, -1, 1]
        assert np.linalg.norm(found_lps - expected_lps) < 1.0


def test_wrong_arguments_are_refused_before_anything_runs(tmp_path, weights):
    write_t2(tmp_path / "in")
    call = {"out": str(tmp_path / "out"), "weights": weights}
    with pytest.raises(InputError, match="between 0 and 1, got 1"):
        predict(str(tmp_path / "in"), **call, threshold=1.0)
    with pytest.raises(InputError, match="workers must be at least 1"):
        predict(str(tmp_path / "in"), **call, workers=0)
    assert not (tmp_path / "out").exists()
