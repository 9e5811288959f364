"""The vertebrae of one thin slice: bodies and discs, pedicles, articular pillars with their joints, arches, processes.

A vertebra's parts overlap its neighbours' along the spine: at a disc, the joint between the inferior process above and
the superior process below lies beside the canal, and the spinous process of the vertebra above lies behind it. Offsets
are heights within a vertebra, in vertebrae: -0.5 the disc above, 0 its middle, 0.5 the disc below.
"""

from __future__ import annotations

import numpy as np

from .anatomy import BODY_AP_MM, BODY_RL_MM, LEVELS, Anatomy, at_level
from .canvas import Layer, Patch
from .cross_sections import Canal, CrossSection, canal_distance
from .fields import Array, bump, clamp, ellipse, on_pixels, rod, squarish
from .tissues import Tissues

FAR_MM = np.float32(99.0)
SPINOUS_MM = (0.0, 17.0, 10.0, 10.0, 11.5, 16.0, 25.0, 27.0, 27.0)  # by level, from the arch; C1 has a tubercle only
C1, C2, C7, T1 = -1, 0, 5, 6  # levels of `Anatomy.level`
CORTEX_MM = 0.7


def span(offset: float, low: float, high: float, soft: float = 0.12) -> float:
    """Share of a part present at ``offset``, 1 between ``low`` and ``high``."""
    return clamp(min(offset - low, high - offset) / soft + 0.5, 0, 1)


def of(table: tuple[float, ...], vertebra: int) -> float:
    """Read a table by `LEVELS`; vertebra -1 is C1."""
    return table[min(max(vertebra + 1, 0), len(LEVELS) - 1)]


def atlas_share(level: float) -> float:
    """How much a slice is C1 rather than C2."""
    return clamp((-0.45 - level) / 0.25, 0, 1)


def paint_bones(
    patch: Patch, anatomy: Anatomy, section: CrossSection, level: float, tissues: Tissues, noise: list[Array]
) -> None:
    """Paint pillars, pedicles, transverse processes, arch and spinous processes as one bone, then what crosses it."""
    canal = section.canal
    ring = canal_distance(canal, patch.x, patch.y, on_pixels(canal.front_mm, patch.x))
    front_of_arch = -0.12 * canal.ap_mm - patch.y
    flaval = np.maximum(np.maximum(ring - 2.6, -0.3 - ring), front_of_arch)
    patch.paint(flaval, tissues.ligament * (1.25 + 0.3 * noise[0]))
    bone = np.full(patch.x.shape, FAR_MM, np.float32)
    nearest = round(level)
    for vertebra in range(max(nearest - 1, C1), min(nearest + 1, T1 + 1) + 1):
        offset = level - vertebra
        add_arch(bone, patch, ring, front_of_arch, anatomy, canal.ap_mm, vertebra, offset)
        for side in (-1, 1):
            add_pedicle(bone, patch, canal.ap_mm, canal.rl_mm / 2, side, vertebra, offset)
            add_transverse(bone, patch, anatomy, canal.ap_mm, canal.rl_mm / 2, side, vertebra, offset)
    pillars = [add_pillar(bone, patch, anatomy, section, level, side) for side in (-1, 1)]
    marrow = tissues.facet * (1 + 0.10 * noise[1])
    patch.paint(bone - CORTEX_MM, tissues.cortex)
    patch.paint(bone + 0.35, marrow)
    for side, pillar in zip((-1, 1), pillars, strict=True):
        paint_joint(patch, anatomy, section, level, side, pillar, tissues)


