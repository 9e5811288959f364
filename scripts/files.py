"""Writing files that appear whole or not at all."""

from __future__ import annotations

import csv
import json
import os
import secrets
import shutil
import string
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import InputError

try:
    import fcntl
except ModuleNotFoundError:  # Windows, where what a killed process was writing stays
    fcntl = None  # type: ignore[assignment]

ROOT = Path(__file__).resolve().parent.parent
"""The bundle's folder."""


def hold(path: Path) -> int | None:
    """Lock a file or folder until the descriptor is closed, or its process ends in whatever way.

    Returns:
        The descriptor; None where another process holds it, or the system has no such locks.
    """
    if fcntl is None:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def remove(path: Path) -> None:
    """Remove a file or a folder with all it holds, as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


@contextmanager
def held(temporary: Path, token: str) -> Iterator[None]:
    """Hold a temporary file or folder while it is written, and remove it in the end if it is still there.

    Those of the same name that nobody holds, because the process that wrote them was killed, are removed first.

    Args:
        temporary: what is being written.
        token: eight hexadecimal digits in its name, which every process draws anew.
    """
    head, tail = temporary.name.split(token)
    for name in [path.name for path in temporary.parent.iterdir()]:
        digits = name[len(head) : len(name) - len(tail)]
        if name == f"{head}{digits}{tail}" and len(digits) == len(token) and set(digits) <= set(string.hexdigits):
            abandoned = temporary.with_name(name)
            if digits != token and (descriptor := hold(abandoned)) is not None:
                remove(abandoned)
                os.close(descriptor)
    descriptor = hold(temporary)
    try:
        yield
    finally:
        remove(temporary)
        if descriptor is not None:
            os.close(descriptor)


@contextmanager
def drafting(folder: Path) -> Iterator[Path]:
    """Yield a new hidden folder beside ``folder``, to be renamed to it; it is gone when the block ends otherwise."""
    token = secrets.token_hex(4)
    draft = folder.with_name(f".{folder.name}-{token}")
    draft.mkdir(parents=True)
    with held(draft, token):
        yield draft


@contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that becomes ``path`` when the block ends without an error.

    Args:
        path: the file to write; its folder is made if need be. The temporary file has the same suffixes.
        mode: who may read and write it, as far as the umask lets them.

    Raises:
        InputError: the folder cannot be written, or ``path`` is a folder.
    """
    path, token = Path(path), secrets.token_hex(4)
    temporary = path.with_name(f".{path.stem}-{token}{''.join(path.suffixes[-2:]) or '.tmp'}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(mode, exist_ok=False)
    except OSError as error:
        raise InputError(f"{path.parent} cannot be written ({error.strerror}); choose another output folder") from error
    with held(temporary, token):
        yield temporary
        try:
            temporary.replace(path)
        except OSError as error:
            raise InputError(f"{path} cannot be written ({error.strerror}); choose another name") from error


def check_folder(path: str | Path, option: str = "--out") -> Path:
    """Refuse a folder to write into before any work is done; nothing is made.

    Args:
        path: the folder; it need not exist.
        option: the option that named it.

    Returns:
        ``path``.

    Raises:
        InputError: ``path`` or a folder above it is a file, or it cannot be written.
    """
    path = Path(path)
    existing = next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())
    if not existing.is_dir():
        raise InputError(f"{existing} is a file where a folder is needed; choose another {option}")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); choose another {option}") from error
    return path


def check_output(path: str | Path, keep: Iterable[str | Path] = ()) -> Path:
    """Refuse a place to write to before any work is done.

    Args:
        path: the file to be written; it and its folder need not exist.
        keep: files that must not be overwritten, such as what is read.

    Returns:
        ``path``.

    Raises:
        InputError: ``path`` is a folder or among ``keep``, or its folder cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file to write, e.g. --out {path / 'NAME'}")
    for other in map(Path, keep):
        if path.resolve() == other.resolve() or (path.exists() and other.exists() and path.samefile(other)):
            raise InputError(f"writing {path} would overwrite {other}, which must stay; choose another --out")
    check_folder(path.parent)
    return path


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as JSON with an indent of four; NaN is refused, because JSON has none."""
    write_text(path, json.dumps(content, indent=4, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows under ``columns`` as UTF-8 CSV; a missing key or ``None`` is an empty cell, a surplus key an error."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file is missing, unreadable or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error
