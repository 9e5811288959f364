"""File names that are no UTF-8, as old exports have them, for a library that takes no others."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def is_utf8(name: str) -> bool:
    """Return whether a name can be written as UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def utf8_path(path: str, data: Path | None = None) -> Iterator[str]:
    """Yield a path that ITK can open: the file's own, or where that is no UTF-8, one through a temporary link.

    The link is to its folder, for what lies beside the file, unless its own name is the odd one.

    Args:
        path: the file.
        data: the file beside it that its header names; None for one that needs no other.

    Raises:
        RuntimeError: whatever the block raised as such, with the file's own name.
    """
    if is_utf8(path):
        yield path
        return
    file = Path(path).absolute()
    with tempfile.TemporaryDirectory(prefix="cord-") as place:
        link = Path(place, "folder")
        link.symlink_to(file.parent, target_is_directory=True)
        plain = link / file.name
        if not is_utf8(file.name):
            plain = Path(place, f"file{file.name.encode('ascii', 'ignore').decode()}")
            plain.symlink_to(file)
            if data is not None:
                Path(place, data.name).symlink_to(data.absolute())
        try:
            yield str(plain)
        except RuntimeError as error:
            raise RuntimeError(str(error).replace(str(plain), path)) from error
