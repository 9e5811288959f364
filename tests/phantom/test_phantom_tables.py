"""The tables of a phantom cohort say what was made, and the commands take them as they are."""

from __future__ import annotations

import re
import shutil
from collections import defaultdict

import nibabel
import numpy as np
import pytest
from conftest import ROOT
from csv_rows import read_rows

from scripts import datalists, records
from scripts.__main__ import main
from scripts.cohort.labels import agreed, by_slice, read_labels
from scripts.phantom.cohort import TRUTH_COLUMNS
from scripts.phantom.findings import ARTEFACT_SHARES, SHARES
from scripts.phantom.patients import Settings
from scripts.phantom.pictures import canal_centre_px
from scripts.phantom.sampling import sample_patient
from scripts.phantom.series import ISOCENTRE_MM, axial_geometry, canal_centre_mm, neck_axes

REFERENCE, READER = ("rater_1", "rater_2"), "rater_3"
OTHER_KINDS = ("circumferential", "torsion")


def by_key(path):
    rows = read_rows(path)
    found = {records.slice_key(row): row for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.fixture(scope="module")
def truth(cohort):
    return by_key(cohort / "truth.csv")


def test_everybody_read_every_slice_and_some_read_twice(cohort, truth):
    slices, patients = defaultdict(set), defaultdict(set)
    for one in read_labels(cohort / "labels.csv"):
        assert one.role == ("reader" if one.rater == READER else "reference")
        slices[one.rater, one.reading].add(one.key)
        patients[one.rater, one.reading].add(one.patient_id)
    everything = set(truth)
    assert all(slices[rater, "1"] == everything for rater in (*REFERENCE, READER))
    assert slices[READER, "2"] == everything
    for rater in REFERENCE:
        assert len(patients[rater, "2"]) == 1  # of ten
        assert slices[rater, "2"] == {key for key in everything if truth[key]["patient_id"] in patients[rater, "2"]}
    assert set(slices) == {(rater, reading) for rater in (*REFERENCE, READER) for reading in "12"}


def test_every_row_of_the_raters_has_a_label_a_grade_and_a_kind_that_fit(cohort):
    for one in read_labels(cohort / "labels.csv"):
        assert one.status == "evaluable"
        assert (one.grade >= 2) == bool(one.label) == (one.kind != "none")
        assert one.kind


def test_truth_names_the_raters_first_readings(cohort, truth):
    first = {(one.rater, one.key): one.label for one in read_labels(cohort / "labels.csv") if one.reading == "1"}
    for key, row in truth.items():
        assert {rater: int(row[rater]) for rater in (*REFERENCE, READER)} == {
            rater: first[rater, key] for rater in (*REFERENCE, READER)
        }


def test_what_does_not_compress_has_no_kind_no_lesion_and_no_side(truth):
    assert {row["label"] for row in truth.values()} == {"0", "1"}
    for row in truth.values():
        if row["label"] == "0":
            assert (row["kind"], row["lesion"], row["side"]) == ("none", "", "")
        else:
            assert "none" != row["kind"] != ""
            assert row["lesion"]
            assert row["side"] in ("left", "right", "midline")


def test_truth_and_geometry_name_the_same_level_vertebra_and_disc_of_every_slice(cohort, truth):
    places = by_key(cohort / "geometry.csv")
    assert set(places) == set(truth)
    for key, row in truth.items():
        names = [row[name] for name in ("level", "vertebra", "disc")]
        assert names == [places[key][name] for name in ("level", "vertebra", "disc")]
        assert row["level"] in (row["vertebra"], row["disc"])
        assert "/" not in row["vertebra"] != ""
        assert "/" in row["disc"]
        assert row["stack"] == places[key]["stack"] == "1"


def test_the_centre_of_the_canal_lies_in_its_mask(cohort, truth):
    """Within 2 mm of the centroid of the dural sac, also where zero filling doubled the pixels."""
    sizes = set()
    for row in truth.values():
        mask = nibabel.load(cohort / "masks" / f"{row['patient_id']}.nii.gz")
        canal = np.argwhere(np.asarray(mask.dataobj[..., int(row["slice_index"])]) > 0)
        centre = np.array([float(row["canal_column_px"]), float(row["canal_row_px"])])
        offset_mm = (canal.mean(axis=0) - centre) * np.linalg.norm(mask.affine[:3, 0])
        assert np.hypot(*offset_mm) < 2
        sizes.add(mask.shape[0])
    assert len(sizes) > 1


def test_the_centre_of_the_canal_is_where_the_affine_puts_it():
    """At the same millimetres of the scanner for any number of pixels: pixel (0, 0) keeps its place."""
    for index in range(6):
        patient, rows = sample_patient(Settings(seed=3), index)
        left, posterior, cranial = neck_axes(patient)
        for row in rows[:: len(rows) // 3]:
            x_mm, y_mm = canal_centre_mm(patient, row.z_mm)
            height_mm = (row.slice_index - 0.5 * (patient.scan.n_slices - 1)) * patient.scan.step_mm
            expected = (ISOCENTRE_MM + x_mm * left + y_mm * posterior + height_mm * cranial) * [-1, -1, 1]
            for size in (patient.scan.matrix, 2 * patient.scan.matrix):
                at = [*canal_centre_px(patient, row.slice_index, size), row.slice_index, 1]
                np.testing.assert_allclose((axial_geometry(patient, size).affine() @ at)[:3], expected, atol=1e-9)


def test_an_adjudicator_rules_by_the_truth_on_every_disagreement_and_on_nothing_else(cohort, truth):
    slices = by_slice(read_labels(cohort / "labels.csv"), "reference")
    open_slices = {key: group for key, group in slices.items() if not agreed(group)}
    rulings = by_key(cohort / "rulings.csv")
    assert set(rulings) == set(open_slices) != set()
    for key, row in rulings.items():
        assert row["ruling"] == truth[key]["label"]
        assert [int(row[one.rater]) for one in open_slices[key]] == [one.label for one in open_slices[key]]


@pytest.fixture
def fresh(cohort, tmp_path):
    """A copy, because `split` writes beside the datalist."""
    return shutil.copytree(cohort, tmp_path / "cohort")


def test_agree_consensus_and_split_run_on_a_fresh_phantom(fresh, truth, tmp_path, capsys):
    """As docs/cohort.md has it, with the phantom's rulings in place of people's."""
    labels, rulings, consensus = fresh / "labels.csv", fresh / "rulings.csv", fresh / "consensus.csv"
    assert main(["agree", str(labels), "--out", str(tmp_path / "adjudicate.csv")]) == 0
    printed = capsys.readouterr().out
    assert "label: rater_1 and rater_2: kappa 0." in printed
    assert "label: rater_3 (1) and rater_3 (2): kappa " in printed
    asked, given = read_rows(tmp_path / "adjudicate.csv"), read_rows(rulings)
    assert list(asked[0]) == list(given[0])
    assert asked == [row | {"ruling": "", "ruled_by": "", "comment": ""} for row in given]

    assert main(["consensus", str(labels), "--rulings", str(rulings), "--out", str(consensus)]) == 0
    final, ruled = by_key(consensus), by_key(rulings)
    assert set(final) == set(truth)
    for key, row in final.items():
        assert row["source"] == ("ruled" if key in ruled else "agreed")
        assert row["kind"] in (("none",) if row["label"] == "0" else ("", "indentation", "flattening", *OTHER_KINDS))
    assert {row["kind"] for row in final.values() if row["label"] == "1"} - {""}

    command = ["split", consensus, fresh / "patients.csv", fresh / "dicom", "--out", fresh / "datalist.json"]
    assert main([*map(str, command)]) == 0, capsys.readouterr().err
    entries = [entry for section in records.SECTIONS for entry in datalists.load(fresh / "datalist.json", section)]
    assert {records.slice_key(one): str(one["label"]) for one in entries} == {
        k: row["label"] for k, row in final.items()
    }
    places = by_key(fresh / "geometry.csv")
    assert {key: row["disc"] for key, row in places.items()} == {key: row["disc"] for key, row in truth.items()}


def test_the_raters_labels_alone_make_no_split(fresh, capsys):
    command = ["split", fresh / "labels.csv", fresh / "patients.csv", fresh / "dicom", "--out", fresh / "datalist.json"]
    assert main([*map(str, command)]) == 2
    assert "references that disagree" in capsys.readouterr().err


def test_the_guide_names_every_column_of_truth_csv():
    guide = re.sub(r"```.*?```", "", (ROOT / "docs" / "phantom.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert {*TRUTH_COLUMNS} <= set(re.findall(r"\w+", " ".join(re.findall(r"`[^`]+`", guide))))


def test_the_guide_has_the_shares_of_the_findings():
    guide = (ROOT / "docs" / "phantom.md").read_text(encoding="utf-8")
    words = {"hardware": "with their artefact", "fat_saturation_failed": "failed fat suppression"}
    for name, share in (SHARES | ARTEFACT_SHARES).items():
        assert re.search(rf"{words.get(name, name)} \({share:.0%}".replace("%", " %"), guide), name
