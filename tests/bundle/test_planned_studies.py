"""Planned studies of simulated patients get what was wanted: a fast version of docs/simulation.md."""

from __future__ import annotations

import re

import numpy as np
import pytest
from conftest import ROOT

from bundle import planned_studies, populations
from bundle.simulate import simulate
from scripts.errors import InputError
from scripts.evaluation.designs import pilot_of
from scripts.evaluation.planning import target_by_pilot


@pytest.fixture(scope="module")
def truth():
    large = populations.draw(np.random.default_rng(0), 4000, populations.POPULATIONS["like the paper"])
    return large, pilot_of(large.labels, large.logits, large.patients)


def test_planned_intervals_are_as_wide_as_wanted_and_hold_the_truth(truth):
    targets = {one: target_by_pilot(one, truth[1].design, truth[1]) for one in planned_studies.WIDTHS}
    population = populations.POPULATIONS["like the paper"]
    found = list(planned_studies.widths(population, targets, truth[1], 60, 1))
    assert [one.reached for one in found] == pytest.approx([one.wanted for one in found], rel=0.12)
    assert min(one.held for one in found) > 0.85


def test_planned_tests_find_the_difference_about_as_often_as_wanted(truth, monkeypatch):
    monkeypatch.setattr(planned_studies, "PERMUTATIONS", 99)
    population = populations.POPULATIONS["like the paper"]
    found = list(planned_studies.powers(population, truth[1], truth[0], 60, 1))
    assert len(found) == 4
    assert all(0.62 < one.reached < 0.97 for one in found), found


def test_the_committed_page_says_that_plans_are_good():
    page = (ROOT / "docs" / "simulation.md").read_text(encoding="utf-8")
    part = page[page.index("<!-- plans: begin -->") : page.index("<!-- plans: end -->")]
    rows = re.findall(r"\| (\d+) \| ([\d.]+) \| ([\d.]+) \| \d+ % \|", part)
    assert len(rows) == 9
    assert all(float(reached) == pytest.approx(float(wanted), rel=0.06) for _, wanted, reached in rows)
    powers = [float(reached) for reached in re.findall(r"\| 80% \| ([\d.]+)% \|", part)]
    assert len(powers) == 8
    assert all(75 <= one <= 90 for one in powers)


def test_an_unknown_part_and_a_page_without_marks_are_refused(tmp_path):
    with pytest.raises(InputError, match="coverage or plans"):
        simulate(parts="all")
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(InputError, match="plans: begin"):
        simulate(doc=str(page), parts="plans")
