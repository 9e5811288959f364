"""Commands of the product as processes that are watched, killed, and measured."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scripts.errors import InputError
from scripts.files import ROOT

POLL_S = 0.003
POLITE_S = 30.0
"""A process has this long to clean up and end after SIGTERM."""
LONGEST_S = 900.0


def require_posix() -> None:
    """Refuse systems without process groups and signals.

    Raises:
        InputError: this is such a system.
    """
    if not hasattr(os, "killpg"):
        raise InputError("this campaign kills process groups, which Windows does not have; run it on Linux or macOS")


@dataclass(frozen=True)
class Kill:
    """When and how a run is killed.

    Attributes:
        after_s: seconds after the start; None where ``event`` decides.
        event: number of the new file or folder, counted from 1, that lets the kill fall into a save.
        delay_s: seconds after the event.
        polite: SIGTERM instead of SIGKILL.
        worker: kill one worker process alone, not the run.
    """

    after_s: float | None = None
    event: int = 0
    delay_s: float = 0.0
    polite: bool = False
    worker: bool = False


@dataclass
class Run:
    """What became of a process.

    Attributes:
        status: its exit status; negative where a signal ended it.
        seconds: how long it ran.
        killed: whether the kill hit it.
        events: how many new files and folders were seen below what it writes.
        stuck: whether it did not end after SIGTERM, or in the time it has.
        rss_mib: resident memory of the process and its children at each sample.
    """

    status: int = 0
    seconds: float = 0.0
    killed: bool = False
    events: int = 0
    stuck: bool = False
    rss_mib: list[float] = field(default_factory=list)


def paths_below(folder: Path) -> Iterator[str]:
    """Yield all paths below a folder that may change meanwhile."""
    for top, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield f"{top}/{name}"


def children(pid: int) -> list[int]:
    """Return the processes that a process has started, theirs included; empty where the system has no /proc."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            own, _, rest = entry.read_text().partition(" (")
            parents.setdefault(int(rest.rpartition(") ")[2].split()[1]), []).append(int(own))
        except (OSError, ValueError, IndexError):  # it ended meanwhile
            continue
    found, left = [], [pid]
    while left:
        own_children = parents.get(left.pop(), [])
        found += own_children
        left += own_children
    return found


def workers_of(pid: int) -> list[int]:
    """Return the worker processes of a run, without the helpers of multiprocessing."""
    found = []
    for child in children(pid):
        try:
            command = Path(f"/proc/{child}/cmdline").read_bytes()
        except OSError:
            continue
        if b"spawn_main" in command:
            found.append(child)
    return sorted(found)


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process and its children in MiB."""
    pages = 0
    for one in (pid, *children(pid)):
        try:
            pages += int(Path(f"/proc/{one}/statm").read_text().split()[1])
        except (OSError, IndexError):
            continue
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def environment(temporary: Path) -> dict[str, str]:
    """Return the environment of a run: one thread, so that sums do not depend on the load, and its own TMPDIR."""
    temporary.mkdir(parents=True, exist_ok=True)
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**os.environ, **threads, "TMPDIR": str(temporary)}


def run(
    command: Sequence[str],
    folder: Path,
    kill: Kill | None = None,
    sample_s: float = 0.0,
    watch: Callable[[], object] = lambda: None,
    variables: Mapping[str, str] | None = None,
    longest_s: float = LONGEST_S,
) -> Run:
    """Run one command of the product in a process group of its own.

    Args:
        command: after ``python``.
        folder: what it writes lies below; its output goes to ``log.txt`` beside that.
        kill: when to kill it; None lets it end.
        sample_s: seconds between samples of its memory; 0 for none.
        watch: called now and then.
        variables: of its environment, beside `environment`'s.
        longest_s: what is not done by then is stuck.
    """
    found = Run()
    known = set(paths_below(folder))
    log = folder.with_name("log.txt")
    started = time.monotonic()
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**environment(folder.with_name("tmp")), **(variables or {})},
        )
        due = None if kill is None or kill.after_s is None else started + kill.after_s
        next_sample = started
        try:
            while process.poll() is None:
                now = time.monotonic()
                if sample_s and now >= next_sample:
                    found.rss_mib.append(rss_mib(process.pid))
                    next_sample = now + sample_s
                    watch()
                if kill is not None and not found.killed:
                    fresh = [path for path in paths_below(folder) if path not in known]
                    known.update(fresh)
                    found.events += len(fresh)
                    if due is None and found.events >= kill.event:
                        due = now + kill.delay_s
                    if due is not None and now >= due:
                        found.killed = strike(process, kill, found)
                if now - started > longest_s:
                    found.stuck = True
                    os.killpg(process.pid, signal.SIGKILL)
                time.sleep(POLL_S if kill is not None else 0.05)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            found.status = process.wait()
    found.seconds = time.monotonic() - started
    return found


def strike(process: subprocess.Popen[bytes], kill: Kill, found: Run) -> bool:
    """Kill a run, or one of its workers; returns whether there was something to kill."""
    if kill.worker:
        workers = workers_of(process.pid)
        if workers:
            os.kill(workers[kill.event % len(workers)], signal.SIGKILL)
        return bool(workers)
    try:
        os.killpg(process.pid, signal.SIGTERM if kill.polite else signal.SIGKILL)
    except ProcessLookupError:
        return False
    if kill.polite:
        try:
            process.wait(POLITE_S)
        except subprocess.TimeoutExpired:
            found.stuck = True
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return process.returncode != 0
