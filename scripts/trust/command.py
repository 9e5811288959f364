"""The ``trust`` command: all measures against limits that were fixed before, and a plain list of what failed."""

from __future__ import annotations

from pathlib import Path

from ..console import say
from ..datalists import require_both_classes
from ..errors import InputError, check_seed, check_whole
from ..files import check_folder, read_json, write_json


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
    """Test whether the heat maps of a run locate lesions, on held-out phantom patients. Prints the tests that fail.

    The true position of a lesion is where the slice differs from the same slice drawn without lesions. Writes
    OUT/trust.json.

    Args:
        run: folder of a run, e.g. of quickstart; its models/model.pt and phantom/ are the defaults of --weights
            and --cohort.
        weights: the checkpoint.
        cohort: the phantom cohort the network was trained on; it is made again under OUT, also without
            lesions.
        repeat: a checkpoint of the same kind trained from another seed (repeatability).
        reproduce: a checkpoint of another architecture (reproducibility).
        layer: layer of the heat map.
        out: folder of the results; default RUN/trust.
        limits: JSON file with the limits of the tests; fix them before you see results.

    Returns:
        0 if everything passed, 1 if something failed or could not be measured.
    """
    folder = Path(run)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name that of a run, e.g. runs/quickstart")
    from .. import checkpoints
    from ..files import ROOT
    from ..runner import prepare
    from .experiments import explain
    from .findings import Findings, comparisons, load_models, marker, polarity, sanity, utility
    from .samples import cohort_with_twins, read_sample, recipe_of_cohort

    path = Path(weights) if weights else folder / "models" / "model.pt"
    images = Path(cohort) if cohort else folder / "phantom"
    target = check_folder(out or folder / "trust")
    default = ROOT / "configs" / "trust.json"
    rules = read_limits(Path(limits) if Path(limits).is_file() else ROOT / limits, default)
    recipe_of_cohort(images)
    require_both_classes(images / "datalist.json", ("validation", "testing"))
    model, others = load_models(path, {"repeatability": repeat, "reproducibility": reproduce}, layer)
    prepare([str(target)])
    network, settings = model
    with_twins = cohort_with_twins(images, target / "phantom_with_twins")
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
    comparisons(findings, test, heat, layer, rules, others)
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


def read_limits(path: Path, default: Path) -> dict[str, float]:
    """Read what is measured and what must be reached.

    Args:
        path: a JSON file.
        default: the one that the bundle ships, which has every key.

    Raises:
        InputError: a key is missing or holds no number.
    """
    rules = read_json(path)
    if not isinstance(rules, dict):
        raise InputError(f"{path} must hold a JSON object such as configs/trust.json")
    names = [name for name in read_json(default) if name != "_desc_"]
    wrong = [name for name in names if type(rules.get(name)) not in (int, float)]
    if wrong:
        raise InputError(f"{path} holds no number for {', '.join(wrong)}; copy configs/trust.json and change it")
    check_whole(f"slices of {path}", rules["slices"], 2)
    check_whole(f"marker_steps of {path}", rules["marker_steps"], 1)
    check_seed(rules["seed"], f"seed of {path}")
    return rules
