"""Ways to share work that stand in for a cluster, which is never started in the process of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scripts.cluster.spread import in_this_process


def last_first(work: Any, groups: Any, again: Any = None) -> Iterator[Any]:
    """Do the work here, the last group first."""
    return in_this_process(work, reversed(list(groups)), again)


def all_die(work: Any, groups: Any, again: Any = None) -> Iterator[Any]:
    """Do nothing, as if each item ended every process."""
    return ((group, None) for group in groups)
