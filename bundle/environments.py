"""Environments of the clients: MONAI Label and MONAI Deploy need other versions than the bundle's own tools.

An environment is made once from its requirement files and kept under a name that holds the hash of their content, so
a change of requirements makes a new one and nothing else does.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from scripts.console import say
from scripts.errors import InputError

REQUIREMENTS = Path(__file__).resolve().parent / "requirements"
# name: requirement files, installed one after the other; "-no-deps" ones without what they ask for
ENVIRONMENTS = {
    "label": ("label.txt", "label-no-deps.txt"),
    "deploy": ("../deploy/requirements.txt", "deploy-tools.txt"),
}
READY = "ready"


def cache_folder() -> Path:
    """Return the folder of all environments: ``$CORD_ENVIRONMENTS``, else one in the user's cache."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cervical_cord_compression"
    return Path(os.environ.get("CORD_ENVIRONMENTS") or default)


def environment_folder(name: str) -> Path:
    """Return the folder of one environment, made or not.

    Raises:
        InputError: there is no such environment.
    """
    if name not in ENVIRONMENTS:
        raise InputError(f"unknown environment {name!r}; expected {' or '.join(ENVIRONMENTS)}")
    digest = hashlib.sha256(platform.python_version().encode())
    for file in ENVIRONMENTS[name]:
        digest.update((REQUIREMENTS / file).read_bytes())
    return cache_folder() / f"{name}-{digest.hexdigest()[:12]}"


def python_of(folder: Path) -> Path:
    """Return the interpreter of an environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def installed(name: str) -> Path | None:
    """Return the interpreter of an environment that is complete, None where it has to be made."""
    folder = environment_folder(name)
    return python_of(folder) if (folder / READY).is_file() else None


def install(name: str) -> Path:
    """Make an environment unless it is there, and return its interpreter.

    It is made under another name and renamed when complete; interpreters are called by path, never through the
    scripts that pip writes, so the new name does them no harm.

    Args:
        name: ``label`` or ``deploy``.

    Raises:
        InputError: unknown name, or pip could not install the packages.
    """
    ready = installed(name)
    if ready is not None:
        return ready
    folder = environment_folder(name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    say(f"installing the {name} environment into {folder} (some minutes and gigabytes, once)")
    making = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        venv.create(making, with_pip=True)
        for file in ENVIRONMENTS[name]:
            options = ["--no-deps"] if "no-deps" in file else []
            command = [
                python_of(making),
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-compile",
                "--no-warn-script-location",
            ]
            run = subprocess.run(
                [*map(str, command), *options, "-r", str(REQUIREMENTS / file)],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if run.returncode:
                raise InputError(f"pip could not install {file} for {name}:\n{run.stdout[-2000:]}")
        (making / READY).write_text(f"{sys.version}\n", encoding="utf-8")
        try:
            making.rename(folder)
        except OSError:
            if installed(name) is None:  # else another process was faster
                raise
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return python_of(folder)


def environment(name: str) -> None:
    """Install the environment of a client, and print the path of its Python.

    Args:
        name: label or deploy.
    """
    say(str(install(name)))
