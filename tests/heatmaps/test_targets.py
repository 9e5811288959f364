"""What heat maps of further tasks explain, and how hot they are."""

from __future__ import annotations

import pytest
import torch

from scripts.errors import InputError
from scripts.heatmaps.grad_cam import enlarge, grad_cam
from scripts.heatmaps.targets import explained, heat_in_words
from scripts.heatmaps.views import all_views, map_back
from scripts.inferers import SeriesInferer
from scripts.networks import CordCompressionNet
from scripts.tasks import TASKS, columns_of, probabilities, result_cells
from scripts.transforms import to_network_input

NAMES = [task.name for task in TASKS]
_, GRADE, KIND, T2_SIGNAL = TASKS


def logit(p: float) -> float:
    return float(torch.tensor(p, dtype=torch.float64).logit())


@pytest.mark.parametrize(
    ("steps", "weights", "chance"),
    [
        ((0.9, 0.8, 0.1), (1, 1, 0), 0.72),  # grade 2: P(y > 0) P(y > 1 | y > 0)
        ((0.9, 0.9, 0.9), (1, 1, 1), 0.729),  # grade 3
        ((0.9, 0.2, 0.9), (1, 0, 0), 0.9),  # grade 1
        ((0.2, 0.9, 0.9), (1, 0, 0), 0.2),  # grade 0: the map of 1 or higher, and cold
    ],
)
def test_a_map_of_the_grade_explains_the_steps_up_to_the_called_one(steps, weights, chance):
    found, probability = explained(torch.tensor([list(map(logit, steps))]), GRADE)
    assert found.tolist() == [list(weights)]
    assert probability.tolist() == pytest.approx([chance])


@pytest.mark.parametrize(
    ("shares", "weights", "chance"),
    [((0.2, 0.7, 0.1), (0, 1, 0), 0.7), ((0.2, 0.3, 0.5), (0, 0, 1), 0.5), ((0.9, 0.02, 0.08), (0, 0, 1), 0.08)],
)
def test_a_map_of_the_kind_explains_the_likeliest_compression(shares, weights, chance):
    found, probability = explained(torch.tensor([shares]).log() + 3, KIND)
    assert found.tolist() == [list(weights)]
    assert probability.tolist() == pytest.approx([chance])


@pytest.mark.parametrize("task", TASKS[1:], ids=NAMES[1:])
def test_what_is_explained_has_the_probability_of_its_classes(task):
    logits = torch.randn(50, 8, generator=torch.Generator().manual_seed(1)) * 3
    own = logits[:, columns_of(TASKS)[task.name]]
    weights, chance = explained(own, task)
    shares = probabilities(own, task)
    for number, row in enumerate(result_cells(logits, TASKS)):
        first = int(weights[number].argmax() if task.kind == "nominal" else weights[number].sum())
        wanted = shares[number, first] if task.kind == "nominal" else shares[number, first:].sum()
        assert float(chance[number]) == pytest.approx(float(wanted), abs=1e-5)
        assert heat_in_words(row, task).endswith(f" {float(chance[number]):.2f}")
        assert f"{task.classes[first] if task.kind != 'binary' else 't2_signal'}" in heat_in_words(row, task)


def test_a_slice_without_a_score_explains_nothing():
    assert heat_in_words({"grade_called": None}, GRADE) == "-"


@pytest.fixture(scope="module")
def several() -> CordCompressionNet:
    torch.manual_seed(0)
    network = CordCompressionNet([8], architecture="resnet18", tasks=NAMES, branch="layer4").eval()
    for branch in network.branches.values():
        branch.head.logit.weight.data.mul_(40)  # so that slices are called differently
    return network


@pytest.fixture(scope="module")
def volume() -> torch.Tensor:
    return torch.rand(1, 1, 64, 64, 4, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("task", TASKS[1:], ids=NAMES[1:])
def test_a_series_map_of_a_task_is_that_of_its_explained_logits(several, volume, task):
    found = SeriesInferer(tasks=NAMES, heatmap_task=task.name)(volume, several)[0]
    image = to_network_input(volume[0].permute(3, 0, 1, 2), "imagenet")
    with torch.no_grad():
        logits = several(image)
    own = columns_of(TASKS)[task.name]
    weights, chance = explained(logits[:, own], task)
    maps = torch.stack([grad_cam(several, image, sign=0, output=n)[1] for n in range(own.start, own.stop)], 1)
    wanted = enlarge(torch.relu((weights[..., None, None] * maps).sum(1)), (64, 64))
    assert torch.allclose(found[2].permute(2, 0, 1), wanted, atol=1e-4)
    assert torch.allclose(found[[0, *range(3, 10)], 0, 0].T, logits, atol=1e-4)
    peak = found[1].amax((0, 1))
    assert torch.allclose(peak, torch.where(wanted.amax((1, 2)) > 0, chance, 0), atol=1e-5)


def test_the_logits_of_every_task_are_averaged_over_the_views_and_its_map_is_mapped_back(several, volume):
    inferer = SeriesInferer(tasks=NAMES, heatmap_task="kind", test_time_average=True, hotspots=True)
    found = inferer(volume[..., :1], several)[0]
    slices, views = volume[0, ..., :1].permute(3, 0, 1, 2), all_views(64, 64)
    images = [to_network_input(view.apply(slices), "imagenet") for view in views]
    with torch.no_grad():
        logits = torch.stack([several(image) for image in images]).mean(0)
    assert torch.allclose(found[[0, *range(3, 10)], 0, 0].T, logits, atol=1e-4)
    output = 4 + int(explained(logits[:, 4:7], KIND)[0].argmax())  # in all views, that of the averaged logits
    maps = [enlarge(grad_cam(several, image, output=output)[1], (64, 64)) for image in images]
    assert torch.allclose(found[2, ..., 0], map_back(maps, views)[0], atol=1e-4)


@pytest.mark.parametrize("name", ["nope", "grade"])
def test_a_task_that_the_network_lacks_is_refused(name):
    known = r"\(compressed, kind\)"
    with pytest.raises(InputError, match=f"heatmap_task must be one of the tasks of the network {known}, got '{name}'"):
        SeriesInferer(tasks=["compressed", "kind"], heatmap_task=name)
