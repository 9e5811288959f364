"""The layouts in which the phantom's axial series are written: classic, enhanced multi-frame, disc-angled stacks."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from csv_rows import read_rows
from dicom_fixtures import read_slice

from scripts import datalists, records
from scripts.cohort.index import index
from scripts.cohort.leaks import check_split
from scripts.datasets import SliceDataset
from scripts.deidentification.command import deidentify
from scripts.dicom.judgements import ENHANCED_MR, judge
from scripts.dicom.sources import scan
from scripts.inference.predict import predict
from scripts.phantom import sampling
from scripts.phantom.acquisition import zero_fill
from scripts.phantom.contact_sheets import draw_contact_sheet
from scripts.phantom.dicom import encoding_of, write_series
from scripts.phantom.findings import NO_FINDINGS
from scripts.phantom.layouts import layout_of
from scripts.phantom.patients import Settings
from scripts.phantom.pictures import render, render_masks
from scripts.phantom.sampling import sample_patient
from scripts.phantom.series import ISOCENTRE_MM, axial_geometry, axial_t2, canal_centre_mm, neck_axes
from scripts.phantom.writing import axial_stacks
from scripts.readers import decode
from scripts.trust import samples

ENHANCED, ANGLED = "TSE3-0007", "TSE3-0008"


@pytest.fixture(scope="module")
def entries(layouts) -> list[dict]:
    return [entry for section in records.SECTIONS for entry in datalists.load(layouts / "datalist.json", section)]


@pytest.fixture(scope="module")
def truth(layouts) -> dict[records.SliceKey, dict[str, str]]:
    return {records.slice_key(row): row for row in read_rows(layouts / "truth.csv")}


@pytest.fixture(scope="module")
def angled():
    found = ((Settings(seed, matrix=64), number) for seed in range(6) for number in range(10))
    return [sample_patient(*one) for one in found if layout_of(*one) == "angled"]


@pytest.mark.parametrize("seed", [0, 1, 3, 2**63 - 1])
def test_of_every_ten_patients_one_is_enhanced_and_one_angled(seed):
    found = [layout_of(Settings(seed), number) for number in range(30)]
    for start in (0, 10, 20):
        assert Counter(found[start : start + 10]) == {"enhanced": 1, "angled": 1, "classic": 8}


@pytest.mark.parametrize("settings", [Settings(3, slices=6), Settings(3, layout="bids")], ids=["slices", "BIDS"])
def test_with_a_number_of_slices_and_in_bids_nobody_has_disc_angled_stacks(settings):
    found = Counter(layout_of(settings, number) for number in range(30))
    assert found == {"enhanced": 3, "classic": 27}


def test_disc_angled_stacks_have_the_slices_that_hospitals_make(angled):
    assert len(angled) == 6
    for patient, rows in angled:
        counts = [len(stack.heights_mm) for stack in patient.scan.stacks]
        assert len(counts) >= 4
        assert {*counts} <= {4, 5}
        assert 20 <= sum(counts) == len(rows) <= 45


def test_disc_angled_stacks_follow_the_canal_and_no_two_are_parallel(angled):
    for patient, _ in angled:
        for stack in patient.scan.stacks:
            aligned = replace(patient, anatomy=replace(patient.anatomy, findings=NO_FINDINGS))  # no slip at a disc
            below, above = (canal_centre_mm(aligned, stack.middle_mm + step) for step in (-0.5, 0.5))
            across_deg = -np.rad2deg(np.arctan(above[1] - below[1]))
            assert abs(stack.turn_deg - across_deg) < 8
            assert stack.middle_mm / patient.anatomy.pitch_mm == pytest.approx(
                round(stack.middle_mm / patient.anatomy.pitch_mm)
            )
        turns = sorted(stack.turn_deg for stack in patient.scan.stacks)
        assert min(np.diff(turns)) > 1


def test_a_stack_cuts_the_canal_where_a_straight_series_shows_it(angled):
    """The header's geometry and the picture agree: the masks' centres lie on the canal's curve in the scanner."""
    for patient, _ in angled:
        left, posterior, cranial = neck_axes(patient)
        heights = np.arange(-7, 2, 0.02) * patient.anatomy.pitch_mm
        curve = np.array([canal_centre_mm(patient, height) for height in heights])
        up = (heights - patient.scan.middle_mm)[:, None] * cranial
        curve_mm = ISOCENTRE_MM + curve[:, :1] * left + curve[:, 1:] * posterior + up
        masks = render_masks(patient, 128)
        number = 0
        for stack in range(1, len(patient.scan.stacks) + 1):
            geometry = axial_geometry(patient, 128, stack)
            for slice_index in range(len(geometry.origins_mm)):
                row, column = np.argwhere(masks[number] > 0).mean(0)
                centre = geometry.affine() @ [column, row, slice_index, 1] * [-1, -1, 1, 1]
                assert np.linalg.norm(curve_mm - centre[:3], axis=1).min() < 3
                number += 1
        assert number == len(masks)


