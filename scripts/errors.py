"""What commands say and return where something cannot be used, read or written, instead of a traceback."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LARGEST_SEED = 2**63 - 1

WRITING_ADVICE = {
    errno.ENOSPC: "free some space there, or choose another",
    errno.EDQUOT: "free some of your quota there, or choose another",
    errno.EFBIG: "raise the limit on the size of files there, or choose another",
    errno.EROFS: "it is mounted read-only; choose another",
    errno.EACCES: "change its permissions, or choose another",
    errno.EPERM: "change its permissions, or choose another",
    errno.ENAMETOOLONG: "choose a shorter name or another",
    errno.EIO: "the disk is faulty; choose another",
}
"""What to do where the system refuses to write, up to what else can be chosen."""

PLACE_ADVICE = {
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "remove the link that leads to itself, or name another place",
    errno.EISDIR: "name a file",
    errno.ENOTDIR: "name a place that is not below a file",
}
"""What to do where the system cannot even follow a name, whether to read or to write there."""

KILLED_LOADER = "DataLoader worker (pid"
LOADER_ADVICE = (
    "a process that loads images was killed, probably for want of memory; set fewer num_workers (0 loads in the main "
    "process) and start again, a training of train.json with --resume True: finished epochs are kept"
)


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message says what was expected, what came, which file or key, and what to do next. Commands print it and exit
    with status 2; anything else that escapes a command is a bug and keeps its traceback.
    """


def check_named(path: object) -> None:
    """Refuse an empty path, which the system would take for this folder.

    Raises:
        InputError: ``path`` is empty.
    """
    if not str(path).strip():
        raise InputError("an empty path names nothing; name a folder or a file, or . for this folder")


def check_whole(option: str, value: object, low: int, high: int | None = None) -> None:
    """Refuse what is no whole number, or is out of range.

    Args:
        option: what to call it, e.g. ``--seed``.
        value: what was given.
        low: the smallest that will do.
        high: the largest that will do; None for no limit.

    Raises:
        InputError: ``value`` is a fraction, no number, below ``low`` or above ``high``.
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):  # type: ignore[operator]
        limits = f"from {low}" if high is None else f"from {low} to {high}"
        raise InputError(f"{option} must be a whole number {limits}, written in digits, got {value}")


def check_seed(value: object, option: str = "--seed") -> None:
    """Refuse a seed that is not a whole number from 0 to 2^63 - 1.

    Raises:
        InputError: ``value`` is another number.
    """
    check_whole(option, value, 0, LARGEST_SEED)


def root_error(error: BaseException) -> BaseException:
    """Follow the causes of an exception to the `InputError` that began it, or to the very first.

    MONAI's transforms and configs wrap whatever was raised in an exception of their own. That a process of torch's
    loader was killed becomes an `InputError`.
    """
    while not isinstance(error, InputError):
        if str(error).startswith(KILLED_LOADER):
            return InputError(LOADER_ADVICE)
        if error.__cause__ is None:
            break
        error = error.__cause__
    return error


def root_message(error: BaseException) -> str:
    """Return the message of the exception that began it all, see `root_error`."""
    first = root_error(error)
    return str(first) or type(first).__name__


def kind_of(error: BaseException) -> str:
    """Return the kind of an exception; its message may quote what must not be repeated."""
    name = type(error).__name__
    return name if name != "error" else f"{type(error).__module__} error"  # struct.error, zlib.error


def writing_error(error: OSError, path: str | Path = "", option: str = "folder") -> InputError:
    """Return one line for what the system said when something was written: the path, the disk, and what to do.

    Args:
        error: what the system said.
        path: what was written; by default what ``error`` names.
        option: what to choose instead.
    """
    while error.errno is None and isinstance(error.__cause__, OSError):  # pydicom hides it
        error = error.__cause__
    path = path or os.fsdecode(error.filename or "")
    reason = error.strerror or str(error) or type(error).__name__
    if path and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
        place = Path(path).absolute()
        reason += f"; the disk is mounted at {next(one for one in (place, *place.parents) if os.path.ismount(one))}"
    advice = WRITING_ADVICE.get(error.errno or 0, "choose another")
    return InputError(f"{path or 'the output'} cannot be written ({reason}); {advice} {option}")


def place_error(error: OSError) -> InputError | None:
    """Return one line for a name that the system cannot follow; None for any other error.

    Args:
        error: what the system said when something was looked for, read or written.
    """
    advice = PLACE_ADVICE.get(error.errno or 0)
    if advice is None:
        return None
    return InputError(f"{os.fsdecode(error.filename or 'a name')} cannot be used ({error.strerror}); {advice}")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn what the system says when ``path``, or something below it, is written into one line.

    Raises:
        InputError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        elsewhere = error.filename is not None and not Path(os.fsdecode(error.filename)).is_relative_to(path.parent)
        if elsewhere or isinstance(error, BrokenPipeError):
            raise
        raise writing_error(error, path) from error


@contextmanager
def naming_final(draft: Path, final: Path) -> Iterator[None]:
    """Name the final place in refusals that name a draft, which nobody sees."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error).replace(str(draft), str(final))) from error


def exit_status(n_used: int, n_unread: int) -> int:
    """Return the exit status of a command that looks through files: the one place that says what it means.

    0: everything that may hold images was used, or refused for a reason that its table names. Files that are no images
    (text, pictures, DICOMDIR) do not count. 1: something could not be read, or failed; the rest was used. 2: nothing
    was used.

    Args:
        n_used: series, or stacks, that have a result.
        n_unread: files and folders that could not be read or were not opened, and series that failed.
    """
    if not n_used:
        return 2
    return 1 if n_unread else 0
