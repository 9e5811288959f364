"""Who is in a phantom cohort: sites, regions, diagnoses, and people who come twice."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from csv_rows import read_rows

from scripts import records
from scripts.cohort.divisions import divide
from scripts.cohort.leaks import check_split
from scripts.phantom.cohort import make_cohort
from scripts.phantom.patients import Settings
from scripts.phantom.sampling import FIRST_RETURN, draw_site, first_visit, pathology, sample_patient
from scripts.phantom.scanners import SITES


@pytest.fixture(scope="module")
def people():
    return [sample_patient(Settings(seed=7), index) for index in range(60)]


def second_visits(people: list) -> list[tuple[tuple, tuple]]:
    """Pair each second visit with the first."""
    return [(people[patient.first], (patient, truth)) for patient, truth in people if patient.first != patient.index]


def conditional(pairs: set[tuple[str, str]]) -> dict[str, set[str]]:
    found = defaultdict(set)
    for given, value in pairs:
        found[given].add(value)
    return found


def test_region_is_no_function_of_site_nor_site_of_region(people):
    pairs = {(patient.site.name, patient.region) for patient, _ in people}
    regions_of, sites_of = conditional(pairs), conditional({(region, site) for site, region in pairs})
    assert set(regions_of) == {site.name for site in SITES}
    assert len(sites_of) == 3
    assert all(len(sites) > 1 for sites in sites_of.values())
    assert sum(len(regions) > 1 for regions in regions_of.values()) >= 2


def test_every_region_has_the_usual_scanner_and_one_has_the_shifted_one_too(people):
    shifted = conditional({(patient.region, str(patient.site.shifted)) for patient, _ in people})
    assert all("False" in kinds for kinds in shifted.values())
    assert sum("True" in kinds for kinds in shifted.values()) >= 2


def test_shares_of_sites_and_of_regions_at_each_site_add_up_to_one():
    assert sum(site.share for site in SITES) == pytest.approx(1)
    for site in SITES:
        assert sum(site.regions.values()) == sum(site.makers.values()) == pytest.approx(1)
    assert [site.shifted for site in SITES].count(True) == 1
    assert len({site.share for site in SITES}) > 1


def test_a_cohort_of_nine_holds_everybody_once_and_one_of_forty_somebody_twice():
    for seed in range(50):
        firsts = [first_visit(Settings(seed=seed), index) for index in range(40)]
        assert firsts[:FIRST_RETURN] == list(range(9))
        again = [(index, first) for index, first in enumerate(firsts) if index != first]
        assert 2 <= len(again) <= 3
        for index, first in again:
            assert first < index
            assert firsts[first] == first
            (free, site), (free_then, site_then) = (draw_site(Settings(seed=seed), one) for one in (index, first))
            assert (free, site.name != site_then.name) == (free_then, True)


def test_about_one_patient_in_fifteen_comes_again():
    firsts = [first_visit(Settings(seed=1), index) for index in range(600)]
    assert sum(first != index for index, first in enumerate(firsts)) == pytest.approx(600 / 15, abs=3)


def test_a_second_visit_shows_the_same_spine_and_lesions_on_another_scanner(people):
    pairs = second_visits(people)
    assert len(pairs) >= 3
    for (first, truth), (second, later) in pairs:
        for name in ("person", "region", "sex", "height_m", "anatomy", "lesions"):
            assert getattr(first, name) == getattr(second, name), name
        assert 0 <= second.age - first.age <= 2
        assert abs(second.weight_kg / first.weight_kg - 1) < 0.1
        assert first.patient_id != second.patient_id
        assert first.site.name != second.site.name
        assert first.scan != second.scan
        assert first.uid("study") != second.uid("study")
        assert any(row.label for row in truth) == any(row.label for row in later)
    makers = {(one.scan.vendor.manufacturer, other.scan.vendor.manufacturer) for (one, _), (other, _) in pairs}
    assert any(one != other for one, other in makers)


def test_who_somebody_is_cannot_be_read_off_the_patient_id_of_the_second_visit(people):
    for _, (second, _) in second_visits(people):
        assert re.search(r"\d+$", second.patient_id)[0] != re.search(r"\d+$", second.person)[0]
    persons = Counter(patient.person for patient, _ in people)
    assert sum(n > 1 for n in persons.values()) >= 3


def test_the_same_number_of_other_seeds_is_somebody_else_and_of_the_other_style_the_same_person():
    settings = Settings(seed=7)
    others = [sample_patient(replace(settings, **change), 3)[0] for change in ({}, {"seed": 8}, {"style": "gre"})]
    assert others[0].person != others[1].person
    assert others[0].person == others[2].person
    assert others[0].anatomy == others[2].anatomy


def test_pathology_follows_compression_and_symptoms(people):
    levels = Counter()
    for patient, truth in people:
        compressed = any(row.label for row in truth)
        healthy, ill = ("MildCompression", "DCM") if compressed else ("HC", "")
        expected = healthy if patient.mjoa == 18 else ill
        assert pathology(patient, truth) == expected
        levels[expected] += 1
    assert min(levels["HC"], levels[""], levels["DCM"]) > 4
    assert levels["MildCompression"] > 0


def test_most_of_a_cohort_fits_every_section_at_any_size_of_eight_and_more(people):
    """Sites and persons of the first 8, 12 and 40 patients; shares of the whole cohort hold."""
    for n in (8, 12, 40):
        sites = {patient.patient_id: patient.site.name for patient, _ in people[:n]}
        persons = {patient.patient_id: patient.person for patient, _ in people[:n]}
        (sections,) = divide(sites, "holdout", 0, 0.25, 0.25, 5, persons=persons).values()
        assert set(sections.values()) == set(records.SECTIONS)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("people") / "cohort"
    return make_cohort(folder, patients=40, seed=7, slices=2, matrix=64, distractors=False).parent


def test_the_tables_say_who_is_who_and_the_sections_keep_people_together(cohort):
    patients = read_rows(cohort / "patients.csv")
    visits = defaultdict(list)
    for row in patients:
        visits[row["person"]].append(row)
    again = [rows for rows in visits.values() if len(rows) > 1]
    assert len(again) >= 2
    assert all(len({row["site"] for row in rows}) > 1 for rows in again)
    assert {row["pathology"] for row in patients} <= {"HC", "MildCompression", "DCM", ""}
    content = json.loads((cohort / "datalist.json").read_text())
    section = {one["patient_id"]: name for name in records.SECTIONS for one in content[name]}
    person = {one["patient_id"]: one["person"] for name in records.SECTIONS for one in content[name]}
    assert person == {row["patient_id"]: row["person"] for row in patients}
    for rows in again:
        assert len({section[row["patient_id"]] for row in rows}) == 1
    assert check_split(str(cohort / "datalist.json")) == 0


def test_the_truth_of_both_visits_names_the_same_lesions(cohort):
    patients = {row["patient_id"]: row["person"] for row in read_rows(cohort / "patients.csv")}
    lesions = defaultdict(lambda: defaultdict(set))
    for row in read_rows(cohort / "truth.csv"):
        if row["label"] == "1":
            lesions[patients[row["patient_id"]]][row["patient_id"]].add((row["lesion"], row["side"]))
    twice = [list(found.values()) for found in lesions.values() if len(found) > 1]
    assert twice
    assert all(set.intersection(*found) for found in twice)
