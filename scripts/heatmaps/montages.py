"""Pictures made of many small ones, fast enough to draw one for each of thousands of series.

Matplotlib takes seconds for sixty axes; here pixels are placed by numpy and letters by Pillow. This module imports
neither torch nor MONAI, so that a process that only draws starts in a second, see `scripts.heatmaps.drawers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..files import replacing

HEAT = "inferno"  # perceptually even, dark is cold
PLAIN, CALLED = (20, 20, 20), (200, 20, 20)
LIGHT, DARK = (255, 235, 120), (0, 0, 0)  # of letters and their edge on a picture
BAR = 24  # pixels across
Picture = NDArray[np.uint8]
Sides = tuple[str, str]
"""The sides of the patient on which the left and the right edge of a picture lie."""
NETWORK_SIDES: Sides = ("R", "L")
"""Of what the network sees where there is no header: its columns run to the patient's left, see `Orientationd`."""
Floats = NDArray[np.floating[Any]]


def overlay(image: Floats, heat: Floats) -> Picture:
    """Blend a heat map over a grey slice; the hotter, the less grey shines through.

    Args:
        image: ``(H, W)`` in [0, 1].
        heat: ``(H, W)`` in [0, 1].

    Returns:
        RGB ``(H, W, 3)``.
    """
    table = matplotlib.colormaps[HEAT](np.arange(256))[:, :3].astype(np.float32)
    hot = np.clip(heat, 0, 1).astype(np.float32)
    colour = table[np.rint(255 * hot).astype(np.uint8)]
    alpha = 0.6 * hot[..., None]
    grey = np.clip(image, 0, 1).astype(np.float32)[..., None]
    return np.asarray(np.rint(255 * ((1 - alpha) * grey + alpha * colour)), dtype=np.uint8)


def grey(image: Floats) -> Picture:
    """Turn a slice in [0, 1], ``(H, W)``, into RGB."""
    return np.repeat(np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)[..., None], 3, axis=-1)


def font(size: int) -> Any:
    """Return Pillow's own scalable font."""
    return ImageFont.load_default(size)


def write_sides(canvas: Image.Image, sides: Sides, corner: tuple[int, int], shape: tuple[int, ...]) -> None:
    """Write the sides of the patient at half height inside a picture on a canvas, as viewers do.

    Args:
        canvas: what is drawn on.
        sides: the letters.
        corner: the picture's upper left corner, x and y.
        shape: of the picture, rows first.
    """
    (x, y), (rows, columns) = corner, shape[:2]
    size = max(11, rows // 20)
    draw, middle = ImageDraw.Draw(canvas), y + rows // 2
    for letter, place, anchor in zip(sides, (x + 3, x + columns - 4), ("lm", "rm"), strict=True):
        draw.text((place, middle), letter, LIGHT, font(size), anchor, stroke_width=1, stroke_fill=DARK)


def write_on(picture: Picture, lines: Sequence[str], sides: Sides) -> Picture:
    """Write lines into the upper left corner of a picture, and the patient's sides; they show on any ground."""
    canvas = Image.fromarray(picture)
    size = max(9, picture.shape[0] // 32)
    ImageDraw.Draw(canvas).multiline_text(
        (size // 2, size // 2), "\n".join(lines), LIGHT, font(size), stroke_width=1, stroke_fill=DARK
    )
    write_sides(canvas, sides, (0, 0), picture.shape)
    return np.asarray(canvas)


def colour_bar(height: int, low: str, high: str, label: str) -> Picture:
    """Draw the scale of `overlay`, ``(height, 84, 3)``, hot at the top: across, over black to over white tissue."""
    canvas = Image.new("RGB", (84, height), "white")
    rows = max(height - 40, 2)
    tissue = np.broadcast_to(np.linspace(0, 1, BAR), (rows, BAR))
    heat = np.broadcast_to(np.linspace(1, 0, rows)[:, None], (rows, BAR))
    canvas.paste(Image.fromarray(overlay(tissue, heat)), (4, 20))
    draw = ImageDraw.Draw(canvas)
    draw.text((32, 14), high, PLAIN, font(11))
    draw.text((32, height - 32), low, PLAIN, font(11))
    for x, text in ((42, label), (60, "across: from black to white tissue")):
        sideways = Image.new("RGB", (height - 70, 16), "white")
        ImageDraw.Draw(sideways).text((0, 1), text, PLAIN, font(11))
        canvas.paste(sideways.rotate(90, expand=True), (x, 35))
    return np.asarray(canvas)


def sheet_picture(
    pictures: Sequence[Sequence[Picture]],
    captions: Sequence[str],
    called: Sequence[bool],
    title: str,
    scale_label: str,
    sides: Sides | None,
    columns: int = 8,
) -> Picture:
    """Put small pictures in rows, with a caption over each, a title, the patient's sides and the colour bar.

    Args:
        pictures: for each slice the RGB pictures, all of one size, that stand one below the other.
        captions: for each slice the text over them; lines are parted by newlines.
        called: for each slice whether its caption is red.
        title: lines above everything.
        scale_label: what the colours mean; without, there is no colour bar.
        sides: of the patient, see `scripts.heatmaps.overlays.sides_of`; they stand in the upper picture of each slice.
            None where there is no slice.
        columns: slices in a row.
    """
    side, wide = pictures[0][0].shape[:2]
    stacked, columns = len(pictures[0]), min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    text_height = 4 + 13 * max(caption.count("\n") + 1 for caption in captions)
    block = text_height + stacked * (side + 2)
    top = 10 + 15 * (title.count("\n") + 1)
    body = max(rows * block, 320 if scale_label else 0)
    width = columns * (wide + 4) + 90
    # a few slices must not cut off what the title says
    measured = ImageDraw.Draw(Image.new("RGB", (1, 1))).multiline_textbbox((6, 5), title, font(12))
    canvas = Image.new("RGB", (max(width, int(measured[2]) + 8), top + body + 4), "white")
    draw = ImageDraw.Draw(canvas)
    draw.multiline_text((6, 5), title, PLAIN, font(12))
    for index, column in enumerate(pictures):
        x, y = index % columns * (wide + 4) + 2, top + index // columns * block
        draw.multiline_text((x, y), captions[index], CALLED if called[index] else PLAIN, font(11), spacing=2)
        for level, picture in enumerate(column):
            canvas.paste(Image.fromarray(picture), (x, y + text_height + level * (side + 2)))
        if sides:
            write_sides(canvas, sides, (x, y + text_height), column[0].shape)
    if scale_label:
        canvas.paste(
            Image.fromarray(colour_bar(min(body, 420), "0", "1", scale_label)), (columns * (wide + 4) + 4, top)
        )
    return np.asarray(canvas)


def save_png(picture: Picture, path: Path) -> None:
    """Write one RGB picture; heat maps take a quarter of the time at this level, and 1 % more space."""
    with replacing(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG", compress_level=1)


def save_sheet(
    slices: Sequence[tuple[Floats, Floats]],
    captions: Sequence[str],
    called: Sequence[bool],
    title: str,
    scale_label: str,
    sides: Sides | None,
    path: Path,
) -> None:
    """Write a sheet of slices, each above its heat map.

    Args:
        slices: slice and heat map, each ``(H, W)`` in [0, 1].
        captions: see `sheet_picture`.
        called: see `sheet_picture`.
        title: see `sheet_picture`.
        scale_label: see `sheet_picture`.
        sides: see `sheet_picture`.
        path: the PNG.
    """
    pictures = [[grey(image), overlay(image, heat)] for image, heat in slices]
    save_png(sheet_picture(pictures, captions, called, title, scale_label, sides), path)
