"""Ensembles: the networks of several checkpoints, applied as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from . import checkpoints
from .errors import InputError
from .files import text_sha256
from .models.averaging import Ensemble
from .networks import unwrapped
from .records import Weights

# what the networks must have in common: one preprocessing and one localiser serve all
SHARED = (*checkpoints.SEEN, "profile", "tasks", "canal_sha256")


class Loaded(NamedTuple):
    """What a config applies: a network, or an ensemble, and what every result repeats of its weights.

    Attributes:
        settings: what the checkpoint records of its network and training; ``differs`` where those of an ensemble do.
    """

    network: nn.Module
    weights: Weights
    settings: Mapping[str, Any] | None = None


def load_networks(
    path: str | Path, ensemble: str | Sequence[str] | None, network: nn.Module, settings: Mapping[str, Any]
) -> Loaded:
    """Load weights into a network, and make an `Ensemble` of it and the networks of further checkpoints.

    These may have another architecture or head. The order in which the checkpoints are named changes no result.

    Args:
        path: the network's checkpoint.
        ensemble: further checkpoints, as a list or separated by commas; where there are none, the network is returned
            as it is.
        network: the network, on its device.
        settings: of the network, see `scripts.checkpoints.describe`.

    Raises:
        InputError: see `scripts.checkpoints.read`; also where a checkpoint differs in `SHARED`, or two are the same.
    """
    content, network = checkpoints.read(path, settings), unwrapped(network)
    network.load_state_dict(content["model"])
    networks, about = [network], [(str(path), checkpoints.about_weights(path, content))]
    records = [checkpoints.recorded(content)]
    for other in named_checkpoints(ensemble) if isinstance(ensemble, str) and ensemble else ensemble or ():
        content = checkpoints.read_classifier(other)
        check_member(other, content, path, settings)
        member = checkpoints.network_with_weights(content)
        networks.append(member.to(next(network.parameters()).device).to(memory_format=torch.channels_last))
        about.append((str(other), checkpoints.about_weights(other, content)))
        records.append(checkpoints.recorded(content))
    if len(networks) == 1:
        return Loaded(network, about[0][1], records[0])
    weights = about_ensemble(about)
    own = {one["weights_sha256"]: member for (_, one), member in zip(about, networks, strict=True)}
    members = Ensemble([own[digest] for digest in weights["ensemble_sha256"]]).eval()
    names = dict.fromkeys(name for one in records for name in one)
    return Loaded(members, weights, {name: common(name, records, "differs") for name in names})


def common(name: str, members: Sequence[Mapping[str, Any]], otherwise: Any) -> Any:
    """Return what all members say under a name, or else another value."""
    values = [one.get(name) for one in members]
    return values[0] if all(value == values[0] for value in values) else otherwise


def named_checkpoints(text: str) -> list[str]:
    """Return the checkpoints that a text names, separated by commas; a file whose own name has some is one.

    Raises:
        InputError: nothing stands between two commas.
    """
    names = [text] if Path(text).is_file() else [name.strip() for name in text.split(",")]
    if not all(names):
        raise InputError(f"expected checkpoints separated by commas, such as a.pt,b.pt; got {text!r}")
    return names


def check_member(path: str | Path, content: Mapping[str, Any], first: str | Path, settings: Mapping[str, Any]) -> None:
    """Refuse a checkpoint whose network cannot be averaged with another.

    Args:
        path: the checkpoint.
        content: of it, see `scripts.checkpoints.read_classifier`.
        first: the other checkpoint.
        settings: of that.
    """
    known = {**checkpoints.DEFAULTS, **settings}
    for name in SHARED:
        if content[name] != known[name]:
            own, other = ("none" if value in (None, "") else value for value in (content[name], known[name]))
            raise InputError(
                f"{path} was trained with {name} {own}, and {first} with {other}; networks of an ensemble must have "
                f"the same {', '.join(SHARED)}"
            )


def about_ensemble(named: Sequence[tuple[str, Weights]]) -> Weights:
    """Return what the weights of an ensemble are; a fact in which its networks differ is None.

    ``weights_sha256`` is the hash of the members' hashes as hexadecimal, sorted, one a line.

    Args:
        named: path and facts of each.

    Raises:
        InputError: two of them are the same.
    """
    paths: dict[str, str] = {}
    for path, one in named:
        digest = one["weights_sha256"]
        if digest in paths:
            raise InputError(f"{paths[digest]} and {path} are the same network; name each once")
        paths[digest] = path
    hashes, members = sorted(paths), [one for _, one in named]
    return {
        "weights_sha256": text_sha256(hashes),
        "trained_on_phantom": any(one["trained_on_phantom"] for one in members),
        "epoch": common("epoch", members, None),
        "pos_weight": common("pos_weight", members, None),
        "training_precision": common("training_precision", members, None),
        "ensemble_sha256": hashes,
    }