def add_arch(
    bone: Array,
    patch: Patch,
    ring: Array,
    front_of_arch: Array,
    anatomy: Anatomy,
    canal_ap_mm: float,
    vertebra: int,
    offset: float,
) -> None:
    """Lamina around the back of the canal, sloping backwards as it descends, and the spinous process behind it."""
    bones = anatomy.bones
    if vertebra == C1:
        share = span(offset, -0.16, 0.16, 0.16)
        if share > 0:
            arch = np.maximum(ring - (1.2 + 3.6 * share), 1.2 - ring)
            np.minimum(bone, np.maximum(arch, front_of_arch), out=bone)
        return
    share = span(offset, -0.20, 0.66, 0.20)
    slope_mm = 0.2 + 5.0 * clamp(offset - 0.2, 0, 0.45)
    if share > 0:
        thick = bones.lamina_mm * share
        lamina = np.maximum(ring - (slope_mm + thick), slope_mm + 0.3 * (1 - share) - ring)
        np.minimum(bone, np.maximum(lamina, front_of_arch), out=bone)
    long = of(SPINOUS_MM, vertebra) * of(bones.spinous, vertebra)
    high = 0.95 if vertebra < C7 else 0.80
    share = span(offset, 0.06, high, 0.16)
    if share == 0:
        return
    root = canal_ap_mm / 2 + 2.0 + 0.8 * (slope_mm - 0.2)
    start = root + 24 * max(offset - 0.55, 0.0)  # further down only the tip is left
    tip = root + 1.5 + long * clamp((offset + 0.15) / 0.55, 0.35, 1)
    if tip <= start + 1:
        return
    aside = of(bones.spinous_x_mm, vertebra)
    middle = 0.5 * aside
    fork = min(of(bones.forked, vertebra), 1.3) if vertebra < C7 - 1 else 0.0
    end = start + (0.62 if fork > 0.2 else 1.0) * (tip - start)
    if start < root + 0.62 * long:
        wide = 3.6 if start < root + 1 else 2.4  # the laminae meet in a broad root
        trunk = rod(patch.x, patch.y, (0.3 * middle, start), (middle, end), wide * share, 2.1 * share)
        np.minimum(bone, trunk, out=bone)
    if fork > 0.2:
        for side in (-1, 1):
            prong = rod(patch.x, patch.y, (middle, end), (aside + side * 4.2 * fork, tip), 1.9 * share, 2.2 * share)
            np.minimum(bone, prong, out=bone)


def add_pedicle(
    bone: Array, patch: Patch, canal_ap_mm: float, half_rl_mm: float, side: int, vertebra: int, offset: float
) -> None:
    """The bridge from the body to the pillar, in the upper half of a vertebra; C1 has none."""
    share = span(offset, -0.30, 0.10, 0.16) if vertebra != C1 else 0.0
    if share > 0:
        start, end = (side * (half_rl_mm - 3.0), -canal_ap_mm / 2 - 3.0), (side * (half_rl_mm + 5.0), -0.5)
        np.minimum(bone, rod(patch.x, patch.y, start, end, 2.7 * share) + (1 - share), out=bone)


def add_transverse(
    bone: Array,
    patch: Patch,
    anatomy: Anatomy,
    canal_ap_mm: float,
    half_rl_mm: float,
    side: int,
    vertebra: int,
    offset: float,
) -> None:
    """Transverse process: two bars about the vertebral artery at C3 to C6, one at C1, C7 and T1."""
    share = span(offset, -0.26, 0.14, 0.16)
    if share == 0:
        return
    long = of(anatomy.bones.transverse[side > 0], vertebra)
    front = -canal_ap_mm / 2

    def bar(start: tuple[float, float], end: tuple[float, float], radius: float, end_radius: float) -> None:
        points = (side * start[0], start[1]), (side * end[0], end[1])
        distance = rod(patch.x, patch.y, *points, radius * share, end_radius * share)
        np.minimum(bone, distance + (1 - share), out=bone)

    if vertebra == C1:
        bar((half_rl_mm + 6, front + 1), (half_rl_mm + 22 * long, front + 2), 3.0, 2.4)
    elif vertebra == C2:
        bar((half_rl_mm + 5, front + 4), (half_rl_mm + 11 * long, front + 4), 3.0, 1.8)
    elif vertebra < C7:
        tubercle, outer = (half_rl_mm + 11.5 * long, front - 3.2), (half_rl_mm + 13.5 * long, front + 1.8)
        bar((half_rl_mm + 0.5, front - 6.8), tubercle, 2.0, 1.7)
        bar((half_rl_mm + 6, front + 5.5), outer, 3.0, 2.1)
        bar(tubercle, outer, 1.5, 1.5)
    else:
        thoracic = float(vertebra > C7)
        bar((half_rl_mm + 5, 0.0), (half_rl_mm + (17 + 3 * thoracic) * long, 0.5 + 6 * thoracic), 4.0, 3 + thoracic)


