"""Necks differ between people and change smoothly along the neck, and know nothing of lesions."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from scripts.phantom import anatomy as anatomies
from scripts.phantom import strips
from scripts.phantom.anatomy import Anatomy, sample_anatomy
from scripts.phantom.canvas import Canvas
from scripts.phantom.muscles import partition
from scripts.phantom.neck import MUSCLES, Shape, paint_neck, stranded_fat
from scripts.phantom.patients import Settings, stream
from scripts.phantom.pictures import paint_core, paint_surroundings, sample_fields, spine_window
from scripts.phantom.sampling import sample_patient
from scripts.phantom.soft_tissue import muscles_at
from scripts.phantom.tissues import TSE, Tissues

PIXEL_MM = 0.75
POSITIONS = np.arange(-84, 84, PIXEL_MM)
C1, C2, C4, T1, T2 = -1.0, 0.0, 2.0, 6.0, 6.9
PEOPLE = [
    sample_anatomy(np.random.default_rng(seed), age=35 + 5 * seed, female=bool(seed % 2), body_mass_index=22 + seed)
    for seed in range(8)
]
NAMES = list(MUSCLES)


def empty() -> Canvas:
    return Canvas(POSITIONS, POSITIONS)


def neck(person: Anatomy, level: float, tissues: Tissues = TSE) -> np.ndarray:
    """The neck without noise, rows to posterior, columns to the left."""
    canvas = empty()
    shape = canvas.image.shape
    fascia = np.full(2 * len(MUSCLES), 0.5)
    texture, coarse = np.ones(shape, np.float32), np.zeros(shape, np.float32)
    paint_neck(canvas, person, level, tissues, texture, coarse, fascia)
    return canvas.image


def area_mm2(person: Anatomy, name: str, level: float, side: int) -> float:
    parts = partition(empty(), person, level, (1.0, 1.0))
    return float(((parts.number == side * len(MUSCLES) + NAMES.index(name)) & (parts.nearest < 0)).sum() * PIXEL_MM**2)


def fat_mm(person: Anatomy, degrees: float, level: float = C4) -> float:
    """Thickness of the fat under the skin; 0 degrees is to the left, 90 to posterior."""
    steps = np.arange(95, 0, -0.25)
    x, y = steps * np.cos(np.deg2rad(degrees)), steps * np.sin(np.deg2rad(degrees))
    columns, rows = (np.round((v - POSITIONS[0]) / PIXEL_MM).astype(int) for v in (x, y))
    seen = (np.minimum(columns, rows) >= 0) & (np.maximum(columns, rows) < len(POSITIONS))
    bright = neck(person, level)[rows[seen], columns[seen]] > 0.6
    first = int(np.argmax(bright))
    return 0.25 * float(np.argmin(bright[first:]))


def variation(values: list[float]) -> float:
    return float(np.std(values) / np.mean(values))


@pytest.mark.parametrize("name", ["semispinalis capitis", "sternocleidomastoid", "levator scapulae", "multifidus"])
def test_muscles_differ_in_size_between_people_and_between_sides(name):
    areas = np.array([[area_mm2(person, name, C4, side) for side in (0, 1)] for person in PEOPLE])
    assert variation(areas.mean(axis=1).tolist()) > 0.10
    assert np.median(np.abs(areas[:, 0] / areas[:, 1] - 1)) > 0.03


def test_muscles_differ_in_signal_within_a_person_and_between_people():
    tones = []
    for person in PEOPLE[:4]:
        image, parts = neck(person, C4), partition(empty(), person, C4, (1.0, 1.0))
        inside = [
            (parts.number == NAMES.index(name)) & (parts.nearest < -2) for name in ("multifidus", "levator scapulae")
        ]
        tones.append([float(np.median(image[mask])) for mask in inside])
    assert (np.std(tones, axis=0) > 0.005).all()
    assert np.ptp(np.array(tones), axis=1).max() > 0.01


def test_fatty_muscles_are_thin_and_their_fat_planes_wide():
    def people(fatty: float) -> list[anatomies.SoftTissue]:
        return [anatomies.sample_soft_tissue(np.random.default_rng(s), 55, False, 0.0, fatty) for s in range(40)]

    lean, fatty = people(0.1), people(0.7)
    assert np.mean([soft.bulk for soft in lean]) > 1.1 * np.mean([soft.bulk for soft in fatty])
    assert np.mean([soft.plane_mm for soft in fatty]) > 1.5 * np.mean([soft.plane_mm for soft in lean])
    assert variation([soft.plane_mm for soft in lean]) > 0.2


def test_fat_under_the_skin_varies_between_people_and_around_the_neck():
    thickness = np.array([[fat_mm(person, degrees) for degrees in (0, 60, 90, 120, 180)] for person in PEOPLE])
    assert (thickness > 0).all()
    assert variation(thickness[:, 2].tolist()) > 0.2
    assert np.median(thickness.max(axis=1) / thickness.min(axis=1)) > 1.5
    assert np.median(np.abs(thickness[:, 0] / thickness[:, 4] - 1)) > 0.08


def test_outlines_differ_in_shape():
    """Width against depth of the whole neck, and how much of their rectangle it fills."""
    ratios, fills = [], []
    for person in PEOPLE:
        body = neck(person, 3.0) > 0.05
        rows, columns = body.any(axis=1), body.any(axis=0)
        ratios.append(columns.sum() / rows.sum())
        fills.append(body.sum() / (columns.sum() * rows.sum()))
    assert np.ptp(ratios) > 0.12
    assert np.ptp(fills) > 0.03


@pytest.mark.parametrize("person", PEOPLE[:3])
def test_neighbouring_heights_differ_little(person):
    """A tenth of a level is about 1.7 mm: the change per step is small everywhere, and no step stands out."""
    images = [neck(person, level) for level in np.arange(-1.4, T2, 0.1)]
    changes = np.array([np.abs(after - before).mean() for before, after in pairwise(images)])
    assert changes.max() < 0.07  # the shoulders widen fast
    assert (changes[1:-1] < 1.5 * np.maximum(changes[:-2], changes[2:])).all()
    half = np.abs(neck(person, 3.05) - neck(person, 3.0)).mean()
    tiny = np.abs(neck(person, 3.005) - neck(person, 3.0)).mean()
    assert tiny < 0.3 * half


@pytest.mark.parametrize("level", np.arange(-1.3, T2, 0.37).round(2).tolist())
def test_a_tiny_step_changes_next_to_nothing(level):
    change = np.abs(neck(PEOPLE[5], level + 0.002) - neck(PEOPLE[5], level))
    assert change.mean() < 0.002
    assert change.max() < 0.25


def test_lungs_and_ribs_appear_at_t1_and_not_at_c4():
    person = PEOPLE[1]
    x, y = np.meshgrid(POSITIONS, POSITIONS)
    beside = (np.abs(x) > 20) & (np.abs(y + 5) < 25)
    air = [(neck(person, level, replace(TSE, air=9.0)) > 6) & beside for level in (C4, T2)]
    assert not air[0].any()
    for side in (-1, 1):
        assert (air[1] & (side * x > 0)).sum() * PIXEL_MM**2 > 100
    behind = (np.abs(x) > 24) & (y > -10) & (y < 16)
    cortex = [(neck(person, level, replace(TSE, cortex=9.0)) > 6) & behind for level in (C4, T1 + 0.5)]
    assert not cortex[0].any()
    for side in (-1, 1):
        assert (cortex[1] & (side * x > 0)).sum() * PIXEL_MM**2 > 20


def test_jaw_is_at_c2_and_not_at_c6():
    x, y = np.meshgrid(POSITIONS, POSITIONS)
    region = (np.abs(x) > 28) & (y < -35)
    cortex = [(neck(PEOPLE[2], level, replace(TSE, cortex=9.0)) > 6) & region for level in (C2, 4.0)]
    assert cortex[0].sum() > 50
    assert not cortex[1].any()


def test_muscles_run_as_in_a_neck():
    """The sternocleidomastoid from behind and beside to the front and middle, the trapezius wider, no neck without."""
    levels = np.arange(-1, 6.1, 0.5)
    rows = np.array([muscles_at(level) for level in levels])
    middle = 0.5 * (rows[:, NAMES.index("sternocleidomastoid"), :2] + rows[:, NAMES.index("sternocleidomastoid"), 2:4])
    assert (np.diff(middle, axis=0) < 0.01).all()
    assert (np.diff(rows[:, NAMES.index("trapezius"), 4]) > 0).all()
    assert muscles_at(C1)[NAMES.index("rectus capitis minor"), -1] == 1
    assert muscles_at(C4)[NAMES.index("rectus capitis minor"), -1] == 0


@pytest.mark.parametrize("person", PEOPLE)
def test_the_airway_is_open_from_c3_to_t1(person):
    """One hole in the midline at every height, narrowest at the glottis."""
    x, y = np.meshgrid(POSITIONS, POSITIONS)
    middle = (np.abs(x) < 4) & (y > -75) & (y < -25)
    for level in np.arange(1, 6.01, 0.1):
        air = (neck(person, level, replace(TSE, air=9.0)) > 4.5) & (np.abs(x) < 22)
        parts, _ = ndimage.label(air)
        holes = np.bincount(parts[middle & air], minlength=1)[1:]
        glottis = abs(level - person.soft.larynx - 3.4) < 0.5
        largest = float(max((parts == 1 + n).sum() for n in np.flatnonzero(holes)) if holes.any() else 0) * PIXEL_MM**2
        assert largest >= (15 if glottis else 30), f"{largest:.0f} mm2 at level {level:.1f}"


def straight_edge_mm(image: np.ndarray) -> float:
    """Length of the longest edge that keeps to a row or column, its slope against the axis below 1 in 50."""
    longest = 0
    for picture in (image, image.T):
        along, across = np.gradient(picture)[::-1]
        straight = (np.abs(across) > 0.03) & (np.abs(along) < 0.02 * np.abs(across))
        ends = np.diff(np.pad(straight, ((0, 0), (1, 1))).astype(int), axis=1)
        starts, stops = np.nonzero(ends == 1)[1], np.nonzero(ends == -1)[1]
        longest = max(longest, int((stops - starts).max(initial=0)))
    return longest * PIXEL_MM


@pytest.mark.parametrize("person", PEOPLE)
def test_no_edge_under_the_fat_keeps_to_a_row_or_column(person):
    for level in (-0.5, 0.5, 1.5, 2.5, 4.0, 5.5):
        image = neck(person, level)
        deep = ndimage.binary_erosion(image > 0.05, iterations=round(26 / PIXEL_MM))
        deep[:, np.abs(POSITIONS) < 3] = False  # the septum in the midline is straight
        edge = straight_edge_mm(np.where(deep, image, np.nan))
        assert edge < 12, f"{edge:.0f} mm at level {level}"


@pytest.mark.parametrize("level", [0.0, 2.0, 4.0, 5.0])
def test_muscles_give_way_to_thick_fat_and_are_not_cut_off(level):
    """A thick lobe of fat on one side leaves that side its muscle."""
    areas = []
    x, y = np.meshgrid(POSITIONS, POSITIONS)
    for lobe in (0.0, 2.0):
        soft = replace(PEOPLE[5].soft, fat_lobes=(0.0, 0.0, 0.0, lobe), fat_slope=0.0, flattening_mm=0.0)
        image = neck(replace(PEOPLE[5], soft=soft, fat_behind_mm=14.0), level)
        areas.append(((image < 0.4) & ndimage.binary_erosion(image > 0.03, iterations=4) & (x > 25) & (y > 0)).sum())
    assert areas[1] > 0.86 * areas[0]


@pytest.mark.parametrize("person", PEOPLE)
def test_no_fat_shines_between_the_muscles_in_front_of_a_body(person):
    x, y = np.meshgrid(POSITIONS, POSITIONS)
    between = (np.abs(x) < 3) & (y > -26.5) & (y < -22)
    for level in np.arange(0.5, 5.6, 0.5):
        assert neck(person, level)[between].max() < 0.45 * TSE.fat


def test_streaks_hardly_show_in_fat():
    """However strong the streaks of fat in muscle are, fat itself has no patches."""
    texture = np.linspace(0.4, 8, 200, dtype=np.float32)
    fat = stranded_fat(0 * texture, texture, 0 * texture, 0.0)
    assert np.ptp(fat) < 0.1


def test_the_shoulders_widen_from_c7_to_t1_in_everybody():
    rng = np.random.default_rng(0)
    for _ in range(60):
        person = sample_anatomy(rng, age=60, female=bool(rng.integers(2)), body_mass_index=rng.normal(27, 4))
        widths = np.array([Shape.of(person, level).half_width for level in np.arange(3, 6.95, 0.1)])
        assert widths[30] > 1.15 * widths[0]  # T1 against C5
        assert (np.diff(widths) >= 0).all()
        assert np.abs(np.diff(widths, 2)).max() < 2


@pytest.mark.parametrize("person", PEOPLE[:3])
def test_larger_windows_change_no_picture(person, monkeypatch):
    """No shape is cut off by the rectangle it is computed on, in a warped neck too."""
    x, y = np.meshgrid(POSITIONS, POSITIONS)
    warp = (4 * np.sin(y / 9), 4 * np.sin(x / 9))
    pictures = []
    for reach_mm in (strips.REACH_MM, 50.0):
        monkeypatch.setattr(strips, "REACH_MM", reach_mm)
        canvas = Canvas(POSITIONS, POSITIONS, 8.0, warp)
        ones = np.ones(canvas.image.shape, np.float32)
        paint_neck(canvas, person, 5.4, TSE, ones, 0 * ones, np.full(2 * len(MUSCLES), 0.5))
        pictures.append(canvas.image)
    np.testing.assert_allclose(*pictures, atol=0.02)


def test_the_neck_does_not_know_of_lesions_and_the_spine_stays_in_its_window():
    settings = Settings(seed=9, matrix=96, slices=3)
    patient, _ = next(drawn for drawn in (sample_patient(settings, n) for n in range(20)) if drawn[0].lesions)
    fields = sample_fields(stream(patient, "neck test"))
    pictures = []
    for person in (patient, patient.twin()):
        canvas, _ = paint_surroundings(person, 1, 0.5, fields, TSE, "tse")
        surroundings = canvas.image.copy()
        paint_core(canvas, person, 1, 0.5, fields, TSE, 1)
        pictures.append((surroundings, canvas.image))
    np.testing.assert_array_equal(pictures[0][0], pictures[1][0])
    outside = np.ones(pictures[0][0].shape, bool)
    outside[spine_window(canvas)] = False
    np.testing.assert_array_equal(pictures[0][1][outside], pictures[1][1][outside])
    assert (pictures[0][1] != pictures[1][1]).any()


def test_the_same_seed_gives_the_same_bytes():
    again = sample_anatomy(np.random.default_rng(3), age=50, female=True, body_mass_index=25)
    assert again == PEOPLE[3]
    np.testing.assert_array_equal(neck(again, T1), neck(PEOPLE[3], T1))


def test_soft_tissue_moves_no_other_draw(monkeypatch):
    """It is drawn from a generator of its own."""
    drawn = np.random.default_rng(3)
    sample_anatomy(drawn, 50, False, 26)
    monkeypatch.setattr(anatomies, "sample_soft_tissue", lambda *_: None)
    without = np.random.default_rng(3)
    sample_anatomy(without, 50, False, 26)
    assert drawn.random() == without.random()


@pytest.mark.parametrize("matrix", [16, 64, 320])
def test_any_canvas_can_be_painted(matrix):
    """Also a few sagittal planes, and a field of view that leaves most of the neck out."""
    for rows, columns in ((matrix, matrix), (matrix, 9)):
        canvas = Canvas(np.linspace(-30, 90, rows), np.linspace(-14, 14, columns), roll_deg=5)
        ones = np.ones(canvas.image.shape, np.float32)
        paint_neck(canvas, PEOPLE[0], T1, TSE, ones, 0 * ones, np.zeros(2 * len(MUSCLES)))
        assert np.isfinite(canvas.image).all()
        assert canvas.image.dtype == np.float32
