"""Serve a packed bundle to 3D Slicer and OHIF through MONAI Label's stock ``monaibundle`` app, offline."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from scripts.console import say
from scripts.errors import InputError

from .assemble import NAME
from .environments import install as install_environment
from .environments import installed


def label(
    studies: str,
    bundle: str = "build/cervical_cord_compression",
    port: int = 8000,
    host: str = "127.0.0.1",
    workspace: str = "build/label",
    install: bool = False,
) -> int:
    """Serve a packed bundle through MONAI Label until Ctrl-C.

    Label runs in an environment of its own, in the user's cache; it is installed only with --install (7 GB, minutes).

    Args:
        studies: folder of the images that users label, NIfTI for example; may be empty.
        bundle: a bundle packed with weights (python -m bundle assemble --weights FILE --local); default
            build/cervical_cord_compression.
        port: port of the server.
        host: address to listen at; others than 127.0.0.1 let the network in, without a password.
        workspace: folder for Label's app.
        install: install the environment first, if it is not there yet.
    """
    root = Path(bundle).resolve()
    if not (root / "configs" / "inference.json").is_file():
        raise InputError(
            f"{bundle} is no packed bundle; make one with `python -m bundle assemble --weights FILE --local`"
        )
    if not (root / "models" / "model.pt").is_file():
        raise InputError(
            f"{root} has no models/model.pt; pack it with `python -m bundle assemble --weights FILE --local`"
        )
    if not Path(studies).is_dir():
        raise InputError(f"{studies} is no folder; make one for the images, it may be empty")
    python = install_environment("label") if install else installed("label")
    if python is None:
        raise InputError("MONAI Label is not installed; add --install to install it (7 GB, some minutes, once)")
    app = prepare_app(python, Path(workspace).resolve(), root)
    say(f"MONAI Label at http://{host}:{port}: 3D Slicer's MONAILabel module takes this address; Ctrl-C stops it")
    command = server_command(python, app, Path(studies).resolve(), host, port)
    try:
        return subprocess.run(command, env=server_environment(), check=False).returncode
    except KeyboardInterrupt:
        return 0


def prepare_app(python: Path, workspace: Path, bundle: Path) -> Path:
    """Unpack Label's ``monaibundle`` app and link the bundle into it.

    Label tells the kind of a model by its folder's name; ours must hold none of the words it knows, so that it is a
    segmentation, whose map viewers show.
    """
    app = workspace / "apps" / "monaibundle"
    if not (app / "main.py").is_file():
        shutil.rmtree(app, ignore_errors=True)
        arguments = ("apps", "--download", "--name", "monaibundle", "--output", str(app.parent))
        run = subprocess.run(
            [str(python), "-m", "monailabel.main", *arguments],
            env=server_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode or not (app / "main.py").is_file():
            raise InputError(f"MONAI Label could not unpack its app into {app}:\n{run.stderr[-1500:]}")
    link = app / "model" / NAME
    link.parent.mkdir(exist_ok=True)
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        raise InputError(f"{link} is a folder where the link to the bundle should be; remove it")
    link.symlink_to(bundle, target_is_directory=True)
    return app


def server_command(python: Path, app: Path, studies: Path, host: str, port: int) -> list[str]:
    """Return the command that starts the server, with nothing looked up online."""
    options = [("models", NAME), ("zoo_source", "local"), ("sam2", "false")]
    arguments = ("--app", str(app), "--studies", str(studies), "--host", host, "--port", str(port))
    settings = (part for name, value in options for part in ("--conf", name, value))
    return [str(python), "-m", "monailabel.main", "start_server", *arguments, *settings]


def server_environment() -> dict[str, str]:
    """Return the server's environment: its own packages, not those of whoever starts it."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
