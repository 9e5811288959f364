"""The first command of the README, shortened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import HOSTILE

from scripts.study.quickstart import quickstart, shown_patient


@pytest.mark.slow
def test_the_quickstart_goes_from_nothing_to_heat_maps_and_names_every_figure(tmp_path, capsys):
    quickstart(out=str(tmp_path / HOSTILE), patients=8, epochs=1)
    printed = capsys.readouterr().out
    named = [Path(line.strip()) for line in printed.partition("Look at:")[2].splitlines() if line.strip()]
    assert {path.name for path in named} >= {"training_curve.png", "roc.png", "heatmap.png", "slices.csv"}
    assert [path for path in named if not path.is_file()] == []
    metrics = json.loads((tmp_path / HOSTILE / "metrics.json").read_text())
    assert metrics["phantom"] is True
    assert f"the slice AUC is {metrics['auc']:.3f}" in printed
    assert "says nothing about real patients" in printed


def test_the_patient_it_shows_has_one_stack_and_the_most_compressed_slices():
    """A series of several stacks would give several results."""

    def slices(patient_id: str, labels: list[int], indices: list[int]) -> list[dict]:
        return [
            {"patient_id": patient_id, "label": label, "slice_index": index}
            for label, index in zip(labels, indices, strict=True)
        ]

    stacks = slices("two stacks", [1, 1, 1, 1], [0, 1, 0, 1])
    straight = [*slices("mild", [0, 1, 0], [0, 1, 2]), *slices("worse", [0, 1, 1], [0, 1, 2])]
    assert shown_patient([*stacks, *straight]) == "worse"
    assert shown_patient(stacks) == "two stacks"
