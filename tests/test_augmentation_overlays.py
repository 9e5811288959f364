"""The overlays that change how slices are augmented."""

from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from scripts.files import ROOT

OVERLAYS = sorted((ROOT / "configs" / "augmentation").glob("*.json"))


def augmentation(overlay: Path | None, **settings: object) -> tuple[ConfigParser, object]:
    """Return train.json with an overlay, and its augmentation."""
    parser = ConfigParser()
    parser.read_config([str(ROOT / "configs" / "train.json"), *([str(overlay)] if overlay else [])])
    for name, value in settings.items():
        parser[name] = value
    return parser, parser.get_parsed_content("train#augmentation")


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.stem)
@pytest.mark.parametrize(("side_mm", "channels"), [(None, 1), (60, 3)])
def test_an_overlay_keeps_size_and_channels_and_repeats_by_its_seed(
    overlay: Path, side_mm: float | None, channels: int
) -> None:
    _, chain = augmentation(overlay, image_size=64, side_mm=side_mm)
    picture = torch.rand(channels, 84 if side_mm else 64, 84 if side_mm else 64)
    found = []
    for seed in (1, 1, 2):
        found.append(chain({"image": picture[None].clone()}, [(seed, 1, 0)])["image"][0])  # type: ignore[operator]
    assert found[0].shape == (channels, 64, 64)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert all(torch.isfinite(one).all() for one in found)
    assert all(one.min() >= 0 for one in found)


def test_the_overlay_for_other_sequences_adds_to_what_train_json_does() -> None:
    plain, _ = augmentation(None)
    more, _ = augmentation(ROOT / "configs" / "augmentation" / "sequences.json")
    own, added = plain["train#random_transforms"], more["train#random_transforms"]
    assert added[: len(own)] == own
    assert next(one["_target_"] for one in added[len(own) :]) == "scripts.augmentation.RandContrastCurveBatchd"
