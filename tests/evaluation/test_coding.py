"""Trial coding, patient-level rules, disc levels."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.evaluation.coding import code_patient, runs
from scripts.evaluation.patient_rules import level_scores, patient_scores


def lengths(compressed, position, stack=None, thickness=3.0):
    stacks = np.zeros(len(compressed)) if stack is None else stack
    return [round(run.length_mm, 6) for run in runs(compressed, position, np.full(len(compressed), thickness), stacks)]


def test_a_run_is_the_distance_of_its_centres_plus_one_thickness():
    assert lengths([0, 1, 1, 1, 0, 1], [0, 4, 8, 12, 16, 20]) == [11.0, 3.0]


def test_a_run_breaks_at_a_gap_above_one_and_a_half_spacings():
    assert lengths([1, 1, 1, 1, 1], [0, 4, 9.9, 13.9, 17.9]) == [20.9]
    assert lengths([1, 1, 1, 1, 1], [0, 4, 10.1, 14.1, 18.1]) == [7.0, 11.0]


def test_a_run_breaks_at_the_border_of_a_stack():
    assert lengths([1, 1, 1, 1], [0, 4, 8, 12], stack=["a", "a", "b", "b"]) == [7.0, 7.0]


def test_runs_do_not_depend_on_the_order_of_files():
    order = np.array([3, 0, 5, 1, 4, 2])
    compressed, position = np.array([0, 1, 1, 0, 1, 1]), np.arange(6) * 4.0
    found = runs(compressed[order], position[order], np.full(6, 3.0), np.zeros(6))
    assert [order[list(run.slices)].tolist() for run in found] == [[1, 2], [4, 5]]


def test_a_slice_left_out_breaks_a_run():
    assert lengths([1, 1, 1, 1, 1, 1], [0, 4, 8, 16, 20, 24]) == [11.0, 11.0]


def test_without_geometry_runs_count_slices_and_have_no_millimetres():
    found = code_patient([1, 1, 0, 1], [1, 1, 0, 1], [0, 1, 2, 4], np.full(4, np.nan), np.zeros(4), millimetres=False)
    assert (found.n_runs, found.longest_run_slices) == (2, 2)
    assert np.isnan(found.longest_run_mm)


def test_a_patient_without_compression_codes_zero():
    found = code_patient([0, 0], [0.1, 0.2], [0, 4], [3, 3], [0, 0])
    assert (found.n_compressed, found.n_runs, found.longest_run_slices, found.longest_run_mm) == (0, 0, 0, 0.0)
    assert found.expected_count == pytest.approx(0.3)


def test_no_slices_make_no_runs():
    assert runs([], [], [], []) == []


def test_patient_rules_by_hand():
    labels = [0, 1, 0, 0, 0]
    reference, scores = patient_scores(labels, [1.0, 4.0, 2.0, 3.0, -5.0], [0.1, 0.9, 0.2, 0.3, 0.0], [7, 7, 7, 7, 9])
    assert reference.tolist() == [1, 0]
    assert {name: value.tolist() for name, value in scores.items()} == {
        "max": [4.0, -5.0],
        "top_3_mean": [3.0, -5.0],
        "expected_count": [pytest.approx(1.5), 0.0],
    }


def test_a_level_is_compressed_if_one_of_its_slices_is():
    labels, logits = [0, 1, 0, 0, 1], [0.5, -1.0, 2.0, 1.0, 3.0]
    found = level_scores(labels, logits, ["a", "a", "a", "b", "b"], ["C5", "C5", "C6", "C6", "C6"])
    assert [x.tolist() for x in found] == [[1, 0, 1], [0.5, 2.0, 3.0], ["a", "a", "b"], ["C5", "C6", "C6"]]


def test_the_stated_spacing_counts_where_the_slices_lie_much_further_apart():
    def found(position, stated):
        n = len(position)
        return [run.length_mm for run in runs([1] * n, position, [3.5] * n, [0] * n, nominal_mm=[stated] * n)]

    apart = np.arange(4) * 7.7
    assert found([0, 19.25], 3.85) == [3.5, 3.5]
    assert found([0, 19.25], np.nan) == pytest.approx([22.75])
    assert found(apart, 3.85) == [3.5] * 4
    assert found([0, 3.85, 7.7, 15.4, 23.1, 30.8, 38.5], 3.85) == pytest.approx([11.2, 3.5, 3.5, 3.5, 3.5])
    # the median stays the rule where it is what the header says, or nearly
    for stated in (3.85, 3.2, 4.4, 9.0, np.nan):
        assert found([0, 3.85, 7.7, 13.4, 17.25], stated) == pytest.approx([20.75])
        assert found([0, 3.85, 7.7, 13.5, 17.35], stated) == pytest.approx([11.2, 7.35])
