"""Figures that commands write into pages of the documentation, between marks."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import ROOT, read_json, write_text

PACKAGES = ("torch", "monai", "pydicom", "itk", "nibabel")


def marks(campaign: str) -> tuple[str, str]:
    """Return the lines between which the figures of a campaign, or of a study, stand."""
    return f"<!-- {campaign}: begin -->", f"<!-- {campaign}: end -->"


def software() -> str:
    """Return the version of the bundle and of what it was run with."""
    bundle = read_json(ROOT / "configs" / "metadata.json")["version"]
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"bundle {bundle}, Python {platform.python_version()}, {packages}, {platform.system()}"


def check_page(path: Path, campaign: str) -> str:
    """Read a page that has a place for the figures of a campaign.

    Raises:
        InputError: it has none, or several.
    """
    begin, end = marks(campaign)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--doc {path} cannot be read ({error}); expected a page of docs/") from error
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise InputError(f"--doc {path} needs one line {begin} and below it one line {end}")
    return text


def write_page(path: Path, campaign: str, command: str, table: Sequence[Sequence[Any]], seconds: float) -> None:
    """Put the figures of a campaign between its marks.

    Args:
        path: the page.
        campaign: its name.
        command: what was run.
        table: its counts; the first row is the header.
        seconds: how long it took.
    """
    header, *rows = [[str(cell) for cell in row] for row in table]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))
    write_between(path, campaign, f"```\n{command}\n```\n\n{lines}\n\n{seconds / 60:.1f} minutes")


def write_between(path: Path, name: str, figures: str) -> None:
    """Put figures between the marks of a page, and what software made them behind their last line."""
    text, (begin, end) = check_page(path, name), marks(name)
    written = f"{begin}\n{figures}; {software()}.\n"
    write_text(path, text[: text.index(begin)] + written + text[text.index(end) :])
