"""The model zoo's own checks, run offline on a packed bundle."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from scripts.console import say
from scripts.errors import InputError
from scripts.files import read_json

from .checks import check_files, check_interface, check_keys, check_schema, check_threshold, check_versions

# as the zoo's runtests.sh, pyproject.toml and setup.cfg set them
FORMATTERS = {
    "black": ["--check", "--line-length", "120", "--skip-magic-trailing-comma"],
    "isort": ["--check-only", "--profile", "black", "--line-length", "120"],
    "flake8": [
        *("--isolated", "--max-line-length", "120", "--select", "B,C,E,F,N,P,T4,W,B9"),
        *("--extend-ignore", "E203,E501,E741,W503,W504,C408,N812,B023", "--per-file-ignores"),
        "__init__.py:F401 __main__.py:F401",
    ],
}


def verify(bundle: str = "build/cervical_cord_compression", weights: str = "", local: bool = False) -> int:
    """Check a packed bundle as the model zoo's CI does: files, version, keys, schema, network, export and formatting.

    Args:
        bundle: the packed folder, wherever it was copied to, also as first argument; default
            build/cervical_cord_compression.
        weights: the checkpoint, where large_files.yml names it instead of the folder holding it.
        local: the folder was packed with --local, so its weights may have any size.

    Returns:
        0 if all is right, 1 otherwise.
    """
    root = Path(bundle).resolve()
    if not (root / "configs" / "metadata.json").is_file():
        raise InputError(
            f"{bundle} holds no configs/metadata.json; make a packed bundle with `python -m bundle assemble`"
        )
    checkpoint = Path(weights).resolve() if weights else root / "models" / "model.pt"
    metadata = read_json(root / "configs" / "metadata.json")
    gates: dict[str, Callable[[], list[str]]] = {
        "files": lambda: check_files(root, local),
        "weights": lambda: check_weights(root, checkpoint),
        "version and changelog": lambda: check_versions(metadata),
        "keys": lambda: check_keys(root),
        "schema": lambda: check_schema(metadata),
        "threshold": lambda: check_threshold(root, metadata),
        "network interface": lambda: check_interface(root, metadata),
        "verify_net_in_out": lambda: monai_bundle(root, "verify_net_in_out"),
        "ckpt_export": lambda: export_checkpoint(root, checkpoint),
        "formatting": lambda: check_formatting(root),
    }
    n_wrong = 0
    for name, gate in gates.items():
        problems = gate()
        n_wrong += bool(problems)
        say(f"{'wrong' if problems else 'ok':6}{name}")
        for problem in problems:
            say("      " + problem.strip().replace("\n", "\n      "))
    return 1 if n_wrong else 0


def check_weights(root: Path, checkpoint: Path) -> list[str]:
    """Ask for weights, in the folder or at an address."""
    if any((root / f"large_files.{suffix}").is_file() for suffix in ("yml", "yaml", "json")):
        known = checkpoint.is_file()
        return [] if known else ["large_files.yml names the weights: give the same file here with --weights"]
    return [] if (root / "models" / "model.pt").is_file() else ["neither models/model.pt nor large_files.yml"]


def monai_bundle(root: Path, command: str, *arguments: str) -> list[str]:
    """Run a command of ``python -m monai.bundle`` on the network, in a process that sees the packed code only."""
    shared = ["--meta_file", "configs/metadata.json", "--config_file", "configs/inference.json"]
    run = subprocess.run(
        [sys.executable, "-B", "-m", "monai.bundle", command, "--net_id", "network_def", *shared, *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": "."},  # a path may hold what separates paths
        capture_output=True,
        text=True,
        check=False,
    )
    return [] if run.returncode == 0 else [run.stderr[-2000:]]


def export_checkpoint(root: Path, checkpoint: Path) -> list[str]:
    """Export the weights to TorchScript, as the zoo does."""
    if not checkpoint.is_file():
        return [f"no weights at {checkpoint}"]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "verify_model.ts"
        where = ("--filepath", str(target), "--ckpt_file", str(checkpoint), "--key_in_ckpt", "model")
        problems = monai_bundle(
            root, "ckpt_export", *where, "--bundle_root", "."
        )  # MONAI would read "::" in a path as "#"
        return problems or ([] if target.is_file() else ["ckpt_export wrote nothing"])


def check_formatting(root: Path) -> list[str]:
    """Run the zoo's formatters on the packed code."""
    return list(formatting_problems(root))


def formatting_problems(root: Path) -> Iterator[str]:
    """Yield what each formatter says."""
    for tool, options in FORMATTERS.items():
        run = subprocess.run(
            [sys.executable, "-m", tool, *options, "scripts"], cwd=root, capture_output=True, text=True, check=False
        )
        if run.returncode:
            output = (run.stdout + run.stderr).strip().splitlines()
            yield f"{tool}: " + "\n".join(output[:12])
