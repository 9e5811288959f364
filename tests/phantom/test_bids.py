"""The phantom cohort as a BIDS data set, beside the same cohort as DICOM."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from csv_rows import read_rows
from file_hashes import hashes
from spreads import last_first

from scripts.__main__ import main
from scripts.cluster.spread import in_this_process
from scripts.errors import InputError
from scripts.phantom import bids, cohort, participants
from scripts.phantom.cohort import make_cohort, recipe_of
from scripts.phantom.patients import Settings
from scripts.phantom.series import Geometry

SMALL = {"patients": 4, "seed": 3, "slices": 5, "matrix": 96, "twins": True}
ONE = {"patients": 1, "seed": 0, "slices": 1, "matrix": 64, "distractors": False}
TRUTH = "derivatives/truth"
OURS = "sub-X/anat/sub-X_acq-sag_T2w"  # spine-generic's sagittal T2w is its only one


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return make_cohort(tmp_path_factory.mktemp("bids") / "cohort", layout="bids", **SMALL).parent


@pytest.fixture(scope="module")
def dicom(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("dicom") / "cohort"
    return make_cohort(out, **{**SMALL, "distractors": False}).parent


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def same_slices(dataset: Path, dicom: Path) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Yield the truth of each slice in both layouts; patients stand in the order of their numbers."""
    yield from zip(read_rows(dataset / TRUTH / "truth.csv"), read_rows(dicom / "truth.csv"), strict=True)


def same_series(dataset: Path, dicom: Path) -> dict[str, str]:
    """Return the patient of the DICOM layout for each participant."""
    return {one["patient_id"]: other["patient_id"] for one, other in same_slices(dataset, dicom)}


def labels(dataset: Path, participant: str, name: str) -> Any:
    return nibabel.load(next((dataset / "derivatives/labels" / participant).rglob(f"*_label-{name}.nii.gz")))


def world_mm(image: Any, chosen: Callable[[Any], Any]) -> set[tuple[float, ...]]:
    """Return where the chosen voxels lie, in whole micrometres."""
    indices = np.argwhere(chosen(np.asarray(image.dataobj)))
    points = np.c_[indices, np.ones(len(indices))] @ image.affine.T
    return set(map(tuple, (1000 * points[:, :3]).round().astype(int).tolist()))


def test_files_are_named_as_in_spine_generic(dataset, real_data):
    with gzip.open(real_data / "spine_generic" / "tree_T2.txt.gz", "rt") as lines:
        public = {re.sub("sub-[A-Za-z0-9]+", "sub-X", line.strip()) for line in lines}
    images = {re.sub("sub-[A-Za-z0-9]+", "sub-X", name) for name in files(dataset) if "sub-" in name}
    own = {f"{OURS}.nii.gz", f"{OURS}.json"}
    assert own < images
    assert {name for name in images if "derivatives/twins" not in name} - own < public
    twins = {name.removeprefix("derivatives/twins/") for name in images if "derivatives/twins" in name}
    assert twins == {"sub-X/anat/sub-X_T2w.nii.gz", "sub-X/anat/sub-X_T2w.json"}


def test_tables_and_sidecars_have_the_columns_and_keys_of_spine_generic(dataset, real_data):
    public = real_data / "spine_generic"
    columns = (public / "participants.tsv").read_text(encoding="utf-8").splitlines()[0]
    assert (dataset / "participants.tsv").read_text(encoding="utf-8").splitlines()[0] == columns
    described = json.loads((dataset / "participants.json").read_text())
    assert (
        described["pathology"]["Levels"]
        == json.loads((public / "participants.json").read_text())["pathology"]["Levels"]
    )
    assert list(described) == columns.split("\t")
    known = set().union(*(json.loads(path.read_text()) for path in public.glob("sub-*_T2star.json")))
    for path in dataset.glob("sub-*/anat/*.json"):
        keys = set(json.loads(path.read_text()))
        assert keys - known <= {"ImageComments", "InstitutionName"}
        assert {"Modality", "EchoTime", "RepetitionTime", "ImageOrientationPatientDICOM", "ConversionSoftware"} < keys
    label = json.loads(next((dataset / "derivatives" / "labels").rglob("*_dlabel.json")).read_text())
    sample = json.loads((public / "sub-amu01_T2star_label-discs_desc-warp_dlabel.json").read_text())
    assert label.keys() == sample.keys()
    assert label["GeneratedBy"][0].keys() == sample["GeneratedBy"][0].keys()
    assert "Synthetic" in label["GeneratedBy"][0]["Description"]


