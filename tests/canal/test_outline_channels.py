"""The localiser's outlines in the channels: what they hold, who may use them, and that every client sees the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from canal_fixtures import bright_localiser
from conftest import SMALL
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose
from tiny_models import write_t2
from torch import nn

from scripts import checkpoints
from scripts.canal.channels import OutlineChannelsd
from scripts.canal.localiser import Localiser, describe, load_localiser
from scripts.canal.network import CanalNet
from scripts.datasets import SliceDataset
from scripts.errors import InputError
from scripts.files import ROOT
from scripts.networks import CordCompressionNet, network_interface
from scripts.runner import run_config
from scripts.tables import read_table
from scripts.transforms import Centre, crops_of
from scripts.trust.findings import load_model
from scripts.trust.samples import preprocessing


class Halves(nn.Module):
    """Outlines the left half as canal and the upper half as cord."""

    def __init__(self, image_size):
        super().__init__()
        self.image_size, self.side_mm = image_size, 40.0

    def forward(self, image):
        side = self.image_size
        assert image.shape[1:] == (1, side, side)
        first = torch.arange(side) < side // 2
        maps = [torch.zeros(side, side), 20.0 * first[None].expand(side, side) - 10, 20.0 * first[:, None] - 10]
        return torch.stack([one.expand(side, side) for one in maps])[None].expand(len(image), -1, -1, -1)


def squares(side, found, depth=2):
    """Build preprocessed squares whose middle is grey."""
    crops = [{"crop": "canal" if one else "central", "centre_px": [0, 0]} for one in found]
    grey = torch.rand(1, side, side, depth, generator=torch.Generator().manual_seed(0))
    return MetaTensor((grey * 255).round() / 255, affine=torch.eye(4), meta={"crops": json.dumps(crops)})


@pytest.mark.parametrize("localiser_side", [32, 16, 64])
def test_the_channels_are_the_canal_the_slice_and_the_cord(localiser_side):
    image = squares(32, [True, False])
    add = OutlineChannelsd("image", Localiser(Halves(localiser_side)), 32, True)
    seen = add({"image": image})["image"].as_tensor()
    assert torch.equal(seen[1:2], image.as_tensor())
    assert seen[0, :, :14, 0].min() == seen[2, :14, :, 0].min() == 1
    assert seen[0, :, 18:, 0].max() == seen[2, 18:, :, 0].max() == 0
    assert not seen[[0, 2], ..., 1].any()  # where no canal was found nothing is outlined
    assert torch.equal(seen, (seen * 255).round() / 255)


def test_the_margin_of_training_holds_no_outlines_and_the_square_holds_those_of_inference():
    wide = squares(40, [True, True])
    add = OutlineChannelsd("image", Localiser(Halves(32)), 32, True)
    inner = MetaTensor(wide.as_tensor()[:, 4:36, 4:36], meta=wide.meta)
    seen, expected = add({"image": wide})["image"].as_tensor(), add({"image": inner})["image"].as_tensor()
    assert torch.equal(seen[:, 4:36, 4:36], expected)
    border = torch.ones(40, 40, dtype=bool)
    border[4:36, 4:36] = False
    assert not seen[[0, 2]][:, border].any()


def test_without_outlines_nothing_changes_and_no_localiser_is_needed():
    image = squares(32, [True, True])
    assert OutlineChannelsd("image", None, 32)({"image": image})["image"] is image


def test_outlines_need_a_localiser_and_room_in_the_channels():
    with pytest.raises(InputError, match="outlines needs a square around the canal"):
        OutlineChannelsd("image", None, 32, True)
    with pytest.raises(InputError, match="both fill the channels"):
        checkpoints.describe("resnet18", [8], 32, 1.0, "imagenet", context=1, outlines=True)


def test_old_checkpoints_have_no_outlines_and_the_interface_names_the_channels():
    assert checkpoints.DEFAULTS["outlines"] is False
    assert network_interface("imagenet", outlines=True)["input"]["channels"].startswith("probability of the canal, the")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A classifier with random weights that sees what a localiser with random weights outlines."""
    folder = tmp_path_factory.mktemp("outlined")
    torch.manual_seed(0)
    checkpoints.save(folder / "canal.pt", CanalNet([8, 16], 32, 50.0), describe([8, 16], 32, 50.0))
    own = {name: value for name, value in SMALL.items() if name in checkpoints.SETTINGS}
    localiser = load_localiser(str(folder / "canal.pt"))
    settings = {**own, "crop_fraction": 1.0, "profile": "imagenet", "side_mm": 40.0, "outlines": True}
    network = CordCompressionNet(own["head"], architecture=own["architecture"])
    content = checkpoints.describe(**settings, canal=localiser)
    checkpoints.save(folder / "model.pt", network, content, trained_on={"phantom": False}, epoch=1)
    return folder / "model.pt"


def test_a_slice_alone_scores_as_in_its_series(model, tmp_path):
    files = write_t2(tmp_path / "series", n=3)
    content = checkpoints.read_classifier(model)
    logits = {}
    for name, chosen in (("whole", files), ("alone", files[1:2])):
        (tmp_path / name).mkdir()
        for path in chosen:
            (tmp_path / name / path.name).write_bytes(path.read_bytes())
        kept = {one: content[one] for one in checkpoints.SETTINGS}
        limits = {"preprocessing#transforms#4#least_confidence": 0.0}
        places = {"dataset_dir": str(tmp_path / name), "output_dir": str(tmp_path / f"{name} out")}
        run_config(["inference.json"], ckpt_path=str(model), **places, **kept, **limits)
        (table,) = (tmp_path / f"{name} out").glob("*/slices.csv")
        rows = read_table(table, ("sop_uid", "logit", "crop"))
        assert {row["crop"] for row in rows} == {"canal"}
        logits[name] = {row["sop_uid"]: float(row["logit"]) for row in rows}
    ((uid, alone),) = logits["alone"].items()
    assert alone == pytest.approx(logits["whole"][uid], abs=1e-6)


