"""Checkpoints that know what they are: weights beside the settings without which they mean nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .datalists import datalist_info
from .datasets import SliceDataset
from .errors import InputError
from .files import read_json, replacing, resolved
from .files import sha256 as sha256  # of checkpoints, for who names them
from .inferers import actual_precision
from .models.files import load_safely, weights_sha256
from .models.settings import KINDS
from .networks import CordCompressionNet, network_interface, unwrapped
from .records import Weights
from .tasks import DEFAULT_BRANCH, DEFAULT_TASKS
from .transforms import length_mm

if TYPE_CHECKING:
    from .canal.localiser import Localiser

# settings that change what the weights of a classifier mean
SETTINGS = (
    *("architecture", "head", "image_size", "crop_fraction", "profile", "side_mm", "context", "outlines"),
    *("tasks", "branch"),
)
# those of them that say what the network sees of a slice
SEEN = ("image_size", "crop_fraction", "side_mm", "context", "outlines")
# settings that checkpoints of earlier versions lack, and what they mean then
DEFAULTS = {
    **{"side_mm": None, "canal_sha256": "", "context": 0, "outlines": False},
    **{"tasks": list(DEFAULT_TASKS), "branch": DEFAULT_BRANCH},
}
# what a checkpoint tells of its training, which settings need not repeat
HISTORY = ("trained_on", "epoch", "pos_weight", "precision", "training")


def describe(
    architecture: str,
    head: list[int],
    image_size: int,
    crop_fraction: float,
    profile: str,
    side_mm: float | None = None,
    canal: Localiser | None = None,
    context: int = 0,
    outlines: bool = False,
    tasks: Sequence[str] = DEFAULT_TASKS,
    branch: str = DEFAULT_BRANCH,
    **more: Any,
) -> dict[str, Any]:
    """Collect the settings a checkpoint carries, and what its network takes and gives (``interface``).

    The localiser of the canal is kept, too, so that one file is enough; its hash says that both belong together.

    Raises:
        InputError: both neighbours and outlines are to fill the channels.
    """
    if context and outlines:
        raise InputError("context 1 and outlines True both fill the channels of a slice; choose one of them")
    settings: dict[str, Any] = {
        "architecture": architecture,
        "head": [int(width) for width in head],
        "image_size": int(image_size),
    }
    settings |= {"crop_fraction": float(crop_fraction), "profile": profile, "tasks": list(tasks), "branch": branch}
    settings |= {"side_mm": length_mm(side_mm), "canal_sha256": canal.sha256 if canal else "", "context": int(context)}
    settings["outlines"] = outlines
    kept = {"canal": canal.content} if canal else {}
    return {**settings, "interface": network_interface(profile, tasks, context, outlines), **kept, **more}


def save(path: Path, network: nn.Module, settings: Mapping[str, Any], **states: Any) -> None:
    """Write a checkpoint, whole or not at all; equal content gives equal files.

    Args:
        path: the file.
        network: its state dict becomes ``model``.
        settings: `describe`'s, and what the network was trained on.
        states: anything else made of tensors and plain values, e.g. the optimizer's state.

    Raises:
        InputError: it cannot be written.
    """
    with replacing(Path(path)) as temporary, temporary.open("wb") as stream:
        try:
            torch.save({"model": network.state_dict(), **settings, **states}, stream)
        except RuntimeError as error:  # torch's own, about its archive, hides what the system said
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


def read(path: str | Path, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read a checkpoint safely and compare what it was made for with what is wanted.

    Args:
        path: a file written by `save`.
        settings: `describe`'s, or those of another network; those that say what weights mean must be equal. None
            compares nothing.

    Raises:
        InputError: the file is missing, not a checkpoint, made with other settings, or says or holds what no training
            writes.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"no checkpoint at {path}; training writes model.pt to models/ in its --output_dir: name that file"
        )
    content = load_safely(path)
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict) or not all(isinstance(value, torch.Tensor) for value in model.values()):
        raise InputError(f"{path} holds no 'model'; expected a checkpoint written by configs/train.json")
    if "architecture" in content:
        content = {**DEFAULTS, **content}
        check_localiser(path, content)
    for name, (fits, expected) in KINDS.items():
        if name in content and not fits(content[name]):
            raise InputError(f"{path}: {name} must be {expected}; expected a checkpoint written by configs/train.json")
    for name, value in model.items():
        if not torch.isfinite(value).all():
            raise InputError(f"{path}: {name} holds values that are no numbers; take an earlier checkpoint of the run")
    wanted = {**(DEFAULTS if "architecture" in content else {}), **(settings or {})}
    for name in [name for name in KINDS if name in wanted and name not in HISTORY] if settings is not None else []:
        if name not in content:
            raise InputError(f"{path} does not say its {name}; expected a checkpoint written by configs/train.json")
        if content[name] != wanted[name]:
            option = f"--{name} {str(content[name])!r}"
            if name == "canal_sha256":  # which no option sets
                option = f"--canal_weights {path}"
            raise InputError(
                f"{path} was trained with {name} {content[name]}, but the config says {wanted[name]}; "
                f"run with {option}, or use the config it was trained with"
            )
    return content


def read_classifier(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint that says all of its `SETTINGS`.

    Raises:
        InputError: see `read`; also where it lacks one, as a localiser's does.
    """
    content = read(path)
    missing = [name for name in SETTINGS if name not in content]
    if missing:
        raise InputError(
            f"{path} does not say its {', '.join(missing)}; expected a checkpoint written by configs/train.json"
        )
    return content


