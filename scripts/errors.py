"""The one exception that commands turn into a message instead of a traceback."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message says what was expected, what came, which file or key, and what to do next. Commands print it and exit
    with status 2; anything else that escapes a command is a bug and keeps its traceback.
    """
