"""Labelled slices, their sampler, and the datalists they come from."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from dicom_fixtures import write_several
from torch.utils.data import DataLoader

from scripts import datalists, slice_files
from scripts.augmentation import Augmentation, RandFlipBatchd, RandScaleBatchd
from scripts.cohort.divisions import split_patients
from scripts.datasets import PrepareSlices, SeededSampler, SliceDataset
from scripts.dicom.loaded import identities
from scripts.dicom.sources import scan
from scripts.errors import InputError
from scripts.evaluation.slices import slice_metrics
from scripts.losses import counted_pos_weight, weighted_bce


@pytest.fixture(scope="module")
def entries(cohort):
    return datalists.load(cohort / "datalist.json", "validation")


@pytest.fixture(scope="module")
def augmentation() -> Augmentation:
    return Augmentation([RandFlipBatchd("image", 0.5), RandScaleBatchd("image", factors=0.1, prob=1.0)])


def test_slices_are_kept_as_8_bits_and_equal_the_chain(entries, chain):
    transform = chain()
    dataset = SliceDataset(entries, transform)
    assert len(dataset) == len(entries)
    assert dataset._levels.dtype == torch.uint8
    for number in (0, len(entries) - 1):
        volume = transform({"image": entries[number]["image"]})["image"]
        frames = [frame for _, frame in identities(volume)]
        expected = volume.as_tensor()[..., frames.index(entries[number]["frame"])]
        assert torch.equal(dataset[number]["image"], expected)
        assert float(dataset[number]["label"]) == entries[number]["label"]
    assert not hasattr(dataset[0]["image"], "meta")


def test_a_series_file_is_read_once_for_all_its_slices(entries, chain, axial_series):
    """The slices of a whole-series entry are found by their UIDs, in any order."""
    calls = []
    transform = chain()

    def counting(data):
        calls.append(Path(str(data["image"])).parent)
        return transform(data)

    uids = [slice_["sop_uid"] for slice_ in json.loads(transform({"image": str(axial_series)})["image"].meta["slices"])]
    wanted = [{"image": str(axial_series), "label": 0, "patient_id": "p", "sop_uid": uid} for uid in reversed(uids)]
    dataset = SliceDataset(wanted, counting)
    assert len(dataset) == len(uids)
    assert calls == [axial_series]
    whole = transform({"image": str(axial_series)})["image"].as_tensor()
    assert torch.equal(dataset[0]["image"], whole[..., -1])


def test_a_sop_uid_that_is_not_in_its_file_is_a_failure_of_that_file_only(entries, chain):
    wrong = [{**entries[0], "sop_uid": "1.2.3"}, *entries[1:]]
    dataset = SliceDataset(wrong, chain())
    assert len(dataset) == len(entries) - 1
    assert "holds no slice with SOPInstanceUID 1.2.3" in dataset.failures[0]["reason"]


def test_slices_of_several_stacks_in_one_file_are_each_found_by_their_frame(tmp_path, chain):
    path = str(write_several(tmp_path))
    stacks, _ = scan(path)
    slices = [(stack, number) for stack in stacks for number in range(len(stack.slices))][::-1]
    entries = [
        {"image": path, "label": 0, "sop_uid": stack.slices[n].sop_uid, "frame": stack.slices[n].frame}
        for stack, n in slices
    ]
    dataset = SliceDataset(entries, chain(32))
    assert len(dataset) == len(slices) == 9
    for number, (stack, n) in enumerate(slices):
        volume = chain(32)({"image": stack})["image"]
        assert torch.equal(dataset[number]["image"], volume.as_tensor()[..., n])
    for wrong, message in (
        ({"frame": "10"}, "holds no slice with SOPInstanceUID .* frame 10"),
        ({"frame": ""}, r"holds no slice with SOPInstanceUID [0-9.]+$"),
        ({"sop_uid": "", "frame": "", "slice_index": 2}, r"holds \d stacks where one is expected"),
    ):
        one = SliceDataset([{**entries[0], **wrong}], chain(32))
        with pytest.raises(InputError, match=message):
            len(one)


def test_no_readable_file_at_all_is_an_error_that_names_the_first(tmp_path, chain):
    (tmp_path / "x.nii").write_bytes(b"nothing")
    dataset = SliceDataset([{"image": str(tmp_path / "x.nii"), "label": 0}], chain())
    with pytest.raises(InputError, match=r"none of the 1 images could be read; the first: .*x\.nii"):
        len(dataset)


def test_label_volumes_become_slice_labels_from_caudal_to_cranial(tmp_path, chain):
    image = np.random.default_rng(0).random((20, 20, 4)).astype(np.float32)
    mask = np.zeros((20, 20, 4), np.uint8)
    mask[3, 4, 1] = 2
    flipped = np.diag([1.0, 1, -1, 1])  # stored from cranial to caudal
    nibabel.save(nibabel.Nifti1Image(image, flipped), tmp_path / "image.nii.gz")
    nibabel.save(nibabel.Nifti1Image(mask, flipped), tmp_path / "label.nii.gz")
    pair = {"image": str(tmp_path / "image.nii.gz"), "label": str(tmp_path / "label.nii.gz")}
    assert SliceDataset([pair], chain()).labels == [0, 0, 1, 0]


def test_augmentation_depends_on_seed_epoch_and_index_alone(entries, chain, augmentation):
    dataset = SliceDataset(entries, chain(), augmentation)
    first = dataset[(7, 1, 0)]["image"]
    dataset[(7, 1, 1)]
    assert torch.equal(dataset[(7, 1, 0)]["image"], first)
    assert not torch.equal(dataset[(7, 2, 0)]["image"], first)
    assert not torch.equal(dataset[(8, 1, 0)]["image"], first)
    assert type(first) is torch.Tensor  # metadata would slow down every operation of the network


def test_a_loader_gets_whole_batches_that_hold_what_each_slice_is_alone(entries, chain, augmentation):
    dataset = SliceDataset(entries, chain(), augmentation)
    sampler = SeededSampler(dataset, seed=5)
    sampler.set_epoch(2)
    loader = DataLoader(dataset, batch_size=4, sampler=sampler, collate_fn=lambda batch: batch)
    seen = []
    for batch in loader:
        assert batch["image"].shape[1:] == (1, 64, 64)
        for image, label, index in zip(*(batch[name] for name in ("image", "label", "index")), strict=True):
            alone = dataset[5, 2, int(index)]
            assert torch.allclose(image, alone["image"], atol=1e-6)
            assert torch.equal(label, alone["label"])
            seen.append(int(index))
    assert sorted(seen) == list(range(len(entries)))


@pytest.mark.gpu
@pytest.mark.parametrize("share", [1.0, 0.0], ids=["slices stay on the GPU", "slices come through pinned memory"])
def test_a_gpu_gets_the_slices_of_the_cpu(entries, chain, monkeypatch, share):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    monkeypatch.setattr(slice_files, "SHARE_OF_DEVICE", share)
    here, there = (SliceDataset(entries, chain(), device=device) for device in ("cpu", "cuda"))
    expected, found = here.__getitems__([2, 0, 1]), there.__getitems__([2, 0, 1])
    assert there._taken.levels.is_cuda == bool(share)
    assert found["image"].is_cuda
    assert torch.allclose(found["image"].cpu(), expected["image"], atol=1e-6)
    assert torch.equal(found["label"].cpu(), expected["label"])
    images = [
        PrepareSlices("imagenet")(batch, torch.device(device))[0].cpu()
        for batch, device in ((expected, "cpu"), (found, "cuda"))
    ]
    assert torch.allclose(*images, atol=1e-5)
    assert not there[0]["image"].is_cuda  # figures are drawn of single slices


def test_every_epoch_sees_every_slice_once_in_another_order(entries, chain):
    sampler = SeededSampler(SliceDataset(entries, chain()), seed=5)
    orders = []
    for epoch in (1, 2, 1):
        sampler.set_epoch(epoch)
        orders.append([index for *_, index in sampler])
    assert sorted(orders[0]) == list(range(len(entries)))
    assert orders[0] != orders[1]
    assert orders[0] == orders[2]


def test_batches_arrive_as_the_network_takes_them():
    batch = {"image": torch.rand(2, 1, 8, 8), "label": torch.ones(2, 1)}
    image, label = PrepareSlices("paper")(batch, torch.device("cpu"))
    assert (image.shape, label.shape) == ((2, 3, 8, 8), (2, 1))


def test_a_datalist_survives_writing_and_loading(tmp_path):
    (tmp_path / "a.dcm").touch()
    entry = {"image": "a.dcm", "label": 1, "patient_id": "a.dcm", "site": "s", "series_uid": "1", "sop_uid": "2"}
    datalists.write(tmp_path / "datalist.json", {"training": [entry]}, seed=3, phantom=True)
    (loaded,) = datalists.load(tmp_path / "datalist.json", "training")
    assert loaded["image"] == str(tmp_path / "a.dcm")
    assert loaded["patient_id"] == "a.dcm"  # MONAI's loader would make a path of it
    assert loaded["phantom"] is True
    about = datalists.datalist_info(tmp_path / "datalist.json")
    assert about["counts"]["training"] == {"patients": 1, "slices": 1, "compressed_slices": 1}
    assert about["seed"] == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": "../secret.dcm"}, "lies outside"),
        ({"image": "/etc/passwd"}, "lies outside"),
        ({"label": 2}, "label must be 0 or 1, got 2"),
        ({"image": "none.dcm"}, "1 of 1 images in section 'training' .* first none.dcm"),
    ],
)
def test_a_bad_entry_is_named(tmp_path, change, message):
    (tmp_path / "a.dcm").touch()
    entry = {"image": "a.dcm", "label": 1, "patient_id": "p", **change}
    (tmp_path / "datalist.json").write_text(json.dumps({"training": [entry]}))
    with pytest.raises(InputError, match=message):
        datalists.load(tmp_path / "datalist.json", "training")


def test_missing_files_and_sections_are_named(tmp_path):
    with pytest.raises(InputError, match="no datalist at"):
        datalists.load(tmp_path / "datalist.json", "training")
    (tmp_path / "datalist.json").write_text('{"training": []}')
    with pytest.raises(InputError, match="no section 'testing'"):
        datalists.load(tmp_path / "datalist.json", "testing")
    with pytest.raises(InputError, match="holds no slices"):
        datalists.load(tmp_path / "datalist.json", "training")
    (tmp_path / "datalist.json").write_text("{")
    with pytest.raises(InputError, match="is not valid JSON"):
        datalists.load(tmp_path / "datalist.json", "training")


def test_patients_are_divided_within_each_site_and_never_parted():
    sites = {f"p{number}": "ab"[number % 2] for number in range(40)}
    sections = split_patients(sites, seed=1)
    for site in "ab":
        inside = [sections[patient] for patient, where in sites.items() if where == site]
        assert (inside.count("testing"), inside.count("validation"), inside.count("training")) == (5, 4, 11)
    assert split_patients(dict(reversed(sites.items())), seed=1) == sections
    assert split_patients(sites, seed=2) != sections


def test_the_loss_counts_a_compressed_slice_as_often_as_asked():
    logits, labels = torch.tensor([[0.3], [-0.2]]), torch.tensor([[1.0], [0.0]])
    expected = (3.8 * torch.log1p(torch.exp(torch.tensor(-0.3))) + torch.log1p(torch.exp(torch.tensor(-0.2)))) / 2
    assert torch.allclose(weighted_bce(3.8)(logits, labels), expected)
    assert counted_pos_weight([1, 0, 0, 0]) == 3
    for value in (0, -1, float("nan")):
        with pytest.raises(InputError, match="positive"):
            weighted_bce(value)
    with pytest.raises(InputError, match="0 of 3 slices are compressed"):
        counted_pos_weight([0, 0, 0])


def test_metrics_have_the_values_one_counts_by_hand_and_none_where_undefined():
    metrics = slice_metrics([1, 1, 0, 0, 0], [2.0, -1.0, 1.0, -2.0, -3.0], 0.5)
    assert metrics["sensitivity"] == 1 / 2
    assert metrics["specificity"] == 2 / 3
    assert metrics["f1"] == 1 / 2
    assert metrics["auc"] == 5 / 6
    alone = slice_metrics([0, 0], [-1.0, 1.0], 0.5)
    assert alone["auc"] is None
    assert alone["sensitivity"] is None
    assert alone["specificity"] == 1 / 2
