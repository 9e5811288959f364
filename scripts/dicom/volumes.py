"""NIfTI, NRRD and MetaImage volumes: what they are, from header, values and name, and whether they can be used."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import itk
import nibabel
import numpy as np
from nibabel.affines import apply_affine
from nibabel.orientations import io_orientation

from ..records import RESEARCH_USE
from .elements import UnreadableError
from .geometry import PLANES
from .judgements import Judgement
from .label_maps import FEW_LEVELS, label_evidence
from .listings import NIFTI
from .names import utf8_path

MOST_VOXELS = 1 << 27
SAMPLE = 4096
COARSER = 1.2
SAME_MM = 0.1
LARGEST_MM = 2000.0
SIGNIFICANT = 8
LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
T2_NAMES = {"t2w": "T2", "t2starw": "T2*", "t2star": "T2*"}
OTHER_NAMES = {
    "asl", "bold", "dwi", "epi", "fieldmap", "flair", "mtrmap", "pd", "pdmap", "pdw", "phase", "phasediff", "sbref",
    "t1", "t1map", "t1rho", "t1w", "t2map", "t2starmap", "unit1",
}  # fmt: skip
LONGEST_HEADER = 1 << 20
DATA_KEY = re.compile(rb"(?:^|[\r\n])[ \t]*(ElementDataFile|data ?file)[ \t]*[=:]([^\r\n]*)", re.IGNORECASE)
LABEL_NAME = re.compile(r"d?labels?(led|ed|map)?|\w*(mask|seg|segmentation|parcellation)s?")


@dataclass(frozen=True)
class Volume:
    """One volume file; sizes in mm.

    Attributes:
        path: the file.
        sha256: of its content, with that of a detached data file.
        n_slices: number of its axial slices, from caudal to cranial.
        rows: voxels from front to back.
        columns: voxels from side to side.
        spacing_mm: distance of neighbouring axial slices.
        plane: that in which its voxels are finest; axial where they are about as long as wide.
        oblique_degrees: angle between the normal of that plane and the nearest axis of the patient.
        weighting: ``T2`` or ``T2*`` where its BIDS name says so, else empty.
        sequence: another sequence that its BIDS name says it is; else empty.
        label_name: what in its name says that it is a segmentation; else empty.
        label_values: what in its values does, see `scripts.dicom.label_maps`; else empty.
        defects: why it cannot be used at all.
        warnings: what a person should know of it.
    """

    path: str
    sha256: str
    n_slices: int
    rows: int
    columns: int
    row_spacing_mm: float
    column_spacing_mm: float
    spacing_mm: float
    plane: str
    oblique_degrees: float
    weighting: str
    sequence: str
    label_name: str
    label_values: str
    defects: tuple[str, ...]
    warnings: tuple[str, ...]


def volume_uid(relative: str, sha256: str) -> str:
    """Return what stands for the SeriesInstanceUID of a volume file: its relative path and 8 digits of its content."""
    stem = stem_of(relative)
    safe = re.sub(r"[^A-Za-z0-9-]+", "_", stem)[-(63 - SIGNIFICANT) :].strip("_-")
    return f"{safe or 'volume'}_{sha256[:SIGNIFICANT]}"


def stem_of(path: str) -> str:
    """Return a path without the suffix of a volume file."""
    return re.sub(r"(\.nii(\.gz)?|\.[^./\\]+)$", "", path, flags=re.IGNORECASE)


def read_volume(path: str) -> Volume:
    """Read what is to be known of a volume file.

    Raises:
        UnreadableError: it is missing, damaged or of another format.
    """
    try:
        sha256 = content_sha256(path)
        affine, pixels, shape, found, warnings = (nifti if path.lower().endswith(NIFTI) else other)(path)
        problem = shape_problem(shape) or affine_problem(affine, shape)
        values = np.zeros((0, 0, 0)) if problem else pixels().reshape(shape[:3])
        found += list(filter(None, [problem or value_problem(values)]))
        # slices lie along the shortest axis, as they do in all but cubes
        label_values = "" if found else label_evidence(np.moveaxis(values, int(np.argmin(shape[:3])), 0))
    except UnreadableError:
        raise
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror or reading_problem(error)}") from error
    except Exception as error:  # nibabel and ITK raise many kinds for a damaged file
        raise UnreadableError(f"cannot be read: {reading_problem(error)}") from error
    if problem:
        affine, shape = np.eye(4), (0, 0, 0)
    to_world = io_orientation(affine)[:, 0].astype(int)
    across, along, up = (int(np.argmax(to_world == axis)) for axis in range(3))
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    thickest = up if sizes[up] * COARSER >= sizes.max() else int(sizes.argmax())
    plane = PLANES[to_world[thickest]]
    first, second = (affine[:3, axis] for axis in range(3) if axis != thickest)
    normal = np.cross(first, second)
    cosine = float(np.abs(normal).max() / np.linalg.norm(normal))
    if plane == "axial" and sizes[up] < COARSER * min(sizes) and not problem:
        warnings.append("axial slices are cut from a volume with voxels of about the same size in all directions")
    weighting, sequence, label_name = named_kind(path)
    if not weighting:
        warnings.append("a volume file does not say its weighting; make sure that it is T2 or T2*")
    return Volume(
        path=path,
        sha256=sha256,
        n_slices=shape[up],
        rows=shape[along],
        columns=shape[across],
        row_spacing_mm=float(sizes[along]),
        column_spacing_mm=float(sizes[across]),
        spacing_mm=float(sizes[up]),
        plane=plane,
        oblique_degrees=math.degrees(math.acos(min(1.0, cosine))),
        weighting=weighting,
        sequence=sequence,
        label_name=label_name,
        label_values=label_values,
        defects=tuple(found),
        warnings=tuple(warnings),
    )


Parts = tuple[np.ndarray, Callable[[], np.ndarray], tuple[int, ...], list[str], list[str]]


def nifti(path: str) -> Parts:
    """Return a NIfTI's affine (RAS), a function that reads its voxels, its shape, its defects and warnings."""
    image: Any = nibabel.load(path)
    defects, warnings = [], []
    if image.header.get_intent()[0] == "label":
        defects.append("its header says that it is a label map (intent code)")
    if image.header["descrip"].item().startswith(RESEARCH_USE.encode()):
        defects.append("a heat map of this program, by its header, not an image")
    codes = int(image.header["qform_code"]), int(image.header["sform_code"])
    if codes == (0, 0):
        warnings.append("neither qform nor sform says how it lies; taken as the order of its voxels says")
    elif all(codes) and len(image.shape) >= 3:
        corners = np.array([*product(*((0, n - 1) for n in image.shape[:3]))])
        apart = apply_affine(image.get_qform() - image.get_sform(), corners)
        apart_mm = float(np.linalg.norm(apart, axis=1).max())
        if apart_mm > SAME_MM:
            warnings.append(f"qform and sform disagree by up to {apart_mm:.1f} mm; the sform is used")
    return image.affine, lambda: np.asanyarray(image.dataobj), image.shape, defects, warnings


