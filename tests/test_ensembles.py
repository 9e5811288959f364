"""Ensembles: several networks that score as one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, SMALL
from csv_rows import read_rows
from ignite.engine import Engine, Events
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from tiny_models import Brightness

from scripts import checkpoints, ensembles
from scripts.__main__ import main
from scripts.errors import InputError
from scripts.handlers import GradCAM
from scripts.heatmaps.grad_cam import enlarge, grad_cam, rectified
from scripts.inference.predict import predict
from scripts.inferers import SeriesInferer
from scripts.models.averaging import Ensemble, members_of
from scripts.networks import CordCompressionNet
from scripts.records import probability
from scripts.report.inputs.predictions import require_whole
from scripts.report.operating_points_file import read_operating_point
from scripts.runner import run_config
from scripts.transforms import to_network_input

pytest.importorskip("timm", reason="timm comes with the extra timm; its test networks have few weights")
TINY = {**SMALL, "architecture": "timm:test_resnet"}
OWN = {name: value for name, value in TINY.items() if name in checkpoints.SETTINGS}


def write(path: Path, seed: int, phantom: bool = True, **changes: object) -> Path:
    """Write a small random network as a checkpoint."""
    settings = checkpoints.describe(**{**OWN, "profile": "imagenet", **changes})
    torch.manual_seed(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"trained_on": {"phantom": phantom}, "pos_weight": 2.0, "epoch": seed}
    checkpoints.save(path, checkpoints.network_of(settings), settings, **about)
    return path


@pytest.fixture(scope="module")
def members(tmp_path_factory) -> list[Path]:
    """Three networks that see the same, of two architectures and two heads."""
    folder = tmp_path_factory.mktemp("members")
    changes = {"a": {}, "b": {"architecture": "timm:test_efficientnet"}, "c": {"head": [8, 8]}}
    return [write(folder / f"{name}.pt", 2 + len(name + str(one)), **one) for name, one in changes.items()]


@pytest.fixture(scope="module")
def networks(members) -> list[CordCompressionNet]:
    return [checkpoints.network_with_weights(checkpoints.read(path)).eval() for path in members]


def digest(paths: list[Path]) -> str:
    return hashlib.sha256("\n".join(sorted(map(checkpoints.sha256, paths))).encode()).hexdigest()


def loaded(first: Path, others: list[Path] | str | None) -> ensembles.Loaded:
    settings = checkpoints.read(first)
    network = checkpoints.network_with_weights(settings).to(memory_format=torch.channels_last)
    return ensembles.load_networks(first, others, network, settings)


def test_the_logit_of_an_ensemble_is_the_mean_of_its_networks(networks):
    image = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        expected = sum(network(image) for network in networks) / 3
        assert torch.allclose(Ensemble(networks)(image), expected, atol=1e-6)


def test_without_further_checkpoints_the_network_is_returned_as_it_is_with_its_own_facts(members):
    settings = checkpoints.read(members[0])
    network = checkpoints.network_with_weights(settings)
    expected = checkpoints.load_network(members[0], network, settings)
    for nothing in ([], None):
        found = ensembles.load_networks(members[0], nothing, network, settings)
        assert found.network is network
        assert found.weights == expected
    assert "ensemble_sha256" not in expected
    assert members_of(network) == [network]


def test_the_order_of_the_checkpoints_changes_no_bit_and_no_hash(members):
    image = torch.rand(2, 3, 64, 64)
    one, other = loaded(members[0], [str(members[1]), str(members[2])]), loaded(members[2], [*members[1::-1]])
    with torch.no_grad():
        assert torch.equal(one.network.eval()(image), other.network.eval()(image))
    assert one.weights == other.weights
    assert one.weights["weights_sha256"] == digest(members)
    assert one.weights["ensemble_sha256"] == sorted(map(checkpoints.sha256, members))


def test_what_networks_differ_in_is_not_known_of_their_ensemble(members, tmp_path):
    real = write(tmp_path / "real.pt", 9, phantom=False)
    weights = loaded(real, str(members[0])).weights
    assert weights["trained_on_phantom"] is True
    assert (weights["epoch"], weights["pos_weight"]) == (None, 2.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"canal_sha256": "ab12"}, r"canal_sha256 ab12, and .* with none"),
        ({"image_size": 96}, r"b.pt was trained with image_size 96, and .*a.pt with 64; networks of an ensemble"),
        ({"crop_fraction": 1.0}, r"crop_fraction 1.0, and .* with 0.5"),
        ({"side_mm": 60.0}, r"side_mm 60.0, and .* with none"),
        ({"context": 1}, r"context 1, and .* with 0"),
        ({"profile": "paper"}, r"profile paper, and .* with imagenet"),
        ({"tasks": ["compressed", "grade"]}, r"tasks \['compressed', 'grade'\], and .* with \['compressed'\]"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_networks_that_see_or_answer_something_else_are_no_ensemble(changes, message):
    first, other = ({**checkpoints.describe(**OWN, profile="imagenet"), **one} for one in ({}, changes))
    ensembles.check_member("b.pt", {**first, "architecture": "resnet50", "head": [4], "branch": "layer4"}, "a", first)
    with pytest.raises(InputError, match=message):
        ensembles.check_member("b.pt", other, "a.pt", first)


def test_predict_and_the_configs_refuse_what_is_no_ensemble_before_anything_is_read(members, axial_series, tmp_path):
    other = write(tmp_path / "other.pt", 1, image_size=96)
    with pytest.raises(InputError, match=r"other.pt was trained with image_size 96, and .*a.pt with 64"):
        loaded(members[0], [str(other)])
    with pytest.raises(InputError, match=r"other.pt was trained with image_size 96, and .*a.pt with 64"):
        predict(str(axial_series), out=str(tmp_path / "out"), weights=f"{members[0]},{other}")
    assert not (tmp_path / "out").exists()


def test_one_network_twice_nothing_and_foreign_files_are_refused(members, tmp_path):
    copy = tmp_path / "copy.pt"
    copy.symlink_to(members[0])
    torch.save({"model": {"a": torch.ones(1)}, "channels": [4]}, tmp_path / "canal.pt")
    torch.save({"model": torch.nn.Linear(1, 1)}, tmp_path / "code.pt")
    for others, message in (
        ([members[1], str(copy)], r"a.pt and .*copy.pt are the same network; name each once"),
        ([members[0]], "are the same network"),
        (f"{members[1]},", "expected checkpoints separated by commas"),
        ([tmp_path / "none.pt"], r"no checkpoint at .*none.pt"),
        ([tmp_path / "canal.pt"], r"canal.pt does not say its architecture"),
        ([tmp_path / "code.pt"], r"code.pt is no checkpoint that can be loaded safely \(weights only\)"),
    ):
        with pytest.raises(InputError, match=message):
            loaded(members[0], others)


def test_the_map_of_an_ensemble_explains_its_mean_logit(networks):
    """The mean of the maps before rectification; one network's map is not changed in a bit."""
    volume = torch.rand(1, 1, 64, 64, 2)
    image = to_network_input(volume[0].permute(3, 0, 1, 2), "imagenet")
    logits, signed = zip(*(grad_cam(network, image, sign=0) for network in networks), strict=True)
    assert torch.stack(signed).mean(0).abs().max() > 0
    for sign in (1, -1):
        alone, found = (SeriesInferer(sign=sign)(volume, one)[0] for one in (networks[0], Ensemble(networks)))
        assert torch.allclose(found[0, 0, 0], torch.stack(logits).mean(0)[:, 0], atol=1e-5)
        raw = enlarge(rectified(torch.stack(signed).mean(0), sign), (64, 64))
        assert torch.allclose(found[2].permute(2, 0, 1), raw, atol=1e-5)
        single = enlarge(grad_cam(networks[0], image, sign=sign)[1], (64, 64))
        assert torch.equal(alone[2].permute(2, 0, 1), single)


