"""What a training records of itself."""

from __future__ import annotations

import pytest
import torch

from scripts.augmentation import (
    Augmentation,
    CentralCropBatchd,
    RandAffineBatchd,
    RandBlurBatchd,
    RandContrastCurveBatchd,
    RandFlipBatchd,
    RandGammaBatchd,
)
from scripts.ensembles import common
from scripts.models.settings import is_record
from scripts.models.training_record import training_record

AUGMENTATION = Augmentation(
    [
        RandFlipBatchd("image", prob=0.5, spatial_axis=1),
        RandAffineBatchd("image", prob=0.8, rotate_range=0.175, translate_range=[3.2, 3.2], scale_range=[0.1, 0.1]),
        CentralCropBatchd("image", 64),
        RandGammaBatchd("image", prob=0.3, gamma=[0.8, 1.25]),
        RandBlurBatchd("image", prob=0.2, sigma_x=[0.3, 1.0], sigma_y=[0.3, 1.0]),
        RandContrastCurveBatchd("image", prob=0.4),
    ]
)


@pytest.mark.parametrize(
    ("kind", "options", "beta1"), [(torch.optim.Adam, {"betas": (0.8, 0.999)}, 0.8), (torch.optim.SGD, {}, None)]
)
def test_a_record_is_read_off_the_parts_of_the_training(kind, options, beta1):
    optimizer = kind([torch.zeros(1, requires_grad=True)], lr=3e-4, **options)
    optimizer.param_groups[0]["lr"] = 1e-9  # as a schedule would leave it
    record = training_record(None, optimizer, 16, 0.3, 200, 50, 10, AUGMENTATION)
    assert (record["optimizer"], record["learning_rate"], record["beta1"]) == (kind.__name__, 3e-4, beta1)
    assert record["pretrained"] == "none"
    assert record["augmentation"] == [
        "RandFlipBatchd: prob 0.5, spatial_axis 1",
        "RandAffineBatchd: prob 0.8, rotate_range 0.175, scale_range 0.1, translate_range 3.2",
        "RandGammaBatchd: prob 0.3, gamma 0.8 to 1.25",
        "RandBlurBatchd: prob 0.2, sigma_x 0.3 to 1, sigma_y 0.3 to 1",
        "RandContrastCurveBatchd: prob 0.4, n_levels 6, rising 0.5",
    ]
    assert is_record(record)


def test_a_record_holds_plain_values_alone():
    for wrong in ([], {"a": {"b": 1}}, {"a": [[1]]}, {1: "a"}, {"a": torch.zeros(1)}):
        assert not is_record(wrong)


def test_what_an_ensemble_has_in_common_is_told_and_what_not_is_named():
    members = [{"image_size": 128, "epoch": 3}, {"image_size": 128, "epoch": 5}]
    assert (common("image_size", members, "differs"), common("epoch", members, "differs")) == (128, "differs")
