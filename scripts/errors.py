"""The one exception that is shown as a message instead of a traceback."""

from __future__ import annotations

LARGEST_SEED = 2**63 - 1


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message says what was expected, what came, which file or key, and what to do next. Commands print it and exit
    with status 2; anything else that escapes a command is a bug and keeps its traceback.
    """


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

    MONAI's transforms and configs wrap whatever was raised in an exception of their own.
    """
    while error.__cause__ is not None and not isinstance(error, InputError):
        error = error.__cause__
    return error


def root_message(error: BaseException) -> str:
    """Return the message of the exception that began it all, see `root_error`."""
    first = root_error(error)
    return str(first) or type(first).__name__
