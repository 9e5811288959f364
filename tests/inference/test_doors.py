"""Whatever a series comes in, a folder, a zip, a disc or one file, it is judged and scored alike."""

from __future__ import annotations

import gc
import json
import os
import pickle
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
from csv_rows import read_rows
from dicom_fixtures import read_slice, write_series, write_several
from tiny_models import SIZE, checkpoint, picture, write_t2

from scripts.__main__ import main
from scripts.dicom import sources
from scripts.errors import InputError, exit_status
from scripts.inference.output_folder import OutputFolder
from scripts.inference.predict import Outcome, predict, report_outcome
from scripts.inference.series import SeriesDataset, find_series
from scripts.runner import run_config

LARGE = {"Rows": SIZE, "Columns": SIZE, "PixelSpacing": [1.0, 1.0]}
PICTURES = {**LARGE, "PixelData": lambda index: picture(index).tobytes()}


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    return str(checkpoint(tmp_path_factory.mktemp("weights") / "model.pt"))


def zipped(folder: Path) -> Path:
    """Move a folder into a zip of its name."""
    path = Path(shutil.make_archive(str(folder), "zip", folder))
    shutil.rmtree(folder)
    return path


def write_nifti(path: Path, seed: int = 0) -> Path:
    """Write an axial volume that can be scored."""
    pixels = np.stack([picture(seed + index) for index in range(4)], axis=-1).astype(np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(pixels, np.diag([1.0, 1.0, 3.0, 1.0])), path)
    return path


