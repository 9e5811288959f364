"""Figures as PNG files; every function takes plain arrays and a path, and gives the path back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike
from sklearn.metrics import roc_curve

from ..files import replacing


def save(figure: Figure, path: Path) -> Path:
    """Write a figure, whole or not at all."""
    with replacing(Path(path)) as temporary:
        figure.savefig(temporary, dpi=150, bbox_inches="tight", format="png")
    return Path(path)


def literal(text: str) -> str:
    """Return text that Matplotlib draws as it is: a folder may be called $A$, which else is a formula."""
    return text.replace("$", r"\$")


def training_curve(rows: Sequence[Mapping[str, float]], path: Path) -> Path:
    """Draw training and validation loss, and the first other validation metric, by epoch.

    Args:
        rows: one mapping per epoch with ``epoch``, ``train_loss``, ``val_loss`` and another, such as ``val_auc``.
        path: the PNG.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    loss: Axes = figure.add_subplot()
    epochs = [row["epoch"] for row in rows]
    for name, colour in (("train_loss", "tab:blue"), ("val_loss", "tab:orange")):
        loss.plot(epochs, [row.get(name, np.nan) for row in rows], color=colour, label=name.replace("_", " "))
    validated = [row.get("val_loss", np.nan) for row in rows]
    if np.isfinite(validated).any():
        best = int(np.nanargmin(validated))
        loss.axvline(epochs[best], color="grey", linestyle=":", label=f"best epoch {epochs[best]:.0f}")
    loss.set(xlabel="epoch", ylabel="weighted cross-entropy")
    loss.xaxis.set_major_locator(MaxNLocator(integer=True))
    area = loss.twinx()
    others = [name for name in rows[0] if name.startswith("val_") and name != "val_loss"]
    for name in others[:1]:
        words = name.removeprefix("val_").replace("_", " ").replace("auc", "AUC")
        values = [row.get(name, np.nan) for row in rows]
        area.plot(epochs, values, color="tab:green", alpha=0.6, label=f"val {words} (right)")
        area.set(ylabel=words, ylim=(0.0, 1.0 if words == "AUC" else None))
    handles = [*loss.get_legend_handles_labels()[0], *area.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize="small")
    return save(figure, path)


def roc(labels: ArrayLike, scores: ArrayLike, metrics: Mapping[str, Any], title: str, path: Path) -> Path:
    """Draw the ROC curve over all slices with the operating point.

    Args:
        labels: 0 or 1, shape (S,), both present.
        scores: anything that grows with the probability of 1, shape (S,).
        metrics: `scripts.evaluation.slices.slice_metrics` of the same slices.
        title: says what was tested on what.
        path: the PNG.
    """
    false_positive, true_positive, _ = roc_curve(np.asarray(labels), np.asarray(scores))
    figure = Figure(figsize=(4.6, 4.8), layout="constrained")
    axes: Axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="lightgrey", linestyle="--")
    axes.plot(false_positive, true_positive, color="tab:blue", label=f"all slices, AUC {metrics['auc']:.3f}")
    point = (1 - metrics["specificity"], metrics["sensitivity"])
    axes.plot(*point, "o", color="tab:red", label=f"threshold {metrics['threshold']:g}")
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set_title(literal(title), fontsize="medium")
    axes.legend(loc="lower right", fontsize="small")
    return save(figure, path)


def bars(names: Sequence[str], values: ArrayLike, label: str, title: str, path: Path) -> Path:
    """Draw one bar per name; the lowest stands out.

    Args:
        names: what is compared, shape (K,).
        values: one value each, shape (K,).
        label: what the values are, with unit.
        title: says what was compared on what.
        path: the PNG.
    """
    heights = np.asarray(values, dtype=float)
    figure = Figure(figsize=(max(4.0, 1.1 * len(heights)), 3.6), layout="constrained")
    axes: Axes = figure.add_subplot()
    colours = ["tab:orange" if index == int(np.argmin(heights)) else "tab:blue" for index in range(len(heights))]
    drawn = axes.bar(range(len(heights)), heights, color=colours)
    axes.bar_label(drawn, fmt="%.3f", fontsize="small")
    axes.set_xticks(range(len(heights)), list(map(literal, names)), rotation=30, ha="right", fontsize="small")
    axes.set(ylabel=label)
    axes.set_title(literal(title), fontsize="medium", wrap=True)
    return save(figure, path)


def scatter(
    x: ArrayLike, y: ArrayLike, values: ArrayLike, labels: tuple[str, str, str], title: str, path: Path
) -> Path:
    """Draw points coloured by a value that should be low; x is logarithmic and the lowest point is ringed.

    Args:
        x: shape (K,), positive.
        y: shape (K,).
        values: shape (K,).
        labels: names of x, y and the values, with units.
        title: says what was searched on what.
        path: the PNG.
    """
    across, up, shade = (np.asarray(one, dtype=float) for one in (x, y, values))
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes: Axes = figure.add_subplot()
    points = axes.scatter(across, up, c=shade, cmap="viridis_r", s=60)
    best = int(np.argmin(shade))
    axes.scatter(across[best], up[best], s=200, facecolors="none", edgecolors="tab:red", label="lowest")
    axes.set(xscale="log", xlabel=labels[0], ylabel=labels[1])
    axes.set_title(literal(title), fontsize="medium", wrap=True)
    axes.legend(fontsize="small")
    figure.colorbar(points, label=labels[2])
    return save(figure, path)


def matrix(values: ArrayLike, rows: Sequence[str], columns: Sequence[str], label: str, title: str, path: Path) -> Path:
    """Draw numbers from 0 to 1 as a heat map with the number in each cell; NaN stays empty.

    Args:
        values: shape (R, C); what is below 0 has the colour of 0.
        rows: names, shape (R,).
        columns: names, shape (C,).
        label: what the values are.
        title: says what was compared on what.
        path: the PNG.
    """
    shades = np.asarray(values, dtype=float)
    figure = Figure(figsize=(3 + 0.9 * len(columns), 1.8 + 0.5 * len(rows)), layout="constrained")
    axes: Axes = figure.add_subplot()
    image = axes.imshow(shades, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(columns)), list(map(literal, columns)), rotation=30, ha="right", fontsize="small")
    axes.set_yticks(range(len(rows)), list(map(literal, rows)), fontsize="small")
    for (row, column), value in np.ndenumerate(shades):
        if np.isfinite(value):
            colour = "black" if value > 0.6 else "white"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize="small")
    axes.set_title(literal(title), fontsize="medium", wrap=True)
    figure.colorbar(image, label=label)
    return save(figure, path)