def other(path: str) -> Parts:
    """Return the same of an NRRD or MetaImage."""
    with utf8_path(path, data_file(path)) as plain:
        image = itk.imread(plain)
    pixels = itk.array_view_from_image(image)
    n = image.GetImageDimension()
    affine = np.eye(n + 1)
    affine[:n, :n] = itk.array_from_matrix(image.GetDirection()) * np.asarray(image.GetSpacing())
    affine[:n, n] = image.GetOrigin()
    affine = affine[[0, 1, 2, -1]][:, [0, 1, 2, -1]] if n >= 3 else np.eye(4)
    affine[:3] *= LPS_TO_RAS[:, None]
    shape = tuple(itk.size(image)) if pixels.ndim == n else (*itk.size(image), pixels.shape[-1])
    return affine, lambda: pixels.T, shape, [], []


def shape_problem(shape: tuple[int, ...]) -> str:
    """Return why an array is not one volume; a trailing axis of length 1 is none."""
    if len(shape) < 3 or math.prod(shape[3:]) != 1 or not all(shape):
        return f"has shape {tuple(map(int, shape))}; expected one volume of three axes"
    if math.prod(map(int, shape)) > MOST_VOXELS:
        return f"has {math.prod(map(int, shape))} voxels, more than the {MOST_VOXELS} allowed"
    return ""


def affine_problem(affine: np.ndarray, shape: tuple[int, ...]) -> str:
    """Return why an affine gives voxels no place, or an impossible one."""
    if not np.isfinite(affine).all() or np.isnan(io_orientation(affine)).any():
        return "its header does not say where its voxels lie (the affine has no inverse)"
    extents_mm = np.linalg.norm(affine[:3, :3], axis=0) * shape[:3]
    if not (extents_mm <= LARGEST_MM).all():
        return f"its header says that it extends over {extents_mm.max():.3g} mm"
    return ""


