"""Where the muscles of the neck lie by level, and what differs between the necks of people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .fields import Array, clamp

# Muscles of the left side: at each level (0 mid C2, 1 mid C3, ...) the two ends x, y, half the thickness and how far
# the middle bends outwards (mm), in a neck whose muscles reach x = 53 and y = 46. A muscle fades out within half a
# level of its first and last row; -1.4 and 7 are the ends of the phantom.
Row = tuple[float, float, float, float, float, float, float]
MUSCLES: dict[str, tuple[Row, ...]] = {
    "longus colli": ((-0.4, 3, -22, 8, -21, 2.0, 0), (2, 4, -24, 12, -21, 3.2, 0), (7, 5, -27, 15, -22, 3.6, 0)),
    "longus capitis": ((-1.4, 5, -21, 15, -19, 4.0, 0), (1, 9, -26, 18, -23, 3.8, 0), (3.4, 14, -24, 20, -21, 2.2, 0)),
    "scalenus anterior": (
        (1.6, 17, -14, 24, -18, 3.2, 0),
        (4, 20, -17, 30, -24, 4.8, 0),
        (7, 32, -24, 42, -28, 4.2, 0),
    ),
    "scalenus medius": ((0.6, 22, -8, 31, -5, 4.6, 0), (3.5, 24, -9, 37, -3, 6.4, 0), (7, 33, -11, 53, -4, 7.0, 0)),
    "scalenus posterior": ((3.2, 32, 2, 39, 6, 3.6, 0), (5, 37, 1, 47, 8, 5.2, 0), (7, 48, 4, 60, 10, 5.2, 0)),
    "levator scapulae": (
        (-0.8, 27, -2, 35, 6, 4.0, 0),
        (1, 38, -7, 40, 9, 5.6, 1),
        (3, 44, -5, 42, 16, 6.6, 2),
        (5, 54, 5, 46, 23, 7.4, 2),
        (7, 66, 14, 50, 29, 7.6, 1),
    ),
    "sternocleidomastoid": (
        (-1.4, 54, -8, 50, 15, 6.6, 3),
        (0, 50, -23, 50, 12, 6.4, 3),
        (1.5, 43, -32, 52, 4, 6.2, 4),
        (3.2, 33, -44, 52, -9, 6.0, 5),
        (5, 19, -51, 47, -25, 5.0, 4),
        (7, 9, -50, 38, -43, 4.0, 1),
    ),
    "multifidus": (
        (0.3, 15, 16, 6, 25, 4.4, 1),
        (2, 19, 13, 5, 26, 5.6, 2),
        (5, 21, 14, 5, 27, 6.0, 2),
        (7, 22, 13, 5, 27, 5.8, 2),
    ),
    "interspinales": ((0.5, 6, 14, 3, 24, 2.4, 0), (3, 7, 12, 3, 25, 3.0, 0), (7, 7, 12, 3, 25, 2.6, 0)),
    "semispinalis cervicis": (
        (0.0, 18, 19, 5, 32, 4.6, 1),
        (2, 22, 17, 5, 34, 5.0, 2),
        (5, 24, 19, 6, 35, 5.2, 2),
        (7, 25, 18, 6, 34, 5.0, 2),
    ),
    "semispinalis capitis": (
        (-1.4, 28, 31, 3, 41, 5.4, 4),
        (0, 31, 26, 3, 41, 6.2, 5),
        (2, 31, 20, 3, 42, 6.4, 6),
        (4.5, 31, 21, 4, 42, 5.6, 5),
        (7, 30, 22, 6, 40, 4.2, 3),
    ),
    "longissimus": (
        (-1.4, 45, 12, 37, 27, 3.0, 0),
        (1, 36, 9, 34, 20, 3.8, 0),
        (4, 29, 11, 33, 24, 4.4, 0),
        (7, 32, 13, 28, 26, 5.4, 1),
    ),
    "splenius cervicis": ((0.2, 36, 3, 38, 13, 2.6, 0), (3, 37, 14, 32, 27, 3.2, 1), (6, 38, 20, 18, 36, 2.8, 2)),
    "splenius capitis": (
        (-1.4, 49, 9, 22, 42, 4.4, 6),
        (1, 46, 11, 5, 46, 4.6, 9),
        (3, 43, 18, 4, 46, 4.4, 9),
        (5.5, 34, 30, 4, 46, 3.4, 5),
        (6.6, 22, 39, 4, 45, 2.0, 2),
    ),
    "trapezius": (
        (-1.4, 12, 47, 2, 47, 1.3, 0),
        (1, 27, 45, 2, 49, 1.9, 2),
        (3, 47, 31, 2, 50, 2.8, 7),
        (4.5, 63, 18, 2, 50, 4.6, 10),
        (6, 90, 4, 3, 48, 7.6, 10),
        (7, 104, 2, 4, 48, 8.6, 8),
    ),
    "rhomboid": ((5.4, 28, 37, 5, 43, 2.0, 1), (7, 44, 29, 5, 42, 3.6, 3)),
    "serratus posterior": ((5.6, 28, 33, 6, 40, 1.0, 1), (7, 40, 24, 7, 38, 1.6, 2)),
    "rectus capitis major": ((-1.4, 26, 22, 9, 33, 5.4, 1), (-0.2, 12, 21, 5, 29, 4.0, 0)),
    "rectus capitis minor": ((-1.4, 10, 20, 4, 27, 4.0, 0), (-0.9, 7, 16, 3, 22, 3.0, 0)),
    "obliquus inferior": ((-1.1, 35, 6, 20, 17, 5.6, 1), (-0.3, 26, 13, 7, 24, 6.2, 2), (0.1, 16, 18, 6, 25, 4.4, 0)),
    "obliquus superior": ((-1.4, 33, 17, 27, 29, 5.4, 1), (-1.0, 37, 8, 31, 18, 4.4, 0)),
    "sternohyoid": ((1.9, 3, -64, 15, -59, 1.6, 1), (4, 5, -60, 18, -54, 1.8, 1), (7, 5, -54, 20, -49, 2.2, 1)),
    "digastric": ((-1.4, 44, -8, 40, -18, 2.8, 0), (0, 41, -20, 36, -34, 3.0, 0), (1.2, 34, -36, 28, -48, 2.2, 0)),
    "omohyoid": ((2.2, 14, -58, 23, -49, 1.7, 1), (4.2, 20, -50, 30, -38, 1.7, 1), (5.6, 32, -38, 46, -26, 1.6, 1)),
}
SHOULDERS = 4.7  # level at which the shoulders usually begin, within C6
N_PARAMETERS = 6  # of ends, thickness and bend
FADE_LEVELS = 0.5
GRID = np.arange(-1.5, 7.26, 0.25)
VARIATIONS = 7  # standard normal values for each muscle: shifts x and y, thickness, length, bend, tone, fat


def muscle_grid() -> Array:
    """Interpolate `MUSCLES` to `GRID`: for each level and muscle the ends, thickness, bend and presence in 0...1."""
    grid = np.zeros((len(GRID), len(MUSCLES), N_PARAMETERS + 1))
    for number, rows in enumerate(MUSCLES.values()):
        table = np.array(rows)
        for column in range(N_PARAMETERS):
            grid[:, number, column] = np.interp(GRID, table[:, 0], table[:, column + 1])
        outside = np.maximum(table[0, 0] - GRID, GRID - table[-1, 0])
        grid[:, number, -1] = np.clip(1 - outside / FADE_LEVELS, 0, 1)
    return grid


MUSCLE_GRID = muscle_grid()


def muscles_at(level: float) -> Array:
    """Interpolate the muscles of the left side, shape (muscles, 7): ends, half thickness, bend, presence."""
    position = clamp((level - GRID[0]) / (GRID[1] - GRID[0]), 0, len(GRID) - 1.001)
    lower = int(position)
    muscles: Array = MUSCLE_GRID[lower] + (position - lower) * (MUSCLE_GRID[lower + 1] - MUSCLE_GRID[lower])
    return muscles


@dataclass(frozen=True)
class SoftTissue:
    """One person's neck around the spine; right before left."""

    bulk: float  # thickness of the muscles against the table
    growth_mm: float  # how far the muscles fill the space between them
    plane_mm: float  # width of the fat planes between the muscles
    squareness: float  # of the outline, 0 an ellipse, 0.7 a box
    front_narrowing: float
    flattening_mm: float  # of the back, on the coil
    flattening_slope: float
    nape_mm: float  # + a furrow, - a ridge in the midline of the nape
    hump_mm: float  # pad of fat behind C7
    fat_front_mm: float
    fat_beside: float  # against `Anatomy.fat_beside_mm`
    fat_slope: float  # + thicker fat on the left
    fat_lobes: tuple[float, ...]  # standard normal: unevenness of the fat around the neck
    septa: float  # how visible the membranes in the fat are, 0...1
    nuchal_mm: float  # width of the fat at the nuchal ligament
    jaw: float  # how many levels lower than usual the mandible is
    chin_mm: float
    larynx: float  # how many levels lower than usual
    airway: float  # width of the pharynx
    bifurcation: float  # level of the carotid bifurcation
    shoulders: float  # level at which the shoulders begin
    thyroid: float
    jugular: tuple[float, ...]
    lung: tuple[float, ...]  # levels lower than usual
    wander: tuple[tuple[float, ...], ...]  # standard normal shifts of the organs, eight on each side
    muscles: tuple[tuple[tuple[float, ...], ...], ...]  # `VARIATIONS` for each muscle of each side
    nodes: tuple[tuple[float, ...], ...]  # lymph nodes: side, x, y, level, half size
    veins: tuple[tuple[float, ...], ...]  # between the muscles behind: side, x, y, level, half size, slow flow 0...1


