"""Label maps and probability maps by their values, whatever their type, scale and number of labels."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from dicom_fixtures import axial_t2, write
from scipy.ndimage import distance_transform_edt, gaussian_filter, median_filter, rotate, zoom

from scripts.dicom.label_maps import MOST_PATCHES, label_evidence, noiseless_share
from scripts.dicom.volumes import judge_volume, read_volume
from scripts.inference.evaluability import slice_problems
from scripts.readers import SeriesReader

AXIAL = np.diag([0.6, 0.6, 3.8, 1.0])
SIDE, SLICES = 128, 4
RNG = np.random.default_rng(0)


def blocks(low: int, high: int) -> np.ndarray:
    """Give a label to each block of 16 x 16 voxels."""
    return RNG.integers(low, high, (SIDE // 16, SIDE // 16, SLICES)).repeat(16, 0).repeat(16, 1)


def structures() -> np.ndarray:
    """Give two structures per slice on a background of 0."""
    values = np.zeros((SIDE, SIDE, SLICES))
    for number in range(SLICES):
        values[45:75, 45:75, number] = 1 + number
        values[20:40, 20:40, number] = 10 + number
    return values


def tissues(n: int) -> np.ndarray:
    """Give smooth regions whose neighbours have neighbouring numbers."""
    field = gaussian_filter(np.random.default_rng(1).normal(size=(SIDE, SIDE, SLICES)), (9, 9, 0))
    return np.digitize(field, np.quantile(field, np.linspace(0.4, 0.9, n - 1)))


def from_middle() -> np.ndarray:
    """Give the distance of each voxel from the middle of its slice, in pixels along the axis where it is longer."""
    return np.abs(np.indices((SIDE, SIDE, SLICES))[:2] - SIDE / 2).max(axis=0)


def within(values: np.ndarray) -> np.ndarray:
    """Put a background of 0 around."""
    return np.where(from_middle() < SIDE / 3, values, 0)


def sigmoid() -> np.ndarray:
    """Give what a segmentation network returns: near 0 outside, near 1 within, and noise in its logits."""
    distance = np.minimum(30, SIDE / 3 - from_middle())
    return 1 / (1 + np.exp(-2 * distance - np.random.default_rng(2).normal(size=distance.shape)))


def turned(values: np.ndarray, order: int) -> np.ndarray:
    """Turn labels by 7 degrees, as registrations do that forget the interpolation of labels."""
    return rotate(values.astype(float), 7, reshape=False, order=order)


def smoothed_mask() -> np.ndarray:
    """Give the probability of a large structure, with soft borders."""
    return gaussian_filter(np.where(from_middle() < SIDE / 3, 1.0, 0.0), (2, 2, 0))


def wedges() -> np.ndarray:
    """Give 8 labels around the middle of a slice, shape (SIDE, SIDE)."""
    rows, columns = np.indices((SIDE, SIDE)) - SIDE / 2 + 0.3
    return np.digitize(np.arctan2(rows, columns), np.linspace(-3, 3, 8)) * 11


def signed_distance(mask: np.ndarray) -> np.ndarray:
    """Give the distance to the border in mm, negative outside."""
    inner, outer = (distance_transform_edt(one, sampling=(0.6, 0.6, 100.0)) for one in (mask, ~mask))
    return inner - outer


def magnified(values: np.ndarray, rows: float, columns: float) -> np.ndarray:
    """Repeat pixels, by factors that need not be whole."""
    first, second = ((np.arange(SIDE) / factor).astype(int) for factor in (rows, columns))
    return values[first][:, second]


MAPS = {
    "60 labels without background": blocks(0, 60).astype(np.uint16),
    "90 labels": blocks(0, 90).astype(np.uint8),
    "100 labels within a background": within(blocks(1, 100)).astype(np.int16),
    "40 labels, mostly 0": np.where(np.arange(SIDE)[:, None, None] < 40, blocks(1, 40), 0).astype(np.int32),
    "7 labels without background": blocks(1, 8).astype(np.uint8),
    "4 tissues": tissues(4).astype(np.uint8),
    "5 tissues": tissues(5).astype(np.uint8),
    "halves": (structures() * 0.5).astype(np.float32),
    "less an offset": (structures() * 37 - 5).astype(np.int16),
    "with noise of 1e-6": (structures() + 1e-6 * RNG.normal(size=(SIDE, SIDE, SLICES))).astype(np.float32),
    "resampled": gaussian_filter(structures(), (0.7, 0.7, 0)),
    "60 labels resampled": gaussian_filter(blocks(0, 60).astype(float), (0.7, 0.7, 0)),
    "soft": gaussian_filter((structures() > 0).astype(np.float32), (1.5, 1.5, 0)),
    "probabilities": sigmoid().astype(np.float32),
    "60 labels magnified by 4": magnified(blocks(0, 60), 4, 4).astype(np.uint16),
    "5 tissues magnified by 3": magnified(tissues(5), 3, 3).astype(np.uint8),
    "structures magnified by 3.5": magnified(structures(), 1.5, 1.5).astype(np.uint8),
    "points": np.where(RNG.random((SIDE, SIDE, SLICES)) < 1e-3, blocks(1, 60), 0).astype(np.uint8),
    "labels turned by splines": np.stack([turned(wedges() + n, 3) for n in range(SLICES)], -1),
    "labels turned linearly": np.stack([turned(wedges() + n, 1) for n in range(SLICES)], -1),
    "labels magnified by splines": zoom(wedges()[::2, ::2, None] + np.arange(1.0 * SLICES), (2, 2, 1), order=3),
    "distances": np.maximum(signed_distance(from_middle() < SIDE / 3), 0),
    "signed distances": signed_distance(from_middle() < SIDE / 3).astype(np.float32),
    "probabilities in 8 bits": np.rint(255 * smoothed_mask()).astype(np.uint8),
    "probabilities in thousandths": np.rint(1000 * smoothed_mask()).astype(np.int16),
    "a thin soft cord": gaussian_filter(np.where(from_middle() < 3, 1.0, 0.0), (0.7, 0.7, 0)),
}  # fmt: skip


@pytest.mark.parametrize("name", MAPS)
def test_a_map_of_labels_or_probabilities_is_refused_by_its_values(tmp_path, name):
    path = tmp_path / "sub-01_T2w.nii.gz"
    nibabel.save(nibabel.Nifti1Image(MAPS[name], AXIAL), path)
    decision, reason = judge_volume(read_volume(str(path)))
    assert decision == "refuse"
    assert "not an image" in reason


def scene(seed: int = 0) -> np.ndarray:
    """Give an image in [0, 1]: structures with edges, a bias field, noise of 2 %."""
    rng = np.random.default_rng(seed)
    shapes = gaussian_filter(rng.normal(size=(SIDE, SIDE, SLICES)), (4, 4, 0))
    shapes = gaussian_filter(np.digitize(shapes, np.quantile(shapes, [0.3, 0.6, 0.8])) / 3.0, (0.7, 0.7, 0))
    field = 1 + 0.2 * gaussian_filter(rng.normal(size=(SIDE, SIDE, 1)), 30) * 30
    return np.clip(0.05 + 0.8 * shapes * field + 0.02 * rng.normal(size=shapes.shape), 0, 1)


def like_jpeg(values: np.ndarray) -> np.ndarray:
    """Give 8 bits that a low quality has smoothed in blocks."""
    smooth = gaussian_filter(values, (1, 1, 0))
    coarse = smooth[::8, ::8].repeat(8, 0).repeat(8, 1)
    return np.round((0.3 * coarse + 0.7 * smooth) * 255).astype(np.uint8)


IMAGES = {
    "12 bits": (scene() * 4095).astype(np.int16),
    "16 bits": (scene() * 65535).astype(np.uint16),
    "unit range": scene().astype(np.float32),
    "8 bits": (scene() * 255).astype(np.uint8),
    "like JPEG": like_jpeg(scene()),
    "32 levels": np.round(scene() * 31).astype(np.uint8),
    "16 levels": np.round(scene() * 15).astype(np.uint8),
    "masked": within(scene()),
    "masked to an eighth": np.where(from_middle() < SIDE / 5.6, scene(), 0),
    "thresholded": np.where(scene() > 0.4, scene(), 0).astype(np.float32),
    "thresholded noise": np.where(RNG.normal(size=(SIDE, SIDE, SLICES)) > 1, RNG.random((SIDE, SIDE, SLICES)), 0),
    "clipped at both ends": np.clip(scene(), *np.quantile(scene(), [0.3, 0.95])),
    "magnified by repeating pixels": scene()[::2, ::2].repeat(2, 0).repeat(2, 1).astype(np.float32),
    **{
        f"magnified by {rows} and {columns}": (magnified(scene(), rows, columns) * top).astype(kind)
        for rows, columns, top, kind in (
            *((2, 2, 255, np.uint8), (3, 3, 4095, np.int16), (4, 4, 1, np.float32), (3.5, 3.5, 65535, np.uint16)),
            *((4, 1, 1000, np.float32), (2, 5, 4095, np.int16), (6, 6, 4095, np.int16), (2.5, 4.2, 1, np.float64)),
        )
    },
    "masked and magnified by 4": magnified(within(scene()), 4, 4),
    "interpolated": gaussian_filter(scene(), (1.5, 1.5, 0)),
    "one bright spot": np.where(np.arange(SIDE * SIDE * SLICES).reshape(SIDE, SIDE, SLICES) == 9, 1e6, scene()),
    "one slice of many": np.where(np.arange(SLICES) == 2, scene(), 0),
    "noise": RNG.integers(0, 4096, (SIDE, SIDE, SLICES)),
    "median filter": median_filter(scene(), (5, 5, 1)),
    "median filter in 8 bits": median_filter(np.rint(255 * scene()), (5, 5, 1)).astype(np.uint8),
    "turned by splines": rotate(scene(), 7, reshape=False, order=3),
    "magnified by splines": zoom(scene()[::2, ::2], (2, 2, 1), order=3),
    "smoothed by 2 pixels": gaussian_filter(scene(), (2, 2, 0)),
}


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_is_none_however_coarse_masked_or_smooth_it_is(name):
    assert label_evidence(np.moveaxis(IMAGES[name], -1, 0)) == ""


def test_real_scans_are_far_from_label_maps(real_data):
    for path in sorted(real_data.rglob("*T2starw.nii.gz")) + sorted(real_data.rglob("t2.nii.gz")):
        values = np.moveaxis(np.asanyarray(nibabel.load(path).dataobj), -1, 0).astype(float)
        top = np.quantile(values, 0.999)
        for levels in (None, 255, 63, 15):
            coarse = values if levels is None else np.round(np.clip(values / top, 0, 1) * levels)
            assert label_evidence(coarse) == "", (path.name, levels)


@pytest.mark.parametrize(
    "name",
    [
        "t2_labelmap",
        "sub-01_gmseg",
        "wmseg",
        "totalspineseg",
        "x_seg2",
        "T2w segmentation",
        "cord-mask1",
        "labels.1",
        "gm_Seg",
    ],
)
def test_words_for_segmentations_are_known_in_compounds(tmp_path, name):
    path = tmp_path / f"{name}.nii.gz"
    nibabel.save(nibabel.Nifti1Image(IMAGES["12 bits"], AXIAL), path)
    assert judge_volume(read_volume(str(path))).reason.startswith("a segmentation by its name")


@pytest.mark.parametrize("name", ["sub-segovia01_T2w", "masked-fer_T2w", "sub-labelle_T2w", "segment3_T2w"])
def test_words_that_only_begin_like_those_are_none(tmp_path, name):
    path = tmp_path / f"{name}.nii.gz"
    nibabel.save(nibabel.Nifti1Image(IMAGES["12 bits"], AXIAL), path)
    assert judge_volume(read_volume(str(path))).accepted


@pytest.mark.parametrize(("name", "found"), [("less an offset", True), ("12 bits", False)])
def test_slices_of_a_dicom_series_that_holds_labels_are_not_evaluable(tmp_path, name, found):
    from monai.data import MetaTensor

    values = {**MAPS, **IMAGES}[name]
    for index in range(SLICES):
        ds = axial_t2("P1", "T2", index)
        ds.Rows = ds.Columns = SIDE
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 15, 1
        ds.PixelData = values[..., index].astype("<i2").tobytes()
        write(ds, tmp_path / str(index))
    reader = SeriesReader()
    pixels, meta = reader.get_data(reader.read(str(tmp_path)))
    image = MetaTensor((pixels[None] - pixels.min()) / np.ptp(pixels), meta=meta)
    problems = slice_problems(image, {"mm_per_pixel": (0.1, 9), "field_of_view_mm": (1, 999)})
    assert all(("looks like a label map" in problem) == found for problem in problems), problems


def test_a_map_of_labels_can_be_forced(tmp_path):
    from scripts.inference.series import find_series

    path: Path = tmp_path / "sub-01_T2w.nii.gz"
    nibabel.save(nibabel.Nifti1Image(MAPS["90 labels"], AXIAL), path)
    assert not find_series(path).series
    (series,) = find_series(path, force=True).series
    assert series["warnings"].startswith("forced: ")


def test_the_share_of_places_without_noise_is_that_of_all_places_though_a_sample_is_looked_at():
    """A quarter of the first two of six slices is a plane: a twelfth of the places, less those over its border."""
    values = np.random.default_rng(3).normal(size=(6, 160, 160))
    values[:2, :80, :80] = np.arange(80)[:, None] + 2 * np.arange(80)
    inside = np.ones(values.shape, dtype=bool)
    n_places, n_flat = 6 * 78**2, 2 * 38**2
    assert n_places > MOST_PATCHES
    assert noiseless_share(values, inside, 1e-6) == pytest.approx(n_flat / n_places, abs=0.005)
    inside[2:] = False
    assert noiseless_share(values, inside, 1e-6) == n_flat / (2 * 78**2)  # few enough to look at each
