"""Figures of heat maps: chosen slices side by side as in the paper's Fig. 5, and all slices of every patient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from ..files import replacing, write_csv
from .drawers import Drawers
from .grad_cam import enlarge
from .montages import NETWORK_SIDES, Picture, grey, overlay, save_png, save_sheet, sheet_picture

Entry = Mapping[str, Any]
Floats = NDArray[np.floating[Any]]
SMALLEST = 224
"""Side in pixels below which slices are drawn twice as large."""


def save_raw(entries: Sequence[Entry], logits: Floats, raw: Floats, path: Path) -> None:
    """Save maps as Grad-CAM gave them, with the keys of their slices.

    Args:
        entries: the slices, as in the datalist.
        logits: shape (S,).
        raw: ``(S, h, w)`` at the layer's resolution, in units of the logit; positive speaks for compression.
        path: the npz file: ``series_uid, sop_uid, frame, slice_index, logit, raw``.
    """
    names = ("series_uid", "sop_uid", "frame", "slice_index")
    arrays: dict[str, Any] = {name: np.array([str(entry.get(name, "")) for entry in entries]) for name in names}
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays, logit=logits, raw=raw)


def enlarged(raw: Floats, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Part a raw map ``(h, w)`` into what spoke for and against, each enlarged to ``shape``."""
    maps = torch.stack([torch.from_numpy(raw).relu(), torch.from_numpy(-raw).relu()])
    both = enlarge(maps.float(), (shape[0], shape[1])).numpy()
    return both[0], both[1]


def scaled(heat: Floats, top: float) -> Floats:
    """Divide a map by ``top``; 0 where there is no heat at all."""
    return heat / top if top > 0 else np.zeros_like(heat)


def twice(picture: Picture) -> Picture:
    """Draw small pictures twice as large."""
    return picture.repeat(2, 0).repeat(2, 1) if picture.shape[0] < SMALLEST else picture


def kind_of(label: int, called: bool) -> str:
    """Name the cell of the confusion matrix."""
    return {(1, True): "true positive", (1, False): "false negative", (0, True): "false positive"}.get(
        (label, called), "true negative"
    )


def choose_slices(kinds: Sequence[str], logits: Floats, kind: str, count: int, choose: str, seed: int) -> list[int]:
    """Pick slices of one kind: at random, or the most confident ones (for false negatives, the lowest logits)."""
    members = np.flatnonzero(np.array(kinds) == kind)
    if choose == "random":
        return sorted(np.random.default_rng(seed).permutation(members)[:count].tolist())
    order = np.argsort(logits[members] if kind == "false negative" else -logits[members], kind="stable")
    return [int(one) for one in members[order][:count]]


def notice(facts: Mapping[str, Any]) -> str:
    """Return what the figures were made with."""
    trained = "trained on a synthetic phantom, " if facts.get("trained_on_phantom") else ""
    weights = str(facts.get("weights_sha256", ""))[:16]
    sides = "anterior up, the patient's right on the left"
    return f"weights {weights}, {trained}threshold {facts['threshold']:g}; research use only; {sides}"


def numbered(entries: Sequence[Entry]) -> dict[str, str]:
    """Return what figures call each patient, by patient_id: figures travel, and a patient_id may be a PatientID."""
    return {name: f"patient {n:03}" for n, name in enumerate(sorted({str(one["patient_id"]) for one in entries}), 1)}


