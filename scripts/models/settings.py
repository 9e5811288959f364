"""What a checkpoint may say of its network: each setting, and the values that it can have."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from ..tasks import TASKS, is_tasks
from ..transforms import NORMALISATION
from .trunks import is_architecture

LARGEST_HEAD, LARGEST_WIDTH, LARGEST_IMAGE, LARGEST_SIDE_MM = 16, 1 << 16, 4096, 1000


def is_whole(value: Any, low: int, high: int) -> bool:
    """Return whether a value is a whole number between two bounds."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def is_head(value: Any) -> bool:
    """Return whether a value is a list of widths that a head can have."""
    known = isinstance(value, list | tuple) and len(value) <= LARGEST_HEAD
    return known and all(is_whole(width, 1, LARGEST_WIDTH) for width in value)


def is_part(value: Any) -> bool:
    """Return whether a value may be the name of a part of a network."""
    return isinstance(value, str) and re.fullmatch(r"[a-z]\w*", value, re.ASCII) is not None


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_record(value: Any) -> bool:
    """Return whether a value is a mapping of names to plain values, as `training_record` makes it."""
    plain = (str, int, float, bool, type(None))
    return isinstance(value, dict) and all(
        isinstance(name, str) and all(isinstance(one, plain) for one in (own if isinstance(own, list) else [own]))
        for name, own in value.items()
    )


# what a file may say of itself: its settings become values of a config, in which text may be an expression that runs
KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "architecture": (is_architecture, "the name of a network"),
    "head": (is_head, f"up to {LARGEST_HEAD} whole numbers from 1 to {LARGEST_WIDTH}"),
    "image_size": (lambda value: is_whole(value, 1, LARGEST_IMAGE), f"a whole number from 1 to {LARGEST_IMAGE}"),
    "crop_fraction": (lambda value: is_number(value) and 0 < value <= 1, "a number above 0, up to 1"),
    "profile": (lambda value: isinstance(value, str) and value in NORMALISATION, " or ".join(NORMALISATION)),
    "side_mm": (lambda value: value is None or (is_number(value) and 0 < value <= LARGEST_SIDE_MM), "null or mm"),
    "context": (lambda value: is_whole(value, 0, 1), "0 or 1"),
    "outlines": (lambda value: isinstance(value, bool), "true or false"),
    "canal_sha256": (lambda value: isinstance(value, str) and re.fullmatch("[0-9a-f]*", value) is not None, "a hash"),
    "kind": (lambda value: value == "canal", "canal"),
    "channels": (is_head, f"up to {LARGEST_HEAD} whole numbers from 1 to {LARGEST_WIDTH}"),
    "tasks": (is_tasks, f"a list that begins with {', '.join(task.name for task in TASKS)}, or fewer of them"),
    "branch": (is_part, "the name of a part of a network"),
    "trained_on": (lambda value: isinstance(value, dict), "a mapping"),
    "epoch": (lambda value: value is None or is_whole(value, 0, 1 << 31), "a whole number"),
    "pos_weight": (lambda value: value is None or is_number(value), "a number"),
    "training": (is_record, "a mapping of names to numbers and texts"),
    "precision": (lambda value: value in (None, "bf16", "fp32", "tf32"), "bf16, fp32 or tf32"),
}
