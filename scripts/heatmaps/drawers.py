"""Pictures drawn in processes of their own, where there are enough of them to pay for the start.

Pillow's fonts must not be used by several threads at once, so that threads would not do.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any

from ..console import end_with_parent

PICTURES_PER_PROCESS = 4
"""A process starts in about the time that it takes to draw one large picture; below this many it does not pay."""

Draw = tuple[Callable[..., object], tuple[Any, ...]]


class Drawers:
    """Draw pictures in several processes, or in this one where there are few; all are drawn when the block ends.

    One picture more than there are processes is drawn or waits, so that memory does not grow with their number. What a
    process that dies had not drawn is drawn here.

    Args:
        pictures: how many there will be.
        processes: at most; 0 is one a core.

    Raises:
        Exception: whatever a drawing raised, at the next `draw` or at the end of the block.
    """

    def __init__(self, pictures: int, processes: int = 0) -> None:
        self.processes = min(processes or os.cpu_count() or 1, pictures // PICTURES_PER_PROCESS)
        self.pool: ProcessPoolExecutor | None = None
        self.waiting: deque[tuple[Future[object], Draw]] = deque()
        # a daemon, such as a loader's worker, may start none
        if self.processes > 1 and not multiprocessing.current_process().daemon:
            # a clean process: a forked one inherits locks of torch's threads
            context = multiprocessing.get_context("spawn")
            self.pool = ProcessPoolExecutor(self.processes, context, initializer=end_with_parent)

    def __enter__(self) -> Drawers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while self.waiting and error is None:
                self.finish_one()
        finally:
            if self.pool is not None:
                self.pool.shutdown(cancel_futures=True)

    def draw(self, function: Callable[..., object], *arguments: Any) -> None:
        """Draw one picture.

        Args:
            function: a function of a module that imports little; it writes the picture.
            arguments: its arguments, which are sent to the process.
        """
        if self.pool is None:
            function(*arguments)
            return
        if len(self.waiting) > self.processes:
            self.finish_one()
        try:
            self.waiting.append((self.pool.submit(function, *arguments), (function, arguments)))
        except BrokenProcessPool:
            function(*arguments)

    def finish_one(self) -> None:
        """Wait for the picture that has waited longest."""
        future, (function, arguments) = self.waiting.popleft()
        try:
            future.result()
        except BrokenProcessPool:
            function(*arguments)
