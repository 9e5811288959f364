"""Zips: unpacked into a temporary folder, member by member, within limits and never outside it."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
import tempfile
import weakref
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PureWindowsPath

from ..errors import InputError
from ..files import hold, remove_abandoned

MOST_MEMBERS = 500_000
MOST_BYTES = 8 << 30
MOST_BYTES_FROM_FEW = 256 << 20
LARGEST_RATIO = 200
BLOCK = 1 << 20
ENCRYPTED = 1
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
LeftOut = tuple[str, str]
"""A file, or a folder, that is not opened, and the reason."""


class Archives:
    """The temporary folders that zips are unpacked into; they go with this object, or when Python ends.

    A copy of it, in this process or another, knows the same folders and removes nothing.
    """

    def __init__(self) -> None:
        self.folder = ""
        self.places: list[str] = []

    def unpack(self, archive: str) -> tuple[str, list[LeftOut]]:
        """Unpack a zip.

        Returns:
            The folder with its files; and the members that were not unpacked, with the reason.

        Raises:
            InputError: it is damaged, encrypted or too large. Nothing of it is kept.
        """
        if not self.folder:
            self.folder = temporary_folder(self)
        name = Path(archive).name
        place = Path(self.folder, str(len(self.places)), name)
        self.places.append(archive.removesuffix(name))
        try:
            left_out = unpack(archive, place)
        except InputError:
            shutil.rmtree(place, ignore_errors=True)
            raise
        return str(place), left_out

    def named(self, text: str) -> str:
        """Return a text in which unpacked files are named by their zip: ``study.zip/a/IM0001``."""
        return re.sub(self.unpacked, lambda found: self.places[int(found[1])], text) if self.folder else text

    def place(self, files: Sequence[str]) -> str:
        """Name where some files lie: the folder that holds them all, within their zip where they were unpacked.

        Of several zips, or a zip and a folder, that of the first file is named, and the others are counted.
        """
        parents: dict[str, list[str]] = {}
        unpacked = re.compile(self.unpacked)
        for path in files:
            found = unpacked.match(path) if self.folder else None
            parents.setdefault(found[0] if found else Path(path).anchor, []).append(str(Path(path).parent))
        first, *others = parents.values()
        return self.named(os.path.commonpath(first) or ".") + (f" (and {len(others)} more)" if others else "")

    @property
    def unpacked(self) -> str:
        """A pattern of what the paths of unpacked files begin with."""
        return re.escape(self.folder) + r"[/\\](\d+)[/\\]"


def temporary_folder(owner: object) -> str:
    """Make a folder that the user alone can read and that goes with its owner; those of killed processes go at once."""
    token = secrets.token_hex(4)
    folder = Path(tempfile.gettempdir(), f"cord-{token}")
    hidden = folder.with_name(f".{folder.name}")
    locks: list[int] = []
    weakref.finalize(owner, remove_folders, (hidden, folder), locks, os.getpid())
    remove_abandoned(folder, token)
    hidden.mkdir(mode=0o700)
    lock = hold(hidden)  # before other processes can take it for abandoned
    locks += [] if lock is None else [lock]
    hidden.rename(folder)
    return str(folder)


def remove_folders(folders: Iterable[Path], locks: Iterable[int], process: int) -> None:
    """Remove folders and free their locks, if this is the process that made them and no fork of it."""
    if os.getpid() == process:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        for lock in locks:
            os.close(lock)


def is_archive(path: str | Path) -> bool:
    """Return whether a name is that of a zip."""
    return str(path).lower().endswith(".zip")


def unpack(archive: str | Path, folder: Path) -> list[LeftOut]:
    """Unpack the regular files of a zip into a folder, a block at a time, counting what is written.

    Sizes are counted while unpacking, because a zip's table of contents may lie. Links, devices and names that lead
    out of the folder are not unpacked.

    Returns:
        The members that were not unpacked, as ``archive/member``, with the reason.

    Raises:
        InputError: the zip is damaged, encrypted or unpacks to too much, or the disk is full.
    """
    left_out: list[LeftOut] = []
    with opened(archive) as content:
        allowed = min(MOST_BYTES, max(MOST_BYTES_FROM_FEW, LARGEST_RATIO * Path(archive).stat().st_size))
        members = [member for member in content.infolist() if not member.is_dir()]
        check_sizes(archive, members, allowed)
        make_folder(folder)
        written, names = 0, set[str]()
        for member in members:
            name = member.filename.replace("\\", "/")
            reason = member_problem(member) or ("twice in its zip; the first is taken" if name in names else "")
            names.add(name)
            try:
                if not reason:
                    written += write_member(content, member, folder, allowed - written)
            except InputError:
                raise too_large(archive, allowed) from None
            except OSError as error:
                if error.errno in DISK_FULL:
                    raise no_room(archive, error) from error
                reason = f"cannot be unpacked: {error.strerror or error}"
            except Exception as error:  # damaged members break zipfile in more ways than can be listed
                reason = "damaged within its zip (its data do not unpack)"
                if isinstance(error, NotImplementedError):
                    reason = "compressed within its zip in a way that is not supported; unpack it first"
            if reason:
                left_out.append((f"{archive}/{member.filename}", reason))
    return left_out


def opened(archive: str | Path) -> zipfile.ZipFile:
    """Open a zip.

    Raises:
        InputError: it cannot be read, or its table of contents is damaged.
    """
    try:
        return zipfile.ZipFile(archive)
    except OSError as error:
        raise InputError(f"{archive} cannot be unpacked: {error.strerror or error}") from error
    except Exception as error:  # damaged tables break zipfile in more ways than can be listed
        raise InputError(f"{archive} cannot be unpacked: {error}") from error


def make_folder(folder: Path) -> None:
    """Make the folder to unpack into."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise no_room(folder.name, error) from error


