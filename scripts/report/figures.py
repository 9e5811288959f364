"""The figures of a report, as PNG files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve

from ..evaluation.auc import roc_points
from ..evaluation.calibration import Assessment
from ..evaluation.estimates import Estimate, Floats, Ints
from ..files import replacing
from .results import SliceArrays

MOST_LINES = 300
SIZE = (5.2, 4.6)
INK, ACCENT, LIGHT = "#1b2a3a", "#0b6e99", "#9fb6c3"


def save(path: Path, draw: Callable[[Axes], None], size: tuple[float, float] = SIZE, phantom_mark: str = "") -> None:
    """Draw into one figure and write it; ``phantom_mark`` is written across its top, e.g. that it shows a phantom."""
    with rc_context({"text.parse_math": False}):  # a site may be called $A
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        if phantom_mark:
            figure.suptitle(phantom_mark, color="#a33b00", fontsize=9, fontweight="bold")
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=150)


def unit_square(axes: Axes, x: str, y: str) -> None:
    """Label axes that run from 0 to 1."""
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel=x, ylabel=y)
    axes.set_aspect("equal")


def patient_curves(slices: SliceArrays) -> tuple[Floats, Floats]:
    """Return a grid of false positive rates and each patient's sensitivity at it, for patients with both classes."""
    grid = np.linspace(0, 1, 101)
    order = np.argsort(slices.patients, kind="stable")
    groups = np.split(order, np.searchsorted(slices.patients[order], np.arange(1, len(slices.ids))))
    curves = []
    for code in np.flatnonzero(np.isfinite(slices.aucs)):
        curve = np.interp(grid, *roc_points(slices.labels[groups[code]], slices.logits[groups[code]]))
        curve[0] = 0.0
        curves.append(curve)
    return grid, np.array(curves).reshape(-1, len(grid))


def roc_per_patient(slices: SliceArrays, mean: Estimate) -> Callable[[Axes], None]:
    """ROC of every patient in light lines, their mean, and a band of one standard deviation (Merali 2021, Figure 4)."""

    def draw(axes: Axes) -> None:
        grid, curves = patient_curves(slices)
        unit_square(axes, "1 - specificity", "sensitivity")
        axes.plot([0, 1], [0, 1], ":", color=INK, linewidth=0.8)
        if not len(curves):
            axes.text(0.5, 0.5, "no patient has slices of both classes", ha="center")
            return
        drawn = np.random.default_rng(0).permutation(len(curves))[:MOST_LINES]
        lines = [np.column_stack([grid, curves[i]]) for i in drawn]
        axes.add_collection(LineCollection(lines, colors=LIGHT, linewidths=0.5, alpha=0.45))
        centre, spread = curves.mean(axis=0), curves.std(axis=0)
        band = np.clip(centre - spread, 0, 1), np.clip(centre + spread, 0, 1)
        axes.fill_between(grid, *band, color=ACCENT, alpha=0.18, linewidth=0, label="mean ± 1 SD")
        axes.plot(*roc_points(slices.labels, slices.logits), "--", color=INK, linewidth=1, label="all slices pooled")
        axes.plot(
            grid, centre, color=ACCENT, linewidth=2.2, label=f"mean of {len(curves)} patients, AUC {mean.value:.3f}"
        )
        axes.legend(loc="lower right", frameon=False, fontsize=8)

    return draw


def roc_of_rules(level: Mapping[str, Any], reference: Ints, scores: Mapping[str, Floats]) -> Callable[[Axes], None]:
    """ROC of the patients by each rule; a dot marks the rule's own threshold.

    Args:
        level: the results at patient level.
        reference: whether each patient has a compressed slice, shape (K,); both must occur.
        scores: of each patient by rule, each of shape (K,).
    """

    def draw(axes: Axes) -> None:
        unit_square(axes, "1 - specificity (patients)", "sensitivity (patients)")
        axes.plot([0, 1], [0, 1], ":", color=INK, linewidth=0.8)
        for (name, score), colour in zip(scores.items(), (ACCENT, "#b0703c", "#7a5195", "#4d7d4d"), strict=False):
            rule = level["rules"][name]
            text = f"{name.replace('_', ' ')}, AUC {rule['auc'].value:.3f}"
            axes.plot(*roc_points(reference, score), color=colour, linewidth=1.8, label=text)
            if "sensitivity" in rule:
                axes.plot(1 - rule["specificity"].value, rule["sensitivity"].value, "o", color=colour, markersize=7)
        free = level["n_compression_free_patients"]
        title = f"{level['n_patients'] - free} patients with compression, {free} without"
        axes.legend(loc="lower right", frameon=False, fontsize=8, title=title, title_fontsize=8)

    return draw


def precision_recall(slices: SliceArrays) -> Callable[[Axes], None]:
    """Precision against recall of all slices."""

    def draw(axes: Axes) -> None:
        unit_square(axes, "sensitivity (recall)", "positive predictive value (precision)")
        share = slices.labels.mean()
        axes.axhline(share, color=INK, linestyle=":", linewidth=0.8, label=f"guessing ({share:.2f} compressed)")
        if 0 < slices.labels.sum() < len(slices.labels):
            precision, recall, _ = precision_recall_curve(slices.labels, slices.logits)
            axes.plot(recall, precision, color=ACCENT, linewidth=1.8, label="all slices")
        axes.legend(loc="lower left", frameon=False, fontsize=8)

    return draw