def test_names_are_valid_bids(dataset):
    validator = pytest.importorskip("bids_validator", reason="bids-validator comes with the extra dev").BIDSValidator()
    names = {name for name in files(dataset) if not name.startswith("derivatives/")}
    assert {name for name in names if not validator.is_bids(f"/{name}")} == set()


@pytest.mark.skipif(shutil.which("bids-validator-deno") is None, reason="bids-validator-deno is not installed")
@pytest.mark.parametrize("style", ["tse", "gre"])
def test_the_bids_validator_finds_no_errors(tmp_path, style):
    small = {"patients": 2, "slices": 2, "matrix": 64, "twins": True}
    out = make_cohort(tmp_path / "cohort", style=style, layout="bids", **small).parent
    ended = subprocess.run(
        ["bids-validator-deno", out, "--format", "json"], capture_output=True, text=True, check=False
    )
    issues = json.loads(ended.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []


def test_pixels_and_places_are_those_of_the_dicom(dataset, dicom):
    for folder, name in ((dataset, "image"), (dataset, "twin_image")):
        for ours, theirs in same_slices(dataset, dicom):
            header = pydicom.dcmread(dicom / theirs[name])
            image = nibabel.load(folder / ours[name])
            index = int(ours["slice_index"])
            assert image.get_data_dtype() == header.pixel_array.dtype
            np.testing.assert_array_equal(image.dataobj.get_unscaled()[..., index].T, header.pixel_array)
            assert image.dataobj.slope == pytest.approx(float(header.get("RescaleSlope", 1)), rel=1e-6)
            assert image.dataobj.inter == 0
            orientation = np.array(header.ImageOrientationPatient, float) * float(header.PixelSpacing[0])
            lps = np.c_[orientation[:3], orientation[3:], np.array(header.ImagePositionPatient, float)]
            found = image.affine[:3] @ np.array([[1, 0, 0], [0, 1, 0], [0, 0, index], [0, 0, 1.0]])
            np.testing.assert_allclose(found, np.diag([-1, -1, 1]) @ lps, atol=1e-4)
            np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-5)


def test_masks_lie_where_those_of_the_dicom_cohort_lie(dataset, dicom):
    series = same_series(dataset, dicom)
    assert len(series) == SMALL["patients"]
    for participant, patient_id in series.items():
        masks = nibabel.load(dicom / "masks" / f"{patient_id}.nii.gz")
        cord, canal = labels(dataset, participant, "SC_seg"), labels(dataset, participant, "canal_seg")
        assert world_mm(cord, lambda mask: mask == 1) == world_mm(masks, lambda mask: mask == 2)
        assert world_mm(canal, lambda mask: mask == 1) == world_mm(masks, lambda mask: mask > 0)
        assert cord.get_data_dtype() == canal.get_data_dtype() == np.uint8


def test_the_bundle_reads_the_same_series_from_nifti_and_dicom(dataset, dicom, chain):
    load = chain(image_size=64)
    for participant, patient_id in same_series(dataset, dicom).items():
        folder = next(path.parent for path in (dicom / "dicom" / patient_id).rglob("IM*"))
        pair = [load({"image": str(path)})["image"] for path in (bids_image(dataset, participant), folder)]
        assert pair[0].shape == pair[1].shape
        assert float((pair[0] - pair[1]).abs().max()) <= 1 / 255 + 1e-6


