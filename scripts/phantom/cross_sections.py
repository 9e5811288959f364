"""The cord in its canal at one height: the ground truth, from which both the labels and the picture are made.

x grows to the patient's left and y to posterior, both in mm from the centre of the canal. Outlines are profiles: the y
of the front and of the back at each x of `PROFILE_X_MM`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .anatomy import CANAL_AP_MM, CANAL_RL_MM, CORD_AP_MM, CORD_RL_MM, Anatomy, at_level
from .fields import PROFILE_STEP_MM, PROFILE_X_MM, Array, clamp, ellipse, smooth_max
from .lesions import Encroachment, Lesion, encroach

PIA_MM = 0.25  # the cord keeps this far from the dura
FILM_MM = 0.5  # of CSF in front of and behind a cord that nothing presses
NARROWEST_MM = 2.9  # the bony canal exceeds the cord by this, so that a free cord has CSF around it
THINNEST = 0.34  # no cord is squeezed below this share of its diameter


@dataclass(frozen=True)
class Canal:
    """Bony canal, a rounded triangle open to the front, and the dural sac in it without lesions."""

    ap_mm: float
    rl_mm: float
    normal: tuple[float, float]  # of the left posterior wall
    wall_mm: float  # its distance from the origin
    front_mm: Array  # dura in front
    back_mm: Array

    @property
    def corner_mm(self) -> float:
        """Radius of the corners behind; the wide canal of C1 and C2 is nearly round."""
        return min(max(0.6 * (self.ap_mm - 9.0), 1.6), 5.0)


@dataclass(frozen=True)
class Cord:
    """An ellipse turned by ``turn_deg`` about (x, y), in free canal; ``skew`` widens its left half."""

    x_mm: float
    y_mm: float
    ap_mm: float
    rl_mm: float
    turn_deg: float
    skew: float = 0.0

    def centred(self, x: Array) -> Array:
        """Lateral distance from the centre, stretched so that the cord becomes the same on both sides."""
        aside = x - np.float32(self.x_mm)
        return aside / np.where(aside > 0, np.float32(1 + self.skew), np.float32(1 - self.skew))

    def outline(self) -> tuple[Array, Array, Array]:
        """Front and back profile and which x lie within the cord."""
        a, b = self.rl_mm / 2, self.ap_mm / 2
        cosine, sine = np.cos(np.deg2rad(self.turn_deg)), np.sin(np.deg2rad(self.turn_deg))
        half_width = np.hypot(a * cosine, b * sine)
        # a turned ellipse is an upright one, sheared
        shear = (a * a - b * b) * sine * cosine / half_width**2
        aside = self.centred(PROFILE_X_MM)
        u = aside / half_width
        half = a * b / half_width * np.sqrt(np.clip(1 - u * u, 0, 1))
        middle = self.y_mm + shear * np.clip(aside, -half_width, half_width)
        return middle - half, middle + half, np.abs(u) < 1


@dataclass(frozen=True)
class CrossSection:
    """Canal and cord at one height, with lesions, and what readers judge by."""

    canal: Canal
    cord: Cord  # moved, turned and widened; the dura cuts it (`cord_distance`)
    lesions: Encroachment
    dura_front_mm: Array
    dura_back_mm: Array
    cord_front_mm: Array
    cord_back_mm: Array
    dent_front_mm: float
    dent_back_mm: float
    dented_share: float  # of the cord's width
    area_mm2: float
    free_area_mm2: float  # of the same cord without lesions
    ap_mm: float  # in the cord's midline
    free_ap_mm: float
    csf_lost: float  # share of the CSF in front of and behind the cord
    csf_front_mm: float
    csf_back_mm: float

    @property
    def main(self) -> Lesion | None:
        """The strongest lesion here."""
        return self.lesions.main


def open_canal(anatomy: Anatomy, z_mm: float) -> Canal:
    """Canal and sac at height ``z_mm``, without lesions."""
    level, disc = anatomy.level(z_mm), anatomy.disc_share(z_mm)
    ap = at_level(CANAL_AP_MM, level) * anatomy.canal * (1 - 0.05 * disc)
    ap = max(ap, cord_ap_mm(anatomy, level) + NARROWEST_MM)
    rl = max(
        at_level(CANAL_RL_MM, level) * anatomy.canal_width,
        cord_rl_mm(anatomy, level) + 2 * abs(anatomy.cord_x_mm) + NARROWEST_MM + 3.0,
    )
    along = np.array([rl / 2, 0.08 * ap])
    to = np.array([0.26 * rl, ap / 2])
    normal = np.array([to[1] - along[1], along[0] - to[0]])
    normal /= np.hypot(*normal)
    wall = float(normal @ along)
    front = -ap / 2 + 0.45 + 0.012 * PROFILE_X_MM**2 * (1 - disc)  # vertebral bodies are hollow behind, discs are flat
    back = np.minimum((wall - 0.9 - normal[0] * np.abs(PROFILE_X_MM)) / normal[1], ap / 2 - 0.9)
    return Canal(ap, rl, (float(normal[0]), float(normal[1])), wall, front, back)


def cord_ap_mm(anatomy: Anatomy, level: float) -> float:
    """Diameter of the cord without lesions, front to back."""
    return at_level(CORD_AP_MM, level) * anatomy.cord * (1 - anatomy.cord_flatness)


def cord_rl_mm(anatomy: Anatomy, level: float) -> float:
    """Diameter of the cord without lesions, right to left."""
    return at_level(CORD_RL_MM, level) * anatomy.cord * (1 + anatomy.cord_flatness)


def free_cord(anatomy: Anatomy, canal: Canal, z_mm: float) -> Cord:
    """The cord without lesions, with CSF all around it: the sac keeps it `FILM_MM` or more from front and back."""
    level = anatomy.level(z_mm)
    ap = cord_ap_mm(anatomy, level)
    y = anatomy.cord_y_mm
    front, back = csf_margins(canal, ap, y)
    film = min(FILM_MM, (front + back) / 2)
    y += max(film - front, 0) - max(film - back, 0)
    rl = cord_rl_mm(anatomy, level)
    return Cord(anatomy.cord_x_mm, y, ap, rl, anatomy.cord_turn_deg, anatomy.cord_skew)


def csf_margins(canal: Canal, cord_ap_mm: float, cord_y_mm: float) -> tuple[float, float]:
    """Free CSF (mm) in front of and behind a cord in the midline; negative where it does not fit."""
    middle = len(PROFILE_X_MM) // 2
    front = cord_y_mm - cord_ap_mm / 2 - (canal.front_mm[middle] + PIA_MM)
    back = (canal.back_mm[middle] - PIA_MM) - (cord_y_mm + cord_ap_mm / 2)
    return float(front), float(back)


def cross_section(anatomy: Anatomy, lesions: tuple[Lesion, ...], z_mm: float) -> CrossSection:
    """Press the lesions into the canal at height ``z_mm`` and let the cord give way.

    The cord first moves into free CSF (as far as the lesion's mobility allows), then is dented, and widens as it
    flattens.
    """
    canal = open_canal(anatomy, z_mm)
    free = free_cord(anatomy, canal, z_mm)
    room_front, room_back = csf_margins(canal, free.ap_mm, free.y_mm)
    pressed = encroach(lesions, anatomy, z_mm, max(room_front, 0.1), max(room_back, 0.1), free.ap_mm)
    free_front, free_back, free_inside = free.outline()
    rest_front, rest_back = clip_to_canal(canal, free_front, free_back)
    gaps = rest_front - canal.front_mm - PIA_MM, canal.back_mm - rest_back - PIA_MM
    slip_front, slip_back = anatomy.findings.narrowing_mm(z_mm, *gaps)
    pressed = replace(
        pressed, front_mm=np.maximum(pressed.front_mm, slip_front), back_mm=np.maximum(pressed.back_mm, slip_back)
    )
    front, back = limit_compression(pressed, canal, free)
    dura_front, dura_back = canal.front_mm + front, canal.back_mm - back

    turned = replace(free, turn_deg=free.turn_deg + pressed.turn_deg)
    turned_front, turned_back, inside = turned.outline()
    turned_front, turned_back = clip_to_canal(canal, turned_front, turned_back)

    push_front = float(np.max((dura_front + PIA_MM - turned_front)[inside]))
    push_back = float(np.max((turned_back - dura_back + PIA_MM)[inside]))
    shift = 0.0
    if push_front > 0 and push_front >= push_back:
        free_mm = max(room_back, 0) if push_back < 0 else 0.0
        shift = min(pressed.mobility * push_front, free_mm + 0.35 * (push_front - max(push_back, 0)))
    elif push_back > 0:
        free_mm = max(room_front, 0) if push_front < 0 else 0.0
        shift = -min(pressed.mobility * push_back, free_mm + 0.35 * (push_back - max(push_front, 0)))

    moved_front, moved_back = turned_front + shift, turned_back + shift
    cord_front = np.maximum(moved_front, dura_front + PIA_MM)
    cord_back = np.minimum(moved_back, dura_back - PIA_MM)
    height = np.where(inside, np.maximum(cord_back - cord_front, 0.2), 0)
    free_area = float(np.maximum(rest_back - rest_front, 0)[free_inside].sum()) * PROFILE_STEP_MM
    squeezed_area = float(height.sum()) * PROFILE_STEP_MM
    widening = 1 + 0.42 * clamp(1 - squeezed_area / free_area, 0, 0.55)

    dents = np.where(inside, np.maximum(cord_front - moved_front, 0) + np.maximum(moved_back - cord_back, 0), 0)
    core = np.abs(PROFILE_X_MM - free.x_mm) < 0.3 * free.rl_mm
    csf_free = csf_gaps(canal.front_mm, rest_front, rest_back, canal.back_mm, core)
    csf_now = csf_gaps(dura_front, cord_front, cord_back, dura_back, core)
    return CrossSection(
        canal=canal,
        cord=replace(turned, y_mm=free.y_mm + shift, rl_mm=free.rl_mm * widening),
        lesions=pressed,
        dura_front_mm=dura_front,
        dura_back_mm=dura_back,
        cord_front_mm=cord_front,
        cord_back_mm=cord_back,
        dent_front_mm=float(np.max((cord_front - moved_front)[inside])),
        dent_back_mm=float(np.max((moved_back - cord_back)[inside])),
        dented_share=float(np.mean(dents[inside] > 0.3)),
        area_mm2=squeezed_area * widening,
        free_area_mm2=free_area,
        ap_mm=float(height[np.argmin(np.abs(PROFILE_X_MM - free.x_mm))]),
        free_ap_mm=free.ap_mm,
        csf_lost=1 - sum(csf_now) / max(sum(csf_free), 0.3),
        csf_front_mm=csf_now[0],
        csf_back_mm=csf_now[1],
    )


def limit_compression(pressed: Encroachment, canal: Canal, cord: Cord) -> tuple[Array, Array]:
    """Take encroachment back, in proportion from front and back, where it would crush the cord below `THINNEST`."""
    front, back = pressed.front_mm, pressed.back_mm
    width = np.sqrt(np.clip(1 - ((PROFILE_X_MM - cord.x_mm) / (0.55 * cord.rl_mm)) ** 2, 0, 1))
    needed = THINNEST * cord.ap_mm * width + 2 * PIA_MM
    missing = np.maximum(needed - (canal.back_mm - back - canal.front_mm - front), 0)
    share = front / np.maximum(front + back, 1e-6)
    return np.maximum(front - share * missing, 0), np.maximum(back - (1 - share) * missing, 0)


def clip_to_canal(canal: Canal, front: Array, back: Array) -> tuple[Array, Array]:
    """Keep a cord's outline within the open canal."""
    return np.maximum(front, canal.front_mm + PIA_MM), np.minimum(back, canal.back_mm - PIA_MM)


def csf_gaps(
    dura_front: Array, front: Array, back: Array, dura_back: Array, core: NDArray[np.bool_]
) -> tuple[float, float]:
    """Mean CSF (mm) in front of and behind the middle of the cord."""
    return (
        float(np.mean(np.maximum(front - dura_front, 0)[core])),
        float(np.mean(np.maximum(dura_back - back, 0)[core])),
    )


def canal_distance(canal: Canal, x: Array, y: Array, front_on_x: Array) -> Array:
    """Distance to the bony canal; ``front_on_x`` is ``canal.front_mm`` read at ``x``."""
    beside = np.abs(x)
    distance = beside * np.float32(canal.normal[0]) + y * np.float32(canal.normal[1]) - np.float32(canal.wall_mm)
    distance = smooth_max(distance, y - np.float32(canal.ap_mm / 2), canal.corner_mm)
    distance = smooth_max(distance, front_on_x - 0.45 - y, 2.2)
    return smooth_max(distance, beside - np.float32(canal.rl_mm / 2), 2.2)


def sac_distance(canal: Canal, x: Array, y: Array, dura_front_on_x: Array, dura_back_on_x: Array) -> Array:
    """Distance to the dural sac, lesions included."""
    beside = np.abs(x)
    distance = smooth_max(dura_front_on_x - y, y - dura_back_on_x, canal.corner_mm)
    wall = beside * np.float32(canal.normal[0]) + y * np.float32(canal.normal[1]) - np.float32(canal.wall_mm - 0.9)
    return smooth_max(smooth_max(distance, wall, canal.corner_mm), beside - np.float32(canal.rl_mm / 2 - 1.0), 1.8)


def cord_distance(cord: Cord, x: Array, y: Array, dura_front_on_x: Array, dura_back_on_x: Array) -> Array:
    """Distance to the cord as lesions leave it."""
    distance = ellipse(cord.centred(x), y - np.float32(cord.y_mm), cord.rl_mm / 2, cord.ap_mm / 2, cord.turn_deg)
    distance = smooth_max(distance, dura_front_on_x + np.float32(PIA_MM) - y, 1.1)
    return smooth_max(distance, y - dura_back_on_x + np.float32(PIA_MM), 1.1)
