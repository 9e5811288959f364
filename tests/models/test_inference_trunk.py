"""The trunk of inference: what rounding and compiling change, what they must not, and what every result says of them.

OpenVINO runs in one process of its own, whose numbers the tests share.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import subprocess
import sys

import pytest
import torch
from conftest import ROOT, SMALL
from tiny_models import write_t2
from torch import nn

from scripts import checkpoints, inferers
from scripts.errors import InputError
from scripts.inference.predict import predict
from scripts.inferers import Running, SeriesInferer
from scripts.models.averaging import Ensemble
from scripts.models.inference_trunk import Rounded, check_backend, folded, inference_network
from scripts.networks import CordCompressionNet

OPENVINO = r"""
import json, sys
import torch
from pathlib import Path
from scripts.inference.predict import predict
from scripts.inferers import SeriesInferer
from scripts.models.averaging import Ensemble
from scripts.models.inference_trunk import Compiled
from scripts.networks import CordCompressionNet

def network(seed, **options):
    torch.manual_seed(seed)
    return CordCompressionNet([16], architecture="resnet18", **options).eval()

def case(network, **options):
    # five slices in batches of three: the last batch is smaller
    volume = torch.rand(1, 1, 64, 64, 5, generator=torch.Generator().manual_seed(1))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    plain = SeriesInferer(batch_size=3, **options)(volume, network)
    inferer = SeriesInferer(batch_size=3, backend="openvino", **options)
    found = inferer(volume, network)
    compiled = [one.request for one in inferer.made[1].modules() if isinstance(one, Compiled)] if inferer.made else []
    inferer(volume, network)
    again = [one.request for one in inferer.made[1].modules() if isinstance(one, Compiled)] if inferer.made else []
    largest = plain[:, 2].abs().max()
    return {
        "running": list(inferer.running(network, "cpu")),
        "logits": float((found - plain)[:, [0, *range(3, plain.shape[1])]].abs().max()),
        "maps": float((found - plain)[:, 2].abs().max() / largest) if largest > 0 else None,
        "scaled_maps": float((found - plain)[:, 1].abs().max()),
        "compiled": len(compiled),
        "compiled_once": all(one is other for one, other in zip(compiled, again, strict=True)),
        "untouched": all(torch.equal(before[name], value) for name, value in network.state_dict().items()),
    }

series, weights, out = sys.argv[1:]
tasks = ["compressed", "grade"]
found = {
    "plain": case(network(2)),
    "ensemble": case(Ensemble([network(2), network(3)])),
    "head": case(network(2, tasks=tasks, branch="head"), tasks=tasks, heatmap_task="grade"),
    "layer3": case(network(2, tasks=tasks, branch="layer3"), tasks=tasks, heatmap_task="grade"),
    "none": case(network(2, tasks=tasks, branch="none"), tasks=tasks, heatmap_task="grade"),
    "finer": case(network(2), layer="layer3"),
    "views": case(network(2), hotspots=True),
}
try:
    found["bf16"] = list(SeriesInferer(precision="bf16", backend="openvino").running(network(2), "cpu"))
except Exception as error:
    found["bf16"] = str(error)
runs = []
for backend, resume in (("torch", False), ("openvino", True), ("openvino", True)):
    options = {"precision": "fp32", "backend": backend, "resume": resume, "allow_phantom_weights": True}
    predict(series, out=out, weights=weights, **options)
    (path,) = Path(out).glob("*/summary.json")
    rows = (Path(out) / "series.csv").read_text().splitlines()
    status = dict(zip(rows[0].split(","), rows[1].split(",")))["status"]
    runs.append([status, json.loads(path.read_text())])
found["runs"] = runs
found["telemetry"] = sys.modules.get("openvino_telemetry") is not None
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def t2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("t2")
    write_t2(folder, n=3, PixelSpacing=[1.7, 1.7])
    return folder


