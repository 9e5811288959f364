"""The ``trust`` command: all measures against limits that were fixed before, and a plain list of what failed."""

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
from ..files import read_json, write_json
from ..networks import CordCompressionNet
from ..runner import ROOT, prepare
from .experiments import drop_when_blurred, explain, planted, randomised, teach_marker
from .measures import Interval, edges, likeness, over_patients, pointing, precision, side_right
from .samples import Sample, cohort_with_twins, read_sample

Limits = Mapping[str, Any]


class Findings:
    """What was measured, against which limit, and whether it passed."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, name: str, found: Interval | None, above: float | None, below: float | None, text: str) -> None:
        """Add a measurement; the interval's end that matters is what is held against the limit.

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
        shown = "" if found is None else f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
        say(f"{verdict:12}  {name:36}  {shown:24}  {limit:8}  {text}")


def load(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Load a checkpoint with the network it belongs to."""
    content = checkpoints.read(path)
    missing = [name for name in checkpoints.SETTINGS if name not in content]
    if missing:
        raise InputError(f"{path} does not say its {', '.join(missing)}; expected a checkpoint of configs/train.json")
    network = CordCompressionNet(content["head"], architecture=content["architecture"])
    network.load_state_dict(content["model"])
    return network.eval().to("cuda" if torch.cuda.is_available() else "cpu"), content


def trust(
    run: str,
    weights: str = "",
    cohort: str = "",
    repeat: str = "",
    reproduce: str = "",
    layer: str = "layer4",
    out: str = "",
    limits: str = "configs/trust.json",
) -> int:
    """Measure whether the heat maps of a run can be believed, on held-out phantom patients; failures are printed.

    The truth is where a slice differs from its lesion-free twin. Writes OUT/trust.json.

    Args:
        run: folder of a run, e.g. of quickstart; its models/model.pt and phantom/ are the defaults of what follows.
        weights: the checkpoint.
        cohort: the phantom cohort the network was trained on; it is made again with twins under OUT.
        repeat: a checkpoint of the same kind trained from another seed (repeatability).
        reproduce: a checkpoint of another architecture (reproducibility).
        layer: layer of the heat map.
        out: folder of the results; default RUN/trust.
        limits: what is measured and what must be reached, fixed before the run.

    Returns:
        0 if everything passed, 1 if something failed or could not be measured.
    """
    folder = Path(run)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name that of a run, e.g. runs/quickstart")
    path = Path(weights) if weights else folder / "models" / "model.pt"
    target = Path(out) if out else folder / "trust"
    rules = read_json(Path(limits) if Path(limits).is_file() else ROOT / limits)
    prepare([str(target)])
    network, settings = load(path)
    with_twins = cohort_with_twins(Path(cohort) if cohort else folder / "phantom", target / "phantom_with_twins")
    count, seed = int(rules["slices"]), int(rules["seed"])
    test = read_sample(with_twins, "testing", settings, count, seed, rules["difference"])
    known = read_sample(with_twins, "validation", settings, count, seed, rules["difference"])
    profile = str(settings["profile"])
    logits, heat = explain(network, test.images, profile, layer)
    findings = Findings()
    n_patients = len(set(test.patients))
    say(
        f"heat maps of {layer}, {len(test.images)} held-out phantom slices of {n_patients} patients; "
        "mean over patients [95 % interval]"
    )
    polarity(findings, network, test, heat, profile, layer, rules)
    utility(findings, test, known, heat, rules)
    sanity(findings, network, test, heat, profile, layer, rules)
    comparisons(findings, test, heat, settings, layer, rules, repeat, reproduce)
    marker(findings, network, test, known, profile, layer, rules)
    failed = [row["measure"] for row in findings.rows if row["verdict"] != "passed"]
    facts = {"weights": str(path), "weights_sha256": checkpoints.sha256(path), "layer": layer, "limits": rules}
    about = {
        "n_slices": len(test.images),
        "n_patients": n_patients,
        "phantom": True,
        "mean_logit": float(logits.mean()),
    }
    write_json(target / "trust.json", {**facts, **about, "findings": findings.rows, "not_passed": failed})
    say(f"not passed: {', '.join(failed) if failed else 'nothing'}; {target / 'trust.json'}")
    say("A heat map is quality assurance, not localisation. These numbers speak of the phantom alone.")
    return 1 if failed else 0


def polarity(
    findings: Findings, network: nn.Module, test: Sample, heat: Any, profile: str, layer: str, rules: Limits
) -> None:
    """Hot places must speak for compression."""
    drop = drop_when_blurred(network, test.images, heat, profile, layer, rules["blurred_share"])
    found = over_patients(drop, test.patients)
    findings.add("polarity", found, rules["polarity"], None, "logit lost by blurring hot minus cold places")


def utility(findings: Findings, test: Sample, known: Sample, heat: Any, rules: Limits) -> None:
    """Heat must lie where the lesion changed the slice, better than maps that know nothing of the network."""
    lesion = (test.labels == 1) & test.truth.any((1, 2))
    slices, maps = test.where(lesion), heat[lesion]
    prior = known.truth[known.labels == 1].mean(0)
    rivals = {
        "mean-mask prior": np.broadcast_to(prior, maps.shape),
        "edge map": edges(slices.images),
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
    """Maps must change when the weights are replaced by random ones, from the output backwards."""
    for name, broken in randomised(network, rules["seed"]):
        alike = over_patients(likeness(heat, explain(broken, test.images, profile, layer)[1]), test.patients)
        findings.add(
            f"randomised down to {name}", alike, None, rules["randomised_ssim"], "SSIM with the map of the network"
        )


def comparisons(
    findings: Findings, test: Sample, heat: Any, settings: Limits, layer: str, rules: Limits, *others: str
) -> None:
    """Maps of networks trained alike must be alike."""
    for name, other, option in zip(
        ("repeatability", "reproducibility"), others, ("--repeat", "--reproduce"), strict=True
    ):
        if not other:
            findings.add(name, None, rules[name], None, f"needs a second checkpoint: {option} FILE")
            continue
        second, theirs = load(Path(other))
        same = all(theirs[one] == settings[one] for one in ("image_size", "crop_fraction"))
        if not same or (theirs["architecture"] == settings["architecture"]) != (name == "repeatability"):
            what = "the same" if name == "repeatability" else "another"
            raise InputError(f"{other}: {name} needs {what} architecture, and the same image_size and crop_fraction")
        alike = likeness(heat, explain(second, test.images, str(theirs["profile"]), layer)[1])
        findings.add(name, over_patients(alike, test.patients), rules[name], None, "SSIM of the maps of two networks")


def marker(
    findings: Findings, network: nn.Module, test: Sample, known: Sample, profile: str, layer: str, rules: Limits
) -> None:
    """A network that looks at a planted marker alone must be exposed by its maps."""
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
