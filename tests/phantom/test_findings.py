"""Findings beside the lesions: as rare as promised, in the place they name, and no help in telling the label."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import lru_cache

import numpy as np
import pytest
from csv_rows import read_rows
from scipy.stats import binomtest, chi2_contingency

from scripts.phantom.artefacts import (
    FALL_OFF_MM,
    SHIFT_MM,
    displace,
    disturb,
    failed_share,
    metal_shift_mm,
    move,
    swallow,
)
from scripts.phantom.bones import body_place
from scripts.phantom.cohort import TRUTH_COLUMNS, make_cohort
from scripts.phantom.cross_sections import cord_distance, cross_section, open_canal
from scripts.phantom.distractors import distractors
from scripts.phantom.fields import on_pixels, squarish
from scripts.phantom.finding_shapes import haemangioma_distance, metal_distance
from scripts.phantom.findings import (
    ARTEFACT_SHARES,
    FINDING_COLUMNS,
    NO_ARTEFACTS,
    NO_FINDINGS,
    SHARES,
    SLIP_REACH_MM,
    Artefacts,
    Findings,
    Haemangioma,
    Implant,
    Slip,
    Syrinx,
    sample_artefacts,
    sample_findings,
    sample_haemangioma,
)
from scripts.phantom.labels import slice_truth, sub_slice_heights
from scripts.phantom.patients import Patient, Settings, named_stream
from scripts.phantom.pictures import make_canvas, render, spine_window
from scripts.phantom.sampling import draw_site, sample_patient
from scripts.phantom.series import canal_centre_mm
from scripts.phantom.spine import paint_spine
from scripts.phantom.tissues import WEIGHTINGS

MATRIX = 128


@lru_cache
def sampled(index: int, style: str) -> Patient:
    return sample_patient(Settings(seed=3, style=style, matrix=MATRIX), index)[0]


def person(index: int = 1, findings: Findings = NO_FINDINGS, artefacts: Artefacts = NO_ARTEFACTS, style="tse"):
    patient = sampled(index, style)
    return replace(patient, anatomy=replace(patient.anatomy, findings=findings), artefacts=artefacts)


def at_height(patient: Patient, z_mm: float) -> Patient:
    """The same patient, scanned in one slice at ``z_mm``."""
    return replace(patient, scan=patient.scan.straight(1, z_mm))


def all_findings(pitch_mm: float) -> Findings:
    """Everything at once, from C5 down."""
    return Findings(
        slip=Slip(4, -4 * pitch_mm, 3.0),
        syrinx=Syrinx(-3.5 * pitch_mm, 0.6 * pitch_mm, 3.0),
        haemangioma=Haemangioma(-2.5 * pitch_mm, 4.0, 4.5, (0.3, 0.0), 1.0, ((0.0, 0.4),)),
        implant=Implant("plate", (3, 4), pitch_mm),
    )


@lru_cache
def drawn(count: int, seed: int = 17) -> list[dict[str, bool]]:
    """Which findings and artefacts patients have."""
    rows = []
    for index in range(count):
        age = 55 + 12.5 * named_stream(seed, index, "age").standard_normal()
        found = sample_findings(named_stream(seed, index, "findings"), age, 16.6)
        spoilt = sample_artefacts(named_stream(seed, index, "artefacts"))
        rows.append(
            {
                "spondylolisthesis": found.slip is not None,
                "syrinx": found.syrinx is not None,
                "haemangioma": found.haemangioma is not None,
                "hardware": found.implants != "none",
                "motion": spoilt.motion,
                "swallowing": bool(spoilt.swallowing),
                "fat_saturation_failed": spoilt.fat_saturation_failed,
            }
        )
    return rows


class TestDraw:
    """How often, and for whom."""

    @pytest.mark.parametrize(("name", "share"), (SHARES | ARTEFACT_SHARES).items())
    def test_findings_are_as_frequent_as_promised(self, name, share):
        for count in (300, 3000):
            found = sum(row[name] for row in drawn(count))
            assert binomtest(found, count, share).pvalue > 0.001, (name, found, count)

    @pytest.mark.parametrize("name", SHARES | ARTEFACT_SHARES)
    def test_findings_do_not_tell_who_is_compressed(self, name):
        free = [draw_site(Settings(seed=17), index)[0] for index in range(1500)]
        found = [row[name] for row in drawn(1500)]
        table = [[sum(f == a and g == b for f, g in zip(free, found, strict=True)) for a in (0, 1)] for b in (0, 1)]
        assert chi2_contingency(table).pvalue > 0.001, table

    def test_patients_have_what_their_own_streams_say_whatever_their_lesions(self):
        for index in range(6):
            patient, _ = sample_patient(Settings(seed=5, slices=2), index)
            rng = named_stream(5, index, "findings")
            assert patient.anatomy.findings == sample_findings(rng, patient.age, patient.anatomy.pitch_mm)
            assert patient.artefacts == sample_artefacts(named_stream(5, index, "artefacts"))
            assert patient.twin().anatomy.findings == patient.anatomy.findings
            assert patient.twin().artefacts == patient.artefacts

    def test_slips_grow_more_frequent_with_age_and_nothing_else_does(self):
        young, old = (
            [sample_findings(named_stream(1, index, "findings"), age, 16.6) for index in range(500)] for age in (40, 75)
        )
        slipped = [{i for i, one in enumerate(group) if one.slip} for group in (young, old)]
        assert slipped[0] < slipped[1]
        assert [replace(one, slip=None) for one in young] == [replace(one, slip=None) for one in old]

    @pytest.mark.parametrize(
        ("implant", "text"),
        [
            (None, "none"),
            (Implant("plate", (3, 4), 16.0), "plate C5/C6"),
            (Implant("cage", (4, 5), 16.0), "cage C6/C7"),
        ],
    )
    def test_implants_are_named_as_in_patients_csv(self, implant, text):
        assert Findings(implant=implant).implants == text


class TestPictures:
    """What a finding changes, and what it leaves."""

    def test_without_findings_and_above_them_pictures_keep_every_byte(self):
        plain = at_height(person(), 0.0)
        found = at_height(person(findings=all_findings(plain.anatomy.pitch_mm)), 0.0)
        # above a slip everything lies forward: leave it out here
        found = replace(found, anatomy=replace(found.anatomy, findings=replace(found.anatomy.findings, slip=None)))
        for weighting in ("tse", "stir"):
            np.testing.assert_array_equal(render(found, weighting)[0], render(plain, weighting)[0])

    def test_without_artefacts_a_slice_is_not_even_copied(self):
        patient = at_height(person(), -30.0)
        canvas = make_canvas(patient, 0, MATRIX)
        assert disturb(canvas.image, canvas, patient, 0, "tse") is canvas.image

    def test_twins_are_equal_where_no_lesion_is_whatever_else_is_found(self):
        patient = person(7, artefacts=Artefacts(motion=True, swallowing=(True, False), fat_saturation_failed=True))
        assert patient.lesions
        patient = replace(patient, anatomy=replace(patient.anatomy, findings=all_findings(patient.anatomy.pitch_mm)))
        volume, twin = render(patient, "tse", with_twin=True, sub_slices=1)
        changed = np.abs(volume - twin).max(axis=(1, 2)) > 0
        pressed = [
            any(lesion.strength(patient.scan.z_mm(i), patient.anatomy.pitch_mm) >= 0.03 for lesion in patient.lesions)
            for i in range(patient.scan.n_slices)
        ]
        assert changed.tolist() == pressed
        assert 0 < sum(pressed) < len(pressed)

    def test_a_syrinx_makes_the_middle_of_the_cord_as_bright_as_csf(self):
        patient = person()
        z_mm = -2.5 * patient.anatomy.pitch_mm
        tissues = WEIGHTINGS["tse"]
        signals = []
        for syrinx in (None, Syrinx(z_mm, 16.0, 3.0)):
            anatomy = replace(patient.anatomy, findings=Findings(syrinx=syrinx))
            canvas = make_canvas(at_height(patient, z_mm), 0, 400)
            window = spine_window(canvas)
            section = cross_section(anatomy, (), z_mm)
            noise = [np.zeros_like(canvas.x[window])] * 3
            image = paint_spine(canvas, window, anatomy, section, z_mm, tissues, noise, 0.0)
            from_middle = np.hypot(canvas.x[window] - section.cord.x_mm, canvas.y[window] - section.cord.y_mm)
            signals.append(float(image[from_middle < 0.5].mean()))
        assert signals[0] < 0.6
        assert signals[1] == pytest.approx(tissues.csf, rel=0.03)

    def test_a_haemangioma_lies_within_its_body_and_is_as_large_as_it_says(self):
        anatomy = person().anatomy
        grid = np.arange(-30, 30, 0.25, dtype=np.float32)
        x, y = np.meshgrid(grid, grid - 15)
        for seed in range(40):
            one = sample_haemangioma(np.random.default_rng(seed), anatomy.pitch_mm)
            canal = open_canal(anatomy, one.z_mm)
            distance, _ = haemangioma_distance(one, anatomy, canal, one.z_mm, x, y)
            y_body, half_rl, half_ap = body_place(anatomy, canal, anatomy.level(one.z_mm))
            assert (squarish(x, y - y_body, half_rl, half_ap)[distance < 0] < -1).all()
            diameter_mm = 2 * np.sqrt((distance < 0).sum() * 0.25**2 / np.pi)
            assert diameter_mm == pytest.approx(2 * one.greatest_radius_mm, abs=1.2)
            assert 4 <= 2 * one.greatest_radius_mm <= 10

    def test_what_is_no_lesion_leaves_label_and_grade(self):
        for index in range(3):
            plain = person(index)
            found = replace(all_findings(plain.anatomy.pitch_mm), slip=None)
            marked = person(index, found, Artefacts(motion=True, swallowing=(True,), fat_saturation_failed=True))
            rows = [(slice_truth(plain, i), slice_truth(marked, i)) for i in range(plain.scan.n_slices)]
            for before, after in rows:
                before, after = asdict(before), asdict(after)
                assert {k: v for k, v in before.items() if k not in FINDING_COLUMNS} == {
                    k: v for k, v in after.items() if k not in FINDING_COLUMNS
                }
                assert not any(before[name] for name in FINDING_COLUMNS)
            shown = [after for _, after in rows]
            assert {row.hardware for row in shown} == {"", "plate", "cage"}
            for name in ("syrinx", "haemangioma"):
                assert 0 < sum(getattr(row, name) for row in shown) < 10


class TestSlip:
    """A step of canal and bodies."""

    def test_everything_above_the_disc_lies_forward_by_the_slip(self):
        patient = person()
        pitch = patient.anatomy.pitch_mm
        slipped = person(findings=Findings(slip=Slip(2, -2 * pitch, 3.2)))
        for z_mm, forward_mm in ((0.0, 3.2), (-2 * pitch + 3, 3.2), (-2 * pitch, 1.6), (-2 * pitch - 3, 0.0)):
            moved = canal_centre_mm(patient, z_mm)[1] - canal_centre_mm(slipped, z_mm)[1]
            assert moved == pytest.approx(forward_mm)

    def test_it_takes_csf_at_its_disc_and_does_not_dent_the_cord(self):
        taken = []
        for index in range(8):
            patient = person(index)
            z_disc = -2 * patient.anatomy.pitch_mm
            patient = person(index, Findings(slip=Slip(2, z_disc, 4.0))).twin()
            for number in range(patient.scan.n_slices):
                row = slice_truth(patient, number)
                at_disc = any(abs(z_mm - z_disc) < SLIP_REACH_MM for z_mm in sub_slice_heights(patient, number))
                assert row.spondylolisthesis_mm == (4.0 if at_disc else 0.0)
                assert row.indentation_mm <= 0
                assert row.label == 0
                if at_disc:
                    taken.append(row.csf_lost)
                else:
                    assert row.csf_lost == pytest.approx(0, abs=1e-9)
        assert max(taken) > 0.2


class TestMetal:
    """Void, and shifted signal that falls off."""

    def test_no_shift_keeps_an_image_and_an_even_one_moves_it(self):
        image = np.random.default_rng(0).random((12, 20), np.float32)
        none = np.zeros_like(image)
        for axis in (0, 1):
            np.testing.assert_allclose(displace(image, none, axis), image, rtol=1e-6)
        even = displace(np.pad(image, ((0, 0), (0, 4))), np.pad(none, ((0, 0), (0, 4))) + 3, 1)
        np.testing.assert_allclose(even[:, 3:23], image, rtol=1e-6)

    def test_shifted_signal_is_neither_lost_nor_made(self):
        rng = np.random.default_rng(0)
        image, shift = rng.random((30, 40), np.float32), 4 * rng.random((30, 40), np.float32)
        image[:, 30:] = 0
        np.testing.assert_allclose(displace(image, shift, 1).sum(axis=1), image.sum(axis=1), rtol=1e-5)

    @pytest.mark.parametrize("kind", ["plate", "cage", "screws"])
    def test_metal_is_dark_and_its_shift_falls_off_with_the_cube_of_distance(self, kind):
        patient = person()
        pitch = patient.anatomy.pitch_mm
        z_mm = -3 * pitch if kind == "cage" else -2.5 * pitch
        implant = Implant(kind, (3, 4), pitch)
        # no thickness: the same metal at all heights of the slice
        patient = at_height(person(findings=Findings(implant=implant)), z_mm)
        patient = replace(patient, scan=replace(patient.scan, thickness_mm=0.0, field_strength_t=1.5))
        canvas = make_canvas(patient, 0, 300)
        canal = open_canal(patient.anatomy, z_mm)
        distance = metal_distance(implant, patient.anatomy, canal, z_mm, canvas.x_true, canvas.y_true)
        shift_mm = metal_shift_mm(canvas, patient, 0, "tse")
        expected = SHIFT_MM["tse"] * (1 + np.maximum(distance, 0) / FALL_OFF_MM) ** -3
        np.testing.assert_allclose(shift_mm, expected, rtol=1e-4)
        stronger = replace(patient, scan=replace(patient.scan, field_strength_t=3.0))
        np.testing.assert_allclose(metal_shift_mm(canvas, stronger, 0, "tse"), 2 * shift_mm, rtol=1e-5)
        assert metal_shift_mm(canvas, patient, 0, "gre").max() > shift_mm.max()
        window = spine_window(canvas)
        section = cross_section(patient.anatomy, (), z_mm)
        noise = [np.zeros_like(canvas.x[window])] * 3
        image = paint_spine(canvas, window, patient.anatomy, section, z_mm, WEIGHTINGS["tse"], noise, 0.0)
        assert image[distance[window] < -0.6].max() == pytest.approx(WEIGHTINGS["tse"].air, abs=0.01)

    @pytest.mark.parametrize("kind", ["plate", "cage", "screws"])
    def test_the_cord_is_out_of_reach_of_metal(self, kind):
        """Even at 3 T in a gradient echo; so its label can be read where hardware is."""
        for index in range(6):
            patient = person(index, style="gre")
            patient = replace(patient, scan=replace(patient.scan, field_strength_t=3.0))
            found = Findings(implant=Implant(kind, (3, 5), patient.anatomy.pitch_mm))
            patient = replace(patient, anatomy=replace(patient.anatomy, findings=found))
            reached = []
            for number in range(patient.scan.n_slices):
                z_mm = patient.scan.z_mm(number)
                canvas = make_canvas(patient, number, MATRIX)
                shift_mm = metal_shift_mm(canvas, patient, number, "gre")
                if shift_mm is not None:
                    section = cross_section(patient.anatomy, (), z_mm)
                    x, y = canvas.x_true, canvas.y_true
                    dura = on_pixels(section.dura_front_mm, x), on_pixels(section.dura_back_mm, x)
                    reached.append(shift_mm[cord_distance(section.cord, x, y, *dura) < 0].max())
            assert reached
            assert max(reached) < 0.3


class TestScan:
    """Motion, swallowing and fat."""

    @pytest.mark.parametrize("phase_rows", [False, True])
    def test_motion_blurs_a_slice_and_keeps_its_mean(self, phase_rows):
        patient = at_height(person(), -40.0)
        patient = replace(patient, scan=replace(patient.scan, phase_rows=phase_rows))
        image = render(patient, "tse")[0][0]
        for index in range(10):
            moved = move(image, patient, index)
            assert moved.mean() == pytest.approx(image.mean(), rel=0.05)
            assert np.abs(moved - image).mean() > 0.01 * image.mean()

    @pytest.mark.parametrize("axis", [0, 1])
    def test_swallowing_repeats_the_airway_along_the_phase_direction_alone(self, axis):
        patient = at_height(person(), -40.0)
        patient = replace(patient, scan=replace(patient.scan, phase_rows=axis == 1, roll_deg=0.0))
        canvas = make_canvas(patient, 0, MATRIX)
        image = render(patient, "tse")[0][0]
        change = np.abs(swallow(image, canvas, patient, 0) - image)
        beside = np.abs(canvas.x_true) > 30 if axis == 0 else np.abs(canvas.y_true + 42) > 26
        assert change[~beside].max() > 0.03
        assert change[beside].max() < 1e-3

    def test_some_slices_of_a_swallowing_patient_show_it(self):
        patient = person(artefacts=Artefacts(swallowing=(True, False, False)))
        patient = replace(patient, scan=patient.scan.straight(6, patient.scan.middle_mm))
        shown = [slice_truth(patient, index).swallowing for index in range(6)]
        assert shown == [1, 0, 0, 1, 0, 0]
        plain = render(replace(patient, artefacts=NO_ARTEFACTS), "tse", sub_slices=1)[0]
        changed = np.abs(render(patient, "tse", sub_slices=1)[0] - plain).max(axis=(1, 2)) > 0
        assert changed.tolist() == [index % 3 == 0 for index in range(len(plain))]

    def test_fat_suppression_fails_in_its_own_series_alone(self):
        plain, failed = person(), person(artefacts=Artefacts(fat_saturation_failed=True))
        for before, after in zip(distractors(plain), distractors(failed), strict=True):
            if before.protocol.name != "axial_fat_suppressed":
                np.testing.assert_array_equal(before.volume, after.volume)
                continue
            share = failed_share(plain, before.volume.shape[1:])
            assert 0.05 < share.mean() < 0.6
            np.testing.assert_array_equal(before.volume[:, share == 0], after.volume[:, share == 0])
            assert np.percentile(after.volume[:, share > 0.9], 95) > 2 * np.percentile(
                before.volume[:, share > 0.9], 95
            )
        short = at_height(plain, -30.0), at_height(failed, -30.0)
        np.testing.assert_array_equal(*(render(one, "tse")[0] for one in short))


def test_truth_csv_has_a_column_for_each_finding(tmp_path):
    options = {"seed": 3, "slices": 2, "matrix": 64, "distractors": False}
    rows = read_rows(make_cohort(tmp_path / "cohort", patients=3, **options).parent / "truth.csv")
    assert set(FINDING_COLUMNS) < set(TRUTH_COLUMNS)
    assert len(set(TRUTH_COLUMNS)) == len(TRUTH_COLUMNS)
    for row in rows:
        assert row["motion"] == str(int(row["patient_id"].endswith("-0003")))  # as drawn
        assert set(FINDING_COLUMNS) <= set(row)
