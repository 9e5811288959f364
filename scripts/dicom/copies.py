"""Files that hold the same image, and files that only claim to."""

from __future__ import annotations

from collections import defaultdict

from .frames import Frame
from .pixels import same_pixels


def without_copies(frames: list[Frame], defects: list[str]) -> tuple[list[Frame], tuple[str, ...]]:
    """Keep one of several files with one SOPInstanceUID, and list the others; copies that disagree are a defect.

    Their pixels are read only here, so that files with UIDs of their own cost nothing.
    """
    copies: dict[tuple[str, str], list[Frame]] = defaultdict(list)
    for frame in frames:
        copies[frame.sop_uid or frame.path, frame.frame].append(frame)
    left_out: set[str] = set()
    compared: dict[tuple[str, str], bool] = {}  # by files, which hold many frames each where they are multi-frame
    for group in copies.values():
        if len(group) == 1:
            continue
        group.sort(key=lambda one: (bool(one.problem), repr(one.facts), one.path))
        first, *others = group
        left_out.update(one.path for one in others)
        claims = {(one.origin_mm, one.slope, one.intercept) for one in group}
        if len(claims) > 1:
            defects.append(f"files of one SOPInstanceUID disagree: {first.path} and {others[0].path}")
            continue
        for pair in ((first.path, one.path) for one in others if not one.problem and one.path != first.path):
            if pair not in compared:
                compared[pair] = same_pixels(*pair)
                if not compared[pair]:
                    defects.append(f"files of one SOPInstanceUID disagree in their pixels: {pair[0]} and {pair[1]}")
    return [group[0] for group in copies.values()], tuple(sorted(left_out))
