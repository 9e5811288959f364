"""The phantom cohort on disk."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import ClassVar

import nibabel
import numpy as np
import pydicom
import pytest
from csv_rows import read_rows
from dicom_fixtures import read_slice
from file_hashes import hashes
from spreads import all_die, last_first

from scripts import datalists, records
from scripts.__main__ import main
from scripts.errors import InputError
from scripts.phantom import cohort as cohorts
from scripts.phantom.cohort import make_cohort
from scripts.phantom.labels import sections_of
from scripts.phantom.patients import Settings
from scripts.phantom.pictures import render
from scripts.phantom.sampling import sample_patient

SMALL = {"patients": 7, "seed": 3, "slices": 5, "matrix": 96}  # the seventh has an enhanced file


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return make_cohort(tmp_path_factory.mktemp("phantom") / "cohort", twins=True, **SMALL).parent


@pytest.fixture(scope="module")
def entries(cohort):
    return [entry for section in records.SECTIONS for entry in datalists.load(cohort / "datalist.json", section)]


def test_same_arguments_give_the_same_bytes_in_whatever_order_patients_are_drawn(cohort, tmp_path):
    again = make_cohort(tmp_path / "again", twins=True, spread=last_first, **SMALL).parent
    assert hashes(again) == hashes(cohort)


def test_another_seed_gives_other_patients(cohort, tmp_path):
    other = make_cohort(tmp_path / "other", **{**SMALL, "patients": 1, "seed": 4}).parent
    assert not set(hashes(other).values()) & set(hashes(cohort).values())


def test_a_patient_is_the_same_in_a_cohort_of_another_size(cohort, tmp_path):
    fewer = make_cohort(tmp_path / "fewer", twins=True, **{**SMALL, "patients": 2}).parent
    shared = {name: value for name, value in hashes(fewer).items() if name.startswith(("dicom/", "twins/"))}
    assert shared
    assert shared.items() <= hashes(cohort).items()


def test_datalist_holds_every_slice_once_with_its_true_label_and_its_file_has_its_uids(cohort, entries):
    truth = {records.slice_key(row): int(row["label"]) for row in read_rows(cohort / "truth.csv")}
    assert {records.slice_key(entry): entry["label"] for entry in entries} == truth
    assert len(entries) == SMALL["patients"] * SMALL["slices"]
    for entry in entries:
        header = pydicom.dcmread(entry["image"], stop_before_pixels=True)
        assert (header.SeriesInstanceUID, header.SOPInstanceUID) == records.slice_key(entry)[:2]
        assert header.PatientID == entry["patient_id"]


def test_every_section_has_both_labels(cohort):
    for section in records.SECTIONS:
        assert {entry["label"] for entry in datalists.load(cohort / "datalist.json", section)} == {0, 1}, section


def test_slice_zero_is_the_most_caudal_and_rows_run_to_posterior(entries):
    for patient_id in {entry["patient_id"] for entry in entries}:
        series = sorted((e for e in entries if e["patient_id"] == patient_id), key=lambda entry: entry["slice_index"])
        headers = [read_slice(entry["image"], entry["frame"])[0] for entry in series]
        orientation = np.array(headers[0].ImageOrientationPatient, float)
        left, posterior = orientation[:3], orientation[3:]
        assert left[0] > 0.99
        assert posterior[1] > 0.9
        heights = [np.array(h.ImagePositionPatient, float) @ np.cross(left, posterior) for h in headers]
        np.testing.assert_allclose(np.diff(heights), float(headers[0].SpacingBetweenSlices), atol=1e-4)


def test_headers_agree_with_patients_csv(cohort, entries):
    patients = {row["patient_id"]: row for row in read_rows(cohort / "patients.csv")}
    for entry in entries:
        header, row = pydicom.dcmread(entry["image"], stop_before_pixels=True), patients[entry["patient_id"]]
        assert header.PatientAge == f"{int(row['age']):03d}Y"
        assert header.PatientSex == row["sex"]
        assert float(header.PatientWeight) == pytest.approx(float(row["weight"]))
        assert float(header.PatientSize) == pytest.approx(float(row["height"]))
        assert header.InstitutionName == row["site"]


def test_file_names_do_not_tell_the_order_of_slices(entries):
    ordered = 0
    for patient_id in {entry["patient_id"] for entry in entries}:
        ranked = sorted(entries, key=lambda entry: (entry["image"], entry["frame"]))
        indices = [entry["slice_index"] for entry in ranked if entry["patient_id"] == patient_id]
        ordered += indices in (sorted(indices), sorted(indices, reverse=True))
    assert ordered < SMALL["patients"] / 2


def test_twins_differ_only_where_a_lesion_is(cohort):
    """The files of a patient's twin have the same noise and differ near the lesion alone."""
    checked = 0
    for row in read_rows(cohort / "truth.csv"):
        header, image = read_slice(cohort / row["image"], row["frame"])
        other, twin = read_slice(cohort / row["twin_image"], row["frame"])
        assert header.SOPInstanceUID != other.SOPInstanceUID
        assert header.ImagePositionPatient == other.ImagePositionPatient
        change = np.abs(image.astype(float) - twin) / twin.max()
        if row["label"] == "1":
            checked += 1
            near = change > 0.5 * change.max()
            spread_mm = near.any(axis=0).sum() * float(header.PixelSpacing[1])
            assert change.max() > 0.1
            assert spread_mm < 30
    assert checked > 5


