"""Series shared by several processes, of which any may die."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple, TypeVar

from ..console import end_with_parent, say
from ..records import Series

Result = TypeVar("Result")


class Share(NamedTuple):
    """Series that one process takes.

    Attributes:
        number: of the process, from 0.
        series: what it takes.
        tries: how often a process with these series has died.
    """

    number: int
    series: tuple[Series, ...]
    tries: int = 0

    def again(self) -> list[Share]:
        """Return what is tried where the process died: each half; a single series once more; after that nothing."""
        if len(self.series) > 1:
            middle = len(self.series) // 2
            return [Share(self.number, part, 1) for part in (self.series[:middle], self.series[middle:])]
        return [self._replace(tries=self.tries + 1)] if self.tries < 2 else []


def score_shares(
    score: Callable[[Share], Result], series: tuple[Series, ...], workers: int
) -> Iterator[tuple[Share, Result | None]]:
    """Score series in several processes.

    A process that dies, e.g. for want of memory, takes nothing along: other processes score its series again, in
    halves, until only a series that kills every process is left.

    Args:
        score: scores one share; it is to keep what a dead process has finished where a share has been tried before.
        series: all series.
        workers: processes at a time.

    Yields:
        Each share with its result; None where its one series has killed three processes.
    """
    shares = [Share(number, series[number::workers]) for number in range(workers)]
    with ThreadPoolExecutor(workers) as lanes:
        waiting: dict[Future[Result | None], Share] = {}
        try:
            waiting |= {lanes.submit(score_alone, score, share): share for share in shares if share.series}
            while waiting:
                for done in wait(waiting, return_when=FIRST_COMPLETED).done:
                    share, result = waiting.pop(done), done.result()
                    again = share.again() if result is None else []
                    if again:
                        say(
                            f"process {share.number + 1} of {workers} ended; its {len(share.series)} series are retried"
                        )
                        waiting |= {lanes.submit(score_alone, score, part): part for part in again}
                    else:
                        yield share, result
        except BaseException:  # whoever stops this waits for no series
            for future in waiting:
                future.cancel()
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def score_alone(score: Callable[[Share], Result], share: Share) -> Result | None:
    """Score a share in a process of its own; None where that dies."""
    # a clean process: a forked one inherits threads' locks and cannot use a GPU
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=end_with_parent) as pool:
        try:
            return pool.submit(score, share).result()
        except BrokenProcessPool:
            return None


def resources(number: int, processes: int) -> dict[str, Any]:
    """Take a share of the cores for this process, and return the config's keys that choose its GPU."""
    import torch

    if processes > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))
    if torch.cuda.device_count() < 2:
        return {}
    number = int(os.environ.get("LOCAL_RANK", number)) % torch.cuda.device_count()
    return {"device": torch.device(f"cuda:{number}")}