def test_disc_angled_stacks_hold_as_many_compressed_slices_as_a_straight_series(angled, monkeypatch):
    monkeypatch.setattr(sampling, "laid_out", lambda patient: patient)
    straight = [sample_patient(patient.settings, patient.index) for patient, _ in angled]
    shares = [np.mean([row.label for _, rows in group for row in rows]) for group in (angled, straight)]
    assert abs(shares[0] - shares[1]) < 0.06


def test_every_slice_is_in_datalist_truth_and_geometry_under_one_key(layouts, entries, truth):
    geometry = {records.slice_key(row): row for row in read_rows(layouts / "geometry.csv")}
    labelled = {records.slice_key(row) for row in read_rows(layouts / "labels.csv")}
    keys = [records.slice_key(entry) for entry in entries]
    assert len(set(keys)) == len(keys)
    assert set(keys) == set(truth) == set(geometry) == labelled
    for entry in entries:
        row, place = truth[records.slice_key(entry)], geometry[records.slice_key(entry)]
        assert int(row["slice_index"]) == int(place["slice_index"]) == entry["slice_index"]
        assert place["stack"] == "1"
        assert Path(entry["image"]) == layouts / row["image"]
        assert (entry["frame"] != "") == (entry["patient_id"] == ENHANCED)
        assert (int(row["stack"]) > 1) <= (entry["patient_id"] == ANGLED)


def test_tables_number_stacks_and_slices_as_the_index_does(layouts, entries, truth, tmp_path):
    index(str(layouts / "dicom"), out=str(tmp_path / "index.csv"))
    rows = read_rows(tmp_path / "index.csv")
    assert {row["decision"] for row in rows} == {"accept"}
    turned = {row["patient_id"]: row["warnings"] for row in rows if row["warnings"]}
    assert [*turned] == [ANGLED]
    n_stacks = len({row["stack"] for row in truth.values()})
    assert turned[ANGLED].startswith(f"slices at {n_stacks} angles, up to ")
    listed = {(row["series_uid"], row["stack"], row["n_slices"]) for row in rows}
    counted = Counter(row["series_uid"] for row in truth.values())
    assert listed == {(series, "1", str(count)) for series, count in counted.items()}
    stacks, unreadable = scan(layouts / "dicom")
    assert not unreadable
    for stack in stacks:
        assert judge(stack).accepted
        for slice_index, one in enumerate(stack.slices):
            assert int(truth[stack.series_uid, one.sop_uid, one.frame]["slice_index"]) == slice_index
    places = {records.slice_key(row): float(row["position_mm"]) for row in read_rows(layouts / "geometry.csv")}
    for stack in stacks:
        shifts = [places[stack.series_uid, one.sop_uid, one.frame] - one.position_mm for one in stack.slices]
        assert np.ptp(shifts) < 0.01


def test_an_enhanced_file_holds_the_pixels_and_positions_of_the_classic_ones(tmp_path):
    """Both are written from one volume; frames are in an order that tells nothing."""
    patient, _ = sample_patient(Settings(3, slices=5, matrix=64), 6)
    assert patient.scan.enhanced
    volume, _ = render(patient, "tse")
    arguments = (volume, patient, axial_t2(patient), [axial_geometry(patient, 64)])
    classic, enhanced = (
        write_series(*arguments, tmp_path / str(flag), encoding_of(volume, patient), enhanced=flag)
        for flag in (False, True)
    )
    frames = [int(one.frame) for one in enhanced]
    assert sorted(frames) == [1, 2, 3, 4, 5]
    assert frames not in (sorted(frames), sorted(frames, reverse=True))
    assert len({one.path for one in enhanced}) == len({one.sop_uid for one in enhanced}) == 1
    for one, other in zip(classic, enhanced, strict=True):
        (header, pixels), (unfolded, frame) = (read_slice(each.path, each.frame) for each in (one, other))
        np.testing.assert_array_equal(pixels, frame)
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
            assert header[keyword].value == unfolded[keyword].value
        assert header.get("RescaleSlope", 1) == unfolded.RescaleSlope
        assert header.EchoTime == unfolded.EffectiveEchoTime
        assert header.RepetitionTime == unfolded.RepetitionTime
    before, after = (scan(tmp_path / str(flag))[0][0] for flag in (False, True))
    assert judge(before) == judge(after)
    assert after.sop_class_uid in ENHANCED_MR
    assert after.phantom
    np.testing.assert_array_equal(decode(before), decode(after))
    assert [one.position_mm for one in before.slices] == [one.position_mm for one in after.slices]


