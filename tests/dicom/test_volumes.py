"""Volume files: what is an image, what is a segmentation, which way it lies, and what it is called."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import itk
import nibabel
import numpy as np
import pytest

from scripts.dicom.elements import UnreadableError
from scripts.dicom.volumes import judge_volume, read_volume, volume_uid
from scripts.errors import InputError
from scripts.readers import SeriesReader

AXIAL = np.diag([0.5, 0.5, 3.0, 1.0])


def image(shape: tuple[int, ...] = (32, 30, 6), seed: int = 0) -> np.ndarray:
    """Give 12-bit noise."""
    return np.random.default_rng(seed).integers(0, 4096, shape).astype(np.int16)


def labels(levels: int = 4, dtype: type = np.uint8) -> np.ndarray:
    """Give a label map: 0 around a block of labels."""
    values = np.zeros((32, 30, 6), dtype)
    values[8:16, 8:16] = np.random.default_rng(0).integers(1, levels, (8, 8, 6))
    return values


def write(path: Path, pixels: np.ndarray, affine: np.ndarray = AXIAL) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(pixels, affine), path)
    return str(path)


def judged(path: str) -> tuple[str, str]:
    return tuple(judge_volume(read_volume(path)))


@pytest.mark.parametrize(
    "pixels",
    [labels(), labels(20), labels(4, np.int16), labels(4, np.float32), labels(31, np.float64), labels(2)],
    ids=["4", "20", "int16", "float", "31 float", "mask"],
)
def test_a_label_map_is_no_image_whatever_its_type_and_name(tmp_path, pixels):
    decision, reason = judged(write(tmp_path / "sub-01_T2w.nii.gz", pixels))
    assert decision == "refuse"
    assert "not an image" in reason


def test_a_label_map_may_say_so_in_its_header(tmp_path):
    path = tmp_path / "x.nii"
    nifti = nibabel.Nifti1Image(image(), AXIAL)
    nifti.header.set_intent("label")
    nibabel.save(nifti, path)
    assert "label map" in judged(str(path))[1]


@pytest.mark.parametrize("name", ["t2_seg", "t2_seg-manual", "sub-01_dseg", "sub-01_label-SC_mask", "T2w_probseg"])
def test_a_segmentation_by_its_name_is_refused(tmp_path, name):
    assert judged(write(tmp_path / f"{name}.nii.gz", image() / np.float32(4096)))[1].startswith("a segmentation by its")


@pytest.mark.parametrize(
    "pixels",
    [
        image().astype(np.uint8),
        (image() // 128 * 128).astype(np.int16),
        np.where(np.arange(6) < 5, 0, image()),
        image() / np.float32(4095),
        image() % 8 / np.float32(8),
    ],
    ids=["8 bits", "32 levels", "mostly background", "unit range", "fractions"],
)
def test_coarse_or_masked_images_are_images(tmp_path, pixels):
    assert judged(write(tmp_path / "x.nii.gz", pixels))[0] == "accept"


@pytest.mark.parametrize(
    ("name", "decision", "weighting"),
    [
        ("sub-01_T2w", "accept", "T2"),
        ("sub-01_acq-axial_T2starw", "accept", "T2*"),
        ("sub-01_T2star", "accept", "T2*"),
        ("scan", "accept", ""),
        ("sub-01_T1w", "refuse", ""),
        ("sub-01_task-rest_bold", "refuse", ""),
        ("sub-01_dwi", "refuse", ""),
        ("sub-01_PD", "refuse", ""),
        ("sub-01_PDw", "refuse", ""),
        ("sub-01_acq-T1w_T2w", "accept", "T2"),
        ("mask-de-fer_T2w", "refuse", "T2"),
    ],
)
def test_a_bids_name_says_the_sequence(tmp_path, name, decision, weighting):
    volume = read_volume(write(tmp_path / f"{name}.nii.gz", image()))
    assert (judge_volume(volume).decision, volume.weighting) == (decision, weighting)
    assert ("does not say its weighting" in "; ".join(volume.warnings)) == (weighting == "")


@pytest.mark.parametrize(
    ("affine", "plane", "n_slices"),
    [
        (AXIAL, "axial", 6),
        (np.diag([3.0, 0.5, 0.5, 1.0]), "sagittal", 6),
        (np.diag([0.5, 3.0, 0.5, 1.0]), "coronal", 6),
        (np.eye(4), "axial", 6),
        (AXIAL[:, [2, 0, 1, 3]], "axial", 32),
        (np.diag([-0.5, -0.5, 3.0, 1.0]), "axial", 6),
    ],
    ids=["axial", "sagittal", "coronal", "cubes", "axial, other order", "flipped"],
)
def test_the_plane_is_that_of_the_finest_voxels(tmp_path, affine, plane, n_slices):
    volume = read_volume(write(tmp_path / "x_T2w.nii", image(), affine))
    assert (volume.plane, volume.n_slices) == (plane, n_slices)
    assert judge_volume(volume).accepted == (plane == "axial")
    assert any("same size" in text for text in volume.warnings) == np.array_equal(affine, np.eye(4))


@pytest.mark.parametrize(("degrees", "plane"), [(30, "axial"), (60, "coronal")])
def test_an_oblique_volume_lies_in_the_nearest_plane(tmp_path, degrees, plane):
    turn, (cosine, sine) = np.eye(4), (np.cos(np.radians(degrees)), np.sin(np.radians(degrees)))
    turn[1:3, 1:3] = [[cosine, -sine], [sine, cosine]]
    volume = read_volume(write(tmp_path / "x.nii", image(), turn @ AXIAL))
    assert volume.plane == plane
    assert volume.oblique_degrees == pytest.approx(30, abs=0.01)


def test_forms_that_disagree_or_are_absent_are_warned_of(tmp_path):
    moved = AXIAL.copy()
    for shift_mm, warned in ((0.05, False), (5.0, True)):
        moved[0, 3] = shift_mm
        nifti = nibabel.Nifti1Image(image(), AXIAL)
        nifti.set_qform(moved, 1)
        nibabel.save(nifti, tmp_path / "x.nii")
        texts = "; ".join(read_volume(str(tmp_path / "x.nii")).warnings)
        assert ("qform and sform disagree by up to 5.0 mm" in texts) == warned
    nifti = nibabel.Nifti1Image(image(), AXIAL)
    nifti.set_sform(None, 0)
    nifti.set_qform(None, 0)
    nibabel.save(nifti, tmp_path / "x.nii")
    assert "neither qform nor sform" in "; ".join(read_volume(str(tmp_path / "x.nii")).warnings)


@pytest.mark.parametrize(
    ("shape", "accepted"),
    [((32, 30, 6, 1), True), ((32, 30, 6, 1, 1), True), ((32, 30, 6, 2), False), ((32, 30), False), ((8, 0, 6), False)],
)
def test_one_volume_is_one_whatever_axes_of_length_one_follow(tmp_path, shape, accepted):
    decision, reason = judged(write(tmp_path / "x.nii", image(shape)))
    assert (decision == "accept") == accepted
    assert accepted or "expected one volume of three axes" in reason


def test_a_volume_that_is_too_large_singular_or_not_finite_is_refused(tmp_path, monkeypatch):
    flat = Path(write(tmp_path / "flat.nii", image()))
    flat.write_bytes(flat.read_bytes()[:312] + bytes(16) + flat.read_bytes()[328:])  # the last row of the sform
    assert "no inverse" in judged(str(flat))[1]
    assert "extends over 9.6e+04 mm" in judged(write(tmp_path / "wide.nii", image(), np.diag([3e3, 1.0, 1.0, 1.0])))[1]
    pixels = image().astype(np.float32)
    pixels[0, 0, 0] = np.nan
    assert "no numbers" in judged(write(tmp_path / "nan.nii", pixels))[1]
    monkeypatch.setattr("scripts.dicom.volumes.MOST_VOXELS", 100)
    assert "more than the 100 allowed" in judged(write(tmp_path / "large.nii", image()))[1]


def test_the_name_of_a_volume_is_its_place_and_content(tmp_path):
    first, second = (read_volume(write(tmp_path / str(n) / "t2.nii.gz", image(seed=n))) for n in (1, 2))
    moved = read_volume(write(tmp_path / "elsewhere" / "t2.nii.gz", image(seed=1)))
    names = [volume_uid("anat/t2.nii.gz", one.sha256) for one in (first, second, moved)]
    assert names[0].startswith("anat_t2_")
    assert len(names[0]) == len("anat_t2_") + 8
    assert names[0] == names[2] != names[1]
    for path in ("../../evil", "ä b$", "a" * 300, ".hidden", "/abs/x", ""):
        uid = volume_uid(f"{path}.nii.gz", first.sha256)
        assert 8 < len(uid) <= 64
        assert set(uid) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
        assert uid[0].isalnum()


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd", ".nhdr"])
def test_other_formats_are_judged_alike(tmp_path, suffix):
    for name, pixels in (("x", image()), ("y", labels())):
        written = itk.image_from_array(np.ascontiguousarray(pixels.T))
        written.SetSpacing([0.5, 0.5, 3.0])
        itk.imwrite(written, str(tmp_path / f"{name}{suffix}"))
    volume = read_volume(str(tmp_path / f"x{suffix}"))
    assert (volume.n_slices, volume.rows, volume.columns) == (6, 30, 32)
    assert (volume.plane, volume.spacing_mm) == ("axial", 3.0)
    assert judge_volume(volume).accepted
    assert "label map" in judged(str(tmp_path / f"y{suffix}"))[1]


def test_a_header_file_whose_data_lie_elsewhere_is_not_read(tmp_path):
    itk.imwrite(itk.image_from_array(image()), str(tmp_path / "x.mhd"))
    text = (tmp_path / "x.mhd").read_text()
    before = read_volume(str(tmp_path / "x.mhd")).sha256
    (tmp_path / "x.raw").write_bytes(image(seed=1).tobytes())
    assert read_volume(str(tmp_path / "x.mhd")).sha256 != before
    for name in ("/etc/passwd", "../x.raw", "absent.raw", ""):
        (tmp_path / "x.mhd").write_text(text.replace("x.raw", name))
        with pytest.raises(UnreadableError, match="is no file beside it"):
            read_volume(str(tmp_path / "x.mhd"))


def with_data_file(path: Path, line: str, decoy: str = "") -> str:
    """Write a text header whose voxels lie in another file, which ``line`` names."""
    if line.startswith("data"):  # whatever its suffix says
        about = "NRRD0004\ntype: short\ndimension: 3\nspacings: 1 1 3\nsizes: 32 30 6\nencoding: raw\nendian: little\n"
    else:
        about = "ObjectType = Image\nNDims = 3\nDimSize = 32 30 6\nElementType = MET_SHORT\nElementSpacing = 1 1 3\n"
    path.write_bytes(os.fsencode(f"{about}{decoy}{line}\n"))
    return str(path)


KEYS = [
    (".mhd", "ElementDataFile = "), (".mha", "ElementDataFile = "), (".mha", "ElementDataFile: "),
    (".nhdr", "data file: "), (".nrrd", "data file: "), (".nrrd", "datafile: "), (".mha", "data file: "),
]  # fmt: skip


@pytest.mark.parametrize(("suffix", "key"), KEYS)
def test_no_header_of_any_suffix_names_data_that_are_no_file_beside_it(tmp_path, suffix, key, monkeypatch):
    def opened(*_: Any) -> None:
        raise AssertionError("it has been opened")

    voxels = image().astype("<i2").T.tobytes()
    (tmp_path / "secret").mkdir()
    for place in ("secret/x.raw", "secret/%d.raw 1 6 1", "LIST", "x%d.raw 1 6 1"):
        (tmp_path / place).write_bytes(voxels)
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr("scripts.dicom.volumes.itk.imread", opened)
    monkeypatch.setattr(SeriesReader, "read", opened)
    names = [str(tmp_path / "secret" / "x.raw"), "secret/x.raw", "../x.raw", "LIST", "LIST 2", "x%d.raw 1 6 1", "pipe"]
    for name in names:
        path = with_data_file(tmp_path / f"x{suffix}", key + name)
        with pytest.raises(UnreadableError, match="no file beside it"):
            read_volume(path)
        with pytest.raises(InputError, match="no file beside it"):
            SeriesReader().volume(path)
    (tmp_path / "x.raw").write_bytes(voxels)
    for first in (f"{key}x.raw\n", f"{key.swapcase()}x.raw\n"):
        path = with_data_file(tmp_path / f"x{suffix}", f"{key}secret/x.raw", first)
        with pytest.raises(UnreadableError, match="names its data"):
            read_volume(path)


@pytest.mark.parametrize(("suffix", "key"), KEYS[:6])
@pytest.mark.parametrize(("own", "name"), [("x", "x.raw"), ("x", "r\udcfc.raw"), ("h\udce4", "r\udcfc.raw")])
def test_data_beside_a_header_are_read_and_are_part_of_its_content(tmp_path, suffix, key, own, name):
    (tmp_path / name).write_bytes(image().astype("<i2").T.tobytes())
    path = with_data_file(tmp_path / f"{own}{suffix}", f"{key}{name}")
    before = read_volume(path)
    assert before.n_slices == 6
    assert (SeriesReader().volume(path)[0] == image()).all()
    (tmp_path / name).write_bytes(image(seed=1).astype("<i2").T.tobytes())
    assert read_volume(path).sha256 != before.sha256


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_the_reason_of_a_damaged_volume_is_no_path_of_a_library(tmp_path, suffix):
    itk.imwrite(itk.image_from_array(image()), str(tmp_path / f"x{suffix}"))
    content = (tmp_path / f"x{suffix}").read_bytes()
    for broken in (
        content[:-200],
        content.replace(b"dimension: 3", b"dimension: x").replace(b"NDims = 3", b"NDims = x"),
    ):
        (tmp_path / f"x{suffix}").write_bytes(broken)
        with pytest.raises(UnreadableError, match=r"cannot be read: ") as caught:
            read_volume(str(tmp_path / f"x{suffix}"))
        assert ".cxx" not in str(caught.value)
        assert "0x" not in str(caught.value)
        assert len(str(caught.value)) > len("cannot be read: ") + 10


def test_a_damaged_volume_is_unreadable(tmp_path):
    path = write(tmp_path / "x.nii.gz", image())
    Path(path).write_bytes(Path(path).read_bytes()[:400])
    for broken in (path, str(tmp_path / "absent.nii")):
        with pytest.raises(UnreadableError, match="cannot be read"):
            read_volume(broken)


def test_real_scans_are_images_and_their_segmentations_are_not(real_data):
    found = {path.name: judged(str(path)) for path in real_data.rglob("*.nii.gz")}
    assert len(found) > 4
    for name, (decision, reason) in found.items():
        assert (decision == "refuse") == ("seg" in name), (name, reason)
