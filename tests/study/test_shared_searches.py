"""A search that several processes share, in a database of their choice."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import SMALL
from csv_rows import read_rows

from scripts.errors import InputError
from scripts.study import experiments, search

OVERRIDES = json.dumps({**{name: value for name, value in SMALL.items() if name != "head"}, "max_epochs": 1})


def test_processes_that_share_a_search_take_different_trials_and_the_last_to_end_has_all(cohort, tmp_path, monkeypatch):
    """The second process runs within the first trial of the first one."""
    url, begun = f"sqlite:///{tmp_path / 'shared.db'}", list[str]()

    def run(experiment: Any) -> dict[str, float]:
        begun.append(experiment.folder.name)
        if len(begun) == 1:
            search.search(str(cohort), str(tmp_path / "out"), trials=3, overrides=OVERRIDES, storage=url)
            assert len(read_rows(tmp_path / "out" / "search.csv")) == 2
        return {"val_loss": 0.5}

    monkeypatch.setattr(experiments, "run_experiment", run)
    search.search(str(cohort), str(tmp_path / "out"), trials=3, overrides=OVERRIDES, storage=url)
    assert begun == ["trial_000", "trial_001", "trial_002"]
    rows = read_rows(tmp_path / "out" / "search.csv")
    assert sorted(row["trial"] for row in rows) == begun
    assert len({row["learning_rate"] for row in rows}) == 3
    assert not (tmp_path / "out" / "search.db").exists()


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("nonsense", "expected a URL that Optuna opens"),
        ("nodatabase://user:secret@host/x", "nodatabase://.*cannot be opened"),
        ("sqlite:////nowhere/at/all.db", "all.db.*cannot be opened"),
    ],
)
def test_a_database_that_optuna_cannot_open_is_refused_without_its_password(cohort, tmp_path, storage, message):
    with pytest.raises(InputError, match=message) as caught:
        search.search(str(cohort), str(tmp_path / "out"), trials=1, overrides=OVERRIDES, storage=storage)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
