"""What keeps slices from being used as a volume, and what a person should know of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from .frames import Facts, Frame
from .geometry import SAME_POSITION_MM, Array, axes_of, by_orientation, centres, overlapping, places, sideways, steps_mm

SIDEWAYS_MM = 1.0
UNEVEN = 0.1
OFTEN = 0.25  # of the distances, from which small ones are no mere ends of packages
WIDE = 1.5  # times the usual distance, from which slices are missing
LARGEST_MM = 2000.0


def defects_of(frames: Sequence[Frame], directions: Array | None) -> list[str]:
    """List what makes single slices unusable."""
    facts = frames[0].facts
    found = []
    problems = Counter(frame.problem for frame in frames if frame.problem)
    for problem, n in problems.items():
        first = next(frame for frame in frames if frame.problem == problem)
        found.append(
            problem if len(frames) == 1 else f"{problem} ({n} of {len(frames)} slices, first {Path(first.path).name})"
        )
    if not facts.series_uid or not all(frame.sop_uid for frame in frames):
        found.append("SeriesInstanceUID or SOPInstanceUID is missing")
    if not frames[0].origin_mm or not frames[0].orientation:
        found.append("no position or orientation (ImagePositionPatient, ImageOrientationPatient)")
    elif directions is None:
        found.append("ImageOrientationPatient is not two perpendicular unit vectors")
    spacing = (facts.row_spacing_mm, facts.column_spacing_mm)
    extents = [n * (mm or 0) for n, mm in zip((facts.rows, facts.columns), spacing, strict=True)]
    if None in spacing or not all(0 < extent <= LARGEST_MM for extent in extents):
        found.append(f"PixelSpacing is missing or impossible ({spacing[0]}, {spacing[1]} mm)")
    return found


def variation_warnings(frames: Sequence[Frame]) -> list[str]:
    """Warn of facts that should be one per stack."""
    found = []
    names: dict[str, Callable[[Facts], object]] = {
        "SliceThickness": lambda facts: facts.thickness_mm,
        "RepetitionTime": lambda facts: facts.tr_ms,
        "transfer syntax": lambda facts: facts.transfer_syntax_uid,
        "bits": lambda facts: (facts.bits_allocated, facts.bits_stored, facts.signed),
    }
    for name, value in names.items():
        values = sorted({str(value(frame.facts)) for frame in frames})
        if len(values) > 1:
            found.append(f"{name} varies: {', '.join(values[:4])}")
    return found


def judge_distances(
    frames: Sequence[Frame], along: Array, directions: Array, defects: list[str], warnings: list[str]
) -> tuple[float | None, float]:
    """Judge how ordered slices lie to one another; returns ``spacing_mm`` and ``shear_degrees`` of their stack.

    Uneven distances are a warning, shared places a defect. Slices at angles are compared with those of their own angle.
    """
    if len(frames) == 1:
        warnings.append("only one slice")
        return None, 0.0
    angles = by_orientation([frame.orientation for frame in frames])
    if len(angles) > 1:
        normals = np.array([axes_of(frames[members[0]].orientation) for members in angles])[:, 2]
        widest = np.degrees(np.arccos(np.clip(normals @ normals.T, -1, 1).min()))
        warnings.append(f"slices at {len(angles)} angles, up to {widest:.1f}° apart")
    at_angles = len(angles) > 1
    measured = centres(frames) if at_angles else np.array([frame.origin_mm for frame in frames])
    axes = [axes_of(frames[members[0]].orientation) if at_angles else directions for members in angles]
    heights = [along]
    if at_angles:
        heights = [measured[members] @ own[2] for members, own in zip(angles, axes, strict=True) if own is not None]
    steps = np.concatenate([np.diff(np.sort(own)) for own in heights])
    spacing_mm = float(np.median(steps)) if len(steps) else None
    shears = [0.0]
    for members, own, own_axes in zip(angles, heights, axes, strict=True):
        order = np.argsort(own, kind="stable")
        blocks = np.split(order, np.flatnonzero(np.diff(own[order]) >= WIDE * (spacing_mm or 0)) + 1)
        for block in blocks:
            if own_axes is None or (len(block) < 3 and len(block) < len(frames)):
                continue
            shear_degrees, sideways_mm = sideways(measured[members][block], own[block], own_axes)
            shears.append(shear_degrees)
            if sideways_mm > SIDEWAYS_MM:
                defects.append(f"slices are shifted sideways against each other by up to {sideways_mm:.1f} mm")
    shear_degrees = max(shears)
    defects += gaps(frames, along, spacing_mm, warnings, at_angles)
    if shear_degrees > 45:
        defects.append(f"positions run {shear_degrees:.0f}° away from the slices' normal")
    elif shear_degrees > 1:
        warnings.append(f"slices are sheared by {shear_degrees:.1f}° (gantry tilt)")
    return spacing_mm, shear_degrees


def interleaved(frames: Sequence[Frame], spacing_mm: float) -> bool:
    """Return whether slices of one angle lie between one another as repeats do that drifted.

    Evenly overlapping slices, of which some may be missing, do not; nor do packages of which only the ends overlap.
    """
    steps = steps_mm(frames)
    thickness_mm, stated_mm = frames[0].facts.thickness_mm, frames[0].facts.spacing_tag_mm
    if not len(steps) or overlapping(steps, thickness_mm).mean() < OFTEN:
        return False
    multiples = steps / max(spacing_mm, SAME_POSITION_MM)
    uneven = np.abs(multiples - np.maximum(np.round(multiples), 1)) > UNEVEN
    denied = stated_mm is not None and abs(stated_mm - spacing_mm) > UNEVEN * spacing_mm
    return bool(uneven.any() or (denied and np.ptp(steps) > UNEVEN * spacing_mm))


def gaps(
    frames: Sequence[Frame], along: Array, spacing_mm: float | None, warnings: list[str], at_angles: bool
) -> list[str]:
    """Judge the distances between neighbouring slices; uneven ones are a warning, shared positions a defect."""
    at = places(frames)
    counts = Counter(at)
    shared = [number for number, place in enumerate(at) if counts[place] > 1]
    if shared:
        n_places = len({at[number] for number in shared})
        images = f"{len(shared)} images share {n_places} position{'s' * (n_places > 1)}"
        return [f"{images}, and no tag or time divides them into whole volumes, first at {along[shared[0]]:.2f} mm"]
    if along[-1] - along[0] > LARGEST_MM:
        return [f"positions extend over {along[-1] - along[0]:.0f} mm"]
    if spacing_mm is None:
        return []
    if interleaved(frames, spacing_mm):
        reason = "slices overlap by more than half of their thickness at uneven distances"
        return [f"{reason}, and no tag or time divides them into whole volumes"]
    steps = np.diff(along)
    wide = steps >= WIDE * spacing_mm
    uneven = np.abs(steps - spacing_mm) > max(UNEVEN * spacing_mm, SAME_POSITION_MM)
    if at_angles and wide.any():
        widest = f"widest after slice {int(steps.argmax()) + 1}"
        warnings.append(f"gaps of up to {steps.max():.2f} mm where {spacing_mm:.2f} are usual, {widest}")
    elif not at_angles and uneven.any():
        missing = int(np.round(steps[wide] / spacing_mm - 1).sum())
        text = f"uneven gaps: {steps.min():.2f} to {steps.max():.2f} mm, median {spacing_mm:.2f}"
        first = f"first after slice {int(wide.argmax()) + 1}"
        warnings.append(text + (f"; about {missing} slices missing, {first}" if missing else ""))
    return []
