"""The one walk through what a user names: folders, files, zips and discs, every file accounted for."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError, check_named
from ..files import NEITHER
from .archives import Archives, LeftOut, is_archive
from .own_results import LOCK, MANIFEST, OWN_RESULT, SUMMARY, result_paths

NIFTI = (".nii", ".nii.gz")
OTHER_VOLUMES = (".nrrd", ".nhdr", ".mha", ".mhd")
OTHER_ARCHIVES = (".7z", ".rar", ".tar", ".tar.bz2", ".tar.gz", ".tar.xz", ".tgz", ".dcm.gz", ".nii.bz2")
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima", ".img")
TABLE_OF_CONTENTS = "dicomdir"
MAC_FOLDER = "__MACOSX"
CLUTTER = {
    ".ds_store": "made by macOS, holds no image",
    "thumbs.db": "made by Windows, holds no image",
    "desktop.ini": "made by Windows, holds no image",
    TABLE_OF_CONTENTS: "DICOMDIR, a table of contents without images",
    MANIFEST: OWN_RESULT,
    LOCK: OWN_RESULT,
}
NOT_UNPACKED = "a zip, not opened here; unpack it and name the folder"
Paths = str | Path | Sequence[str | Path]


@dataclass
class Listing:
    """What lies below some paths; nothing of it but zips has been opened.

    Attributes:
        files: files that may be DICOM.
        volumes: NIfTI, NRRD and MetaImage files, by their names.
        unreadable: what cannot be opened, or is not, though it may hold images; with the reason.
        no_images: what other programs leave beside images; with the reason.
        archives: where zips were unpacked; keep it as long as the files are needed.
    """

    files: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)
    unreadable: list[LeftOut] = field(default_factory=list)
    no_images: list[LeftOut] = field(default_factory=list)
    archives: Archives = field(default_factory=Archives)

    @property
    def empty(self) -> bool:
        """Whether there is no file at all."""
        return not (self.files or self.volumes or self.unreadable or self.no_images)


def is_volume_file(path: str | Path) -> bool:
    """Return whether a name is that of a NIfTI, NRRD or MetaImage volume; everything else is taken for DICOM."""
    return str(path).lower().endswith((*NIFTI, *OTHER_VOLUMES))


def list_files(paths: Paths, unpack: bool = True, skip: Collection[str] = ()) -> Listing:
    """List what lies at some paths: a file is itself, a folder and a zip are all below them, a DICOMDIR is its folder.

    Nothing but zips is opened, since opening a pipe waits for ever. Links to files are followed, links to folders only
    where they are named.

    Args:
        paths: one or more; any nesting, any file names.
        unpack: whether to unpack zips into a temporary folder; else they are listed as unreadable.
        skip: files to pass over in silence, such as an earlier output.

    Returns:
        Each file once, sorted.

    Raises:
        InputError: a path is empty, does not exist or cannot be looked at.
    """
    found = Listing()
    zips: list[str] = []
    for path in [paths] if isinstance(paths, str | Path) else paths:
        top = named_path(path)
        if top.is_dir():
            walk(str(top), found, zips)
        else:
            place_file(str(top), found, zips)
    for archive in sorted(dict.fromkeys(zips)):
        if not unpack:
            found.unreadable.append((archive, NOT_UNPACKED))
            continue
        try:
            folder, left_out = found.archives.unpack(archive)
        except InputError as error:
            found.unreadable.append((archive, str(error).removeprefix(f"{archive} ")))
            continue
        found.unreadable += left_out
        walk(folder, found, [])
    passed = set(skip)
    found.files = [path for path in sorted(dict.fromkeys(found.files)) if path not in passed]
    found.volumes = sorted(dict.fromkeys(found.volumes))
    found.unreadable = sorted(dict.fromkeys(found.unreadable))
    found.no_images = sorted(dict.fromkeys(found.no_images))
    return found


def named_path(path: str | Path) -> Path:
    """Return a path that a user named; that of a DICOMDIR is its folder.

    Raises:
        InputError: it is empty, does not exist, cannot be looked at, or is neither a file nor a folder.
    """
    check_named(path)
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; expected a folder or a file with images") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be looked at: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InputError(f"{path} is neither a file nor a folder; expected one with images")
    return Path(path).parent if Path(path).name.lower() == TABLE_OF_CONTENTS and stat.S_ISREG(mode) else Path(path)


def named_paths(paths: Paths) -> list[Path]:
    """Return the paths a user named, see `named_path`.

    Raises:
        InputError: there is none, or one is empty or does not exist.
    """
    several = [paths] if isinstance(paths, str | Path) else list(paths)
    if not several:
        raise InputError("nothing to score: name a folder, a zip, or a file (DICOM, NIfTI, NRRD, MetaImage)")
    return [named_path(path) for path in several]


def walk(top: str, found: Listing, zips: list[str]) -> None:
    """Add what lies below a folder to a listing, and name its zips; results of this program are no images."""
    folders, results = [top], set[str]()
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as listed:
                entries = list(listed)
            if any(entry.name == SUMMARY and not strangeness(entry) for entry in entries):
                results |= result_paths(folder)
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name == MAC_FOLDER:
                        found.no_images.append((entry.path, "made by macOS beside the files of a zip"))
                    else:
                        folders.append(entry.path)
                elif reason := strangeness(entry):
                    found.unreadable.append((entry.path, reason))
                elif entry.path in results:
                    found.no_images.append((entry.path, OWN_RESULT))
                else:
                    place_file(entry.path, found, zips)
        except OSError as error:
            found.unreadable.append((folder, f"folder cannot be read: {error.strerror or error}"))


def place_file(path: str, found: Listing, zips: list[str]) -> None:
    """Add a regular file to a listing by its name."""
    name = Path(path).name.lower()
    if name in CLUTTER:
        found.no_images.append((path, CLUTTER[name]))
    elif name.startswith("._"):
        found.no_images.append((path, "made by macOS beside a file, holds no image"))
    elif is_archive(name):
        zips.append(path)
    elif name.endswith(OTHER_ARCHIVES):
        found.unreadable.append((path, "an archive of a kind that is not opened; unpack it and name the folder"))
    elif is_volume_file(name):
        found.volumes.append(path)
    else:
        found.files.append(path)


def strangeness(entry: os.DirEntry[str]) -> str:
    """Return why an entry that is no folder is not opened; empty for a regular file."""
    try:
        if entry.is_file():
            # what the system makes up as it is read, such as /proc/kmsg, may wait for ever
            return "link to a file that holds nothing" if entry.is_symlink() and not entry.stat().st_size else ""
        if entry.is_dir():
            return "link to a folder, not followed; name that folder itself if its images are wanted"
        if not entry.is_symlink():
            return NEITHER
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return "link that leads to no file"


def claims_image(path: str) -> bool:
    """Return whether a name is one that images have: that of DICOM, none, or a number, as UIDs end in."""
    suffix = Path(path).suffix.lower()
    return suffix in DICOM_SUFFIXES or not suffix[1:] or suffix[1:].isdigit()