def sample_soft_tissue(rng: np.random.Generator, age: float, female: bool, obesity: float, fatty: float) -> SoftTissue:
    """Draw a person's soft tissues; fatty muscles are thin, and their fat planes wide."""
    both = rng.normal(0, 1, (1, len(MUSCLES), VARIATIONS))
    own = rng.normal(0, 1, (2, len(MUSCLES), VARIATIONS))
    variations = np.clip(0.8 * both + 0.6 * own, -2.3, 2.3)
    nodes = [
        (
            float(rng.choice([-1, 1])),
            rng.normal(38, 5),
            rng.normal(-20, 7),
            rng.uniform(-0.8, 4.5),
            rng.uniform(1.4, 3.2),
        )
        for _ in range(int(rng.integers(3, 9)))
    ]
    veins = [
        (
            float(rng.choice([-1, 1])),
            rng.uniform(7, 38),
            rng.uniform(8, 38),
            rng.uniform(-1, 7),
            rng.uniform(0.6, 1.4),
            rng.random(),
        )
        for _ in range(int(rng.integers(3, 12)))
    ]
    return SoftTissue(
        bulk=float(
            np.clip(rng.normal(1.03 - 0.06 * female - 0.003 * (age - 55), 0.09) - 0.35 * (fatty - 0.3), 0.7, 1.25)
        ),
        growth_mm=clamp(rng.normal(2.6, 0.6) - 3.2 * (fatty - 0.25), 0.3, 3.3),
        plane_mm=clamp(rng.lognormal(np.log(0.55), 0.4) + 1.3 * fatty**1.5, 0.2, 2.4),
        squareness=clamp(rng.normal(0.3, 0.2), 0, 0.7),
        front_narrowing=clamp(rng.normal(0.26, 0.1), 0.02, 0.5),
        flattening_mm=clamp(rng.normal(4, 3.5), -2, 12),
        flattening_slope=rng.normal(0, 0.035),
        nape_mm=rng.normal(0.5, 2.2),
        hump_mm=clamp(rng.normal(2 + 3 * obesity, 4), 0, 18),
        fat_front_mm=clamp(rng.lognormal(np.log(3.0) + 0.3 * obesity, 0.4), 1, 14),
        fat_beside=clamp(rng.lognormal(-0.1, 0.35), 0.4, 2.2),
        fat_slope=rng.normal(0, 0.18),
        fat_lobes=tuple(np.clip(rng.normal(0, 1, 4), -2, 2).tolist()),
        septa=clamp(rng.normal(0.45, 0.25), 0, 1),
        nuchal_mm=clamp(rng.lognormal(np.log(0.6), 0.5) + 1.2 * fatty, 0.2, 3),
        jaw=clamp(rng.normal(0, 0.45), -1, 1),
        chin_mm=rng.normal(0, 5),
        larynx=clamp(rng.normal(-0.25 if female else 0.15, 0.35), -0.9, 0.9),
        airway=clamp(rng.normal(1 - 0.1 * obesity, 0.3), 0.3, 1.8),
        bifurcation=rng.normal(1.6, 0.5),
        shoulders=clamp(rng.normal(SHOULDERS, 0.3), 4.0, 5.2),
        thyroid=clamp(rng.normal(1, 0.2), 0.5, 1.7),
        jugular=tuple(np.clip(rng.normal([1.15, 0.9], 0.3), 0.35, 1.9).tolist()),
        lung=tuple(rng.normal(0, 0.25, 2).tolist()),
        wander=tuple(map(tuple, np.clip(rng.normal(0, 1, (2, 8)), -2.5, 2.5).tolist())),
        muscles=tuple(tuple(map(tuple, side)) for side in variations.tolist()),
        nodes=tuple(nodes),
        veins=tuple(veins),
    )
