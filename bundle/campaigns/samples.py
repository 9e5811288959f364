"""Sound files to damage, all made from one small phantom cohort."""

from __future__ import annotations

import copy
import io
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from scripts.console import say
from scripts.files import write_json

NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
COMPRESSED = (RLELossless, JPEGLSLossless, JPEG2000Lossless)
SETTINGS: dict[str, Any] = {
    "architecture": "resnet18",
    "head": [8],
    "image_size": 64,
    "crop_fraction": 1.0,
    "profile": "imagenet",
}
FRAMES, ENHANCED_UID = 3, UID("1.2.826.0.1.3680043.8.498.1.1")


@dataclass(frozen=True)
class Sample:
    """A sound file.

    Attributes:
        kind: dicom, nifti, zip, csv, json, checkpoint or config.
        name: of the file; the doors of tables know by it what a table is.
        path: the file.
    """

    kind: str
    name: str
    path: Path


def make_samples(folder: Path) -> list[Sample]:
    """Make one sound file of each kind, or return those that an earlier call has made.

    Args:
        folder: is made anew unless it is complete; ``folder / "cohort"`` holds the cohort, ``folder / "neighbours"``
            the rest of the series that the DICOM files belong to.
    """
    samples, ready = folder / "samples", folder / "ready"
    if not ready.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        make_all(folder, samples)
        ready.touch()
    return [Sample(path.parent.name, path.name, path) for path in sorted(samples.glob("*/*"))]


def make_all(folder: Path, samples: Path) -> None:
    """Make the cohort and the samples."""
    from scripts.phantom.cohort import make_cohort

    cohort = folder / "cohort"
    make_cohort(cohort, patients=6, slices=5, matrix=64, distractors=False)
    listed = ([dcmread(path) for path in sorted(series.iterdir())] for series in sorted(cohort.glob("dicom/*/*")))
    slices = sorted(
        next(images for images in listed if len(images) > FRAMES), key=lambda one: float(one.ImagePositionPatient[2])
    )
    for kind in ("dicom", "nifti", "zip", "csv", "json", "checkpoint", "config"):
        (samples / kind).mkdir(parents=True)
    (folder / "neighbours").mkdir()
    write_dicom(slices, samples / "dicom", folder / "neighbours")
    write_volumes(slices, samples)
    write_tables(cohort, samples)
    write_models(samples)


def encoded(dataset: Dataset, syntax: UID) -> bytes:
    """Return a file of a dataset in a transfer syntax."""
    dataset = copy.deepcopy(dataset)
    for _ in dataset.iterall():  # what is not looked at would be written as it was read
        pass
    if syntax in COMPRESSED:
        dataset.compress(syntax, generate_instance_uid=False)
    elif syntax == ExplicitVRBigEndian:
        dataset["PixelData"].VR = "OW"
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    stream = io.BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def write_dicom(slices: Sequence[Dataset], folder: Path, neighbours: Path) -> None:
    """Write a slice in every transfer syntax that can be written here, and the enhanced image of its series."""
    from scripts.phantom.enhanced import enhanced_of

    middle = len(slices) // 2
    # copies, for the new image takes elements over and changes them
    enhanced = enhanced_of(copy.deepcopy(list(slices[:FRAMES])), ENHANCED_UID)
    enhanced.file_meta = copy.deepcopy(slices[0].file_meta)
    enhanced.file_meta.MediaStorageSOPClassUID = enhanced.SOPClassUID
    enhanced.file_meta.MediaStorageSOPInstanceUID = ENHANCED_UID
    for dataset, name in ((slices[middle], "classic"), (enhanced, "enhanced")):
        for syntax in (*NATIVE, *COMPRESSED):
            try:
                content = encoded(dataset, syntax)
            except (RuntimeError, NotImplementedError, ValueError) as error:
                say(f"no sample of {name} in {syntax.name}: {str(error).splitlines()[0]}")
                continue
            (folder / f"{name}-{syntax.name.split(' (')[0].replace(' ', '-').lower()}.dcm").write_bytes(content)
    for number in (middle - 1, middle + 1):
        (neighbours / f"{number}.dcm").write_bytes(encoded(slices[number], ExplicitVRLittleEndian))


def write_volumes(slices: Sequence[Dataset], samples: Path) -> None:
    """Write the series as NIfTI, and zips of DICOM and of NIfTI."""
    import nibabel

    volume = np.stack([one.pixel_array for one in slices], axis=-1).astype(np.int16)
    image = nibabel.Nifti1Image(volume, np.diag([0.5, 0.5, 3.0, 1.0]))
    for name in ("volume.nii", "volume.nii.gz"):
        nibabel.save(image, samples / "nifti" / name)
    with zipfile.ZipFile(samples / "zip" / "series.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number, one in enumerate(slices):
            archive.writestr(f"series/{number}.dcm", encoded(one, ExplicitVRLittleEndian))
    with zipfile.ZipFile(samples / "zip" / "volume.zip", "w") as archive:
        archive.write(samples / "nifti" / "volume.nii", "volume.nii")


def write_tables(cohort: Path, samples: Path) -> None:
    """Write tables of people and of the product."""
    from scripts.deidentification.linkage import Linkage

    for name in ("labels.csv", "patients.csv", "geometry.csv", "rulings.csv"):
        (samples / "csv" / name).write_bytes(b"".join((cohort / name).read_bytes().splitlines(keepends=True)[:40]))
    rows = ["patient_id,series_uid,sop_uid,frame,slice_index,label,logit,probability"]
    rows += [f"P{n % 4},1.2.{n % 4},1.2.3.{n},,{n},{n % 2},{n / 10 - 1},{0.1 + n / 40}" for n in range(20)]
    (samples / "csv" / "predictions.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    Linkage("0123456789abcdef" * 4, {("patient", "A"): "P-B", ("uid", "1.2.3"): "2.25.4"}).write(
        samples / "csv" / "linkage.csv"
    )
    (samples / "json" / "datalist.json").write_bytes((cohort / "datalist.json").read_bytes())
    points = {
        "points": {"youden": {"logit": -1.25}, "sensitivity_95": {"logit": None, "status": "unattained"}},
        "calibration": {"slope": 2.0, "intercept": 0.5},
        "baseline": {"slope": 1.0, "intercept": -1.335},
        "chosen_on": {"n_patients": 12, "n_slices": 402},
        "facts": {"phantom": True},
    }
    write_json(samples / "json" / "operating_points.json", points)


def write_models(samples: Path) -> None:
    """Write a checkpoint and an overlay."""
    import torch

    from scripts import checkpoints
    from scripts.networks import CordCompressionNet

    torch.manual_seed(0)
    network = CordCompressionNet(SETTINGS["head"], architecture="resnet18")
    checkpoints.save(samples / "checkpoint" / "model.pt", network, SETTINGS, trained_on={"phantom": True}, epoch=1)
    torch.save({**SETTINGS, "model": {"a": torch.zeros(3)}}, samples / "checkpoint" / "small.pt")
    overlay = {**SETTINGS, "weights": None, "max_epochs": 2, "min_epochs": 1, "learning_rate": 0.001, "num_workers": 0}
    overlay["loss_def"] = {"_target_": "scripts.losses.weighted_bce", "pos_weight": "@pos_weight"}
    write_json(samples / "config" / "overlay.json", overlay)
