"""The spinal column, sac and cord of one thin slice."""

from __future__ import annotations

import numpy as np

from .anatomy import BODY_AP_MM, BODY_RL_MM, Anatomy, at_level
from .canvas import Canvas, Layer, Patch
from .cross_sections import CrossSection, canal_distance, cord_distance, sac_distance
from .fields import Array, Window, bump, ellipse, on_pixels, squarish
from .finding_shapes import paint_findings
from .tissues import Tissues

REACH_MM = 36.0  # the spine is painted on a square patch of this half width


def paint_spine(
    canvas: Canvas,
    window: Window,
    anatomy: Anatomy,
    section: CrossSection,
    z_mm: float,
    tissues: Tissues,
    noise: list[Array],
    flow_loss: float,
) -> Array:
    """Paint one thin slice of the spine over the neck.

    Args:
        canvas: the painted neck.
        window: the part to paint, see `REACH_MM`.
        anatomy: the patient.
        section: canal and cord at this height.
        z_mm: height above the C2/C3 disc.
        tissues: signals.
        noise: three fields of unit variance on ``window``.
        flow_loss: how much signal flowing CSF loses.

    Returns:
        the image of the window.
    """
    x, y = canvas.x_true[window], canvas.y_true[window]
    # bone outlines wander a little, the canal and cord are exact
    x_bone = x + 0.55 * noise[1] + 0.5 * noise[0]
    y_bone = y + 0.55 * noise[2] - 0.5 * noise[0] * (y > 4)
    patch = Patch(canvas, window, x_bone, y_bone)
    level = anatomy.level(z_mm)
    paint_lateral(patch, anatomy, section, level, z_mm, tissues, noise)
    paint_arch(patch, section, level, tissues, noise)
    paint_body(patch, anatomy, section, level, z_mm, tissues, noise)
    patch.x, patch.y = x, y
    paint_canal(patch, section, at_level(BODY_RL_MM, level) * anatomy.body, tissues, noise, flow_loss)
    paint_cord(patch, section, anatomy, level, tissues, noise)
    paint_findings(patch, anatomy, section, z_mm, tissues)
    return patch.image


def phase_of(level: float) -> tuple[float, float]:
    """How much of a slice is pedicle, and how much is lamina."""
    if level < -0.5:  # C1 is a ring: no pedicle, a thin posterior arch
        return 0.0, float(bump((level + 1.0) / 0.16))
    phase = (level + 0.5) % 1.0  # 0 disc above, 0.5 mid body, 1 disc below
    return float(np.clip(1 - abs(phase - 0.32) / 0.3, 0, 1)), float(np.clip(1 - abs(phase - 0.78) / 0.32, 0, 1))


def paint_lateral(
    patch: Patch,
    anatomy: Anatomy,
    section: CrossSection,
    level: float,
    z_mm: float,
    tissues: Tissues,
    noise: list[Array],
) -> None:
    """Lateral masses, facet joints, pedicles, foramina with roots, vertebral arteries."""
    disc, (pedicle, _) = anatomy.disc_share(z_mm), phase_of(level)
    ap, half_rl = section.canal.ap_mm, section.canal.rl_mm / 2
    a = anatomy.asymmetry[2]
    marrow = tissues.facet * (1 + 0.10 * noise[1])
    atlas = float(np.clip((-0.45 - level) / 0.25, 0, 1))  # 1 in C1
    for side in (-1, 1):
        mass: list[Layer] = [(0.9, tissues.cortex, 1.0), (-0.5, marrow, 1.0)]
        half = (7.2 + 1.6 * atlas, 5.8 + 2.6 * atlas)
        y = 2.0 + 0.4 * a[1] - atlas * (0.28 * ap + 2.0)
        patch.spot((side * (half_rl + 6.6), y), half, mass, side * (-22 + 4 * a[2]))
        if disc > 0.25:
            fluid = 0.7 * disc * min(max(0.0, a[3]), 1.0)
            joint: list[Layer] = [(0.0, tissues.cortex, min(1.0, 1.4 * disc)), (-0.4, 0.8 * tissues.csf, fluid)]
            patch.spot((side * (half_rl + 6.6), 2.2), (5.8, 0.8), joint, side * (-18 + 5 * a[0]), rectangle=True)
        if pedicle > 0.02:
            bone: list[Layer] = [(0.7, tissues.cortex, pedicle), (-0.4, marrow, pedicle)]
            patch.spot((side * (half_rl + 2.6), -ap * 0.30), (4.8, 2.9), bone, side * -18)
        if disc > 0.05:
            patch.spot(
                (side * (half_rl + 1.6), -ap * 0.30), (6.2, 2.6), [(0, 0.75 * tissues.fat, 0.9 * disc)], side * -30
            )
            patch.spot((side * (half_rl + 3.4), -ap * 0.36), (5.6, 1.7), [(0, tissues.root, disc)], side * -30)
        if level < 4.6:
            aside, front = half_rl + 5.6 + 0.5 * a[0] + 5 * atlas, -ap * 0.42 - 3.4 + 4 * atlas
            patch.spot((side * (aside + 0.4), front), (4.6, 4.0), [(0, tissues.facet * 0.8, 0.6 * (1 - disc))])
            artery: list[Layer] = [(0.6, 1.1 * tissues.wall, 0.7), (0.0, tissues.vessel, 1.0)]
            patch.spot((side * aside, front), (2.1 + 0.35 * side * a[4], 2.1), artery)


