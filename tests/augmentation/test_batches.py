"""What holds for every change of a batch: who gets what depends on the seed alone, and nobody else is touched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import ROOT
from monai.bundle import ConfigParser
from monai.transforms import RandFlipd

from scripts.augmentation import Augmentation, RandContrastCurveBatchd, RandGammaBatchd, RandScaleBatchd
from scripts.augmentation.contrast import curved
from scripts.errors import InputError


def shipped(*overlays: str, side_mm: float | None = None) -> Augmentation:
    """The augmentation of the shipped configs, every change of it with a probability of one half or more."""
    parser = ConfigParser()
    parser.read_config([str(ROOT / "configs" / name) for name in ("train.json", *overlays)])
    parser["image_size"], parser["side_mm"] = 32, side_mm
    found = parser.get_parsed_content("train#augmentation")
    for one in found.transforms:
        if hasattr(one, "prob"):
            one.prob = max(one.prob, 0.5)
    return found


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    return torch.rand(6, 1, 40, 40, generator=torch.Generator().manual_seed(0))


def test_a_sample_gets_the_same_in_any_batch(picture):
    chain = shipped("augmentation/sequences.json")
    seeds = [(3, 1, index) for index in range(len(picture))]
    together = chain({"image": picture}, seeds)["image"]
    order = [4, 1, 5]
    others = chain({"image": picture[order]}, [seeds[index] for index in order])["image"]
    assert torch.allclose(others, together[order], atol=1e-6)
    again = chain({"image": picture}, seeds)["image"]
    assert torch.equal(again, together)
    for changed in ([(4, 1, index) for index in range(6)], [(3, 2, index) for index in range(6)]):
        assert not torch.allclose(chain({"image": picture}, changed)["image"], together, atol=0.01)


def test_who_is_not_chosen_stays_as_it_is_bit_for_bit(picture):
    seeds = [(0, 0, index) for index in range(6)]
    transform = RandScaleBatchd("image", 0.5, 0.1)
    found = Augmentation([transform])({"image": picture}, seeds)["image"]
    chosen = [np.random.default_rng(seed).random() < 0.5 for seed in seeds]
    assert 0 < sum(chosen) < 6
    assert [not torch.equal(*pair) for pair in zip(found, picture, strict=True)] == chosen
    assert torch.equal(picture, torch.rand(6, 1, 40, 40, generator=torch.Generator().manual_seed(0)))


@pytest.mark.gpu
@pytest.mark.parametrize("overlay", ["augmentation/sequences.json", "augmentation/spinenet.json"])
def test_a_gpu_gives_the_batch_of_the_cpu(picture, overlay):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    chain, seeds = shipped(overlay), [(0, 0, index) for index in range(6)]
    expected = chain({"image": picture}, seeds)["image"]
    found = chain({"image": picture.cuda()}, seeds)["image"]
    assert found.is_cuda
    assert torch.allclose(found.cpu(), expected, atol=1e-4)


def test_a_transform_of_monai_is_refused_by_name():
    with pytest.raises(InputError, match="RandFlipd changes one sample at a time"):
        Augmentation([RandFlipd("image", 0.5)])
    with pytest.raises(InputError, match="prob must be from 0 to 1, got 3"):
        RandGammaBatchd("image", 3, (0.8, 1.2))


def test_a_curve_joins_its_levels_at_even_steps():
    values = torch.tensor([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]).view(1, 1, 1, 6).repeat(2, 1, 1, 1)
    assert curved(values, torch.tensor([[0.0, 1.0]] * 2)).flatten().tolist() == pytest.approx(values.flatten().tolist())
    found = curved(values, torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.5, 0.0]]))
    assert found[0].flatten().tolist() == pytest.approx([1, 0.8, 0.5, 0, 0.5, 1])
    assert found[1].flatten().tolist() == pytest.approx([0, 0.1, 0.25, 0.5, 0.25, 0])
    outside = torch.tensor([-3.0, 9.0]).view(1, 1, 1, 2)
    assert curved(outside, torch.tensor([[0.2, 0.7]])).flatten().tolist() == pytest.approx([0.2, 0.7])


def test_random_curves_keep_the_range_and_half_of_them_rise(picture):
    chain = Augmentation([RandContrastCurveBatchd("image", prob=1.0)])
    found = chain({"image": picture}, [(1, index) for index in range(6)])["image"]
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    lines = torch.linspace(0, 1, 50).expand(40, 1, 1, -1)
    changed = chain({"image": lines}, [(2, index) for index in range(40)])["image"]
    falls = int((changed.diff() < -1e-6).any(-1).sum())
    assert 5 < falls < 25  # of those that do not rise, the ones of which little is mixed in still do
    with pytest.raises(InputError, match="n_levels"):
        RandContrastCurveBatchd("image", n_levels=1)
