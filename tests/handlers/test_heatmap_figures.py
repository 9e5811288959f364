"""Figures of heat maps are drawn slice by slice from the 8-bit cache."""

from __future__ import annotations

import os
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scripts.errors import InputError
from scripts.handlers import WriteHeatmaps
from scripts.handlers.heatmaps import FEW_PATIENTS
from scripts.heatmaps.drawers import PICTURES_PER_PROCESS

SIDE, PATIENTS, SLICES = 96, 30, 10


class Cache:
    """Labelled slices as `SliceDataset` keeps them; counts how many are floats at the same time."""

    def __init__(self) -> None:
        count = PATIENTS * SLICES
        self.levels = np.random.default_rng(0).integers(0, 256, (count, 1, SIDE, SIDE), dtype=np.uint8)
        self.live = self.most = 0
        self.entries = [
            {"patient_id": f"p{n // SLICES:02d}", "series_uid": f"1.{n // SLICES}", "sop_uid": f"1.2.{n}",
             "frame": "", "slice_index": n % SLICES, "label": n % 2} for n in range(count)
        ]  # fmt: skip

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        image = self.levels[index].astype(np.float32) / 255
        self.live += 1
        self.most = max(self.most, self.live)
        weakref.finalize(image, self.release)
        return {"image": torch.from_numpy(image)}

    def release(self) -> None:
        self.live -= 1


@pytest.fixture
def handler(tmp_path) -> WriteHeatmaps:
    torch.manual_seed(0)
    dataset = Cache()
    facts = {"weights_sha256": "0" * 64}
    handler = WriteHeatmaps(dataset, str(tmp_path), "testing", 0.5, facts, sheets=True)  # type: ignore[arg-type]
    indices = torch.arange(len(dataset.entries))
    logits, maps = torch.randn(len(indices)), torch.randn(len(indices), 3, 3)
    for part in indices.split(32):
        state = SimpleNamespace(batch={"index": part}, output={"pred": logits[part], "heatmap": maps[part]})
        handler.collect(SimpleNamespace(state=state))
    return handler


def test_the_slices_are_never_all_floats_at_once(handler, tmp_path):
    handler(SimpleNamespace(state=SimpleNamespace(device=torch.device("cpu"))))
    assert handler.dataset.live == 0
    assert handler.dataset.most <= (min(os.cpu_count() or 1, PATIENTS // PICTURES_PER_PROCESS) + 2) * SLICES
    assert len(list((tmp_path / "heatmaps").glob("*.png"))) == PATIENTS


def test_the_raw_maps_hold_every_slice_in_order(handler, tmp_path):
    handler(SimpleNamespace(state=SimpleNamespace(device=torch.device("cpu"))))
    raw = np.load(tmp_path / "heatmaps.npz")
    assert list(raw["sop_uid"]) == [entry["sop_uid"] for entry in handler.dataset.entries]
    assert raw["raw"].shape == (PATIENTS * SLICES, 3, 3)


@pytest.mark.parametrize(("patients", "sheets", "drawn"), [
    (FEW_PATIENTS, "auto", True), (FEW_PATIENTS + 1, "auto", False), (FEW_PATIENTS + 1, True, True),
    (1, False, False),
])  # fmt: skip
def test_sheets_of_many_patients_are_drawn_for_those_who_ask(patients, sheets, drawn, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr("scripts.handlers.heatmaps.write_sheets", lambda *_: asked.append(True))
    monkeypatch.setattr("scripts.handlers.heatmaps.write_panels", lambda *_: None)
    dataset = SimpleNamespace(entries=[{"patient_id": str(number), "label": 0} for number in range(patients)])
    handler = WriteHeatmaps(dataset, str(tmp_path), "testing", 0.5, {}, sheets=sheets)  # type: ignore[arg-type]
    handler.write(list(range(patients)), np.zeros(patients), np.zeros((patients, 2, 2)))
    assert bool(asked) == drawn
    assert ("--sheets True draws them" in capsys.readouterr().out) == (not drawn and sheets == "auto")


def test_another_word_for_sheets_is_refused(tmp_path):
    with pytest.raises(InputError, match="sheets must be True, False or auto, got 'false'"):
        WriteHeatmaps(Cache(), str(tmp_path), "testing", 0.5, {}, sheets="false")  # type: ignore[arg-type]
