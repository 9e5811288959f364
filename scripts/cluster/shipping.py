"""The bundle on its way to workers of other machines."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import ROOT, sha256, text_sha256

if TYPE_CHECKING:
    from distributed.diagnostics.plugin import UploadDirectory

SHIPPED = ("scripts", "configs")


def packed_bundle() -> UploadDirectory:
    """Pack code and configs as a plugin of dask, which unpacks them for each worker before it starts.

    The folder is named by a hash of its content. Workers that have it keep it, and are not started anew.
    """
    from distributed.diagnostics.plugin import UploadDirectory

    files = sorted(path for name in SHIPPED for path in (ROOT / name).rglob("*") if shipped(path))
    digest = text_sha256([f"{path.relative_to(ROOT).as_posix()} {sha256(path)}" for path in files])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / f"cord-{digest[:16]}"
        for path in files:
            target = folder / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        plugin = UploadDirectory(str(folder), restart_workers=True, update_path=True, skip_words=(), skip=())
    plugin.idempotent = True
    return plugin


def shipped(path: Path) -> bool:
    """Return whether a file is part of the bundle."""
    return path.is_file() and "__pycache__" not in path.parts
