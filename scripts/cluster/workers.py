"""The processes that do the work: this one, others of this machine, or those of a cluster."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import secrets
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import resource_tracker
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from ..console import say
from ..errors import InputError, check_whole
from ..files import ROOT
from .addresses import address_of, check_safe
from .shipping import packed_bundle
from .spread import in_this_process
from .tasks import Place, n_threads, spread_over

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

Item = TypeVar("Item")
Result = TypeVar("Result")
CONNECT_S = 10
LARGEST_GROUP = 16
"""Items of one task at most, so that a killed worker costs little."""
GROUPS_PER_WORKER = 4
"""So that workers end at about the same time."""
ABOVE_ALL = logging.CRITICAL + 1


class Workers:
    """Processes that share work; a context manager, which starts those of this machine when they are first needed.

    Args:
        n: processes of this machine; 0 for one per core. One is this process itself.
        scheduler: address of a dask scheduler, ``tls://host:port``, or the file that it wrote with
            ``--scheduler-file``; its workers do the work then, whatever ``n`` is.

    Raises:
        InputError: ``n`` is below 0; entering it, the scheduler cannot be reached, or not safely.
    """

    def __init__(self, n: int = 0, scheduler: str = "") -> None:
        check_whole("--workers", n, 0)
        self.n, self.scheduler = n or cores(), scheduler
        self.topic = f"cord-{secrets.token_hex(8)}"
        self.client: Client | None = None
        self.cluster: LocalCluster | None = None
        self.place: Place | None = None

    def __enter__(self) -> Workers:
        if self.scheduler:
            self.connect()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.end()

    def end(self) -> None:
        """End the processes of this machine, whatever they are doing, or leave the cluster."""
        if self.cluster is not None:
            end_at_once(self.cluster)
        if self.client is not None:
            self.client.close(timeout=2)
        if self.cluster is not None:
            self.cluster.close(timeout=10)
        self.client = self.cluster = None

    @property
    def alone(self) -> bool:
        """Whether this process does the work itself."""
        return self.n == 1 and not self.scheduler

    def groups(self, items: Sequence[Item]) -> list[Sequence[Item]]:
        """Divide items into groups: all in one for this process alone, else small ones of about the same size."""
        if self.alone:
            return [items] if items else []
        n = n_threads(self.client) if self.scheduler and self.client is not None else self.n
        wanted = -(-len(items) // (GROUPS_PER_WORKER * max(1, n)))
        size = max(1, min(LARGEST_GROUP, wanted))
        return [items[start : start + size] for start in range(0, len(items), size)]

    def spread(
        self,
        work: Callable[[Sequence[Item]], Result],
        groups: Iterable[Sequence[Item]],
        again: Callable[[Sequence[Item]], Result] | None = None,
    ) -> Iterator[tuple[Sequence[Item], Result | None]]:
        """Do work on groups of items, see `scripts.cluster.spread.Spread`."""
        if self.alone:
            yield from in_this_process(work, groups, again)
            return
        try:
            if self.client is None:
                self.start()
            assert self.client is not None
            yield from spread_over(self.client, self.topic, self.place, work, groups, again)
        except BaseException:
            self.end()  # before the caller removes what they were writing
            raise

    def start(self) -> None:
        """Start processes of this machine; what they say to each other is encrypted, and nobody else can join."""
        import dask
        from distributed import Client, LocalCluster
        from distributed.security import Security

        silence()
        settings = {
            # what dies is tried again by `spread_over`, and only what a process was doing is blamed
            "distributed.scheduler.allowed-failures": 0,
            "distributed.scheduler.worker-saturation": 1.0,
            "distributed.scheduler.worker-ttl": None,  # a decoder may be busy for minutes
            "distributed.nanny.pre-spawn-environ": {"DASK_LOGGING__DISTRIBUTED": "critical"},
            "distributed.worker.multiprocessing-method": "spawn",  # no locks of this process, and GPUs work
        }
        with dask.config.set(settings), interrupts_for_this_process_only(), silent_resource_tracker():
            self.cluster = LocalCluster(
                n_workers=self.n,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                protocol="tls://",
                security=Security.temporary(),
                memory_limit=0,
                dashboard_address=None,
                silence_logs=ABOVE_ALL,
            )
            self.client = Client(self.cluster, set_as_default=False)
        self.listen()

    def connect(self) -> None:
        """Connect to a scheduler, and give its workers the bundle.

        Raises:
            InputError: it cannot be reached, or not safely.
        """
        from distributed import Client
        from distributed.security import Security

        silence()
        address = address_of(self.scheduler)
        security = Security()
        check_safe(address, security)
        try:
            with interrupts_for_this_process_only():
                self.client = Client(address, timeout=CONNECT_S, security=security, set_as_default=False)
            plugin = packed_bundle()
            self.client.register_plugin(plugin)
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(
                f"no connection to the scheduler at {address} ({first_line(error)}); see that it runs there, that its "
                "certificates are those of this process (docs/many_machines.md), and that no firewall is between"
            ) from error
        self.place = Place(plugin.path, str(Path.cwd()))
        if not n_threads(self.client):
            say(f"the scheduler at {address} has no worker yet; waiting for one")
        self.listen()

    def listen(self) -> None:
        """Show what workers say."""
        assert self.client is not None
        self.client.subscribe_topic(self.topic, lambda event: say(event[1]))


def cores() -> int:
    """Return how many cores this process may use; containers and schedulers often give it fewer than there are."""
    from dask.system import CPU_COUNT

    return int(CPU_COUNT)


def silence() -> None:
    """Let dask, which has been imported, say nothing: what matters to the user, we say."""
    for name in [*logging.root.manager.loggerDict, "tornado", "asyncio"]:
        if name.partition(".")[0] in ("distributed", "tornado", "asyncio"):
            logging.getLogger(name).setLevel(ABOVE_ALL)


@contextlib.contextmanager
def interrupts_for_this_process_only() -> Iterator[None]:
    """Keep Ctrl-C, which a terminal sends to every process, from those that are started meanwhile.

    They inherit which signals are blocked, as do the threads that start others in their place. They end with us.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def silent_resource_tracker() -> Iterator[None]:
    """Let multiprocessing remove what killed processes leave behind without a warning of it."""
    known = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [known, "ignore:resource_tracker:UserWarning"]))
    try:
        resource_tracker.ensure_running()  # it takes the environment that it finds now
        yield
    finally:
        os.environ.pop("PYTHONWARNINGS")
        if known is not None:
            os.environ["PYTHONWARNINGS"] = known