def judgements_of(folder: Path) -> list[tuple[str, str, str]]:
    """What `find_series` and `index` say of a folder, which must be the same."""
    found = find_series(folder)
    main(["index", str(folder), "--out", str(folder.parent / "index.csv")])
    listed = read_rows(folder.parent / "index.csv")
    accepted = sorted((row["series_uid"], "accept", "") for row in listed if row["decision"] == "accept")
    assert accepted == sorted((one["series_uid"], "accept", "") for one in found.series)
    refused = [(row["series_uid"], "refuse", row["reason"]) for row in listed if row["decision"] == "refuse"]
    rows = [row for row in found.refused if row["status"] == "refused"]
    assert sorted(refused) == sorted((row["series_uid"], "refuse", row["reason"]) for row in rows)
    others = {row["input"].removeprefix(f"{folder}/") for row in found.refused if row["status"] != "refused"}
    assert others == {row["path"] for row in read_rows(folder.parent / "index_unreadable.csv")}
    return sorted(accepted + refused)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"EchoTime": "12", "RepetitionTime": "600"},
        {"ImageType": ["DERIVED", "PRIMARY", "MPR"]},
        {"PixelSpacing": None},
    ],
    ids=["T2", "T1", "reformat", "no spacing"],
)
def test_a_series_is_judged_alike_in_a_folder_and_in_a_zip_at_any_depth(tmp_path, changes):
    for number, place in enumerate(("a", "b/c", "d/e/f")):
        write_series(tmp_path / str(number) / "in" / place, **changes)
        write_series(tmp_path / str(number) / "in" / place, "P2", "T1", EchoTime="12", RepetitionTime="600")
    zipped(tmp_path / "1" / "in" / "b")
    zipped(tmp_path / "2" / "in" / "d" / "e")
    answers = [judgements_of(tmp_path / str(number) / "in") for number in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert len(answers[0]) == 2


def test_every_series_of_a_zip_is_scored_as_if_it_lay_in_a_folder(tmp_path, weights, capsys):
    for name in ("plain", "zip"):
        for number in range(2):
            write_t2(tmp_path / name / "study" / str(number), series=f"T2 {number}", n=2)
        write_nifti(tmp_path / name / "study" / "deep" / "er" / "t2.nii.gz")
        write_several(tmp_path / name / "study", n=2, **PICTURES)
        (tmp_path / name / "study" / "report.txt").write_text("no image")
    zipped(tmp_path / "zip" / "study")
    for name in ("plain", "zip"):
        assert predict(str(tmp_path / name), out=str(tmp_path / f"out {name}"), weights=weights, overlays=True) == 0
    scored = [
        sorted(path.read_text() for path in (tmp_path / f"out {name}").glob("*/slices.csv"))
        for name in ("plain", "zip")
    ]
    assert scored[0] == sorted(text.replace("study_zip_", "study_") for text in scored[1])
    assert len(scored[0]) == 4
    assert len(list(tmp_path.glob("out zip/*/overlays/*.png"))) == 4 * 2
    shown = capsys.readouterr()
    written = "".join(path.read_text() for path in (tmp_path / "out zip").rglob("*.csv"))
    written += "".join(path.read_text() for path in (tmp_path / "out zip").rglob("*.json"))
    assert tempfile.gettempdir() + "/cord-" not in shown.out + shown.err + written
    gc.collect()


def test_what_breaks_in_a_zip_is_named_by_its_zip(tmp_path, chain):
    write_t2(tmp_path / "in" / "study" / "a", n=2)
    (tmp_path / "in" / "study" / "IM9").write_bytes(bytes(500))
    path = zipped(tmp_path / "in" / "study")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../evil", b"1")
        archive.writestr("inner.zip", b"1")
    found = find_series(tmp_path / "in")
    assert sorted(row["input"].removeprefix(f"{tmp_path}/in/") for row in found.refused) == [
        "study.zip/../evil", "study.zip/IM9", "study.zip/inner.zip"
    ]  # fmt: skip
    assert {row["status"] for row in found.refused} == {"unreadable"}
    dataset = SeriesDataset(found, chain())
    (one,) = dataset.series
    assert {str(Path(name).parent) for name in one["files"]} == {f"{path}/a"}
    whole = Path(one["stack"].files[0]).read_bytes()
    Path(one["stack"].files[0]).write_bytes(whole[:-5000])
    reason = dataset[0]["reason"]
    dataset.add_failure(0, reason)
    row = dataset.failures[-1]
    assert (row["input"], row["status"]) == (f"{path}/a", "failed")
    assert f"{path}/a/" in row["reason"]
    assert "cord-" not in row["reason"] + row["input"]


def test_unpacked_files_stay_while_a_run_needs_them_and_go_with_it(tmp_path, chain):
    write_t2(tmp_path / "in" / "study", n=2)
    zipped(tmp_path / "in" / "study")
    dataset = SeriesDataset(find_series(tmp_path / "in"), chain())
    place = Path(dataset.found.archives.folder)
    travelled = pickle.loads(pickle.dumps(dataset.found))
    assert travelled.series == dataset.found.series
    del travelled
    gc.collect()
    assert dataset[0]["image"].shape[-1] == 2
    assert place.is_dir()
    del dataset
    gc.collect()
    assert not place.exists()


def test_every_stack_of_one_enhanced_file_is_loaded_and_no_header_is_read_twice(tmp_path, chain, monkeypatch):
    path = write_several(tmp_path)
    found = find_series(path)
    monkeypatch.setattr(sources, "read_frames", lambda *_: pytest.fail("a header was read again"))
    dataset = SeriesDataset(found, chain())
    assert [row["reason"].split(" (")[0] for row in found.refused] == ["PD-weighted"]
    keys = set()
    for number, one in enumerate(dataset.series):
        entry = dataset[number]
        assert "reason" not in entry
        keys |= {(row["sop_uid"], row["frame"]) for row in json.loads(entry["image"].meta["slices"])}
        assert entry["image"].meta["filename_or_obj"] == str(path)
        assert str(one["stack"]) == str(path)
    assert sorted(int(frame) for _, frame in keys) == [1, 2, 3, 4, 5, 6]
    assert read_slice(path, "1")[1].shape == (32, 32)


def test_volumes_of_one_name_get_names_of_their_own_that_do_not_depend_on_where_they_lie(tmp_path):
    for number in (1, 2):
        write_nifti(tmp_path / "a" / f"sub-0{number}" / "anat" / "t2.nii.gz", seed=10 * number)
    names = [one["series_uid"] for one in find_series(tmp_path / "a").series]
    assert [name[:-8] for name in names] == ["sub-01_anat_t2_", "sub-02_anat_t2_"]
    shutil.copytree(tmp_path / "a", tmp_path / "moved" / "b")
    assert [one["series_uid"] for one in find_series(tmp_path / "moved" / "b").series] == names
    named = [str(path) for path in sorted((tmp_path / "a").rglob("*.gz"))]
    assert len({one["series_uid"] for one in find_series(named).series}) == 2
    assert {row[0] for row in judgements_of(tmp_path / "a")} == set(names)


def test_force_takes_a_volume_of_another_plane_or_sequence_but_no_label_map(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 4096, (6, 20, 20)).astype(np.int16)
    for name, content in (("x_T1w", pixels), ("x_T2w", pixels), ("y_T2w", pixels % 4 * (pixels > 3000))):
        nibabel.save(nibabel.Nifti1Image(content, np.diag([3.0, 0.5, 0.5, 1.0])), tmp_path / f"{name}.nii")
    assert find_series(tmp_path).series == ()
    forced = find_series(tmp_path, force=True)
    assert [Path(str(one["image"])).name for one in forced.series] == ["x_T1w.nii", "x_T2w.nii"]
    assert all(one["warnings"].startswith("forced: sagittal") for one in forced.series)


@pytest.fixture
def disk() -> Iterator[Path]:
    """A folder that everybody can reach; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder
        for path in folder.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o777)


def test_what_may_not_be_read_is_listed_by_index_and_predict_alike(disk, capsys):
    root = disk / "in"
    write_series(root / "open", n=2)
    for name in ("listable", "locked"):
        write_series(root / name, name, n=2)
    secret = write_series(root / "open", "P2", n=1)[0]
    zip_path = zipped(write_series(root / "z", n=1)[0].parent)
    nifti = write_nifti(root / "x.nii.gz")
    (root / "elsewhere").symlink_to(disk)
    (root / "broken").symlink_to(disk / "absent")
    os.mkfifo(root / "pipe")
    modes = {root / "listable": 0o444, root / "locked": 0, secret: 0, zip_path: 0, nifti: 0}
    names = [path.name for path in (root / "listable").iterdir()]
    for path, mode in modes.items():
        path.chmod(mode)
    superuser = os.geteuid() == 0
    if superuser:
        os.seteuid(65534)  # who may read any file tests nothing
    try:
        status = main(["index", str(root), "--out", str(disk / "index.csv")])
        found = find_series(root)
        with pytest.raises(InputError, match="cannot be looked at: Permission denied"):
            find_series(root / "listable" / names[0])
        assert main(["index", str(root / "locked"), "--out", str(disk / "none.csv")]) == 2
    finally:
        if superuser:
            os.seteuid(0)
    assert status == 1
    left_out = {row["path"] for row in read_rows(disk / "index_unreadable.csv")}
    expected = {"locked", secret.relative_to(root).as_posix(), "z.zip", "x.nii.gz", "elsewhere", "broken", "pipe"}
    assert left_out == expected | {f"listable/{name}" for name in names}
    assert {row["input"].removeprefix(f"{root}/") for row in found.refused} == left_out
    assert {row["status"] for row in found.refused} == {"unreadable"}
    assert len(found.series) == 1
    capsys.readouterr()


@pytest.mark.parametrize(
    ("n_scored", "statuses", "status"),
    [
        (1, [], 0),
        (1, ["refused", "no image"], 0),
        (1, ["refused", "unreadable"], 1),
        (1, ["failed"], 1),
        (0, ["refused"], 2),
        (0, ["unreadable"], 2),
        (0, [], 2),
    ],
)
def test_the_exit_status_says_whether_anything_was_missed(tmp_path, n_scored, statuses, status):
    record = {
        "patient_id": "P",
        "study_uid": "",
        "series_uid": "1.2",
        "status": "scored",
        "n_slices": 1,
        "n_evaluated": 1,
    }
    record |= {"n_compressed": 0, "max_probability": 0.1, "longest_run_slices": 0, "longest_run_mm": 0.0}
    record |= {"patient_score": 0.1, "patient_rule": "max", "patient_threshold": None, "patient_compressed": None}
    failures = [{"input": f"x{n}", "series_uid": "", "status": one, "reason": "r"} for n, one in enumerate(statuses)]
    outcome = Outcome([{**record, "folder": "1.2", "reason": ""}] * n_scored, failures)
    folder = OutputFolder(tmp_path)
    folder.begin([])
    assert report_outcome(folder, outcome) == status
    assert exit_status(n_scored, len(set(statuses) & {"unreadable", "failed"})) == status


def test_index_says_by_its_status_whether_anything_was_missed(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("no image")
    run = ["index", str(tmp_path / "in"), "--out", str(tmp_path / "index.csv")]
    assert main(run) == 2
    write_series(tmp_path / "in" / "a", n=1, EchoTime="12", RepetitionTime="600")
    assert main(run) == 0
    (tmp_path / "in" / "cut.zip").write_bytes(b"PK\3\4")
    assert main(run) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_an_empty_path_is_refused_everywhere(tmp_path, monkeypatch, weights, workers):
    write_t2(tmp_path)
    monkeypatch.chdir(tmp_path)
    call = {"out": str(tmp_path / "out"), "weights": weights}
    with pytest.raises(InputError, match="empty path"):
        predict("", **call, workers=workers)
    with pytest.raises(InputError, match="empty path"):
        run_config(["inference.json"], dataset_dir="", output_dir=str(tmp_path / "out"), ckpt_path=weights)
    with pytest.raises(InputError, match="empty"):
        run_config(["inference.json"], dataset_dir=str(tmp_path), output_dir="", ckpt_path=weights)
    for command in (["index", ""], ["predict", "", "--out", "x"], ["split", "", "", ""], ["deidentify", "", "a", "b"]):
        assert main(command) == 2
    assert not (tmp_path / "out").exists()
