"""A run over many series: each header read once, one bad series never stops the rest, one end."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from csv_rows import read_rows
from ignite.engine import Engine, Events
from tiny_models import LOADED, SETTINGS, Brightness, checkpoint, write_t2
from torch import nn

from scripts import readers
from scripts.dicom import sources
from scripts.errors import InputError
from scripts.inference import writing
from scripts.inference.dicom_results import sources as dicom_results
from scripts.inference.predict import predict
from scripts.runner import run_config
from scripts.tables import unguard


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    return str(checkpoint(tmp_path_factory.mktemp("weights") / "model.pt"))


def write_patients(folder: Path, n: int) -> None:
    for number in range(n):
        write_t2(folder / str(number), patient=f"P{number}", series=f"T2 {number}")


def test_a_run_reads_the_header_of_every_file_once(tmp_path, weights, monkeypatch):
    write_patients(tmp_path / "in", 3)
    counted: Counter[str] = Counter()
    read_frames = sources.read_frames

    def counting(path: str, *args: Any) -> Any:
        counted[str(path)] += 1
        return read_frames(path, *args)

    monkeypatch.setattr(sources, "read_frames", counting)
    call = {"out": str(tmp_path / "out"), "weights": weights, "overlays": True, "dicom": True}
    assert predict(str(tmp_path / "in"), **call) == 0
    assert len(list((tmp_path / "out").glob("*/dicom/*.dcm"))) == 3 * 5
    assert counted == {str(path): 1 for path in (tmp_path / "in").glob("*/*")}


class RaisesIn(nn.Module):
    """The mean of small patches, except in some calls, counted from 1."""

    def __init__(self, *numbers: int) -> None:
        super().__init__()
        self.numbers, self.calls = numbers, 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.calls in self.numbers:
            raise RuntimeError("the network broke")
        return nn.functional.avg_pool2d(image, 8)


class FailsForOneSeries(Brightness):
    """A network that breaks on P0 to P3 together, and when each is tried alone, on the second."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential()
        self.features.add_module("layer4", RaisesIn(1, 3))
        nn.init.zeros_(self.head.bias)


class PostprocessingFails:
    """A transform that breaks for one patient."""

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        if data["patient_id"] == "P4":
            raise ValueError("the postprocessing broke")
        return data


class CountsEnds:
    """A user's own handler."""

    def __init__(self) -> None:
        self.n = 0

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, _: Engine) -> None:
        self.n += 1


def run_with_broken_series(folder: Path, out: Path, num_workers: int, monkeypatch: Any) -> CountsEnds:
    """Run inference.json on six patients: P1 cannot be loaded, P2, P3 and P4 break what comes after loading."""
    write_json = writing.write_json

    def fails_for_one(path: Path, content: Any) -> None:
        if content["patient_id"] == "P3":
            raise OSError("no space left")
        write_json(path, content)

    monkeypatch.setattr(writing, "write_json", fails_for_one)
    postprocessing = json.loads((ROOT / "configs" / "inference.json").read_text())["postprocessing"]
    postprocessing["transforms"].append({"_target_": "test_series_runs.PostprocessingFails"})
    parser = run_config(
        ["inference.json"],
        dataset_dir=str(folder),
        output_dir=str(out),
        network={"_target_": "test_series_runs.FailsForOneSeries"},
        checkpoint={"weights_sha256": "0" * 64, "trained_on_phantom": False, "epoch": None, "pos_weight": None},
        loaded=LOADED,
        precision="fp32",
        postprocessing=postprocessing,
        handlers=["@writer", {"_target_": "test_series_runs.CountsEnds"}],
        dataloader__num_workers=num_workers,
        **{**SETTINGS, "profile": "paper"},
    )
    return parser.get_parsed_content("handlers")[1]


def test_overlays_and_dicom_results_are_drawn_from_one_decoding(tmp_path, weights, monkeypatch):
    write_patients(tmp_path / "in", 2)
    drawn: list[str] = []
    monkeypatch.setattr(writing, "decode", lambda stack: (drawn.append(stack.series_uid), readers.decode(stack))[1])
    assert predict(str(tmp_path / "in"), out=str(tmp_path / "out"), weights=weights, overlays=True, dicom=True) == 0
    assert (
        len(list((tmp_path / "out").glob("*/overlays/*.png")))
        == len(list((tmp_path / "out").glob("*/dicom/*.dcm"))) - 2
    )
    assert len(drawn) == len(set(drawn)) == 2


@pytest.mark.timeout(120)
def test_a_series_that_breaks_anything_is_recorded_and_the_rest_go_on_in_any_number_of_loader_processes(
    tmp_path, monkeypatch
):
    write_patients(tmp_path / "in", 6)
    broken = sorted((tmp_path / "in" / "1").iterdir())[0]
    broken.write_bytes(broken.read_bytes()[:-5000])
    tables = []
    for num_workers in (0, 2):
        out = tmp_path / f"out{num_workers}"
        assert run_with_broken_series(tmp_path / "in", out, num_workers, monkeypatch).n == 1
        scored = [row["patient_id"] for row in read_rows(out / "series.csv") if row["status"] == "scored"]
        assert scored == ["P0", "P5"]
        failures = {Path(row["input"]).name: row["reason"] for row in read_rows(out / "failures.csv")}
        assert set(failures) == {"1", "2", "3", "4"}
        assert failures["2"] == "the network broke"
        assert "no space left" in failures["3"]
        assert failures["4"] == "the postprocessing broke"
        tables.append(
            {path.relative_to(out): path.read_text().replace(out.name, "OUT") for path in sorted(out.rglob("*.csv"))}
        )
    assert tables[0] == tables[1]