def confusion_matrix(slices: SliceArrays, threshold: float, name: str) -> Callable[[Axes], None]:
    """Counts of slices by reference and call."""
    called, truth = slices.logits >= threshold, slices.labels == 1
    cells = np.array([[(t & c).sum() for c in (called, ~called)] for t in (truth, ~truth)])
    return confusion_cells(cells, ("compressed", "not compressed"), f"model, threshold {name}")


def confusion_cells(cells: Ints, names: Sequence[str], calls: str) -> Callable[[Axes], None]:
    """Counts of slices by reference (row) and call (column).

    Args:
        cells: the counts, shape (classes, classes).
        names: of the classes.
        calls: title of the columns.
    """

    def draw(axes: Axes) -> None:
        shares = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        few = len(names) == 2
        for (i, j), share in np.ndenumerate(shares):
            colour = "white" if share > 0.55 else INK
            text = f"{cells[i, j]:,}\n{100 * share:.1f} %{' of the row' if few else ''}"
            axes.text(j, i, text, ha="center", va="center", color=colour)
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(names)), [name.replace(" ", "\n") for name in names])
        axes.set(xlabel=calls if few else f"{calls} (% of the row)", ylabel="reference")
        axes.spines[:].set_visible(False)

    return draw


def calibration(
    judged: Mapping[str, Assessment], observed: str = "observed share of compressed slices"
) -> Callable[[Axes], None]:
    """Observed against predicted probability: before and after calibration, or of each class.

    Args:
        judged: each line's probabilities, by its name.
        observed: what the vertical axis says.
    """

    def draw(axes: Axes) -> None:
        unit_square(axes, "predicted probability", observed)
        axes.plot([0, 1], [0, 1], ":", color=INK, linewidth=0.8)
        colours = {"uncalibrated": "#b0703c", "baseline": "#7a5195", "calibrated": ACCENT}
        others = iter((ACCENT, "#b0703c", "#7a5195", "#4b7f52"))
        for name, found in judged.items():
            curve, colour = found.curve, colours.get(name) or next(others)
            axes.fill_between(curve.predicted, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(curve.predicted, curve.observed, color=colour, linewidth=1.8, label=name)
            value = np.array([e.value for e in curve.bin_observed])
            ends = np.nan_to_num(np.array([[e.value - e.low, e.high - e.value] for e in curve.bin_observed])).T
            size: dict[str, Any] = {"markersize": 3.5, "linewidth": 0.8}
            axes.errorbar(curve.bin_predicted, value, np.maximum(ends, 0), fmt="o", color=colour, **size)
        axes.legend(loc="upper left", frameon=False, fontsize=8)

    return draw


def forest(
    rows: list[dict[str, Any]], whole: Mapping[str, Estimate]
) -> tuple[Callable[[Axes], None], tuple[float, float]]:
    """Pooled and mean AUC of every subgroup with their intervals; returns the drawing and its size."""
    subgroup_rows = [row for row in rows if "pooled_auc" in row]

    def draw(axes: Axes) -> None:
        styles = (("pooled_auc", "pooled", "s", ACCENT, -0.14), ("mean_auc", "mean per patient", "o", "#b0703c", 0.14))
        for name, text, marker, colour, shift in styles:
            values = [whole[name], *(row[name] for row in subgroup_rows)]
            at = np.arange(len(values)) + shift
            centre = np.array([e.value for e in values])
            ends = np.nan_to_num(np.array([[e.value - e.low, e.high - e.value] for e in values])).T
            size: dict[str, Any] = {"markersize": 4, "linewidth": 1}
            axes.errorbar(centre, at, xerr=np.maximum(ends, 0), fmt=marker, color=colour, label=text, **size)
            axes.axvline(centre[0], color=colour, linestyle=":", linewidth=0.8)
        levels = [shorten(f"{row['column']} {row['level']}", 40, placeholder=" …") for row in subgroup_rows]
        names = [f"{level} ({row['n_patients']})" for level, row in zip(levels, subgroup_rows, strict=True)]
        axes.set_yticks(range(len(subgroup_rows) + 1), [f"all patients ({whole['pooled_auc'].n_patients})", *names])
        axes.invert_yaxis()
        axes.set_xlabel("AUC, 95 % interval")
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.12), frameon=False, fontsize=8, ncol=2)

    return draw, (7.2, 1.6 + 0.36 * (len(subgroup_rows) + 1))


def bland_altman(
    table: pd.DataFrame, limits: Mapping[str, Estimate], measure: str, unit: str
) -> Callable[[Axes], None]:
    """Difference of model and reference against their mean, one dot per patient."""

    def draw(axes: Axes) -> None:
        a, b = table[f"{measure}_model"].astype(float), table[f"{measure}_reference"].astype(float)
        axes.scatter((a + b) / 2, a - b, s=12, color=ACCENT, alpha=0.5, linewidth=0)
        for name, style in (("bias", "-"), ("lower_limit", "--"), ("upper_limit", "--")):
            axes.axhline(limits[name].value, color=INK, linestyle=style, linewidth=0.9)
            if np.isfinite(limits[name].low):
                axes.axhspan(limits[name].low, limits[name].high, color=LIGHT, alpha=0.25, linewidth=0)
        axes.set(xlabel=f"mean of model and reference ({unit})", ylabel=f"model - reference ({unit})")

    return draw
