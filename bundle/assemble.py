"""Pack the bundle: an allow-list of files, the settings of the weights written into the configs, and checks."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml

from scripts.console import say
from scripts.errors import InputError
from scripts.files import ROOT, read_json, write_json, write_text
from scripts.records import DEFAULT_PATIENT_RULE

from .checks import LARGEST_WEIGHTS_BYTES, check

if TYPE_CHECKING:
    from scripts.report.operating_points_file import Chosen

NAME = "cervical_cord_compression"
# the files of the bundle; patterns are relative to the root
TRAVELS = (
    "LICENSE",
    "configs/*.json",
    "configs/heads/*.json",
    "configs/logging.conf",
    "docs/CHANGELOG.md",
    "docs/README.md",
    "docs/data_license.txt",
    "docs/figures/*.png",
    "scripts/**/*.py",
    "scripts/report/page.html",
)
# MONAI Label shows the description beside the model
PHANTOM_NOTE = " These weights were trained on a synthetic phantom: they know no real patient."
# configs that a client runs on their own, and so carry the settings of the weights
SELF_CONTAINED = ("train.json", "inference.json")


def assemble(
    out: str = "build",
    weights: str = "",
    url: str = "",
    local: bool = False,
    operating_points: str = "",
    operating_point: str = "youden",
    patient_rule: str = DEFAULT_PATIENT_RULE,
    force: bool = False,
) -> None:
    """Copy the files of the bundle to OUT/cervical_cord_compression, check them, and write a zip next to it.

    With weights, the packed configs describe their network (architecture, head, image size, crop, profile, tasks), so
    that a client cannot preprocess in another way than training did. Weights over 25 MB do not go into the folder but
    into its large_files.yml, as the model zoo asks; without the URL they are refused.

    Args:
        out: folder that gets the packed folder and the zip.
        weights: a checkpoint written by configs/train.json; without, the folder has no weights.
        url: where the weights can be downloaded once published; written to large_files.yml with their hash.
        local: pack for clients on this machine: the weights go into the folder whatever their size, without a URL.
        operating_points: the operating_points.json of a run; clients use its threshold and calibration.
        operating_point: which of its points, e.g. youden or sensitivity_95.
        patient_rule: by which whole series are called, as of `python -m scripts predict`.
        force: replace an earlier packed folder.
    """
    from scripts import checkpoints
    from scripts.report.operating_points_file import read_operating_point

    target = Path(out).absolute() / NAME
    archive = target.with_suffix(".zip")
    if target.exists() and not force:
        raise InputError(f"{target} exists; choose another --out, or replace it with --force")
    content = checkpoints.read_classifier(weights) if weights else None
    digest = checkpoints.sha256(weights) if weights else ""
    chosen = None
    if operating_points:
        chosen = read_operating_point(operating_points, operating_point, digest, patient_rule)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{NAME}-", dir=target.parent) as folder:
        packed = Path(folder) / NAME
        for path in travelling():
            copy = packed / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        if content is not None:
            describe_weights(packed, content, local)
            place_weights(packed, Path(weights), url, local)
        if chosen is not None:
            write_operating_point(packed, chosen)
        problems = check(packed, local)
        if problems:
            raise InputError("the packed bundle is not right:\n  " + "\n  ".join(problems))
        if target.exists():
            shutil.rmtree(target)
        packed.rename(target)
    compress(target, archive)
    n_bytes = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    say(f"packed {target} ({n_bytes / 1e6:.1f} MB) and {archive}; checked")
    if content is None:
        say("it has no weights: give --weights FILE once you have trained some")


def travelling() -> Iterator[Path]:
    """Yield the files of the bundle."""
    for pattern in TRAVELS:
        yield from sorted(path for path in ROOT.glob(pattern) if path.is_file())


def describe_weights(packed: Path, content: Mapping[str, Any], local: bool) -> None:
    """Write the settings of the weights into the configs, and what their network takes and gives into the metadata.

    A ``local`` bundle trains on from its own weights (MONAI Label does) and so asks for none of ImageNet's.
    """
    from scripts import checkpoints
    from scripts.networks import input_range, network_interface

    for name in SELF_CONTAINED:
        config = read_json(packed / "configs" / name)
        config.update({setting: content[setting] for setting in checkpoints.SETTINGS})
        if content.get("canal") and "canal_weights" in config:
            config["canal_weights"] = "$@bundle_root + '/models/model.pt'"
        if local and "weights" in config:
            config["weights"] = None
        write_json(packed / "configs" / name, config)
    metadata = read_json(packed / "configs" / "metadata.json")
    image = metadata["network_data_format"]["inputs"]["image"]
    image["spatial_shape"] = [content["image_size"]] * 2
    image["value_range"] = input_range(content["profile"])
    metadata["network_interface"] = network_interface(
        content["profile"], content["tasks"], content["context"], content["outlines"]
    )
    metadata["network_data_format"]["outputs"]["pred"]["num_channels"] = len(
        metadata["network_interface"]["output"]["logits"]
    )
    if content.get("trained_on", {}).get("phantom"):
        metadata["description"] += PHANTOM_NOTE
    write_json(packed / "configs" / "metadata.json", metadata)


def place_weights(packed: Path, weights: Path, url: str, local: bool) -> None:
    """Copy the weights to models/model.pt where that is allowed, else name their address in large_files.yml."""
    from scripts import checkpoints

    size = weights.stat().st_size
    if local or size <= LARGEST_WEIGHTS_BYTES:
        (packed / "models").mkdir()
        shutil.copyfile(weights, packed / "models" / "model.pt")
        return
    if urlsplit(url).scheme not in ("https", "http") or not urlsplit(url).netloc:
        raise InputError(
            f"{weights} has {size / 1e6:.0f} MB and the model zoo takes {LARGEST_WEIGHTS_BYTES / 1e6:.0f}; publish the "
            f"file and give its address with --url (got {url!r}), or pack for this machine alone with --local"
        )
    entry = {"path": "models/model.pt", "url": url, "hash_val": checkpoints.sha256(weights), "hash_type": "sha256"}
    write_text(packed / "large_files.yml", yaml.safe_dump({"large_files": [entry]}, sort_keys=False))


def write_operating_point(packed: Path, chosen: Chosen) -> None:
    """Write threshold and calibration where all clients read them, and say in the metadata where they came from."""
    inference = read_json(packed / "configs" / "inference.json")
    inference["displayable_configs"]["threshold"] = chosen.threshold
    inference["calibration"] |= {"slope": chosen.slope, "intercept": chosen.intercept}
    inference["threshold_source"] = chosen.source
    of_patients = {"rule": chosen.patient_rule, "threshold": chosen.patient_threshold, "source": chosen.patient_source}
    inference["patient_level"] |= of_patients
    write_json(packed / "configs" / "inference.json", inference)
    metadata = read_json(packed / "configs" / "metadata.json")
    calibration = {"slope": chosen.slope, "intercept": chosen.intercept}
    metadata["threshold"] = {"probability": chosen.threshold, **calibration, "source": chosen.source}
    metadata["threshold"]["patient_level"] = of_patients
    metadata["network_interface"]["output"] |= calibration
    write_json(packed / "configs" / "metadata.json", metadata)


def compress(folder: Path, archive: Path) -> None:
    """Zip a folder; the same content gives the same bytes."""
    archive.unlink(missing_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as content:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            entry = zipfile.ZipInfo(str(path.relative_to(folder.parent)), date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            content.writestr(entry, path.read_bytes())
