"""How findings look in one thin slice of the spine: syrinx, haemangioma, and the metal of implants."""

from __future__ import annotations

import numpy as np

from .anatomy import Anatomy
from .bones import body_place, pillar_place
from .canvas import Patch
from .cross_sections import Canal, Cord, CrossSection, cord_distance
from .fields import PROFILE_X_MM, Array, bar, coverage, on_pixels, squarish
from .findings import CAGE_MM, SCREW_MM, Haemangioma, Implant
from .tissues import Tissues

BEHIND_MM = 1.5  # bone that a haemangioma leaves all round
SCREW_RADIUS_MM = 1.8


def paint_findings(patch: Patch, anatomy: Anatomy, section: CrossSection, z_mm: float, tissues: Tissues) -> None:
    """Paint what a patient has at height ``z_mm`` over the finished spine; nothing where there is nothing."""
    findings = anatomy.findings
    if findings.haemangioma is not None and findings.haemangioma.radius_mm(z_mm) > 0:
        paint_haemangioma(patch, findings.haemangioma, anatomy, section.canal, z_mm, tissues)
    if findings.syrinx is not None and findings.syrinx.width_mm(z_mm) > 0:
        paint_syrinx(patch, findings.syrinx.width_mm(z_mm), section, tissues)
    if findings.implant is not None and findings.implant.part(z_mm):
        paint_implant(patch, findings.implant, anatomy, section.canal, z_mm, tissues)


def paint_syrinx(patch: Patch, width_mm: float, section: CrossSection, tissues: Tissues) -> None:
    """Paint a smooth cavity as bright as CSF, flatter where the cord is flat."""
    cord: Cord = section.cord
    front = float(np.interp(cord.x_mm, PROFILE_X_MM, section.cord_front_mm))
    back = float(np.interp(cord.x_mm, PROFILE_X_MM, section.cord_back_mm))
    height_mm = min(0.8 * width_mm, 0.55 * (back - front))
    x, y = patch.x - np.float32(cord.x_mm), patch.y - np.float32(0.5 * (front + back))
    dura = on_pixels(section.dura_front_mm, patch.x), on_pixels(section.dura_back_mm, patch.x)
    within = cord_distance(cord, patch.x, patch.y, *dura) + np.float32(0.8)
    patch.paint(np.maximum(squarish(x, y, width_mm / 2, height_mm / 2), within), tissues.csf)


def haemangioma_distance(
    haemangioma: Haemangioma, anatomy: Anatomy, canal: Canal, z_mm: float, x: Array, y: Array
) -> tuple[Array, tuple[float, float, float]]:
    """Return the distance to a haemangioma, which stays within its body, and its place and radius in the slice."""
    y_body, half_rl, half_ap = body_place(anatomy, canal, anatomy.level(z_mm))
    room = haemangioma.greatest_radius_mm + BEHIND_MM
    x_mm = haemangioma.place[0] * max(half_rl - room, 0.0)
    y_mm = y_body + haemangioma.place[1] * max(half_ap - room, 0.0)
    radius = haemangioma.radius_mm(z_mm)
    wavy = 0.3 * np.sin(3 * np.arctan2(y - np.float32(y_mm), x - np.float32(x_mm)) + haemangioma.place[0] * 9)
    distance = np.hypot(x - np.float32(x_mm), y - np.float32(y_mm)) - np.float32(radius) + wavy.astype(np.float32)
    within = squarish(x, y - np.float32(y_body), half_rl, half_ap) + np.float32(BEHIND_MM)
    return np.maximum(distance, within), (x_mm, y_mm, radius)


def paint_haemangioma(
    patch: Patch, haemangioma: Haemangioma, anatomy: Anatomy, canal: Canal, z_mm: float, tissues: Tissues
) -> None:
    """Paint a bright round area with dark dots where thick trabeculae are cut."""
    distance, (x, y, radius) = haemangioma_distance(haemangioma, anatomy, canal, z_mm, patch.x, patch.y)
    bright = haemangioma.brightness * (tissues.csf if tissues.csf > 0.5 else tissues.fat)
    patch.paint(distance, bright)
    for across, down in haemangioma.dots:
        if np.hypot(across, down) * haemangioma.greatest_radius_mm < radius - 0.5:
            at = x + across * haemangioma.greatest_radius_mm, y + down * haemangioma.greatest_radius_mm
            patch.spot(at, (0.5, 0.5), [(0.0, 0.3 * bright, 0.9)])


def metal_distance(implant: Implant, anatomy: Anatomy, canal: Canal, z_mm: float, x: Array, y: Array) -> Array | None:
    """Return the distance to an implant's metal at height ``z_mm``; None where there is none."""
    if not implant.part(z_mm):
        return None
    y_body, _, half_ap = body_place(anatomy, canal, anatomy.level(z_mm))
    front = y_body - half_ap
    screwed = implant.from_screws_mm(z_mm) < SCREW_MM
    shapes = []
    if implant.kind == "screws":
        aside, _ = pillar_place(canal, anatomy.level(z_mm), 1)
        for side in (-1, 1):
            shapes.append(np.hypot(x - np.float32(side * (aside - 1.0)), y - np.float32(11.0)) - np.float32(2.6))
            if screwed:
                place = x - np.float32(side * (aside + 1.2)), y - np.float32(4.0)
                shapes.append(bar(*place, SCREW_RADIUS_MM, 6.5, side * 20))
    if implant.kind == "plate":
        bent = y - np.float32(front - 1.9) - np.float32(0.012) * x * x
        shapes.append(bar(x, bent, 8.0, 1.3))
        if screwed:
            for side in (-1, 1):
                place = x - np.float32(side * 4.6), y - np.float32(front + 5.0)
                shapes.append(bar(*place, SCREW_RADIUS_MM, 6.0, side * 8))
    if implant.kind != "screws" and implant.from_cage_mm(z_mm) < CAGE_MM:
        shapes.append(np.abs(squarish(x, y - np.float32(y_body), 5.8, 4.2)) - np.float32(1.2))
    return np.minimum.reduce(shapes) if shapes else None


def paint_implant(
    patch: Patch, implant: Implant, anatomy: Anatomy, canal: Canal, z_mm: float, tissues: Tissues
) -> None:
    """Paint metal, which gives no signal, and the bone graft within a cage."""
    distance = metal_distance(implant, anatomy, canal, z_mm, patch.x, patch.y)
    if distance is not None:
        patch.image *= 1 - coverage(distance - np.float32(0.3), patch.pixel_mm)
        patch.image += coverage(distance - np.float32(0.3), patch.pixel_mm) * np.float32(tissues.air)