@pytest.fixture(scope="module")
def compiled(t2, small_weights, tmp_path_factory):
    """What the program above says."""
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("openvino comes with the extra openvino")
    arguments = [str(t2), str(small_weights), str(tmp_path_factory.mktemp("openvino") / "out")]
    ended = subprocess.run(
        [sys.executable, "-c", OPENVINO, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout.splitlines()[-1])


def small(seed: int = 2, **options: object) -> CordCompressionNet:
    """A network whose heat map is not all zero."""
    torch.manual_seed(seed)
    return CordCompressionNet([16], architecture="resnet18", **options).eval()  # type: ignore[arg-type]


def slices(count: int = 4) -> torch.Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def volume() -> torch.Tensor:
    return torch.rand(1, 1, 64, 64, 4, generator=torch.Generator().manual_seed(1))


def used(network: nn.Module) -> nn.Module:
    """Give batch normalisation statistics and scales as training leaves them, far from 0 and 1."""
    generator = torch.Generator().manual_seed(3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.running_mean, module.bias.data):
                value.copy_(torch.randn(value.shape, generator=generator) / 4)
            for value in (module.running_var, module.weight.data):
                value.copy_(0.5 + torch.rand(value.shape, generator=generator))
    return network


def test_folded_batch_normalisation_computes_the_same():
    layer = used(small().features.layer2)
    value = torch.rand(2, 64, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found = layer(value), folded(layer)(value)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
    kinds = [
        type(one.get_submodule(node.target))
        for one in [folded(layer)]
        for node in one.graph.nodes
        if node.op == "call_module"
    ]
    assert nn.BatchNorm2d not in kinds


def test_a_part_that_cannot_be_traced_stays_as_it_is():
    class Choosing(nn.Module):
        def forward(self, value: torch.Tensor) -> torch.Tensor:
            return value if value.sum() > 0 else -value

    part = Choosing().eval()
    assert folded(part) is part


def test_features_in_bf16_are_those_of_float32_but_for_rounding():
    network = used(small())
    made = inference_network(network, "bf16", "torch")
    with torch.no_grad():
        expected, found = network.features(slices()), made.features(slices())
    assert found.dtype == torch.float32
    error = float((found - expected).norm() / expected.norm())
    assert 1e-4 < error < 0.02


def test_the_layers_before_layer1_are_not_rounded():
    network = used(small())
    made = inference_network(network, "bf16", "torch")
    with torch.no_grad():
        expected, found = slices(), slices()
        for name in ("conv1", "bn1", "relu", "maxpool"):
            expected, found = getattr(network.features, name)(expected), getattr(made.features, name)(found)
    assert torch.equal(found, expected)
    assert [name for name, part in made.features.named_children() if isinstance(part, Rounded)] == [
        "layer1",
        "layer2",
        "layer3",
        "layer4",
    ]


def test_the_network_itself_is_not_changed_and_float32_runs_it_as_it_is():
    network = small()
    before = copy.deepcopy(network.state_dict())
    kinds = [type(module) for module in network.modules()]
    SeriesInferer(precision="bf16")(volume(), network)
    assert [type(module) for module in network.modules()] == kinds
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(value.requires_grad for value in network.parameters())
    for precision in ("fp32", "tf32"):
        assert inference_network(network, precision, "torch") is network


@pytest.mark.parametrize("options", [{}, {"layer": "layer3"}, {"heatmap": False}, {"hotspots": True}])
def test_logits_and_maps_in_bf16_are_near_those_of_float32(options):
    network = small(3)
    expected, found = (SeriesInferer(precision=one, **options)(volume(), network) for one in ("fp32", "bf16"))
    assert 0 < float((found - expected)[:, 0].abs().max()) < 0.02
    if options.get("heatmap", True):
        assert float(expected[:, 2].abs().max()) > 0
        assert float((found - expected)[:, 2].abs().max() / expected[:, 2].abs().max()) < 0.15


@pytest.mark.parametrize("branch", ["head", "layer4", "layer3", "none"])
def test_branches_are_rounded_too(branch):
    tasks = ["compressed", "grade"]
    network = small(tasks=tasks, branch=branch)
    expected = SeriesInferer(tasks=tasks, heatmap_task="grade")(volume(), network)
    found = SeriesInferer(tasks=tasks, heatmap_task="grade", precision="bf16")(volume(), network)
    logits = [0, *range(3, expected.shape[1])]
    assert 0 < float((found - expected)[:, logits].abs().max()) < 0.02


def test_each_network_of_an_ensemble_is_rounded():
    members = [small(2), small(3)]
    found = SeriesInferer(precision="bf16")(volume(), Ensemble(members))[:, 0]
    alone = [SeriesInferer(precision="bf16")(volume(), one)[:, 0] for one in members]
    assert torch.allclose(found, (alone[0] + alone[1]) / 2, atol=1e-6)


def test_it_is_made_once_and_again_when_the_weights_change():
    network, inferer = small(), SeriesInferer(precision="bf16")
    first = inferer(volume(), network)
    made = inferer.made
    assert torch.equal(inferer(volume(), network), first)
    assert inferer.made is made
    network.load_state_dict(small(5).state_dict())
    assert torch.equal(inferer(volume(), network), SeriesInferer(precision="bf16")(volume(), small(5)))


def test_maps_are_made_within_inference_mode():
    network = small(3)
    expected = SeriesInferer(precision="bf16", layer="layer3")(volume(), network)
    with torch.inference_mode():
        assert torch.equal(SeriesInferer(precision="bf16", layer="layer3")(volume(), network), expected)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning", "ignore:.*torch.jit.*:DeprecationWarning")
def test_torchscript_runs_as_it_is_and_says_so():
    network = small()
    script = torch.jit.script(network)
    inferer = SeriesInferer(precision="bf16")
    assert inferer.running(network, "cpu") == Running("bf16", "torch")
    assert inferer.running(script, "cpu") == Running("fp32", "torch")
    assert torch.equal(inferer(volume(), script), SeriesInferer()(volume(), script))


def test_a_name_that_is_no_backend_is_refused(t2, tmp_path):
    with pytest.raises(InputError, match="backend must be torch or openvino, got 'onnx'"):
        predict(str(t2), out=str(tmp_path / "out"), weights="none.pt", backend="onnx")
    with pytest.raises(InputError, match="precision must be auto, bf16, fp32 or tf32, got 'half'"):
        predict(str(t2), out=str(tmp_path / "out"), weights="none.pt", precision="half")


def test_without_openvino_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r"backend openvino needs .*: pip install -e '\.\[openvino\]'"):
        check_backend("openvino")


@pytest.mark.parametrize(
    ("options", "device", "reason"),
    [
        ({}, "cpu", ""),
        ({"layer": "layer3", "heatmap": False}, "cpu", ""),
        ({"layer": "layer3"}, "cpu", "the heat maps are of layer3"),
        ({"hotspots": True}, "cpu", "18 views"),
        ({"test_time_average": True}, "cpu", "18 views"),
        ({}, "cuda:0", "on the CPU only, and the device is cuda:0"),
    ],
)
def test_where_torch_takes_the_place_of_openvino_the_reason_is_said(monkeypatch, options, device, reason):
    monkeypatch.setattr(inferers, "check_backend", lambda name: name)
    inferer = SeriesInferer(backend="openvino", **options)
    said = inferer.without_openvino(device)
    assert (reason in said) if reason else said == ""
    assert inferer.running(small(), device).backend == ("torch" if reason else "openvino")
    assert SeriesInferer(**options).without_openvino(device) == ""


def test_bf16_on_a_cpu_where_openvino_lacks_it_is_refused(monkeypatch):
    monkeypatch.setattr(inferers, "check_backend", lambda name: name)
    inferer = SeriesInferer(backend="openvino", precision="bf16")
    monkeypatch.setattr(inferers, "openvino_rounds", lambda: False)
    with pytest.raises(InputError, match="OpenVINO does not multiply bfloat16 on this CPU; take precision fp32"):
        inferer.running(small(), "cpu")
    monkeypatch.setattr(inferers, "openvino_rounds", lambda: True)
    assert inferer.running(small(), "cpu") == Running("bf16", "openvino")


def test_predict_says_what_ran(t2, small_weights, tmp_path):
    found = {}
    for precision in ("fp32", "bf16"):
        out = tmp_path / precision
        predict(str(t2), out=str(out), weights=str(small_weights), precision=precision, allow_phantom_weights=True)
        (path,) = out.glob("*/summary.json")
        found[precision] = json.loads(path.read_text())
        assert (found[precision]["precision"], found[precision]["backend"]) == (precision, "torch")
    difference = found["fp32"]["max_probability"] - found["bf16"]["max_probability"]
    assert 0 < abs(difference) < 0.01
    assert SMALL["precision"] == "fp32"
    assert checkpoints.read(small_weights)["architecture"] == SMALL["architecture"]


@pytest.mark.parametrize("case", ["plain", "ensemble", "head", "layer3", "none"])
def test_openvino_in_float32_gives_the_logits_and_maps_of_torch(compiled, case):
    found = compiled[case]
    assert found["running"] == ["fp32", "openvino"]
    assert found["logits"] < 1e-4
    assert found["scaled_maps"] < 1e-3
    assert found["maps"] is not None
    assert found["maps"] < 1e-3
    assert found["compiled"] == {"plain": 1, "ensemble": 2, "head": 1, "layer3": 3, "none": 2}[case]
    assert found["compiled_once"]
    assert found["untouched"]


@pytest.mark.parametrize("case", ["finer", "views"])
def test_what_openvino_cannot_do_runs_in_torch_bit_for_bit(compiled, case):
    assert compiled[case]["running"] == ["fp32", "torch"]
    assert (compiled[case]["logits"], compiled[case]["maps"], compiled[case]["compiled"]) == (0, 0, 0)


def test_openvino_has_bf16_or_says_that_it_has_not(compiled):
    assert compiled["bf16"] == ["bf16", "openvino"] or "does not multiply bfloat16 on this CPU" in compiled["bf16"]


def test_a_result_of_another_backend_is_not_resumed(compiled):
    (first, torch_run), (second, openvino_run), (third, _) = compiled["runs"]
    assert (first, second, third) == ("scored", "scored", "kept")
    assert (torch_run["backend"], openvino_run["backend"]) == ("torch", "openvino")
    assert openvino_run["max_probability"] == pytest.approx(torch_run["max_probability"], abs=1e-4)


def test_openvino_tells_nobody_that_it_was_used(compiled):
    assert compiled["telemetry"] is False
