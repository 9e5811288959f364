"""What lies in front of the spine: mouth and jaw with glands, pharynx, larynx, trachea with thyroid, oesophagus."""

from __future__ import annotations

import numpy as np

from .anatomy import Anatomy
from .canvas import Canvas
from .fields import Array, clamp
from .strips import paint_strip, strip
from .tissues import Tissues

TOOTH_MM = 7.5


def rise(level: float, start: float, end: float, over: float = 0.4) -> float:
    """How much of something that spans ``start``...``end`` there is, fading over ``over`` levels at both ends."""
    return clamp(min(level - start, end - level) / over + 0.5, 0, 1)


def paint_throat(
    canvas: Canvas, anatomy: Anatomy, level: float, front: float, tissues: Tissues, texture: Array
) -> None:
    """Paint the organs in front of the spine.

    Args:
        canvas: the neck, filled with fat.
        anatomy: the patient.
        level: -1 mid C1, 0 mid C2, ...
        front: how far the skin in front is from the canal, mm.
        tissues: signals.
        texture: streaks about 1.
    """
    soft = anatomy.soft
    mouth, throat = level - soft.jaw, level - soft.larynx
    y = -34 + 1.2 * anatomy.asymmetry[2][0] * 0.5
    bed = float(np.interp(throat, (-1.4, 1.5, 2.8, 7), (24, 25, 22, 19)))
    canvas.ellipse(
        0, y - 11, bed, 21, 0.9 * tissues.muscle + 0.1 * tissues.fat, rim=(0.8, 0.6 * tissues.fat), texture=texture
    )
    if mouth < 2.3:
        paint_mouth(canvas, anatomy, mouth, front, tissues, texture)
    paint_pharynx(canvas, anatomy, throat, y, tissues, texture)
    paint_larynx(canvas, anatomy, throat, y, tissues)
    paint_glands(canvas, anatomy, mouth, throat, y, tissues, texture)


def paint_mouth(canvas: Canvas, anatomy: Anatomy, level: float, front: float, tissues: Tissues, texture: Array) -> None:
    """Tongue and floor of the mouth, mandible with teeth, masseter and pterygoid."""
    soft = anatomy.soft
    share = rise(level, -9, 1.6, 0.9)
    fat, muscle = tissues.fat, tissues.muscle
    tip = -front + 13
    wide = anatomy.neck_half_width_mm / 59
    canvas.ellipse(
        0,
        0.5 * (tip - 44),
        24 - 3 * max(level, 0),
        0.5 * (-44 - tip) + 1,
        0.85 * muscle + 0.15 * fat,
        opacity=share,
        texture=texture,
    )
    canvas.ellipse(0, 0.5 * (tip - 46), 0.6, 0.42 * (-44 - tip), 0.7 * fat, opacity=0.7 * share)
    for index, side in enumerate((-1, 1)):
        a = soft.wander[index]
        for inner, outer, half in ((7, 11, 2.6), (16, 18, 2.2)):  # genioglossus and mylohyoid
            paint_strip(
                canvas,
                (side * outer, -50),
                (side * inner * 0.6, tip + 10),
                half,
                [(0.8, 0.75 * fat, 0.5 * share), (0.0, 1.2 * muscle, share)],
                side * 2.0,
                texture,
            )
        ramus = rise(level, -9, 0.5, 0.8)
        corner = (side * wide * (45 + a[0]), -36 - 1.5 * a[1] - 12 * max(level - 0.2, 0))
        chin = (side * 5.0, -front + 11)
        if ramus > 0:
            at = corner[0], corner[1] + 3
            to = corner[0] - side * 1, corner[1] - 22
            paint_strip(
                canvas,
                (corner[0] + side * 10, corner[1] + 2),
                (corner[0] + side * 7, -66),
                6.5 * soft.bulk,
                [(1.2, fat, ramus), (0.0, 1.05 * muscle, ramus)],
                -side * 2.0,
                texture,
            )
            paint_strip(
                canvas,
                (corner[0] - side * 8, corner[1] + 1),
                (corner[0] - side * 9, -60),
                5.5 * soft.bulk,
                [(1.0, fat, ramus), (0.0, 1.1 * muscle, ramus)],
                side * 1.0,
                texture,
            )
            paint_strip(canvas, at, to, 3.8, [(0.6, tissues.cortex, ramus), (-1.6, 1.6 * tissues.body, ramus)])
        body = rise(level, -9, 1.5, 0.7)
        back = (corner[0] * 0.96, corner[1] - 8)
        found = strip(canvas, back, chin, 5.0, -side * 11.0)
        if found is not None:
            window, distance, along = found
            teeth = clamp(0.5 - 1.4 * level, 0, 1)
            place = along * np.float32(0.5 * (np.hypot(back[0] - chin[0], back[1] - chin[1]) + 6) / TOOTH_MM)
            tooth = np.clip(1.6 - np.abs(place - np.rint(place)) * 5, 0, 1)
            marrow = 0.6 * fat
            inside = marrow + teeth * (tissues.cortex + (0.5 * marrow - tissues.cortex) * (1 - tooth) - marrow)
            canvas.paint(window, distance - 0.4, tissues.cortex, body)
            canvas.paint(window, distance + np.float32(1.7), inside, body)


