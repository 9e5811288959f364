"""Dividing patients into training, validation and testing; slices and visits of one person never part.

A person who was examined twice, perhaps at two hospitals, has two patient_ids. Where ``persons`` names them, the person
is divided: all visits go where the first of them by name goes, and the person counts once, at that visit's site.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from ..errors import InputError
from ..records import SECTIONS

SCHEMES = ("holdout", "folds", "leave-site-out", "external")


def divide(
    sites: Mapping[str, str],
    scheme: str,
    seed: int,
    holdout: float,
    validation: float,
    folds: int,
    persons: Mapping[str, str] | None = None,
) -> dict[str, dict[str, str]]:
    """Return the divisions of the patients by the ending of their file's name.

    With leave-site-out, a patient whose other visit is tested is in no section, see `with_testing`.

    Raises:
        InputError: the scheme does not fit the patients or the names of their sites.
    """
    if scheme == "folds":
        return {f"_fold{i + 1}": one for i, one in enumerate(fold_patients(sites, seed, folds, validation, persons))}
    if scheme == "leave-site-out":
        suffixes = file_suffixes(set(sites.values()))
        return dict(zip(suffixes, leave_site_out(sites, seed, validation, persons).values(), strict=True))
    if scheme == "external":
        return {"": dict.fromkeys(sites, "testing")}
    return {"": split_patients(sites, seed, holdout, validation, persons)}


def file_suffixes(sites: Iterable[str]) -> list[str]:
    """Return the ending of each site's file, in the order of the sites' names.

    Raises:
        InputError: two sites differ only in punctuation or case, so that their files would have one name.
    """
    found: dict[str, str] = {}
    written = []
    for site in sorted(sites):
        suffix = "".join(letter if letter.isalnum() else "-" for letter in site)
        first = found.setdefault(suffix.casefold(), site)
        if first != site:
            raise InputError(
                f"sites {first!r} and {site!r} differ only in punctuation or case, and their datalists would share a "
                "name; if they are one site, spell it alike in column site of the patients' table, else rename one"
            )
        written.append(f"_{suffix}")
    return written


def check_sections(
    divisions: Mapping[str, Mapping[str, str]], scheme: str, holdout: float, validation: float, force: bool
) -> list[str]:
    """Refuse a division that leaves nobody for a section that was asked for.

    Raises:
        InputError: the first such division, unless forced.
    """
    wanted = {
        "training": scheme != "external",
        "validation": scheme != "external" and validation > 0,
        "testing": scheme != "holdout" or holdout > 0,
    }
    notes = []
    for name, sections in divisions.items():
        n = Counter(sections.values())
        empty = [section for section in SECTIONS if wanted[section] and not n[section]]
        if empty:
            counts = ", ".join(f"{n[section]} {section}" for section in SECTIONS)
            who = f"{name.removeprefix('_')}: " if name else ""
            notes.append(f"{who}{len(sections)} patients leave nobody for {' and '.join(empty)} ({counts})")
    if notes and not force:
        raise InputError(
            f"{notes[0]}; label more patients, choose other shares (--validation 0 asks for none), or go on with "
            "--force true"
        )
    return notes


def split_patients(
    sites: Mapping[str, str],
    seed: int,
    holdout: float = 0.25,
    validation: float = 0.25,
    persons: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Assign every patient to a section, at the same shares within each site.

    Each site's share is rounded to whole patients, see `allocate` for sites too small for that.

    Args:
        sites: site of each patient_id.
        seed: seed of the draw; the result does not depend on the order of ``sites``.
        holdout: share of each site's patients that goes to ``testing``.
        validation: share of each site's remaining patients that goes to ``validation``.
        persons: who a patient_id is; one that is absent is a person of its own.

    Returns:
        ``training``, ``validation`` or ``testing`` for each patient_id.

    Source: Merali et al. 2021, Methods (75 % / 25 % of the patients of each site, then 75 % / 25 %).
    """
    sections = {}
    first = first_visits(sites, persons)
    by_site = patients_by_site({name: sites[name] for name in first.values()})
    testing = allocate({site: len(patients) for site, patients in by_site.items()}, holdout, seed)
    rest = {site: len(patients) - testing[site] for site, patients in by_site.items()}
    validating = allocate(rest, validation, seed)
    for site, patients in by_site.items():
        n_testing, n_validation = testing[site], validating[site]
        for rank, position in enumerate(shuffled(len(patients), seed, site)):
            section = "testing" if rank < n_testing else "validation" if rank < n_testing + n_validation else "training"
            sections[patients[position]] = section
    return {name: sections[own] for name, own in first.items()}