def test_the_outlines_change_the_score(model):
    """Else the other tests would show nothing."""
    network = checkpoints.network_with_weights(checkpoints.read_classifier(model)).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert abs(network(image) - network(image * torch.tensor([0.0, 1.0, 0.0])[:, None, None])).max() > 1e-4


def test_heat_maps_of_a_network_with_outlines_can_be_tested(model, tmp_path):
    """The preprocessing of twins takes the squares of their images and outlines the twins."""
    _, content = load_model(model)
    from scripts.trust.samples import SameSquares

    path = write_t2(tmp_path / "one", n=1)[0]
    image = preprocessing(content)({"image": str(path)})["image"]
    twin = preprocessing(content, SameSquares([{"centre_px": [30.0, 30.0]}], content))({"image": str(path)})["image"]
    assert image.shape == twin.shape == (3, 64, 64, 1)
    squares_of_image = SameSquares(crops_of(image), content)
    again = preprocessing(content, squares_of_image)({"image": str(path)})["image"]
    assert torch.equal(again.as_tensor()[1], image.as_tensor()[1])  # the same picture in the same square
    assert not torch.equal(twin.as_tensor()[1], image.as_tensor()[1])
    assert twin.as_tensor()[[0, 2]].any()


def test_a_bright_spot_is_outlined_in_the_chain_that_clients_run():
    seen = {"image_size": 32, "crop_fraction": 1.0, "side_mm": 40.0, "context": 0, "outlines": True}
    chain = preprocessing(seen, bright_localiser())
    rows, columns = np.mgrid[:100, :80]
    spot = np.exp(-(((rows - 55) / 8) ** 2 + ((columns - 35) / 8) ** 2) / 2).T.astype(np.float32)
    affine = torch.diag(torch.tensor([-0.8, -0.8, 3.0, 1.0]))
    loaded = MetaTensor(torch.from_numpy(1000 * spot)[None, ..., None], affine=affine)
    for transform in chain.transforms[1:]:
        if type(transform).__name__ not in ("EnsureChannelFirst", "EnsureChannelFirstd"):
            loaded = transform({"image": loaded})["image"]
    canal, grey, cord = loaded.as_tensor()[..., 0]
    assert canal.sum() > cord.sum() > 0
    assert grey[canal > 0.9].mean() > grey[canal < 0.1].mean() + 0.4


def test_augmentation_moves_outlines_with_the_slice_and_changes_the_contrast_of_the_slice_alone(tmp_path):
    """The slice is an outline itself, so that after the shipped augmentation it would equal it, but for contrast."""
    parser = ConfigParser()
    parser.read_config(
        [str(ROOT / "configs" / "train.json"), str(ROOT / "configs" / "augmentation" / "sequences.json")]
    )
    parser["image_size"], parser["side_mm"] = 32, 40.0
    augmentation = parser.get_parsed_content("train#augmentation")

    class Painted(OutlineChannelsd):
        """Sees the same spot in all channels."""

        def __call__(self, data):
            image = data["image"]
            rows, columns = torch.meshgrid(torch.arange(52.0), torch.arange(52.0), indexing="ij")
            spot = torch.exp(-((rows - 20) ** 2 + (columns - 30) ** 2) / 60)
            levels = ((spot * 255).round() / 255)[None, ..., None].expand(3, -1, -1, image.shape[-1])
            return {"image": MetaTensor(levels.contiguous(), meta=image.meta)}

    (path,) = write_t2(tmp_path, n=1)
    settings = {"image_size": 32, "crop_fraction": 1.0, "side_mm": 40.0, "context": 0, "outlines": False}
    chain = Compose([*preprocessing(settings, lambda _: [Centre(20.0, 20.0, 1.0)]).transforms])
    chain = Compose([*chain.transforms, Painted("image", bright_localiser(), 32, True)])
    dataset = SliceDataset([{"image": str(path), "label": 0}], chain, augmentation)
    changed = 0
    for epoch in range(20):
        canal, grey, cord = dataset[0, epoch, 0]["image"]
        assert torch.equal(canal, cord)
        assert canal.shape == (32, 32)
        assert 0.5 < canal.max() <= 1  # its contrast is what it was
        place = np.unravel_index(int(canal.argmax()), canal.shape)
        assert grey[place] > 0
        changed += int(not torch.allclose(grey, canal, atol=0.02))
    assert changed > 10


def test_training_with_outlines_writes_a_checkpoint_that_says_so(model, cohort, tmp_path):
    """The shipped training, shrunk."""
    small = {**SMALL, "crop_fraction": 1.0, "max_epochs": 1, "min_epochs": 1}
    places = {"dataset_dir": str(cohort), "output_dir": str(tmp_path), "ckpt_dir": str(tmp_path / "models")}
    run_config(["train.json"], **places, **small, side_mm=60.0, canal_weights=str(Path(model)), outlines=True)
    content = checkpoints.read_classifier(tmp_path / "models" / "model.pt")
    assert content["outlines"] is True
    assert content["canal_sha256"] == checkpoints.read_classifier(model)["canal_sha256"]
