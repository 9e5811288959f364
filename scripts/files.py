"""Writing files that appear whole or not at all, under safe names."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .console import printable
from .errors import InputError, naming, naming_final, writing_error
from .tables import guard

try:
    import fcntl
except ModuleNotFoundError:  # Windows, where what a killed process was writing stays
    fcntl = None  # type: ignore[assignment]

ROOT = Path(__file__).resolve().parent.parent
"""The bundle's folder."""

NEITHER = "neither a file nor a folder (a pipe, socket or device), not opened"

UID_NAME = re.compile(r"(?=[0-9.]{1,64}(_|$))[0-9]+(\.[0-9]+)*(_[0-9]+)?", re.ASCII)
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
RESERVED_NAMES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
"""Names that Windows keeps for devices."""


def safe_name(text: str) -> str:
    """Return a name for a file or folder made of text that comes from a file, such as a UID or a PatientID.

    DICOM UIDs and plain names of ASCII letters, digits, ``_`` and ``-`` stay as they are, up to 64 characters.
    Everything else (paths, names that Windows reserves, other alphabets, nothing) becomes a readable part and 16 digits
    of its SHA-256.
    """
    if UID_NAME.fullmatch(text) or (PLAIN_NAME.fullmatch(text) and text.lower() not in RESERVED_NAMES):
        return text
    return hashed_name(text)


def hashed_name(text: str, number: int = 0) -> str:
    """Return the readable part of a text with a hash of all of it; ``number`` distinguishes equal texts."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    stem = re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_")[:40] or "name"
    content = text if not number else f"{text}\0{number}"
    return f"{stem}-{hashlib.sha256(content.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def safe_names(texts: Sequence[str]) -> list[str]:
    """Return a `safe_name` for each text, no two of them equal, also where upper and lower case are one.

    Equal texts are numbered: ``1.2.3_1``, ``1.2.3_2``.
    """
    total, seen = Counter(texts), Counter[str]()
    names, numbers = [], []
    for text in texts:
        seen[text] += 1
        numbers.append(seen[text])
        names.append(safe_name(text if total[text] == 1 else f"{text}_{seen[text]}"))
    folded = Counter(map(str.lower, names))
    return [
        name if folded[name.lower()] == 1 else hashed_name(text, number)
        for name, text, number in zip(names, texts, numbers, strict=True)
    ]


def resolved(path: str | Path) -> Path:
    """Return an absolute path without links; one that is a link to itself stays, as it does where nothing is there.

    `pathlib.Path.resolve` raises on such links up to Python 3.12.
    """
    return Path(os.path.realpath(path))


def inside(folder: Path, *names: str) -> Path:
    """Return a path below a folder, and prove that it lies there, through links and all.

    Raises:
        InputError: it leads elsewhere.
    """
    path = Path(folder).joinpath(*names)
    if not resolved(path).is_relative_to(resolved(folder)):
        raise InputError(f"{path} leads out of {folder}, so nothing is written there; remove the link or rename it")
    return path


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


def remove_abandoned(temporary: Path, token: str) -> None:
    """Remove what has the name of a temporary file or folder, but for the token, and is held by no process."""
    head, tail = map(re.escape, temporary.name.split(token))
    for name in os.listdir(temporary.parent):  # noqa: PTH208, a name is all that is wanted
        if re.fullmatch(f"{head}[0-9a-f]{{{len(token)}}}{tail}", name) and name != temporary.name:
            abandoned = temporary.with_name(name)
            if (descriptor := hold(abandoned)) is not None:
                remove(abandoned)
                os.close(descriptor)


@contextmanager
def held(temporary: Path, token: str) -> Iterator[None]:
    """Hold a temporary file or folder while it is written, and remove it in the end if it is still there.

    Those of the same name that nobody holds, because the process that wrote them was killed, are removed first.

    Args:
        temporary: what is being written.
        token: eight hexadecimal digits in its name, which every process draws anew.
    """
    remove_abandoned(temporary, token)
    descriptor = hold(temporary)
    try:
        yield
    finally:
        try:
            remove(temporary)
        finally:
            if descriptor is not None:
                os.close(descriptor)


@contextmanager
def drafting(folder: Path) -> Iterator[Path]:
    """Yield a new hidden folder beside ``folder``, to be renamed to it; it is gone when the block ends otherwise."""
    token = secrets.token_hex(4)
    draft = folder.with_name(f".{folder.name}-{token}")
    draft.mkdir(parents=True)
    with naming_final(draft, folder), held(draft, token):
        yield draft


def check_regular(path: Path) -> None:
    """Refuse to write over a folder, a device, a pipe or a socket, or a link to one; as root one would replace it.

    Raises:
        InputError: ``path`` exists and is no regular file.
    """
    try:
        mode = path.stat().st_mode
    except OSError:  # nothing is there, or writing fails for a reason of its own
        return
    if stat.S_ISDIR(mode):
        raise InputError(f"{path} is a folder; give the name of a file to write, e.g. --out {path / 'NAME'}")
    if not stat.S_ISREG(mode):
        kind = "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
        raise InputError(f"{path} is {kind}, and results are written to regular files; choose another --out")


@contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that becomes ``path`` when the block ends without an error.

    Args:
        path: the file to write; its folder is made if need be. The temporary file has the same suffixes.
        mode: who may read and write it, as far as the umask lets them.

    Raises:
        InputError: the folder cannot be written, or ``path`` is no regular file.
    """
    path, token = Path(path), secrets.token_hex(4)
    check_regular(path)
    temporary = path.with_name(f".{path.stem}-{token}{''.join(path.suffixes[-2:]) or '.tmp'}")
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(mode, exist_ok=False)
        with held(temporary, token):
            yield temporary
            temporary.replace(path)


