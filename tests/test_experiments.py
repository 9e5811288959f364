"""Sweep, search and cross-validation: real, tiny trainings."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import weakref
from pathlib import Path

import pytest
from conftest import SMALL

from scripts import cross_validation, experiments, search, sweep
from scripts.datalists import SECTIONS
from scripts.errors import InputError
from scripts.runner import run_config

TINY = {**{name: value for name, value in SMALL.items() if name != "head"}, "max_epochs": 1, "min_epochs": 1}
OVERRIDES = json.dumps(TINY)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def trainings(monkeypatch) -> list[list[str]]:
    """Every config run from here on."""
    seen: list[list[str]] = []
    original = experiments.run_config

    def counting(files, **overrides):
        seen.append([Path(name).stem for name in files])
        return original(files, **overrides)

    monkeypatch.setattr(experiments, "run_config", counting)
    return seen


def test_a_sweep_compares_heads_by_validation_loss_and_carries_the_winner_to_the_holdout(cohort, tmp_path, trainings):
    sweep.sweep(str(cohort), out=str(tmp_path), heads="1,5", overrides=OVERRIDES)
    table = rows(tmp_path / "sweep.csv")
    # resnet18 has 512 features: 512 * 256 + 256 + 256 + 1, and another hidden layer of 256 * 256 + 256
    assert [(row["model"], int(row["head_parameters"])) for row in table] == [("1", 131_585), ("5", 197_377)]
    assert "synthetic phantom" in (tmp_path / "sweep.md").read_text()
    n_runs = len(trainings)
    sweep.sweep(str(cohort), out=str(tmp_path), heads="1,5", overrides=OVERRIDES, holdout=True, external=str(cohort))
    assert len(trainings) == n_runs  # nothing is trained again
    winner = min(table, key=lambda row: float(row["val_loss"]))["model"]
    weights = hashlib.sha256((tmp_path / f"model_{winner}" / "models" / "model.pt").read_bytes()).hexdigest()
    for name in ("winner", "winner_external"):
        assert json.loads((tmp_path / name / "metrics.json").read_text())["weights_sha256"] == weights
    assert sorted(path.parent.name for path in tmp_path.glob("*/predictions.csv")) == ["winner", "winner_external"]
    assert rows(tmp_path / "winner" / "predictions_validation.csv")


def test_an_experiment_leaves_no_network_behind(cohort, tmp_path):
    """Trainers and their handlers refer to each other; a search of a hundred trials would fill the memory."""
    left = []
    for number in range(2):
        common = {"dataset_dir": str(cohort), "output_dir": str(tmp_path / str(number)), "head": [4]}
        parser = run_config(["train.json"], run_id="train#trainer", **TINY, **common)
        left.append(weakref.ref(parser.get_parsed_content("network")))
        del parser
    assert left[0]() is None


def test_a_search_is_continued_where_it_stopped(cohort, tmp_path, trainings, monkeypatch):
    search.search(str(cohort), out=str(tmp_path), trials=1, overrides=OVERRIDES, seed=4)
    (first,) = rows(tmp_path / "search.csv")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(search, "run_experiment", interrupted)
        with pytest.raises(KeyboardInterrupt):
            search.search(str(cohort), out=str(tmp_path), trials=2, overrides=OVERRIDES, seed=4)
    search.search(str(cohort), out=str(tmp_path), trials=2, overrides=OVERRIDES, seed=4)
    table = rows(tmp_path / "search.csv")
    assert sorted(row["trial"] for row in table) == ["trial_000", "trial_001"]
    assert [row for row in table if row["trial"] == "trial_000"] == [first]
    assert [float(row["val_loss"]) for row in table] == sorted(float(row["val_loss"]) for row in table)
    assert sum("evaluate" not in files for files in trainings) == 2
    for row in table:
        assert 1e-6 <= float(row["learning_rate"]) <= 1e-2
        assert 0.5 <= float(row["beta1"]) <= 0.99


def test_cross_validation_averages_folds(cohort, tmp_path):
    shutil.copytree(cohort, tmp_path / "cohort")
    content = json.loads((tmp_path / "cohort" / "datalist.json").read_text())
    turned = dict(zip(SECTIONS, ("training", "testing", "validation"), strict=True))
    folds = [tmp_path / "cohort" / f"fold_{number}.json" for number in (1, 2)]
    folds[0].write_text(json.dumps(content))
    folds[1].write_text(json.dumps({**content, **{name: content[other] for name, other in turned.items()}}))
    cross_validation.cross_validate(*map(str, folds), out=str(tmp_path / "out"), overrides=OVERRIDES)
    first, second, mean = rows(tmp_path / "out" / "cross_validation.csv")
    average = (float(first["auc"]) + float(second["auc"])) / 2
    assert mean["auc"].startswith(f"{average:.3f} (")
    assert int(mean["n_slices"]) == int(first["n_slices"]) + int(second["n_slices"])


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda c, o: sweep.sweep(c, out=o, heads="1,9"), "heads are 1 to 7"),
        (lambda c, o: sweep.sweep(c, out=o, external=c), "--external is for the winner alone"),
        (lambda c, o: sweep.sweep(c, out=o, overrides="{max"), "must be a JSON object"),
        (lambda c, o: sweep.sweep(c, out=o, overrides='{"epochs": 3}'), "epochs, which configs/train.json does not"),
        (lambda c, o: sweep.sweep(c, out=o, overlay="none.json"), "overlay none.json does not exist"),
        (lambda c, o: search.search(c, out=o, trials=0), "at least 1, got 0"),
        (lambda c, o: cross_validation.cross_validate(c, out=o), "at least two folds"),
    ],
)
def test_a_mistake_is_answered_with_a_sentence(cohort, tmp_path, run, message):
    with pytest.raises(InputError, match=message):
        run(str(cohort), str(tmp_path))


def test_a_folder_of_another_experiment_is_not_continued(cohort, tmp_path):
    (tmp_path / "model_1").mkdir()
    (tmp_path / "model_1" / "experiment.json").write_text("{}")
    with pytest.raises(InputError, match="other settings or another cohort"):
        sweep.sweep(str(cohort), out=str(tmp_path), heads="1", overrides=OVERRIDES)
