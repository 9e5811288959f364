"""Cord and canal measured in every labelled slice of a cohort, beside what masks say of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from ..datasets import SliceDataset
from ..dicom.archives import is_archive
from ..dicom.listings import is_volume_file, list_files
from ..dicom.loaded import identities, slice_geometry_mm
from ..dicom.sources import contents_of
from ..evaluation.morphometry import measurement_error
from ..files import resolved
from ..records import MEASURE_COLUMNS, SliceMeasures
from ..tables import Row
from ..transforms import crops_of
from .localiser import Localiser
from .measures import FEATURES, NOT_MEASURED, Floats, measure_slice, mscc_percent, shape_features
from .outlines import known_truth, mask_dice
from .points import beside
from .truth import Truth

Key = tuple[str, str | int]

COMPARED = (*(name for name in MEASURE_COLUMNS if name != "cord_orientation_deg"), "mscc_percent")
"""Measures whose errors are computed; of a round cord, which axis is RL is chance, and so is the orientation."""
OUTLINES = ("canal", "cord")
COLUMNS = (
    *("patient_id", "series_uid", "sop_uid", "frame", "slice_index", "label", "position_mm"),
    *("crop", "canal_confidence", *MEASURE_COLUMNS, "mscc_percent"),
    *(name for name in FEATURES if name not in MEASURE_COLUMNS),
    *(f"{name}_dice" for name in OUTLINES),
    *(f"true_{name}" for name in COMPARED),
)
"""Columns of measures.csv. MSCC is against the nearest slices whose label is not compressed."""


@dataclass(frozen=True)
class Measured:
    """What was measured in one slice.

    Attributes:
        position_mm: along the normal of the stack it was loaded with.
        measures: of the outlines; None where no canal was found.
        truth: measures of the known masks.
        dice: of the outlines of canal and cord; None where a mask is not known or empty, or no canal was found.
    """

    crop: str
    confidence: float | None
    position_mm: float
    measures: SliceMeasures
    truth: SliceMeasures
    dice: Mapping[str, float | None]


class MeasureSlices:
    """The deterministic chain of every client, which also measures what passes through it.

    Args:
        chain: from ``{"image": path}`` to crops around the canal.
        localiser: outlines canal and cord.
        rows_by_slice: canal.csv, see `scripts.canal.truth.read_truth`.
        folder: of canal.csv.

    Attributes:
        found: every slice, by its SOPInstanceUID and frame, and by its file and its index there.
    """

    def __init__(self, chain: Compose, localiser: Localiser, rows_by_slice: Mapping[Any, Row], folder: Path) -> None:
        self.chain, self.localiser, self.rows, self.folder = chain, localiser, rows_by_slice, resolved(folder)
        (self.framing,) = (number for number, one in enumerate(chain.transforms) if hasattr(one, "margin_mm"))
        self.found: dict[Key, Measured] = {}

    def __call__(self, data: Mapping[str, Any]) -> Any:
        """Preprocess an image and measure its slices."""
        oriented = self.chain(data, end=self.framing)
        result = self.chain(oriented, start=self.framing)
        image, path = oriented["image"], str(data["image"])
        outlines = self.localiser.outlines(result["image"])
        measures = self.localiser.measured(outlines, result["image"])
        on_grid = self.on_grid(outlines, result["image"])
        position_mm, _ = slice_geometry_mm(image)
        for index, crop in enumerate(crops_of(result["image"])):
            truth = self.truth_of(image, index, path)
            known = (truth.canal, truth.cord) if outlines[index] is not None else (None, None)
            dice = [mask_dice(mask, on_grid[number, ..., index]) for number, mask in enumerate(known)]
            one = Measured(
                crop["crop"],
                crop["confidence"],
                float(position_mm[index]),
                measures[index],
                true_measures(truth, (float(image.pixdim[0]), float(image.pixdim[1]))),
                dict(zip(OUTLINES, dice, strict=True)),
            )
            sop_uid, frame = identities(image)[index]
            self.found[path, index] = one
            if sop_uid:
                self.found[sop_uid, frame] = one
        return result

    def on_grid(self, outlines: Sequence[Floats | None], crops: MetaTensor) -> Any:
        """Return outlines ``(2, H, W, D)`` on the grid of the image that crops were cut from; 0 where there is none."""
        size = self.localiser.image_size
        drawn = np.stack([np.zeros((2, size, size)) if one is None else one for one in outlines], axis=-1)
        trace = {"meta": crops.meta, "applied_operations": list(crops.applied_operations)}
        framing: Any = self.chain.transforms[self.framing]
        return framing.inverse({"image": MetaTensor(torch.from_numpy(drawn), **trace)})["image"].as_tensor().numpy()

    def truth_of(self, image: MetaTensor, index: int, path: str) -> Truth:
        """Return what canal.csv, or masks beside a volume file, say of a slice of an oriented image."""
        sop_uid, frame = identities(image)[index]
        key: Any = (str(image.meta.get("series_uid", "")), sop_uid, frame)
        masks: list[Path] = []
        if not sop_uid:
            own = resolved(path)
            key = (own.relative_to(self.folder).as_posix() if own.is_relative_to(self.folder) else path, index)
            masks = beside(own)
        return known_truth(image, index, self.rows, key, self.folder, masks)

    def of(self, entry: Mapping[str, Any]) -> Measured:
        """Return what was measured in a slice of a datalist."""
        if entry.get("sop_uid"):
            return self.found[str(entry["sop_uid"]), str(entry.get("frame") or "")]
        return self.found[str(entry["image"]), int(entry.get("slice_index") or 0)]


def true_measures(truth: Truth, pixel_mm: tuple[float, float]) -> SliceMeasures:
    """Measure the known masks of a slice; None what they do not say."""
    outline = truth.canal if truth.canal is not None else truth.cord
    if outline is None:
        return NOT_MEASURED.copy()
    canal, cord = (np.zeros_like(outline) if mask is None else mask for mask in (truth.canal, truth.cord))
    found = measure_slice(cord, canal, pixel_mm)
    if truth.canal is None:  # measure_slice takes the cord for it
        found["canal_area_mm2"] = found["cord_canal_area_ratio"] = None
    return found


def places_of(images: Sequence[str]) -> dict[Key, tuple[int, float]]:
    """Return the stack of every slice of some DICOM files, and its position along the stack's normal.

    A datalist names single files, and what is measured over a series needs to know which slices are neighbours.
    """
    files = [one for one in images if not is_volume_file(one) and not is_archive(one)]
    stacks = contents_of(list_files(files, unpack=False)).stacks if files else []
    return {
        (one.sop_uid, one.frame): (number, one.position_mm)
        for number, stack in enumerate(stacks)
        for one in stack.slices
    }


def measured_rows(dataset: SliceDataset, measurer: MeasureSlices) -> tuple[list[dict[str, Any]], Floats]:
    """Return the rows of measures.csv of a dataset's slices, and the features of shape, in their order.

    Args:
        dataset: whose transform is ``measurer``.
        measurer: what measured them.

    Returns:
        rows, and features (slices, `scripts.canal.measures.FEATURES`), NaN where they are missing.
    """
    entries = dataset.entries
    places = places_of(sorted({str(entry["image"]) for entry in entries}))
    rows: list[dict[str, Any]] = []
    stacks: dict[Any, list[int]] = {}
    for number, entry in enumerate(entries):
        one = measurer.of(entry)
        stack, position_mm = places.get(
            (str(entry.get("sop_uid") or ""), str(entry.get("frame") or "")), (str(entry["image"]), one.position_mm)
        )
        stacks.setdefault(stack, []).append(number)
        row = {name: entry.get(name, "") for name in COLUMNS[:6]} | {"position_mm": round(position_mm, 4)}
        row |= {"crop": one.crop, "canal_confidence": one.confidence, **one.measures}
        row |= {f"{name}_dice": value for name, value in one.dice.items()}
        rows.append(row | {f"true_{name}": value for name, value in one.truth.items() if name in COMPARED})
    features = np.full((len(rows), len(FEATURES)), np.nan)
    for numbers in stacks.values():
        own = [rows[number] for number in numbers]
        along_mm, labels = [row["position_mm"] for row in own], [int(row["label"]) for row in own]
        features[numbers] = shape_features(own, along_mm)  # type: ignore[arg-type]
        for name in ("", "true_"):
            found = mscc_percent([row[f"{name}cord_ap_mm"] for row in own], along_mm, labels)
            for row, value in zip(own, found, strict=True):
                row[f"{name}mscc_percent"] = value
    for row, values in zip(rows, features.tolist(), strict=True):
        row |= {name: None if np.isnan(value) else value for name, value in zip(FEATURES, values, strict=True)}
    return rows, features


def measure_errors(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Summarise how far the measures of some rows of measures.csv are from those of the known masks.

    Returns:
        numbers of slices, ``errors`` by measure (see `scripts.evaluation.morphometry.MeasurementError`), and ``dice``
        of both outlines: median, 5th percentile, slices that were outlined and slices with a mask that were not. What
        no mask speaks of is left out.
    """
    errors = {
        name: {key: value if value == value else None for key, value in asdict(found).items()}
        for name in COMPARED
        for found in [measurement_error([row[name] for row in rows], [row[f"true_{name}"] for row in rows])]
        if found.n or found.n_missing
    }
    dice = {}
    for name in OUTLINES:
        values = [row[f"{name}_dice"] for row in rows if row[f"{name}_dice"] is not None]
        # where a mask is empty or touches the border, there is no area to know
        missing = sum(row[f"{name}_dice"] is None and row[f"true_{name}_area_mm2"] is not None for row in rows)
        if values or missing:
            dice[name] = {
                "median": float(np.median(values)) if values else None,
                "percentile_5": float(np.quantile(values, 0.05)) if values else None,
                "n": len(values),
                "n_missing": missing,
            }
    return {
        "n_slices": len(rows),
        "n_no_canal": sum(row["crop"] != "canal" for row in rows),
        "n_no_cord": sum(row["cord_ap_mm"] is None for row in rows),
        "errors": errors,
        "dice": dice,
    }