def check_localiser(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse a checkpoint whose localiser is not the one that its network was trained with."""
    kept = content.get("canal")
    found = ""
    if kept is not None:
        state = kept.get("model") if isinstance(kept, Mapping) else None
        if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
            raise InputError(f"{path} holds a localiser ('canal') without weights; take the original file")
        found = weights_sha256(state)
    if found != content["canal_sha256"]:
        raise InputError(
            f"{path}: its localiser of the canal is not the one that its network was trained with (sha256 "
            f"{found[:16] or 'none'}, expected {str(content['canal_sha256'])[:16] or 'none'}); take the original file"
        )


def read_resumable(path: str | Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Read a checkpoint that a training can continue from, see `read`.

    Raises:
        InputError: as `read`, or the file holds weights only.
    """
    content = read(path, settings)
    if "optimizer" not in content or "trainer" not in content:
        raise InputError(f"{path} holds weights only; resume from the model_last.pt of the interrupted run")
    return content


def network_of(settings: Mapping[str, Any], dropout: float = 0.3, weights: str | None = None) -> CordCompressionNet:
    """Build the network that settings describe, with random weights or those of its trunk.

    Args:
        settings: `describe`'s, or a checkpoint's as `read` returns them.
        dropout: of the heads.
        weights: of the trunk, see `CordCompressionNet`.
    """
    known = {**DEFAULTS, **settings}
    return CordCompressionNet(known["head"], dropout, weights, known["architecture"], known["tasks"], known["branch"])


def network_with_weights(content: Mapping[str, Any]) -> CordCompressionNet:
    """Build the network of a checkpoint and load its weights.

    Raises:
        InputError: the weights do not fit the network that the checkpoint names.
    """
    network = network_of(content)
    network.load_state_dict(content["model"])
    return network


def load_network(path: str | Path, network: nn.Module, settings: Mapping[str, Any]) -> Weights:
    """Load weights into a network and return what they are, for the results made with them.

    Raises:
        InputError: see `read`; also where the weights do not fit the network.
    """
    content = read(path, settings)
    unwrapped(network).load_state_dict(content["model"])
    return about_weights(path, content)


def about_weights(path: str | Path, content: Mapping[str, Any]) -> Weights:
    """Return what the weights of a checkpoint are, for the results made with them."""
    trained_on = content.get("trained_on", {})
    return {
        "weights_sha256": sha256(path),
        "trained_on_phantom": bool(trained_on.get("phantom", False)),
        "epoch": content.get("epoch"),
        "pos_weight": content.get("pos_weight"),
        "training_precision": content.get("precision"),
    }


def about_run(
    settings: Mapping[str, Any],
    dataset: SliceDataset,
    seed: int,
    pos_weight: float,
    precision: str,
    device: torch.device | str,
    training: Mapping[str, Any],
) -> dict[str, Any]:
    """Add to a run's settings what its network is trained on, in which precision, and how (`training_record`)."""
    trained = {"seed": seed, "pos_weight": pos_weight, "precision": actual_precision(precision, device)}
    return {**settings, "trained_on": dataset.counts(), "training": dict(training), **trained}


def recorded(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a checkpoint records of its network and of its training, for reports."""
    known = {name: content[name] for name in (*SETTINGS, *HISTORY) if name in content and name != "training"}
    return {**known, **content.get("training", {})}


def about_results(
    checkpoint: Mapping[str, Any],
    datalist: str,
    bundle_root: str,
    seed: int,
    precision: str = "fp32",
    device: torch.device | str = "cpu",
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Collect what every result of an evaluation carries: the model, the slices, seed, precision and software.

    Args:
        checkpoint: what `load_network` says of the weights, or `scripts.ensembles.load_networks`.
        datalist: the datalist whose slices are evaluated.
        bundle_root: folder of the bundle, for the model's version.
        seed: seed of the evaluation.
        precision: precision of the evaluation, see `scripts.inferers`.
        device: where it runs.
        settings: what the checkpoint records of its network and training, see `recorded`.
    """
    metadata = read_json(Path(bundle_root) / "configs" / "metadata.json")
    return {
        **checkpoint,
        "model_version": metadata["version"],
        "datalist": str(resolved(datalist)),
        "datalist_sha256": datalist_info(datalist)["datalist_sha256"],
        "seed": seed,
        "precision": actual_precision(precision, device),
        "versions": {name: version(name) for name in ("monai", "numpy", "scikit-learn", "torch", "torchvision")},
        **({"settings": dict(settings)} if settings else {}),
    }
