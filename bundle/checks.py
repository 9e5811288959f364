"""What must be true of a packed bundle; every check gives the problems it finds as sentences."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from scripts.files import ROOT, read_json

SCHEMA = Path(__file__).resolve().parent / "meta_schema_20240725.json"
REQUIRED = (
    *("LICENSE", "docs/README.md", "docs/data_license.txt", "configs/metadata.json", "configs/logging.conf"),
    *("configs/train.json", "configs/evaluate.json", "configs/inference.json", "scripts/__init__.py"),
)
# the zoo's CONTRIBUTING.md: keys that its tools and MONAI's clients look for
KEYS = {
    "inference.json": ("bundle_root", "device", "network_def", "inferer", "output_dir", "dataset_dir"),
    "train.json": (
        *("bundle_root", "device", "dataset_dir", "output_dir", "val_interval"),
        *("train#trainer#max_epochs", "train#dataset#data", "train#handlers"),
        *("validate#evaluator", "validate#handlers", "validate#dataset#data"),
    ),
}
LARGEST_BYTES, LARGEST_WEIGHTS_BYTES = 10**6, 25 * 10**6


def check(packed: Path, local: bool = False) -> list[str]:
    """Run every check that needs no weights; a ``local`` bundle may hold weights of any size."""
    problems = check_files(packed, local)
    if problems:
        return problems
    metadata = read_json(packed / "configs" / "metadata.json")
    found = [
        *check_versions(metadata),
        *check_schema(metadata),
        *check_keys(packed),
        *check_threshold(packed, metadata),
        *check_interface(packed, metadata),
    ]
    return found or check_instances(packed)


def check_files(packed: Path, local: bool = False) -> list[str]:
    """Find files that are missing, too large or foreign."""
    problems = [f"{name} is missing" for name in REQUIRED if not (packed / name).is_file()]
    for path in sorted(p for p in packed.rglob("*") if p.is_file()):
        name = path.relative_to(packed)
        limit = LARGEST_WEIGHTS_BYTES if name.parts[0] == "models" else LARGEST_BYTES
        if path.stat().st_size > limit and not (local and name.parts[0] == "models"):
            problems.append(f"{name} has {path.stat().st_size / 1e6:.1f} MB, more than the zoo's {limit / 1e6:.0f}")
        if name.parts[0] in ("bundle", "tests") or "__pycache__" in name.parts:
            problems.append(f"{name} must not be in the bundle")
    return problems


def check_versions(metadata: dict[str, Any]) -> list[str]:
    """Compare the version in metadata.json with every other place that has one."""
    version = metadata.get("version")
    project = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    app = yaml.safe_load((ROOT / "bundle" / "deploy" / "app.yaml").read_text(encoding="utf-8").split("---", 1)[1])
    problems = [
        f"{place} has version {found}, metadata.json {version}"
        for place, found in (
            ("pyproject.toml", project and project[1]),
            ("deploy/app.yaml", app["application"]["version"]),
        )
        if found != version
    ]
    if version not in metadata.get("changelog", {}):
        problems.append(f"version {version} is not in metadata.json's changelog")
    return problems


def check_schema(metadata: dict[str, Any]) -> list[str]:
    """Validate metadata.json against the zoo's schema, a copy of which lies beside this file."""
    problems = []
    if not str(metadata.get("schema", "")).endswith(SCHEMA.name):
        problems.append(f"metadata.json names schema {metadata.get('schema')}, the newest is {SCHEMA.name}")
    validator = jsonschema.Draft201909Validator(read_json(SCHEMA))
    return problems + [
        f"metadata.json, {error.json_path}: {error.message}" for error in validator.iter_errors(metadata)
    ]


def check_keys(packed: Path) -> list[str]:
    """Find keys that clients look for and a config lacks; handlers must be literal objects for MONAI Label."""
    problems = []
    for name, keys in KEYS.items():
        config = read_json(packed / "configs" / name)
        for key in keys:
            value: Any = config
            for part in key.split("#"):
                value = value.get(part, ...) if isinstance(value, dict) else ...
            if value is ...:
                problems.append(f"configs/{name} has no {key}")
            elif key == "train#handlers" and not all(isinstance(handler, dict) for handler in value):
                problems.append(f"configs/{name}: {key} holds references; MONAI Label needs literal objects")
    return problems


def check_threshold(packed: Path, metadata: dict[str, Any]) -> list[str]:
    """Compare the threshold that clients use with the one the metadata explain."""
    inference = read_json(packed / "configs" / "inference.json")
    used = {name: inference["calibration"][name] for name in ("slope", "intercept")}
    used["probability"] = inference["displayable_configs"]["threshold"]
    used["patient_level"] = {name: inference["patient_level"][name] for name in ("rule", "threshold", "source")}
    stated = {**used, **metadata.get("threshold", {})}
    return [
        f"inference.json has the {'threshold' if name == 'probability' else name} {value}, metadata.json {stated[name]}"
        for name, value in used.items()
        if value != stated[name]
    ]


def check_interface(packed: Path, metadata: dict[str, Any]) -> list[str]:
    """Compare what the metadata say of the network's input and output with the config that clients run."""
    from scripts.networks import input_range, network_interface

    inference = read_json(packed / "configs" / "inference.json")
    profile, calibration = inference["profile"], inference["calibration"]
    wanted = network_interface(profile, inference["tasks"], inference["context"], inference["outlines"])
    wanted["output"] |= {name: calibration[name] for name in ("slope", "intercept")}
    image, stated = metadata["network_data_format"]["inputs"]["image"], metadata.get("network_interface")
    problems = []
    if image["value_range"] != input_range(profile):
        problems.append(
            f"metadata.json has the input range {image['value_range']}, profile {profile} gives {input_range(profile)}"
        )
    if stated != wanted:
        problems.append(f"metadata.json's network_interface is {stated}, inference.json gives {wanted}")
    return problems


def check_instances(packed: Path) -> list[str]:
    """Instantiate every config from another working directory, in a process that sees the packed code only."""
    from scripts.phantom.cohort import make_cohort

    with tempfile.TemporaryDirectory() as folder:
        cohort = Path(folder) / "cohort"
        make_cohort(cohort, patients=4, seed=4, slices=3, matrix=64)  # two classes of every task
        program = Path(__file__).resolve().parent / "instantiate.py"
        run = subprocess.run(
            [sys.executable, "-B", str(program), str(packed.resolve()), str(cohort), folder],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    return [] if run.returncode == 0 else [f"the configs do not instantiate elsewhere:\n{run.stderr[-3000:]}"]
