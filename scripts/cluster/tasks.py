"""Work as tasks of a dask cluster, of which any worker may die."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..console import say
from ..errors import InputError

if TYPE_CHECKING:
    from distributed import Client, Future

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 64
"""Tasks that the scheduler has beside those that are being done, so that no worker waits for this process."""
FETCH_S = 20.0
"""So long the result of a finished task may take to come; its worker may just have died."""
DEATHS = 2
"""So often an item is tried that was the only one in the hands of a worker that died, while nothing else runs."""


class Place(NamedTuple):
    """Where the workers of another machine find things.

    Attributes:
        bundle: name of the folder with the bundle that they have received.
        folder: where this process runs; relative paths begin there.
    """

    bundle: str
    folder: str


def spread_over(
    client: Client,
    topic: str,
    place: Place | None,
    work: Callable[[Sequence[Item]], Result],
    groups: Iterable[Sequence[Item]],
    again: Callable[[Sequence[Item]], Result] | None = None,
) -> Iterator[tuple[Sequence[Item], Result | None]]:
    """Do work on a cluster; see `scripts.cluster.spread.Spread`.

    A group whose worker died goes to others in halves. An item that was alone when its worker died waits until
    all else is done, for with several tasks in one worker none is known to have killed it; then it is tried by itself.

    Args:
        client: of the cluster.
        topic: under which workers send what the work prints.
        place: what workers of another machine need; None for processes of this one.
        work: what is done with one group.
        groups: the items.
        again: what is done instead with items of which a worker has died.

    Raises:
        InputError: the work raises it, or the cluster cannot be reached any more.
    """
    from distributed import KilledWorker, as_completed

    retry, call = again or work, caller(topic, place)
    left, suspects = iter(groups), list[Sequence[Item]]()
    waiting: dict[Future, Sequence[Item]] = {}

    def submit(function: Callable[[Sequence[Item]], Result], group: Sequence[Item]) -> Future:
        future = client.submit(call, pickle.dumps((function, group)), pure=False)
        waiting[future] = group
        return future

    def submit_more() -> None:
        while len(waiting) < AHEAD + 2 * n_threads(client):
            group = next(left, None)
            if group is None:
                return
            completed.add(submit(work, group))

    completed = as_completed(loop=client.loop)
    submit_more()
    while not completed.is_empty():
        future = next(completed)
        try:
            result: Result = result_of(future, FETCH_S)
        except LostError:  # it is being done again; the others do not wait for it
            completed.add(future)
            continue
        except KilledWorker:
            group = waiting.pop(future)
            say(f"a worker process was killed; what it was doing is done again ({len(group)} at once)")
            if len(group) == 1:
                suspects.append(group)
            else:
                middle = len(group) // 2
                completed.update([submit(retry, part) for part in (group[:middle], group[middle:])])
        else:
            yield waiting.pop(future), result
        submit_more()
    for group in suspects:
        yield group, alone(client, call, retry, group)


def alone(client: Client, call: Callable[[bytes], bytes], work: Callable[[Sequence[Item]], Result], group: Any) -> Any:
    """Do the work on one item while the cluster does nothing else for us; None where every worker dies of it."""
    from distributed import KilledWorker

    for _ in range(DEATHS):
        try:
            return result_of(client.submit(call, pickle.dumps((work, group)), pure=False))
        except KilledWorker:
            continue
    return None


class LostError(Exception):
    """A result went with its worker before it was fetched."""


def result_of(future: Future, timeout_s: float | None = None) -> Any:
    """Wait for a task, and return its result.

    Raises:
        InputError: the work raised it, or the cluster is gone.
        LostError: ``timeout_s`` is over.
    """
    from concurrent.futures import CancelledError

    from distributed import TimeoutError as FetchTimeoutError

    try:
        return pickle.loads(future.result(timeout_s))
    except FetchTimeoutError as error:
        if future.status == "error":  # the work's own
            raise
        raise LostError from error
    except CancelledError as error:
        raise InputError(
            "the scheduler has gone, and with it what was not finished; start it and this command again "
            "(predict with --resume true keeps what is done)"
        ) from error


def n_threads(client: Client) -> int:
    """Return how many tasks the workers do at once."""
    return sum(client.nthreads().values())


def caller(topic: str, place: Place | None) -> Callable[[bytes], bytes]:
    """Return the function that workers call: what it gets is read there, by the bundle that they have received.

    It travels as its code, for it is no name of a module. So a scheduler needs nothing of the bundle, and a worker
    learns here where the bundle lies.
    """
    bundle, folder = place or ("", "")

    def call(content: bytes) -> bytes:
        import contextlib
        import importlib
        import os
        import pickle

        from distributed import get_worker

        if bundle:
            try:
                of_worker = importlib.import_module("scripts.cluster.workers")
            except ImportError as error:
                raise ValueError(
                    f"worker {get_worker().address} has not received the bundle ({error}); start workers with a nanny, "
                    "in an environment with the bundle's dependencies"
                ) from error
            of_worker.check_worker(bundle, folder)
            os.chdir(folder)
        said = importlib.import_module("scripts.cluster.tasks").Said(get_worker(), topic)
        with contextlib.redirect_stdout(said):
            work, group = pickle.loads(content)
            return pickle.dumps(work(group))

    return call


class Said:
    """Standard output of a worker while it works for us: each line goes to the process that shows it.

    Args:
        worker: of dask.
        topic: under which that process listens.
    """

    encoding = "utf-8"

    def __init__(self, worker: Any, topic: str) -> None:
        self.worker, self.topic, self.text = worker, topic, ""

    def write(self, text: str) -> int:
        """Send the lines that are complete."""
        *lines, self.text = (self.text + text).split("\n")
        for line in lines:
            self.worker.log_event(self.topic, line)
        return len(text)

    def flush(self) -> None:
        """Do nothing: lines are sent when they are complete."""

    def isatty(self) -> bool:
        """Return that this is no terminal."""
        return False
