"""The reader of every client."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from dicom_fixtures import read_slice, write_several
from monai.data import MetaTensor
from monai.transforms import LoadImage

from scripts.dicom import sources
from scripts.dicom.sources import one_stack
from scripts.errors import InputError, root_message
from scripts.readers import SeriesReader


def load(path) -> MetaTensor:
    return LoadImage(reader=SeriesReader())(path)


def test_every_pixel_lies_where_its_header_says(axial_series):
    volume = load(str(axial_series))
    headers = {str(d.SOPInstanceUID): d for d in map(pydicom.dcmread, axial_series.iterdir())}
    order = json.loads(volume.meta["slices"])
    assert volume.shape[2] == len(headers)
    for number, entry in enumerate(order):
        header = headers[entry["sop_uid"]]
        row, column = (np.array(header.ImageOrientationPatient[i : i + 3], dtype=float) for i in (0, 3))
        lps = np.array(header.ImagePositionPatient, dtype=float)
        lps = lps + 5 * row * float(header.PixelSpacing[1]) + 7 * column * float(header.PixelSpacing[0])
        ras = volume.affine.numpy() @ [5, 7, number, 1]
        assert np.allclose(ras[:3], lps * [-1, -1, 1], atol=1e-3)
        slope = float(header.get("RescaleSlope", 1))
        assert float(volume[5, 7, number]) == pytest.approx(slope * float(header.pixel_array[7, 5]), rel=1e-6)


def test_slices_run_from_caudal_to_cranial_whatever_the_file_names(axial_series, tmp_path):
    names = sorted(axial_series.iterdir())
    for path, other in zip(names, reversed(names), strict=True):
        shutil.copy(path, tmp_path / other.name)
    renamed, original = load(str(tmp_path)), load(str(axial_series))
    assert renamed.meta["slices"] == original.meta["slices"]
    assert torch.equal(renamed.as_tensor(), original.as_tensor())
    assert original.affine[2, 2] > 0


def test_a_folder_a_list_in_any_order_and_a_zip_give_the_same(axial_series, tmp_path):
    files = sorted(map(str, axial_series.iterdir()), reverse=True)
    with zipfile.ZipFile(tmp_path / "series.zip", "w") as archive:
        for number, path in enumerate(files):
            archive.write(path, f"deep/er/{number}")
    folder = load(str(axial_series))
    for other in (load(files), load(str(tmp_path / "series.zip"))):
        assert torch.equal(folder.as_tensor(), other.as_tensor())
        assert torch.equal(folder.affine, other.affine)
        assert folder.meta["slices"] == other.meta["slices"]


def test_a_stack_is_decoded_without_reading_headers(axial_series, monkeypatch):
    stack = one_stack(str(axial_series))
    wanted = load(stack.files)
    monkeypatch.setattr(sources, "read_frames", lambda *_: pytest.fail("a header was read"))
    travelled = pickle.loads(pickle.dumps((LoadImage(reader=SeriesReader(), expanduser=False), stack)))
    for loader, one in ((LoadImage(reader=SeriesReader(), expanduser=False), stack), travelled):
        found = loader(one)
        assert torch.equal(found.as_tensor(), wanted.as_tensor())
        assert torch.equal(found.affine, wanted.affine)
        assert found.meta["slices"] == wanted.meta["slices"]
        assert found.meta["filename_or_obj"] == stack.files[0]


def test_every_stack_of_one_multi_frame_file_can_be_loaded(tmp_path):
    write_several(tmp_path)
    stacks, _ = sources.scan(tmp_path)
    assert len(stacks) > 1
    for stack in stacks:
        found = LoadImage(reader=SeriesReader(), expanduser=False)(stack)
        for number, one in enumerate(stack.slices):
            _, pixels = read_slice(one.path, one.frame)
            assert np.array_equal(found[..., number].numpy().T, pixels * one.slope + one.intercept)
    with pytest.raises(InputError, match=rf"several\.dcm holds {len(stacks)} stacks where one is expected"):
        load(str(tmp_path / "several.dcm"))


def test_several_images_in_a_zip_are_listed_by_the_names_they_have_there(tmp_path):
    write_several(tmp_path)
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).random((4, 4, 4)), np.eye(4)), tmp_path / "v.nii")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("several.dcm", "v.nii"):
            archive.write(tmp_path / name, f"a/{name}")
    with pytest.raises(InputError, match=r"x\.zip holds \d images where one is expected") as caught:
        load(str(tmp_path / "x.zip"))
    text = root_message(caught.value)
    assert f"{tmp_path}/x.zip/a/v.nii" in text
    assert f"{tmp_path}/x.zip/a/several.dcm" in text
    assert "cord-" not in text


def test_an_empty_path_is_not_the_current_folder(axial_series, monkeypatch):
    monkeypatch.chdir(axial_series)
    with pytest.raises(InputError, match="an empty path names nothing"):
        LoadImage(reader=SeriesReader(), expanduser=False)("")


def test_several_stacks_are_refused_and_listed(cohort):
    with pytest.raises(InputError, match=r"holds \d+ stacks where one is expected"):
        load(str(cohort / "dicom"))


def test_a_file_that_is_missing_damaged_or_no_image_is_named(tmp_path, axial_series):
    with pytest.raises(InputError, match=r"nowhere\.nii does not exist"):
        load(str(tmp_path / "nowhere.nii"))
    (tmp_path / "broken.nii.gz").write_bytes(b"not a nifti")
    with pytest.raises(InputError, match=r"broken\.nii\.gz cannot be read"):
        load(str(tmp_path / "broken.nii.gz"))
    (tmp_path / "broken.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"broken\.zip cannot be unpacked"):
        load(str(tmp_path / "broken.zip"))
    whole = next(axial_series.iterdir()).read_bytes()
    (tmp_path / "half.dcm").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"half\.dcm"):
        load(str(tmp_path / "half.dcm"))


def test_a_nifti_mask_or_time_series_is_not_taken_for_an_image(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.eye(4)[..., None], np.eye(4)), tmp_path / "mask.nii")
    with pytest.raises(InputError, match="a mask, not an image"):
        load(str(tmp_path / "mask.nii"))
    pixels = np.random.default_rng(0).random((4, 4, 4, 2)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(pixels, np.eye(4)), tmp_path / "time.nii")
    with pytest.raises(InputError, match=r"time\.nii has shape \(4, 4, 4, 2\)"):
        load(str(tmp_path / "time.nii"))
    nibabel.save(nibabel.Nifti1Image(pixels[..., :1], np.eye(4)), tmp_path / "one.nii")
    one = LoadImage(reader=SeriesReader(), ensure_channel_first=True)(str(tmp_path / "one.nii"))
    assert np.array_equal(one[0].numpy(), pixels[..., 0])


def test_a_real_nifti_keeps_its_voxels_and_affine(real_data):
    path = real_data / "sct_t2" / "t2.nii.gz"
    volume, reference = load(str(path)), nibabel.load(path)
    assert np.array_equal(volume.numpy(), reference.get_fdata(dtype=np.float32))
    assert np.allclose(volume.affine.numpy(), reference.affine)


def test_real_dicom_equals_pydicoms_pixels_with_slope(real_data):
    path = real_data / "nema_axial_dicom" / "MR4_RLE"
    header = pydicom.dcmread(path)
    expected = header.pixel_array * float(header.RescaleSlope) + float(header.RescaleIntercept)
    assert np.allclose(load(str(path))[..., 0].numpy().T, expected, rtol=1e-6)
