"""Where a search keeps its trials, and the locks that tell which of them run."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from ..errors import InputError, root_message
from ..files import inside, resolved

DATABASE = "search.db"


@contextmanager
def storing(folder: Path, storage: str = "") -> Iterator[None]:
    """Turn what the database says when it cannot be read or written into one line.

    Raises:
        InputError: it cannot.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        reason = f"{without_password(storage) or folder / DATABASE} cannot be used ({root_message(error)})"
        advice = "see that it runs and may be written" if storage else "make room on its disk if that is full"
        raise InputError(f"{reason}; {advice}, or choose another {'--storage' if storage else '--out'}") from error


def without_password(storage: str) -> str:
    """Return a URL that may be shown."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(storage).render_as_string(hide_password=True) if storage else ""
    except (ArgumentError, ValueError):
        kind, mark, _ = storage.partition("://")
        return f"{kind}{mark}…" if mark else storage


def open_storage(folder: Path, storage: str) -> Any:
    """Open the database of a search.

    Args:
        folder: the search's folder, which holds it where no other is named.
        storage: URL of another, as Optuna takes it.

    Raises:
        InputError: Optuna cannot open it.
    """
    import optuna
    from sqlalchemy import NullPool

    if not storage:
        # no URL: a folder's name may hold what a URL reads as something else
        connect = partial(sqlite3.connect, resolved(folder / DATABASE))
        return optuna.storages.RDBStorage("sqlite://", {"creator": connect, "poolclass": NullPool})
    try:
        return optuna.storages.get_storage(storage)
    except Exception as error:  # every driver has its own
        raise InputError(
            f"--storage {without_password(storage)} cannot be opened ({root_message(error).splitlines()[0]}); expected "
            "a URL that Optuna opens, such as postgresql+psycopg://user:password@host/database, with its driver "
            "installed and the database there"
        ) from error


def locked(folder: Path, name: str, timeout_s: float = 0) -> FileLock:
    """Return the lock of a trial, or of the whole search, that this process now holds; the system frees it at its end.

    Raises:
        Timeout: another process holds it.
    """
    path = inside(folder, f"locks/{name}.lock")
    path.parent.mkdir(exist_ok=True)
    lock = FileLock(path, timeout=timeout_s)
    with suppress(NotImplementedError):  # a network disk without locks: one process at a time
        lock.acquire()
    return lock
