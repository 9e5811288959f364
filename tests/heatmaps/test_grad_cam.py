"""Grad-CAM."""

from __future__ import annotations

import copy

import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from monai.visualize import GradCAM as MonaiGradCAM
from tiny_models import Brightness

from scripts.errors import InputError
from scripts.handlers import GradCAM
from scripts.heatmaps.grad_cam import enlarge, grad_cam, maps_of_task, normalise, rectified
from scripts.inferers import SeriesInferer
from scripts.networks import CordCompressionNet
from scripts.transforms import to_network_input


@pytest.fixture(scope="module")
def network() -> CordCompressionNet:
    torch.manual_seed(0)
    return CordCompressionNet([16], architecture="resnet18").eval()


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.rand(3, 3, 96, 96, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("layer", ["layer4", "layer3"])
def test_the_map_equals_monais_before_its_own_scaling(network, image, layer):
    logits, coarse = grad_cam(network, image, layer)
    reference = MonaiGradCAM(copy.deepcopy(network), f"features.{layer}", postprocessing=lambda x: x)
    expected = torch.cat([reference(one[None], class_idx=0) for one in image])[:, 0]
    assert torch.allclose(logits, network(image), atol=1e-6)
    assert torch.allclose(enlarge(coarse, (96, 96)), expected, atol=1e-5)


def test_the_negative_logit_speaks_of_what_was_against(network, image):
    both = grad_cam(network, image)[1] + grad_cam(network, image, sign=-1)[1]
    assert (grad_cam(network, image)[1] * grad_cam(network, image, sign=-1)[1] == 0).all()
    assert both.max() > 0


def test_a_bright_disc_is_hot_and_its_surroundings_are_cold():
    axis = torch.arange(64) - 31.5
    disc = ((axis[:, None] + 12) ** 2 + (axis[None] - 16) ** 2 <= 36).float()
    volume = disc[None, None, :, :, None]
    heat = SeriesInferer(profile="paper")(volume, Brightness().eval())[0, 1, :, :, 0]
    assert divmod(int(heat.argmax()), 64) == (pytest.approx(19.5, abs=4), pytest.approx(47.5, abs=4))
    assert heat[disc > 0].mean() > 10 * heat[disc == 0].mean()


def test_a_torchscript_copy_gives_the_same_map(network, image):
    for value, expected in zip(grad_cam(torch.jit.script(network), image), grad_cam(network, image), strict=True):
        assert torch.allclose(value, expected, atol=1e-5)


def test_it_works_under_inference_mode_and_leaves_no_trace(network, image):
    network.train()
    network.features.eval()
    with torch.inference_mode():
        first, second = grad_cam(network, image)[1], grad_cam(network, image)[1]
    assert torch.equal(first, second)  # dropout was off
    assert network.head.training
    assert not network.features._forward_hooks
    assert all(value.grad is None for value in network.parameters())
    network.eval()


def test_the_handler_adds_the_same_map_to_an_evaluator_and_removes_its_hook(network, image):
    batches = DataLoader([{"image": one, "label": torch.zeros(1)} for one in image], batch_size=2)
    seen: list[torch.Tensor] = []

    class Keep:
        def attach(self, engine: Engine) -> None:
            engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: seen.append(e.state.output["heatmap"]))

    handlers = [GradCAM(network), Keep()]
    SupervisedEvaluator("cpu", batches, network, val_handlers=handlers, decollate=False).run()
    assert torch.allclose(torch.cat(seen), enlarge(grad_cam(network, image)[1], (96, 96)), atol=1e-5)
    assert not network.features.layer4._forward_hooks


def test_a_map_without_heat_stays_zero_instead_of_becoming_nan():
    assert torch.equal(normalise(torch.zeros(2, 4, 4)), torch.zeros(2, 4, 4))


def test_unknown_layers_and_signs_are_named(network, image):
    with pytest.raises(InputError, match=r"layer4, got 'layer9'"):
        grad_cam(network, image, "layer9")
    with pytest.raises(InputError, match="got 2"):
        grad_cam(network, image, sign=2)


TASKS = ["compressed", "grade", "kind", "t2_signal"]


