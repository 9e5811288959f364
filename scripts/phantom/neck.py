"""The neck around the spine: skin, fat, muscles, vessels, airway."""

from __future__ import annotations

import numpy as np

from .anatomy import Anatomy
from .canvas import Canvas
from .fields import Array, coverage, ellipse, squarish
from .tissues import Tissues

# centre x, y, half sizes (mm) and turn of each muscle of the left side; (dx, dy) is the shift towards T1
MUSCLES = (
    (9.5, -25, 7.0, 3.9, 8, 0, -1),  # longus colli and capitis
    (23, -12, 6.6, 8.4, 20, 0, 0),  # scalenes
    (31, -3, 6.8, 10.0, 15, 0, 0),
    (37, 13, 6.4, 13.5, 12, 6, 0),  # levator scapulae
    (50, -20, 6.6, 19, 24, 16, 2),  # sternocleidomastoid
    (8.0, 22, 5.6, 9.5, -14, 0, 0),  # multifidus
    (17, 24, 7.6, 11.5, -32, 0, 0),  # semispinalis cervicis
    (12.5, 38, 8.2, 12, -24, 0, 0),  # semispinalis capitis
    (27, 27, 6.4, 17.5, -42, 0, 0),  # longissimus
    (23, 45, 6.2, 20, -62, 4, 0),  # splenius
    (34, 48, 4.4, 24, -74, 16, 4),  # trapezius
    (11, -50, 7.5, 3.4, 12, 0, 0),  # strap muscles
    (22, -40, 3.6, 10, -25, 0, 0),
)


def paint_neck(
    canvas: Canvas, anatomy: Anatomy, level: float, tissues: Tissues, texture: Array, coarse: Array, fascia: Array
) -> None:
    """Paint everything outside the spinal column.

    Args:
        canvas: an empty canvas.
        anatomy: the patient.
        level: -1 mid C1, 0 mid C2, 1 mid C3, ...
        tissues: signals.
        texture: about 1, streaks of fat in muscle, of the image's shape.
        coarse: smooth noise of unit variance.
        fascia: one number in 0...1 for each muscle, how thick its fat plane is.
    """
    low, high = float(np.clip((level - 4.2) / 1.8, 0, 1)), float(np.clip((1.1 - level) / 1.1, 0, 1))  # to T1, to C2
    half_width = anatomy.neck_half_width_mm * (1 + 1.1 * low**1.5) * (1 + 0.06 * high)
    half_depth = anatomy.neck_half_depth_mm * (1 + 0.10 * low + 0.10 * high)
    y_centre = -3 + 6 * low - 6 * high
    x, y = canvas.x, canvas.y
    everywhere = (slice(None), slice(None))
    narrowing = np.clip((y_centre - y) * np.float32(1 / half_depth), 0, 1) ** 2
    outline = squarish(x * (1 + (0.30 - 0.12 * low) * narrowing), y - np.float32(y_centre), half_width, half_depth)
    behind = np.clip((y - y_centre) * np.float32(1 / half_depth), 0, 1) ** 1.5
    beside = anatomy.fat_beside_mm
    layer = beside + (anatomy.fat_behind_mm * (1 + 0.6 * low) - beside) * behind
    canvas.paint(everywhere, outline, tissues.skin)
    canvas.paint(everywhere, outline + 1.6, tissues.fat * np.clip(1.02 - 0.10 * (texture - 1), 0.7, 1.1))
    shell = canvas.image.copy()
    deep = coverage(outline + 1.6 + layer, canvas.pixel_mm * 1.5)
    canvas.image += deep * (tissues.muscle * texture - canvas.image)
    paint_fat_planes(canvas, anatomy, low, tissues)
    paint_muscles(canvas, anatomy, low, tissues, texture, coarse, fascia)
    paint_midline(canvas, anatomy, y_centre + half_depth, tissues)
    paint_vessels(canvas, anatomy, level, low, tissues)
    paint_airway(canvas, anatomy, level, low, high, tissues, np.minimum(texture, 1.2))
    canvas.image = shell + deep * (canvas.image - shell)


