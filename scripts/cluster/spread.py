"""How work on many items is handed out; what does it in this process alone, and needs no other package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Spread(Protocol):
    """Does work on groups of items, in any processes and in any order."""

    def __call__(
        self,
        work: Callable[[Sequence[Item]], Result],
        groups: Iterable[Sequence[Item]],
        again: Callable[[Sequence[Item]], Result] | None = None,
    ) -> Iterator[tuple[Sequence[Item], Result | None]]:
        """Do some work on each group of items.

        Args:
            work: what is done with one group.
            groups: the items.
            again: what is done instead with items of which a process has died, e.g. to keep what it had finished.

        Yields:
            Items with the result of the work on them. A group of which a process has died comes in parts; one item
            that ends every process comes with None.
        """
        ...


def in_this_process(
    work: Callable[[Sequence[Item]], Result],
    groups: Iterable[Sequence[Item]],
    again: Callable[[Sequence[Item]], Result] | None = None,
) -> Iterator[tuple[Sequence[Item], Result | None]]:
    """Do the work here, one group after the other; see `Spread`."""
    for group in groups:
        yield group, work(group)
