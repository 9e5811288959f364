"""Where people, or the phantom, say that the canal is: canal.csv, with points and the masks of canal and cord."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import EnsureChannelFirst, MapTransform, Orientation
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray

from ..dicom.loaded import identities
from ..errors import InputError, root_message
from ..files import inside
from ..readers import SeriesReader
from ..records import SliceKey
from ..tables import Row, read_table

COLUMNS = (
    *("patient_id", "series_uid", "sop_uid", "frame", "slice_index", "image"),
    *("canal_row_px", "canal_column_px", "canal_mask", "cord_mask", "mask_slice"),
)
"""Columns of canal.csv. Points count from 0 at the centre of the image's first pixel; ``mask_slice`` from 0, caudal."""
SAME_PLACE_MM = 0.5
LARGEST_PX = 65535.0
Mask = NDArray[np.uint8]


class Truth(NamedTuple):
    """What is known of the canal in one slice of an oriented image ``(1, H, W, D)``.

    Attributes:
        centre_px: (row, column) of the canal's centre in the oriented image; None where it is not known.
        canal: mask ``(H, W)`` of the canal with the cord in it; None where there is none.
        cord: the same of the cord.
    """

    centre_px: tuple[float, float] | None
    canal: Mask | None
    cord: Mask | None


def read_truth(path: str | Path) -> dict[SliceKey | tuple[str, int], Row]:
    """Read canal.csv.

    Returns:
        its rows by ``(series_uid, sop_uid, frame)``, and of files without UIDs by ``(image, slice_index)``.

    Raises:
        InputError: the table is missing or malformed, a slice comes twice, or a row says nothing.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"no table of canals at {path}; make one from masks with `python -m scripts canal {path.parent}`, or "
            "write one with the columns sop_uid, frame, canal_row_px and canal_column_px"
        )
    found: dict[SliceKey | tuple[str, int], Row] = {}
    for row in read_table(path, (), COLUMNS):
        key = row.key() if row["sop_uid"] else (row["image"], whole(row, "slice_index") or 0)
        if key in found:
            raise InputError(f"{row.where}: the same slice as in {found[key].where}; keep one of them")
        if not (row["canal_mask"] or row["cord_mask"]) and not (row["canal_row_px"] and row["canal_column_px"]):
            raise InputError(f"{row.where}: neither a point (canal_row_px, canal_column_px) nor a mask")
        found[key] = row
    return found


class CanalTruthd(MapTransform):
    """Add to an oriented image what canal.csv says of its slices.

    ``(1, H, W, D)`` becomes ``(4, H, W, D)``: the grey values, a Gaussian around the canal's centre, and the masks of
    canal and cord, in [0, 1]. What is not known is 0, and `known` says so.

    Args:
        keys: keys of oriented images.
        table: canal.csv.
        sigma_mm: of the Gaussian.
    """

    def __init__(self, keys: Any, table: str, sigma_mm: float = 3.0) -> None:
        super().__init__(keys)
        self.folder, self.rows, self.sigma_mm = Path(table).parent, read_truth(table), float(sigma_mm)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the channels."""
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            channels = torch.zeros((4, *image.shape[1:]))
            channels[0] = image.as_tensor()[0]
            for index, identity in enumerate(identities(image)):
                row = self.rows.get((str(image.meta.get("series_uid", "")), *identity))
                if row is not None:
                    channels[1:, ..., index] = self.drawn(truth_of(row, image, index, self.folder), image)
            result[key] = MetaTensor(channels, meta=image.meta, applied_operations=image.applied_operations)
        return result

    def drawn(self, truth: Truth, image: MetaTensor) -> torch.Tensor:
        """Draw the truth of a slice, ``(3, H, W)``."""
        drawn = torch.zeros((3, *image.shape[1:3]))
        if truth.centre_px is not None:
            away = [
                (torch.arange(n) - centre) * float(mm) / self.sigma_mm
                for n, centre, mm in zip(image.shape[1:3], truth.centre_px, image.pixdim[:2], strict=True)
            ]
            drawn[0] = torch.exp(-(away[0][:, None] ** 2 + away[1][None] ** 2) / 2)
        for number, mask in enumerate((truth.canal, truth.cord), 1):
            if mask is not None:
                drawn[number] = torch.from_numpy(mask)
        return drawn


