"""Trunks: torchvision's ResNets as they are, and timm's networks under the same names of layers."""

from __future__ import annotations

import pytest
import torch

from scripts import checkpoints
from scripts.errors import InputError
from scripts.heatmaps.grad_cam import grad_cam
from scripts.models import trunks
from scripts.models.trunks import is_architecture, make_trunk
from scripts.networks import CordCompressionNet

timm = pytest.importorskip("timm", reason="timm comes with the extra timm")

NAMES = ["tf_efficientnet_lite0", "convnext_nano", "resnet18"]


@pytest.fixture(scope="module", params=NAMES)
def name(request) -> str:
    return request.param


def test_the_parts_one_after_the_other_are_what_timm_computes(name):
    torch.manual_seed(1)
    original = timm.create_model(name, pretrained=False, num_classes=0).eval()
    torch.manual_seed(1)
    trunk = make_trunk(f"timm:{name}")
    image = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        features = image
        for part in trunk.features.eval().children():
            features = part(features)
        assert torch.allclose(features, original.forward_features(image), atol=1e-5)
        assert torch.allclose(trunk.pool.eval()(features), original(image), atol=1e-5)
    assert trunk.width == original(image).shape[1]


def test_every_trunk_has_the_four_layers_at_their_resolutions(name):
    for architecture in (f"timm:{name}", "resnet18"):
        value = torch.zeros(1, 3, 64, 64)
        sides = {}
        for layer, part in make_trunk(architecture).features.eval().named_children():
            value = part(value)
            sides[layer] = value.shape[-1]
        assert list(sides.items())[-4:] == [("layer1", 16), ("layer2", 8), ("layer3", 4), ("layer4", 2)]


def test_heat_maps_and_torchscript_work_on_timms_networks(name):
    network = CordCompressionNet([8], architecture=f"timm:{name}").eval()
    image = torch.rand(2, 3, 64, 64)
    for value, expected in zip(grad_cam(torch.jit.script(network), image), grad_cam(network, image), strict=True):
        assert torch.allclose(value, expected, atol=1e-5)
    assert torch.allclose(grad_cam(network, image)[0], network(image), atol=1e-5)


def test_a_checkpoint_of_a_timm_network_is_read_and_fits(name, tmp_path):
    network = CordCompressionNet([8], architecture=f"timm:{name}")
    settings = checkpoints.describe(f"timm:{name}", [8], 64, 0.5, "imagenet")
    checkpoints.save(tmp_path / "model.pt", network, settings)
    with torch.device("meta"):
        other = CordCompressionNet([8], architecture=checkpoints.read(tmp_path / "model.pt", settings)["architecture"])
    other.load_state_dict(network.state_dict(), assign=True)
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(other.eval()(image), network.eval()(image))


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("vgg16", "torchvision ResNet such as resnet50, or timm: .* got 'vgg16'"),
        ("timm:resnet_of_nobody", "timm has no network 'resnet_of_nobody'"),
        ("timm:vit_tiny_patch16_224", "is no convolutional network"),
        ("timm:swin_tiny_patch4_window7_224", "cannot be called one after the other"),
    ],
)
def test_what_cannot_be_a_trunk_is_refused(architecture, message):
    with pytest.raises(InputError, match=message):
        make_trunk(architecture)


def test_a_network_that_computes_more_than_its_modules_is_refused(monkeypatch):
    class Doubles(torch.nn.Module):
        def __init__(self, model: torch.nn.Module) -> None:
            super().__init__()
            for child, module in model.named_children():
                self.add_module(child, module)
            self.feature_info, self.pretrained_cfg = model.feature_info, model.pretrained_cfg

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            value = 2 * image
            for module in self.children():
                value = module(value)
            return value

    made = Doubles(timm.create_model("resnet18", num_classes=0))
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: made)
    with pytest.raises(InputError, match="are not what it computes"):
        make_trunk("timm:resnet18")


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(trunks, "optional_import", lambda _: (None, False))
    with pytest.raises(InputError, match=r"timm:convnext_nano needs the package timm: pip install -e '\.\[timm\]'"):
        make_trunk("timm:convnext_nano")


@pytest.mark.parametrize("value", ["resnet50", "timm:convnext_nano", "timm:tf_efficientnet_lite0"])
def test_names_of_architectures_are_known_as_such(value):
    assert is_architecture(value)


@pytest.mark.parametrize(
    "value",
    ["", "$x", "timm:", "timm:$x", "timm:a b", "timm:timm:x", "timm:a::b", "hub:resnet18", "résnet", "a\n", None, 3],
)
def test_other_text_is_no_name_of_an_architecture(value):
    assert not is_architecture(value)
