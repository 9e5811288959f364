"""Frames to geometric stacks: slices that lie one behind the other along one normal, in one order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from .copies import without_copies
from .frames import Facts, Frame
from .geometry import SAME_POSITION_MM, axes, n_shared, orthonormal, plane_of, positions, same_orientation, sideways
from .weightings import fat_suppression, only_compressed, weighting

SIDEWAYS_MM = 1.0
UNEVEN = 0.1
LARGEST_MM = 2000.0


@dataclass(frozen=True)
class Slice:
    """One slice of a stack.

    Attributes:
        path: the file.
        frame: number of the frame from 1 as text; empty for a single-frame file.
        sop_uid: SOPInstanceUID; ``(series_uid, sop_uid, frame)`` is the key of the slice.
        position_mm: where it lies along the stack's normal.
        origin_mm: centre of its first pixel, LPS.
        slope: RescaleSlope, 1 where absent.
        intercept: RescaleIntercept, 0 where absent.
        transfer_syntax_uid: how its pixels are encoded.
    """

    path: str
    frame: str
    sop_uid: str
    position_mm: float
    origin_mm: tuple[float, ...]
    slope: float
    intercept: float
    transfer_syntax_uid: str


@dataclass(frozen=True)
class Stack(Facts):
    """Slices that lie one behind the other, most caudal first where they are axial; and what they share.

    The fields of ``Facts`` come from the first slice.

    Attributes:
        slices: ordered along ``normal``.
        normal: unit vector, LPS, its largest component positive: to cranial, left or posterior. Empty without geometry.
        row_direction: unit vector along a row, towards higher columns, LPS.
        column_direction: unit vector along a column, towards higher rows, LPS.
        plane: ``axial``, ``sagittal`` or ``coronal`` (normal within 45° of that axis), else ``oblique``, else empty.
        oblique_degrees: angle between the normal and the nearest axis of the patient.
        spacing_mm: median distance between neighbouring slices; None for one slice.
        shear_degrees: angle between the line through the slices and the normal (gantry tilt).
        weighting: ``T2``, ``T2*``, ``T1``, ``PD`` or empty; from the times and the sequence, see ``weightings``.
        fat_suppression: how fat was suppressed; empty if the tags name no way.
        planes_in_series: planes of all stacks of the same series, for telling localizers.
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
    copies: tuple[str, ...]
    defects: tuple[str, ...]
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        """Return the path of its first file, which MONAI keeps as the name of the image."""
        return self.slices[0].path

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
        planes = tuple(sorted({plane_of(group[0])[0] for group in groups} - {""}))
        defects = ["several patients or studies share this SeriesInstanceUID"] if owners[key[2]] > 1 else []
        images = Counter(image for group in groups for image in {(frame.sop_uid, frame.frame) for frame in group})
        for group in groups:
            reused = [frame.sop_uid for frame in group if images[frame.sop_uid, frame.frame] > 1]
            repeated = [f"different images share the SOPInstanceUID {reused[0]}"] if reused and reused[0] else []
            stacks.append(stack_of(group, planes, defects + repeated))
    return stacks


def sort_key(frame: Frame) -> tuple[object, ...]:
    """Order frames in a way that knows nothing of file names until all else is equal."""
    return frame.sop_uid, len(frame.frame), frame.frame, frame.path


