"""What presses on the cord: one lesion per diseased disc level, and how far it reaches into the canal at a height."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .anatomy import Anatomy
from .fields import PROFILE_X_MM, Array, bump

KINDS = ("central", "broad", "lateral", "circumferential", "ligament", "opll", "torsion")
KIND_SHARES = (0.24, 0.27, 0.16, 0.10, 0.07, 0.07, 0.09)
WIDTHS_MM = {
    "central": (2.2, 3.6),
    "broad": (5.5, 9.0),
    "lateral": (2.0, 3.6),
    "circumferential": (6.0, 11.0),
    "ligament": (4.0, 7.0),
    "opll": (3.5, 7.0),
    "torsion": (2.6, 4.2),
}
LEVEL_WEIGHTS = (0.35, 0.8, 1.3, 1.6, 1.2, 0.35)  # C2/C3 ... C7/T1
TOUCHING = 0.42  # severity at which a lesion reaches the cord; below it only takes CSF
SIDE_MM = 1.5  # beyond this off the midline a narrow lesion has a side


@dataclass(frozen=True)
class Lesion:
    """One lesion; lengths in mm, shares 0...1."""

    disc: int  # 0 C2/C3 ... 5 C7/T1
    kind: str
    severity: float  # below `TOUCHING` it only takes CSF; 1 is the worst
    x_mm: float
    z_offset_mm: float
    half_height_mm: float
    width_mm: float
    mobility: float  # share of the push that moves the cord instead of denting it
    dark: float  # 0 soft disc, 1 bone
    soft: float  # signal of the soft part
    turn_deg: float  # how far a torsion lesion turns the cord at its worst
    hyperintense: bool
    snake_eyes: bool
    hyperintense_half_height_mm: float

    @property
    def side(self) -> str:
        """The patient's side the lesion lies on; a wide one must lie farther off to have a side."""
        if self.kind == "ligament" or abs(self.x_mm) <= max(SIDE_MM, 0.5 * self.width_mm):
            return "midline"
        return "left" if self.x_mm > 0 else "right"

    @property
    def depth(self) -> float:
        """0 just touches the cord, 1 is the worst."""
        return max(self.severity - TOUCHING, 0) / (1 - TOUCHING)

    def strength(self, z_mm: float, pitch_mm: float, half_height_mm: float | None = None) -> float:
        """Share of the lesion present at height ``z_mm`` above the C2/C3 disc."""
        from_centre_mm = z_mm + self.disc * pitch_mm - self.z_offset_mm
        return float(bump(from_centre_mm / (half_height_mm or self.half_height_mm)))


def sample_lesion(rng: np.random.Generator, disc: int, severity: float, compressive: bool) -> Lesion:
    """Draw a lesion of a given severity."""
    kind = str(rng.choice(KINDS, p=KIND_SHARES))
    off_midline = rng.choice([-1, 1]) * rng.uniform(3.0, 5.2) if kind in ("lateral", "torsion") else 0.0
    return Lesion(
        disc=disc,
        kind=kind,
        severity=severity,
        x_mm=off_midline + rng.uniform(-0.8, 0.8) if off_midline else rng.normal(0, 1.2),
        z_offset_mm=rng.normal(0, 0.8),
        half_height_mm=rng.uniform(6, 12) if kind == "opll" else rng.uniform(3.4, 6.8),
        width_mm=rng.uniform(*WIDTHS_MM[kind]),
        mobility=rng.uniform(0.25, 0.65) if compressive else rng.uniform(0.6, 0.95),
        dark=rng.random(),
        soft=rng.uniform(0.05, 0.26),
        turn_deg=rng.uniform(9, 22) if kind == "torsion" else 0.0,
        hyperintense=bool(compressive and rng.random() < 0.15 + 0.9 * max(severity - 0.5, 0)),
        snake_eyes=bool(rng.random() < 0.4),
        hyperintense_half_height_mm=rng.uniform(2, 7),
    )


