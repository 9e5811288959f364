"""The phantom's vertebrae, sac and cord have the parts that a neck has, where a neck has them."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from scripts.phantom.anatomy import LEVELS
from scripts.phantom.bones import pillar_place
from scripts.phantom.canvas import Canvas
from scripts.phantom.cross_sections import cross_section, sac_distance
from scripts.phantom.fields import PROFILE_X_MM, on_pixels
from scripts.phantom.patients import Settings
from scripts.phantom.sampling import sample_patient
from scripts.phantom.spine import paint_spine, spine_window
from scripts.phantom.tissues import TSE, Tissues

PIXEL_MM = 0.5
POSITIONS_MM = np.arange(-50, 50, PIXEL_MM)
TYPICAL = range(1, 7)  # C3 to T1


@pytest.fixture(scope="module")
def patients():
    return [sample_patient(Settings(seed=17), index)[0].twin() for index in range(12)]


def height_mm(patient, level: float) -> float:
    """Height of a level: 0 mid C2, 1 mid C3, ..."""
    return (0.5 - level) * patient.anatomy.pitch_mm


def section_at(patient, level: float):
    return cross_section(patient.anatomy, patient.lesions, height_mm(patient, level))


def painted(patient, level: float, **signals: float) -> np.ndarray:
    """The spine at a level with the named tissues white and all others black; rows and columns are `POSITIONS_MM`."""
    canvas = Canvas(POSITIONS_MM, POSITIONS_MM)
    window = spine_window(canvas)
    tissues = replace(Tissues(**dict.fromkeys((f.name for f in fields(TSE)), 0.0)), **signals)
    still = [np.zeros(canvas.x[window].shape, np.float32)] * 3
    section = section_at(patient, level)
    canvas.image[window] = paint_spine(
        canvas, window, patient.anatomy, section, height_mm(patient, level), tissues, still, 0.0
    )
    return canvas.image


def near(image: np.ndarray, x_mm: float, y_mm: float, radius_mm: float = 2.0) -> np.ndarray:
    """The pixels about a point."""
    row, column = (round((value - POSITIONS_MM[0]) / PIXEL_MM) for value in (y_mm, x_mm))
    reach = round(radius_mm / PIXEL_MM)
    return image[row - reach : row + reach + 1, column - reach : column + reach + 1]


def test_csf_surrounds_a_cord_that_nothing_presses(patients):
    for patient in patients:
        for level in np.arange(-0.4, 6.5, 0.17):
            section = section_at(patient, level)
            front, back, inside = section.cord.outline()
            for edge in (front, back):
                dura = on_pixels(section.dura_front_mm, PROFILE_X_MM), on_pixels(section.dura_back_mm, PROFILE_X_MM)
                gap_mm = -sac_distance(section.canal, PROFILE_X_MM, edge, *dura)[inside]
                assert gap_mm.min() > 0.25, (patient.index, level)


def test_a_cord_that_nothing_presses_is_an_oval(patients):
    for patient in patients:
        for level in np.arange(-0.4, 6.5, 0.5):
            section = section_at(patient, level)
            oval_mm2 = np.pi / 4 * section.cord.ap_mm * section.cord.rl_mm
            assert section.area_mm2 == pytest.approx(oval_mm2, rel=0.01)
            assert 0.45 < section.cord.ap_mm / section.cord.rl_mm < 0.85


def test_one_side_of_a_cord_is_wider_and_its_area_stays(patients):
    skews = np.array([patient.anatomy.cord_skew for patient in patients])
    assert (skews > 0).any()
    assert (skews < 0).any()
    for patient in patients:
        cord = section_at(patient, 2.0).cord
        _, _, inside = replace(cord, turn_deg=0.0).outline()
        left, right = (PROFILE_X_MM[inside].max() - cord.x_mm), (cord.x_mm - PROFILE_X_MM[inside].min())
        assert (left - right) / (left + right) == pytest.approx(cord.skew, abs=0.02)


@pytest.mark.parametrize("vertebra", TYPICAL, ids=lambda vertebra: LEVELS[vertebra + 1])
def test_every_vertebra_has_a_closed_arch_with_a_spinous_process(patients, vertebra):
    for patient in patients[:4]:
        bone = painted(patient, vertebra + 0.35, facet=1.0)
        canal = section_at(patient, vertebra + 0.35).canal
        behind = bone[:, np.abs(POSITIONS_MM) < 4].max(axis=1)
        length_mm = (behind[canal.ap_mm / 2 < POSITIONS_MM] > 0.5).sum() * PIXEL_MM
        assert length_mm > 7
        for side in (-1, 1):  # the lamina between pillar and spinous process
            assert near(bone, side * 0.28 * canal.rl_mm, canal.ap_mm / 2 + 1.0, 3.0).max() > 0.6


@pytest.mark.parametrize("vertebra", TYPICAL, ids=lambda vertebra: LEVELS[vertebra + 1])
def test_every_vertebra_has_transverse_processes(patients, vertebra):
    for patient in patients[:4]:
        bone = painted(patient, vertebra - 0.06, facet=1.0) > 0.5
        reached = np.flatnonzero(bone.any(axis=0))
        canal = section_at(patient, float(vertebra)).canal
        assert POSITIONS_MM[reached[-1]] > canal.rl_mm / 2 + 9
        assert POSITIONS_MM[reached[0]] < -canal.rl_mm / 2 - 9


@pytest.mark.parametrize("vertebra", range(1, 5), ids=lambda vertebra: LEVELS[vertebra + 1])
def test_the_vertebral_artery_runs_through_a_ring_of_bone(patients, vertebra):
    for patient in patients[:4]:
        bone = painted(patient, vertebra - 0.06, facet=1.0, body=1.0)
        blood = painted(patient, vertebra - 0.06, vessel=1.0)
        for side in (slice(0, len(POSITIONS_MM) // 2), slice(len(POSITIONS_MM) // 2, None)):
            rows, columns = np.nonzero(blood[:, side] > 0.8)
            row, column = round(rows.mean()), round(columns.mean())
            ring = bone[:, side] > 0.3
            assert ring[:row, column].any()
            assert ring[row:, column].any()
            assert ring[row, :column].any()
            assert ring[row, column:].any()


@pytest.mark.parametrize("disc", range(5), ids=lambda disc: f"{LEVELS[disc + 1]}/{LEVELS[disc + 2]}")
def test_a_facet_joint_parts_two_processes_at_a_disc_and_not_between(patients, disc):
    """From front to back a pillar is bone, joint, bone at the disc; it is one bone in the middle of a vertebra."""
    for patient in patients[:4]:
        for level, parts in ((disc + 0.5, 2), (disc + 1.0, 1)):
            bone = painted(patient, level, facet=1.0)
            for side in (-1, 1):
                x, y = pillar_place(section_at(patient, level).canal, level, side)
                line = near(bone, x, y, 5.0)[:, 10] > 0.5
                assert (np.diff(line.astype(int), prepend=0) > 0).sum() == parts, (patient.index, level)


def test_roots_leave_through_the_foramina_below_the_pedicles(patients):
    for patient in patients[:4]:
        for level, seen in ((2.5, True), (2.9, False)):
            roots = painted(patient, level, root=1.0)
            canal = section_at(patient, level).canal
            beside = np.abs(POSITIONS_MM) > canal.rl_mm / 2 + 0.5
            assert (roots[:, beside].max() > 0.6) == seen


def test_the_dens_stands_between_the_arches_of_c1(patients):
    for patient in patients[:4]:
        body = painted(patient, -1.0, body=1.0, facet=1.0) > 0.5
        middle = body[:, len(POSITIONS_MM) // 2]
        bones = (np.diff(middle.astype(int), prepend=0) > 0).sum()
        assert bones >= 3  # anterior arch, dens, posterior arch


def test_the_vertebrae_of_two_people_differ_and_so_do_their_sides(patients):
    first, second = (painted(patient, 2.5, facet=1.0) for patient in patients[:2])
    assert np.abs(first - second).mean() > 0.01
    middle = len(POSITIONS_MM) // 2
    assert np.abs(first[:, middle + 1 :] - first[:, middle - 1 : 0 : -1]).mean() > 0.005