def paint_arch(patch: Patch, section: CrossSection, level: float, tissues: Tissues, noise: list[Array]) -> None:
    """Lamina and flaval ligament around the posterior canal, spinous process."""
    _, lamina = phase_of(level)
    canal = section.canal
    marrow = tissues.facet * (1 + 0.10 * noise[1])
    distance = canal_distance(canal, patch.x, patch.y, on_pixels(canal.front_mm, patch.x))
    back = np.clip((patch.y + canal.ap_mm * 0.12) * np.float32(1 / 2.5), 0, 1)
    patch.paint(distance - 4.4, tissues.cortex, back * (0.25 + 0.75 * lamina))
    patch.paint(np.maximum(distance - 3.4, 1.2 - distance), marrow, back * lamina)
    patch.paint(distance - 2.4, tissues.ligament * (1.3 + 0.3 * noise[0]), back)
    if lamina > 0.02:
        bifid = float(np.clip((4.4 - level) / 1.0, 0, 1)) * (level > -0.5)
        length = 9 + 6 * float(np.clip(level - 3.5, 0, 2)) if level > -0.5 else 2.5
        half = (2.5 + 0.7 * (1 - bifid), length * 0.72)
        for side in (-1, 1):
            bone: list[Layer] = [(0.8, tissues.cortex, lamina), (-0.3, marrow * 1.05, lamina)]
            patch.spot((side * 2.0 * bifid, canal.ap_mm / 2 + 4 + length * 0.55), half, bone, side * -14 * bifid)


def paint_body(
    patch: Patch,
    anatomy: Anatomy,
    section: CrossSection,
    level: float,
    z_mm: float,
    tissues: Tissues,
    noise: list[Array],
) -> None:
    """Vertebral body, or disc with uncinate processes, or dens with the anterior arch of C1."""
    disc = anatomy.disc_share(z_mm)
    marrow = tissues.body * (1 + 0.13 * noise[0] + 0.07 * noise[1])
    rl, ap = at_level(BODY_RL_MM, level) * anatomy.body, at_level(BODY_AP_MM, level) * anatomy.body
    atlas = float(np.clip((-0.45 - level) / 0.25, 0, 1))
    behind = -section.canal.ap_mm / 2
    y = behind - ap / 2 + 0.3 - 1.6 * atlas  # the transverse ligament lies between dens and sac
    distance = squarish(patch.x, patch.y - np.float32(y), rl / 2, ap / 2)
    if atlas > 0:
        ligament = np.maximum(np.abs(patch.y - np.float32(behind - 0.4)) - 1.3, np.abs(patch.x) - np.float32(rl * 0.9))
        patch.paint(ligament, tissues.ligament, atlas)
        arch = float(bump((level + 1.0) / 0.22))
        bone: list[Layer] = [(0.8, tissues.cortex, arch), (-0.3, marrow, arch)]
        patch.spot((0, y - ap / 2 - 4.6), (9.5, 2.6), bone)
    uncinate = float(np.clip(1 - abs(disc - 0.55) / 0.5, 0, 1))
    if uncinate > 0.02:
        for side in (-1, 1):
            bone = [(0.7, tissues.cortex, uncinate), (-0.3, marrow, uncinate)]
            patch.spot((side * (rl / 2 - 0.6), behind - 3.2), (3.2, 4.6), bone, side * 18)
    patch.paint(distance - 0.9, tissues.cortex)
    patch.paint(distance + 0.1, marrow)
    if disc > 0.02:
        dark = anatomy.disc_dark[min(max(round(level - 0.5), 0), len(anatomy.disc_dark) - 1)]
        patch.paint(distance, tissues.annulus * (1 + 0.2 * noise[1]), disc)
        patch.paint(distance + 2.4, tissues.disc * (1.35 - 0.85 * dark) * (1 + 0.18 * noise[0]), disc)


