"""A picture of a cohort: some slices of each patient with their labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..files import replacing

COLUMNS = 7
MAX_PATIENTS = 30


def draw_contact_sheet(folder: Path) -> Path:
    """Draw the first patients of a cohort, cranial on the left, compressed slices titled in red.

    Args:
        folder: a phantom cohort.

    Returns:
        path of the PNG, in ``folder``.
    """
    truth = pd.read_csv(folder / "truth.csv", keep_default_na=False, dtype={"frame": str})
    groups = [group.sort_values("z_mm") for _, group in truth.groupby("patient_id", sort=True)][:MAX_PATIENTS]
    figure = Figure(figsize=(2.0 * COLUMNS, 2.2 * len(groups)), facecolor="black")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(groups), COLUMNS, squeeze=False)
    for row, group in zip(axes, groups, strict=True):
        chosen = set(np.linspace(1, len(group) - 2, COLUMNS - 1).round().astype(int).clip(0).tolist())
        chosen.add(int(np.argmin(group["area_ratio"])))
        slices = group.iloc[sorted(chosen, reverse=True)]
        for axis in row:
            axis.axis("off")
        for axis, (_, one) in zip(row, slices.iterrows(), strict=False):
            image = pydicom.dcmread(folder / one["image"]).pixel_array
            image = image[int(one["frame"]) - 1] if one["frame"] else image
            low, high = np.percentile(image, (0.5, 99.5))
            axis.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1), interpolation="bilinear")
            form = (one["kind"], one["side"]) if one["label"] else ()
            title = " ".join([one["level"], f"K{one['grade']}", *form])
            axis.set_title(title, color="tomato" if one["label"] else "silver", fontsize=7, pad=2)
        row[0].text(0, -0.04, slices.iloc[0]["patient_id"], color="silver", fontsize=7, transform=row[0].transAxes)
    figure.subplots_adjust(left=0.002, right=0.998, bottom=0.01, top=0.985, wspace=0.02, hspace=0.16)
    path = folder / "contact_sheet.png"
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
    return path