def bids_image(dataset: Path, participant: str) -> Path:
    return dataset / participant / "anat" / f"{participant}_T2w.nii.gz"


def test_disc_labels_are_single_voxels_where_the_disc_meets_the_sac(tmp_path):
    """Spinal Cord Toolbox: 3 is C2/C3, 8 is C7/T1."""
    names = {3: "C2/C3", 4: "C3/C4", 5: "C4/C5", 6: "C5/C6", 7: "C6/C7", 8: "C7/T1", 9: "T1/T2"}
    out = make_cohort(tmp_path / "whole", layout="bids", **{**ONE, "slices": None}).parent
    levels = {
        (row["patient_id"], int(row["slice_index"])): row["level"] for row in read_rows(out / TRUTH / "truth.csv")
    }
    for participant in {name for name, _ in levels}:
        discs = np.asarray(labels(out, participant, "discs_dlabel").dataobj)
        canal = np.asarray(labels(out, participant, "canal_seg").dataobj)
        values, counts = np.unique(discs[discs > 0], return_counts=True)
        assert set(counts) == {1}
        assert {3, 4, 5, 6} <= set(values.tolist())
        for value in values:
            column, row, index = np.argwhere(discs == value)[0]
            assert levels[participant, index] == names[value]
            columns = np.flatnonzero(canal[:, :, index].any(axis=1))
            assert abs(column - columns.mean()) <= 0.15 * len(columns) + 1
            assert abs(row - np.flatnonzero(canal[column, :, index])[0]) <= 1


def test_sidecars_repeat_the_dicom_header_with_times_in_seconds(dataset, dicom):
    for ours, theirs in same_slices(dataset, dicom):
        header = pydicom.dcmread(dicom / theirs["image"], stop_before_pixels=True)
        sidecar = json.loads((dataset / ours["image"].replace(".nii.gz", ".json")).read_text())
        assert sidecar["EchoTime"] == pytest.approx(header.EchoTime / 1000)
        assert sidecar["RepetitionTime"] == pytest.approx(header.RepetitionTime / 1000)
        for name in ("MagneticFieldStrength", "FlipAngle", "SliceThickness", "SpacingBetweenSlices", "EchoTrainLength"):
            assert sidecar[name] == pytest.approx(float(header[name].value), rel=1e-4), name
        assert sidecar["ImageOrientationPatientDICOM"] == pytest.approx(header.ImageOrientationPatient, abs=1e-5)
        assert sidecar["ImageType"] == list(header.ImageType)
        assert sidecar["SeriesDescription"] == header.SeriesDescription.replace(" ", "_")


def test_participants_are_the_patients(dataset, dicom):
    people = {row["participant_id"]: row for row in read_rows(dataset / "participants.tsv", "\t")}
    patients = {row["patient_id"]: row for row in read_rows(dicom / "patients.csv")}
    own = {row["patient_id"]: row for row in read_rows(dataset / TRUTH / "patients.csv")}
    compressed: dict[str, set[str]] = {}
    for row, _ in same_slices(dataset, dicom):
        compressed.setdefault(row["patient_id"], set()).add(row["label"])
    assert list(people) == sorted(people)
    assert {folder.name for folder in dataset.glob("sub-*")} == set(people)
    for participant, patient_id in same_series(dataset, dicom).items():
        row, patient = people[participant], patients[patient_id]
        assert own[participant] == {**patient, "patient_id": participant}
        assert (row["sex"], row["age"], row["weight"]) == (
            patient["sex"],
            patient["age"],
            f"{float(patient['weight']):g}",
        )
        assert int(row["height"]) == round(100 * float(patient["height"]))
        assert row["institution"] == patient["site"]
        assert re.fullmatch(f"sub-{row['institution_id']}[0-9]{{2}}", participant)
        assert "-" not in row["institution_id"]
        assert re.fullmatch(r"2020-\d\d-\d\d", row["date_of_scan"])
        assert row["pathology"] in ({"DCM", "MildCompression"} if "1" in compressed[participant] else {"HC", "n/a"})
        assert (row["notes"] == "n/a") == (row["pathology"] in ("HC", "n/a"))
        assert row["pathology"] in ("HC", "n/a") or re.search(
            r"[Ss]pinal cord compression due to .*C\d/\d", row["notes"]
        )


