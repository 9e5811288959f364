"""Dividing patients into training, validation and testing; slices of one patient never part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from .errors import InputError


def split_patients(
    sites: Mapping[str, str], seed: int, holdout: float = 0.25, validation: float = 0.25
) -> dict[str, str]:
    """Assign every patient to a section, at the same shares within each site.

    Args:
        sites: site of each patient_id.
        seed: seed of the draw; the result does not depend on the order of ``sites``.
        holdout: share of each site's patients that goes to ``testing``.
        validation: share of each site's remaining patients that goes to ``validation``.

    Returns:
        ``training``, ``validation`` or ``testing`` for each patient_id.

    Source: Merali et al. 2021, Methods (75 % / 25 % of the patients of each site, then 75 % / 25 %).
    """
    sections = {}
    for site, patients in patients_by_site(sites).items():
        n_testing = round(holdout * len(patients))
        n_validation = round(validation * (len(patients) - n_testing))
        for rank, position in enumerate(shuffled(len(patients), seed, site)):
            section = "testing" if rank < n_testing else "validation" if rank < n_testing + n_validation else "training"
            sections[patients[position]] = section
    return sections


def fold_patients(sites: Mapping[str, str], seed: int, folds: int, validation: float = 0.25) -> list[dict[str, str]]:
    """Make grouped cross-validation: every patient is in ``testing`` once, each fold with the same mix of sites.

    Args:
        sites: site of each patient_id.
        seed: seed of the draw; the result does not depend on the order of ``sites``.
        folds: how many.
        validation: share of each site's remaining patients that goes to ``validation``.

    Returns:
        One assignment of patients to sections per fold.

    Raises:
        InputError: more folds than patients, or fewer than two.
    """
    if not 2 <= folds <= len(sites):
        raise InputError(f"expected 2 to {len(sites)} folds for {len(sites)} patients, got {folds}")
    by_site = patients_by_site(sites)
    fold_of = {}
    start = 0
    for site, patients in by_site.items():
        for rank, position in enumerate(shuffled(len(patients), seed, site)):
            fold_of[patients[position]] = (start + rank) % folds
        start += len(patients)  # the next site goes on where this one ended, so that folds stay of one size
    return [
        with_testing(sites, {name for name, own in fold_of.items() if own == fold}, seed, validation)
        for fold in range(folds)
    ]


def leave_site_out(sites: Mapping[str, str], seed: int, validation: float = 0.25) -> dict[str, dict[str, str]]:
    """Make one division per site, in which that site alone is ``testing``.

    Args:
        sites: site of each patient_id.
        seed: seed of the draw of ``validation``.
        validation: share of each other site's patients that goes to ``validation``.

    Raises:
        InputError: there are fewer than two sites.
    """
    by_site = patients_by_site(sites)
    if len(by_site) < 2:
        raise InputError(f"leaving one site out needs two sites, got only {', '.join(by_site) or 'none'}")
    return {site: with_testing(sites, set(patients), seed, validation) for site, patients in by_site.items()}


def with_testing(sites: Mapping[str, str], testing: set[str], seed: int, validation: float) -> dict[str, str]:
    """Assign given patients to ``testing`` and draw ``validation`` from the rest."""
    rest = {name: site for name, site in sites.items() if name not in testing}
    return split_patients(rest, seed, holdout=0.0, validation=validation) | dict.fromkeys(testing, "testing")


def patients_by_site(sites: Mapping[str, str]) -> dict[str, list[str]]:
    """List each site's patients; sites and patients in the order of their names."""
    by_site: dict[str, list[str]] = defaultdict(list)
    for patient_id in sorted(sites):
        by_site[sites[patient_id]].append(patient_id)
    return {site: by_site[site] for site in sorted(by_site)}


def shuffled(n: int, seed: int, site: str) -> list[int]:
    """Give the order in which the patients of a site are dealt."""
    return [int(position) for position in np.random.default_rng([seed, *site.encode()]).permutation(n)]


def rounding(sites: Mapping[str, str], sections: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Count each site's patients per section, and the shares that whole patients made of what was asked."""
    found = {}
    for site, patients in patients_by_site(sites).items():
        counts = {
            name: sum(sections[one] == name for one in patients) for name in ("training", "validation", "testing")
        }
        development = counts["training"] + counts["validation"]
        found[site] = {
            **counts,
            "holdout_share": round(counts["testing"] / len(patients), 4),
            "validation_share": round(counts["validation"] / development, 4) if development else 0.0,
        }
    return found