def value_problem(pixels: np.ndarray) -> str:
    """Return why the values of a volume are none of an image: no numbers, a mask or a label map."""
    if pixels.dtype.kind not in "biuf":
        return f"holds values of type {pixels.dtype}, not plain grey levels"
    if not np.isfinite(pixels).all():
        return "holds voxel values that are no numbers"
    flat = pixels.ravel()
    if len(np.unique(flat[:: max(1, flat.size // SAMPLE)])) >= FEW_LEVELS:
        return ""
    levels, counts = np.unique(flat, return_counts=True)
    if len(levels) <= 2:
        return "holds at most two different values: a mask, not an image"
    whole = (levels == np.round(levels)).all()
    if len(levels) < FEW_LEVELS and whole and counts[levels == 0].sum() * 2 > flat.size:
        return f"holds {len(levels)} different whole numbers, mostly 0: a label map, not an image"
    return ""


def named_kind(path: str) -> tuple[str, str, str]:
    """Return what a file's name says of it, as in BIDS: weighting, another sequence, and a word for segmentations."""
    stem = stem_of(Path(path).name)
    known = [word for word in stem.split("_") if word.lower() in T2_NAMES or word.lower() in OTHER_NAMES]
    last = known[-1] if known else ""
    words = (word.strip("0123456789") for word in re.split(r"[_.\s-]", stem))
    label = next((word for word in words if LABEL_NAME.fullmatch(word.lower())), "")
    return T2_NAMES.get(last.lower(), ""), last if last.lower() in OTHER_NAMES else "", label


def judge_volume(volume: Volume) -> Judgement:
    """Judge a volume file as far as its header, its values and its name allow."""
    if volume.defects:
        return Judgement("refuse", "; ".join(volume.defects))
    if volume.label_name:
        return Judgement("refuse", f"a segmentation by its name ({volume.label_name})")
    if volume.label_values:
        return Judgement("refuse", volume.label_values)
    if volume.plane != "axial":
        sizes = f"{volume.column_spacing_mm:.2g} x {volume.row_spacing_mm:.2g} x {volume.spacing_mm:.2g} mm"
        order = "from side to side, front to back and along the neck"
        return Judgement("refuse", f"{volume.plane} (voxels of {sizes} {order}), not axial")
    if volume.sequence:
        return Judgement("refuse", f"not T2 or T2* by its name ({volume.sequence})")
    return Judgement("accept", f"axial {volume.weighting or 'of unknown weighting'} (a volume file)")


def data_file(path: str) -> Path | None:
    """Return the file beside an NRRD or MetaImage that holds its voxels; None where it holds them itself.

    Its suffix does not say: the readers of both formats follow what the header names, whatever and wherever it is.

    Raises:
        UnreadableError: it names anything but one regular file beside it (several, a pattern, another folder, a pipe).
    """
    with Path(path).open("rb") as stream:
        head = stream.read(LONGEST_HEADER)
    nrrd = head.startswith(b"NRRD")
    if nrrd and not re.search(rb"\n\r?\n", head) and len(head) == LONGEST_HEADER:
        raise UnreadableError(f"its header is longer than {LONGEST_HEADER} bytes")
    named = DATA_KEY.findall(head)
    if nrrd and not named:
        return None
    if len(named) > 1 or (named and not nrrd and named[0][0] != b"ElementDataFile"):
        raise UnreadableError("its header names its data more than once, or by an unknown key")
    name = os.fsdecode(named[0][1].strip()) if named else ""
    if name.upper() == "LOCAL":
        return None
    beside = Path(path).with_name(name) if name and Path(name).name == name else None
    # lists and patterns stand for several files
    if beside is None or not beside.is_file() or name.upper().startswith("LIST") or "%" in name:
        raise UnreadableError(f"the data file that it names, {name or '(none)'}, is no file beside it")
    return beside


def content_sha256(path: str) -> str:
    """Hash a volume file, and the `data_file` that its text header names."""
    data = None if path.lower().endswith(NIFTI) else data_file(path)
    digest = hashlib.sha256()
    for one in filter(None, (Path(path), data)):
        with one.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def reading_problem(error: BaseException) -> str:
    """Return in one line why nibabel or ITK cannot read a file, without the path of ITK's own source."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if "MetaImageIO(" in str(error):  # whose own reason is the system's last error, whatever that was
        return "a damaged MetaImage: its header, or fewer voxels than that says"
    return re.sub(r"^\[nrrd\] \w+: ", "", lines[-1]) if "NrrdImageIO(" in str(error) else lines[0]