def paint_pharynx(canvas: Canvas, anatomy: Anatomy, level: float, y: float, tissues: Tissues, texture: Array) -> None:
    """Naso- and oropharynx with more or less air, tonsils, epiglottis, laryngopharynx."""
    soft = anatomy.soft
    share = rise(level, -9, 2.6, 0.8)
    if share > 0:
        wide = float(np.interp(level, (-1.4, 0, 1, 2, 3), (15, 18, 19, 17, 14)))
        air = float(np.interp(level, (-1.4, -0.4, 0.6, 1.6, 2.6), (13, 9, 12, 14, 9))) * soft.airway
        deep = float(np.interp(level, (-1.4, -0.4, 0.6, 1.6, 2.6), (6, 3.6, 4.5, 5.0, 3.0))) * soft.airway**0.5
        canvas.ellipse(0, y - 5, wide, 8.5, tissues.mucosa, opacity=share, texture=texture)
        canvas.ellipse(0, y - 4, min(wide - 1.5, air), min(6.5, deep), tissues.air, opacity=share)
        epiglottis = rise(level, 1.0, 2.2, 0.5)
        if epiglottis > 0:
            canvas.ellipse(0, y - 8 - 2 * epiglottis, 8, 1.4, tissues.mucosa, opacity=epiglottis)
            for side in (-1, 1):
                canvas.ellipse(
                    side * 5.5, y - 12, 4.2, 2.2 * soft.airway, tissues.air, side * 15, opacity=0.9 * epiglottis
                )
    tonsils = rise(level, -0.9, 0.8, 0.6)
    for index, side in enumerate((-1, 1)):
        a = soft.wander[index]
        if tonsils > 0:
            canvas.ellipse(
                side * (15.5 + a[2]), y - 8, 4.5 + 0.6 * a[3], 7.5, 1.15 * tissues.mucosa, side * 10, opacity=tonsils
            )
        styloid = rise(level, -9, -0.1, 0.5)
        if styloid > 0:
            canvas.ellipse(
                side * (37 - 4 * (level + 1)), -24 - 5 * (level + 1), 1.7, 1.7, tissues.cortex, opacity=styloid
            )
        hyoid = rise(level, 1.55, 2.05, 0.3)
        if hyoid > 0:
            bone = [(0.7, tissues.cortex, hyoid), (-0.8, 1.3 * tissues.body, hyoid)]
            paint_strip(canvas, (side * (19 + a[4]), y - 8), (side * 1.5, y - 27), 2.0, bone, -side * 4.5)