def test_slices_that_no_lesion_reaches_equal_those_of_the_twin():
    patient, truth = sample_patient(Settings(seed=3, matrix=64), 0)
    untouched = [all(section.main is None for section in sections_of(patient, row.slice_index)) for row in truth]
    assert 0 < sum(untouched) < len(untouched)
    changes = np.abs(np.subtract(*render(patient, "tse", with_twin=True))).max(axis=(1, 2))
    assert (changes[untouched] == 0).all()
    assert (changes[[bool(row.label) for row in truth]] > 0).all()


def test_masks_lie_on_the_cord_of_their_series(cohort, entries):
    """Same grid as the DICOM series, CSF brightest against cord exactly in place, and the area that truth.csv tells."""
    truth = {records.slice_key(row): row for row in read_rows(cohort / "truth.csv")}
    errors, contrasts = [], np.zeros((3, 3))
    for entry in entries:
        image, stored = read_slice(entry["image"], entry["frame"])
        pixels = stored / stored.max()
        mask = nibabel.load(cohort / "masks" / f"{entry['patient_id']}.nii.gz")
        assert mask.get_data_dtype() == np.uint8
        corner = mask.affine @ [0, 0, entry["slice_index"], 1]
        np.testing.assert_allclose(corner[:3] * [-1, -1, 1], np.array(image.ImagePositionPatient, float), atol=1e-3)
        labels = np.asarray(mask.dataobj[..., entry["slice_index"]]).T
        assert labels.shape == pixels.shape
        for row, column in np.ndindex(3, 3):
            shifted = np.roll(pixels, (1 - row, 1 - column), (0, 1))
            contrasts[row, column] += shifted[labels == 1].mean() - shifted[labels == 2].mean()
        area_mm2 = (labels == 2).sum() * float(image.PixelSpacing[0]) ** 2
        errors.append(area_mm2 / float(truth[records.slice_key(entry)]["cord_area_mm2"]) - 1)
    assert contrasts[1, 1] == contrasts.max() > 0
    assert abs(np.median(errors)) < 0.05
    assert np.abs(errors).max() < 0.20