@pytest.mark.parametrize(
    ("levels", "text"), [(["C3/4"], "C3/4"), (["C3/4", "C5/6"], "C3/4 and C5/6"), (["a", "b", "c"], "a, b and c")]
)
def test_levels_are_joined_as_people_write_them(levels, text):
    assert participants.joined(levels) == text


def test_truth_and_readings_are_those_of_the_dicom_cohort(dataset, dicom):
    uids = ("series_uid", "sop_uid", "frame", "patient_id", "image", "twin_image")
    for ours, theirs in same_slices(dataset, dicom):
        assert {k: v for k, v in ours.items() if k not in uids} == {k: v for k, v in theirs.items() if k not in uids}
        assert set(ours) == set(theirs) - {"series_uid", "sop_uid", "frame"}
    slices = Counter(row["image"] for row in read_rows(dataset / TRUTH / "truth.csv"))
    assert slices == {image: nibabel.load(dataset / image).shape[2] for image in slices}
    key = {row["sop_uid"]: (row["patient_id"], row["slice_index"]) for row in read_rows(dicom / "truth.csv")}
    patients = same_series(dataset, dicom)
    said = ("rater", "reading", "role", "status", "label", "grade", "kind")
    readings = {
        (patients[row["patient_id"]], row["slice_index"], *(row[name] for name in said))
        for row in read_rows(dataset / TRUTH / "labels.csv")
        if (dataset / row["image"]).is_file()
    }
    theirs = read_rows(dicom / "labels.csv")
    assert readings == {(*key[row["sop_uid"]], *(row[name] for name in said)) for row in theirs}


def test_same_arguments_give_the_same_bytes_and_participants_do_not_depend_on_the_cohort(dataset, tmp_path):
    fewer = make_cohort(tmp_path / "fewer", layout="bids", **{**SMALL, "patients": 1}).parent
    images = {name: value for name, value in hashes(fewer).items() if "sub-" in name}
    assert len(images) == 12
    assert images.items() <= hashes(dataset).items()
    small = {**ONE, "patients": 3, "twins": True, "layout": "bids"}
    again = [
        make_cohort(tmp_path / name, **small, spread=way).parent
        for name, way in (("first", in_this_process), ("last", last_first))
    ]
    assert hashes(again[0]) == hashes(again[1])


def test_no_two_participants_share_a_name():
    names = participants.participant_ids(Settings(seed=1, layout="bids"), 9999)
    assert len(set(names)) == 9999
    assert set(participants.participant_ids(Settings(seed=1, layout="bids"), 10)) <= set(names)


def test_nifti_keeps_stored_values_and_their_slope(tmp_path):
    stored = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    geometry = Geometry(np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), np.array([[1.0, 2, 3], [1, 2, 8]]), 0.5, 4, 5)
    bids.write_volume(tmp_path / "one.nii.gz", stored, geometry, {"a": 1}, 0.37)
    image = nibabel.load(tmp_path / "one.nii.gz")
    assert image.get_data_dtype() == np.uint16
    np.testing.assert_array_equal(image.dataobj.get_unscaled(), stored.transpose(2, 1, 0))
    np.testing.assert_allclose(image.get_fdata()[3, 2, 1], 23 * 0.37, rtol=1e-6)
    np.testing.assert_allclose(image.affine @ [3, 2, 1, 1], [-2.5, -3, 8, 1])
    assert json.loads((tmp_path / "one.json").read_text()) == {"a": 1}


