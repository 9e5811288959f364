"""The phantom's geometry, labels and readers: closed-form answers and what a cohort must look like."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from scripts.phantom.anatomy import DISCS, LEVELS
from scripts.phantom.cross_sections import Cord, cross_section
from scripts.phantom.fields import PROFILE_STEP_MM, PROFILE_X_MM, ellipse
from scripts.phantom.labels import patient_truth
from scripts.phantom.lesions import KINDS
from scripts.phantom.patients import Settings
from scripts.phantom.readings import RATERS, n_readings, read_series
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
            assert (row.label, row.kind, row.lesion, row.side) == (0, "none", "", "")
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
            assert (row.grade >= 2) == bool(row.label) == (row.kind != "none")


def test_a_cohort_has_the_shares_it_promises(cohort):
    rows = [row for _, truth in cohort for row in truth]
    assert 0.17 <= np.mean([row.label for row in rows]) <= 0.27
    assert 0.12 <= np.mean([row.borderline for row in rows]) <= 0.20
    assert 0.25 <= np.mean([not any(row.label for row in truth) for _, truth in cohort]) <= 0.35
    assert {row.kind for row in rows} == {"none", "indentation", "flattening", "circumferential", "torsion"}
    compressed = [row.kind for row in rows if row.label]
    assert compressed.count("circumferential") < 0.4 * len(compressed)
    assert {patient.site.name for patient, _ in cohort} == {"site-1", "site-2", "site-3"}
    assert len({patient.scan.vendor.manufacturer for patient, _ in cohort}) == 4


@pytest.mark.parametrize("patients", [4, 8, 16, 40])
def test_compression_free_patients_are_there_at_any_size(patients):
    truths = [sample_patient(Settings(seed=5, slices=12), index)[1] for index in range(patients)]
    free = sum(not any(row.label for row in truth) for truth in truths)
    assert abs(free - 0.30 * patients) <= 1


def test_a_lesion_has_a_name_and_a_side_only_where_it_compresses(cohort):
    rows = [row for _, truth in cohort for row in truth]
    assert {(row.lesion, row.side) for row in rows if not row.label} == {("", "")}
    assert {row.lesion for row in rows if row.label} == set(KINDS)
    assert {row.side for row in rows if row.label} == {"left", "right", "midline"}


def test_a_slice_is_named_by_the_body_or_the_disc_that_it_passes_through_and_has_the_nearest_of_both(cohort):
    for patient, truth in cohort:
        for row in truth:
            through_disc = patient.anatomy.disc_share(row.z_mm) > 0.5
            assert ("/" in row.level) == through_disc
            assert row.level == (row.disc if through_disc else row.vertebra)
            assert row.vertebra in LEVELS
            assert row.disc in DISCS
            assert row.vertebra in row.disc.split("/") or row.vertebra == "C1"  # which has no disc
    assert {row.vertebra for _, truth in cohort for row in truth} >= set(LEVELS[:8])
    assert {row.disc for _, truth in cohort for row in truth} >= set(DISCS[:6])


@pytest.mark.parametrize(
    ("pitches_below", "vertebra", "disc"),
    [(-1.5, "C1", "C2/C3"), (-0.6, "C2", "C2/C3"), (-0.1, "C2", "C2/C3"), (0.1, "C3", "C2/C3"), (0.4, "C3", "C2/C3"),
     (0.6, "C3", "C3/C4"), (0.9, "C3", "C3/C4"), (4.9, "C7", "C7/T1"), (5.1, "T1", "C7/T1")],
)  # fmt: skip
def test_vertebra_and_disc_are_the_nearest_to_a_height_below_the_disc_c2_c3(cohort, pitches_below, vertebra, disc):
    anatomy = cohort[0][0].anatomy
    z_mm = -pitches_below * anatomy.pitch_mm
    assert (anatomy.vertebra_name(z_mm), anatomy.disc_name(z_mm)) == (vertebra, disc)


@pytest.fixture(scope="module")
def people():
    return [sample_patient(Settings(seed=31), index) for index in range(220)]


@pytest.fixture(scope="module")
def judged(people):
    """All judgements of all slices, by rater and reading, as if everybody had read everything twice."""
    return {
        (rater.name, reading): [one for p, truth in people for one in read_series(p, truth, rater, reading)]
        for rater in RATERS
        for reading in (1, 2)
    }


@pytest.fixture(scope="module")
def labels(judged):
    return {key: np.array([one.label for one in judgements]) for key, judgements in judged.items()}


class TestRaters:
    """Simulated raters disagree with each other, less with themselves, and most where the truth is borderline."""

    def test_two_make_the_reference_and_a_third_is_judged_against_it(self):
        assert [(rater.name, rater.role) for rater in RATERS] == [
            ("rater_1", "reference"), ("rater_2", "reference"), ("rater_3", "reader"),
        ]  # fmt: skip

    def test_the_reference_raters_agree_as_radiologists_do(self, labels):
        assert 0.80 <= cohen_kappa_score(labels["rater_1", 1], labels["rater_2", 1]) <= 0.85

    def test_everybody_agrees_more_with_themselves_than_with_others(self, labels):
        names = [rater.name for rater in RATERS]
        inter = [cohen_kappa_score(labels[a, 1], labels[b, 1]) for a, b in combinations(names, 2)]
        intra = [cohen_kappa_score(labels[name, 1], labels[name, 2]) for name in names]
        assert 0.85 <= min(intra) <= max(intra) <= 0.92
        assert 0.79 <= min(inter) <= max(inter) < min(intra)

    def test_one_calls_earlier_than_the_other(self, labels):
        shares = {name: labels[name, 1].mean() for name in ("rater_1", "rater_2")}
        assert shares["rater_1"] > 1.05 * shares["rater_2"]

    def test_a_scan_hard_to_read_for_one_is_so_for_the_other_but_not_for_all_alike(self, people, labels):
        """Errors of one patient's slices go together, and partly the same way in both raters."""
        starts = np.cumsum([0, *(len(rows) for _, rows in people[:-1])])
        truth = np.array([row.label for _, rows in people for row in rows])
        errors = {rater.name: np.add.reduceat(labels[rater.name, 1] - truth, starts) for rater in RATERS}
        for a, b in combinations(errors, 2):
            assert 0.1 < np.corrcoef(errors[a], errors[b])[0, 1] < 0.8

    def test_they_differ_most_where_the_truth_is_borderline(self, people, labels):
        borderline = np.array([bool(row.borderline) for _, truth in people for row in truth])
        differs = labels["rater_1", 1] != labels["rater_2", 1]
        assert differs[borderline].mean() > 4 * differs[~borderline].mean()

    def test_both_may_agree_and_be_wrong(self, people, labels):
        truth = np.array([row.label for _, rows in people for row in rows])
        both = (labels["rater_1", 1] == labels["rater_2", 1]) & (labels["rater_1", 1] != truth)
        assert 0.005 < both.mean() < 0.03

    def test_grade_and_kind_follow_the_label(self, judged):
        for judgements in judged.values():
            for one in judgements:
                assert (one.grade >= 2) == bool(one.label) == (one.kind != "none")

    def test_the_kind_is_usually_the_true_one(self, people, judged):
        truth = [row.kind for _, rows in people for row in rows]
        for (name, _), judgements in judged.items():
            pairs = [pair for pair in zip(truth, (one.kind for one in judgements), strict=True) if "none" not in pair]
            right = np.mean([kind == own for kind, own in pairs])
            assert 0.80 < right < 0.97, name
            assert ("indentation", "flattening") in pairs
            assert ("flattening", "indentation") in pairs

    def test_the_reader_reads_everything_twice_and_the_others_every_tenth_patient(self):
        for rater in RATERS:
            twice = [index for index in range(40) if n_readings(rater, index) == 2]
            assert len(twice) == (40 if rater.role == "reader" else 4)
            assert all(any(index in twice for index in range(start, start + 10)) for start in range(30))


def test_disability_follows_severity_but_does_not_give_it_away(cohort):
    worst_mm = [max(row.pressure_mm for row in truth) for _, truth in cohort]
    mjoa = np.array([patient.mjoa for patient, _ in cohort])
    correlation = np.corrcoef(worst_mm, mjoa)[0, 1]
    assert -0.7 < correlation < -0.2
    free = np.array([not any(row.label for row in truth) for _, truth in cohort])
    assert 0 < np.mean(mjoa[free] == 18) < 1