def paint_canal(
    patch: Patch, section: CrossSection, body_rl_mm: float, tissues: Tissues, noise: list[Array], flow_loss: float
) -> None:
    """Epidural tissue, the lesions, and CSF within the dura with rootlets."""
    x, y, canal, lesions = patch.x, patch.y, section.canal, section.lesions
    front, back = on_pixels(canal.front_mm, x), on_pixels(canal.back_mm, x)
    dura_front, dura_back = on_pixels(section.dura_front_mm, x), on_pixels(section.dura_back_mm, x)
    bony = canal_distance(canal, x, y, front)
    posterior = 0.35 + 0.65 * np.clip((y - 1.0) / 3.0, 0, 1)
    patch.paint(bony, tissues.epidural * (0.75 + 0.2 * noise[0]) * posterior + 0.1 * tissues.fat)
    ligament = np.maximum(bony, y - np.float32(-canal.ap_mm / 2 + 0.6))
    patch.paint(ligament, tissues.cortex, np.clip((body_rl_mm / 3 - np.abs(x)) / 2, 0, 1) * 0.8)
    soft = (1 - lesions.dark) * (lesions.soft + 0.06) * (1 + 0.25 * noise[1])
    lesion = (tissues.cortex + 0.02) * lesions.dark + soft
    patch.paint(np.maximum(bony - 0.2, y - dura_front), lesion, np.clip((dura_front - front) * 0.9, 0, 1))
    patch.paint(np.maximum(bony - 0.2, dura_back - y), tissues.ligament * 1.15, np.clip((back - dura_back) * 0.9, 0, 1))
    sac = sac_distance(canal, x, y, dura_front, dura_back)
    patch.paint(sac - 0.35, tissues.cortex + 0.03)
    patch.paint(sac, tissues.csf * np.clip(1 - flow_loss * np.clip(noise[2] + 0.3, 0, 2.2), 0.25, 1))
    cord = section.cord
    for side in (-1, 1):
        for aside, behind, size in ((1.0, 1.0, 0.42), (1.9, 1.9, 0.38), (0.8, -1.5, 0.34)):
            centre = side * (cord.rl_mm / 2 + aside) + cord.x_mm, cord.y_mm + behind
            patch.spot(centre, (size * 2.4, size), [(0, tissues.root, 0.6)], side * 20)


def paint_cord(
    patch: Patch, section: CrossSection, anatomy: Anatomy, level: float, tissues: Tissues, noise: list[Array]
) -> None:
    """White matter, the grey butterfly, T2 hyperintensity, anterior fissure; all follow the cord's deformed outline."""
    x, y, cord = patch.x, patch.y, section.cord
    dura = on_pixels(section.dura_front_mm, x), on_pixels(section.dura_back_mm, x)
    distance = cord_distance(cord, x, y, *dura)
    patch.paint(distance, tissues.white_matter * (1 + 0.035 * noise[1]))
    front, back = on_pixels(section.cord_front_mm, x), on_pixels(section.cord_back_mm, x)
    half = np.maximum(back - front, 1.0) * 0.5
    u = (x - np.float32(cord.x_mm)) * np.float32(2 / cord.rl_mm)
    v = (y - (front + back) * 0.5) / np.maximum(half, 0.8)
    beside, half_rl = np.abs(u), 0.5 * cord.rl_mm
    thick = 1 + 0.25 * float(bump((level - 3.6) / 1.2))  # the cervical enlargement
    horns = np.minimum(
        ellipse(beside - 0.27, v + 0.14, 0.13 * thick, 0.26, 20),
        ellipse(beside - 0.36, v - 0.33, 0.065 * thick, 0.36, -24),
    )
    grey = np.minimum(horns, np.maximum(np.abs(v - 0.02) - 0.10, beside - 0.3)) * np.float32(0.55 * half_rl)
    patch.paint(np.maximum(grey, distance + 0.3), tissues.grey_matter)
    lesion, glow = section.lesions.hyperintense, section.lesions.hyperintensity
    if lesion is not None and glow > 0.25:
        if lesion.snake_eyes:
            bright = ellipse(beside - 0.27, v + 0.02, 0.13, 0.24) * np.float32(half_rl)
        else:
            bright = ellipse(u - 0.1 * anatomy.asymmetry[2][2], v, 0.52, 0.55) * np.float32(half_rl * 0.7)
        gain = tissues.white_matter + (0.20 + 0.22 * lesion.dark) * tissues.csf
        patch.paint(np.maximum(bright, distance + 0.4), gain, min(1.0, 1.2 * glow), soft_mm=max(patch.pixel_mm, 0.9))
    fissure = ellipse(u, v + 0.95, 0.035, 0.32) * np.float32(half_rl)
    patch.paint(np.maximum(fissure, distance - 0.1), tissues.csf * 0.8, 0.6)
