"""Worker processes that may crash, hang, or run out of memory without taking the campaign along."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import shutil
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

from .dicom_mutations import DICOM
from .mutations import OTHERS, mutate
from .samples import Sample, make_samples

CHUNK = 20
SLOWEST_S = 5.0
LARGEST_MIB = 2048
START_S = 120.0


class Outcome(NamedTuple):
    """What became of one file.

    Attributes:
        number: of the file.
        result: accepted or refused; else exception, wrong, memory, hang or crash.
        detail: of a failure, in a few lines.
        seconds: how long its door took.
    """

    number: int
    result: str
    detail: str
    seconds: float


class Case(NamedTuple):
    """One damaged file."""

    sample: Sample
    data: bytes
    mutations: list[str]


@dataclass(frozen=True)
class Plan:
    """Which files a campaign makes; the same plan makes the same files.

    Attributes:
        folder: of the samples.
        seed: of the mutations.
        n_dicom: DICOM files; they come first.
    """

    folder: Path
    seed: int
    n_dicom: int

    def kind(self, number: int) -> str:
        """Return the kind of the file of a number."""
        return "dicom" if number < self.n_dicom else list(OTHERS)[number % len(OTHERS)]

    def case(self, samples: Sequence[Sample], number: int) -> Case:
        """Make the file of a number."""
        rng, kind = random.Random(f"{self.seed}/{number}"), self.kind(number)
        sample = rng.choice([one for one in samples if one.kind == kind])
        data, names = mutate(sample.path.read_bytes(), DICOM if kind == "dicom" else OTHERS[kind], rng)
        return Case(sample, data, names)


def limit_memory() -> None:
    """Let this process have 2 GiB more than it has; without effect where the system knows no such limit."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:  # macOS
        return
    limit = pages * resource.getpagesize() + LARGEST_MIB * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def attempt(plan: Plan, samples: Sequence[Sample], number: int, place: Any) -> Outcome:
    """Try one file in this process."""
    from .doors import WrongError, try_file

    case = plan.case(samples, number)
    started = time.perf_counter()
    try:
        result, detail = try_file(case.sample, case.data, case.mutations, number, place), ""
    except WrongError as error:
        result, detail = "wrong", str(error)
    except MemoryError as error:
        result, detail = "memory", str(error)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = next((one for one in reversed(frames) if "/scripts/" in one.filename), frames[-1])
        where = f"{Path(own.filename).name}:{own.lineno}"
        result, detail = "exception", f"{type(error).__name__} at {where}: {str(error)[:200]}"
    seconds = time.perf_counter() - started
    if seconds > SLOWEST_S and result in ("accepted", "refused"):
        result, detail = "hang", f"{seconds:.1f} s"
    return Outcome(number, result, detail, seconds)


def make_place(plan: Plan, folder: Path) -> Any:
    """Make the folder of one worker."""
    from .doors import Place

    own = folder / "files"
    own.mkdir()
    (folder / "tmp").mkdir()
    shutil.copytree(plan.folder / "cohort", folder / "cohort")
    return Place(own, folder / "cohort", sorted((plan.folder / "neighbours").iterdir()))


def serve(plan: Plan, folder: Path, connection: Connection) -> None:
    """Try the files whose numbers come, and answer each; the work of a process of its own."""
    quiet()
    samples = make_samples(plan.folder)
    place = make_place(plan, folder)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")
    warm_up(samples, place)
    limit_memory()
    connection.send(None)
    while (numbers := connection.recv()) is not None:
        for number in numbers:
            connection.send(attempt(plan, samples, number, place))


def quiet() -> None:
    """Silence what the readers print and warn; the campaign prints what matters."""
    import warnings

    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    warnings.simplefilter("ignore")


def warm_up(samples: Sequence[Sample], place: Any) -> None:
    """Import everything, so that the first file pays for no import and the memory limit counts none."""
    from .doors import try_file

    for sample in samples:
        with contextlib.suppress(Exception):  # what goes wrong, the campaign finds
            try_file(sample, sample.path.read_bytes(), [], 0, place)


@dataclass
class Worker:
    """A process of the pool, and which numbers it still owes."""

    process: Any
    connection: Connection
    folder: Path
    ready: bool = False
    owed: deque[int] = field(default_factory=deque)
    since: float = field(default_factory=time.monotonic)

    @property
    def late(self) -> bool:
        """Whether it has taken too long for one file, or to start."""
        limit = 2 * SLOWEST_S if self.ready else START_S
        return bool(self.owed or not self.ready) and time.monotonic() - self.since > limit


def start(plan: Plan) -> Worker:
    """Start a worker."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    process = context.Process(target=serve, args=(plan, folder, theirs), daemon=True)
    process.start()
    theirs.close()
    return Worker(process, mine, folder)


def stop(worker: Worker) -> int | None:
    """End a worker, and return its exit status."""
    with contextlib.suppress(OSError):
        worker.connection.send(None)
    worker.process.join(0.5)
    status: int | None = worker.process.exitcode
    worker.process.kill()
    worker.process.join()
    worker.connection.close()
    shutil.rmtree(worker.folder, ignore_errors=True)
    return status


def outcomes(plan: Plan, numbers: Sequence[int], workers: int) -> Iterator[Outcome]:
    """Try files in several processes; one that dies or hangs is named, and another process goes on.

    Raises:
        RuntimeError: a process dies before its first file.
    """
    left = deque(numbers)
    again: set[int] = set()
    pool = [start(plan) for _ in range(min(workers, max(1, len(numbers))))]
    try:
        while left or any(worker.owed for worker in pool):
            ready = {id(one) for one in wait([worker.connection for worker in pool], timeout=0.5)}
            for index, worker in enumerate(pool):
                ended = False
                if id(worker.connection) in ready:
                    try:
                        outcome = worker.connection.recv()
                    except EOFError:
                        ended = True
                    else:
                        worker.since = time.monotonic()
                        if outcome is None:
                            worker.ready = True
                        else:
                            worker.owed.popleft()
                            # a busy machine is slow once, a file that hangs always
                            if outcome.result == "hang" and outcome.number not in again:
                                again.add(outcome.number)
                                left.append(outcome.number)
                            else:
                                yield outcome
                if ended or worker.late:
                    yield from replaced(plan, pool, index, left, again)
                elif worker.ready and not worker.owed and left:
                    chunk = [left.popleft() for _ in range(min(CHUNK, len(left)))]
                    worker.owed.extend(chunk)
                    worker.since = time.monotonic()
                    worker.connection.send(chunk)
    finally:
        for worker in pool:
            stop(worker)


def replaced(plan: Plan, pool: list[Worker], index: int, left: deque[int], again: set[int]) -> Iterator[Outcome]:
    """Replace a worker that died or hangs, and yield what became of the file it was at."""
    worker = pool[index]
    late = worker.late
    status = stop(worker)
    if not worker.ready or not worker.owed:
        raise RuntimeError(f"a worker ended before its first file, with status {status}")
    number = worker.owed.popleft()
    left.extendleft(reversed(worker.owed))
    pool[index] = start(plan)
    if number in again:
        kind, detail = ("hang", f"more than {SLOWEST_S:g} s") if late else ("crash", f"the process ended with {status}")
        yield Outcome(number, kind, detail, 0.0)
    else:
        again.add(number)
        left.append(number)
