"""The slice classifier."""

from __future__ import annotations

import urllib.error

import pytest
import torch
import torchvision
from monai.bundle import ConfigParser

from scripts.errors import InputError
from scripts.networks import CordCompressionNet, network_interface

# protocol.md's counts: parameters of the paper's heads on 2048 features
HEADS = {1: 524_801, 2: 1_049_601, 3: 2_099_201, 4: 4_198_401, 5: 590_593, 6: 1_312_257, 7: 3_148_801}


@pytest.fixture(scope="module")
def network() -> CordCompressionNet:
    torch.manual_seed(0)
    return CordCompressionNet([16], architecture="resnet18").eval()


@pytest.mark.parametrize(("number", "parameters"), HEADS.items())
def test_the_papers_heads_have_their_parameter_counts(root, number, parameters):
    parser = ConfigParser()
    parser.read_config([str(root / "configs" / "train.json"), str(root / "configs" / "heads" / f"model_{number}.json")])
    parser["weights"] = None
    network = parser.get_parsed_content("network_def")
    assert sum(value.numel() for value in network.head.parameters()) == parameters


def test_the_default_head_is_model_6_the_papers_winner(root):
    parser = ConfigParser()
    parser.read_config(str(root / "configs" / "train.json"))
    assert parser["head"] == [512, 512]


def test_the_trunk_is_torchvisions_resnet_up_to_layer4(network):
    plain = torchvision.models.resnet18(weights=None)
    plain.load_state_dict(network.features.state_dict(), strict=False)
    plain.fc = torch.nn.Identity()
    image = torch.rand(2, 3, 64, 64)
    assert [name for name, _ in network.features.named_children()][-1] == "layer4"
    assert torch.allclose(plain.eval()(image), network.pool(network.features(image)), atol=1e-6)


def test_torchscript_gives_the_same_logits_and_keeps_the_named_parts(network):
    scripted = torch.jit.script(network)
    image = torch.rand(3, 3, 64, 64)
    assert torch.equal(scripted(image), network(image))
    assert torch.equal(scripted.head(scripted.pool(scripted.features(image))), network(image))


@pytest.mark.parametrize("strict", [True, False])
def test_weights_of_another_network_are_refused_even_if_strict_is_off(network, strict):
    other = CordCompressionNet([32], architecture="resnet18")
    with pytest.raises(InputError, match=r"another network: its head has layers \[\(32, 512\), \(1, 32\)\]"):
        network.load_state_dict(other.state_dict(), strict=strict)


def test_a_local_file_gives_the_trunk_its_weights(tmp_path, network):
    plain = torchvision.models.resnet18(weights=None)
    torch.save(plain.state_dict(), tmp_path / "trunk.pth")
    loaded = CordCompressionNet([16], architecture="resnet18", weights=str(tmp_path / "trunk.pth"))
    assert torch.equal(loaded.features.conv1.weight, plain.conv1.weight)


def test_a_local_file_of_another_architecture_is_refused(tmp_path):
    torch.save(torchvision.models.resnet34(weights=None).state_dict(), tmp_path / "trunk.pth")
    with pytest.raises(InputError, match="does not hold the weights of resnet18"):
        CordCompressionNet([16], architecture="resnet18", weights=str(tmp_path / "trunk.pth"))


def test_a_pickle_with_code_is_not_loaded(tmp_path):
    torch.save({"model": object}, tmp_path / "evil.pth")
    with pytest.raises(InputError, match="can be loaded safely"):
        CordCompressionNet([16], architecture="resnet18", weights=str(tmp_path / "evil.pth"))


def test_offline_without_a_cached_file_says_where_to_put_which_file(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(InputError) as caught:
        CordCompressionNet(architecture="resnet50", weights="IMAGENET1K_V2")
    assert str(tmp_path / "hub" / "checkpoints" / "resnet50-11ad3fa6.pth") in str(caught.value)
    assert "--weights null" in str(caught.value)


def test_unknown_weights_and_architectures_are_named():
    with pytest.raises(InputError, match=r"IMAGENET1K_V1.*got 'IMAGENET'"):
        CordCompressionNet(architecture="resnet50", weights="IMAGENET")
    with pytest.raises(InputError, match="got 'vgg16'"):
        CordCompressionNet(architecture="vgg16")


def test_a_checkpoint_says_what_its_network_takes_and_gives(small_weights):
    interface = torch.load(small_weights, weights_only=True)["interface"]
    assert interface == network_interface("imagenet")
    assert interface["output"]["logits"] == ["compressed"]


def test_an_unknown_profile_has_no_interface():
    with pytest.raises(InputError, match="profile must be imagenet or paper, got 'raw'"):
        network_interface("raw")
