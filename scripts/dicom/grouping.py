"""Which frames of a series form one volume: of one kind, in one plane, and of one time where images repeat."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from .defects import OFTEN, UNEVEN
from .frames import TIMES, Facts, Frame
from .geometry import (
    Array,
    axes_of,
    by_orientation,
    one_angle,
    orthonormal,
    overlapping,
    places,
    plane_of,
    positions,
    steps_mm,
)
from .weightings import fat_suppression, named_lossless, weighting

SAME_ORIGIN_MM = 1.0
SPARSE = 2.0  # times the thickness, above which slices are no volume of their own
AS_LONG = 0.75
ORDERS = (*(keyword for keyword in TIMES if keyword not in ("StackID", "TriggerTime")), "InstanceNumber", "frame")
"""What tells the first image at a place from the second, the surest first."""


def sort_key(frame: Frame) -> tuple[object, ...]:
    """Order frames in a way that knows nothing of file names until all else is equal."""
    return frame.sop_uid, len(frame.frame), frame.frame, frame.path


def by_geometry(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Group frames by grid, plane, directions of rows and columns, and kind of image.

    Slices at angles to one another belong together, as the stacks along the discs of a neck do, or a slowly turning
    fan: their rows, columns and normals are nearest to the same axes of the patient.
    """
    by_kind: dict[tuple[object, ...], list[Frame]] = defaultdict(list)
    kinds: dict[int, tuple[object, ...]] = {}
    for frame in frames:
        kind = kinds.get(id(frame.facts)) or kinds.setdefault(id(frame.facts), kind_of(frame.facts))
        by_kind[(*kind, len(frame.origin_mm), orthonormal(frame.orientation))].append(frame)
    groups = []
    for kind in sorted(by_kind, key=repr):
        members = sorted(by_kind[kind], key=sort_key)
        by_side: dict[tuple[object, ...], list[int]] = defaultdict(list)
        for cluster in by_orientation([frame.orientation for frame in members]):
            by_side[sides(members[cluster[0]].orientation)] += cluster
        groups += [[members[number] for number in sorted(group)] for group in by_side.values()]
    return groups


def sides(orientation: tuple[float, ...]) -> tuple[object, ...]:
    """Return the plane, and the side of the patient to which rows and columns run."""
    directions = axes_of(orientation)
    if directions is None:
        return orientation
    nearest = np.abs(directions[:2]).argmax(axis=1)
    signs = [bool(direction[axis] > 0) for direction, axis in zip(directions[:2], nearest, strict=True)]
    return (plane_of(directions)[0], *nearest.tolist(), *signs)


def kind_of(facts: Facts) -> tuple[object, ...]:
    """Return the facts in which all frames of one stack agree."""
    return (
        facts.sop_class_uid,
        facts.modality,
        (facts.rows, facts.columns, rounded(facts.row_spacing_mm), rounded(facts.column_spacing_mm)),
        (facts.samples, facts.photometric, facts.lossy, named_lossless(facts.derivation)),
        (facts.image_type, facts.sequence, facts.sequence_name, facts.b_value, facts.diffusion, facts.echo_number),
        (rounded(facts.te_ms, 1), rounded(facts.ti_ms, 0), weighting(facts), fat_suppression(facts)),
    )


def rounded(value: float | None, n_digits: int = 3) -> float | None:
    """Round, so that noise in the last digit does not split a stack."""
    return None if value is None else round(value, n_digits)


def split_by_time(frames: list[Frame]) -> list[list[Frame]]:
    """Split images that repeat at the same places into volumes; what cannot be split stays together.

    A tag separates them if it has as many values as the fullest place has images: then each value is one volume. Times
    that differ slice by slice do not; there the first, second ... image of each place form the volumes, if every place
    has as many and they cover one another.
    """
    if not frames[0].origin_mm or axes_of(frames[0].orientation) is None:
        return [frames]
    if len({(frame.sop_uid or frame.path, frame.frame) for frame in frames}) < len(frames):
        return [frames]  # copies of one file do not make two stacks
    at = places(frames)
    counts = Counter(at)
    most = max(counts.values())
    if most == 1:
        return split_overlapping(frames)
    for keyword in TIMES:
        parts = by_tag(frames, keyword)
        volumes = len(parts) == most or (keyword == "StackID" and min(map(len, parts)) > 1)
        if volumes and all(len({at[number] for number in part}) == len(part) for part in parts):
            return [[frames[number] for number in part] for part in parts]
    return by_order(frames, at) or [frames]