def test_a_study_holds_series_that_are_no_axial_t2(cohort):
    """By header alone: sagittal T2, axial T1, fat-suppressed axial T2; and the one that the datalist names."""
    for study in (cohort / "dicom").iterdir():
        found = {}
        for path in study.rglob("IM*"):
            n_frames = int(pydicom.dcmread(path, stop_before_pixels=True).get("NumberOfFrames", 0))
            for frame in map(str, range(1, n_frames + 1)) if n_frames else [""]:
                header, _ = read_slice(path, frame)
                found.setdefault(header.SeriesInstanceUID, []).append((path, header))
        kinds = []
        for files in found.values():
            header = files[0][1]
            orientation = np.array(header.ImageOrientationPatient, float)
            axial = abs(np.cross(orientation[:3], orientation[3:])[2]) > np.cos(np.pi / 4)
            inversion_ms = float(header.get("InversionTime", 0) or 0)
            echo_time_ms = header.get("EchoTime") or header.EffectiveEchoTime
            suppressed = 80 <= inversion_ms <= 300 or "FS" in header.get("ScanOptions", "")
            t1 = echo_time_ms < 35 and header.RepetitionTime < 1200
            kinds.append("sagittal" if not axial else "suppressed" if suppressed else "t1" if t1 else "t2")
            if kinds[-1] == "t2":
                assert {path.parent for path, _ in files} == {files[0][0].parent}
                assert len(files) == SMALL["slices"]
                assert {path for path, _ in files} == {*files[0][0].parent.iterdir()}
        assert sorted(kinds) == ["sagittal", "suppressed", "t1", "t2"]
        assert len({files[0][1].StudyInstanceUID for files in found.values()}) == 1


def test_sagittal_series_shows_the_same_spine_as_the_axial_one(cohort, entries):
    """CSF is bright where the axial mask says it is: the series share a frame of reference."""
    checked = 0
    for patient_id in sorted({entry["patient_id"] for entry in entries}):
        headers = [pydicom.dcmread(path) for path in (cohort / "dicom" / patient_id).rglob("IM03*")]
        planes = {float(np.array(h.ImagePositionPatient, float)[0]): h for h in headers}
        mask = nibabel.load(cohort / "masks" / f"{patient_id}.nii.gz")
        indices = np.argwhere(np.asarray(mask.dataobj) == 1)
        points = (np.c_[indices, np.ones(len(indices))] @ mask.affine.T)[:, :3] * [-1, -1, 1]
        values, everything = [], []
        for x, header in planes.items():
            origin, orientation = (
                np.array(header.ImagePositionPatient, float),
                np.array(header.ImageOrientationPatient, float),
            )
            offset = points[np.abs(points[:, 0] - x) < 0.7] - origin
            columns = (offset @ orientation[:3] / float(header.PixelSpacing[1])).round().astype(int)
            lines = (offset @ orientation[3:] / float(header.PixelSpacing[0])).round().astype(int)
            image = header.pixel_array
            inside = (columns >= 0) & (columns < image.shape[1]) & (lines >= 0) & (lines < image.shape[0])
            values += image[lines[inside], columns[inside]].tolist()
            everything += image.ravel().tolist()
        if len(values) > 30:
            checked += 1
            assert np.median(values) > 1.5 * np.median(everything)
    assert checked >= SMALL["patients"] / 2


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
def test_dciodvfy_finds_no_errors(cohort):
    folders = [*cohort.glob("dicom/*/*"), *cohort.glob("twins/*/*")]
    series = {(folder, path.name[:4]): path for folder in folders for path in folder.iterdir()}
    first = sorted(series.values())  # one file of each
    assert len(first) >= 5 * SMALL["patients"]
    for path in first:
        said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False).stderr
        assert "MRImage" in said, said
        assert not [line for line in said.splitlines() if line.startswith("Error")], f"{path}: {said}"


def test_gradient_echo_headers_are_physical(tmp_path):
    out = make_cohort(tmp_path / "gre", patients=3, seed=0, style="gre", slices=2, matrix=64).parent
    for entry in datalists.load(out / "datalist.json", "training"):
        assert not entry["frame"]
        header = pydicom.dcmread(entry["image"], stop_before_pixels=True)
        assert header.ScanningSequence == "GR"
        assert 25 <= header.FlipAngle <= 30
        assert 14 <= header.EchoTime <= 18
        assert header.EchoTrainLength == 1


