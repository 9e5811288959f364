"""The one exception that is shown as a message instead of a traceback."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message says what was expected, what came, which file or key, and what to do next. Commands print it and exit
    with status 2; anything else that escapes a command is a bug and keeps its traceback.
    """


def check_whole(option: str, value: float, low: int) -> None:
    """Refuse a number that is not whole or is too small.

    Args:
        option: what to call it, e.g. ``--seed``.
        value: what was given.
        low: the smallest that will do.

    Raises:
        InputError: ``value`` is a fraction, or below ``low``.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise InputError(f"{option} must be a whole number from {low}, written in digits, got {value}")


def root_message(error: BaseException) -> str:
    """Return the message of the exception that began it all; MONAI's transforms and configs wrap it in their own."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__
