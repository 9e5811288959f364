"""The phantom's geometry, labels and readers: closed-form answers and what a cohort must look like."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from scripts.phantom.cross_sections import Cord, cross_section
from scripts.phantom.fields import PROFILE_STEP_MM, PROFILE_X_MM, ellipse
from scripts.phantom.labels import patient_truth, simulate_reader
from scripts.phantom.lesions import KINDS
from scripts.phantom.patients import Settings
from scripts.phantom.sampling import sample_patient


@pytest.fixture(scope="module")
def cohort():
    return [sample_patient(Settings(seed=11), index) for index in range(60)]


@pytest.mark.parametrize("turn_deg", [0.0, 12.0, -30.0])
def test_a_turned_cord_keeps_the_area_of_its_ellipse(turn_deg):
    front, back, inside = Cord(0.3, -0.4, ap_mm=7.5, rl_mm=13.0, turn_deg=turn_deg).outline()
    area_mm2 = (back - front)[inside].sum() * PROFILE_STEP_MM
    assert area_mm2 == pytest.approx(np.pi / 4 * 7.5 * 13.0, rel=0.01)


def test_a_turned_outline_lies_on_the_turned_ellipse():
    front, back, inside = Cord(0.0, 0.0, ap_mm=7.0, rl_mm=12.0, turn_deg=20.0).outline()
    for edge in (front, back):
        np.testing.assert_allclose(ellipse(PROFILE_X_MM, edge, 6.0, 3.5, 20.0)[inside], 0, atol=1e-3)


def test_without_lesions_a_cord_is_its_own_reference(cohort):
    for patient, _ in cohort[:10]:
        for row in patient_truth(patient.twin()):
            assert row.indentation_mm <= 0
            assert row.area_ratio == pytest.approx(1, abs=1e-3)
            assert (row.label, row.kind, row.lesion, row.side) == (0, "", "", "")
            if row.spondylolisthesis_mm == 0:  # a slip takes CSF, and a twin keeps it
                assert row.csf_lost == pytest.approx(0, abs=1e-9)
                assert row.grade == 0


def test_a_worse_lesion_dents_deeper():
    patient, truth = next(
        (patient, truth)
        for patient, truth in (sample_patient(Settings(seed=2), index) for index in range(50))
        if len([lesion for lesion in patient.lesions if lesion.severity > 0.6]) == 1
    )
    worst = max(truth, key=lambda row: row.indentation_mm)
    dents, areas = [], []
    for severity in (0.3, 0.5, 0.7, 0.9):
        lesions = tuple(replace(lesion, severity=severity) for lesion in patient.lesions if lesion.severity > 0.6)
        section = cross_section(patient.anatomy, lesions, worst.z_mm)
        dents.append(max(section.dent_front_mm, section.dent_back_mm))
        areas.append(section.area_mm2 / section.free_area_mm2)
    assert dents == sorted(dents)
    assert dents[0] <= 0 < dents[-1]
    assert areas == sorted(areas, reverse=True)


def test_no_cord_is_thinner_than_a_third_of_its_diameter(cohort):
    for _, truth in cohort:
        for row in truth:
            assert row.mscc_like_percent <= 100 * (1 - 0.33)


def test_a_lateral_lesion_has_the_side_it_lies_on(cohort):
    sides = {kind: {row.side for _, truth in cohort for row in truth if row.lesion == kind} for kind in KINDS}
    assert sides["lateral"] == sides["torsion"] == {"left", "right"}
    assert sides["ligament"] == {"midline"}


def test_the_label_is_the_rule(cohort):
    for _, truth in cohort:
        for row in truth:
            assert row.label == int(row.indentation_mm >= 0.8 or row.area_ratio < 0.90)
            assert (row.grade >= 2) == bool(row.label) == bool(row.kind)


def test_a_cohort_has_the_shares_it_promises(cohort):
    rows = [row for _, truth in cohort for row in truth]
    assert 0.17 <= np.mean([row.label for row in rows]) <= 0.27
    assert 0.12 <= np.mean([row.borderline for row in rows]) <= 0.20
    assert 0.25 <= np.mean([not any(row.label for row in truth) for _, truth in cohort]) <= 0.35
    assert {row.kind for row in rows} == {"", "indentation", "flattening", "circumferential", "torsion"}
    compressed = [row.kind for row in rows if row.label]
    assert compressed.count("circumferential") < 0.4 * len(compressed)
    assert {patient.site.name for patient, _ in cohort} == {"site-1", "site-2", "site-3", "site-4"}
    assert len({patient.scan.vendor.manufacturer for patient, _ in cohort}) == 4


@pytest.mark.parametrize("patients", [4, 8, 16, 40])
def test_compression_free_patients_are_there_at_any_size(patients):
    truths = [sample_patient(Settings(seed=5, slices=12), index)[1] for index in range(patients)]
    free = sum(not any(row.label for row in truth) for truth in truths)
    assert abs(free - 0.30 * patients) <= 1


def test_readers_agree_with_each_other_as_radiologists_do(cohort):
    first, second = (
        [label for patient, truth in cohort for label, _ in simulate_reader(patient, truth, i)] for i in (0, 1)
    )
    assert 0.78 <= cohen_kappa_score(first, second) <= 0.87


def test_readers_differ_most_where_the_truth_is_borderline(cohort):
    differs, borderline = [], []
    for patient, truth in cohort:
        readings = [simulate_reader(patient, truth, i) for i in (0, 1)]
        differs += [a[0] != b[0] for a, b in zip(*readings, strict=True)]
        borderline += [bool(row.borderline) for row in truth]
    differs, borderline = np.array(differs), np.array(borderline)
    assert differs[borderline].mean() > 4 * differs[~borderline].mean()


def test_disability_follows_severity_but_does_not_give_it_away(cohort):
    worst_mm = [max(row.pressure_mm for row in truth) for _, truth in cohort]
    mjoa = np.array([patient.mjoa for patient, _ in cohort])
    correlation = np.corrcoef(worst_mm, mjoa)[0, 1]
    assert -0.7 < correlation < -0.2
    free = np.array([not any(row.label for row in truth) for _, truth in cohort])
    assert 0 < np.mean(mjoa[free] == 18) < 1
