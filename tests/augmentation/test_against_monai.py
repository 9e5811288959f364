"""Changes of whole batches are those that MONAI makes one sample at a time: each pixel, and how often."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.transforms import (
    AdjustContrast,
    Affine,
    CenterSpatialCrop,
    GaussianSmooth,
    GibbsNoise,
    RandAdjustContrast,
    RandAffine,
    RandBiasField,
    RandGaussianNoise,
    RandGaussianSmooth,
    RandGibbsNoise,
    RandScaleIntensity,
    ThresholdIntensity,
)
from scipy.stats import ks_2samp

from scripts.augmentation import (
    CentralCropBatchd,
    NonNegativeBatchd,
    RandAffineBatchd,
    RandBiasFieldBatchd,
    RandBlurBatchd,
    RandFlipBatchd,
    RandGammaBatchd,
    RandGibbsBatchd,
    RandNoiseBatchd,
    RandScaleBatchd,
)

DRAWS = 600
SAME = 0.001
"""Two samples of one distribution differ by more than the Kolmogorov-Smirnov test allows in one of 1000 cases."""


@pytest.fixture(scope="module", params=[(3, 1, 40, 40), (4, 3, 33, 47)], ids=["square", "oblong with neighbours"])
def images(request):
    return torch.rand(request.param, generator=torch.Generator().manual_seed(0))


def applied(transform, images, values):
    """Change images by given parameters."""
    return transform.change(images, torch.from_numpy(np.stack(values).astype(np.float32)))


class Dealt:
    """A generator that gives numbers of a list in place of uniform ones."""

    def __init__(self, *values):
        self.values = list(values)

    def uniform(self, low, high):
        value = self.values.pop(0)
        assert low <= value <= high
        return value


def test_an_affine_change_is_monais(images):
    transform = RandAffineBatchd("image", 1.0, 0.4, (0.3, 0.3), (9.0, 9.0))
    settings = [(0.3, 4.5, -7.2, 0.2, -0.1), (-0.1, 0.0, 3.0, -0.2, 0.3), (0.0, 0, 0, 0, 0), (0.0, -6.4, 1, 0, 0)]
    settings = settings[: len(images)]
    shape = tuple(images.shape[1:])
    found = applied(transform, images, [transform.draw(Dealt(*one), shape) for one in settings])
    for image, result, (angle, down, right, tall, wide) in zip(images, found, settings, strict=True):
        monais = Affine(angle, None, (down, right), (1 + tall, 1 + wide), padding_mode="zeros", image_only=True)
        assert torch.allclose(result, monais(image).as_tensor(), atol=2e-5)
        assert angle == down == 0 or not torch.allclose(result, image, atol=0.1)


def test_gamma_is_monais(images):
    gammas = np.linspace(0.7, 1.4, len(images))
    found = applied(RandGammaBatchd("image", 1.0, (0.7, 1.4)), images, list(gammas))
    for image, result, gamma in zip(images, found, gammas, strict=True):
        assert torch.allclose(result, AdjustContrast(float(gamma))(image).as_tensor(), atol=1e-6)


def test_blur_is_monais(images):
    transform = RandBlurBatchd("image", 1.0, (0.2, 1.5), (0.3, 2.0))
    sigmas = np.stack([np.linspace(0.2, 1.5, len(images)), np.linspace(2.0, 0.3, len(images))], axis=1)
    found = applied(transform, images, [transform.draw(Dealt(*pair), ()) for pair in sigmas])
    for image, result, pair in zip(images, found, sigmas, strict=True):
        assert torch.allclose(result, GaussianSmooth(pair.tolist())(image).as_tensor(), atol=1e-6)


def test_ringing_is_monais(images):
    transform = RandGibbsBatchd("image", 1.0, (0.0, 0.8))
    alphas = np.linspace(0.0, 0.8, len(images))
    found = applied(transform, images, [transform.draw(Dealt(one), tuple(images.shape[1:])) for one in alphas])
    for image, result, alpha in zip(images, found, alphas, strict=True):
        assert torch.allclose(result, GibbsNoise(alpha)(image).as_tensor(), atol=1e-5)
    assert not torch.allclose(found[-1], images[-1], atol=0.1)


def test_shading_is_monais(images):
    transform, found = RandBiasFieldBatchd("image", 1.0, (0.0, 0.2)), []
    coefficients = [np.random.default_rng(number).uniform(0, 0.2, 10) for number in range(len(images))]
    for one in coefficients:
        matrix = np.zeros((4, 4))
        matrix[np.tril_indices(4)] = one
        found.append(matrix)
    for image, result, one in zip(images, applied(transform, images, found), coefficients, strict=True):
        monais = RandBiasField(prob=1.0)
        monais._coeff, monais._do_transform = one.tolist(), True
        assert torch.allclose(result, monais(image, randomize=False).as_tensor(), atol=1e-5)


def test_mirroring_cropping_and_clipping_are_exact(images):
    for axis in (0, 1):
        assert torch.equal(RandFlipBatchd("image", 1.0, axis).change(images, torch.zeros(1)), images.flip(2 + axis))
    for side in (20, 33, 36, 60):
        cropped = CentralCropBatchd("image", side)({"image": images})["image"]
        assert torch.equal(cropped[0], CenterSpatialCrop(side)(images[0]).as_tensor())
    signed = images - 0.5
    clipped = NonNegativeBatchd("image")({"image": signed, "outlines": signed})
    assert torch.equal(clipped["image"], ThresholdIntensity(0.0)(signed).as_tensor())
    assert torch.equal(clipped["outlines"], signed)


def of_affine(transform):
    grid = transform.rand_affine_grid
    return [grid.rotate_params[0], *grid.translate_params, *(one - 1 for one in grid.scale_params)]


class Recorded:
    """A generator that keeps what it draws."""

    def __init__(self, seed):
        self.generator, self.values = np.random.default_rng(seed), []

    def random(self):
        return self.generator.random()

    def uniform(self, *arguments):
        value = self.generator.uniform(*arguments)
        self.values += np.atleast_1d(value).tolist()
        return value

    def standard_normal(self, *arguments, **options):
        return self.generator.standard_normal(*arguments, **options)


PAIRS = {
    "affine": (
        RandAffineBatchd("image", 0.8, 0.175, (0.1, 0.2), (3.0, 4.0)),
        RandAffine(0.8, 0.175, None, (3.0, 4.0), (0.1, 0.2)),
        of_affine,
    ),
    "gamma": (
        RandGammaBatchd("image", 0.3, (0.8, 1.25)),
        RandAdjustContrast(0.3, (0.8, 1.25)),
        lambda one: [one.gamma_value],
    ),
    "scale": (RandScaleBatchd("image", 0.5, 0.1), RandScaleIntensity(0.1, 0.5), lambda one: [one.factor]),
    "blur": (
        RandBlurBatchd("image", 0.2, (0.3, 1.0), (0.5, 2.0)),
        RandGaussianSmooth((0.3, 1.0), (0.5, 2.0), prob=0.2),
        lambda one: [one.x, one.y],
    ),
    "ringing": (
        RandGibbsBatchd("image", 0.2, (0.0, 0.5)),
        RandGibbsNoise(0.2, (0.0, 0.5)),
        lambda one: [one.sampled_alpha],
    ),
    "shading": (
        RandBiasFieldBatchd("image", 0.3, (0.0, 0.2)),
        RandBiasField(prob=0.3, coeff_range=(0.0, 0.2)),
        lambda one: one._coeff,
    ),
    "noise": (RandNoiseBatchd("image", 0.3, 0.04), RandGaussianNoise(0.3, 0.0, 0.04), lambda one: [one.noise.std()]),
}


@pytest.mark.parametrize("name", PAIRS)
def test_who_is_changed_and_by_how_much_is_distributed_as_before(name):
    """The share of samples that are changed, and of those every parameter's distribution."""
    ours, monais, drawn_of = PAIRS[name]
    image = torch.rand(1, 12, 12)
    generators = [Recorded(seed) for seed in range(DRAWS)]
    ours({"image": image.expand(DRAWS, -1, -1, -1)}, generators)
    drawn = np.array([one.values for one in generators if one.values])
    expected = []
    for seed in range(DRAWS):
        monais.set_random_state(seed=seed)
        monais(image)
        if monais._do_transform:
            expected.append(drawn_of(monais))
    expected = np.array(expected)
    counts = (len(drawn), len(expected))
    assert abs(counts[0] - counts[1]) < 4 * np.sqrt(2 * DRAWS * monais.prob * (1 - monais.prob))
    assert drawn.shape[1] == expected.shape[1]
    if name == "noise":  # MONAI keeps the noise, not its deviation
        assert ks_2samp(drawn[:, 0], expected[:, 0]).pvalue > SAME / 10
        return
    for mine, theirs in zip(drawn.T, expected.T, strict=True):
        assert ks_2samp(mine, theirs).pvalue > SAME


def test_the_noise_has_the_deviation_that_was_drawn():
    image = torch.zeros(3, 1, 60, 60)
    generators = [Recorded(seed) for seed in range(3)]
    noise = RandNoiseBatchd("image", 1.0, 0.04)({"image": image}, generators)["image"]
    for one, generator in zip(noise, generators, strict=True):
        assert float(one.std()) == pytest.approx(generator.values[0], rel=0.06)
        assert abs(float(one.mean())) < 0.04 * generator.values[0] * 3
