"""What ``--weights`` and ``--operating_points`` name, as settings of inference.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import InputError
from ..files import ROOT


def weights_paths(weights: str) -> list[str]:
    """Return the checkpoints that ``--weights`` names, by default that of a packed bundle.

    Raises:
        InputError: none is named, and the bundle has none.
    """
    from ..ensembles import named_checkpoints

    path = ROOT / "models" / "model.pt"
    if not weights and not path.is_file():
        raise InputError(
            f"no weights: this bundle has no {path}; name a checkpoint, e.g. --weights runs/train/models/model.pt"
        )
    return named_checkpoints(weights) if weights else [str(path)]


def weights_settings(
    paths: Sequence[str], heatmap_layer: str, heatmap_task: str = "compressed"
) -> tuple[dict[str, Any], str]:
    """Return the settings that the first checkpoint was trained with, and the ``weights_sha256`` of all.

    Raises:
        InputError: one is no checkpoint, does not fit the network it names, that network has no such layer or task,
            or they are no ensemble.
    """
    import torch

    from .. import checkpoints
    from ..ensembles import about_ensemble, check_member
    from ..heatmaps.grad_cam import split_features
    from ..tasks import task_named, tasks_of

    settings: dict[str, Any] = {}
    members = []
    for path in paths:
        content = checkpoints.read_classifier(path)
        settings = settings or {name: content[name] for name in (*checkpoints.SETTINGS, "canal_sha256")}
        check_member(path, content, paths[0], settings)
        with torch.device("meta"):  # shapes only
            network = checkpoints.network_of(content)
        network.load_state_dict(content["model"], assign=True)
        split_features(network, heatmap_layer)
        task_named(heatmap_task, tasks_of(content["tasks"]))
        members.append((path, checkpoints.about_weights(path, content)))
    about = about_ensemble(members) if len(members) > 1 else members[0][1]
    return {name: settings[name] for name in checkpoints.SETTINGS}, about["weights_sha256"]


def operating_point_settings(
    operating_points: str, name: str, weights_sha256: str, patient_rule: str
) -> dict[str, Any]:
    """Return thresholds and calibration of an operating point of these weights."""
    from ..report.operating_points_file import read_operating_point

    chosen = read_operating_point(operating_points, name, weights_sha256, patient_rule)
    return {
        "displayable_configs__threshold": chosen.threshold,
        "threshold_source": chosen.source,
        "calibration__slope": chosen.slope,
        "calibration__intercept": chosen.intercept,
        "patient_level__rule": chosen.patient_rule,
        "patient_level__threshold": chosen.patient_threshold,
        "patient_level__source": chosen.patient_source,
    }