def known(row: Row) -> tuple[bool, bool, bool]:
    """Return whether a row says where the centre is, and the outlines of canal and cord."""
    one_file = row["canal_mask"] == row["cord_mask"]
    return True, bool(row["canal_mask"]), bool(row["cord_mask"]) or bool(row["canal_mask"] and one_file)


def whole(row: Row, column: str) -> int | None:
    """Return a whole number of a row, None where the cell is empty."""
    value = row.number(column, 0, LARGEST_PX)
    if value is not None and value != int(value):
        raise InputError(f"{row.where}: {column} must be a whole number, got {value}")
    return None if value is None else int(value)


def truth_of(row: Row, image: MetaTensor, index: int, folder: Path) -> Truth:
    """Return what a row of canal.csv says of a slice.

    Args:
        row: of canal.csv.
        image: the oriented image ``(1, H, W, D)`` that holds the slice.
        index: of the slice in it.
        folder: of canal.csv.

    Raises:
        InputError: a point lies outside the image, or a mask is missing, unreadable or on another grid.
    """
    size = (int(image.shape[1]), int(image.shape[2]))
    wanted = whole(row, "mask_slice")
    number = index if wanted is None else wanted
    canal, cord = (mask_slice(row, name, folder, number, size) for name in ("canal_mask", "cord_mask"))
    if canal is not None and row["canal_mask"] == row["cord_mask"]:  # as the phantom writes: 1 around the cord, 2 in it
        cord = (canal == 2).astype(np.uint8)
    canal, cord = (None if one is None else (one > 0).astype(np.uint8) for one in (canal, cord))
    point = [row.number(name, -0.5, LARGEST_PX) for name in ("canal_row_px", "canal_column_px")]
    if None not in point:
        centre = oriented_point(image, (float(point[0] or 0), float(point[1] or 0)))
        if not all(-0.5 <= value <= n - 0.5 for value, n in zip(centre, size, strict=True)):
            raise InputError(
                f"{row.where}: the point (row {point[0]:g}, column {point[1]:g}) lies outside the image of "
                f"{size[0]} x {size[1]} pixels"
            )
    else:
        outline = canal if canal is not None else cord
        assert outline is not None
        if not outline.any():
            return Truth(None, canal, cord)
        rows, columns = np.nonzero(outline)
        centre = (float(rows.mean()), float(columns.mean()))
    return Truth(centre, canal, cord)


def mask_slice(row: Row, column: str, folder: Path, number: int, size: tuple[int, int]) -> Mask | None:
    """Return the slice of a mask that a row names; None where it names none."""
    if not row[column]:
        return None
    mask, _ = load_mask(str(inside(folder, row[column])))
    if mask.shape[:2] != size or not 0 <= number < mask.shape[2]:
        raise InputError(
            f"{row.where}: {row[column]} has {mask.shape[0]} x {mask.shape[1]} pixels and {mask.shape[2]} slices, but "
            f"slice {number} of {size[0]} x {size[1]} pixels is wanted; a mask must have the grid of its image"
        )
    found: Mask = mask[..., number]
    return found


@lru_cache(maxsize=8)
def load_mask(path: str) -> tuple[Mask, NDArray[np.float64]]:
    """Load a mask in the orientation of the images: rows to posterior, columns to the left, caudal first.

    Returns:
        ``(H, W, D)``, and its affine (RAS).

    Raises:
        InputError: it cannot be read, or holds other values than a few whole numbers.
    """
    try:
        loaded = nibabel.load(path)
        loaded = loaded.as_reoriented(ornt_transform(io_orientation(loaded.affine), axcodes2ornt("PLS")))
        values = np.asarray(loaded.dataobj)
    except Exception as error:  # whatever a broken file provokes
        raise InputError(f"the mask {path} cannot be read: {root_message(error)}") from error
    if values.ndim != 3 or not np.isin(np.unique(values), (0, 1, 2)).all():
        raise InputError(f"the mask {path} must be one volume of the values 0, 1 and 2; is it an image?")
    return values.astype(np.uint8), np.asarray(loaded.affine, dtype=float)


