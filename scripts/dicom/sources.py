"""From folders, files and lists of files to stacks."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

from ..errors import InputError
from .elements import UnreadableError
from .frames import Facts, Frame, read_frames
from .silence import quiet
from .stacks import Stack, group_into_stacks

CHUNK = 64
# a process that starts up takes the time of reading about a thousand headers
FILES_PER_PROCESS = 4096
Paths = str | Path | Sequence[str | Path]
Read = tuple[list[Frame], list[tuple[str, str]]]


def files_below(paths: Paths) -> list[str]:
    """List files: a file is itself, a folder all files below it at any depth, in one order.

    Raises:
        InputError: a path does not exist.
    """
    return look_below(paths)[0]


def look_below(paths: Paths) -> tuple[list[str], list[tuple[str, str]]]:
    """List regular files like ``files_below``, and what else lies there with the reason why it is not opened.

    Raises:
        InputError: a path does not exist.
    """
    found: list[str] = []
    strange: list[tuple[str, str]] = []
    for path in [paths] if isinstance(paths, str | Path) else paths:
        if Path(path).is_dir():
            walk(str(path), found, strange)
        elif Path(path).is_file():
            found.append(str(path))
        else:
            raise InputError(f"{path} does not exist; expected a DICOM file or a folder that holds some")
    return sorted(dict.fromkeys(found)), sorted(dict.fromkeys(strange))


def walk(top: str, found: list[str], strange: list[tuple[str, str]]) -> None:
    """Gather what lies below a folder; nothing is opened, since opening a pipe waits for ever."""
    folders = [top]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif reason := strangeness(entry):
                        strange.append((entry.path, reason))
                    else:
                        found.append(entry.path)
        except OSError as error:
            strange.append((folder, f"folder cannot be read: {error.strerror or error}"))


def strangeness(entry: os.DirEntry[str]) -> str:
    """Return why an entry that is no folder is not opened; empty for a regular file."""
    try:
        if entry.is_file():
            return ""
        if entry.is_dir():
            return "link to a folder, not followed; name that folder itself if its images are wanted"
        if not entry.is_symlink():
            return "neither a file nor a folder (a pipe, socket or device), not opened"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return "link that leads to no file"


def read(paths: Sequence[str]) -> Read:
    """Read some files; slices of one series share one ``Facts``."""
    known: dict[object, Facts] = {}
    frames: list[Frame] = []
    unreadable = []
    for path in paths:
        try:
            frames += read_frames(path, known)
        except UnreadableError as error:
            unreadable.append((path, str(error)))
    return frames, unreadable


def read_quietly(paths: Sequence[str]) -> Read:
    """Read some files without pydicom's warnings."""
    with quiet():
        return read(paths)


def share(frame: Frame, known: dict[Facts, Facts]) -> Frame:
    """Let a frame share its facts with those that have the same, which keeps memory flat."""
    facts = known.setdefault(frame.facts, frame.facts)
    return frame if facts is frame.facts else replace(frame, facts=facts)


def scan(
    paths: Paths,
    workers: int | None = None,
    watch: Callable[[Iterable[Read], int], Iterable[Read]] = lambda chunks, _: chunks,
) -> tuple[list[Stack], list[tuple[str, str]]]:
    """Read the headers of all files and group them into stacks.

    Args:
        paths: a folder (any nesting, any file names), a file, or a list of either.
        workers: processes at most, this one included; None allows one per core. Few files are read in this one alone.
        watch: wraps the iteration over chunks of ``CHUNK`` files, given their number, e.g. to show progress.

    Returns:
        Stacks, in an order that does not depend on file names; and each unreadable file, or folder, with its reason.

    Raises:
        InputError: a path does not exist.
    """
    files, strange = look_below(paths)
    chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    workers = min(os.cpu_count() or 1 if workers is None else workers, 1 + len(files) // FILES_PER_PROCESS)
    known: dict[Facts, Facts] = {}
    frames: list[Frame] = []
    unreadable = strange
    for found, failed in watch(read_chunks(chunks, workers), len(chunks)):
        frames += [share(frame, known) for frame in found]
        unreadable += failed
    return group_into_stacks(frames), sorted(unreadable)


def read_chunks(chunks: Sequence[Sequence[str]], workers: int) -> Iterator[Read]:
    """Read chunks of files here, and in ``workers - 1`` other processes.

    This process takes chunks from the end and the others from the start, so that it does not wait while they start up.
    """
    if workers < 2:
        yield from map(read_quietly, chunks)
        return
    with ProcessPoolExecutor(workers - 1, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(read_quietly, chunk) for chunk in chunks]
        for future, chunk in zip(reversed(futures), reversed(chunks), strict=True):
            yield read_quietly(chunk) if future.cancel() else future.result()


def one_stack(paths: Paths) -> Stack:
    """Read the one stack that a file, a list of files in any order, or a folder holds.

    Nothing is judged here: a sagittal T1 is a stack too. Files that are no DICOM image are passed over in a folder,
    and refused where they are named.

    Raises:
        InputError: there is no stack, there are several, or the one there is cannot be used as a volume.
    """
    frames, unreadable = read_quietly(files_below(paths))
    what = str(paths) if isinstance(paths, str | Path) else f"the list of {len(paths)} files"
    if unreadable and not (frames and isinstance(paths, str | Path) and Path(paths).is_dir()):
        path, reason = unreadable[0]
        others = f" (and {len(unreadable) - 1} more)" if len(unreadable) > 1 else ""
        raise InputError(f"{path} cannot be read: {reason}{others}")
    stacks = group_into_stacks(frames)
    images = [stack for stack in stacks if stack.plane] or stacks
    if not images:
        raise InputError(f"{what} holds no DICOM image")
    if len(images) > 1:
        listed = "".join(f"\n  {summary(stack)}" for stack in images)
        raise InputError(f"{what} holds {len(images)} stacks where one is expected; give the files of one:{listed}")
    if images[0].defects:
        raise InputError(f"{what} cannot be used as a volume: {'; '.join(images[0].defects)}")
    return images[0]


def summary(stack: Stack) -> str:
    """Describe a stack in one line, enough to pick it from several."""
    te = "" if stack.te_ms is None else f", TE {stack.te_ms:g} ms"
    first = stack.slices[0]
    kind = f"{stack.plane or 'no geometry'}, {len(stack.slices)} slices{te}"
    return f"{kind}: series {stack.series_uid}, {first.path}"
