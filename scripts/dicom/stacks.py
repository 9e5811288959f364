"""Frames to stacks: the slices of one volume, in one order, each with its own place and direction."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from .copies import without_copies
from .frames import Facts, Frame
from .geometry import SAME_POSITION_MM, Array, axes_of, by_orientation, mean_axes, places, plane_of, positions, sideways
from .grouping import by_geometry, sort_key, split_by_time
from .weightings import fat_suppression, weighting

SIDEWAYS_MM = 1.0
UNEVEN = 0.1
WIDE = 1.5  # times the usual distance, from which slices are missing
LARGEST_MM = 2000.0


@dataclass(frozen=True)
class Slice:
    """One slice of a stack.

    Attributes:
        path: the file.
        frame: number of the frame from 1 as text; empty for a single-frame file.
        sop_uid: SOPInstanceUID; ``(series_uid, sop_uid, frame)`` is the key of the slice.
        position_mm: where it lies along the stack's normal: its first pixel, or its middle where slices stand at angles.
        origin_mm: centre of its first pixel, LPS.
        row_direction: unit vector along a row, towards higher columns, LPS. Empty without geometry.
        column_direction: unit vector along a column, towards higher rows, LPS.
        slope: RescaleSlope, 1 where absent.
        intercept: RescaleIntercept, 0 where absent.
        transfer_syntax_uid: how its pixels are encoded.
    """

    path: str
    frame: str
    sop_uid: str
    position_mm: float
    origin_mm: tuple[float, ...]
    row_direction: tuple[float, ...]
    column_direction: tuple[float, ...]
    slope: float
    intercept: float
    transfer_syntax_uid: str


@dataclass(frozen=True)
class Stack(Facts):
    """The slices of one volume of a series, most caudal first where they are axial; and what they share.

    Slices may stand at angles to one another and leave gaps, see `scripts.dicom.pieces`. The fields of ``Facts`` come
    from the first slice.

    Attributes:
        slices: ordered along ``normal``.
        normal: unit vector, LPS, its largest component positive: to cranial, left or posterior. Empty without geometry.
            The mean where slices stand at angles; and so are the other two directions.
        row_direction: unit vector along a row, towards higher columns, LPS.
        column_direction: unit vector along a column, towards higher rows, LPS.
        plane: ``axial``, ``sagittal`` or ``coronal`` (normal within 45° of that axis), else ``oblique``, else empty.
        oblique_degrees: angle between the normal and the nearest axis of the patient.
        spacing_mm: median distance between neighbouring slices of one angle; None where no two are.
        shear_degrees: angle between the line through slices of one angle and their normal (gantry tilt).
        weighting: ``T2``, ``T2*``, ``T1``, ``PD`` or empty; from the times and the sequence, see ``weightings``.
        fat_suppression: how fat was suppressed; empty if the tags name no way.
        planes_in_series: planes of all stacks of the same series, for telling localizers.
        b_values_in_series: b-values of all stacks of the same series, for telling diffusion.
        copies: files left out because another file holds the same image.
        defects: why the stack cannot be used as a volume at all.
        warnings: what a person should know of it.
    """

    slices: tuple[Slice, ...]
    normal: tuple[float, ...]
    row_direction: tuple[float, ...]
    column_direction: tuple[float, ...]
    plane: str
    oblique_degrees: float | None
    spacing_mm: float | None
    shear_degrees: float
    weighting: str
    fat_suppression: str
    planes_in_series: tuple[str, ...]
    b_values_in_series: tuple[float, ...]
    copies: tuple[str, ...]
    defects: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def files(self) -> list[str]:
        """Its files, each once, in the order of its slices."""
        return list(dict.fromkeys(one.path for one in self.slices))

    @property
    def folder(self) -> Path:
        """The folder that holds all its files."""
        parents = [Path(one.path).parent for one in self.slices]
        common = parents[0]
        while not all(parent.is_relative_to(common) for parent in parents):
            common = common.parent
        return common


def group_into_stacks(frames: Iterable[Frame]) -> list[Stack]:
    """Group frames into stacks; neither grouping nor order depends on the order of ``frames``."""
    by_series: dict[tuple[str, ...], list[Frame]] = defaultdict(list)
    for frame in frames:
        by_series[frame.facts.patient_id, frame.facts.study_uid, frame.facts.series_uid].append(frame)
    owners = Counter(series_uid for _, _, series_uid in by_series)
    stacks = []
    for key in sorted(by_series):
        groups = [part for group in by_geometry(sorted(by_series[key], key=sort_key)) for part in split_by_time(group)]
        planes = tuple(sorted({plane_of(axes_of(group[0].orientation))[0] for group in groups} - {""}))
        b_values = tuple(sorted({b for group in groups if (b := group[0].facts.b_value) is not None}))
        defects = ["several patients or studies share this SeriesInstanceUID"] if owners[key[2]] > 1 else []
        images = Counter(image for group in groups for image in {(frame.sop_uid, frame.frame) for frame in group})
        for group in groups:
            reused = [frame.sop_uid for frame in group if images[frame.sop_uid, frame.frame] > 1]
            repeated = [f"different images share the SOPInstanceUID {reused[0]}"] if reused and reused[0] else []
            stacks.append(stack_of(group, planes, b_values, defects + repeated))
    return stacks


def stack_of(
    frames: list[Frame], planes_in_series: tuple[str, ...], b_values_in_series: tuple[float, ...], defects: list[str]
) -> Stack:
    """Order one group of frames and list its defects, after those of its series."""
    warnings: list[str] = []
    frames, copies = without_copies(frames, defects)
    directions = mean_axes(frames)
    along = positions(frames)
    order = sorted(range(len(frames)), key=lambda i: (along[i], sort_key(frames[i])))
    frames, along = [frames[i] for i in order], along[order]
    facts = frames[0].facts
    defects += defects_of(frames, directions)
    if copies:
        warnings.append(f"{len(copies)} copies left out, first {copies[0]}")
    warnings += variation_warnings(frames)
    spacing_mm, shear_degrees = None, 0.0
    if directions is not None and frames[0].origin_mm:
        spacing_mm, shear_degrees = judge_distances(frames, along, directions, defects, warnings)
    tag = facts.spacing_tag_mm
    if tag is not None and spacing_mm is not None and abs(tag - spacing_mm) > UNEVEN * spacing_mm:
        warnings.append(f"SpacingBetweenSlices says {tag:g} mm but positions lie {spacing_mm:.2f} mm apart")
    plane, angle = plane_of(directions)
    rows = vectors(directions)
    return Stack(
        **{field.name: getattr(facts, field.name) for field in fields(Facts)},
        slices=tuple(
            Slice(
                path=one.path,
                frame=one.frame,
                sop_uid=one.sop_uid,
                position_mm=float(at),
                origin_mm=one.origin_mm,
                row_direction=row_direction,
                column_direction=column_direction,
                slope=one.slope,
                intercept=one.intercept,
                transfer_syntax_uid=one.facts.transfer_syntax_uid,
            )
            for one, at in zip(frames, along, strict=True)
            for row_direction, column_direction, _ in [vectors(axes_of(one.orientation))]
        ),
        normal=rows[2],
        row_direction=rows[0],
        column_direction=rows[1],
        plane=plane,
        oblique_degrees=angle,
        spacing_mm=spacing_mm,
        shear_degrees=shear_degrees,
        weighting=weighting(facts),
        fat_suppression=fat_suppression(facts),
        planes_in_series=planes_in_series,
        b_values_in_series=b_values_in_series,
        copies=copies,
        defects=tuple(defects),
        warnings=tuple(warnings),
    )


def vectors(directions: Array | None) -> list[tuple[float, ...]]:
    """Return row direction, column direction and normal as plain numbers; empty without geometry."""
    return [(), (), ()] if directions is None else [tuple(map(float, row)) for row in directions]


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
    # of slices at angles, the middles have been measured; within one angle, first pixels lie one behind the other
    heights = [along] if len(angles) == 1 else [positions([frames[number] for number in one]) for one in angles]
    steps = np.concatenate([np.diff(np.sort(own)) for own in heights])
    spacing_mm = float(np.median(steps)) if len(steps) else None
    shears = [0.0]
    for members, own in zip(angles, heights, strict=True):
        order = np.argsort(own, kind="stable")
        blocks = np.split(order, np.flatnonzero(np.diff(own[order]) >= WIDE * (spacing_mm or 0)) + 1)
        for block in blocks:
            axes = directions if len(angles) == 1 else axes_of(frames[members[0]].orientation)
            if axes is None or (len(block) < 3 and len(block) < len(frames)):
                continue
            origins = np.array([frames[members[number]].origin_mm for number in block])
            shear_degrees, sideways_mm = sideways(origins, own[block], axes)
            shears.append(shear_degrees)
            if sideways_mm > SIDEWAYS_MM:
                defects.append(f"slices are shifted sideways against each other by up to {sideways_mm:.1f} mm")
    shear_degrees = max(shears)
    defects += gaps(frames, along, spacing_mm, warnings, len(angles) > 1)
    if shear_degrees > 45:
        defects.append(f"positions run {shear_degrees:.0f}° away from the slices' normal")
    elif shear_degrees > 1:
        warnings.append(f"slices are sheared by {shear_degrees:.1f}° (gantry tilt)")
    return spacing_mm, shear_degrees


def gaps(
    frames: Sequence[Frame], along: Array, spacing_mm: float | None, warnings: list[str], at_angles: bool
) -> list[str]:
    """Judge the distances between neighbouring slices; uneven ones are a warning, shared positions a defect."""
    at = places(frames)
    repeated = [number for number, place in enumerate(at) if at.index(place) < number]
    if repeated:
        first = along[at.index(at[repeated[0]])]
        return [f"{len(repeated) + 1} or more images share positions that no tag tells apart, first at {first:.2f} mm"]
    if along[-1] - along[0] > LARGEST_MM:
        return [f"positions extend over {along[-1] - along[0]:.0f} mm"]
    if spacing_mm is None:
        return []
    steps = np.diff(along)
    wide = steps >= WIDE * spacing_mm
    uneven = np.abs(steps - spacing_mm) > max(UNEVEN * spacing_mm, SAME_POSITION_MM)
    first = f"first after slice {int(steps.argmax()) + 1}"
    if at_angles and wide.any():
        warnings.append(f"gaps of up to {steps.max():.2f} mm where {spacing_mm:.2f} are usual, {first}")
    elif not at_angles and uneven.any():
        missing = int(np.round(steps[wide] / spacing_mm - 1).sum())
        text = f"uneven gaps: {steps.min():.2f} to {steps.max():.2f} mm, median {spacing_mm:.2f}"
        warnings.append(text + (f"; about {missing} slices missing, {first}" if missing else ""))
    return []