def allocate(sizes: Mapping[str, int], share: float, seed: int) -> dict[str, int]:
    """Return how many patients of each site make a share.

    Each site's share is rounded by itself, so that a new site changes nothing at the others. Where that leaves less
    than half of the share, as with two patients at every site, the whole share, at least one patient, is dealt to the
    sites by largest remainders, and the seed decides between equal ones. Either way each site is within one patient of
    its exact share; one patient at least is left for the other sections.

    Args:
        sizes: patients of each site.
        share: from 0 to below 1.
        seed: seed of the draw among sites with equal remainders.
    """
    rounded = {site: round(share * n) for site, n in sizes.items()}
    everyone = sum(sizes.values())
    if 2 * sum(rounded.values()) >= share * everyone:
        return rounded
    floors = {site: math.floor(share * n) for site, n in sizes.items()}
    lacking = min(max(1, round(share * everyone)), everyone - 1) - sum(floors.values())
    names = sorted(sizes)
    drawn = [names[position] for position in shuffled(len(names), seed, "")]
    nearest = sorted(drawn, key=lambda site: round(floors[site] - share * sizes[site], 9))  # equal ones stay as drawn
    return floors | {site: floors[site] + 1 for site in nearest[: max(lacking, 0)]}


def fold_patients(
    sites: Mapping[str, str], seed: int, folds: int, validation: float = 0.25, persons: Mapping[str, str] | None = None
) -> list[dict[str, str]]:
    """Make grouped cross-validation: every patient is in ``testing`` once, each fold with the same mix of sites.

    Args:
        sites: site of each patient_id.
        seed: seed of the draw; the result does not depend on the order of ``sites``.
        folds: how many.
        validation: share of each site's remaining patients that goes to ``validation``.
        persons: who a patient_id is; one that is absent is a person of its own.

    Returns:
        One assignment of patients to sections per fold.

    Raises:
        InputError: more folds than persons, or fewer than two.
    """
    first = first_visits(sites, persons)
    n_persons = len(set(first.values()))
    if not 2 <= folds <= n_persons:
        unit = "patients" if n_persons == len(sites) else "persons"
        raise InputError(f"expected 2 to {n_persons} folds for {n_persons} {unit}, got {folds}")
    by_site = patients_by_site({name: sites[name] for name in first.values()})
    fold_of = {}
    start = 0
    for site, patients in by_site.items():
        for rank, position in enumerate(shuffled(len(patients), seed, site)):
            fold_of[patients[position]] = (start + rank) % folds
        start += len(patients)  # the next site goes on where this one ended, so that folds stay of one size
    return [
        with_testing(sites, {name for name, own in first.items() if fold_of[own] == fold}, seed, validation, persons)
        for fold in range(folds)
    ]


def leave_site_out(
    sites: Mapping[str, str], seed: int, validation: float = 0.25, persons: Mapping[str, str] | None = None
) -> dict[str, dict[str, str]]:
    """Make one division per site, in which that site alone is ``testing``.

    Args:
        sites: site of each patient_id.
        seed: seed of the draw of ``validation``.
        validation: share of each other site's patients that goes to ``validation``.
        persons: who a patient_id is; one that is absent is a person of its own.

    Raises:
        InputError: there are fewer than two sites.
    """
    by_site = patients_by_site(sites)
    if len(by_site) < 2:
        raise InputError(f"leaving one site out needs two sites, got only {', '.join(by_site) or 'none'}")
    return {site: with_testing(sites, set(patients), seed, validation, persons) for site, patients in by_site.items()}


def with_testing(
    sites: Mapping[str, str], testing: set[str], seed: int, validation: float, persons: Mapping[str, str] | None
) -> dict[str, str]:
    """Assign given patients to ``testing`` and draw ``validation`` from the others.

    Other visits of the tested persons are in no section: a network must not train on whom it is tested on.
    """
    first = first_visits(sites, persons)
    tested = {first[name] for name in testing}
    rest = {name: site for name, site in sites.items() if first[name] not in tested}
    return split_patients(rest, seed, 0.0, validation, persons) | dict.fromkeys(testing, "testing")


def first_visits(sites: Mapping[str, str], persons: Mapping[str, str] | None) -> dict[str, str]:
    """Return for each patient_id the first, by name, of the same person; in the order of the names."""
    first: dict[str, str] = {}
    return {name: first.setdefault((persons or {}).get(name, name), name) for name in sorted(sites)}


def patients_by_site(sites: Mapping[str, str]) -> dict[str, list[str]]:
    """List each site's patients; sites and patients in the order of their names."""
    by_site: dict[str, list[str]] = defaultdict(list)
    for patient_id in sorted(sites):
        by_site[sites[patient_id]].append(patient_id)
    return {site: by_site[site] for site in sorted(by_site)}


def shuffled(n: int, seed: int, site: str) -> list[int]:
    """Return the order in which the patients of a site are dealt."""
    return [int(position) for position in np.random.default_rng([seed, *site.encode()]).permutation(n)]


def rounding(sites: Mapping[str, str], sections: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Count each site's patients per section, and the shares that whole patients made of what was asked."""
    found = {}
    for site, patients in patients_by_site(sites).items():
        counts = {name: sum(sections.get(one) == name for one in patients) for name in SECTIONS}
        development = counts["training"] + counts["validation"]
        found[site] = {
            **counts,
            "holdout_share": round(counts["testing"] / len(patients), 4),
            "validation_share": round(counts["validation"] / development, 4) if development else 0.0,
        }
    return found
