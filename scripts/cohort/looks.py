"""looks.jsonl: who looked at the held-out patients of a datalist, with which network, and when.

A number measured on held-out patients is honest as long as nothing was chosen by it. Nobody can see afterwards what was
chosen, but how many networks were scored before can be counted. So every evaluation of the section ``testing``
appends a line to ``looks.jsonl`` beside the datalist, and says how many networks came before it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypedDict

from filelock import FileLock, Timeout

from ..datalists import datalist_info
from ..errors import InputError, root_message
from ..files import check_regular, read_object, text_sha256
from ..records import fits

FILE = "looks.jsonl"
LOCK = ".looks.jsonl.lock"
PATIENCE_S = 10


class Look(TypedDict):
    """One line of looks.jsonl.

    Attributes:
        time: in UTC, as ISO 8601.
        command: what scored or reported, e.g. ``scripts ablation``.
        datalist_sha256: of the datalist, see `scripts.datalists.datalist_info`.
        held_out_sha256: of the patient_ids in its section ``testing``; the same where only labels or other sections
            change. Empty where the datalist is no longer the one that was scored.
        weights_sha256: of the network; empty where the run does not say.
        predictions_sha256: of predictions.csv.
    """

    time: str
    command: str
    datalist_sha256: str
    held_out_sha256: str
    weights_sha256: str
    predictions_sha256: str


@dataclass(frozen=True)
class Looks:
    """How often these held-out patients have been looked at.

    Attributes:
        number: of the network among all that were scored, from 1, in the order of their first look.
        networks: that were scored so far, this one included; scores without known weights count as a network of their
            own for each predictions.csv.
        again: whether this network had been scored before.
        first: when these patients were first looked at.
        problems: lines that are no records, and why this look is not recorded, if it is not.
    """

    number: int
    networks: int
    again: bool
    first: str
    problems: Sequence[str] = ()

    def sentence(self) -> str:
        """Say it for people."""
        others = self.networks - 1
        many = "no other network" if not others else f"{others} other network{'' if others == 1 else 's'}"
        if self.again:
            return (
                f"these held-out patients were looked at with this network before (look {self.number}); with {many} "
                "besides"
            )
        return f"this is look {self.number} at these held-out patients, with {many} before"

    def content(self) -> dict[str, Any]:
        """Return it as JSON."""
        about = {"networks": self.networks, "number": self.number, "first": self.first}
        return {**about, "problems": list(self.problems)}


def command_name() -> str:
    """Return what runs, e.g. ``scripts ablation`` or ``monai.bundle run``; never an argument that could hold a name."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    module = spec.name.removesuffix(".__main__") if spec else Path(sys.argv[0] or "python").stem
    command = next(iter(sys.argv[1:]), "") if module in ("scripts", "bundle", "monai.bundle") else ""
    return f"{module} {command}" if re.fullmatch("[a-z][a-z-]*", command) else module


def held_out(datalist: Path) -> str:
    """Hash the patients of the section ``testing``."""
    entries = read_object(datalist).get("testing")
    rows = entries if isinstance(entries, list) else []
    return text_sha256(sorted({str(entry.get("patient_id")) for entry in rows if isinstance(entry, dict)}))


def identity(look: Look) -> str:
    """Return what tells networks apart."""
    return look["weights_sha256"] or look["predictions_sha256"]


def parse(content: bytes, path: Path) -> tuple[list[Look], list[str]]:
    """Read lines; those that are no records are named and stay where they are.

    Returns:
        The records, and sentences about other lines.
    """
    looks, problems = [], []
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if fits(found, Look):
            looks.append(found)
        else:
            problems.append(f"{path.name}, line {number} is damaged and not counted")
    return looks, problems


def count(earlier: Sequence[Look], look: Look, problems: Sequence[str] = ()) -> Looks:
    """Count the networks that were scored on the patients of a look, or on its datalist.

    Args:
        earlier: looks before this one, in the order of the file.
        look: this one.
        problems: see `Looks`.
    """
    own = [
        one
        for one in earlier
        if one["datalist_sha256"] == look["datalist_sha256"]
        or (look["held_out_sha256"] and one["held_out_sha256"] == look["held_out_sha256"])
    ]
    networks = list(dict.fromkeys([*map(identity, own), identity(look)]))
    again = identity(look) in {identity(one) for one in own}
    first = own[0]["time"] if own else look["time"]
    return Looks(networks.index(identity(look)) + 1, len(networks), again, first, tuple(problems))


def record(
    datalist: Path, datalist_sha256: str, weights_sha256: str, predictions_sha256: str, once: bool = False
) -> Looks:
    """Append a look that happens now to the file beside a datalist, and count.

    A folder that cannot be written, or a file that is damaged, stops nothing: it becomes one of the ``problems``.

    Args:
        datalist: the file.
        datalist_sha256: of the datalist that was scored, which the file may no longer be.
        weights_sha256: see `Look`.
        predictions_sha256: see `Look`.
        once: append nothing where a look with this network is recorded already.

    Raises:
        InputError: the datalist cannot be read.
    """
    unchanged = datalist_info(datalist)["datalist_sha256"] == datalist_sha256
    look: Look = {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command_name(),
        "datalist_sha256": datalist_sha256,
        "held_out_sha256": held_out(datalist) if unchanged else "",
        "weights_sha256": weights_sha256,
        "predictions_sha256": predictions_sha256,
    }
    path, known = datalist.with_name(FILE), None
    try:
        with locked(datalist.with_name(LOCK)):
            content, known = read(path)
            found = count(known[0], look, known[1])
            if not (once and found.again):
                whole = not content or content.endswith(b"\n")  # else who wrote the last line was killed
                with path.open("ab") as stream:
                    stream.write((b"" if whole else b"\n") + json.dumps(look, sort_keys=True).encode() + b"\n")
            return found
    except (OSError, InputError) as error:
        with suppress(OSError, InputError):
            known = known or read(path)[1]
        earlier, problems = known or ([], [])
        reason = f"{FILE} beside the datalist cannot be written ({root_message(error)})"
        return count(
            earlier, look, [*problems, f"this look is not recorded, and later ones are counted without: {reason}"]
        )


def read(path: Path) -> tuple[bytes, tuple[list[Look], list[str]]]:
    """Read looks.jsonl; nothing where there is none.

    Returns:
        Its bytes, and what `parse` finds in them.

    Raises:
        InputError: it is no regular file.
        OSError: it cannot be read.
    """
    check_regular(path)
    content = path.read_bytes() if path.exists() else b""
    return content, parse(content, path)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of the file, so that processes append one after the other.

    Raises:
        OSError: the folder cannot be written, or another process holds the lock for too long.
    """
    lock = FileLock(path, timeout=PATIENCE_S, mode=0o666)
    try:
        lock.acquire()
    except NotImplementedError:  # a network disk without locks; a line is written at once all the same
        pass
    except Timeout:
        raise OSError(f"another process has held {path.name} for {PATIENCE_S} s") from None
    try:
        yield
    finally:
        lock.release()