def test_rle_changes_the_file_but_not_the_pixels(tmp_path):
    small = {"patients": 1, "seed": 3, "slices": 2, "matrix": 64}
    folders = [make_cohort(tmp_path / str(rle), rle=rle, **small).parent for rle in (False, True)]
    for plain, packed in zip(*(sorted(folder.rglob("IM05*")) for folder in folders), strict=True):
        pair = pydicom.dcmread(plain), pydicom.dcmread(packed)
        assert pair[1].file_meta.TransferSyntaxUID == pydicom.uid.RLELossless
        np.testing.assert_array_equal(pair[0].pixel_array, pair[1].pixel_array)


def test_the_command_counts_what_it_made_and_draws_it(tmp_path, capsys):
    out = tmp_path / "cohort"
    arguments = f"phantom --out {out} --patients 4 --seed 1 --slices 4 --matrix 64 --workers 1 --distractors false"
    assert main([*arguments.split(), "--contact_sheet", "true"]) == 0
    said = capsys.readouterr().out
    counts = datalists.datalist_info(out / "datalist.json")["counts"]
    assert f"training: {counts['training']['patients']} patients, {counts['training']['slices']} slices" in said
    assert (out / "contact_sheet.png").read_bytes().startswith(b"\x89PNG")
    assert not list(out.rglob("S0000"))


