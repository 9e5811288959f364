"""Precision: one setting for training, another for results, and what really ran is recorded."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, SMALL
from csv_rows import read_rows
from ignite.engine import Events
from torch import nn

from scripts import checkpoints, inferers
from scripts.errors import InputError
from scripts.inferers import PrecisionInferer, SeriesInferer, actual_precision, bfloat16_is_fast, running_in
from scripts.networks import CordCompressionNet
from scripts.runner import check_overrides, run_config


def flags() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


class Spy(nn.Module):
    """Records in which precision it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[torch.dtype, tuple[bool, bool]]] = []
        self.layer = nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output = self.layer(x)
        self.seen.append((output.dtype, flags()))
        return output


@pytest.mark.parametrize("missing", ["mkldnn", "avx512"])
def test_a_torch_without_these_kernels_runs_in_float32(monkeypatch, missing):
    """As torch for Apple silicon, which may be built without oneDNN."""

    class Nothing:
        def __getattr__(self, name: str) -> object:
            raise AttributeError(f"'_OpNamespace' 'mkldnn' object has no attribute '{name}'")

    if missing == "mkldnn":
        monkeypatch.setattr(torch.ops, "mkldnn", Nothing())
    else:
        monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert bfloat16_is_fast("cpu") is False
    assert actual_precision("auto", "cpu") == "fp32"


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
@pytest.mark.parametrize("before", [True, False])
def test_a_precision_holds_within_the_call_and_is_put_back(precision, dtype, before):
    network = Spy()
    with inferers.tensor_float_32(before):
        assert PrecisionInferer(precision)(torch.ones(2, 4), network).dtype == torch.float32
        assert network.seen == [(dtype, (False, False))]
        assert flags() == (before, before)
        with pytest.raises(RuntimeError, match="broken"), running_in(precision, "cpu"):
            raise RuntimeError("broken")
        assert flags() == (before, before)


def test_tf32_is_set_only_where_it_is_asked_for_and_exists():
    with inferers.tensor_float_32(True):
        assert flags() == (True, True)
    assert actual_precision("tf32", "cuda") == "tf32"
    assert actual_precision("tf32", "cpu") == "fp32"


def test_auto_is_bf16_where_the_hardware_multiplies_it(monkeypatch):
    for fast, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(inferers, "bfloat16_is_fast", lambda _, fast=fast: fast)
        assert actual_precision("auto", "cpu") == expected


def test_a_series_is_scored_in_its_precision_whatever_surrounds_it():
    torch.manual_seed(0)
    network, volume = CordCompressionNet([8], architecture="resnet18").eval(), torch.rand(1, 1, 64, 64, 3)
    expected = SeriesInferer()(volume, network)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(SeriesInferer()(volume, network), expected)
    rounded = SeriesInferer(precision="bf16")(volume, network)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, expected)
    assert torch.allclose(rounded[:, 0], expected[:, 0], atol=0.05)
    with pytest.raises(InputError, match="precision must be auto, bf16, fp32 or tf32, got 'double'"):
        SeriesInferer(precision="double")


@pytest.fixture(scope="module")
def bf16_run(cohort, tmp_path_factory) -> tuple[Path, list[tuple[bool, bool]]]:
    """A training in bf16 with its evaluation; TensorFloat-32 was on before, as cuDNN has it."""
    out = tmp_path_factory.mktemp("bf16")
    common = {**SMALL, "dataset_dir": str(cohort), "output_dir": str(out), "ckpt_dir": str(out / "models")}
    common |= {"precision": "bf16", "max_epochs": 1}
    parser = run_config(["train.json"], run_id="train#trainer", **common)
    trainer, seen = parser.get_parsed_content("train#trainer"), []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda _: seen.append(flags()))
    before = flags()
    trainer.run()
    assert flags() == before
    run_config(["train.json", "evaluate.json"], **common)
    return out, seen


def test_the_whole_training_step_runs_without_tf32(bf16_run):
    assert set(bf16_run[1]) == {(False, False)}


def test_results_name_the_precision_that_ran(bf16_run):
    out, _ = bf16_run
    assert checkpoints.read(out / "models" / "model.pt")["precision"] == "bf16"
    assert [row["precision"] for row in read_rows(out / "history.csv")] == ["bf16"]
    metrics = json.loads((out / "metrics.json").read_text())
    assert (metrics["precision"], metrics["training_precision"]) == ("fp32", "bf16")


def test_validation_is_as_exact_as_evaluation(bf16_run, cohort):
    """One row of a table must not mix a loss of bf16 with an AUC of fp32."""
    out, _ = bf16_run
    common = {**SMALL, "dataset_dir": str(cohort), "output_dir": str(out), "ckpt_dir": str(out / "models")}
    run_config(["train.json", "evaluate.json"], **common, validate__section="validation")
    table = read_rows(out / "predictions_validation.csv")
    logits, labels = (torch.tensor([[float(row[name])] for row in table]) for name in ("logit", "label"))
    loss = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([3.8]))(logits, labels)
    assert checkpoints.read(out / "models" / "model.pt")["validation"]["val_loss"] == pytest.approx(float(loss), 1e-6)


def test_inference_names_its_precision(axial_series, small_weights, tmp_path):
    settings = {name: value for name, value in SMALL.items() if name in checkpoints.SETTINGS}
    common = {"dataset_dir": str(axial_series), "ckpt_dir": str(small_weights.parent), **settings}
    logits = {}
    for precision in ("fp32", "bf16"):
        run_config(["inference.json"], **common, output_dir=str(tmp_path / precision), precision=precision)
        (summary,) = (tmp_path / precision).glob("*/summary.json")
        content = json.loads(summary.read_text())
        assert content["precision"] == precision
        assert content["training_precision"] is None
        logits[precision] = np.array([float(row["logit"]) for row in read_rows(summary.parent / "slices.csv")])
    assert 0 < np.abs(logits["fp32"] - logits["bf16"]).max() < 0.1


@pytest.mark.parametrize("value", ["false", "auto"])
def test_the_old_key_is_refused_with_what_to_write_instead(value, tmp_path):
    files = [str(ROOT / "configs" / "train.json")]
    message = "the config key amp is gone; write precision, .* score_precision"
    with pytest.raises(InputError, match=message):
        check_overrides(["--amp", value], files)
    overlay = tmp_path / "overlay.json"
    overlay.write_text(json.dumps({"amp": value}))
    with pytest.raises(InputError, match=message):
        check_overrides([], [*files, str(overlay)])
    with pytest.raises(InputError, match=message):
        run_config(["train.json"], amp=value)


def test_no_config_sets_a_precision_of_its_own():
    for path in (ROOT / "configs").rglob("*.json"):
        assert not re.search(r'"amp"|autocast|allow_tf32', path.read_text()), path
