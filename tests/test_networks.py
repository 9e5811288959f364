"""The slice classifier."""

from __future__ import annotations

import urllib.error

import pytest
import torch
import torchvision
from conftest import ROOT
from monai.bundle import ConfigParser

from bundle.exporting import compare, write_exported_program, write_onnx, write_torchscript
from scripts import checkpoints
from scripts.errors import InputError
from scripts.heatmaps.grad_cam import grad_cam
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


@pytest.mark.parametrize("assign", [True, False])
@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.complex64])
def test_weights_of_a_type_that_no_training_writes_are_refused_by_that_type(network, dtype, assign):
    state = network.state_dict()
    state["head.logit.weight"] = state["head.logit.weight"].to(dtype)
    with pytest.raises(InputError, match=rf"head\.logit\.weight is of type {dtype}, expected torch\.float32"):
        network.load_state_dict(state, assign=assign)


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
    assert interface["output"]["layout"] == "(N, 1) float32 logits"
    assert "tasks" not in interface["output"]


def test_an_unknown_profile_has_no_interface():
    with pytest.raises(InputError, match="profile must be imagenet or paper, got 'raw'"):
        network_interface("raw")


TASKS = ["compressed", "grade", "kind", "t2_signal"]
BRANCHES = {"none": "conv1", "layer3": "layer3", "layer4": "layer4", "head": "head"}


@pytest.fixture(scope="module", params=BRANCHES)
def branched(request) -> CordCompressionNet:
    torch.manual_seed(0)
    return CordCompressionNet([16], architecture="resnet18", tasks=TASKS, branch=request.param).eval()


def test_compressed_is_what_it_is_without_the_other_tasks(branched):
    torch.manual_seed(0)
    alone = CordCompressionNet([16], architecture="resnet18").eval()
    image = torch.rand(3, 3, 64, 64)
    assert branched(image).shape == (3, 8)
    assert torch.equal(branched(image)[:, :1], alone(image))
    assert list(alone.state_dict()) == [name for name in branched.state_dict() if not name.startswith("branches.")]


def test_further_tasks_share_what_comes_before_their_branch_alone(request, branched):
    first = BRANCHES[request.node.callspec.params["branched"]]
    names = [*(name for name, _ in branched.features.named_children()), "pool", "head"]
    for branch in branched.branches.children():
        assert [name for name, _ in branch.named_children()] == names[names.index(first) :]
    own = {id(value) for value in branched.branches.parameters()}
    assert not own & {id(value) for part in (branched.features, branched.head) for value in part.parameters()}
    branched.zero_grad()
    branched(torch.rand(2, 3, 64, 64))[:, 1].sum().backward()
    parts = branched.features.named_children()
    trained = [name for name, part in parts if any(value.grad.any() for value in part.parameters())]
    assert trained == [name for name in names[: names.index(first)] if name[:4] in ("conv", "bn1", "laye")]
    assert not any(value.grad.any() for value in branched.head.parameters())


def test_copies_begin_with_the_pretrained_trunk(tmp_path):
    plain = torchvision.models.resnet18(weights=None)
    torch.save(plain.state_dict(), tmp_path / "trunk.pth")
    weights = str(tmp_path / "trunk.pth")
    loaded = CordCompressionNet([16], weights=weights, architecture="resnet18", tasks=TASKS, branch="layer4")
    for branch in loaded.branches.children():
        assert torch.equal(branch.layer4[0].conv1.weight, plain.layer4[0].conv1.weight)


def test_torchscript_gives_the_logits_of_branches(branched):
    image = torch.rand(2, 3, 64, 64)
    assert torch.allclose(torch.jit.script(branched)(image), branched(image), atol=1e-5)


@pytest.mark.slow
def test_all_exports_hold_for_branches_and_for_timm(tmp_path):
    pytest.importorskip("timm", reason="timm comes with the extra timm")
    torch.manual_seed(0)
    network = CordCompressionNet(
        [8], architecture="timm:resnet18", tasks=["compressed", "kind", "grade"], branch="layer4"
    )
    image = torch.rand(3, 3, 64, 64)
    config = ROOT / "configs" / "inference.json"
    runs = {"eager": network.eval().__call__, "model.onnx": write_onnx(network, tmp_path / "model.onnx", image)}
    runs["model.ts"] = write_torchscript(network, tmp_path / "model.ts", {}, config)
    runs["model.pt2"] = write_exported_program(network, tmp_path / "model.pt2", image)
    assert all(one["largest_difference"] < 1e-4 for one in compare(runs, image).values())
    loaded = torch.jit.load(str(tmp_path / "model.ts"))
    for value, expected in zip(grad_cam(loaded, image, output=5), grad_cam(network, image, output=5), strict=True):
        assert torch.allclose(value, expected, atol=1e-5)


@pytest.mark.parametrize("branch", ["layer9", "pool", "", "conv1.weight"])
def test_another_branch_is_refused(branch):
    with pytest.raises(InputError, match=f"branch must be one of none, conv1, .*, layer4, head, got '{branch}'"):
        CordCompressionNet([16], architecture="resnet18", tasks=TASKS, branch=branch)


def test_the_interface_names_the_logits_of_every_task():
    output = network_interface("imagenet", TASKS)["output"]
    assert output["layout"] == "(N, 8) float32 logits"
    assert output["logits"] == [name for task in output["tasks"] for name in task["logits"]]
    assert output["logits"][0] == "compressed"
    assert network_interface("imagenet", ["compressed"]) == network_interface("imagenet")


@pytest.mark.parametrize("content", [b"patient_id,site\n", b"", b"PK\x03\x04", b"\x80\x02]q\x00."])
def test_nobody_is_told_to_load_a_refused_file_as_a_program(tmp_path, content):
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"model\.pt is no checkpoint that can be loaded safely") as caught:
        checkpoints.read(tmp_path / "model.pt")
    assert not any(word in str(caught.value) for word in ("weights_only", "torch.load", "Re-running", "\n"))
