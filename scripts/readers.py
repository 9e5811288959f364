"""The reader of every client: DICOM in any shape, NIfTI, and what else ITK knows."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import itk
import numpy as np
from monai.data import ITKReader, NibabelReader
from monai.utils import MetaKeys, SpaceKeys
from numpy.typing import NDArray

from .dicom.geometry import SAME_POSITION_MM
from .dicom.label_maps import label_evidence
from .dicom.listings import NIFTI, list_files
from .dicom.names import utf8_path
from .dicom.pieces import pieces, slice_corners
from .dicom.pixels import decoded
from .dicom.sources import contents_of, only_image
from .dicom.stacks import Stack
from .dicom.volumes import data_file, reading_problem, shape_problem, value_problem
from .errors import InputError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def decode(stack: Stack) -> NDArray[np.float32]:
    """Decode the pixels of a stack, each file once, with ITK.

    Returns:
        ``(columns, rows, slices)`` float32 with rescale slope and intercept applied, in the order of ``stack.slices``.

    Raises:
        InputError: a file cannot be decoded, or holds other pixels than its header says.
    """
    files: dict[str, NDArray[np.float32]] = {}
    wanted = (stack.rows, stack.columns)
    volume = np.empty((stack.columns, stack.rows, len(stack.slices)), np.float32)
    for number, one in enumerate(stack.slices):
        if one.path not in files:
            if one.frame == "":
                files.clear()  # single frames are needed once
            try:
                files[one.path] = decoded(one.path, one.transfer_syntax_uid)
            except RuntimeError as error:
                reason = str(error).strip().splitlines()[-1]
                raise InputError(f"the pixels of {one.path} cannot be decoded: {reason}") from error
        pixels = files[one.path]
        frame = pixels[int(one.frame) - 1 if one.frame else 0] if pixels.ndim == 3 else pixels
        if frame.shape != wanted:
            raise InputError(f"{one.path} decodes to {frame.shape} pixels, its header says {wanted}")
        if not np.isfinite(frame).all():
            raise InputError(f"{one.path} holds pixel values that are no numbers")
        volume[..., number] = frame.T
    return volume


def affine_of(stack: Stack) -> NDArray[np.float64]:
    """Return the matrix from (column, row, slice) to millimetres in LPS, from the headers' full precision.

    Where slices are missing or stand at angles, no matrix fits all of them: this one has their mean distance and
    directions, and `scripts.dicom.pieces` says where each lies.

    Raises:
        InputError: the headers do not say where the pixels lie.
    """
    if stack.row_spacing_mm is None or stack.column_spacing_mm is None or not stack.normal:
        raise InputError(f"{stack} does not say where its pixels lie (PixelSpacing, ImageOrientationPatient)")
    affine = np.eye(4)
    affine[:3, 0] = np.multiply(stack.row_direction, stack.column_spacing_mm)
    affine[:3, 1] = np.multiply(stack.column_direction, stack.row_spacing_mm)
    first, last = (np.asarray(stack.slices[number].origin_mm) for number in (0, -1))
    affine[:3, 3] = first
    if len(stack.slices) == 1 or stack.slices[-1].position_mm - stack.slices[0].position_mm < SAME_POSITION_MM:
        affine[:3, 2] = np.multiply(stack.normal, stack.thickness_mm or 1.0)
    elif len(pieces(stack)) == 1:
        affine[:3, 2] = (last - first) / (len(stack.slices) - 1)
    else:
        middles = slice_corners(stack).mean(axis=1)
        half = [(stack.columns - 1) / 2, (stack.rows - 1) / 2]
        affine[:3, 2] = (middles[-1] - middles[0]) / (len(stack.slices) - 1)
        affine[:3, 3] = middles[0] - affine[:3, :2] @ half
    return affine


def metadata_of(stack: Stack) -> dict[str, Any]:
    """Return the metadata of a stack's pixels ``(columns, rows, slices)``: where they lie (RAS) and whose they are.

    ``pieces`` is a JSON list of `scripts.dicom.pieces.Piece`, the matrices flattened and to RAS.
    """
    affine = LPS_TO_RAS @ affine_of(stack)
    thickness_mm = stack.thickness_mm or stack.spacing_mm or 1.0
    sizes = {"thickness_mm": thickness_mm, "nominal_spacing_mm": stack.nominal_spacing_mm}
    identity = [
        {"sop_uid": one.sop_uid, "frame": one.frame, "position_mm": one.position_mm, **sizes} for one in stack.slices
    ]
    parts = [
        {"slices": one.slices, "places": one.places, "affine": (LPS_TO_RAS @ one.affine).ravel().tolist()}
        for one in pieces(stack)
    ]
    return {
        MetaKeys.ORIGINAL_AFFINE: affine,
        MetaKeys.AFFINE: affine.copy(),
        MetaKeys.SPACE: SpaceKeys.RAS,
        MetaKeys.SPATIAL_SHAPE: np.asarray((stack.columns, stack.rows, len(stack.slices))),
        MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan"),
        "series_uid": stack.series_uid,
        "slices": json.dumps(identity),
        "pieces": json.dumps(parts),
    }


def decoded_stack(stack: Stack) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Return pixels and metadata of a stack; ``label_map`` in the metadata is why the pixels look like labels.

    Raises:
        InputError: see `decode` and `affine_of`.
    """
    volume = decode(stack)
    return volume, {**metadata_of(stack), "label_map": label_evidence(np.moveaxis(volume, -1, 0))}


