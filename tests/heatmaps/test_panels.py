"""Handlers and figures of heat maps, and views."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import SMALL
from csv_rows import read_rows
from ignite.engine import Engine, Events
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from PIL import Image
from tiny_models import Brightness
from torch import nn

from scripts.errors import InputError
from scripts.handlers import GradCAM
from scripts.heatmaps.grad_cam import grad_cam
from scripts.heatmaps.montages import grey, overlay
from scripts.heatmaps.panels import choose_slices, enlarged, kind_of
from scripts.heatmaps.views import all_views, map_back
from scripts.inferers import SeriesInferer
from scripts.networks import CordCompressionNet
from scripts.runner import run_config


@pytest.fixture(scope="module")
def network() -> CordCompressionNet:
    torch.manual_seed(0)
    return CordCompressionNet([8], architecture="resnet18").eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(3, 3, 96, 96, generator=torch.Generator().manual_seed(1))


def maps_of(network: nn.Module, images: torch.Tensor, **options: object) -> torch.Tensor:
    seen: list[torch.Tensor] = []

    class Keep:
        def attach(self, engine: Engine) -> None:
            engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: seen.append(e.state.output["heatmap"]))

    batches = DataLoader([{"image": one, "label": torch.zeros(1)} for one in images], batch_size=2)
    handlers = [GradCAM(network, **options), Keep()]
    SupervisedEvaluator("cpu", batches, network, val_handlers=handlers, decollate=False).run()
    return torch.cat(seen)


def test_the_handler_gives_both_signs_in_one_map(network, images):
    signed = maps_of(network, images, sign=0, resize=False)
    for sign in (1, -1):
        assert torch.allclose(torch.relu(sign * signed), grad_cam(network, images, sign=sign)[1], atol=1e-6)
    assert torch.allclose(signed, grad_cam(network, images, sign=0)[1], atol=1e-6)


def test_the_handler_works_on_a_torchscript_copy(network, images):
    scripted = torch.jit.script(network)
    assert torch.allclose(maps_of(scripted, images), maps_of(network, images), atol=1e-5)


def test_wrong_layers_and_signs_are_named(network, images):
    with pytest.raises(InputError, match="got 'layer7'"):
        GradCAM(network, layer="layer7")
    with pytest.raises(InputError, match="got 2"):
        GradCAM(network, sign=2)


def test_every_view_is_undone_where_it_looked():
    image = torch.rand(2, 40, 40)
    views = all_views(40, 40)
    assert len(set(views)) == 18
    assert torch.equal(views[0].apply(image), image)
    for view in views:
        assert torch.equal(view.undo(view.apply(image))[:, 2:-2, 2:-2], image[:, 2:-2, 2:-2])
    assert torch.allclose(map_back([view.apply(image) for view in views], views), image, atol=1e-6)


def test_hotspots_of_brightness_lie_on_the_bright_disc_and_averaging_changes_no_mean():
    axis = torch.arange(64) - 31.5
    disc = ((axis[:, None] + 8) ** 2 + (axis[None] - 8) ** 2 <= 49).float()[None, None, :, :, None]
    network = Brightness().eval()
    plain = SeriesInferer(profile="paper")(disc, network)
    averaged = SeriesInferer(profile="paper", test_time_average=True, hotspots=True)(disc, network)
    assert torch.allclose(averaged[:, 0], plain[:, 0], atol=1e-5)  # the disc stays in view
    heat = averaged[0, 2, :, :, 0]
    assert heat[disc[0, 0, :, :, 0] > 0].mean() > 10 * heat[disc[0, 0, :, :, 0] == 0].mean()
    assert not torch.allclose(averaged[:, 2], plain[:, 2])


def test_an_overlay_is_grey_where_cold_and_coloured_where_hot():
    image, heat = np.full((4, 4), 0.5), np.zeros((4, 4))
    heat[1, 2] = 1
    picture = overlay(image, heat)
    assert np.array_equal(
        np.delete(picture.reshape(16, 3), 6, axis=0), np.delete(grey(image).reshape(16, 3), 6, axis=0)
    )
    assert np.ptp(picture[1, 2].astype(int)) > 50


def test_kinds_and_choices_are_those_of_the_confusion_matrix():
    assert [kind_of(label, called) for label in (1, 0) for called in (True, False)] == [
        "true positive", "false negative", "false positive", "true negative",
    ]  # fmt: skip
    kinds, logits = ["false negative"] * 3 + ["true positive"] * 3, np.array([-1.0, -3, -2, 1, 3, 2])
    assert choose_slices(kinds, logits, "false negative", 2, "confidence", 0) == [1, 2]
    assert choose_slices(kinds, logits, "true positive", 2, "confidence", 0) == [4, 5]
    random = {tuple(choose_slices(kinds, logits, "true positive", 2, "random", seed)) for seed in range(20)}
    assert len(random) > 1
    assert choose_slices(kinds, logits, "true positive", 2, "random", 7) in [list(one) for one in random]


def test_a_signed_map_parts_into_for_and_against():
    speaks_for, against = enlarged(np.array([[1.0, -2.0]], dtype=np.float32), (1, 2))
    assert speaks_for.tolist() == [[1.0, 0.0]]
    assert against.tolist() == [[0.0, 2.0]]


def test_an_evaluation_writes_panels_sheets_and_raw_maps(cohort, small_weights, tmp_path):
    run_config(
        ["train.json", "evaluate.json"], dataset_dir=str(cohort), output_dir=str(tmp_path),
        ckpt_dir=str(small_weights.parent), heatmap_layer="layer3", choose_panels="confidence", **SMALL,
    )  # fmt: skip
    raw = np.load(tmp_path / "heatmaps.npz")
    table = np.genfromtxt(tmp_path / "predictions.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
    assert raw["raw"].shape == (len(table), 4, 4)
    assert list(raw["sop_uid"]) == list(table["sop_uid"])
    assert np.allclose(raw["logit"], table["logit"], atol=1e-5)
    assert np.isfinite(raw["raw"]).all()
    sheets = {row["file"]: row["patient_id"] for row in read_rows(tmp_path / "heatmaps" / "patients.csv")}
    assert set(sheets.values()) == set(table["patient_id"])
    assert {path.name for path in (tmp_path / "heatmaps").iterdir()} == {*sheets, "patients.csv"}
    with Image.open(tmp_path / "panels.png") as panels:
        assert panels.size[0] > 200
