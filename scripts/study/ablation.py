"""The ``ablation`` command: what each idea buys, trained with several seeds and tested on the same patients."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from ..console import say
from ..datalists import require_both_classes
from ..errors import InputError, check_seed
from ..files import ROOT, check_folder, read_json
from ..tables import whole_number

DEFAULT_STUDY = "configs/ablation/second_network.json"
FIELDS = {"meaning": str, "against": str, "canal": bool, "configs": list, "overrides": dict, "ensemble_of": str}
"""What a variant of a study may say, and of which kind it is."""
Variants = dict[str, dict[str, Any]]


def ablation(
    cohort: str,
    *externals: str,
    out: str,
    study: str = "",
    variants: str = "",
    seeds: str = "0,1,2",
    canal_weights: str = "",
    overrides: str = "",
    doc: str = "",
) -> None:
    """Train variants of one protocol with several seeds, and compare each with the one it differs from in one thing.

    A study is a JSON file: configs/ablation/second_network.json (the crop, neighbours, tasks, augmentation, trunks) or
    configs/ablation/branches.json (where tasks part). Each training has a folder OUT/VARIANT/seed-N. Trainings that are
    finished are not repeated, and an interrupted one continues after its last epoch. All variants are trained with the
    first seed before the second begins. The intervals are over patients; the lowest and highest seed stand beside them.
    The held-out patients are scored by every variant: this shows what an idea is worth, and must choose no network.

    Args:
        cohort: folder with a datalist.json, or a datalist.
        externals: further cohorts, whose patients of section testing are scored, too.
        out: folder: ablation.csv, ablation.md and one folder per variant.
        study: the study's file; by default configs/ablation/second_network.json.
        variants: which of its variants to train, separated by commas; by default all.
        seeds: seeds of the trainings, separated by commas.
        canal_weights: localiser for the variants that need one; by default one is trained in OUT/canal.
        overrides: config keys of train.json as JSON, for all variants, e.g. '{"max_epochs": 5}'.
        doc: Markdown page whose part between the marks of this study is written anew.
    """
    path = Path(study) if study else ROOT / DEFAULT_STUDY
    common, known = read_study(path)
    chosen = choose(known, variants, path)
    numbers = read_seeds(seeds)
    from . import page
    from .checks import check_experiments
    from .experiments import BRIEF, CACHE, Experiment, datalist_path, overlays, parse_overrides, run_experiment
    from .variants import Trained, external_name, read_trained, score_external, train_localiser, write_tables

    names = [external_name(one) for one in externals]
    if len({*names, "testing", ""}) < len(names) + 2:
        raise InputError(f"external cohorts must have folders of different names, got {', '.join(names)}")
    for one in externals:
        require_both_classes(datalist_path(one), ["testing"])
    if doc:
        page.check_page(Path(doc), path.stem)
    changes, folder = parse_overrides(overrides), check_folder(out)
    trained = [name for name in chosen if "ensemble_of" not in chosen[name]]

    def planned(name: str, seed: int) -> Experiment:
        return Experiment(
            folder / name / f"seed-{seed}",
            [*overlays(""), *chosen[name].get("configs", [])],
            cohort,
            ("validation", "testing"),
            {
                **common,
                **chosen[name].get("overrides", {}),
                **({"canal_weights": canal_weights} if chosen[name].get("canal") else {}),
                **changes,
                "seed": seed,
            },
            BRIEF,
            folder / CACHE,
        )

    if any(chosen[name].get("canal") for name in trained) and not canal_weights:
        check_experiments([planned(name, numbers[0]) for name in trained if not chosen[name].get("canal")])
        canal_weights = train_localiser(folder / "canal", cohort, numbers[0])
    experiments = {(name, seed): planned(name, seed) for seed in numbers for name in trained}
    check_experiments(list(experiments.values()))
    trainings: dict[str, list[Trained]] = {name: [] for name in chosen}
    for number, ((name, seed), experiment) in enumerate(experiments.items(), start=1):
        say(f"{number} of {len(experiments)}: {name}, seed {seed}")
        run_experiment(experiment)
        for external in externals:
            score_external(experiment, external)
        trainings[name].append(read_trained(experiment, externals))
        if all(trainings[one] for one in trained):  # once a seed is done
            tables = write_tables(folder / "ablation", cohort, chosen, trainings)
    minutes = sum(one.minutes for several in trainings.values() for one in several)
    say(f"{len(experiments)} trainings took {minutes:.0f} min; tables: {folder / 'ablation.csv'}, ablation.md")
    if doc:
        options = {"--study": study, "--variants": variants, "--seeds": seeds, "--overrides": overrides}
        given = [f"{name} {shlex.quote(value)}" for name, value in options.items() if value]
        command = " ".join(["python -m scripts ablation", "COHORT", *names, "--out OUT", *given])
        page.write_between(Path(doc), path.stem, f"```\n{command}\n```\n\n{tables}\n{minutes:.0f} minutes of training")


def read_seeds(text: str) -> list[int]:
    """Read ``--seeds``.

    Raises:
        InputError: one of them is no seed, or comes twice.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    seeds = [whole_number(part) for part in parts]
    if not seeds or None in seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"--seeds must be whole numbers, each once, separated by commas; got {text[:64]!r}")
    for seed in seeds:
        check_seed(seed, "--seeds")
    return [seed for seed in seeds if seed is not None]


def read_study(path: Path) -> tuple[dict[str, Any], Variants]:
    """Read a study: the settings that all its variants share, and the variants by name.

    Raises:
        InputError: the file is missing or says something else.
    """
    if not path.is_file():
        raise InputError(f"no study at {path}; expected a file such as {DEFAULT_STUDY}")
    content = read_json(path)
    variants = content.get("variants") if isinstance(content, dict) else None
    if not isinstance(variants, dict) or not variants or not isinstance(content.get("common", {}), dict):
        raise InputError(f"{path} must hold 'common' and 'variants', as {DEFAULT_STUDY} does")
    for name, one in variants.items():
        if not isinstance(one, dict):
            raise InputError(f"{path}: variant {name} must be an object, got {type(one).__name__}")
        wrong = [key for key, value in one.items() if not isinstance(value, FIELDS.get(key, type(None)))]
        if wrong:
            raise InputError(f"{path}: variant {name} says {', '.join(wrong)}; it may say {', '.join(FIELDS)}")
        for key in ("against", "ensemble_of"):
            if key in one and (one[key] not in variants or one[key] == name):
                raise InputError(f"{path}: variant {name} has {key} {one[key]!r}, which is no other variant")
        if one.get("ensemble_of") and "ensemble_of" in variants[one["ensemble_of"]]:
            raise InputError(f"{path}: variant {name} is an ensemble of {one['ensemble_of']}, which is one itself")
    return content.get("common", {}), variants


def choose(known: Variants, names: str, path: Path) -> Variants:
    """Return the variants to train, with those that they are compared with.

    Raises:
        InputError: there is no such variant.
    """
    wanted = [part.strip() for part in names.split(",") if part.strip()] or list(known)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise InputError(f"--variants names {', '.join(unknown)}; {path} has {', '.join(known)}")
    needed, left = set(), list(wanted)
    while left:
        name = left.pop()
        if name not in needed:
            needed.add(name)
            left += [known[name][key] for key in ("against", "ensemble_of") if key in known[name]]
    return {name: one for name, one in known.items() if name in needed}
