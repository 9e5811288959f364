"""The measurements of the trust report, each against a limit that was fixed before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .. import checkpoints
from ..console import say
from ..errors import InputError
from ..heatmaps.grad_cam import split_features
from .experiments import drop_when_blurred, explain, planted, randomised, teach_marker
from .measures import Interval, edges, likeness, over_patients, pointing, precision, side_right
from .samples import Sample

Model = tuple[nn.Module, dict[str, Any]]
"""A network and the checkpoint it was loaded from."""

COMPARISONS = {"repeatability": "--repeat", "reproducibility": "--reproduce"}
Limits = Mapping[str, Any]


class Findings:
    """Measurements, each with its limit and whether it passed."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, name: str, found: Interval | None, above: float | None, below: float | None, text: str) -> None:
        """Add a measurement and print it; the end of the interval that matters is compared with the limit.

        Args:
            name: what was measured.
            found: the result; None where it was not measured.
            above: the limit it must exceed, or None.
            below: the limit it must stay under, or None.
            text: what the number means, or why there is none.
        """
        if found is None:
            verdict = "not measured"
        elif not np.isfinite([found.value, found.low, found.high]).all():
            verdict = "undefined"
        else:
            passed = (above is None or found.low > above) and (below is None or found.high < below)
            verdict = "passed" if passed else "FAILED"
        limit = f"> {above:g}" if above is not None else f"< {below:g}"
        numbers = {} if found is None else {k: (v if np.isfinite(v) else None) for k, v in found._asdict().items()}
        self.rows.append({"measure": name, "verdict": verdict, "limit": limit, **numbers, "meaning": text})
        interval = "" if found is None else f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
        say(f"{verdict:12}  {name:36}  {interval:24}  {limit:8}  {text}")


def load_model(path: Path) -> Model:
    """Load a checkpoint with the network it belongs to.

    Raises:
        InputError: the file is missing or no checkpoint of this bundle.
    """
    content = checkpoints.read_classifier(path)
    if content["context"]:
        raise InputError(f"{path} sees neighbouring slices (context 1), which trust does not show it; test one without")
    network = checkpoints.network_with_weights(content)
    return network.eval().to("cuda" if torch.cuda.is_available() else "cpu"), content


def load_models(path: Path, others: Mapping[str, str], layer: str) -> tuple[Model, dict[str, Model | None]]:
    """Load the network whose maps are measured and those it is compared with.

    Args:
        path: the checkpoint.
        others: checkpoints by the name of the comparison; empty where there is none.
        layer: layer of the maps.

    Raises:
        InputError: a checkpoint that cannot be loaded or compared, or a network without the layer.
    """
    model = load_model(path)
    split_features(model[0], layer)
    loaded: dict[str, Model | None] = dict.fromkeys(others)
    for name, other in others.items():
        if not other:
            continue
        second = load_model(Path(other))
        fields = all(second[1][key] == model[1][key] for key in checkpoints.SEEN)
        same = second[1]["architecture"] == model[1]["architecture"]
        if not fields or same != (name == "repeatability"):
            what = "the same" if name == "repeatability" else "another"
            raise InputError(f"{other}: {name} needs {what} architecture, and the same {', '.join(checkpoints.SEEN)}")
        split_features(second[0], layer)
        loaded[name] = second
    return model, loaded


def polarity(
    findings: Findings, network: nn.Module, test: Sample, heat: Any, profile: str, layer: str, rules: Limits
) -> None:
    """Measure whether hot places speak for compression."""
    drop = drop_when_blurred(network, test.images, heat, profile, layer, rules["blurred_share"])
    found = over_patients(drop, test.patients)
    findings.add("polarity", found, rules["polarity"], None, "logit lost by blurring hot minus cold places")


def utility(findings: Findings, test: Sample, known: Sample, heat: Any, rules: Limits) -> None:
    """Measure whether heat lies where the lesion changed the slice, better than in maps without the network."""
    lesion = (test.labels == 1) & test.truth.any((1, 2))
    slices, maps = test.where(lesion), heat[lesion]
    prior = known.truth[known.labels == 1].mean(0)
    rivals = {
        "mean-mask prior": np.broadcast_to(prior, maps.shape),
        "edge map": edges(slices.pictures),
        "chance": np.random.default_rng(0).random(maps.shape),
    }
    own, reach = precision(maps, slices.truth), max(1, round(rules["reach"] * maps.shape[1]))
    pointed = pointing(maps, slices.truth, reach)
    for name, rival in rivals.items():
        gain = over_patients(own - precision(rival, slices.truth), slices.patients)
        findings.add(f"pixel AUPRC against {name}", gain, rules["utility"], None, "gain over it on lesion against twin")
    for name, rival in rivals.items():
        gain = over_patients(pointed - pointing(rival, slices.truth, reach), slices.patients)
        findings.add(f"pointing game against {name}", gain, rules["utility"], None, "gain in hits of the hottest pixel")
    lateral = slices.side != ""
    sides = over_patients(
        side_right(
            maps[lateral],
            slices.middle[lateral],
            slices.side[lateral] == "left",
            round(rules["side_reach"] * maps.shape[1]),
        ),
        slices.patients[lateral],
    )
    findings.add("side of lateral lesions", sides, rules["side"], None, "share with more heat on the lesion's side")


def sanity(
    findings: Findings, network: nn.Module, test: Sample, heat: Any, profile: str, layer: str, rules: Limits
) -> None:
    """Measure how maps change when the weights are replaced by random ones, from the output backwards."""
    for name, broken in randomised(network, rules["seed"]):
        similarity = over_patients(likeness(heat, explain(broken, test.images, profile, layer)[1]), test.patients)
        meaning = "SSIM with the map of the network"
        findings.add(f"randomised down to {name}", similarity, None, rules["randomised_ssim"], meaning)


def comparisons(
    findings: Findings, test: Sample, heat: Any, layer: str, rules: Limits, others: Mapping[str, Model | None]
) -> None:
    """Measure how similar the maps of other networks are.

    Args:
        findings: gets the measurements.
        test: held-out slices.
        heat: the maps of the network on them.
        layer: layer of the maps.
        rules: limits.
        others: networks by the name of the comparison; None where there is none.
    """
    for name, other in others.items():
        if other is None:
            option = COMPARISONS[name]
            findings.add(name, None, rules[name], None, f"needs a second checkpoint: {option} FILE")
            continue
        second, settings = other
        similarity = likeness(heat, explain(second, test.images, str(settings["profile"]), layer)[1])
        found = over_patients(similarity, test.patients)
        findings.add(name, found, rules[name], None, "SSIM of the maps of two networks")


def marker(
    findings: Findings, network: nn.Module, test: Sample, known: Sample, profile: str, layer: str, rules: Limits
) -> None:
    """Measure whether maps expose a network that looks at a planted marker alone."""
    share = rules["marker_share"]
    how = (int(rules["marker_steps"]), rules["marker_learning_rate"], rules["seed"])
    taught, right = teach_marker(network, known.images, profile, share, *how)
    if right < rules["marker_learnt"]:
        findings.add("planted marker exposed", None, rules["marker"], None, f"learnt on {100 * right:.0f} % only")
        return
    marked, mask = planted(test.images, share)
    heat = explain(taught, marked, profile, layer)[1]
    hits = pointing(heat, np.broadcast_to(mask, heat.shape), round(rules["marker_reach"] * mask.shape[0]))
    text = f"share with the hottest pixel at the marker; learnt on {100 * right:.0f} %"
    findings.add("planted marker exposed", over_patients(hits, test.patients), rules["marker"], None, text)
