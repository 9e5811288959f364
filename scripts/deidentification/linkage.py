"""The linkage table: the secret key and who became whom. It alone leads back, so it is private and lies elsewhere."""

from __future__ import annotations

import base64
import csv
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from ..files import replacing
from ..tables import guard, read_table, unguard

COLUMNS = ("kind", "original", "replacement")
KEY_BYTES = 32
STANDARD_UIDS = "1.2.840.10008."
SHIFT_DAYS = (400, 4000)
NO_MODES = os.name == "nt"  # there a file mode says nothing about who may read


@dataclass
class Linkage:
    """Replaces identifiers by a keyed hash, always in the same way, and remembers what it replaced.

    Attributes:
        key: the secret, in hexadecimal.
        known: replacement of each (kind, original); kinds are ``patient``, ``person`` and ``uid``.
    """

    key: str
    known: dict[tuple[str, str], str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Linkage:
        """Read a table, or start one with a new key where there is none.

        Raises:
            InputError: the file is no linkage table, or its mode lets others read it.
        """
        if not path.exists():
            return cls(secrets.token_hex(KEY_BYTES))
        if not NO_MODES and path.stat().st_mode & 0o077:
            raise InputError(
                f"{path} can be read by others; run chmod 600 on it, for it holds the key to all identities"
            )
        rows = read_table(path, COLUMNS)
        keys = [row["replacement"] for row in rows if row["kind"] == "key"]
        if len(keys) != 1 or len(keys[0]) != 2 * KEY_BYTES:
            raise InputError(f"{path} holds {len(keys)} keys; expected a table that deidentify wrote, with one")
        known = {(row["kind"], row["original"]): row["replacement"] for row in rows if row["kind"] != "key"}
        return cls(keys[0], known)

    def write(self, path: Path) -> None:
        """Write the table for its owner alone, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        names = ((*one, self.known[one]) for one in sorted(self.known))
        write_private(path, [COLUMNS, ("key", "", self.key), *names])

    def digest(self, kind: str, original: str) -> bytes:
        """Return the keyed hash of an identifier (HMAC-SHA256)."""
        return hmac.new(bytes.fromhex(self.key), f"{kind}\0{original}".encode(), hashlib.sha256).digest()

    def patient(self, original: str) -> str:
        """Return a patient's pseudonym, e.g. ``P-4QWT6ZKD2A``."""
        return self.known.setdefault(("patient", original), self.pseudonym(original))

    def person(self, original: str) -> str:
        """Return a person's pseudonym: that of the patient so called, for a person may be named after one visit."""
        return self.known.setdefault(("person", original), self.pseudonym(original))

    def pseudonym(self, original: str) -> str:
        """Return what stands for a patient."""
        return f"P-{base64.b32encode(self.digest('patient', original))[:10].decode()}"

    def uid(self, original: str) -> str:
        """Return the UID that stands for another one everywhere; UIDs of the standard itself stay.

        Source: PS3.5 B.2, UIDs derived from a UUID.
        """
        if not original or original.startswith(STANDARD_UIDS):
            return original
        number = int.from_bytes(self.digest("uid", original)[:16], "big")
        return self.known.setdefault(("uid", original), f"2.25.{number}")

    def shift_days(self, patient: str) -> int:
        """Return how many days a patient's dates move back; intervals within the patient stay."""
        low, high = SHIFT_DAYS
        return low + int.from_bytes(self.digest("shift", patient)[:8], "big") % (high - low)


def read_private(path: Path) -> list[tuple[str, ...]]:
    """Read the files that earlier runs refused: path and reason of each."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        return [(unguard(row[0]), unguard(row[1])) for row in list(csv.reader(stream))[1:] if len(row) == 2]


def write_private(path: Path, rows: Iterable[Sequence[str]]) -> None:
    """Write a table for its owner alone, whole or not at all."""
    with (
        replacing(path, mode=0o600) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
    ):
        csv.writer(stream).writerows(map(guard, row) for row in rows)
