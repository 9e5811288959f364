"""Paired times: two pieces of work take turns, so that a drift of the machine cancels."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping

import torch

from .rows import Options, Row

Work = Callable[[], object]


def seconds(work: Work, device: torch.device) -> float:
    """Time one call, until the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def cost_ratio(work: Work, plain: Work, pairs: int, device: torch.device) -> tuple[float, float]:
    """Return the median ratio of the times of two pieces of work that take turns, and the plain one's median time.

    Args:
        work: the one whose cost is wanted.
        plain: what it is compared with.
        pairs: how many pairs; within a pair the order alternates, so that a drift of the machine cancels.
        device: where they run.
    """
    for one in (plain, work):
        one()
    ratios, plain_s = [], []
    for number in range(pairs):
        order = (plain, work) if number % 2 else (work, plain)
        taken = {one is plain: seconds(one, device) for one in order}
        ratios.append(taken[False] / taken[True])
        plain_s.append(taken[True])
    return statistics.median(ratios), statistics.median(plain_s)


def compare(plain: Work, measured: Mapping[str, Work], options: Options, each: str) -> Iterator[Row]:
    """Yield how many times as long as the plain one each piece of work takes.

    Args:
        plain: what the others are compared with.
        measured: label of the row to its work.
        options: ``pairs``, ``slices`` and ``device`` count.
        each: what the plain time is divided into ``slices`` of, e.g. ``slice``.
    """
    for label, work in measured.items():
        ratio, plain_s = cost_ratio(work, plain, options.pairs, options.device)
        yield Row(label, ratio, "times plain", f"{1000 * plain_s / options.slices:.1f} ms a {each}")