def paint_fat_planes(canvas: Canvas, anatomy: Anatomy, low: float, tissues: Tissues) -> None:
    """Fat of the posterior triangle, wider towards the shoulders, and around the carotid sheath."""
    fat = tissues.fat * 0.9
    for side in (-1, 1):
        a = anatomy.asymmetry[0 if side < 0 else 1]
        width = max(3.0 + 9 * low + 0.8 * a[2], 1.0)
        canvas.ellipse(side * (42 + 12 * low + a[0]), -1 + a[1], width, 24, fat, side * (16 - 12 * low))
        canvas.ellipse(side * (38 + 8 * low + a[3]), 28 + a[4], 1.6 + 3 * low + 1.5 * anatomy.fatty, 17, fat, side * 38)
        canvas.ellipse(side * (29.5 + a[2]), -24, 4.8, 8.5, fat * 0.95, side * 18)


def paint_muscles(
    canvas: Canvas, anatomy: Anatomy, low: float, tissues: Tissues, texture: Array, coarse: Array, fascia: Array
) -> None:
    """Muscles that share their borders: a pixel belongs to the nearest one, fat lies where two are equally near."""
    shape = canvas.image.shape
    nearest, second = np.full(shape, 9.0, np.float32), np.full(shape, 9.0, np.float32)
    value, plane = np.ones(shape, np.float32), np.zeros(shape, np.float32)
    number = 0
    for side in (-1, 1):
        a = anatomy.asymmetry[0 if side < 0 else 1]
        for x, y, half_x, half_y, degrees, shift_x, shift_y in MUSCLES:
            cx = side * (x + shift_x * low + 0.9 * a[number % 5])
            cy = y + shift_y * low + 0.9 * a[(number + 2) % 5]
            wide = half_x * (1 + 0.06 * a[(number + 1) % 5])
            window = canvas.window(cx, cy, max(wide, half_y) + 7)
            number += 1
            if canvas.x[window].size == 0:
                continue
            px, py = canvas.x[window] - np.float32(cx), canvas.y[window] - np.float32(cy)
            distance = ellipse(px, py, wide, half_y, side * degrees)
            closer = distance < nearest[window]
            second[window] = np.where(closer, nearest[window], np.minimum(second[window], distance))
            nearest[window] = np.minimum(nearest[window], distance)
            signal = float(np.clip(1 + 0.16 * a[(number + 3) % 5], 0.6, 1.6))
            value[window] = np.where(closer, np.float32(signal), value[window])
            plane[window] = np.where(closer, np.float32(0.3 + 0.7 * fascia[number % len(fascia)]), plane[window])
    everywhere = (slice(None), slice(None))
    canvas.paint(everywhere, nearest - 0.4, tissues.muscle * value * texture)
    fat = tissues.fat * 0.92
    patchy = np.clip(0.35 + 0.75 * coarse, 0, 1) * plane
    half_width = 0.12 + 0.55 * anatomy.fatty
    border = np.maximum(0.5 * (second - nearest) - half_width * patchy, nearest - 2.5)
    canvas.paint(everywhere, border, fat, 0.9 * patchy)
    prevertebral = np.clip((canvas.y + 14) / 8, 0.25, 1)  # hardly any fat in front of the spine
    gaps = np.clip(0.3 + 0.6 * anatomy.fatty + 0.35 * coarse, 0, 0.9) * np.clip((7 - nearest) / 4, 0, 1) * prevertebral
    canvas.paint(everywhere, 0.9 - nearest, fat, gaps)  # wedges that no muscle fills