def pillar_place(canal: Canal, level: float, side: int) -> tuple[float, float]:
    """Centre of an articular pillar, or of a lateral mass of C1."""
    atlas = atlas_share(level)
    return side * (canal.rl_mm / 2 + 6.4 + 0.8 * atlas), 1.8 - atlas * (0.30 * canal.ap_mm + 2.0)


def joint_phase(level: float) -> float:
    """Height within the joint that is nearest: -1 its upper end, where it lies in front, 1 its lower end."""
    return (level - np.floor(level) - 0.5) / 0.34


def add_pillar(bone: Array, patch: Patch, anatomy: Anatomy, section: CrossSection, level: float, side: int) -> Array:
    """Add a pillar and return the distance to it; it is thick at the joints, waisted between them."""
    atlas = atlas_share(level)
    size = at_level(anatomy.bones.pillars[side > 0], level)
    joint = clamp(1.25 - abs(joint_phase(level)), 0, 1) * (1 - atlas)
    half_x = (6.2 + 1.0 * joint + 1.8 * atlas) * size
    half_y = (4.9 + 1.3 * joint + 3.0 * atlas) * (0.5 + 0.5 * size)
    x, y = pillar_place(section.canal, level, side)
    pillar = ellipse(patch.x - np.float32(x), patch.y - np.float32(y), half_x, half_y, side * (-20 + 10 * atlas))
    np.minimum(bone, pillar, out=bone)
    return pillar


def paint_joint(
    patch: Patch, anatomy: Anatomy, section: CrossSection, level: float, side: int, pillar: Array, tissues: Tissues
) -> None:
    """A facet joint: in front the superior process of the vertebra below, behind the inferior one of that above.

    The joint slopes down and back, so its line moves backwards through the pillar from slice to slice.
    """
    phase = joint_phase(level)
    share = clamp((1.15 - abs(phase)) / 0.3, 0, 1)
    if level < -0.4:  # the joints of C1 lie level, slices meet them as a dark band only
        share = 0.0
    if share == 0:
        return
    bones = anatomy.bones
    place = pillar_place(section.canal, level, side)
    x, y = (patch.x - np.float32(place[0])) * side, patch.y - np.float32(place[1])
    disc = int(np.floor(level))
    slope = np.tan(np.deg2rad(-14 + of(bones.joints_deg[side > 0], disc)))
    line = y - np.float32(4.6 * phase) - x * np.float32(slope) - np.float32(0.035) * x * x
    inside = pillar - 0.4
    patch.paint(np.maximum(np.abs(line) - 1.15, inside), tissues.cortex, share)
    fluid = of(bones.fluid[side > 0], disc)
    gap = 0.45 * tissues.csf + 0.5 * fluid * tissues.csf
    patch.paint(np.maximum(np.abs(line) - (0.15 + 0.35 * fluid), inside + 0.8), gap, share * (0.35 + 0.65 * fluid))


def body_place(anatomy: Anatomy, canal: Canal, level: float) -> tuple[float, float, float]:
    """Return y of the middle of a vertebral body, disc or dens, and its half sizes to the side and in depth."""
    half_rl, half_ap = (0.5 * at_level(table, level) * anatomy.body for table in (BODY_RL_MM, BODY_AP_MM))
    # the transverse ligament lies between dens and sac
    return -canal.ap_mm / 2 - half_ap + 0.3 - 1.6 * atlas_share(level), half_rl, half_ap