def by_geometry(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Group frames by grid, direction and kind of image."""
    by_kind: dict[tuple[object, ...], list[Frame]] = defaultdict(list)
    kinds: dict[int, tuple[object, ...]] = {}
    for frame in frames:
        kind = kinds.get(id(frame.facts)) or kinds.setdefault(id(frame.facts), kind_of(frame.facts))
        by_kind[(*kind, len(frame.origin_mm), orthonormal(frame.orientation))].append(frame)
    groups = []
    for kind in sorted(by_kind, key=repr):
        clusters: list[tuple[tuple[float, ...], list[Frame]]] = []
        for frame in sorted(by_kind[kind], key=lambda one: (one.orientation, sort_key(one))):
            for orientation, members in clusters:
                if same_orientation(orientation, frame.orientation):
                    members.append(frame)
                    break
            else:
                clusters.append((frame.orientation, [frame]))
        groups += [sorted(members, key=sort_key) for _, members in clusters]
    return groups


def kind_of(facts: Facts) -> tuple[object, ...]:
    """Return the facts in which all frames of one stack agree."""
    return (
        facts.sop_class_uid,
        facts.modality,
        (facts.rows, facts.columns, rounded(facts.row_spacing_mm), rounded(facts.column_spacing_mm)),
        (facts.samples, facts.photometric, facts.lossy, only_compressed(facts)),
        (facts.image_type, facts.sequence, facts.sequence_name, facts.b_value, facts.echo_number),
        (rounded(facts.te_ms, 1), rounded(facts.ti_ms, 0), weighting(facts), fat_suppression(facts)),
    )


def rounded(value: float | None, n_digits: int = 3) -> float | None:
    """Round, so that noise in the last digit does not split a stack."""
    return None if value is None else round(value, n_digits)


def split_by_time(frames: list[Frame]) -> list[list[Frame]]:
    """Split time points, acquisitions or stacks that lie at the same positions, if a tag separates them."""
    if not frames[0].origin_mm or axes(frames[0]) is None or not n_shared(frames):
        return [frames]
    if len({(frame.sop_uid or frame.path, frame.frame) for frame in frames}) < len(frames):
        return [frames]  # copies of one file do not make two stacks
    for keyword in dict.fromkeys(keyword for frame in frames for keyword, _ in frame.times):
        parts: dict[str, list[Frame]] = defaultdict(list)
        for frame in frames:
            parts[dict(frame.times).get(keyword, "")].append(frame)
        if len(parts) > 1 and not any(map(n_shared, parts.values())):
            return [parts[value] for value in sorted(parts)]
    return [frames]


def stack_of(frames: list[Frame], planes_in_series: tuple[str, ...], defects: list[str]) -> Stack:
    """Order one group of frames and list its defects, after those of its series."""
    warnings: list[str] = []
    frames, copies = without_copies(frames, defects)
    directions = axes(frames[0])
    usable = directions is not None and bool(frames[0].origin_mm)
    along = positions(frames)
    order = sorted(range(len(frames)), key=lambda i: (along[i], sort_key(frames[i])))
    frames, along = [frames[i] for i in order], along[order]
    facts = frames[0].facts
    defects += defects_of(frames, directions)
    if copies:
        warnings.append(f"{len(copies)} copies left out, first {copies[0]}")
    warnings += variation_warnings(frames)
    spacing_mm, shear_degrees = None, 0.0
    if usable and directions is not None and len(frames) > 1:
        spacing_mm = float(np.median(np.diff(along)))
        shear_degrees, sideways_mm = sideways(frames, along, directions)
        defects += gaps(frames, along, spacing_mm, warnings)
        if sideways_mm > SIDEWAYS_MM:
            defects.append(f"slices are shifted sideways against each other by up to {sideways_mm:.1f} mm")
        if shear_degrees > 45:
            defects.append(f"positions run {shear_degrees:.0f}° away from the slices' normal")
        elif shear_degrees > 1:
            warnings.append(f"slices are sheared by {shear_degrees:.1f}° (gantry tilt)")
        tag = facts.spacing_tag_mm
        if tag is not None and abs(tag - spacing_mm) > UNEVEN * spacing_mm:
            warnings.append(f"SpacingBetweenSlices says {tag:g} mm but positions lie {spacing_mm:.2f} mm apart")
    elif usable:
        warnings.append("only one slice")
    plane, angle = plane_of(frames[0])
    rows = [tuple(map(float, row)) for row in directions] if directions is not None else [(), (), ()]
    return Stack(
        **{field.name: getattr(facts, field.name) for field in fields(Facts)},
        slices=tuple(
            Slice(
                path=one.path,
                frame=one.frame,
                sop_uid=one.sop_uid,
                position_mm=float(at),
                origin_mm=one.origin_mm,
                slope=one.slope,
                intercept=one.intercept,
                transfer_syntax_uid=one.facts.transfer_syntax_uid,
            )
            for one, at in zip(frames, along, strict=True)
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
        copies=copies,
        defects=tuple(defects),
        warnings=tuple(warnings),
    )


def defects_of(frames: Sequence[Frame], directions: np.ndarray | None) -> list[str]:
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


def gaps(frames: Sequence[Frame], along: np.ndarray, spacing_mm: float, warnings: list[str]) -> list[str]:
    """Judge the distances between neighbouring slices; uneven ones are a warning, shared positions a defect."""
    steps = np.diff(along)
    shared = int((steps < SAME_POSITION_MM).sum())
    if shared:
        at = along[int((steps < SAME_POSITION_MM).argmax())]
        return [f"{shared + 1} or more images share positions that no tag tells apart, first at {at:.2f} mm"]
    if along[-1] - along[0] > LARGEST_MM:
        return [f"positions extend over {along[-1] - along[0]:.0f} mm"]
    uneven = np.abs(steps - spacing_mm) > max(UNEVEN * spacing_mm, SAME_POSITION_MM)
    if uneven.any():
        missing = int(np.round(steps[steps >= 1.5 * spacing_mm] / spacing_mm - 1).sum())
        text = f"uneven gaps: {steps.min():.2f} to {steps.max():.2f} mm, median {spacing_mm:.2f}"
        warnings.append(
            text + (f"; about {missing} slices missing, first after slice {int(steps.argmax()) + 1}" if missing else "")
        )
    return []