def paint_midline(canvas: Canvas, anatomy: Anatomy, y_skin: float, tissues: Tissues) -> None:
    """The nuchal ligament in its fat."""
    window = canvas.window(0, 34, 30)
    x, y = canvas.x[window], canvas.y[window]
    if x.size == 0:
        return
    aside = np.abs(x - 0.8 * np.sin(y * 0.13 + anatomy.asymmetry[0][0]))
    width = 0.9 + 1.6 * anatomy.fatty + 1.2 * np.clip((y - 26) / 30, 0, 1)
    canvas.paint(
        window, aside - width, tissues.fat * 0.85, np.clip((y - 17) / 5, 0, 1) * np.clip((y_skin - 4 - y) / 6, 0, 1)
    )
    opacity = np.clip((y - 20) / 5, 0, 1) * np.clip((y_skin - 10 - y) / 6, 0, 1) * 0.8
    canvas.paint(window, aside - 0.45, tissues.cortex, opacity)


def paint_vessels(canvas: Canvas, anatomy: Anatomy, level: float, low: float, tissues: Tissues) -> None:
    """Carotid arteries (two on each side above C4) and jugular veins, of unequal size."""
    for side in (-1, 1):
        a = anatomy.asymmetry[0 if side < 0 else 1]
        x, y = side * (27.5 + a[1] - 3 * low), -26.5 + a[2] - 2 * low
        canvas.ellipse(x, y, 3.9, 3.9, tissues.vessel, rim=(0.5, 0.85 * tissues.wall))
        if level < 2.2:
            canvas.ellipse(x + side * 5, y - 5, 2.4, 2.4, tissues.vessel, rim=(0.35, 0.7 * tissues.wall))
        slow = tissues.vessel + 0.5 * max(a[0], 0) * (side > 0)  # slow flow gives signal
        half_x, half_y = max(5.2 + a[4], 2.5), max(3.1 + 0.5 * a[0], 1.6)
        canvas.ellipse(x + side * (6.5 + a[3]), y + 3.5, half_x, half_y, slow, side * 30, rim=(0.3, 0.7 * tissues.wall))


def paint_airway(
    canvas: Canvas, anatomy: Anatomy, level: float, low: float, high: float, tissues: Tissues, texture: Array
) -> None:
    """Pharynx with mandible and glands, larynx, or trachea with thyroid and oesophagus."""
    fat = tissues.fat
    y = -43 + 2 * low + anatomy.asymmetry[2][0]
    if level < 1.6:
        canvas.ellipse(0, y, 19, 9.5, tissues.mucosa, texture=texture)
        canvas.ellipse(0, y - 1, 13.5, 4.2, tissues.air)
        canvas.ellipse(0, y - 17, 20, 12, tissues.muscle * 1.5, rim=(0.6, 0.5 * fat), texture=texture)
        for side in (-1, 1):
            canvas.ellipse(side * 31, y, 8, 8.5, tissues.gland, rim=(0.6, 0.6 * fat), texture=texture)
            if high > 0:
                canvas.ellipse(side * 42, y - 2, 4.2, 14, 1.2 * tissues.body, side * 20, rim=(0.9, tissues.cortex))
    elif level < 3.6:
        opening = 3.2 + 2.25 * (level - 1.6)
        canvas.ellipse(0, y + 1, 17, 13.5, tissues.mucosa, texture=texture)
        for side in (-1, 1):
            canvas.ellipse(side * 11.5, y - 3, 1.5, 13, tissues.cartilage, side * 32, rim=(0.5, tissues.cortex + 0.05))
        canvas.ellipse(0, y - 2, opening, 8.5, tissues.air)
        canvas.ellipse(0, y + 9.5, 9, 2.3, tissues.muscle * 1.6, rim=(0.6, 0.8 * tissues.wall), opacity=0.8)
    else:
        for side in (-1, 1):
            half_y = 10.5 * (1 - 0.5 * low)
            canvas.ellipse(
                side * 15.5, y + 4, 6.5, half_y, tissues.thyroid, side * 12, rim=(0.5, 0.4 * fat), texture=texture
            )
        canvas.ellipse(0, y + 1, 10.3, 10.8, tissues.cartilage, rim=(0.5, tissues.cortex))
        canvas.ellipse(0, y + 1, 8.0, 8.6, tissues.air)
        canvas.ellipse(-3.5, y + 14.5, 6.2, 3.6, 0.8 * tissues.wall, rim=(0.35, 1.3 * tissues.wall))