def check_sizes(archive: str | Path, members: list[zipfile.ZipInfo], allowed: int) -> None:
    """Refuse a zip whose own table of contents says that it is too large, or that is encrypted."""
    if len(members) > MOST_MEMBERS:
        raise InputError(f"{archive} has {len(members)} members, more than the {MOST_MEMBERS} allowed; unpack it first")
    if sum(member.file_size for member in members) > allowed:
        raise too_large(archive, allowed)
    if any(member.flag_bits & ENCRYPTED for member in members):
        raise InputError(f"{archive} is encrypted; unpack it with its password, and name the folder")


def too_large(archive: str | Path, allowed: int) -> InputError:
    """Return the refusal of a zip that would fill the disk."""
    size = f"{allowed / 2**30:.3g} GiB"
    return InputError(f"{archive} unpacks to more than {size}, the most for its size; unpack it first if it is sound")


def no_room(archive: str | Path, error: OSError) -> InputError:
    """Return the refusal of a zip that the disk has no room for."""
    return InputError(
        f"{archive} cannot be unpacked into {tempfile.gettempdir()}: {error.strerror or error}; set TMPDIR to a folder "
        "on a disk with more room"
    )


def member_problem(member: zipfile.ZipInfo) -> str:
    """Return why a member is not unpacked; empty if it can be."""
    name = member.filename
    windows = PureWindowsPath(name)  # its separators and drives count on every system
    if ".." in windows.parts or windows.drive or windows.root:
        return "a name that leads out of its zip, not unpacked"
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "a link within a zip, not unpacked"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "neither a file nor a folder (a pipe, socket or device), not unpacked"
    if is_archive(name):
        return "a zip within a zip, not opened; unpack the outer one and name its folder"
    return ""


def write_member(content: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, allowed: int) -> int:
    """Unpack one member; returns its size in bytes.

    Raises:
        InputError: it is larger than ``allowed``.
        FileExistsError: an earlier member has its name.
    """
    target = folder / member.filename.replace("\\", "/")
    target.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with content.open(member) as source, target.open("xb") as stream:
        try:
            while block := source.read(BLOCK):
                size += len(block)
                if size > allowed:
                    raise InputError(f"{member.filename} is larger than {allowed} bytes")
                stream.write(block)
        except BaseException:
            stream.close()
            target.unlink()
            raise
    return size