def test_gradient_echo_series_are_t2star_and_sagittal_ones_are_left_out_on_request(tmp_path):
    out = make_cohort(tmp_path / "gre", layout="bids", style="gre", **{**ONE, "slices": 2}).parent
    images = {re.sub("sub-[A-Za-z0-9]+", "sub-X", path.name) for path in out.rglob("*.nii.gz")}
    assert images == {
        "sub-X_T2star.nii.gz",
        *(f"sub-X_T2star_label-{name}.nii.gz" for name in ("SC_seg", "canal_seg", "discs_dlabel")),
    }
    assert not (out / "derivatives" / "twins").exists()
    sidecar = json.loads(next(out.glob("sub-*/anat/*.json")).read_text())
    assert sidecar["ScanningSequence"] == "GR"
    assert 0.014 <= sidecar["EchoTime"] <= 0.018


def test_the_command_counts_participants_and_slices(tmp_path, capsys):
    out = tmp_path / "cohort"
    words = f"phantom --out {out} --patients 2 --seed 3 --slices 3 --matrix 64 --workers 1 --distractors false"
    for _ in range(2):  # the second time it is kept
        assert main([*words.split(), "--layout", "bids", "--reuse", "true"]) == 0
        rows = read_rows(out / TRUTH / "truth.csv")
        compressed = sum(row["label"] == "1" for row in rows)
        assert f"2 participants, 6 slices, {compressed} compressed" in capsys.readouterr().out
    assert not (out / "datalist.json").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--layout nifti", "layout must be dicom or bids, got 'nifti'"),
        ("--layout bids --rle true", "--rle compresses DICOM"),
        ("--layout bids --contact_sheet true", "--contact_sheet draws DICOM"),
    ],
)
def test_options_without_meaning_are_refused_before_a_patient_is_drawn(tmp_path, capsys, monkeypatch, option, message):
    monkeypatch.setattr(cohort, "render_patients", None)
    assert main(["phantom", "--out", str(tmp_path / "cohort"), *option.split()]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


class TestFolder:
    """What may be written where."""

    def test_a_foreign_bids_data_set_is_refused_even_with_force(self, tmp_path):
        (tmp_path / "dataset_description.json").write_text('{"Name": "Patients", "BIDSVersion": "1.2.0"}')
        for layout in ("bids", "dicom"):
            with pytest.raises(InputError, match="no phantom cohort"):
                make_cohort(tmp_path, force=True, layout=layout, **ONE)
        assert [path.name for path in tmp_path.iterdir()] == ["dataset_description.json"]

    def test_a_data_set_is_reused_refused_in_the_other_layout_and_replaced_with_force(self, tmp_path):
        path = make_cohort(tmp_path / "cohort", layout="bids", **ONE)
        assert path == tmp_path / "cohort" / "dataset_description.json"
        changed = path.stat().st_mtime_ns
        assert make_cohort(tmp_path / "cohort", reuse=True, layout="bids", **ONE) == path
        assert path.stat().st_mtime_ns == changed
        with pytest.raises(InputError, match="layout bids, not dicom"):
            make_cohort(tmp_path / "cohort", reuse=True, **ONE)
        datalist = make_cohort(tmp_path / "cohort", force=True, **ONE)
        assert datalist.is_file()
        assert not path.exists()
        assert make_cohort(tmp_path / "cohort", force=True, layout="bids", **ONE) == path
        assert not datalist.exists()

    def test_a_recipe_from_before_there_were_layouts_counts_as_dicom(self, tmp_path):
        path = make_cohort(tmp_path / "cohort", **ONE)
        content = json.loads(path.read_text())
        del content["phantom_recipe"]["layout"]
        path.write_text(json.dumps(content))
        assert make_cohort(tmp_path / "cohort", reuse=True, **ONE) == path
        assert recipe_of(path.parent)["layout"] == "dicom"
