"""The folder of a run's results: one run at a time, each series swapped in whole, and only the last run's files.

    OUT/.cervical_cord_compression.json   the run that holds the folder, and the series' folders that are ours
    OUT/.cervical_cord_compression.lock   held while a run writes; the system frees it when the run ends
    OUT/.NAME.RUN.new                     a series' results in the making
    OUT/.NAME.RUN.old                     the results that they replace, for a moment
    OUT/NAME/summary.json                 ``files`` lists what we wrote there; everything else is the user's

A run may be killed between any two lines: `OutputFolder.begin` of the next one puts back or removes what it left.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ..dicom.own_results import LOCK, MANIFEST, SUMMARY, own_files, read_record
from ..errors import InputError, naming, naming_final
from ..files import inside, safe_name, write_json

TABLES = ("series.csv", "worklist.csv", "failures.csv")


def files_below(folder: Path) -> list[str]:
    """Return the files below a folder, relative to it; a link counts as a file."""
    found = []
    for parent, folders, names in os.walk(folder):
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        found += [(Path(parent) / name).relative_to(folder).as_posix() for name in (*names, *links)]
    return sorted(found)


def remove_own(folder: Path) -> None:
    """Remove what a run wrote in a series' folder, the list last; the folder goes, too, if it is empty."""
    own = [folder / name for name in sorted(own_files(folder) & set(files_below(folder)))]
    for path in sorted(own, key=lambda path: path.name == SUMMARY):
        path.unlink(missing_ok=True)
    for parent in sorted({path.parent for path in own}, reverse=True):
        with suppress(OSError):  # the user's files are there
            parent.rmdir()


def free_path(path: Path) -> Path:
    """Return a path that nothing has yet: ``path``, or one beside it."""
    number, free = 0, path
    suffix = "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
    while free.exists() or free.is_symlink():
        number += 1
        free = path.with_name(f"{path.name.removesuffix(suffix)}_kept{number}{suffix}")
    return free


class OutputFolder:
    """Where the results of a run go.

    Args:
        path: the folder; it need not exist.
        run: name of the run that holds it, where another process has begun it; None where this process begins it.
    """

    def __init__(self, path: str | Path, run: str | None = None) -> None:
        self.path, self.run = Path(path), run or secrets.token_hex(4)
        self.lock = FileLock(self.path / LOCK, timeout=0)

    def begin(self, names: Iterable[str]) -> None:
        """Take the folder, clear up after a run that was killed, and withdraw the tables of the last one.

        Args:
            names: of the series' folders that this run may write.

        Raises:
            InputError: another run is writing there, or it cannot be written.
        """
        with naming(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                self.lock.acquire()
            except NotImplementedError:  # a network disk without locks; `series` notices a run that takes over
                pass
            except Timeout:
                other = read_record(self.path / MANIFEST)
                raise InputError(
                    f"another run (process {other.get('process', '?')} on {other.get('host', '?')}) is writing to "
                    f"{self.path}; wait for it, or choose another --out"
                ) from None
            earlier, known = (self.path / MANIFEST).exists(), self.known()
            for name in known:
                self.recover(name)
            self.record([*known, *names])
            for name in TABLES if earlier else ():
                (self.path / name).unlink(missing_ok=True)

    def known(self) -> list[str]:
        """Return the folders of earlier runs that the manifest lists."""
        names = read_record(self.path / MANIFEST).get("folders")
        return [name for name in names if safe_name(str(name)) == name] if isinstance(names, list) else []

    def record(self, names: Iterable[str]) -> None:
        """Write the manifest."""
        about = {"run": self.run, "process": os.getpid(), "host": socket.gethostname()}
        write_json(self.path / MANIFEST, {**about, "folders": sorted(set(names))})

    def recover(self, name: str, run: str = "[0-9a-f]" * 8) -> None:
        """Put back, or remove, what a run that was killed left of a series."""
        left = f".{name}.{run}"
        for draft in self.path.glob(f"{left}.new"):
            shutil.rmtree(draft)
        for old in self.path.glob(f"{left}.old"):
            if old.is_symlink():  # a user's
                continue
            if (self.path / name).exists():
                self.settle(old, self.path / name)
            else:
                old.rename(self.path / name)

    @staticmethod
    def settle(old: Path, new: Path) -> None:
        """Move the user's files of replaced results into the new ones, and remove the rest."""
        for name in sorted(set(files_below(old)) - own_files(old)):
            place = free_path(new / name)
            place.parent.mkdir(parents=True, exist_ok=True)
            (old / name).rename(place)
        remove_own(old)
        shutil.rmtree(old, ignore_errors=True)  # empty folders

    @contextmanager
    def series(self, name: str) -> Iterator[Path]:
        """Yield an empty folder that becomes the folder of a series when the block ends without an error.

        Args:
            name: of the folder, see `scripts.files.safe_names`.

        Raises:
            InputError: it is a link, leads out of the output folder, cannot be written, or another run has taken over.
        """
        target = inside(self.path, name)
        if target.is_symlink():  # what it leads to may be the results of another series
            raise InputError(f"{target} is a link, and results are written to folders of their own; remove it")
        draft, old = (self.path / f".{name}.{self.run}.{kind}" for kind in ("new", "old"))
        with naming(target), naming_final(draft, target):
            self.recover(name, self.run)  # a process of this run may have died here
            draft.mkdir(parents=True)
            try:
                yield draft
                if read_record(self.path / MANIFEST).get("run") != self.run:
                    raise InputError(f"another run has taken over {self.path}, so {name} is not written")
                if target.is_dir():
                    target.rename(old)
                draft.rename(target)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
                if old.exists() and not target.exists():
                    old.rename(target)
            if old.exists():
                self.settle(old, target)

    def finish(self, names: Iterable[str]) -> int:
        """Remove what earlier runs wrote and this one did not make again; the tables come after.

        Args:
            names: of the series' folders that this run made or kept.

        Returns:
            How many folders of earlier runs were removed.
        """
        kept = set(names)
        stale = [name for name in self.known() if name not in kept and not (self.path / name).is_symlink()]
        found = [self.path / name for name in stale if own_files(self.path / name)]
        with naming(self.path):
            for folder in found:
                remove_own(folder)
        self.record(kept)
        return len(found)

    def clear(self) -> None:
        """Remove what processes of this run that were ended had begun to write, and put back what it was to replace."""
        for left in self.path.glob(f".*.{self.run}.*"):
            self.recover(left.name[1:].rpartition(f".{self.run}.")[0], self.run)

    def end(self) -> None:
        """Let the folder go."""
        self.lock.release()
