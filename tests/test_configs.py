"""Every shipped config, really run; shrunk by overrides only."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from conftest import ROOT, SMALL
from csv_rows import read_rows
from monai.bundle import ConfigParser, ConfigWorkflow

from scripts import checkpoints, datalists, slice_files
from scripts.errors import InputError, root_message
from scripts.records import slice_key
from scripts.report.settings import run_settings
from scripts.runner import check_overrides, run_config

TRAIN = {**SMALL, "max_epochs": 4, "min_epochs": 1, "learning_rate": 0.001}
OVERLAYS = sorted(str(path.relative_to(ROOT / "configs")) for path in (ROOT / "configs" / "heads").glob("*.json"))


def train(cohort: Path, out: Path, **overrides: Any) -> Path:
    folders = {"dataset_dir": str(cohort), "output_dir": str(out), "ckpt_dir": str(out / "models")}
    run_config(["train.json"], **{**TRAIN, **folders, **overrides})
    return out


@pytest.fixture(scope="module")
def trained(cohort, tmp_path_factory) -> Path:
    return train(cohort, tmp_path_factory.mktemp("trained"))


def test_training_leaves_checkpoints_history_curve_and_tensorboard(trained):
    epochs = [int(row["epoch"]) for row in read_rows(trained / "history.csv")]
    assert epochs == [1, 2, 3, 4]
    assert list((trained / "tensorboard").glob("events*"))
    assert (trained / "training_curve.png").read_bytes().startswith(b"\x89PNG")
    losses = [float(row["val_loss"]) for row in read_rows(trained / "history.csv")]
    best = checkpoints.read(trained / "models" / "model.pt")
    assert best["epoch"] == 1 + int(np.argmin(losses))
    assert (best["head"], best["image_size"], best["profile"]) == ([16], 64, "imagenet")
    assert best["trained_on"]["phantom"] is True
    assert best["trained_on"]["slices"] == 36


def test_a_resumed_run_ends_with_bit_identical_weights(cohort, trained, tmp_path):
    train(cohort, tmp_path, max_epochs=2)
    train(cohort, tmp_path, resume=True)
    for name in ("model.pt", "model_last.pt"):
        straight, resumed = (checkpoints.read(folder / "models" / name)["model"] for folder in (trained, tmp_path))
        assert all(torch.equal(value, resumed[key]) for key, value in straight.items())
    same = ("epoch", "train_loss", "val_loss", "val_auc")
    assert [[row[name] for name in same] for row in read_rows(tmp_path / "history.csv")] == [
        [row[name] for name in same] for row in read_rows(trained / "history.csv")
    ]


def test_weights_do_not_depend_on_the_number_of_workers(cohort, trained, tmp_path):
    train(cohort, tmp_path, num_workers=2)
    straight, other = (checkpoints.read(folder / "models" / "model_last.pt")["model"] for folder in (trained, tmp_path))
    assert all(torch.equal(value, other[key]) for key, value in straight.items())


@pytest.mark.skipif(os.name == "nt", reason="kills with signals")
def test_a_loader_worker_that_is_killed_ends_the_training_with_what_to_do(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(slice_files.ImageFiles, "__getitem__", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(InputError, match="process that loads images was killed") as caught:
        train(cohort, tmp_path, num_workers=1)
    assert "\n" not in str(caught.value)
    assert "fewer num_workers" in str(caught.value)
    assert "--resume True" in str(caught.value)
    # torch's other message, which comes alone
    message = "DataLoader worker (pid 7) is killed by signal: Killed. "
    assert root_message(RuntimeError(message)) == str(caught.value)


def test_training_stops_early_only_after_the_minimum_of_epochs(cohort, tmp_path):
    # at a learning rate of 0 nothing improves after the first epoch
    train(cohort, tmp_path, learning_rate=0.0, max_epochs=9, min_epochs=4, patience=2)
    assert len(read_rows(tmp_path / "history.csv")) == 4


def test_resuming_with_another_head_is_refused(cohort, trained):
    with pytest.raises(InputError, match=r"trained with head \[16\], but the config says \[8\]"):
        train(cohort, trained, resume=True, head=[8])


@pytest.fixture(scope="module")
def evaluated(cohort, trained) -> Path:
    folders = {"dataset_dir": str(cohort), "output_dir": str(trained), "ckpt_dir": str(trained / "models")}
    run_config(["train.json", "evaluate.json"], **TRAIN, **folders)
    return trained


def test_evaluation_writes_every_held_out_slice_once(cohort, evaluated):
    held_out = json.loads((cohort / "datalist.json").read_text())["testing"]
    predictions = read_rows(evaluated / "predictions.csv")
    assert [slice_key(row) for row in predictions] == [slice_key(entry) for entry in held_out]
    assert [int(row["label"]) for row in predictions] == [entry["label"] for entry in held_out]
    logits = np.array([float(row["logit"]) for row in predictions])
    assert np.allclose(1 / (1 + np.exp(-logits)), [float(row["probability"]) for row in predictions], atol=1e-12)
    metrics = json.loads((evaluated / "metrics.json").read_text())
    assert metrics["n_slices"] == len(held_out)
    assert metrics["phantom"] is True
    assert metrics["weights_sha256"] == checkpoints.sha256(evaluated / "models" / "model.pt")
    assert metrics["datalist_sha256"] == datalists.datalist_info(cohort / "datalist.json")["datalist_sha256"]
    assert metrics["model_version"] == json.loads((ROOT / "configs" / "metadata.json").read_text())["version"]
    assert metrics["pos_weight"] == 3.8
    assert metrics["versions"]["torch"] == torch.__version__.split("+")[0]
    assert (evaluated / "roc.png").is_file()


def test_an_evaluation_tells_the_settings_that_the_training_had(evaluated):
    rows = {row["setting"]: row["this"] for row in run_settings(evaluated)}
    assert "not recorded" not in rows.values()
    told = json.loads((evaluated / "metrics.json").read_text())["settings"]
    for name in ("image_size", "batch_size", "max_epochs", "min_epochs"):
        assert told[name] == TRAIN[name], name
    assert rows["augmentation"] == (
        "RandFlipBatchd: prob 0.5, spatial_axis 1; "
        "RandAffineBatchd: prob 0.8, rotate_range 0.175, scale_range 0.1, translate_range 3.2; "
        "RandGammaBatchd: prob 0.3, gamma 0.8 to 1.25; RandScaleBatchd: prob 0.5, factors 0.1"
    )
    assert rows["epochs run"] == str(len(read_rows(evaluated / "history.csv")))
    assert (rows["weights to begin with"], rows["learning rate"], rows["optimiser"]) == ("none", "0.001", "Adam")


def test_inference_scores_equal_evaluation_slice_by_slice(cohort, evaluated, tmp_path):
    held_out = json.loads((cohort / "datalist.json").read_text())["testing"]
    folders = sorted({str((cohort / entry["image"]).parent) for entry in held_out})
    run_config(
        ["inference.json"],
        dataset_dir=folders,
        output_dir=str(tmp_path),
        ckpt_dir=str(evaluated / "models"),
        precision="fp32",
        **{name: value for name, value in SMALL.items() if name in checkpoints.SETTINGS},
    )
    expected = {slice_key(row): float(row["logit"]) for row in read_rows(evaluated / "predictions.csv")}
    scored = {slice_key(row): float(row["logit"]) for path in tmp_path.glob("*/slices.csv") for row in read_rows(path)}
    assert scored.keys() == expected.keys()
    assert np.allclose([scored[uid] for uid in expected], list(expected.values()), atol=1e-4)
    for summary in map(json.loads, (path.read_text() for path in tmp_path.glob("*/summary.json"))):
        assert summary["research_use_only"] is True
        assert summary["trained_on_phantom"] is True


def test_heat_maps_lie_on_the_grid_of_the_series(axial_series, small_weights, tmp_path):
    from scripts.inference.predict import predict
    from scripts.readers import SeriesReader

    assert predict(str(axial_series), out=str(tmp_path), weights=str(small_weights)) == 0
    heatmap = nibabel.load(next(tmp_path.glob("*/heatmap.nii.gz")))
    pixels, meta = SeriesReader().get_data([str(axial_series)])
    assert heatmap.shape == pixels.shape
    assert np.allclose(heatmap.affine, meta["affine"], atol=1e-4)
    assert 0 <= heatmap.get_fdata().min() < heatmap.get_fdata().max() <= 1


@pytest.mark.parametrize("files", [["train.json"], ["train.json", "evaluate.json"], ["inference.json"]], ids=str)
def test_workflow_properties_are_complete(cohort, small_weights, tmp_path, files):
    workflow = ConfigWorkflow(
        config_file=[str(ROOT / "configs" / name) for name in files],
        workflow_type="inference" if files == ["inference.json"] else "train",
        logging_file=str(ROOT / "configs" / "logging.conf"),
        **{"bundle_root": str(ROOT), "dataset_dir": str(cohort), "output_dir": str(tmp_path)},
        **{"ckpt_dir": str(small_weights.parent), **SMALL},
    )
    workflow.initialize()
    assert workflow.check_properties() == []


@pytest.mark.parametrize("overlay", ["quickstart.json", "multi_gpu_train.json", "multi_gpu_evaluate.json", *OVERLAYS])
def test_every_overlay_changes_only_what_train_json_has(overlay):
    parser = ConfigParser()
    parser.read_config(str(ROOT / "configs" / "train.json"))
    changes = json.loads((ROOT / "configs" / overlay).read_text())
    assert {name for name in changes if name not in ("_desc_", "finalize")} <= set(parser.config)


@pytest.mark.parametrize("overlay", ["quickstart.json", *OVERLAYS])
def test_every_overlay_trains(cohort, tmp_path, overlay):
    small = {name: value for name, value in TRAIN.items() if name != "head"}
    folders = {"dataset_dir": str(cohort), "output_dir": str(tmp_path), "ckpt_dir": str(tmp_path / "models")}
    run_config(["train.json", overlay], **{**small, **folders, "max_epochs": 1})
    widths = json.loads((ROOT / "configs" / overlay).read_text()).get("head", [512, 512])
    assert checkpoints.read(tmp_path / "models" / "model.pt")["head"] == widths


def test_training_and_inference_preprocess_alike():
    training = json.loads((ROOT / "configs" / "train.json").read_text())
    inference = json.loads((ROOT / "configs" / "inference.json").read_text())
    inference["preprocessing"]["transforms"][0]["reader"] = inference["reader"]  # inference also tells it the stacks
    assert training["deterministic_transforms"] == inference["preprocessing"]["transforms"]
    for name in (*checkpoints.SETTINGS, "checkpoint_settings"):
        assert training[name] == inference[name]


def run_bundle(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "monai.bundle", "run", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=600)


def small_flags(**overrides: Any) -> list[str]:
    values = {**TRAIN, "max_epochs": 1, **overrides}
    return [part for name, value in values.items() for part in (f"--{name}", "null" if value is None else str(value))]


def test_the_runner_trains_from_any_directory_with_absolute_paths(cohort, tmp_path):
    ended = run_bundle(
        "training",
        *("--config_file", str(ROOT / "configs" / "train.json"), "--bundle_root", str(ROOT)),
        *("--dataset_dir", str(cohort), "--output_dir", str(tmp_path / "run"), "--ckpt_dir", str(tmp_path / "models")),
        *small_flags(),
        cwd=tmp_path,
    )
    assert ended.returncode == 0, ended.stderr
    assert "epoch 1/1" in ended.stdout
    assert {path.name for path in (tmp_path / "models").iterdir()} == {"model.pt", "model_last.pt"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"max_epoch": 3}, "unknown config key --max_epoch: .* did you mean --max_epochs"),
        ({"dataset_dir": "/nowhere"}, "dataset_dir /nowhere is no folder"),
        ({"output_dir": "/proc/run"}, "/proc/run cannot be written .*--output_dir"),
    ],
    ids=lambda value: "",
)
def test_the_runner_answers_a_mistake_with_a_sentence(tmp_path, flags, message):
    flags = {"dataset_dir": str(tmp_path), "output_dir": str(tmp_path / "run"), **flags}
    ended = run_bundle("training", "--config_file", "configs/train.json", *small_flags(**flags), cwd=ROOT)
    assert ended.returncode == 2
    assert not (tmp_path / "run").exists()
    assert re.search(f"^error: .*{message}", ended.stderr, re.M), ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_unknown_run_id_is_named(cohort, tmp_path):
    flags = small_flags(dataset_dir=str(cohort), output_dir=str(tmp_path), ckpt_dir=str(tmp_path))
    ended = run_bundle("trainin", "--config_file", "configs/train.json", *flags, cwd=ROOT)
    assert "error: run ID 'trainin' doesn't exist" in ended.stderr
    assert "`training`" in ended.stderr
    assert "Traceback" not in ended.stderr


def copied(cohort: Path, folder: Path) -> Path:
    shutil.copytree(cohort, folder)
    return folder


def test_one_class_in_training_is_refused(cohort, tmp_path):
    other = copied(cohort, tmp_path / "cohort")
    content = json.loads((other / "datalist.json").read_text())
    content["training"] = [entry for entry in content["training"] if entry["label"] == 0]
    (other / "datalist.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="training needs both classes, but 0 of"):
        train(other, tmp_path / "run")


def test_a_corrupt_file_in_the_middle_of_a_cohort_is_reported_and_left_out(cohort, tmp_path):
    other = copied(cohort, tmp_path / "cohort")
    held_out = json.loads((other / "datalist.json").read_text())["testing"]
    broken = other / held_out[2]["image"]
    broken.write_bytes(broken.read_bytes()[:3000])
    run = train(other, tmp_path / "run", max_epochs=1)
    folders = {"dataset_dir": str(other), "output_dir": str(tmp_path / "run"), "ckpt_dir": str(run / "models")}
    run_config(["train.json", "evaluate.json"], **TRAIN, **folders)
    (failure,) = read_rows(run / "failures.csv")
    assert failure["image"] == str(broken)
    assert len(read_rows(run / "predictions.csv")) == len(held_out) - 1
    assert json.loads((run / "metrics.json").read_text())["n_unreadable"] == 1


def test_a_missing_image_is_named_before_training(cohort, tmp_path):
    other = copied(cohort, tmp_path / "cohort")
    entry = json.loads((other / "datalist.json").read_text())["training"][0]
    (other / entry["image"]).unlink()
    with pytest.raises(InputError, match=f"do not exist, first {entry['image']}"):
        train(other, tmp_path / "run")


def test_weights_of_another_architecture_are_never_run(cohort, tmp_path, small_weights):
    folders = {"dataset_dir": str(cohort), "output_dir": str(tmp_path), "ckpt_dir": str(small_weights.parent)}
    with pytest.raises(InputError, match="trained with architecture resnet18, but the config says resnet34"):
        run_config(["train.json", "evaluate.json"], **{**TRAIN, **folders, "architecture": "resnet34"})


def torchrun(overlays: list[str], flags: dict[str, Any]) -> None:
    files = str([str(ROOT / "configs" / name) for name in ("train.json", *overlays)])
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", "-m"]
    command += ["monai.bundle", "run", "--config_file", files, "--bundle_root", str(ROOT)]
    command += [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert ended.returncode == 0, ended.stderr[-4000:]


@pytest.mark.slow
def test_two_processes_train_stop_and_evaluate_together(cohort, tmp_path):
    folders = {"dataset_dir": str(cohort), "output_dir": str(tmp_path), "ckpt_dir": str(tmp_path / "models")}
    # little improves at a learning rate of 0, so both processes must stop early, after the same epoch
    flags = {
        **TRAIN,
        **folders,
        "weights": "null",
        "learning_rate": 0.0,
        "max_epochs": 6,
        "min_epochs": 2,
        "patience": 1,
    }
    torchrun(["multi_gpu_train.json"], flags)
    losses = [float(row["val_loss"]) for row in read_rows(tmp_path / "history.csv")]
    worse = [epoch for epoch, loss in enumerate(losses, 1) if epoch > 1 and loss >= min(losses[: epoch - 1])]
    assert len(losses) == worse[0] < 6
    torchrun(["evaluate.json", "multi_gpu_evaluate.json"], flags)
    together = {slice_key(row): float(row["logit"]) for row in read_rows(tmp_path / "predictions.csv")}
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    run_config(["train.json", "evaluate.json"], **{**TRAIN, **folders})
    alone = {slice_key(row): float(row["logit"]) for row in read_rows(tmp_path / "predictions.csv")}
    assert together.keys() == alone.keys()
    assert np.allclose([together[uid] for uid in alone], list(alone.values()), atol=1e-5)
    assert metrics["auc"] == pytest.approx(json.loads((tmp_path / "metrics.json").read_text())["auc"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--resume", "false"], "--resume must be True or False, with a capital letter, got 'false'"),
        (["--resume=true"], "--resume must be True or False, with a capital letter, got 'true'"),
        (["--resume", "1"], "--resume must be True or False"),
        (["--max_epochs", "ten"], "--max_epochs must be a number, got 'ten'"),
        (["--learning_rate", "True"], "--learning_rate must be a number, got 'True'"),
        (["--batch_size"], "--batch_size must be a number, got ''"),
    ],
)
def test_a_value_that_monai_would_take_for_text_is_refused(words, message):
    with pytest.raises(InputError, match=re.escape(message)):
        check_overrides(words, [str(ROOT / "configs" / "train.json")])


@pytest.mark.parametrize(
    "words",
    [
        ["--resume", "False", "--max_epochs=3", "--learning_rate", "1e-4"],
        ["--weights", "null", "--dataset_dir", "true", "--batch_size", "$8 * 2", "--resume=@x", "--seed", "20240101"],
    ],
)
def test_values_of_the_kind_of_the_config_are_taken(words):
    check_overrides(words, [str(ROOT / "configs" / "train.json")])
