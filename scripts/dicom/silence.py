"""What may be said of a header: nothing that pydicom says by itself, for it quotes values.

A header value identifies someone where it is one of those that `scripts.deidentification.identifiers` looks for (names,
numbers, dates, places, staff), a description or comment in free text, or private. None of these stands in a log, a
warning, an exception, a file name or a figure. Messages name the file, the attribute and the UIDs, by which those who
may see the images find the rest. The tables that the user asked for hold PatientID (`predict`, `index`) and the
description (`index`); coded values such as ImageType and times such as EchoTime are quoted as reasons. What the user
named, such as folders, is the user's own. Tables that people hand in are quoted with their cells, but by `deidentify`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

IGNORE = ("ignore", None, Warning, None, 0)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom's warnings within a block; what is wrong with a file we report ourselves.

    Each block adds a filter of its own and takes away one like it, so blocks may overlap in several threads;
    `warnings.catch_warnings` would then restore the filters of another thread.
    """
    logger, filters = logging.getLogger("pydicom"), cast(list[Any], warnings.filters)

    def drop(_: logging.LogRecord) -> bool:
        return False

    logger.addFilter(drop)
    filters.insert(0, IGNORE)
    try:
        yield
    finally:
        logger.removeFilter(drop)
        with suppress(ValueError):  # others have put back the filters of before the block
            filters.remove(IGNORE)
