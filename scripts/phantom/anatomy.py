"""Sizes of the cervical spine by level, and what differs between people.

Cord and canal diameters C2...T2: Valošek et al., Imaging Neuroscience 2:1-15 (2024), doi:10.1162/imag_a_00075, n = 203
healthy adults. C1, the vertebral bodies and the spread between patients are our choice; the canal is narrowed, because
a cohort with suspected myelopathy has narrow canals. Sherman et al., AJNR 11:369 (1990) found larger cords.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .fields import clamp
from .findings import NO_FINDINGS, Findings
from .soft_tissue import SoftTissue, sample_soft_tissue

LEVELS = ("C1", "C2", "C3", "C4", "C5", "C6", "C7", "T1", "T2")
CORD_AP_MM = (7.9, 7.76, 7.59, 7.62, 7.47, 7.07, 6.56, 6.29, 6.06)
CORD_RL_MM = (11.5, 11.73, 12.14, 12.93, 13.03, 12.44, 10.94, 9.41, 8.69)
CANAL_AP_MM = (17.2, 14.5, 13.06, 12.80, 12.78, 12.58, 12.76, 12.90, 12.69)
CANAL_RL_MM = (25.0, 22.24, 20.84, 20.97, 21.17, 20.68, 19.74, 18.0, 16.08)
BODY_AP_MM = (10.8, 14.5, 15.0, 15.2, 15.5, 16.0, 16.3, 16.5, 17.0)  # C1: the dens
BODY_RL_MM = (10.6, 17.0, 18.5, 19.5, 20.5, 22.5, 26.0, 29.0, 29.0)
DISC_HALF_HEIGHT_MM = 2.6
DISCS = ("C2/C3", "C3/C4", "C4/C5", "C5/C6", "C6/C7", "C7/T1", "T1/T2")


def at_level(table: tuple[float, ...], level: float) -> float:
    """Interpolate a table of the levels; level -1 is mid C1, 0 mid C2, 1 mid C3, ..."""
    return float(np.interp(level + 1, np.arange(len(table)), table))


@dataclass(frozen=True)
class Bones:
    """One person's vertebrae, each table by `LEVELS`; scales are about 1. Right and left differ, as in people.

    Args:
        turn_deg: how far each vertebra is turned about the spine's axis.
        pillars: size of the articular pillars, right and left.
        joints_deg: extra slope of the facet joints in the axial plane, right and left.
        fluid: fluid in the facet joints, 0...1, right and left.
        transverse: length of the transverse processes, right and left.
        spinous: length of the spinous processes.
        spinous_x_mm: how far each tip lies off the midline.
        forked: how far the tips are split, 0 not at all.
        lamina_mm: thickness of the laminae.
        arteries_mm: radii of the vertebral arteries, right and left.
    """

    turn_deg: tuple[float, ...]
    pillars: tuple[tuple[float, ...], ...]
    joints_deg: tuple[tuple[float, ...], ...]
    fluid: tuple[tuple[float, ...], ...]
    transverse: tuple[tuple[float, ...], ...]
    spinous: tuple[float, ...]
    spinous_x_mm: tuple[float, ...]
    forked: tuple[float, ...]
    lamina_mm: float
    arteries_mm: tuple[float, ...]


@dataclass(frozen=True)
class Anatomy:
    """One person's spine and neck; lengths in mm, scales against the tables above."""

    pitch_mm: float  # height of a vertebra and its disc
    cord: float
    cord_flatness: float  # + wider and thinner
    cord_x_mm: float
    cord_y_mm: float
    cord_turn_deg: float
    canal: float
    canal_width: float
    body: float
    neck_half_width_mm: float
    neck_half_depth_mm: float
    fat_behind_mm: float
    fat_beside_mm: float
    fatty: float  # fat in the muscles, 0...1
    disc_dark: tuple[float, ...]
    asymmetry: tuple[tuple[float, ...], ...]  # right, left, midline: five standard normal values each
    lordosis_per_mm: float
    scoliosis_per_mm: float
    drift: float
    bones: Bones
    cord_skew: float  # share by which the left half of the cord is wider and the right half narrower
    soft: SoftTissue
    findings: Findings = NO_FINDINGS

    def level(self, z_mm: float) -> float:
        """Level at height ``z_mm`` above the C2/C3 disc: 0 mid C2, 1 mid C3, ..."""
        return clamp(0.5 - z_mm / self.pitch_mm, -1.4, 6.95)

    def disc_share(self, z_mm: float) -> float:
        """How much of a slice at height ``z_mm`` is disc, 0...1; there is none above C2."""
        if z_mm > 0.5 * self.pitch_mm:
            return 0.0
        from_disc_mm = ((-z_mm / self.pitch_mm + 0.5) % 1.0 - 0.5) * self.pitch_mm
        return float(np.exp(-0.5 * (from_disc_mm / DISC_HALF_HEIGHT_MM) ** 4))

    def vertebra_name(self, z_mm: float) -> str:
        """Name of the nearest vertebral body at height ``z_mm``, e.g. ``C4``."""
        return LEVELS[round(self.level(z_mm)) + 1]

    def disc_name(self, z_mm: float) -> str:
        """Name of the nearest disc at height ``z_mm``, e.g. ``C4/C5``; the uppermost is ``C2/C3``."""
        return DISCS[min(max(round(self.level(z_mm) - 0.5), 0), len(DISCS) - 1)]

    def level_name(self, z_mm: float) -> str:
        """Name of the vertebra or disc that a slice at height ``z_mm`` passes through, e.g. ``C4`` or ``C4/C5``."""
        return self.disc_name(z_mm) if self.disc_share(z_mm) > 0.5 else self.vertebra_name(z_mm)