@pytest.mark.parametrize("branch", ["none", "layer4", "head"])
@pytest.mark.parametrize(("output", "task"), [(0, ""), (1, "grade"), (3, "grade"), (4, "kind"), (7, "t2_signal")])
def test_every_logit_has_a_map_through_its_own_branch(image, branch, output, task):
    torch.manual_seed(0)
    several = CordCompressionNet([8], architecture="resnet18", tasks=TASKS, branch=branch).eval()
    logits, coarse = grad_cam(several, image, output=output)
    assert torch.allclose(logits, several(image)[:, output : output + 1], atol=1e-5)
    target = f"branches.{task}.layer4" if task and branch != "head" else "features.layer4"
    reference = MonaiGradCAM(copy.deepcopy(several), target, postprocessing=lambda x: x)
    expected = torch.cat([reference(one[None], class_idx=output) for one in image])[:, 0]
    assert torch.allclose(enlarge(coarse, (96, 96)), expected, atol=1e-5)
    assert torch.allclose(grad_cam(torch.jit.script(several), image, output=output)[1], coarse, atol=1e-5)


@pytest.mark.parametrize("output", [8, -1])
def test_an_unknown_output_is_named(image, output):
    several = CordCompressionNet([8], architecture="resnet18", tasks=TASKS)
    with pytest.raises(InputError, match=f"output must be from 0 to 7, the logits of the network; got {output}"):
        grad_cam(several, image, output=output)


def test_a_series_has_the_logits_of_every_task_after_what_it_has_of_compressed():
    torch.manual_seed(0)
    network = CordCompressionNet([16], architecture="resnet18").eval()
    torch.manual_seed(0)
    several = CordCompressionNet([16], architecture="resnet18", tasks=TASKS[:2], branch="layer3").eval()
    volume = torch.rand(1, 1, 64, 64, 3)
    for heatmap in (True, False):
        inferer = SeriesInferer(heatmap=heatmap)
        found = inferer(volume, several)
        assert torch.equal(found[:, :3], inferer(volume, network))
        with torch.no_grad():
            logits = several(to_network_input(volume[0].permute(3, 0, 1, 2), "imagenet"))
        for column, channel in ((0, 0), (1, 3), (2, 4), (3, 5)):
            assert torch.allclose(found[0, channel], logits[:, column].expand(64, 64, 3), atol=1e-5)


@pytest.mark.parametrize("layer", ["layer4", "layer3", "conv1"])
@pytest.mark.parametrize("branch", ["none", "layer3", "layer4", "head"])
def test_all_logits_come_with_the_map_of_compressed(image, branch, layer):
    torch.manual_seed(0)
    several = CordCompressionNet([8], architecture="resnet18", tasks=TASKS, branch=branch).eval()
    for own in (several, torch.jit.script(several)) if layer == "layer4" else (several,):
        logits, maps = maps_of_task(own, image[:2], layer)
        assert torch.allclose(logits, several(image[:2]), atol=1e-5)
        assert torch.equal(rectified(maps[:, 0], 1), grad_cam(own, image[:2], layer)[1])


@pytest.mark.parametrize(
    ("branch", "layer", "scripted"),
    [("none", "layer4", False), ("layer4", "layer3", False), ("layer3", "layer4", True), ("head", "layer4", False)],
)
def test_all_logits_come_with_the_maps_of_any_task(image, branch, layer, scripted):
    torch.manual_seed(0)
    several = CordCompressionNet([8], architecture="resnet18", tasks=TASKS, branch=branch).eval()
    own = torch.jit.script(several) if scripted else several
    for task, outputs in (("grade", (1, 2, 3)), ("kind", (4, 5, 6)), ("t2_signal", (7,))):
        logits, maps = maps_of_task(own, image[:2], layer, task)
        assert torch.allclose(logits, several(image[:2]), atol=1e-5)
        for number, output in enumerate(outputs[-2:], len(outputs) - len(outputs[-2:])):
            wanted = grad_cam(several, image[:2], layer, sign=0, output=output)[1]
            assert torch.allclose(maps[:, number], wanted, atol=1e-5)
    with pytest.raises(InputError, match="no task 'nope'; expected compressed or grade or kind or t2_signal"):
        maps_of_task(several, image, layer, "nope")


def test_a_series_in_batches_equals_its_slices_one_by_one(network):
    volume = torch.rand(1, 1, 64, 64, 5)
    whole = SeriesInferer(batch_size=4)(volume, network)
    assert whole.shape == (1, 3, 64, 64, 5)
    for number in range(5):
        alone = SeriesInferer(batch_size=1)(volume[..., number : number + 1], network)
        assert torch.allclose(whole[..., number], alone[..., 0], atol=1e-5)
        assert whole[0, 1, :, :, number].max() <= torch.sigmoid(whole[0, 0, 0, 0, number]) + 1e-6