class SeriesReader(ITKReader):
    """Read one image series as ``(columns, rows, slices)`` float32 with its full affine.

    Takes a `scripts.dicom.stacks.Stack`, which is decoded without reading a header again; or a DICOM file, a list of
    files in any order, a folder or a zip that holds exactly one stack or volume, or a NIfTI, NRRD or MetaImage file.
    DICOM slices come most caudal first (along the slice normal, never by file name) and bring their identity:
    ``meta["slices"]`` is a JSON list of ``{"sop_uid", "frame", "position_mm", "thickness_mm",
    "nominal_spacing_mm"}``.

    Reading happens in ``get_data``: MONAI's ``LoadImage`` tries other readers when ``read`` fails, and those would
    return the first of several series in silence. ``LoadImage`` needs ``expanduser=False`` to hand over a stack.
    """

    def __init__(self) -> None:
        super().__init__(pixel_type=itk.F)

    def read(self, data: Sequence[Any] | Any, **_: Any) -> list[Any]:
        """Remember what to read: paths as text, or a stack."""
        images = data if isinstance(data, list | tuple) else [data]
        return [str(image) if isinstance(image, str | os.PathLike) else image for image in images]

    def get_data(self, img: list[Any]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Read it.

        Raises:
            InputError: the image is missing or damaged, or there are several stacks.
        """
        if not isinstance(img[0], str):
            return decoded_stack(img[0])
        paths = img[0] if len(img) == 1 else img
        listing = list_files(paths)
        try:
            image = only_image(contents_of(listing), paths)
            return self.volume(image) if isinstance(image, str) else decoded_stack(image)
        except InputError as error:
            raise InputError(listing.archives.named(str(error))) from None

    def volume(self, path: str) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Read a NIfTI, NRRD or MetaImage volume."""
        try:
            if path.lower().endswith(NIFTI):
                reader = NibabelReader()
                pixels, meta = reader.get_data(reader.read(path))
            else:
                with utf8_path(path, data_file(path)) as plain:
                    pixels, meta = super().get_data(super().read(plain))
        except Exception as error:  # nibabel and ITK raise many kinds for a damaged file
            raise InputError(f"{path} cannot be read: {reading_problem(error)}") from error
        problem = shape_problem(pixels.shape)
        if not problem and pixels.ndim > 3:
            pixels = pixels.reshape(pixels.shape[:3])
            meta |= {MetaKeys.SPATIAL_SHAPE: np.asarray(pixels.shape), MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan")}
        problem = problem or value_problem(pixels)
        if problem:
            raise InputError(f"{path} {problem}")
        return np.ascontiguousarray(pixels, dtype=np.float32), meta
