"""Frames to stacks: the slices of one volume, in one order, each with its own place and direction."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, fields

from .copies import without_copies
from .defects import UNEVEN, defects_of, judge_distances, variation_warnings
from .frames import Facts, Frame
from .geometry import Array, axes_of, mean_axes, plane_of, positions, widest_degrees
from .grouping import by_geometry, sort_key, split_by_time
from .weightings import fat_suppression, weighting


@dataclass(frozen=True)
class Slice:
    """One slice of a stack.

    Attributes:
        path: the file.
        frame: number of the frame from 1 as text; empty for a single-frame file.
        sop_uid: SOPInstanceUID; ``(series_uid, sop_uid, frame)`` is the key of the slice.
        position_mm: where it lies along the stack's normal; of its first pixel, where slices stand at angles of its
            middle.
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
        widest_degrees: largest angle between slices of the same series, for the same.
        diffusion_in_series: what says so of the most strongly diffusion-weighted stack of the same series; else empty.
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
    widest_degrees: float
    diffusion_in_series: str
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
    def nominal_spacing_mm(self) -> float | None:
        """Distance that neighbouring slices should have: SpacingBetweenSlices; None where the header lacks it.

        At least SliceThickness, since some makers write the gap between slices instead.
        """
        return None if self.spacing_tag_mm is None else max(self.spacing_tag_mm, self.thickness_mm or 0)


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
        widest = widest_degrees({frame.orientation for group in groups for frame in group})
        weighted = [group[0].facts for group in groups if group[0].facts.diffusion]
        diffusion = max(weighted, key=lambda facts: facts.b_value or 0).diffusion if weighted else ""
        defects = ["several patients or studies share this SeriesInstanceUID"] if owners[key[2]] > 1 else []
        images = Counter(image for group in groups for image in {(frame.sop_uid, frame.frame) for frame in group})
        for group in groups:
            reused = [frame.sop_uid for frame in group if images[frame.sop_uid, frame.frame] > 1]
            repeated = [f"different images share the SOPInstanceUID {reused[0]}"] if reused and reused[0] else []
            stacks.append(stack_of(group, planes, widest, diffusion, defects + repeated))
    return stacks


def stack_of(
    frames: list[Frame], planes_in_series: tuple[str, ...], widest: float, diffusion_in_series: str, defects: list[str]
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
        widest_degrees=widest,
        diffusion_in_series=diffusion_in_series,
        copies=copies,
        defects=tuple(defects),
        warnings=tuple(warnings),
    )


def vectors(directions: Array | None) -> list[tuple[float, ...]]:
    """Return row direction, column direction and normal as plain numbers; empty without geometry."""
    return [(), (), ()] if directions is None else [tuple(map(float, row)) for row in directions]
