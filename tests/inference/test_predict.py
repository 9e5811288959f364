"""The predict command, on phantom and on real images."""

from __future__ import annotations

import json
import zipfile

import nibabel
import numpy as np
import pytest
from conftest import ROOT
from csv_rows import read_rows

from scripts.errors import InputError
from scripts.inference.predict import predict

FORCED = {"force": True, "allow_phantom_weights": True}


def test_a_whole_study_gives_its_axial_t2_and_the_reasons_for_the_rest(cohort, axial_series, small_weights, tmp_path):
    study = axial_series.parent
    assert predict(str(study), out=str(tmp_path), weights=str(small_weights)) == 0
    (table,) = tmp_path.glob("*/slices.csv")
    assert len(read_rows(table)) == len(list(axial_series.iterdir()))
    reasons = " ".join(row["reason"] for row in read_rows(tmp_path / "failures.csv"))
    assert "sagittal" in reasons
    assert "T1-weighted" in reasons


def test_one_bad_series_does_not_stop_the_others(axial_series, small_weights, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.nii").write_bytes(b"no image")
    out = tmp_path / "out"
    call = {"out": str(out), "weights": str(small_weights), "allow_phantom_weights": True}
    assert predict(str(tmp_path / "in"), str(axial_series), **call) == 1
    assert [row["input"] for row in read_rows(out / "failures.csv")] == [str(tmp_path / "in" / "bad.nii")]
    assert len(list(out.glob("*/slices.csv"))) == 1


def test_nothing_to_score_is_status_2(small_weights, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("hello")
    assert predict(str(tmp_path / "in"), out=str(tmp_path / "out"), weights=str(small_weights)) == 2
    assert "not DICOM" in read_rows(tmp_path / "out" / "failures.csv")[0]["reason"]


def test_a_folder_without_files_is_refused_and_nothing_is_written(small_weights, tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="in: no files; name a folder with DICOM or NIfTI below it"):
        predict(str(tmp_path / "in"), out=str(tmp_path / "out"), weights=str(small_weights))
    assert not (tmp_path / "out").exists()


def test_a_zip_of_a_series_scores_as_the_series(axial_series, small_weights, tmp_path):
    with zipfile.ZipFile(tmp_path / "series.zip", "w") as archive:
        for path in axial_series.iterdir():
            archive.write(path, path.name)
    call = {"weights": str(small_weights), "allow_phantom_weights": True}  # a zip is not looked into beforehand
    assert predict(str(tmp_path / "series.zip"), out=str(tmp_path / "a"), **call) == 0
    assert predict(str(axial_series), out=str(tmp_path / "b"), weights=str(small_weights)) == 0
    zipped, plain = (read_rows(next(tmp_path.glob(f"{name}/*/slices.csv"))) for name in "ab")
    assert [row["logit"] for row in zipped] == [row["logit"] for row in plain]
    assert [row["sop_uid"] for row in zipped] == [row["sop_uid"] for row in plain]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": ["nowhere"]}, "nowhere does not exist"),
        ({"inputs": []}, "nothing to score"),
        ({"threshold": 1.5}, "between 0 and 1, got 1.5"),
        ({"batch_size": 0}, "at least 1, got 0"),
        ({"weights": str(ROOT / "LICENSE")}, "LICENSE is no checkpoint that can be loaded safely"),
        ({"out": "/proc/results"}, "/proc/results cannot be written .*--out"),
    ],
)
def test_a_mistake_is_answered_with_a_sentence(axial_series, small_weights, tmp_path, arguments, message):
    given = {"inputs": [str(axial_series)], "out": str(tmp_path), "weights": str(small_weights), **arguments}
    with pytest.raises(InputError, match=message):
        predict(*given.pop("inputs"), **given)


def test_real_dicom_diffusion_and_stir_are_refused_and_3d_t2_accepted(real_data, small_weights, tmp_path):
    inputs = [str(real_data / name) for name in ("toshiba_axial_dicom", "nema_axial_dicom")]
    assert predict(*inputs, out=str(tmp_path), weights=str(small_weights), allow_phantom_weights=True) == 0
    reasons = sorted(row["reason"] for row in read_rows(tmp_path / "failures.csv"))
    assert reasons == ["STIR (inversion time 140 ms)", "echo planar (EPI)"]
    (summary,) = tmp_path.glob("*/summary.json")
    assert json.loads(summary.read_text())["n_slices"] == 1


def test_refused_real_dicom_is_scored_when_forced(real_data, small_weights, tmp_path):
    inputs = [str(real_data / name) for name in ("toshiba_axial_dicom", "nema_axial_dicom")]
    assert predict(*inputs, out=str(tmp_path), weights=str(small_weights), **FORCED) == 0
    summaries = [json.loads(path.read_text()) for path in tmp_path.glob("*/summary.json")]
    assert sorted(summary["n_slices"] for summary in summaries) == [1, 1, 26]
    assert sum(summary["warnings"].startswith("forced: ") for summary in summaries) == 2


@pytest.mark.parametrize("name", ["gm_challenge_t2star/sub-9418_run-1_T2starw.nii.gz", "sct_t2/t2.nii.gz"])
def test_a_real_nifti_gives_one_row_per_axial_slice_however_it_is_stored(real_data, small_weights, tmp_path, name):
    call = {"out": str(tmp_path), "weights": str(small_weights), "allow_phantom_weights": True}
    assert predict(str(real_data / name), **call) == 0
    image = nibabel.load(real_data / name)
    axial = nibabel.as_closest_canonical(image).shape[2]
    table = read_rows(next(tmp_path.glob("*/slices.csv")))
    assert [int(row["slice_index"]) for row in table] == list(range(axial))
    heatmap = nibabel.load(next(tmp_path.glob("*/heatmap.nii.gz")))
    assert heatmap.shape == image.shape
    assert np.allclose(heatmap.affine, image.affine, atol=1e-4)