def split_overlapping(frames: list[Frame]) -> list[list[Frame]]:
    """Split slices that overlap by more than half of their thickness into volumes, as repeats of a moved table do.

    A tag, or else the order in each place, must separate them into volumes without such overlaps. Slices at even
    distances are one volume, as 3-D sequences with overlapping slices write it, unless SpacingBetweenSlices disagrees.
    """
    thickness_mm, stated_mm = frames[0].facts.thickness_mm or 0, frames[0].facts.spacing_tag_mm
    steps = steps_mm(frames)
    if not overlapping(steps, thickness_mm).any():
        return split_turned(frames)
    usual = float(np.median(steps))
    if np.ptp(steps) <= UNEVEN * usual and (stated_mm is None or abs(stated_mm - usual) <= UNEVEN * usual):
        return [frames]

    def regular(part: list[Frame]) -> bool:
        own = steps_mm(part)
        close = len(own) > 0 and float(np.median(own)) <= SPARSE * thickness_mm
        return close and not overlapping(own, thickness_mm).any()

    divisions = [[[frames[number] for number in part] for part in by_tag(frames, keyword)] for keyword in TIMES]
    divisions.append(by_order(frames, places(frames, thickness_mm / 2)))
    return next((parts for parts in divisions if len(parts) > 1 and all(map(regular, parts))), [frames])


def split_turned(frames: list[Frame]) -> list[list[Frame]]:
    """Split slices at angles into volumes where a tag counts repeats of one length between which the patient turned.

    Packages along the discs, and the slices of a fan, do not reach over the same levels, or do not lie at the same.
    """
    along, thickness_mm = positions(frames), frames[0].facts.thickness_mm or 0
    if one_angle(frames) or overlapping(np.diff(np.sort(along)), thickness_mm).mean() < OFTEN:
        return [frames]
    shortest_mm = max(AS_LONG * float(np.ptp(along)), thickness_mm)
    for keyword in TIMES:
        parts = by_tag(frames, keyword)
        if len(parts) > 1 and min(np.ptp(along[part]) for part in parts) >= shortest_mm:
            return [[frames[number] for number in part] for part in parts]
    return [frames]


def by_tag(frames: Sequence[Frame], keyword: str) -> list[list[int]]:
    """Return the numbers of the frames of each value of one of ``TIMES``, in the order of the values as text."""
    parts: dict[str, list[int]] = defaultdict(list)
    for number, frame in enumerate(frames):
        parts[dict(frame.times).get(keyword, "")].append(number)
    return [parts[value] for value in sorted(parts)]


def by_order(frames: list[Frame], at: Sequence[int]) -> list[list[Frame]]:
    """Make volumes of the first, second ... frame at each place; none where places differ in number or lie aside."""
    counts = Counter(at)
    most = max(counts.values())
    lateral: dict[int, list[Array]] = defaultdict(list)
    for frame, place in zip(frames, at, strict=True):
        directions = axes_of(frame.orientation)
        assert directions is not None
        lateral[place].append(directions[:2] @ frame.origin_mm)
    aside_mm = max(float(np.ptp(here, axis=0).max()) for here in lateral.values())
    if len(counts) == 1 or min(counts.values()) < most or aside_mm > SAME_ORIGIN_MM:
        return []
    for keyword in ORDERS:
        values = [order_of(frame, keyword) for frame in frames]
        if None not in values and len(set(zip(at, values, strict=True))) == len(frames):
            seen: Counter[int] = Counter()
            volumes_of: dict[int, list[Frame]] = defaultdict(list)
            for number in sorted(range(len(frames)), key=lambda one: values[one] or 0):
                volumes_of[seen[at[number]]].append(frames[number])
                seen[at[number]] += 1
            return [sorted(volumes_of[number], key=sort_key) for number in range(most)]
    return []


def order_of(frame: Frame, keyword: str) -> float | None:
    """Return when a frame came by one of ``ORDERS``, as a number; None where it does not say."""
    try:
        return float(frame.frame if keyword == "frame" else dict(frame.times)[keyword])
    except (KeyError, ValueError):
        return None