def test_maps_of_another_resolution_are_enlarged_to_the_finest():
    coarse = Brightness().eval()
    coarse.features[0] = torch.nn.AvgPool2d(16)
    both = SeriesInferer(profile="paper")(torch.ones(1, 1, 64, 64, 1), Ensemble([Brightness().eval(), coarse]))
    # every pixel speaks as much: 3 channels of weight 1 over 64 cells, and over 16
    assert torch.allclose(both[0, 2], torch.full((64, 64, 1), (3 / 64 + 3 / 16) / 2), atol=1e-6)


@pytest.mark.parametrize("scripted", [False, True])
def test_the_handler_adds_the_mean_map_and_removes_every_hook(networks, scripted):
    images = torch.rand(4, 3, 64, 64)
    ensemble = Ensemble([networks[0], torch.jit.script(networks[1]) if scripted else networks[1]]).eval()
    maps = []

    class Keep:
        def attach(self, engine: Engine) -> None:
            engine.add_event_handler(Events.ITERATION_COMPLETED, lambda one: maps.append(one.state.output["heatmap"]))

    evaluator = SupervisedEvaluator(
        torch.device("cpu"),
        DataLoader([{"image": one, "label": torch.zeros(1)} for one in images], batch_size=2),
        ensemble,
        val_handlers=[GradCAM(ensemble, sign=0, resize=False), Keep()],
        decollate=False,
    )
    evaluator.run()
    expected = (grad_cam(networks[0], images, sign=0)[1] + grad_cam(networks[1], images, sign=0)[1]) / 2
    assert torch.allclose(torch.cat(maps), expected, atol=1e-5)
    assert all(not module._forward_hooks for one in (networks[0], networks[1]) for module in one.modules())


