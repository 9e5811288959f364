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
Picture = NDArray[np.uint8]
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


def write_on(picture: Picture, lines: Sequence[str]) -> Picture:
    """Write lines into the upper left corner of a picture, light with a dark edge so that they show anywhere."""
    canvas = Image.fromarray(picture)
    size = max(9, picture.shape[0] // 32)
    ImageDraw.Draw(canvas).multiline_text(
        (size // 2, size // 2), "\n".join(lines), (255, 235, 120), font(size), stroke_width=1, stroke_fill=(0, 0, 0)
    )
    return np.asarray(canvas)


def colour_bar(height: int, low: str, high: str, label: str) -> Picture:
    """Draw the scale of the heat map, ``(height, 84, 3)``, hot at the top."""
    canvas = Image.new("RGB", (84, height), "white")
    scale = matplotlib.colormaps[HEAT](np.linspace(1, 0, max(height - 40, 2)))[:, None, :3]
    bar = np.rint(255 * np.broadcast_to(scale, (len(scale), 16, 3))).astype(np.uint8)
    canvas.paste(Image.fromarray(bar), (8, 20))
    draw = ImageDraw.Draw(canvas)
    draw.text((28, 14), high, PLAIN, font(11))
    draw.text((28, height - 32), low, PLAIN, font(11))
    sideways = Image.new("RGB", (height - 70, 16), "white")
    ImageDraw.Draw(sideways).text((0, 1), label, PLAIN, font(11))
    canvas.paste(sideways.rotate(90, expand=True), (42, 35))
    return np.asarray(canvas)


def sheet_picture(
    pictures: Sequence[Sequence[Picture]],
    captions: Sequence[str],
    called: Sequence[bool],
    title: str,
    scale_label: str,
    columns: int = 8,
) -> Picture:
    """Put small pictures in rows, with a caption over each, a title and the colour bar.

    Args:
        pictures: for each slice the RGB pictures, all of one size, that stand one below the other.
        captions: for each slice the text over them; lines are parted by newlines.
        called: for each slice whether its caption is red.
        title: lines above everything.
        scale_label: what the colours mean; without, there is no colour bar.
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
    path: Path,
) -> None:
    """Write a sheet of slices, each above its heat map.

    Args:
        slices: slice and heat map, each ``(H, W)`` in [0, 1].
        captions: see `sheet_picture`.
        called: see `sheet_picture`.
        title: see `sheet_picture`.
        scale_label: see `sheet_picture`.
        path: the PNG.
    """
    pictures = [[grey(image), overlay(image, heat)] for image, heat in slices]
    save_png(sheet_picture(pictures, captions, called, title, scale_label), path)
