"""Dividing patients into training, validation and testing; slices of one patient never part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np


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
    by_site: dict[str, list[str]] = defaultdict(list)
    for patient_id in sorted(sites):
        by_site[sites[patient_id]].append(patient_id)
    sections = {}
    for site in sorted(by_site):
        patients = by_site[site]
        order = np.random.default_rng([seed, *site.encode()]).permutation(len(patients))
        n_testing = round(holdout * len(patients))
        n_validation = round(validation * (len(patients) - n_testing))
        for rank, position in enumerate(order):
            section = "testing" if rank < n_testing else "validation" if rank < n_testing + n_validation else "training"
            sections[patients[position]] = section
    return sections