def end_at_once(cluster: LocalCluster) -> None:
    """End the processes of a local cluster, whatever they are doing, and start no others in their place."""
    nannies: list[Any] = list(cluster.workers.values())
    for nanny in nannies:
        nanny.auto_restart = False
    ours = {nanny.pid for nanny in nannies}
    for process in multiprocessing.active_children():
        if process.pid in ours:
            process.kill()


def first_line(error: BaseException) -> str:
    """Return what began an error, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def check_worker(bundle: str, folder: str) -> None:
    """Refuse a worker that cannot do our work; called in it.

    Args:
        bundle: name of the folder with the bundle that it has received.
        folder: that of the process whose work it does.

    Raises:
        InputError: it runs another version of the bundle, several tasks at once, or does not have that folder.
    """
    from distributed import get_worker

    worker = get_worker()
    if ROOT.name != bundle:
        raise InputError(
            f"worker {worker.address} runs another bundle ({ROOT}); a cluster works for one version at a time, so "
            "start it anew, without PYTHONPATH to a bundle"
        )
    if worker.state.nthreads != 1:
        raise InputError(
            f"worker {worker.address} does {worker.state.nthreads} tasks at once, and ours need a process each; start "
            "workers with --nthreads 1 (and as many as wanted with --nworkers)"
        )
    if not Path(folder).is_dir():
        raise InputError(
            f"worker {worker.address} does not have the folder {folder}; workers need the images, the weights and the "
            "place of the results under the same paths as this machine"
        )
