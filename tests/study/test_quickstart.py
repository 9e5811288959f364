"""The first command of the README, shortened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.study.quickstart import quickstart


@pytest.mark.slow
def test_the_quickstart_goes_from_nothing_to_heat_maps_and_names_every_figure(tmp_path, capsys):
    quickstart(out=str(tmp_path / "run"), patients=8, epochs=1)
    printed = capsys.readouterr().out
    named = [Path(line.strip()) for line in printed.partition("Look at:")[2].splitlines() if line.strip()]
    assert {path.name for path in named} >= {"training_curve.png", "roc.png", "heatmap.png", "slices.csv"}
    assert [path for path in named if not path.is_file()] == []
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["phantom"] is True
    assert f"the slice AUC is {metrics['auc']:.3f}" in printed
    assert "says nothing about real patients" in printed