class TestFolder:
    """What may be written where."""

    ONE: ClassVar = {"patients": 1, "seed": 0, "slices": 1, "matrix": 64, "distractors": False}

    def test_a_folder_with_other_things_is_refused_even_with_force(self, tmp_path):
        (tmp_path / "thesis.txt").write_text("do not delete")
        for force in (False, True):
            with pytest.raises(InputError, match="no phantom cohort"):
                make_cohort(tmp_path, force=force, **self.ONE)
        assert (tmp_path / "thesis.txt").read_text() == "do not delete"

    def test_the_same_cohort_is_reused_and_another_refused(self, tmp_path):
        path = make_cohort(tmp_path / "cohort", **self.ONE)
        changed = path.stat().st_mtime_ns
        assert make_cohort(tmp_path / "cohort", reuse=True, **self.ONE) == path
        assert path.stat().st_mtime_ns == changed
        with pytest.raises(InputError, match="seed 0, not 1"):
            make_cohort(tmp_path / "cohort", reuse=True, **{**self.ONE, "seed": 1})
        with pytest.raises(InputError, match="this phantom cohort already"):
            make_cohort(tmp_path / "cohort", **self.ONE)

    def test_force_replaces_a_cohort(self, tmp_path):
        make_cohort(tmp_path / "cohort", **self.ONE)
        (tmp_path / "cohort" / "looks.jsonl").write_text("")  # which an evaluation leaves there
        path = make_cohort(tmp_path / "cohort", force=True, **{**self.ONE, "seed": 1})
        assert datalists.datalist_info(path)["seed"] == 1

    def test_force_deletes_nothing_that_the_phantom_did_not_write(self, tmp_path):
        make_cohort(tmp_path / "cohort", **self.ONE)
        (tmp_path / "cohort" / "consensus.csv").write_text("hours of work")
        (tmp_path / "cohort" / "mine").mkdir()
        with pytest.raises(InputError, match=r"--force would also delete consensus\.csv, mine in"):
            make_cohort(tmp_path / "cohort", force=True, **self.ONE)
        assert (tmp_path / "cohort" / "consensus.csv").read_text() == "hours of work"

    @pytest.mark.parametrize("gone", ["patients.csv", "masks", "dicom", "datalist.json"])
    def test_a_cohort_of_which_something_is_gone_is_not_reused(self, tmp_path, gone):
        folder = make_cohort(tmp_path / "cohort", **self.ONE).parent
        shutil.rmtree(folder / gone) if (folder / gone).is_dir() else (folder / gone).unlink()
        with pytest.raises(InputError, match=rf"is incomplete: {gone}.* missing; make it again with --force"):
            make_cohort(folder, reuse=True, **self.ONE)
        assert make_cohort(folder, force=True, **self.ONE).is_file()

    def test_a_cohort_whose_datalist_was_replaced_stays_a_phantom_cohort(self, tmp_path):
        """`split` writes its own datalist over that of the phantom."""
        path = make_cohort(tmp_path / "cohort", **self.ONE)
        content = json.loads(path.read_text())
        del content["phantom_recipe"]
        path.write_text(json.dumps(content))
        with pytest.raises(InputError, match=r"no longer the phantom's own \(`split` replaces it\)"):
            make_cohort(tmp_path / "cohort", reuse=True, **self.ONE)
        with pytest.raises(InputError, match="this phantom cohort already"):
            make_cohort(tmp_path / "cohort", **self.ONE)
        assert make_cohort(tmp_path / "cohort", force=True, **self.ONE) == path

    def test_an_interrupted_run_leaves_nothing(self, tmp_path, monkeypatch):
        def stop(*_args):
            raise KeyboardInterrupt

        monkeypatch.setattr(cohorts, "write_tables", stop)
        with pytest.raises(KeyboardInterrupt):
            make_cohort(tmp_path / "cohort", **self.ONE)
        assert list(tmp_path.iterdir()) == []

    def test_two_processes_may_make_the_same_cohort_at_once(self, tmp_path, monkeypatch):
        """As training on several GPUs does: whoever comes second takes what is there."""

        def be_overtaken(folder, *arguments):
            write_tables(folder, *arguments)
            shutil.copytree(folder, tmp_path / "cohort")

        write_tables = cohorts.write_tables
        monkeypatch.setattr(cohorts, "write_tables", be_overtaken)
        path = make_cohort(tmp_path / "cohort", reuse=True, **self.ONE)
        assert datalists.load(
            path, "testing" if datalists.datalist_info(path)["counts"]["testing"]["slices"] else "training"
        )
        assert [folder.name for folder in tmp_path.iterdir()] == ["cohort"]

    @pytest.mark.parametrize(
        ("name", "value"),
        [("patients", 0), ("seed", -1), ("seed", 2**63), ("style", "stir"), ("slices", 0), ("matrix", 16)],
    )
    def test_arguments_out_of_range_name_themselves(self, tmp_path, name, value):
        with pytest.raises(InputError, match=name):
            make_cohort(tmp_path / "cohort", **{**self.ONE, name: value})

    @pytest.mark.parametrize("seed", [20240101, 2**63 - 1])
    def test_any_seed_of_63_bits_makes_a_cohort(self, tmp_path, seed):
        path = make_cohort(tmp_path / "cohort", **{**self.ONE, "seed": seed})
        assert datalists.datalist_info(path)["seed"] == seed
        assert pydicom.dcmread(next(path.parent.rglob("IM*"))).PatientID == f"TSE{seed}-0001"

    @pytest.mark.parametrize("replaced", [False, True])
    def test_a_folder_is_replaced_where_renaming_onto_a_folder_is_impossible(self, tmp_path, monkeypatch, replaced):
        """As on Windows, where a folder of mode 700 would stay closed to others, too."""

        def rename(source, target):
            if Path(target).exists():
                raise FileExistsError(183, "Cannot create a file when that file already exists")
            return original(source, target)

        original = Path.rename
        out = tmp_path / "cohort"
        out.mkdir()
        if replaced:
            make_cohort(out, **self.ONE)
        monkeypatch.setattr(Path, "rename", rename)
        path = make_cohort(out, force=replaced, **{**self.ONE, "seed": 5})
        assert datalists.datalist_info(path)["seed"] == 5
        (tmp_path / "plain").mkdir()
        assert out.stat().st_mode == (tmp_path / "plain").stat().st_mode

    def test_a_file_in_the_place_of_the_folder_is_refused_before_a_patient_is_drawn(self, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("notes")
        monkeypatch.setattr(cohorts, "render_patients", None)
        for place in ("file", "file/cohort"):
            with pytest.raises(InputError, match=r"no phantom cohort|is a file where a folder is needed"):
                make_cohort(tmp_path / place, **self.ONE)


def test_a_patient_that_ends_every_process_ends_a_cohort_with_one_line_and_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match=r"process that draws a patient was killed.*fewer --workers") as caught:
        make_cohort(tmp_path / "cohort", patients=2, slices=3, matrix=64, spread=all_die)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
