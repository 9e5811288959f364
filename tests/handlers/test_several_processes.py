"""Training and evaluation in several processes, under torchrun and gloo."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, SMALL
from csv_rows import read_rows

from scripts import checkpoints
from scripts.runner import run_config

pytestmark = pytest.mark.slow
TRAIN = {**SMALL, "max_epochs": 1, "min_epochs": 1, "learning_rate": 0.001}
EVALUATE = ["evaluate.json", "multi_gpu_evaluate.json"]


def datalist(cohort: Path, name: str, **counts: int) -> Path:
    """A datalist beside the cohort's own with fewer slices per section, evenly taken so that both labels stay."""
    content = json.loads((cohort / "datalist.json").read_text())
    for section, count in counts.items():
        entries = sorted(content[section], key=lambda entry: entry["label"])
        content[section] = [entries[i] for i in np.linspace(0, len(entries) - 1, count).round().astype(int)]
    (cohort / name).write_text(json.dumps(content))
    return cohort / name


def torchrun(processes: int, overlays: list[str], **flags: Any) -> subprocess.CompletedProcess[str]:
    files = str([str(ROOT / "configs" / name) for name in ("train.json", *overlays)])
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={processes}", "--standalone", "-m"]
    command += ["monai.bundle", "run", "--config_file", files, "--bundle_root", str(ROOT)]
    values = {**TRAIN, "weights": "null", **flags}
    command += [part for name, value in values.items() for part in (f"--{name}", str(value))]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize(
    ("processes", "slices", "batch_size"), [(2, 7, 4), (3, 5, 16)], ids=["odd slices", "more ranks than batches"]
)
def test_an_evaluation_equals_that_of_one_process(cohort, small_weights, tmp_path, processes, slices, batch_size):
    flags = {
        "dataset_dir": str(datalist(cohort, f"{slices}.json", testing=slices)),
        "ckpt_dir": str(small_weights.parent),
        "val_batch_size": batch_size,
    }
    ended = torchrun(processes, EVALUATE, **flags, output_dir=str(tmp_path / "together"))
    assert ended.returncode == 0, ended.stderr[-4000:]
    run_config(["train.json", "evaluate.json"], **{**TRAIN, **flags, "output_dir": str(tmp_path / "alone")})
    together, alone = (read_rows(tmp_path / name / "predictions.csv") for name in ("together", "alone"))
    names = ("patient_id", "series_uid", "sop_uid", "frame", "slice_index", "label")
    assert [[row[name] for name in names] for row in together] == [[row[name] for name in names] for row in alone]
    logits = [[float(row["logit"]) for row in table] for table in (together, alone)]
    assert np.allclose(*logits, atol=1e-5)
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("together", "alone")]
    hashes = [one.pop("predictions_sha256") for one in metrics]  # of logits that differ in their last digits
    assert all(len(one) == 64 for one in hashes)
    assert metrics[0] == metrics[1]
    maps = [np.load(tmp_path / name / "heatmaps.npz") for name in ("together", "alone")]
    assert list(maps[0]["sop_uid"]) == list(maps[1]["sop_uid"])
    assert np.allclose(maps[0]["raw"], maps[1]["raw"], atol=1e-5)
    events = [sorted((tmp_path / name / "tensorboard").glob("events*")) for name in ("together", "alone")]
    assert len(events[0]) == len(events[1])
    assert ended.stdout.count("predictions: ") == ended.stdout.count("panels: ") == 1
    assert ended.stderr.count("reading images: 100%") <= 1


def test_fewer_slices_than_processes_are_refused_by_every_process(cohort, small_weights, tmp_path):
    flags = {"dataset_dir": str(datalist(cohort, "one.json", testing=1)), "ckpt_dir": str(small_weights.parent)}
    ended = torchrun(2, EVALUATE, **flags, output_dir=str(tmp_path))
    assert ended.returncode != 0
    assert ended.stderr.count("error: 1 slice for 2 processes") == 2, ended.stderr[-4000:]
    assert 'Traceback (most recent call last):\n  File "' + str(ROOT) not in ended.stderr


def test_processes_with_unequal_numbers_of_validation_batches_train_together(cohort, tmp_path):
    """Of 5 validation slices in batches of 2, rank 0 has two batches and rank 1 has one."""
    flags = {
        "dataset_dir": str(datalist(cohort, "five.json", validation=5)),
        "output_dir": str(tmp_path),
        "ckpt_dir": str(tmp_path / "models"),
        "batch_size": 4,
        "val_batch_size": 2,
        "max_epochs": 2,
    }
    ended = torchrun(2, ["multi_gpu_train.json"], **flags)
    assert ended.returncode == 0, ended.stderr[-4000:]
    history = read_rows(tmp_path / "history.csv")
    assert len(history) == 2
    assert ended.stdout.count("epoch 1/2") == 1
    assert len(list((tmp_path / "tensorboard").glob("events*"))) == 2  # of trainer and validator
    # every rank validated with the running statistics that the checkpoint holds
    common = {name: flags[name] for name in ("dataset_dir", "ckpt_dir", "batch_size")}
    sections = {"validate__section": "validation", "output_dir": str(tmp_path / "alone")}
    run_config(["train.json", "evaluate.json"], **{**TRAIN, **common, **sections})
    table = read_rows(tmp_path / "alone" / "predictions_validation.csv")
    logits, labels = (torch.tensor([[float(row[name])] for row in table]) for name in ("logit", "label"))
    loss = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor([3.8]))(logits, labels)
    best = checkpoints.read(tmp_path / "models" / "model.pt")
    assert float(loss) == pytest.approx(best["validation"]["val_loss"], rel=1e-4)