def oriented_image(source: Any) -> MetaTensor:
    """Load what the reader takes in the orientation of all clients, ``(1, H, W, D)``, without any other change."""
    reader = SeriesReader()
    pixels, meta = reader.get_data(reader.read(source))
    image: MetaTensor = Orientation("PLS", labels=None)(EnsureChannelFirst()(MetaTensor(pixels, meta=meta)))
    return image


def to_file(image: MetaTensor) -> NDArray[np.float64]:
    """Return the matrix (4, 4) from indices of the oriented image to those of the file (column, row, slice)."""
    affine = np.asarray(image.meta["original_affine"], dtype=float)
    change = ornt_transform(io_orientation(affine), axcodes2ornt("PLS"))
    shape = tuple(int(n) for n in image.meta["spatial_shape"])
    matrix: NDArray[np.float64] = inv_ornt_aff(change, shape)
    return matrix


def oriented_point(image: MetaTensor, file_px: tuple[float, float]) -> tuple[float, float]:
    """Map (row, column) of a file's pixels to the oriented image."""
    row, column = file_px
    found = np.linalg.solve(to_file(image), np.array([column, row, 0.0, 1.0]))
    return float(found[0]), float(found[1])


def file_point(image: MetaTensor, oriented_px: tuple[float, float]) -> tuple[float, float]:
    """Map (row, column) of the oriented image to the file's pixels."""
    found = to_file(image) @ np.array([*oriented_px, 0.0, 1.0])
    return float(found[1]), float(found[0])


def slice_planes(image: MetaTensor) -> NDArray[np.float64]:
    """Return the middle of every slice of an oriented image and its unit normal, in mm (RAS), shape (D, 2, 3)."""
    pieces = json.loads(str(image.meta.get("pieces") or "[]"))
    depth, shape = int(image.shape[3]), [int(n) for n in image.meta["spatial_shape"]]
    if pieces:
        matrices = {
            number: (np.reshape(piece["affine"], (4, 4)), [(shape[0] - 1) / 2, (shape[1] - 1) / 2, place, 1])
            for piece in pieces
            for number, place in zip(piece["slices"], piece["places"], strict=True)
        }
    else:
        half = [(int(n) - 1) / 2 for n in image.shape[1:3]]
        matrices = {number: (image.affine.numpy(), [*half, number, 1]) for number in range(depth)}
    return np.array([plane(*matrices[number]) for number in range(depth)])


def plane(affine: NDArray[np.float64], middle: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where the middle of a slice lies, and the slice's unit normal."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    return (affine @ np.asarray(middle, dtype=float))[:3], normal / np.linalg.norm(normal)


def matching_slice(image: MetaTensor, index: int, mask_path: str) -> int | None:
    """Return which slice of a mask lies where a slice of an oriented image does; None where none does."""
    mask, affine = load_mask(mask_path)
    spacing_mm = np.linalg.norm(affine[:3, :2], axis=0)
    same_pixels = mask.shape[:2] == tuple(image.shape[1:3]) and np.allclose(
        spacing_mm, np.asarray(image.pixdim[:2]), rtol=0.01
    )
    if not same_pixels:
        return None
    middle, normal = slice_planes(image)[index]
    half = [(n - 1) / 2 for n in mask.shape[:2]]
    planes = [plane(affine, [*half, number, 1]) for number in range(mask.shape[2])]
    near = [
        number
        for number, (place, direction) in enumerate(planes)
        if np.linalg.norm(place - middle) < SAME_PLACE_MM and abs(direction @ normal) > np.cos(np.radians(1))
    ]
    return near[0] if near else None