def check_expanded(path: str | Path, option: str = "--out") -> Path:
    """Refuse a place to write to that begins with a ``~``, which libraries that write images take for the home folder.

    Args:
        path: the place.
        option: the option that named it.

    Returns:
        ``path``.

    Raises:
        InputError: it does, as where no shell replaced it: ``--out=~/results``.
    """
    full = os.path.expanduser(path)  # noqa: PTH111, as those libraries do
    if full != str(path):
        raise InputError(f"{path} begins with ~, which the shell did not replace; write {option} {full}")
    return Path(path)


def check_folder(path: str | Path, option: str = "--out") -> Path:
    """Refuse a folder to write into before any work is done; nothing is made.

    Args:
        path: the folder; it need not exist.
        option: the option that named it.

    Returns:
        ``path``.

    Raises:
        InputError: ``path`` or a folder above it is a file, it cannot be written, or begins with ``~``.
    """
    path = check_expanded(path, option)
    existing = next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())
    if not existing.is_dir():
        raise InputError(f"{existing} is a file where a folder is needed; choose another {option}")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise writing_error(error, path, option) from error
    return path


def check_output(path: str | Path, keep: Iterable[str | Path] = ()) -> Path:
    """Refuse a place to write to before any work is done.

    Args:
        path: the file to be written; it and its folder need not exist.
        keep: files that must not be overwritten, such as what is read.

    Returns:
        ``path``.

    Raises:
        InputError: ``path`` is no regular file or among ``keep``, or its folder cannot be written.
    """
    path = check_expanded(path)
    check_regular(path)
    for other in map(Path, keep):
        if resolved(path) == resolved(other) or (path.exists() and other.exists() and path.samefile(other)):
            raise InputError(f"writing {path} would overwrite {other}, which must stay; choose another --out")
    check_folder(path.parent)
    return path


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8; bytes of file names that are none become escapes, which JSON reads back exactly."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as JSON with an indent of four; NaN is refused, because JSON has none."""
    write_text(path, json.dumps(content, indent=4, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows under ``columns`` as UTF-8 CSV in which no text is a formula, see `scripts.tables.guard`.

    A missing key or ``None`` is an empty cell, a surplus key an error. Control characters but line breaks and tabs, and
    bytes of file names that are no UTF-8, as old exports have them, become escapes.
    """

    def written(cell: Any) -> Any:
        return guard(printable(cell, keep="\t\r\n")) if isinstance(cell, str) else cell

    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, restval="")
        writer.writerow({name: written(name) for name in columns})
        writer.writerows({name: written(cell) for name, cell in row.items()} for row in rows)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file is missing, unreadable, no regular file (a pipe would be waited for) or not JSON.
    """
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise InputError(f"{path} is no regular file; expected one of JSON")
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error
    except RecursionError as error:
        raise InputError(f"{path} is nested deeper than any file of ours; expected another file") from error


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        InputError: as `read_json`, or it holds something else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a JSON object, got {type(content).__name__}")
    return content


def sha256(path: str | Path) -> str:
    """Hash a file, a megabyte at a time."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while chunk := stream.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def text_sha256(lines: Iterable[str]) -> str:
    """Hash lines of text."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
