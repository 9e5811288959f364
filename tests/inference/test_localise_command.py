"""The command localise, as far as it goes without a localiser."""

from __future__ import annotations

import pytest
from tiny_models import checkpoint

from scripts.__main__ import main
from scripts.inference.localise import report


@pytest.mark.parametrize(("option", "value"), [("--seed", "-1"), ("--side_mm", "0"), ("--side_mm", "-5")])
def test_an_impossible_option_is_refused_before_anything_is_read(tmp_path, option, value, capsys):
    assert main(["localise", str(tmp_path), "--weights", "none.pt", "--out", str(tmp_path / "out"), option, value]) == 2
    assert capsys.readouterr().err.startswith(f"error: {option}")


def test_results_of_an_earlier_run_do_not_stay_beside_those_of_the_last(tmp_path):
    for name in ("localised.csv", "localised.png", "localiser.json", "notes.txt"):
        (tmp_path / name).write_text("earlier")
    report(tmp_path, [], [], 60.0, 0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["failures.csv", "notes.txt"]


def test_a_network_without_a_localiser_is_refused_by_its_name(tmp_path, capsys):
    weights = checkpoint(tmp_path / "model.pt")
    assert main(["localise", str(tmp_path), "--weights", str(weights), "--out", str(tmp_path / "out")]) == 2
    assert "holds no localiser of the canal" in capsys.readouterr().err
