"""Neighbouring slices in the channels."""

import json
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from conftest import SMALL
from hypothesis import given
from hypothesis import strategies as st
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from tiny_models import write_t2

from scripts import checkpoints
from scripts.context import NeighbourSlicesd, neighbours
from scripts.datasets import SliceDataset
from scripts.dicom.loaded import identities
from scripts.errors import InputError
from scripts.files import ROOT
from scripts.inference.series import find_series
from scripts.networks import CordCompressionNet, network_interface
from scripts.runner import run_config
from scripts.tables import read_table
from scripts.transforms import own_slices, scale_slices
from scripts.trust.findings import load_model


def stack(position_mm: list[float]) -> MetaTensor:
    """Build an image whose slice number i has the grey value i, at given positions."""
    slices = [
        {"sop_uid": f"1.{number}", "frame": "", "position_mm": mm, "thickness_mm": 3.0}
        for number, mm in enumerate(position_mm)
    ]
    grey = torch.arange(len(position_mm), dtype=torch.float32).expand(1, 4, 4, -1)
    meta = {"slices": json.dumps(slices), "original_affine": np.eye(4)}
    return MetaTensor(grey.clone(), affine=torch.eye(4), meta=meta)


def test_the_channels_are_the_slice_below_the_slice_and_the_slice_above() -> None:
    seen = NeighbourSlicesd("image", 1)({"image": stack([0, 4, 8, 12])})["image"]
    assert seen.shape == (3, 4, 4, 4)
    assert seen[:, 0, 0].tolist() == [[0, 0, 1, 2], [0, 1, 2, 3], [1, 2, 3, 3]]
    assert torch.equal(own_slices(seen.as_tensor()), stack([0, 4, 8, 12]).as_tensor())


def test_a_slice_beside_a_gap_stands_for_its_own_neighbour() -> None:
    seen = NeighbourSlicesd("image", 1)({"image": stack([0, 4, 8, 20, 24])})["image"]
    assert seen[:, 0, 0].tolist() == [[0, 0, 1, 3, 3], [0, 1, 2, 3, 4], [1, 2, 2, 4, 4]]


def test_without_context_nothing_changes() -> None:
    image = stack([0, 4, 8])
    assert NeighbourSlicesd("image")({"image": image})["image"] is image


@pytest.mark.parametrize("context", [2, -1, True, 0.5, "1"])
def test_other_contexts_are_refused(context: object) -> None:
    with pytest.raises(InputError, match="context must be 0"):
        NeighbourSlicesd("image", context)  # type: ignore[arg-type]


@given(st.lists(st.floats(0.1, 100), min_size=0, max_size=12))
def test_neighbours_lie_at_most_one_and_a_half_median_steps_away(steps: list[float]) -> None:
    position_mm = np.concatenate([[0.0], np.cumsum(steps)])
    below, above = neighbours(position_mm)
    own = np.arange(len(position_mm))
    assert set((own - below).tolist()) <= {0, 1}
    assert set((above - own).tolist()) <= {0, 1}
    limit = 1.5 * np.median(np.diff(position_mm)) if steps else 0
    assert (position_mm[above] - position_mm <= limit + 1e-9).all()
    # what is above one slice has that slice below it
    assert [below[n] for n in above[above != own]] == own[above != own].tolist()


def test_all_channels_are_scaled_by_the_middle_one() -> None:
    middle = torch.linspace(0, 1, 64).reshape(1, 8, 8, 1)
    image = torch.cat([middle + 2, middle, middle / 2])
    scaled = scale_slices(image, 0, 100)
    assert torch.equal(scaled[1:2], scale_slices(middle, 0, 100))
    assert scaled[0].min() == 1  # brighter than the brightest of the middle one
    assert scaled[2].max() == pytest.approx(0.5, abs=1 / 255)


def test_the_interface_names_the_channels_and_old_checkpoints_have_no_context() -> None:
    assert "channels" not in network_interface("imagenet")["input"]
    assert "below, itself, above" in network_interface("imagenet", context=1)["input"]["channels"]
    assert checkpoints.DEFAULTS["context"] == 0


def test_a_network_with_context_scores_a_slice_by_itself_and_its_neighbours(tmp_path: Path) -> None:
    torch.manual_seed(0)
    settings = {name: value for name, value in SMALL.items() if name in checkpoints.SETTINGS}
    network = CordCompressionNet(settings["head"], architecture=settings["architecture"])
    content = checkpoints.describe(**{**settings, "crop_fraction": 1.0, "profile": "imagenet", "context": 1})
    checkpoints.save(tmp_path / "model.pt", network, content, trained_on={"phantom": False}, epoch=1)
    files = write_t2(tmp_path / "series", n=5)

    def logits(name: str, **changes: object) -> list[float]:
        kept = {name: content[name] for name in checkpoints.SETTINGS}
        places = {"dataset_dir": str(tmp_path / name), "output_dir": str(tmp_path / f"{name} out")}
        run_config(["inference.json"], ckpt_path=str(tmp_path / "model.pt"), **{**places, **kept, **changes})
        (table,) = (tmp_path / f"{name} out").glob("*/slices.csv")
        return [float(row["logit"]) for row in read_table(table, ("logit",))]

    whole = logits("series")
    (tmp_path / "part").mkdir()
    for path in files[:3]:
        shutil.copy(path, tmp_path / "part")
    part = logits("part")
    assert part[:2] == pytest.approx(whole[:2], abs=1e-6)
    assert abs(part[2] - whole[2]) > 1e-4  # the slice above it is gone
    with pytest.raises(InputError, match="context 1, but the config says 0"):
        logits("part", context=0)


def test_a_training_on_single_files_sees_the_neighbours_that_predict_sees(tmp_path: Path) -> None:
    parser = ConfigParser()
    parser.read_config(str(ROOT / "configs" / "inference.json"))
    parser["image_size"], parser["context"] = 64, 1
    chain = parser.get_parsed_content("preprocessing")
    files = write_t2(tmp_path / "in", n=4)
    write_t2(tmp_path / "in", series="OTHER", n=3)
    entries = [
        {"image": str(path), "label": number % 2, "sop_uid": str(pydicom.dcmread(path).SOPInstanceUID), "frame": ""}
        for number, path in enumerate(files)
    ]
    found = SliceDataset(entries, chain)
    (series,) = [one for one in find_series(tmp_path / "in").series if one["stack"] and len(one["files"]) == 4]
    seen = chain({"image": series["image"]})["image"]
    order = [uid for uid, _ in identities(seen)]
    for number, entry in enumerate(entries):
        assert torch.equal(found[number]["image"], seen.as_tensor()[..., order.index(entry["sop_uid"])])
        assert not torch.equal(found[number]["image"][0], found[number]["image"][2])


def test_heat_maps_of_a_network_with_neighbours_are_not_tested_by_slices_without_them(tmp_path: Path) -> None:
    content = checkpoints.describe("resnet18", [8], 64, 1.0, "imagenet", context=1)
    checkpoints.save(tmp_path / "model.pt", CordCompressionNet([8], architecture="resnet18"), content)
    with pytest.raises(InputError, match="sees neighbouring slices"):
        load_model(tmp_path / "model.pt")