def sample_lesions(rng: np.random.Generator, n_compressive: int) -> tuple[Lesion, ...]:
    """Draw a patient's lesions: ``n_compressive`` meant to dent the cord, and bystanders that only take CSF."""
    lesions = []
    order = np.argsort(-np.log(rng.random(6)) / np.array(LEVEL_WEIGHTS))
    for rank, disc in enumerate(order.tolist()):
        if rank < n_compressive:
            severity = 0.44 + 0.56 * rng.beta(1.1, 1.05)
        elif rng.random() < 0.65:
            bands = ((0.08, 0.30), (0.30, 0.44), (0.42, 0.47))
            severity = rng.uniform(*bands[rng.choice(3, p=[0.35, 0.40, 0.25])])
        else:
            continue
        lesions.append(sample_lesion(rng, disc, severity, rank < n_compressive))
    return tuple(lesions)


@dataclass(frozen=True)
class Encroachment:
    """How far lesions reach into the canal at one height, and what they are like there (weighted by strength)."""

    front_mm: Array  # at PROFILE_X_MM
    back_mm: Array
    dark: float
    soft: float
    mobility: float
    turn_deg: float
    main: Lesion | None  # the strongest one here
    hyperintense: Lesion | None
    hyperintensity: float


def encroach(
    lesions: tuple[Lesion, ...],
    anatomy: Anatomy,
    z_mm: float,
    room_front_mm: float,
    room_back_mm: float,
    cord_ap_mm: float,
) -> Encroachment:
    """Add up the lesions at height ``z_mm``.

    Args:
        lesions: the patient's lesions.
        anatomy: the patient.
        z_mm: height above the C2/C3 disc.
        room_front_mm: free CSF in front of the cord, which a lesion fills before it touches.
        room_back_mm: the same behind the cord.
        cord_ap_mm: the cord's diameter, which scales how deep the worst lesion dents.
    """
    front, back = np.zeros_like(PROFILE_X_MM), np.zeros_like(PROFILE_X_MM)
    # ligaments buckle from both sides of the midline, so they reach in as two humps and a ridge
    ligament = np.minimum(0.62 * bump((np.abs(PROFILE_X_MM) - 4.2) / 2.6) + 0.8 * bump(PROFILE_X_MM / 3.6), 1.0)
    main, strongest, turn_deg = None, 0.0, 0.0
    weights, traits = 0.0, np.zeros(3)
    hyperintense, hyperintensity = None, 0.0
    for lesion in lesions:
        strength = lesion.strength(z_mm, anatomy.pitch_mm)
        if strength < 0.03:
            continue
        filling = min(lesion.severity / TOUCHING, 1.0)
        dent_mm = 0.30 + 0.56 * cord_ap_mm * lesion.depth**0.8 if lesion.severity > TOUCHING else 0.0
        if lesion.kind == "circumferential":
            reach_front = room_front_mm * filling + 0.62 * dent_mm
            reach_back = room_back_mm * filling + 0.50 * dent_mm
        elif lesion.kind == "ligament":
            reach_front = 0.0
            push = min(dent_mm / (1 - 0.5 * lesion.mobility), dent_mm + 0.85 * room_front_mm)
            reach_back = room_back_mm * filling + push
        else:  # the cord gives way first, so reaching it takes the room behind as well
            push = min(dent_mm / (1 - lesion.mobility), dent_mm + 0.85 * room_back_mm)
            reach_front, reach_back = room_front_mm * filling + push, 0.12 * room_back_mm * filling
        front = np.maximum(front, strength * reach_front * bump((PROFILE_X_MM - lesion.x_mm) / lesion.width_mm))
        back = np.maximum(back, strength * reach_back * ligament)
        turn_deg += float(np.sign(lesion.x_mm)) * lesion.turn_deg * strength * min(2.5 * lesion.depth, 1.0)
        weight = strength * lesion.severity
        weights += weight
        traits += weight * np.array([lesion.dark, lesion.soft, lesion.mobility])
        if weight > strongest:
            main, strongest = lesion, weight
        if lesion.hyperintense:
            glow = lesion.strength(z_mm, anatomy.pitch_mm, lesion.hyperintense_half_height_mm)
            if glow > hyperintensity:
                hyperintense, hyperintensity = lesion, glow
    dark, soft, mobility = (traits / weights).tolist() if weights else (0.0, 0.0, 0.45)
    return Encroachment(front, back, dark, soft, mobility, turn_deg, main, hyperintense, hyperintensity)