def sample_anatomy(rng: np.random.Generator, age: float, female: bool, body_mass_index: float) -> Anatomy:
    """Draw a person; age darkens the discs, body mass thickens the fat."""
    size = rng.normal(-0.3 if female else 0.3, 0.95)
    obesity = (body_mass_index - 26) / 5
    apart, soft_rng = rng.spawn(2)
    return Anatomy(
        pitch_mm=rng.normal(16.6, 1.0) + 0.3 * size,
        cord=1 + 0.055 * size + 0.03 * rng.normal(),
        cord_flatness=clamp(rng.normal(0.01, 0.06), -0.12, 0.14),
        cord_x_mm=rng.normal(0, 0.5),
        cord_y_mm=rng.normal(-0.3, 0.5),
        cord_turn_deg=rng.normal(0, 2.0),
        canal=clamp(0.90 + 0.04 * size + 0.085 * rng.normal(), 0.73, 1.12),
        canal_width=clamp(0.97 + 0.05 * rng.normal(), 0.85, 1.1),
        body=1 + 0.06 * size + 0.04 * rng.normal(),
        neck_half_width_mm=clamp(rng.normal(61 + 2.5 * size, 4.5), 50, 76),
        neck_half_depth_mm=clamp(rng.normal(60 + size, 3), 54, 69),
        fat_behind_mm=clamp(rng.lognormal(np.log(9) + 0.2 * obesity, 0.4), 4, 28),
        fat_beside_mm=clamp(rng.normal(4.5 + 0.8 * obesity, 1.3), 2, 10),
        fatty=(fatty := clamp(rng.beta(2, 4.5) + 0.003 * (age - 55), 0.02, 0.9)),
        disc_dark=tuple(np.clip(rng.normal(0.7 + 0.01 * (age - 55), 0.25, 7), 0, 1).tolist()),
        asymmetry=tuple(map(tuple, rng.normal(0, 1, (3, 5)).tolist())),
        lordosis_per_mm=rng.normal(0, 0.0016),
        scoliosis_per_mm=rng.normal(0, 0.0008),
        drift=rng.normal(0, 0.06),
        bones=sample_bones(apart, age),
        cord_skew=clamp(apart.normal(0, 0.035), -0.09, 0.09),
        soft=sample_soft_tissue(soft_rng, age, female, obesity, fatty),
    )


def sample_bones(rng: np.random.Generator, age: float) -> Bones:
    """Draw a person's vertebrae; facet joints grow and dry with age."""
    n = len(LEVELS)

    def table(mean: float, sd: float, low: float, high: float) -> tuple[float, ...]:
        return tuple(np.clip(rng.normal(mean, sd, n), low, high).tolist())

    def sides(mean: float, sd: float, low: float, high: float) -> tuple[tuple[float, ...], ...]:
        return table(mean, sd, low, high), table(mean, sd, low, high)

    worn = 0.003 * (age - 55)
    dominant = rng.normal(0, 0.35)
    return Bones(
        turn_deg=tuple(np.cumsum(rng.normal(0, 1.1, n)).clip(-4.5, 4.5).tolist()),
        pillars=sides(1 + worn, 0.09, 0.82, 1.3),
        joints_deg=sides(0, 7, -16, 16),
        fluid=sides(0.35 - 4 * worn, 0.35, 0, 1),
        transverse=sides(1, 0.08, 0.8, 1.2),
        spinous=table(1, 0.11, 0.7, 1.3),
        spinous_x_mm=table(0, 1.2, -3, 3),
        forked=table(0.8, 0.35, 0, 1.3),
        lamina_mm=clamp(rng.normal(4.0, 0.5), 3, 5.2),
        arteries_mm=(clamp(2.1 - dominant, 1.2, 3), clamp(2.1 + dominant, 1.2, 3)),
    )