def test_a_run_with_nothing_to_score_ends_once_and_writes_its_tables(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("no image")
    parser = run_config(
        ["inference.json"],
        dataset_dir=str(tmp_path / "in"),
        output_dir=str(tmp_path / "out"),
        network={"_target_": "test_series_runs.Brightness"},
        checkpoint={"weights_sha256": "0" * 64, "trained_on_phantom": False, "epoch": None, "pos_weight": None},
        loaded=LOADED,
        precision="fp32",
        handlers=["@writer", {"_target_": "test_series_runs.CountsEnds"}],
        **{**SETTINGS, "profile": "paper"},
    )
    assert parser.get_parsed_content("handlers")[1].n == 1
    assert [row["status"] for row in read_rows(tmp_path / "out" / "failures.csv")] == ["no image"]


def test_resume_reads_no_pixels_of_what_is_finished(tmp_path, weights, monkeypatch):
    write_patients(tmp_path / "in", 2)
    call = {"out": str(tmp_path / "out"), "weights": weights}
    assert predict(str(tmp_path / "in" / "0"), **call) == 0
    decoded = []
    decode = readers.decode
    monkeypatch.setattr(readers, "decode", lambda stack: (decoded.append(stack.patient_id), decode(stack))[1])
    assert predict(str(tmp_path / "in"), **call, resume=True) == 0
    assert decoded == ["P1"]


def test_an_input_whose_name_looks_like_an_expression_is_a_name(tmp_path, weights, monkeypatch):
    for name in ("$1 + 1", "@bundle_root"):
        write_t2(tmp_path / name, patient=name, series=name)
    monkeypatch.chdir(tmp_path)
    assert predict("$1 + 1", "@bundle_root", out=str(tmp_path / "out"), weights=weights) == 0
    found = {unguard(row["patient_id"]) for row in read_rows(tmp_path / "out" / "series.csv")}
    assert found == {"$1 + 1", "@bundle_root"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": ["nowhere"]}, "nowhere does not exist"),
        ({"weights": "nothing.pt"}, r"no checkpoint at nothing\.pt"),
        ({"operating_points": "nothing.json"}, r"nothing\.json cannot be read"),
        ({"heatmap_layer": "layer9"}, r"layer must be one of .*layer4, got 'layer9'"),
        ({"out": "/proc/results"}, "/proc/results cannot be written .*--out"),
        ({"dicom": True}, "need highdicom"),
    ],
    ids=lambda value: "",
)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_mistake_is_found_before_any_file_is_read(tmp_path, weights, monkeypatch, arguments, message, workers):
    write_t2(tmp_path / "in")
    monkeypatch.setattr(dicom_results, "HAS_HIGHDICOM", False)
    monkeypatch.setattr(sources, "read_frames", lambda *_: pytest.fail("a header was read first"))
    given = {"inputs": [str(tmp_path / "in")], "out": str(tmp_path / "out"), "weights": weights, **arguments}
    with pytest.raises(InputError, match=message):
        predict(*given.pop("inputs"), **given, workers=workers)
    assert not list(tmp_path.glob("out/*"))


def test_a_stack_ends_a_run_of_compressed_slices():
    from scripts.inference.results import series_findings

    def stack(calls: list[int | None], first_mm: float) -> list[Any]:
        return [
            {
                "compressed": call,
                "probability": None if call is None else 0.25 + call / 2,
                "status": "not evaluable: blank slice" if call is None else "scored",
                "position_mm": first_mm + 3.0 * index,
                "thickness_mm": 3.0,
                "logit": None if call is None else 0.5 + call,
                "cord_ap_mm": None if call is None else 7.0 - call - 0.5 * index,
                "mscc_percent": None if index else 10.0 * (call or 0),
            }
            for index, call in enumerate(calls)
        ]

    lower, upper = stack([0, 1, 1], 0.0), stack([1, 1, 1, None, 1, 1], 9.0)
    found = series_findings([lower, upper])
    assert found == {
        "n_slices": 9,
        "n_evaluated": 8,
        "n_compressed": 7,
        "longest_run_slices": 3,
        "longest_run_mm": 9.0,
        "max_probability": 0.75,
        "smallest_cord_ap_mm": 3.5,
        "largest_mscc_percent": 10.0,
        "patient_score": 1.5,
        "patient_compressed": None,
    }
    assert series_findings([lower])["longest_run_slices"] == 2
    assert np.isclose(series_findings([stack([None], 0.0)])["longest_run_mm"], 0.0)
    assert series_findings([stack([None], 0.0)])["max_probability"] is None


class InterruptedAtThird(Brightness):
    """A network during whose third series the user presses Ctrl-C."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.calls == 3:
            raise KeyboardInterrupt
        return super().forward(image)


def test_what_was_scored_before_an_interruption_is_whole_when_the_run_has_ended(tmp_path, monkeypatch):
    write_patients(tmp_path / "in", 4)
    write_json = writing.write_json

    def slow(path: Path, content: Any) -> None:
        time.sleep(0.5)
        write_json(path, content)

    monkeypatch.setattr(writing, "write_json", slow)
    with pytest.raises(KeyboardInterrupt):
        run_config(
            ["inference.json"],
            dataset_dir=str(tmp_path / "in"),
            output_dir=str(tmp_path / "out"),
            network={"_target_": "test_series_runs.InterruptedAtThird"},
            checkpoint={"weights_sha256": "0" * 64, "trained_on_phantom": False, "epoch": None, "pos_weight": None},
            loaded=LOADED,
            precision="fp32",
            inferer__heatmap=False,
            batch_size=4,  # the slices of a series
            **{**SETTINGS, "profile": "paper"},
        )
    written = [path.parent.name for path in (tmp_path / "out").glob("*/summary.json")]
    assert len(written) == 2
    assert not [one for one in threading.enumerate() if one.name.startswith("writer")]
