"""canal.csv, from masks and from points."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from csv_rows import read_rows
from dicom_fixtures import write_series
from monai.data import MetaTensor

from scripts.__main__ import main
from scripts.canal.command import canal
from scripts.canal.points import beside, canal_table, mask_columns, mask_files
from scripts.canal.truth import CanalTruthd, file_point, known, oriented_image, oriented_point, read_truth, truth_of
from scripts.errors import InputError
from scripts.files import write_csv


@pytest.fixture(scope="module")
def table(layouts) -> Path:
    """canal.csv of a phantom cohort with an enhanced file and disc-angled stacks."""
    assert canal(str(layouts)) == 0
    return layouts / "canal.csv"


def test_every_slice_of_every_layout_gets_the_centre_of_its_own_mask(layouts, table):
    truth = {(row["sop_uid"], row["frame"]): row for row in read_rows(layouts / "truth.csv")}
    rows = read_rows(table)
    assert len(rows) == len(truth)
    off = []
    for row in rows:
        wanted = truth[row["sop_uid"], row["frame"]]
        off.append([float(row[name]) - float(wanted[name]) for name in ("canal_row_px", "canal_column_px")])
    # truth.csv has the bony canal's centre, the masks have the sac's; a pixel is 1.3 mm
    assert np.abs(off).max() < 5
    assert np.median(np.abs(off)) < 1.5


def test_a_table_is_made_where_a_cohort_has_masks_and_none(cohort, capsys):
    (cohort / "canal.csv").unlink(missing_ok=True)
    path = canal_table(str(cohort / "datalist.json"))
    assert "making it from the masks" in capsys.readouterr().out
    before = Path(path).read_bytes()
    assert (canal_table(str(cohort / "datalist.json")), Path(path).read_bytes()) == (path, before)


def write_nifti(path: Path, values: np.ndarray, affine: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


FLIPS = [np.diag([-0.5, -0.5, 3, 1]), np.diag([0.5, 0.5, 3, 1]), np.diag([-0.5, 0.5, -3, 1])]


@pytest.mark.parametrize("affine", FLIPS, ids=["LPS", "RAS", "LAI"])
def test_a_point_in_a_file_and_in_the_oriented_image_is_the_same_place(tmp_path, affine):
    values = np.random.default_rng(0).random((40, 30, 4)).astype(np.float32)
    values[7, 21, :] = 50
    image = oriented_image(str(write_nifti(tmp_path / "a.nii.gz", values, affine)))
    place = oriented_point(image, (21.0, 7.0))  # row, column
    assert float(image[0, round(place[0]), round(place[1]), 0]) == 50
    assert file_point(image, place) == pytest.approx((21.0, 7.0))


@pytest.mark.parametrize("affine", FLIPS, ids=["LPS", "RAS", "LAI"])
def test_masks_are_drawn_where_the_image_shows_them(tmp_path, affine):
    values = np.random.default_rng(0).random((40, 30, 4)).astype(np.float32)
    mask = np.zeros((40, 30, 4), np.uint8)
    mask[5:15, 10:14] = 1
    mask[8:12, 11:13] = 2
    values[mask == 2] = 9
    image = oriented_image(str(write_nifti(tmp_path / "a.nii.gz", values, affine)))
    write_nifti(tmp_path / "mask.nii.gz", mask, affine)
    row = {"image": "a.nii.gz", "slice_index": 2, "canal_mask": "mask.nii.gz", "cord_mask": "mask.nii.gz"}
    write_csv(tmp_path / "canal.csv", list(row), [row])
    (found,) = read_truth(tmp_path / "canal.csv").values()
    assert known(found) == (True, True, True)
    truth = truth_of(found, image, 2, tmp_path)
    assert truth.cord is not None
    assert np.array_equal(truth.cord > 0, image[0, ..., 2].numpy() == 9)
    assert int(truth.canal.sum()) == 40
    rows, columns = np.nonzero(truth.canal)
    assert truth.centre_px == (rows.mean(), columns.mean())


def test_a_point_alone_is_enough_and_the_masks_are_not_known(tmp_path):
    write_series(tmp_path / "s", n=2)
    image = oriented_image(str(tmp_path / "s"))
    slices = __import__("json").loads(image.meta["slices"])
    row = {"series_uid": image.meta["series_uid"], "sop_uid": slices[1]["sop_uid"], "frame": ""}
    row |= {"canal_row_px": 3, "canal_column_px": 4.5}
    write_csv(tmp_path / "canal.csv", list(row), [row])
    assert known(next(iter(read_truth(tmp_path / "canal.csv").values()))) == (True, False, False)
    drawn = CanalTruthd("image", str(tmp_path / "canal.csv"))({"image": image})["image"].as_tensor()
    assert drawn.shape == (4, *image.shape[1:])
    assert torch.equal(drawn[0], image.as_tensor()[0])
    assert float(drawn[1:, ..., 0].abs().max()) == 0  # the table does not know this slice
    row_px, column_px = oriented_point(image, (3, 4.5))
    peak = np.unravel_index(int(drawn[1, ..., 1].argmax()), image.shape[1:3])
    assert np.abs(np.array(peak) - (row_px, column_px)).max() <= 0.5
    assert float(drawn[2:].abs().max()) == 0


POINT = {"series_uid": "1.2", "sop_uid": "1.2.3", "frame": "", "canal_row_px": 3, "canal_column_px": 4}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([POINT, POINT], "the same slice as in"),
        ([{**POINT, "canal_row_px": ""}], "neither a point"),
        ([{**POINT, "sop_uid": "nonsense"}], "is no UID"),
    ],
)
def test_a_table_that_cannot_be_used_says_where(tmp_path, rows, message):
    write_csv(tmp_path / "canal.csv", list(POINT), rows)
    with pytest.raises(InputError, match=message):
        read_truth(tmp_path / "canal.csv")


def test_without_a_table_the_way_to_make_one_is_named(tmp_path):
    with pytest.raises(InputError, match="python -m scripts canal"):
        read_truth(tmp_path / "canal.csv")


def one_row(folder: Path, **cells: object):
    write_csv(folder / "canal.csv", ["image", *cells], [{"image": "a.nii.gz", **cells}])
    (row,) = read_truth(folder / "canal.csv").values()
    return row


def plain_image(size: tuple[int, int] = (20, 30)) -> MetaTensor:
    affine = np.diag([-1.0, -1, 3, 1])
    meta = {"original_affine": affine, "spatial_shape": np.array([size[1], size[0], 2])}
    return MetaTensor(torch.zeros(1, *size, 2), affine=torch.eye(4, dtype=torch.float64), meta=meta)


@pytest.mark.parametrize(("row_px", "column_px"), [(20, 3), (3, 30), (3, 900)])
def test_a_point_outside_the_image_is_refused_with_its_line(tmp_path, row_px, column_px):
    row = one_row(tmp_path, canal_row_px=row_px, canal_column_px=column_px)
    with pytest.raises(InputError, match=r"line 2.*outside the image of 20 x 30 pixels"):
        truth_of(row, plain_image(), 0, tmp_path)


def test_masks_on_another_grid_of_other_values_or_outside_the_folder_are_refused(tmp_path):
    affine = np.diag([-1.0, -1, 3, 1])
    write_nifti(tmp_path / "small.nii.gz", np.ones((30, 19, 2), np.uint8), affine)
    write_nifti(tmp_path / "image.nii.gz", np.arange(1200, dtype=np.float32).reshape(30, 20, 2), affine)
    (tmp_path / "text.nii.gz").write_text("no mask")
    for name, message in (
        ("small.nii.gz", "19 x 30 pixels and 2 slices, but slice 0 of 20 x 30 pixels"),
        ("image.nii.gz", "values 0, 1 and 2"),
        ("text.nii.gz", "cannot be read"),
        ("../outside.nii.gz", "outside|leads out"),
    ):
        with pytest.raises(InputError, match=message):
            truth_of(one_row(tmp_path, cord_mask=name), plain_image(), 0, tmp_path)


def test_an_empty_mask_says_that_no_canal_is_there(tmp_path):
    write_nifti(tmp_path / "m.nii.gz", np.zeros((30, 20, 2), np.uint8), np.diag([-1.0, -1, 3, 1]))
    truth = truth_of(one_row(tmp_path, cord_mask="m.nii.gz"), plain_image(), 1, tmp_path)
    assert truth.centre_px is None
    assert int(truth.cord.sum()) == 0


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("sub-01_T2w_label-SC_seg.nii.gz", ("cord_mask",)),
        ("sub-01_T2w_label-canal_seg.nii.gz", ("canal_mask",)),
        ("sub-01_T2w_seg-manual.nii.gz", ("cord_mask",)),
        ("TSE-0001.nii.gz", ("canal_mask", "cord_mask")),
    ],
)
def test_names_of_the_spinal_cord_toolbox_say_what_is_outlined(name, columns):
    assert mask_columns(Path(name)) == columns


def test_masks_beside_an_image_are_those_with_its_name(tmp_path):
    for name in (
        "a.nii.gz",
        "a_seg.nii.gz",
        "a_label-canal_seg.nii.gz",
        "b_seg.nii.gz",
        "a_T1w.nii.gz",
        "ab_seg.nii.gz",
    ):
        (tmp_path / name).touch()
    assert [one.name for one in beside(tmp_path / "a.nii.gz")] == ["a_label-canal_seg.nii.gz", "a_seg.nii.gz"]


def test_a_cohort_without_masks_is_told_where_they_were_looked_for(cohort, tmp_path, capsys):
    assert main(["canal", str(cohort), "--masks", str(tmp_path), "--out", str(tmp_path / "c.csv")]) == 2
    assert f"looked in {tmp_path}" in capsys.readouterr().err
    assert not (tmp_path / "c.csv").exists()


def test_masks_of_a_patient_are_not_those_of_another_whose_name_begins_alike():
    masks = [Path(name) for name in ("P1.nii.gz", "P1_stack-1.nii.gz", "P1-seg.nii.gz", "P10.nii.gz", "P1a.nii.gz")]
    found = mask_files({"patient_id": "P1", "image": "dicom/P1/a.dcm"}, masks)
    assert [path.name for path in found] == ["P1.nii.gz", "P1_stack-1.nii.gz", "P1-seg.nii.gz"]
