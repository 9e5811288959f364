"""Seeds of iterations, precision of the training step, and what history says."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import SMALL
from csv_rows import read_rows
from monai.data import DataLoader

from scripts import checkpoints
from scripts.datasets import SeededSampler
from scripts.handlers import History, SeedIterations
from scripts.runner import run_config

LARGE = [2**24, 20240101, 2**31, 2**32 - 1, 2**53 + 1, 2**63 - 1]


def torch_seed(seed: int, iteration: int) -> int:
    SeedIterations(seed)(SimpleNamespace(state=SimpleNamespace(iteration=iteration)))
    return torch.initial_seed()


@pytest.mark.parametrize("seed", [0, 1, 7, 2**24 - 1])
def test_small_seeds_keep_the_streams_they_had(seed):
    assert torch_seed(seed, 12) == (seed << 40) + 12


def test_every_seed_and_iteration_has_a_stream_of_its_own():
    rng = np.random.default_rng(0)
    seeds = [*range(40), *LARGE, *map(int, rng.integers(0, 2**63 - 1, 400)), *(1 << bit for bit in range(6, 63))]
    found = {torch_seed(seed, iteration) for seed in set(seeds) for iteration in (1, 2, 1000)}
    assert len(found) == 3 * len(set(seeds))


@pytest.mark.parametrize("seed", LARGE)
def test_a_large_seed_shuffles_and_augments(seed):
    sampler = SeededSampler(list(range(20)), seed=seed)
    sampler.set_epoch(3)
    order = list(sampler)
    assert sorted(index for *_, index in order) == list(range(20))
    assert {one[:2] for one in order} == {(seed, 3)}
    loaded = next(iter(DataLoader(list(range(20)), sampler=[index for *_, index in order], batch_size=20)))
    assert loaded.tolist() == [index for *_, index in order]


@pytest.mark.parametrize("seed", [20240101, 2**63 - 1])
def test_a_training_runs_with_a_large_seed_on_its_phantom(tmp_path, seed, monkeypatch):
    from scripts.phantom import cohort, default_cohort

    def small(*arguments, **options):
        return cohort.make_cohort(*arguments, **options, slices=4, matrix=64, distractors=False)

    monkeypatch.setattr(default_cohort, "make_cohort", small)
    folders = {"output_dir": str(tmp_path), "ckpt_dir": str(tmp_path / "models"), "phantom_patients": 8}
    run_config(["train.json"], **{**SMALL, **folders, "max_epochs": 1, "seed": seed})
    assert checkpoints.read(tmp_path / "models" / "model.pt")["seed"] == seed
    run_config(["train.json", "evaluate.json"], **{**SMALL, **folders, "seed": seed})
    assert (tmp_path / "panels.png").is_file()


def test_validation_of_one_class_has_no_auc_and_says_nothing_every_epoch(cohort, tmp_path, capfd):
    content = json.loads((cohort / "datalist.json").read_text())
    content["validation"] = [entry for entry in content["validation"] if entry["label"] == 0]
    (cohort / "one_class.json").write_text(json.dumps(content))
    folders = {"output_dir": str(tmp_path), "ckpt_dir": str(tmp_path / "models")}
    run_config(["train.json"], **{**SMALL, **folders, "dataset_dir": str(cohort / "one_class.json"), "max_epochs": 2})
    table = read_rows(tmp_path / "history.csv")
    assert [row["val_auc"] for row in table] == ["nan", "nan"]
    assert all(np.isfinite(float(row["val_loss"])) for row in table)
    assert "all 0" not in capfd.readouterr().err


@pytest.mark.parametrize(("loss", "auc"), [(float("nan"), "nan"), (float("inf"), "nan"), (0.5, "0.75")])
def test_an_epoch_without_a_finite_loss_has_no_other_metrics(tmp_path, loss, auc):
    validated = SimpleNamespace(metrics={"val_loss": loss, "val_auc": 0.75}, key_metric_name="val_loss")
    history = History(SimpleNamespace(state=validated), str(tmp_path), "fp32", "cpu")
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.1}])
    history(SimpleNamespace(state=SimpleNamespace(epoch=1, max_epochs=1, history=[]), optimizer=optimizer))
    assert [(row["val_loss"], row["val_auc"]) for row in read_rows(tmp_path / "history.csv")] == [(str(loss), auc)]