def test_frames_differ_in_place_and_window_alone(layouts):
    """What else a frame said of itself could tell of its label."""
    (path,) = (layouts / "dicom" / ENHANCED).rglob("IM05*")
    header = pydicom.dcmread(path, stop_before_pixels=True)
    names = {element.keyword for groups in header.PerFrameFunctionalGroupsSequence for element in groups}
    assert names == {"FrameContentSequence", "PlanePositionSequence", "FrameVOILUTSequence"}


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
@pytest.mark.parametrize("root", ["dicom", "twins"])
def test_dciodvfy_finds_no_errors_in_any_layout(layouts, root):
    for patient, kind in ((ENHANCED, "EnhancedMRImage"), (ANGLED, "MRImage")):
        path = min((layouts / root / patient).rglob("IM05*"))
        said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False).stderr
        assert kind in said.split()
        assert not [line for line in said.splitlines() if line.startswith("Error")], said


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
def test_dciodvfy_finds_no_errors_in_the_enhanced_files_of_all_scanners(tmp_path):
    makers = set()
    for style, seed in (("tse", 0), ("tse", 1), ("tse", 4), ("tse", 5), ("tse", 13), ("gre", 7)):
        settings = Settings(seed, style, slices=2, matrix=64)
        number = next(number for number in range(10) if layout_of(settings, number) == "enhanced")
        patient, _ = sample_patient(settings, number)
        volume = np.random.default_rng(0).random((2, patient.scan.written_matrix, patient.scan.written_matrix))
        (path, *_) = {
            one.path
            for one in write_series(
                volume, patient, axial_t2(patient), axial_stacks(patient), tmp_path / str(seed), enhanced=True
            )
        }
        said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False).stderr
        assert not [line for line in said.splitlines() if line.startswith("Error")], said
        makers.add(patient.scan.vendor.manufacturer)
    assert len(makers) >= 3


def test_spacing_and_location_are_those_of_the_stack(layouts, truth):
    stacks: dict[str, list[tuple[int, np.ndarray, float, float]]] = {}
    for row in (row for row in truth.values() if row["patient_id"] == ANGLED):
        header = pydicom.dcmread(layouts / row["image"], stop_before_pixels=True)
        normal = np.cross(*np.reshape(np.array(header.ImageOrientationPatient, float), (2, 3)))
        along = float(np.array(header.ImagePositionPatient, float) @ normal)
        assert float(header.SliceLocation) == pytest.approx(along, abs=1e-3)
        one = (int(row["stack_slice"]), along, float(header.SpacingBetweenSlices))
        stacks.setdefault(row["stack"], []).append(one)
    for slices in stacks.values():
        ordered = sorted(slices)
        np.testing.assert_allclose(np.diff([along for _, along, _ in ordered]), ordered[0][2], atol=1e-3)


def test_masks_have_one_file_per_stack_in_its_grid(layouts, entries, truth):
    names = {path.name for path in (layouts / "masks").iterdir() if path.name.startswith((ENHANCED, ANGLED))}
    n_stacks = max(int(row["stack"]) for row in truth.values())
    assert names == {f"{ENHANCED}.nii.gz", *(f"{ANGLED}_stack-{n}.nii.gz" for n in range(1, n_stacks + 1))}
    for entry in (entry for entry in entries if entry["patient_id"] in (ENHANCED, ANGLED)):
        row = truth[records.slice_key(entry)]
        mask = nibabel.load(samples.mask_path(layouts, row["patient_id"], row["stack"]))
        header, pixels = read_slice(entry["image"], entry["frame"])
        corner = mask.affine @ [0, 0, int(row["stack_slice"]), 1] * [-1, -1, 1, 1]
        np.testing.assert_allclose(corner[:3], np.array(header.ImagePositionPatient, float), atol=1e-3)
        canal = np.asarray(mask.dataobj[..., int(row["stack_slice"])]).T
        assert canal.shape == pixels.shape
        centre = np.argwhere(canal > 0).mean(0)
        stated = [float(row["canal_row_px"]), float(row["canal_column_px"])]
        assert np.linalg.norm(centre - stated) * float(header.PixelSpacing[0]) < 3


