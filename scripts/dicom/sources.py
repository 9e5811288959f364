"""From folders, files and zips to stacks and volumes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from ..cluster.spread import Spread, in_this_process
from ..console import one_line, progress
from ..errors import InputError
from .archives import Archives, LeftOut, is_archive
from .elements import NotDicomError, OtherContentError, UnreadableError
from .frames import Facts, Frame, read_frames
from .listings import DICOM_SUFFIXES, Listing, Paths, claims_image, list_files
from .silence import quiet
from .stacks import Stack, group_into_stacks

CHUNK = 128
FEWEST = 4096
"""Files for which other processes are asked: one that starts takes the time of about a thousand headers."""
KILLS = "ends every process that reads it (want of memory, or a damaged header)"
NO_DICOM = "a NIfTI, NRRD or MetaImage volume, not DICOM"


class Read(NamedTuple):
    """What some files hold: frames; what cannot be read; and files that are whole and no DICOM."""

    frames: list[Frame]
    unreadable: list[LeftOut]
    no_images: list[LeftOut]


Watch = Callable[[Iterable[Read], int], Iterable[Read]]


@dataclass(frozen=True)
class Contents:
    """What some paths hold: each file is in a stack, among the volumes, or left out with the reason.

    Attributes:
        stacks: in an order that does not depend on file names.
        volumes: NIfTI, NRRD and MetaImage files.
        unreadable: what could not be read or was not opened, though it may hold images.
        no_images: files that are no images: text, pictures, tables of contents, clutter.
        archives: where zips were unpacked; keep it as long as pixels are to be read.
    """

    stacks: list[Stack]
    volumes: list[str]
    unreadable: list[LeftOut]
    no_images: list[LeftOut]
    archives: Archives


def read(paths: Sequence[str]) -> Read:
    """Read some files; slices of one series share one ``Facts``."""
    known: dict[object, Facts] = {}
    found = Read([], [], [])
    for path in paths:
        try:
            found.frames.extend(read_frames(path, known))
        except OtherContentError as error:
            named_as_dicom = path.lower().endswith(DICOM_SUFFIXES)
            (found.unreadable if named_as_dicom else found.no_images).append((path, str(error)))
        except NotDicomError as error:
            (found.unreadable if claims_image(path) else found.no_images).append((path, str(error)))
        except UnreadableError as error:
            found.unreadable.append((path, str(error)))
    return found


def read_quietly(paths: Sequence[str]) -> Read:
    """Read some files without pydicom's warnings."""
    with quiet():
        return read(paths)


def share(frame: Frame, known: dict[Facts, Facts]) -> Frame:
    """Let a frame share its facts with those that have the same, which keeps memory flat."""
    facts = known.setdefault(frame.facts, frame.facts)
    return frame if facts is frame.facts else replace(frame, facts=facts)


def watch_headers(chunks: Iterable[Read], n: int) -> Iterable[Read]:
    """Show the progress of reading headers."""
    return progress(chunks, "reading headers", f"x{CHUNK} files", total=n)


def read_all(files: Sequence[str], spread: Spread = in_this_process, watch: Watch = lambda chunks, _: chunks) -> Read:
    """Read the headers of all files.

    Args:
        files: files that may be DICOM.
        spread: what shares the work, see `scripts.cluster.workers`; fewer than ``FEWEST`` files are read here alone.
        watch: wraps the iteration over chunks of at most ``CHUNK`` files, given their number, e.g. to show progress.
    """
    chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    parts = read_chunks(chunks, spread if len(files) >= FEWEST else in_this_process)
    known: dict[Facts, Facts] = {}
    found = Read([], [], [])
    for part in watch(parts, len(chunks)) if chunks else ():
        found.frames.extend(share(frame, known) for frame in part.frames)
        found.unreadable.extend(part.unreadable)
        found.no_images.extend(part.no_images)
    return found


def read_chunks(chunks: Iterable[Sequence[str]], spread: Spread) -> Iterator[Read]:
    """Read chunks of files; one that ends every process, e.g. for want of memory, is unreadable."""
    for paths, part in spread(read_quietly, chunks):
        yield Read([], [(path, KILLS) for path in paths], []) if part is None else part


