"""Write the folder that MONAI Deploy runs and packages."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from scripts.console import say
from scripts.errors import InputError
from scripts.files import ROOT

APP = Path(__file__).resolve().parent / "deploy"
# files that lie at the top of the application's folder; the other modules become its package ``deploy``
TOP = ("__main__.py", "app.yaml", "requirements.txt")


def deploy(out: str = "build/deploy", force: bool = False) -> None:
    """Write the MONAI Deploy application to OUT: the pipeline, the bundle's scripts, app.yaml and requirements.txt.

    Run it with `python OUT -i INPUT -o OUTPUT -m model.ts`. docs/deploy.md shows how to package it.

    Args:
        out: the application's folder.
        force: replace an earlier one.
    """
    target = Path(out).absolute()
    if target.exists() and not (force and (target / "app.yaml").is_file()):
        raise InputError(f"{target} exists; choose another --out, or replace an application there with --force")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as folder:
        app = Path(folder) / target.name
        for source in sorted(APP.glob("*.py")):
            copy(source, app / (source.name if source.name in TOP else f"deploy/{source.name}"))
        for name in TOP:
            copy(APP / name, app / name)
        for source in sorted((ROOT / "scripts").rglob("*.py")):
            copy(source, app / source.relative_to(ROOT))
        if target.exists():
            shutil.rmtree(target)
        app.rename(target)
    say(f"wrote {target}; run it with: python {target} -i INPUT -o OUTPUT -m model.ts")


def copy(source: Path, target: Path) -> None:
    """Copy a file, making its folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
