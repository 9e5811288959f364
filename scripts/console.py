"""What commands show: plain lines on standard output, progress bars on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

from .errors import root_message

Item = TypeVar("Item")


def say(text: str = "") -> None:
    """Print one line for the user at once, also when standard output is a pipe.

    What the console cannot show, such as Greek on a Windows console, becomes a question mark.
    """
    encoding = sys.stdout.encoding or "utf-8"
    tqdm.write(text.encode(encoding, "replace").decode(encoding), file=sys.stdout)
    sys.stdout.flush()


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
