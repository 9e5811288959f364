"""Writing files that appear whole or not at all."""

from __future__ import annotations

import csv
import json
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import InputError
from .tables import guard

ROOT = Path(__file__).resolve().parent.parent
"""The bundle's folder."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that becomes ``path`` when the block ends without an error.

    Args:
        path: the file to write; its folder is made if need be. The temporary file has the same suffixes.

    Raises:
        InputError: the folder cannot be written, or ``path`` is a folder.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{''.join(path.suffixes[-2:]) or '.tmp'}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise InputError(f"{path.parent} cannot be written ({error.strerror}); choose another output folder") from error
    try:
        yield temporary
        try:
            temporary.replace(path)
        except OSError as error:
            raise InputError(f"{path} cannot be written ({error.strerror}); choose another name") from error
    finally:
        temporary.unlink(missing_ok=True)


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
    """Write rows under ``columns`` as UTF-8 CSV in which no text is a formula, see `scripts.tables.guard`.

    A missing key or ``None`` is an empty cell, a surplus key an error. Bytes of file names that are no UTF-8, as old
    exports have them, become escapes.
    """
    with (
        replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream,
    ):
        writer = csv.DictWriter(stream, columns, restval="")
        writer.writerow({name: guard(name) for name in columns})
        writer.writerows({name: guard(cell) for name, cell in row.items()} for row in rows)


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
    except RecursionError as error:
        raise InputError(f"{path} is nested deeper than any file of ours; expected another file") from error
