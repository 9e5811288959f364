"""The header parser under atheris, which mutates by coverage: ``python -m bundle fuzz OUT --atheris SECONDS``."""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["scripts.dicom", "pydicom"]):
    from scripts.dicom.judgements import judge
    from scripts.dicom.sources import scan

FOLDER = tempfile.TemporaryDirectory()


def one_input(data: bytes) -> None:
    """Read one file's header, group and judge its slices; nothing may escape."""
    path = Path(FOLDER.name) / "file"
    path.write_bytes(data)
    stacks, unreadable = scan(str(path))
    for stack in stacks:
        judge(stack)
    assert stacks or unreadable


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