def write_panels(
    entries: Sequence[Entry],
    picture: Callable[[int], Floats],
    logits: Floats,
    raw: Floats,
    facts: Mapping[str, Any],
    count: int,
    choose: str,
    seed: int,
    path: Path,
) -> Path:
    """Draw true positives, false negatives and false positives: the slice, and over it what spoke for compression.

    False negatives also show what spoke against it, the map of the negative logit. Both maps of a slice are divided
    by the larger maximum of the two, so that they can be compared; slices cannot.

    Args:
        entries: the slices, as in the datalist.
        picture: returns the slice of a number, ``(H, W)`` in [0, 1]; called only for slices that are drawn.
        logits: shape (S,).
        raw: signed maps ``(S, h, w)``.
        facts: ``threshold``, and what the figures name: ``weights_sha256``, ``trained_on_phantom``.
        count: slices of each kind.
        choose: ``random`` or ``confidence``.
        seed: seed of the random choice.
        path: the PNG.
    """
    probabilities = expit(logits)
    called = probabilities >= facts["threshold"]
    kinds = [kind_of(int(entry["label"]), bool(call)) for entry, call in zip(entries, called, strict=True)]
    names = numbered(entries)
    how = f"chosen at random, seed {seed}" if choose == "random" else "the most confident"
    bands = []
    for kind in ("true positive", "false negative", "false positive"):
        members = choose_slices(kinds, logits, kind, count, choose, seed)
        if not members:
            nothing = [[np.full((40, 40, 3), 255, np.uint8)]]
            bands.append(sheet_picture(nothing, [""], [False], f"{kind}s: none", "", None))
            continue
        columns, captions = [], []
        for index in members:
            image, entry = picture(index), entries[index]
            speaks_for, against = enlarged(raw[index], image.shape)
            top = float(max(speaks_for.max(), against.max()))
            column = [grey(image), overlay(image, scaled(speaks_for, top))]
            if kind == "false negative":
                column.append(overlay(image, scaled(against, top)))
            columns.append([twice(one) for one in column])
            captions.append(
                f"{names[str(entry['patient_id'])]}, slice {entry.get('slice_index', '')}\np {probabilities[index]:.2f}"
            )
        rows = "slice; what spoke for compression" + ("; what spoke against it" if kind == "false negative" else "")
        title = f"{kind}s ({kinds.count(kind)}, {how}). Rows: {rows}"
        title += f"\n{notice(facts)}" if kind == "true positive" else ""
        red = [bool(called[i]) for i in members]
        bands.append(sheet_picture(columns, captions, red, title, "Grad-CAM / maximum", NETWORK_SIDES))
    width = max(band.shape[1] for band in bands)
    padded = [np.pad(band, ((0, 0), (0, width - band.shape[1]), (0, 0)), constant_values=255) for band in bands]
    save_png(np.concatenate(padded), path)
    return path


def write_sheets(
    entries: Sequence[Entry],
    picture: Callable[[int], Floats],
    logits: Floats,
    raw: Floats,
    facts: Mapping[str, Any],
    folder: Path,
) -> list[Path]:
    """Draw all slices of every patient, each above what spoke for compression, divided by the series' maximum.

    Figures number the patients; patients.csv beside them names each.
    """
    probabilities = expit(logits)
    groups: dict[str, list[int]] = {}
    for number, entry in enumerate(entries):
        groups.setdefault(str(entry["patient_id"]), []).append(number)
    names, written = numbered(entries), []
    with Drawers(len(groups)) as drawers:
        for patient_id, members in groups.items():
            members.sort(key=lambda n: (str(entries[n].get("series_uid", "")), int(entries[n].get("slice_index") or 0)))
            tops: dict[str, float] = {}
            for n in members:
                uid = str(entries[n].get("series_uid", ""))
                tops[uid] = max(tops.get(uid, 0.0), float(raw[n].max()))
            slices, captions, called = [], [], []
            for n in members:
                image = picture(n)
                heat, _ = enlarged(raw[n], image.shape)
                slices.append((image, scaled(heat, tops[str(entries[n].get("series_uid", ""))])))
                called.append(bool(probabilities[n] >= facts["threshold"]))
                kind = kind_of(int(entries[n]["label"]), called[-1])
                short = "".join(word[0] for word in kind.split()).upper()
                captions.append(f"{entries[n].get('slice_index', n)}  {short}  p {probabilities[n]:.2f}")
            title = f"{names[patient_id]}: {sum(called)} of {len(members)} slices called compressed\n{notice(facts)}"
            path = folder / f"{names[patient_id].replace(' ', '_')}.png"
            scale = "Grad-CAM for compression / series maximum"
            drawers.draw(save_sheet, slices, captions, called, title, scale, NETWORK_SIDES, path)
            written.append(path)
    rows = [{"file": path.name, "patient_id": name} for name, path in zip(groups, written, strict=True)]
    write_csv(folder / "patients.csv", ("file", "patient_id"), sorted(rows, key=lambda row: row["file"]))
    return written
