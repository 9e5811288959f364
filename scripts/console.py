"""What commands show: plain lines on standard output, progress bars on standard error."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import TypeVar

from tqdm import tqdm

from .errors import root_message

Item = TypeVar("Item")
# what a terminal obeys or hides: control characters, line separators, changes of direction; and what is no UTF-8
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "\\|", "[": "\\[", "]": "\\]", "`": "\\`"})


def printable(text: str, keep: str = "\n\t") -> str:
    """Return text that no terminal obeys: control characters, which headers and file names may hold, as escapes."""
    return CONTROLS.sub(lambda one: one[0] if one[0] in keep else one[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """Return a value of a header, a name or a reason as text that breaks no line, see `printable`."""
    return printable(text, keep="")


def markdown(text: object) -> str:
    """Return text that stands in Markdown as it is: no HTML, no link, no picture, no cell of its own, on one line."""
    return printable(" ".join(str(text).split())).translate(MARKUP)


def say(text: str = "") -> None:
    """Print one line for the user at once, also when standard output is a pipe.

    What the console cannot show, such as Greek on a Windows console, becomes a question mark; what it would obey, an
    escape, see `printable`.
    """
    encoding = sys.stdout.encoding or "utf-8"
    tqdm.write(printable(text).encode(encoding, "replace").decode(encoding), file=sys.stdout)
    sys.stdout.flush()


def end_in_order() -> None:
    """Let SIGTERM and SIGHUP end this process as an error would, so that what it was writing is removed."""
    for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP, and nohup ignores it
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, lambda received, _: sys.exit(128 + received))


def end_with_parent() -> None:
    """Let this process end in order when it is asked to, or when the one that started it has been killed.

    Processes of a pool would else wait for ever for work from nobody, and keep their memory and their GPU.
    """
    end_in_order()
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=end_after, args=(parent,), daemon=True).start()


def end_after(parent: BaseProcess) -> None:
    """End this process after another: first what it works on, then its wait for more."""
    parent.join()
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(2)


@contextmanager
def optional(what: str) -> Iterator[None]:
    """Print a warning instead of failing where a figure, or whatever else results can do without, cannot be made."""
    try:
        yield
    except Exception as error:
        say(f"warning: no {what}: {root_message(error)}")


def progress(items: Iterable[Item], description: str, unit: str, total: int | None = None) -> Iterator[Item]:
    """Iterate with a progress bar on standard error; on a pipe it refreshes every ten seconds only.

    Args:
        items: what to iterate over.
        description: what is being done, e.g. ``"reading headers"``.
        unit: what one item is, e.g. ``"file"``.
        total: the number of items, where ``items`` has no length.
    """
    interval_s = 0.2 if sys.stderr.isatty() else 10.0
    yield from tqdm(items, desc=description, unit=unit, total=total, mininterval=interval_s, file=sys.stderr)