def contents_of(
    listing: Listing, spread: Spread = in_this_process, watch: Watch = lambda chunks, _: chunks
) -> Contents:
    """Read the headers of all listed files and group them into stacks; ``spread`` and ``watch`` as in `read_all`."""
    found = read_all(listing.files, spread, watch)
    return Contents(
        stacks=group_into_stacks(found.frames),
        volumes=listing.volumes,
        unreadable=sorted([*listing.unreadable, *found.unreadable]),
        no_images=sorted([*listing.no_images, *found.no_images]),
        archives=listing.archives,
    )


def scan(
    paths: Paths, spread: Spread = in_this_process, watch: Watch = lambda chunks, _: chunks
) -> tuple[list[Stack], list[LeftOut]]:
    """Read the headers of all DICOM files that lie at some paths themselves, and group them into stacks.

    Args:
        paths: a folder (any nesting, any file names), a file, or a list of either. Zips are listed and not opened.
        spread: see `read_all`.
        watch: see `read_all`.

    Returns:
        Stacks, in an order that does not depend on file names; and each other file, or folder, with its reason.

    Raises:
        InputError: a path does not exist.
    """
    found = contents_of(list_files(paths, unpack=False), spread, watch)
    volumes = [(path, NO_DICOM) for path in found.volumes]
    return found.stacks, sorted([*found.unreadable, *found.no_images, *volumes])


def one_stack(paths: Paths) -> Stack:
    """Read the one stack that a file, a list of files in any order, or a folder holds.

    Nothing is judged here: a sagittal T1 is a stack too. Files that are no DICOM image are passed over in a folder,
    and refused where they are named.

    Raises:
        InputError: there is no stack, there are several, or the one there is cannot be used as a volume.
    """
    return only_stack(stacks_at(paths), paths)


def stacks_at(paths: Paths) -> list[Stack]:
    """Read the stacks of a file, a list of files, or a folder; see `usable_stacks`.

    Raises:
        InputError: a file that was named cannot be read, or there is no stack.
    """
    return usable_stacks(contents_of(list_files(paths, unpack=False)), paths)


def usable_stacks(found: Contents, paths: Paths) -> list[Stack]:
    """Return the stacks that are images; those without geometry only where there are no others.

    Raises:
        InputError: a file that was named cannot be read, or there is no stack.
    """
    left_out = [*found.unreadable, *found.no_images]
    searched = isinstance(paths, str | Path) and (Path(paths).is_dir() or is_archive(paths))
    if left_out and not (found.stacks and searched):
        path, reason = left_out[0]
        others = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
        raise InputError(f"{path} {'' if reason.startswith('cannot be') else 'cannot be read: '}{reason}{others}")
    images = [stack for stack in found.stacks if stack.plane] or found.stacks
    if not images:
        raise InputError(f"{described(paths)} holds no DICOM image")
    return images


def only_stack(images: Sequence[Stack], paths: Paths) -> Stack:
    """Return the one stack there is.

    Raises:
        InputError: there are several, or it cannot be used as a volume.
    """
    if len(images) > 1:
        listed = "".join(f"\n  {summary(stack)}" for stack in images)
        raise InputError(
            f"{described(paths)} holds {len(images)} stacks where one is expected; give the files of one:{listed}"
        )
    if images[0].defects:
        raise InputError(f"{described(paths)} cannot be used as a volume: {'; '.join(images[0].defects)}")
    return images[0]


def only_image(found: Contents, paths: Paths) -> Stack | str:
    """Return the one stack, or the path of the one volume file, that named paths hold.

    Raises:
        InputError: there is none, there are several, or the one there is cannot be used as a volume.
    """
    if not found.volumes:
        return only_stack(usable_stacks(found, paths), paths)
    if len(found.volumes) > 1 or found.stacks:
        listed = "".join(f"\n  {one}" for one in [*found.volumes, *map(summary, found.stacks)])
        n = len(found.volumes) + len(found.stacks)
        raise InputError(f"{described(paths)} holds {n} images where one is expected; give the files of one:{listed}")
    return found.volumes[0]


def described(paths: Paths) -> str:
    """Name some paths in a message."""
    return str(paths) if isinstance(paths, str | Path) else f"the list of {len(paths)} files"


def summary(stack: Stack) -> str:
    """Describe a stack in one line, enough to pick it from several."""
    te = "" if stack.te_ms is None else f", TE {stack.te_ms:g} ms"
    first = stack.slices[0]
    kind = f"{stack.plane or 'no geometry'}, {len(stack.slices)} slices{te}"
    return f"{kind}: series {one_line(stack.series_uid)}, {one_line(first.path)}"