def paint_larynx(canvas: Canvas, anatomy: Anatomy, level: float, y: float, tissues: Tissues) -> None:
    """Thyroid and cricoid cartilage, then the trachea and the oesophagus."""
    soft = anatomy.soft
    size = 1 + 0.04 * soft.wander[0][5]
    larynx = rise(level, 2.2, 3.9, 0.5)
    if larynx > 0:
        canvas.ellipse(0, y - 14, 14 * size, 13, tissues.mucosa * 0.9, opacity=larynx)
        canvas.ellipse(
            0,
            y - 1.5,
            13,
            2.6,
            1.1 * tissues.muscle + 0.06 * tissues.fat,
            rim=(0.6, 0.8 * tissues.wall),
            opacity=0.9 * larynx,
        )
        glottis = clamp((level - 2.6) / 0.9, 0, 1)
        for index, side in enumerate((-1, 1)):
            a = soft.wander[index]
            canvas.ellipse(
                side * 8.5, y - 13, 3.0, 7, 0.8 * tissues.fat, side * 24, opacity=0.7 * larynx * (1 - glottis)
            )
            canvas.ellipse(
                side * (13 + a[5]), y - 4, 2.2, 1.4, tissues.air, side * 30, opacity=0.8 * larynx * (1 - glottis)
            )
            layers = [(0.5, tissues.cortex, larynx), (-0.7, 1.8 * tissues.cartilage, 0.8 * larynx)]
            paint_strip(canvas, (side * 19 * size, y - 3), (side * 1.5, y - 29 * size), 1.9, layers, -side * 2.0)
            canvas.ellipse(side * 4.5, y - 6, 2.4, 1.8, tissues.cortex, opacity=larynx * glottis)
    shown = rise(level, 4.05, 99, 0.6)
    low = clamp((level - 4.4) / 1.6, 0, 1)
    x, centre = 1.2 * soft.wander[1][5] * shown, y - 14 + 2.5 * low
    if shown > 0:
        ring = tissues.cortex + (0.7 * tissues.cartilage) * clamp(0.5 + 0.5 * np.sin(level * 9), 0, 1)
        canvas.ellipse(x, centre, 10.8 * size, 11.2 - 1.2 * low, ring, rim=(0.5, 0.8 * tissues.wall), opacity=shown)
        canvas.ellipse(x, centre + 0.3, 8.6 * size, 9.0 - 1.2 * low, tissues.mucosa, opacity=shown)
        gullet = x - (3.0 + 2.0 * low), centre + 12.0 - 0.5 * low
        canvas.ellipse(
            *gullet,
            7.0,
            3.3 + 0.6 * low,
            1.1 * tissues.muscle + 0.04 * tissues.fat,
            rim=(0.4, 1.2 * tissues.wall),
            opacity=shown,
        )
        canvas.ellipse(*gullet, 2.6, 0.8, 1.3 * tissues.mucosa, opacity=0.8 * shown)
    lumen = clamp((level - 1.8) / 0.3, 0, 1)
    if lumen > 0:
        width = float(np.interp(level, (2, 2.8, 3.4, 3.8, 4.3), (6.5, 5.0, 2.4, 6.0, 7.8 * size)))
        canvas.ellipse(x, centre + 0.3, width, 8.1 - 1.2 * low, tissues.air, opacity=lumen)


def paint_glands(
    canvas: Canvas, anatomy: Anatomy, mouth: float, throat: float, y: float, tissues: Tissues, texture: Array
) -> None:
    """Parotid, submandibular and thyroid gland."""
    soft = anatomy.soft
    wide = anatomy.neck_half_width_mm / 59
    for index, side in enumerate((-1, 1)):
        a = soft.wander[index]
        parotid = rise(mouth, -9, 0.5, 0.7)
        if parotid > 0:
            bright = tissues.gland * (0.85 + 0.5 * anatomy.fatty)
            place = side * wide * (49 + a[1]), -27 + a[2]
            canvas.ellipse(
                *place,
                8.5,
                13.5 + a[3],
                bright,
                -side * 28,
                rim=(0.5, 0.5 * tissues.fat),
                texture=texture,
                opacity=parotid,
            )
            canvas.ellipse(place[0] - side * 3, place[1] + 2, 2.6, 2.0, tissues.vessel, opacity=parotid)
        submandibular = rise(mouth, 0.4, 2.1, 0.6)
        if submandibular > 0:
            place = side * wide * (32 + 1.5 * a[4]), -48 + 2 * a[5]
            value = 0.85 * tissues.gland
            canvas.ellipse(
                *place,
                7.0,
                11.0 + 1.5 * a[6],
                value,
                -side * 24,
                rim=(0.6, tissues.fat),
                texture=texture,
                opacity=submandibular,
            )
        thyroid = rise(throat, 3.6, 6.2, 0.8)
        if thyroid > 0:
            long = float(np.interp(throat, (3.2, 4.4, 5.4, 6.4), (6, 10, 10, 5))) * soft.thyroid
            layers = 6.0 * soft.thyroid**0.5 * (1 + 0.1 * a[6])
            x = side * (10.5 + layers)
            canvas.ellipse(
                x,
                y - 10,
                layers,
                long,
                tissues.thyroid,
                side * 14,
                rim=(0.5, 0.5 * tissues.fat),
                texture=texture,
                opacity=thyroid,
            )
    isthmus = rise(throat, 4.6, 5.3, 0.4)
    if isthmus > 0:
        canvas.ellipse(0, y - 26.5, 11, 2.2, tissues.thyroid, opacity=isthmus)