def paint_body(
    patch: Patch,
    anatomy: Anatomy,
    section: CrossSection,
    level: float,
    disc: float,
    tissues: Tissues,
    noise: list[Array],
) -> None:
    """Vertebral body, or disc between uncinate processes, or dens within C1."""
    marrow = tissues.body * (1 + 0.13 * noise[0] + 0.07 * noise[1])
    y, half_rl, half_ap = body_place(anatomy, section.canal, level)
    rl, ap = 2 * half_rl, 2 * half_ap
    atlas = atlas_share(level)
    behind = -section.canal.ap_mm / 2
    dark = anatomy.disc_dark[min(max(round(level - 0.5), 0), len(anatomy.disc_dark) - 1)]
    grown = 1 + 0.09 * disc * dark  # spurs at worn discs
    distance = squarish(patch.x, patch.y - np.float32(y), grown * rl / 2, ap / 2)
    if atlas > 0:
        paint_atlas(patch, atlas, level, rl, y, ap, behind, tissues, marrow)
    uncinate = clamp(1 - abs(disc - 0.55) / 0.5, 0, 1) * (level > C2 + 0.2)
    if uncinate > 0.02:
        for side in (-1, 1):
            bone: list[Layer] = [(0.7, tissues.cortex, uncinate), (-0.3, marrow, uncinate)]
            size = 1 + 0.5 * (dark - 0.5) * (side * anatomy.asymmetry[2][4] > 0)
            patch.spot((side * (rl / 2 - 0.4), behind - 3.4), (2.6 * size, 4.6), bone, side * 18)
    patch.paint(distance - 0.9, tissues.cortex)
    patch.paint(distance + 0.1, marrow)
    vein = float(bump((level - round(level)) / 0.12)) * (1 - atlas)
    if vein > 0.1 and level > C2 + 0.5:
        patch.spot((0.4 * anatomy.asymmetry[2][1], behind - 1.6), (1.6, 3.4), [(0, 0.65 * tissues.csf, 0.8 * vein)])
    if disc > 0.02:
        annulus = tissues.annulus * (1 + 0.2 * noise[1])
        patch.paint(distance, annulus, disc)
        nucleus = np.hypot(patch.x / (0.36 * rl), (patch.y - np.float32(y + 0.5)) / (0.34 * ap))
        core = tissues.disc * (1.55 - 0.95 * dark) * (1 + 0.18 * noise[0])
        patch.paint(distance + 1.8, annulus + (core - annulus) * np.clip(1.9 - nucleus, 0, 1), disc)


def paint_atlas(
    patch: Patch,
    atlas: float,
    level: float,
    dens_rl_mm: float,
    dens_y_mm: float,
    dens_ap_mm: float,
    canal_front_mm: float,
    tissues: Tissues,
    marrow: Array,
) -> None:
    """Anterior arch of C1 about the dens, and the transverse ligament behind it."""
    y = patch.y - np.float32(dens_y_mm)
    ligament = np.maximum(
        np.abs(patch.y - np.float32(canal_front_mm - 0.4)) - 1.3, np.abs(patch.x) - np.float32(dens_rl_mm * 0.9)
    )
    patch.paint(ligament, tissues.ligament, atlas)
    around = np.clip(10 - np.hypot(patch.x, y), 0, 1) * (patch.y < canal_front_mm - 1)
    patch.paint(np.full_like(y, -9.0), 0.45 * tissues.fat, 0.6 * atlas * around)
    share = span(level + 1.0, -0.2, 0.22, 0.2)
    if share > 0:
        radius = dens_ap_mm / 2 + 1.6 + 2.2
        arch = np.abs(np.hypot(patch.x * np.float32(0.72), y) - np.float32(radius)) - np.float32(2.3 * share)
        arch = np.maximum(arch, y - 1.0)
        patch.paint(arch - CORTEX_MM, tissues.cortex, atlas)
        patch.paint(arch + 0.35, marrow, atlas)