def test_predict_averages_the_logits_of_the_networks_it_is_given(members, axial_series, tmp_path):
    runs = {"a": f"{members[0]}", "b": f"{members[1]}", "ab": f"{members[0]}, {members[1]}"}
    scores = {}
    for name, weights in runs.items():
        assert predict(str(axial_series), out=str(tmp_path / name), weights=weights, raw_heatmap=True) == 0
        (table,) = (tmp_path / name).glob("*/slices.csv")
        scores[name] = np.array([float(row["logit"]) for row in read_rows(table)])
    assert np.allclose(scores["ab"], (scores["a"] + scores["b"]) / 2, atol=1e-5)
    summary = {name: json.loads(next((tmp_path / name).glob("*/summary.json")).read_text()) for name in runs}
    assert "ensemble_sha256" not in summary["a"]
    assert summary["ab"]["ensemble_sha256"] == sorted(map(checkpoints.sha256, members[:2]))
    assert summary["ab"]["weights_sha256"] == digest(members[:2])
    row = read_rows(next((tmp_path / "ab").glob("*/slices.csv")))[0]
    assert f"ensemble of 2 networks, weights sha256 {digest(members[:2])[:16]}" in row["notice"]
    assert "ensemble" not in read_rows(next((tmp_path / "a").glob("*/slices.csv")))[0]["notice"]
    # the same networks in another order are the same ensemble, and one of them alone is not
    for weights, status in ((f"{members[1]},{members[0]}", "kept"), (f"{members[0]}", "scored")):
        predict(str(axial_series), out=str(tmp_path / "ab"), weights=weights, raw_heatmap=True, resume=True)
        assert [row["status"] for row in read_rows(tmp_path / "ab" / "series.csv")] == [status]


@pytest.mark.parametrize("name", ["a,b.pt", "$x,@y#z.pt"])
def test_a_file_whose_name_has_a_comma_is_one_checkpoint(axial_series, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write(Path(name), 2)
    write(Path("$second.pt"), 3)
    assert predict(str(axial_series), out="out", weights=name) == 0
    assert "ensemble_sha256" not in json.loads(next(Path("out").glob("*/summary.json")).read_text())
    Path(name).rename("@first.pt")  # names that MONAI's config language would read as something else
    assert predict(str(axial_series), out="out", weights="@first.pt,$second.pt") == 0
    assert len(json.loads(next(Path("out").glob("*/summary.json")).read_text())["ensemble_sha256"]) == 2


def test_an_ensemble_is_evaluated_calibrated_and_applied_under_one_hash(cohort, members, axial_series, tmp_path):
    run = tmp_path / "run"
    write(run / "models" / "model.pt", 2)
    paths = [run / "models" / "model.pt", members[1]]
    common = {**TINY, "dataset_dir": str(cohort), "output_dir": str(run), "ckpt_dir": str(run / "models")}
    for section in ("validation", "testing"):
        files = ["train.json", "evaluate.json"]
        run_config(files, **common, ensemble=[str(members[1])], validate__section=section, panels=1, sheets=False)
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["weights_sha256"] == digest(paths)
    assert metrics["ensemble_sha256"] == sorted(map(checkpoints.sha256, paths))
    assert main(["report", str(run), "--out", str(tmp_path / "report"), "--cohort", str(cohort)]) == 0
    points = next(tmp_path.glob("**/operating_points.json"))
    assert json.loads((tmp_path / "report" / "report.json").read_text())["cohort"]["facts"]["ensemble_sha256"]
    call = {"out": str(tmp_path / "out"), "operating_points": str(points)}
    assert predict(str(axial_series), weights=f"{paths[1]},{paths[0]}", **call) == 0
    chosen = read_operating_point(str(points), "youden", digest(paths))
    row = read_rows(next((tmp_path / "out").glob("*/slices.csv")))[0]
    assert float(row["threshold"]) == pytest.approx(chosen.threshold)
    calibrated = probability(float(row["logit"]), chosen.slope, chosen.intercept)
    assert float(row["probability"]) == pytest.approx(calibrated)
    with pytest.raises(InputError, match=f"chosen for the weights {digest(paths)[:12]}, not for"):
        predict(str(axial_series), weights=str(paths[0]), **call)
    write(run / "models" / "model.pt", 5)
    with pytest.raises(InputError, match="made with other weights than"):
        require_whole(run / "predictions.csv")


@pytest.mark.parametrize("name", ["inference.json", "evaluate.json"])
def test_the_shipped_configs_apply_one_network(name):
    assert json.loads((ROOT / "configs" / name).read_text())["ensemble"] == []
