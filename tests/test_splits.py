"""Dividing patients."""

from __future__ import annotations

from collections import Counter

import pytest

from scripts.errors import InputError
from scripts.splits import fold_patients, leave_site_out, rounding, split_patients

SITES = {f"P{number:03}": f"site{number % 5}" for number in range(289)}


def test_each_site_gives_a_quarter_to_the_holdout_and_a_quarter_of_the_rest_to_validation():
    sections = split_patients(SITES, seed=0)
    for site in set(SITES.values()):
        own = Counter(sections[name] for name in SITES if SITES[name] == site)
        n = sum(own.values())
        assert own["testing"] == round(0.25 * n)
        assert own["validation"] == round(0.25 * (n - own["testing"]))


def test_the_order_of_patients_changes_nothing_and_the_seed_does():
    assert split_patients(SITES, 1) == split_patients(dict(reversed(SITES.items())), 1)
    assert split_patients(SITES, 1) != split_patients(SITES, 2)


def test_a_new_site_moves_no_patient_of_the_others():
    before = split_patients(SITES, 0)
    after = split_patients(SITES | {"new1": "another", "new2": "another"}, 0)
    assert {name: after[name] for name in SITES} == before


def test_folds_test_every_patient_once_and_mix_the_sites():
    folds = fold_patients(SITES, 0, 5)
    assert sorted(n for fold in folds for n, section in fold.items() if section == "testing") == sorted(SITES)
    sizes = [sum(section == "testing" for section in fold.values()) for fold in folds]
    assert max(sizes) - min(sizes) <= 1
    for fold in folds:
        assert set(fold) == set(SITES)
        per_site = Counter(SITES[name] for name, section in fold.items() if section == "testing")
        assert max(per_site.values()) - min(per_site.values()) <= 1


def test_leaving_a_site_out_tests_that_site_alone():
    for site, sections in leave_site_out(SITES, 0).items():
        assert {SITES[name] for name, section in sections.items() if section == "testing"} == {site}
        assert {name for name in SITES if SITES[name] == site} == {n for n, s in sections.items() if s == "testing"}


def test_rounding_says_what_became_of_the_shares():
    sites = dict.fromkeys("abcdef", "x")
    found = rounding(sites, split_patients(sites, 0))
    assert found == {
        "x": {"training": 3, "validation": 1, "testing": 2, "holdout_share": 0.3333, "validation_share": 0.25}
    }


@pytest.mark.parametrize("folds", [1, 3])
def test_folds_need_patients(folds):
    with pytest.raises(InputError, match="expected 2 to 2 folds"):
        fold_patients({"a": "x", "b": "x"}, 0, folds)


def test_leaving_a_site_out_needs_two():
    with pytest.raises(InputError, match="needs two sites, got only x"):
        leave_site_out({"a": "x", "b": "x"}, 0)
