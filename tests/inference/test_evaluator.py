"""Series share batches of slices; what a slice gets does not depend on its companions."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from csv_rows import read_rows
from hypothesis import given
from hypothesis import strategies as st

from scripts.inference.evaluator import SeriesBatches
from scripts.inference.predict import predict


def batches(counts: list[int | None], slices: int) -> SeriesBatches:
    """Group series of so many slices; None is a volume, whose slices are not counted before it is read."""
    series = [{"stack": None if n is None else SimpleNamespace(slices=[0] * n)} for n in counts]
    return SeriesBatches(SimpleNamespace(series=series), slices)  # type: ignore[arg-type]


@given(st.lists(st.integers(1, 40) | st.none()), st.integers(1, 32))
def test_every_series_comes_once_in_order_and_a_list_never_holds_more_than_a_batch_or_one_series(counts, slices):
    found = batches(counts, slices)
    assert [index for group in found for index in group] == list(range(len(counts)))
    assert len(found) == len(list(found))
    for group in found:
        assert len(group) == 1 or sum(counts[index] or slices + 1 for index in group) <= slices


def test_series_that_fit_share_a_batch():
    assert list(batches([5, 5, 6, 1, 30, 7, 9, None, 2], 16)) == [[0, 1, 2], [3], [4], [5, 6], [7], [8]]


def scores(folder: Path) -> dict[tuple[str, str], float]:
    return {(row["series_uid"], row["slice_index"]): float(row["logit"]) for row in rows_below(folder)}


def rows_below(folder: Path) -> list[dict[str, str]]:
    return [row for path in sorted(folder.glob("*/slices.csv")) for row in read_rows(path)]


def test_a_slice_gets_the_same_from_a_shared_batch_as_alone(cohort, small_weights, tmp_path):
    for batch_size in (1, 16):
        call = {"out": str(tmp_path / str(batch_size)), "weights": str(small_weights), "batch_size": batch_size}
        assert predict(*map(str, sorted((cohort / "dicom").iterdir())[:3]), **call) == 0
    alone, shared = scores(tmp_path / "1"), scores(tmp_path / "16")
    assert alone.keys() == shared.keys()
    assert np.allclose([shared[key] for key in alone], list(alone.values()), rtol=0, atol=1e-5)
    assert len({uid for uid, _ in alone}) == 3


@pytest.mark.parametrize("size", [1, 64])
def test_a_batch_holds_at_least_one_series(size):
    assert list(batches([70], size)) == [[0]]
