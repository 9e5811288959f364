"""The spinal column, sac and cord of one thin slice."""

from __future__ import annotations

import numpy as np

from .anatomy import BODY_RL_MM, Anatomy, at_level
from .bones import C7, atlas_share, paint_body, paint_bones, span
from .canvas import Canvas, Layer, Patch
from .cross_sections import CrossSection, canal_distance, cord_distance, sac_distance
from .fields import Array, Window, bump, clamp, ellipse, on_pixels, turned
from .finding_shapes import paint_findings
from .tissues import Tissues

CENTRE_Y_MM = 5.0
REACH_MM = 37.0  # half width of the square that is painted, about `CENTRE_Y_MM` behind the canal's centre


def spine_window(canvas: Canvas) -> Window:
    """The part of a canvas that the spine is painted on."""
    return canvas.window(0, CENTRE_Y_MM, REACH_MM)


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
        window: the part to paint, see `spine_window`.
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
    level, disc = anatomy.level(z_mm), anatomy.disc_share(z_mm)
    # bone outlines wander a little and each vertebra is turned, the canal and cord are exact
    x_bone, y_bone = turned(x, y, at_level(anatomy.bones.turn_deg, level))
    patch = Patch(canvas, window, x_bone + 0.45 * noise[1] + 0.4 * noise[0], y_bone + 0.45 * noise[2])
    paint_foramina(patch, anatomy, section, level, tissues)
    paint_bones(patch, anatomy, section, level, tissues, noise)
    paint_roots(patch, anatomy, section, level, tissues)
    paint_body(patch, anatomy, section, level, disc, tissues, noise)
    patch.x, patch.y = x, y
    paint_canal(patch, section, at_level(BODY_RL_MM, level) * anatomy.body, disc, tissues, noise, flow_loss)
    paint_cord(patch, section, anatomy, level, tissues, noise)
    paint_findings(patch, anatomy, section, z_mm, tissues)
    return patch.image


def paint_foramina(patch: Patch, anatomy: Anatomy, section: CrossSection, level: float, tissues: Tissues) -> None:
    """Fat of the neural foramina, between the pedicles of two vertebrae."""
    share = 1 - span(level - round(level), -0.30, 0.10, 0.16)
    if share == 0 or level < -0.6:
        return
    ap, half_rl = section.canal.ap_mm, section.canal.rl_mm / 2
    for side in (-1, 1):
        fat: list[Layer] = [(0, 0.7 * tissues.fat, 0.85 * share)]
        patch.spot((side * (half_rl + 1.5), -ap * 0.27), (7.0, 3.4), fat, side * -32)


def paint_roots(patch: Patch, anatomy: Anatomy, section: CrossSection, level: float, tissues: Tissues) -> None:
    """Roots with their ganglia in the foramina, and the vertebral arteries in front of them."""
    share = 1 - span(level - round(level), -0.26, 0.04, 0.16)
    ap, half_rl = section.canal.ap_mm, section.canal.rl_mm / 2
    atlas = atlas_share(level)
    # a root leaves the sac at its disc and runs down and out, so lower slices meet it further from the canal
    run = clamp((level - round(level)) % 1.0 - 0.25, 0, 0.6) / 0.6
    for side in (-1, 1):
        if share > 0.02 and atlas == 0:
            out = half_rl + 1.0 + 5.5 * run
            y = -ap * 0.27 - 0.4 * out + 0.4 * half_rl
            wide = 0.35 * max(anatomy.asymmetry[2][0] * side, 0)
            root: list[Layer] = [(0.9, 0.75 * tissues.fat, 0.5 * share), (0, tissues.root, share)]
            patch.spot((side * out, y), (3.6 + wide, 1.8 + wide), root, side * -32)
        if level < C7 + 0.4:
            aside, front = (
                half_rl + 6.0 + 0.4 * side * anatomy.asymmetry[2][3] + 6 * atlas,
                -ap * 0.42 - 3.0 + 4 * atlas,
            )
            if level > C7 - 0.4:  # in front of C7's process
                front -= 4.5 * clamp((level - C7 + 0.4) / 0.3, 0, 1)
            radius = anatomy.bones.arteries_mm[side > 0]
            artery: list[Layer] = [(1.1, 0.9 * tissues.wall, 0.55), (0.0, tissues.vessel, 1.0)]
            patch.spot((side * aside, front), (radius, radius), artery)


def paint_canal(
    patch: Patch,
    section: CrossSection,
    body_rl_mm: float,
    disc: float,
    tissues: Tissues,
    noise: list[Array],
    flow_loss: float,
) -> None:
    """Epidural tissue, the lesions, and CSF within the dura with rootlets."""
    x, y, canal, lesions = patch.x, patch.y, section.canal, section.lesions
    front, back = on_pixels(canal.front_mm, x), on_pixels(canal.back_mm, x)
    dura_front, dura_back = on_pixels(section.dura_front_mm, x), on_pixels(section.dura_back_mm, x)
    bony = canal_distance(canal, x, y, front)
    posterior = 0.35 + 0.65 * np.clip((y - 1.0) / 3.0, 0, 1)
    veins = np.clip((np.abs(x) - 3.0) / 2, 0, 1) * np.clip((-y - 2.0) / 2, 0, 1) * (1 - disc)  # beside the midline
    patch.paint(
        bony, tissues.epidural * (0.75 + 0.2 * noise[0]) * np.maximum(posterior, 0.8 * veins) + 0.1 * tissues.fat
    )
    ligament = np.maximum(bony, y - np.float32(-canal.ap_mm / 2 + 0.6))
    patch.paint(ligament, tissues.cortex, np.clip((body_rl_mm / 3 - np.abs(x)) / 2, 0, 1) * (0.45 + 0.4 * disc))
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
