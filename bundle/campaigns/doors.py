"""Where files come in: each kind of file through the functions that the commands read it with."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread

from scripts.dicom.silence import quiet
from scripts.errors import InputError

from .samples import Sample
from .tables import TABLES

ACCEPTED, REFUSED = "accepted", "refused"
WITHOUT_MEMORY = ("memoryerror", "of memory", "allocat")
"""Words of the messages of who was refused memory."""


class WrongError(Exception):
    """Something was accepted, or said, that is not so."""


@dataclass(frozen=True)
class Place:
    """Where one worker puts the files it tries.

    Attributes:
        folder: its own.
        cohort: a folder of its own with the images of the datalist.
        neighbours: the rest of the series of the DICOM samples.
    """

    folder: Path
    cohort: Path
    neighbours: Sequence[Path]


def try_file(sample: Sample, data: bytes, names: Sequence[str], number: int, place: Place) -> str:
    """Put a file through its door; returns ``ACCEPTED``, or ``REFUSED`` where an `InputError` or a row says why.

    Raises:
        WrongError: something wrong was accepted.
        Exception: whatever the door does not catch.
    """
    path = place.folder / sample.name
    if sample.name == "datalist.json":
        path = place.cohort / sample.name
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    path.chmod(0o600)
    try:
        if sample.kind == "dicom":
            # every third within a series of three
            others = list(place.neighbours) if number % 3 == 0 and sample.name.startswith("classic") else []
            return dicom(path, others, sample if list(names) == ["truncate"] else None)
        if sample.kind in ("nifti", "zip"):
            return volume(path, sample if list(names) == ["truncate"] else None)
        return text(sample, path)
    except InputError as error:
        refuse_want_of_memory(str(error))
        return REFUSED


def refuse_want_of_memory(reason: str) -> None:
    """Raise where a reason is that memory was short.

    Raises:
        MemoryError: it is.
    """
    if any(word in reason.lower() for word in WITHOUT_MEMORY):
        raise MemoryError(reason)


def found_series(paths: Sequence[Path]) -> tuple[list[str], list[tuple[Any, NDArray[np.float32], dict[str, Any]]]]:
    """Find series as ``predict`` does and load them.

    Returns:
        Why others are refused; and of each series that could be loaded itself, its pixels and their metadata.
    """
    from scripts.inference.series import find_series
    from scripts.readers import SeriesReader

    found = find_series(list(map(str, paths)))
    for row in found.refused:
        refuse_want_of_memory(row["reason"])
    reader = SeriesReader()
    loaded, reasons = [], [row["reason"] for row in found.refused]
    for one in found.series:
        try:
            loaded.append((one, *reader.get_data(reader.read(one["image"]))))
        except InputError as error:
            refuse_want_of_memory(str(error))
            reasons.append(str(error))
    return reasons, loaded


def dicom(path: Path, others: Sequence[Path], truth: Sample | None) -> str:
    """Try a DICOM file with ``index`` and with ``predict``."""
    from scripts.cohort.index import decoded
    from scripts.dicom.judgements import judge
    from scripts.dicom.sources import scan

    paths = [path, *others]
    stacks, unreadable = scan(list(map(str, paths)))
    judgements = decoded(stacks, [judge(stack) for stack in stacks])
    accepted = [
        stack
        for stack, judgement in zip(stacks, judgements, strict=True)
        if judgement.accepted and any(one.path == str(path) for one in stack.slices)
    ]
    for _, reason in unreadable:
        refuse_want_of_memory(reason)
    named = {one.path for stack in stacks for one in stack.slices} | {one for one, _ in unreadable}
    named |= {copy for stack in stacks for copy in stack.copies}
    if str(path) not in named:
        raise WrongError("in neither a stack nor the list of what cannot be read")
    if not accepted:
        return REFUSED
    problem = contradiction(path)
    if problem:
        raise WrongError(f"accepted: {problem}")
    reasons, loaded = found_series(paths)
    mine = [one for one in loaded if str(path) in one[0]["stack"].files]
    if not mine:
        raise WrongError(f"index accepts what predict cannot load: {reasons[0] if reasons else 'no reason'}")
    for series, pixels, meta in mine:
        compare(series["stack"], pixels, path, truth)
        sound_geometry(meta)
    return ACCEPTED


def compare(stack: Any, pixels: NDArray[np.float32], path: Path, truth: Sample | None) -> None:
    """Compare loaded pixels with pydicom's, and those of a file that was cut with the whole one's.

    Raises:
        WrongError: they differ.
    """
    for source in [path, *([truth.path] if truth else [])]:
        with quiet():
            stored = dcmread(source, force=True).pixel_array
        for number, one in enumerate(stack.slices):
            if one.path != str(path):
                continue
            frame = stored[int(one.frame) - 1] if one.frame and stored.ndim == 3 else stored
            wanted = (frame * one.slope + one.intercept).T
            if pixels[..., number].shape != wanted.shape:
                raise WrongError(f"pixels of shape {pixels[..., number].shape}, not {wanted.shape}")
            if not np.allclose(pixels[..., number], wanted, rtol=1e-5, atol=1e-4 * (1 + np.abs(wanted).max())):
                raise WrongError(f"other pixels than those of {'the whole file' if source != path else 'pydicom'}")


def sound_geometry(meta: dict[str, Any]) -> None:
    """Check an affine.

    Raises:
        WrongError: it is none that pixels can have.
    """
    affine = np.asarray(meta["affine"], float)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise WrongError(f"accepted with the affine {affine.tolist()}")


def contradiction(path: Path) -> str:
    """Return what pydicom, decoding everything, finds wrong with an accepted file; an oracle of its own."""
    with quiet():
        try:
            ds = dcmread(path, force=True)
            shape = ds.pixel_array.shape
        except Exception as error:  # whatever the decoder says
            return f"undecodable: {error}"
        frames = int(ds.get("NumberOfFrames", 1) or 1)
        if shape != ((frames, ds.Rows, ds.Columns) if frames > 1 else (ds.Rows, ds.Columns)):
            return f"pixels of shape {shape} for {frames} x {ds.Rows} x {ds.Columns}"
        groups = ds.get("PerFrameFunctionalGroupsSequence")
        if groups is not None and len(groups) != frames:
            return f"{len(groups)} functional groups for {frames} frames"
        holders = [*(ds.get("SharedFunctionalGroupsSequence") or []), *(groups or [])]
        geometry = next((one.PlaneOrientationSequence[0] for one in holders if "PlaneOrientationSequence" in one), ds)
        measures = next((one.PixelMeasuresSequence[0] for one in holders if "PixelMeasuresSequence" in one), ds)
        row, column = np.reshape([float(value) for value in geometry.ImageOrientationPatient], (2, 3))
        if abs(row @ column) > 0.02 or abs(np.linalg.norm(row) - 1) > 0.02 or abs(np.linalg.norm(column) - 1) > 0.02:
            return f"orientation {row} {column}"
        if min(float(value) for value in measures.PixelSpacing) <= 0:
            return f"spacing {measures.PixelSpacing}"
    return ""


def volume(path: Path, truth: Sample | None) -> str:
    """Try a NIfTI file or a zip with ``predict``."""
    folders = (path.parent, path.parent.parent, Path(tempfile.gettempdir()), Path("/"))
    before = {folder: set(folder.iterdir()) for folder in folders}
    _, loaded = found_series([path])
    for folder, known in before.items():
        if surplus := set(folder.iterdir()) - known:
            raise WrongError(f"left in {folder.name or folder}: {min(surplus).name}")
    for _, pixels, meta in loaded:
        sound_geometry(meta)
        if truth is not None and truth.kind == "nifti":
            import nibabel

            whole = nibabel.load(truth.path).get_fdata()
            if pixels.shape != whole.shape or not np.array_equal(pixels, whole):
                raise WrongError("accepted, though it was cut")
    return ACCEPTED if loaded else REFUSED


def text(sample: Sample, path: Path) -> str:
    """Try a table, JSON, a checkpoint or a config."""
    if sample.kind == "checkpoint":
        from scripts.inference.weights import weights_settings

        weights_settings([str(path)], "layer4")
    elif sample.kind == "config":
        from scripts.study.checks import check_settings
        from scripts.study.experiments import Experiment, overlays

        check_settings(Experiment(path.parent / "experiment", overlays(str(path)), str(path.parent)), resume=False)
    else:
        TABLES[sample.name](path, sample)
    return ACCEPTED