def test_training_reads_the_slices_of_an_enhanced_file_as_those_of_classic_files(layouts, entries, chain, tmp_path):
    patient, _ = sample_patient(Settings(3, matrix=128), 6)
    classic = replace(patient, scan=replace(patient.scan, enhanced=False))
    volume, _ = render(classic, "tse")
    mine = sorted((e for e in entries if e["patient_id"] == ENHANCED), key=lambda entry: entry["slice_index"])
    volume = np.stack([zero_fill(image, patient.scan.written_matrix) for image in volume])
    files = write_series(volume, classic, axial_t2(classic), axial_stacks(classic), tmp_path)
    single = [{"image": str(one.path), "label": 0} for one in files]
    levels = [np.stack([one["image"].numpy() for one in SliceDataset(data, chain())]) for data in (mine, single)]
    np.testing.assert_array_equal(*levels)


def test_training_reads_every_slice_of_every_layout(entries, chain):
    dataset = SliceDataset(entries, chain())
    assert len(dataset) == len(entries)
    assert not dataset.failures


def test_predict_scores_every_slice_of_every_layout_once(layouts, entries, small_weights, tmp_path):
    folders = [str(layouts / "dicom" / patient) for patient in (ENHANCED, ANGLED)]
    assert predict(*folders, out=str(tmp_path), weights=str(small_weights)) == 0
    rows = [row for path in tmp_path.glob("*/slices.csv") for row in read_rows(path)]
    wanted = {
        records.slice_key(entry): entry["slice_index"] for entry in entries if entry["patient_id"] in (ENHANCED, ANGLED)
    }
    assert len(rows) == len(wanted)
    assert {records.slice_key(row): int(row["slice_index"]) for row in rows} == wanted
    assert {row["status"] for row in rows} == {records.SCORED}
    folders_of = Counter(json.loads(path.read_text())["patient_id"] for path in tmp_path.glob("*/summary.json"))
    assert folders_of == {ENHANCED: 1, ANGLED: 1}


def test_no_layout_leaks_between_sections(layouts):
    assert check_split(str(layouts / "datalist.json")) == 0


def test_de_identification_keeps_every_layout(layouts, tmp_path):
    source = tmp_path / "source"
    for patient in (ENHANCED, ANGLED):
        shutil.copytree(layouts / "dicom" / patient, source / patient)
    deidentify(str(source), str(tmp_path / "out"), str(tmp_path / "linkage.csv"))
    before, after = (scan(folder)[0] for folder in (source, tmp_path / "out"))
    assert Counter(map(judge, before)) == Counter(map(judge, after))
    assert sorted(len(stack.slices) for stack in before) == sorted(len(stack.slices) for stack in after)
    assert {stack.multi_frame for stack in after} == {False, True}


def test_trust_compares_every_slice_with_its_own_twin(layouts, entries, truth, monkeypatch):
    """Slices that no lesion reaches equal their twins; those of another slice would not."""
    chosen = [entry for entry in entries if entry["patient_id"] in (ENHANCED, ANGLED)][::3]
    monkeypatch.setattr(samples, "load", lambda *_: chosen)
    settings = {"image_size": 64, "crop_fraction": 1.0, "side_mm": None, "context": 0, "outlines": False}
    sample = samples.read_sample(layouts, "testing", settings, 2 * len(chosen), seed=0, difference=0.05)
    assert Counter(sample.patients.tolist()) == Counter(entry["patient_id"] for entry in chosen)
    assert np.isfinite(sample.middle).all()
    met = 0
    for patient in (ENHANCED, ANGLED):
        rows = [truth[records.slice_key(entry)] for entry in chosen if entry["patient_id"] == patient]
        mine = sample.where(sample.patients == patient)
        change = np.abs(mine.images - mine.twins).max(axis=(1, 2, 3))
        unreached = sum((float(row["csf_lost"]), float(row["area_ratio"])) == (0, 1) for row in rows)
        assert (change < 0.02).sum() >= unreached
        assert np.abs(mine.images - mine.twins).mean() < 0.02
        met += unreached
    assert met > 0


def test_the_contact_sheet_shows_every_layout(layouts):
    path = draw_contact_sheet(layouts)
    assert path.read_bytes().startswith(b"\x89PNG")
    path.unlink()
