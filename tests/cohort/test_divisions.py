"""Dividing patients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from scripts.cohort.divisions import allocate, divide, fold_patients, leave_site_out, rounding, split_patients
from scripts.errors import InputError

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


@pytest.mark.parametrize("per_site", [1, 2, 3, 5])
@pytest.mark.parametrize("n", [4, 7, 8, 16, 30])
def test_small_sites_fill_every_section_within_one_patient_of_each_share(n, per_site):
    sites = {f"P{number:02}": f"site{number // per_site:02}" for number in range(n)}
    sections = split_patients(sites, seed=n)
    assert set(sections.values()) == {"training", "validation", "testing"}
    for site in set(sites.values()):
        own = Counter(sections[name] for name in sites if sites[name] == site)
        total = sum(own.values())
        assert abs(own["testing"] - 0.25 * total) < 1
        assert abs(own["validation"] - 0.25 * (total - own["testing"])) < 1


def test_a_share_that_rounding_by_site_would_lose_is_dealt_by_largest_remainders():
    assert sum(allocate(dict.fromkeys("abcdefgh", 2), 0.25, seed=0).values()) == 4
    assert allocate({"a": 1, "b": 2, "c": 1}, 0.25, seed=0) == {"a": 0, "b": 1, "c": 0}
    assert allocate({"a": 5, "b": 6}, 0.25, seed=0) == {"a": 1, "b": 2}  # each rounded by itself
    assert allocate({"a": 1}, 0.25, seed=0) == {"a": 0}  # somebody is left to train on
    assert allocate({"a": 2, "b": 2}, 0, seed=0) == {"a": 0, "b": 0}
    chosen = {
        seed: [site for site, n in allocate(dict.fromkeys("abcd", 1), 0.25, seed).items() if n] for seed in range(9)
    }
    assert {len(sites) for sites in chosen.values()} == {1}
    assert len({site for sites in chosen.values() for site in sites}) > 1  # not always the first by name


def test_small_sites_do_not_depend_on_the_order_of_patients():
    sites = {f"P{number}": f"site{number // 2}" for number in range(16)}
    assert split_patients(sites, 1) == split_patients(dict(reversed(sites.items())), 1)


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


SCHEMES = {"holdout": split_patients, "folds": fold_patients, "leave-site-out": leave_site_out}


def visits(seed: int, n: int = 40) -> tuple[dict[str, str], dict[str, str]]:
    """Draw the site of each patient_id, and who they are: some have two or three patient_ids at any sites."""
    rng = np.random.default_rng(seed)
    names = [f"P{number:02}" for number in rng.permutation(n)]
    return (
        {name: f"site{rng.integers(4)}" for name in names},
        {name: f"person {rng.integers(0.8 * n)}" for name in names},
    )


def divisions_of(scheme: str, seed: int) -> Iterator[tuple[dict[str, str], dict[str, str], dict[str, str]]]:
    """Yield sites, persons and sections of every division of a drawn cohort."""
    sites, persons = visits(seed)
    for sections in divide(sites, scheme, seed, 0.25, 0.25, folds=5, persons=persons).values():
        yield sites, persons, sections


@pytest.mark.parametrize("scheme", SCHEMES)
def test_all_visits_of_a_person_are_in_one_section(scheme):
    for seed in range(40):
        for _, persons, sections in divisions_of(scheme, seed):
            found = {(persons[name], section) for name, section in sections.items()}
            assert len(found) == len({persons[name] for name in sections})
            assert set(sections.values()) == {"training", "validation", "testing"}


@pytest.mark.parametrize("scheme", ["holdout", "folds"])
def test_every_visit_has_a_section(scheme):
    for seed in range(40):
        for sites, _, sections in divisions_of(scheme, seed):
            assert set(sections) == set(sites)


def test_leaving_a_site_out_leaves_other_visits_of_its_patients_out_of_every_section():
    for seed in range(40):
        sites, persons = visits(seed)
        for site, sections in leave_site_out(sites, seed, persons=persons).items():
            tested = {persons[name] for name in sites if sites[name] == site}
            assert {name for name, section in sections.items() if section == "testing"} == {
                name for name in sites if sites[name] == site
            }
            assert set(sites) - set(sections) == {
                name for name in sites if persons[name] in tested and sites[name] != site
            }


@pytest.mark.parametrize("scheme", SCHEMES)
def test_persons_with_one_visit_each_change_nothing(scheme):
    alone = {name: f"person {name}" for name in SITES}
    for seed in range(5):
        one, other = (divide(SITES, scheme, seed, 0.25, 0.25, 5, persons=persons) for persons in (None, alone))
        assert one == other


def test_who_is_divided_does_not_depend_on_the_order_of_visits():
    sites, persons = visits(0)
    turned = dict(reversed(sites.items()))
    assert split_patients(sites, 1, persons=persons) == split_patients(turned, 1, persons=persons)


def test_no_more_folds_than_persons():
    with pytest.raises(InputError, match="expected 2 to 2 folds for 2 persons, got 3"):
        fold_patients(dict.fromkeys("abc", "x"), 0, 3, persons={"a": "Ann", "b": "Ben", "c": "Ann"})
