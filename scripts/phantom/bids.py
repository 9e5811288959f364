"""The phantom cohort as a BIDS data set, with the file names of the public spine-generic data set.

NIfTI holds the pixels that the DICOM layout stores, with the same slope; the array's axes are column, row and slice.
Disc labels follow the Spinal Cord Toolbox: one voxel at the posterior tip of a disc, 3 for C2/C3, 4 for C3/C4, ...

Source: https://github.com/spine-generic/data-multi-subject; Cohen-Adad et al., Sci Data 8:219 (2021),
doi:10.1038/s41597-021-00941-8; https://spinalcordtoolbox.com, "Labeling conventions".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ..files import write_csv, write_json, write_text
from ..records import LABEL_COLUMNS, PATIENT_COLUMNS
from ..tables import read_table
from .acquisition import zero_fill
from .anatomy import DISCS
from .cross_sections import cross_section
from .dicom import SYNTHETIC, WrittenSlice, encoding_of, series_header
from .distractors import sagittal_t2
from .fields import on_pixels
from .participants import MANUFACTURERS, PARTICIPANTS, participant_row, spaceless
from .patients import VERSION, Patient, Settings
from .pictures import CORD, make_canvas, render, render_masks
from .sampling import sample_patient
from .series import Geometry, Protocol, axial_geometry, axial_t2
from .writing import Options, Record, record

DESCRIPTION = "dataset_description.json"
INDEX = {"dicom": "datalist.json", "bids": DESCRIPTION}  # of each layout, the file that holds the recipe
TRUTH = Path("derivatives") / "truth"
TWIN_FACTS = {"Description": "The series without its lesions, with the same noise", "SkullStripped": False}
FIRST_DISC = 3  # value of the C2/C3 disc
DICOM_KEYS = ("series_uid", "sop_uid", "frame")
README = """Synthetic cervical spines
=========================

No human subject was scanned: scripts/phantom of the MONAI bundle cervical_cord_compression drew every participant. The
files are named as in the spine-generic data set (https://github.com/spine-generic/data-multi-subject).

- sub-*/anat: the axial T2-weighted (T2w) or T2*-weighted (T2star) series, and the sagittal T2w series (acq-sag).
- derivatives/labels: masks of the spinal cord (SC) and of the canal with the cord in it; disc labels of the Spinal Cord
  Toolbox (one voxel at the posterior tip of a disc, 3 for C2/C3).
- derivatives/truth: labels, raters' readings and measurements of each axial slice; slice_index counts from 0, the most
  caudal slice.
- derivatives/twins, where asked for: the axial series without the lesions.
"""


def write_participant(folder: Path, settings: Settings, options: Options, index: int, participant: str) -> Record:
    """Draw, render and write one participant; on one thread, so that sums do not depend on the pool."""
    with threadpool_limits(limits=1):
        patient, truth = sample_patient(settings, index)
        volume, twin = render(patient, settings.style, with_twin=options.twins)
        anat = Path(participant) / "anat"
        name = f"{participant}_{'T2star' if settings.style == 'gre' else 'T2w'}"
        size = patient.scan.written_matrix
        geometry, encoding = axial_geometry(patient, size), encoding_of(volume, patient)
        written: list[list[WrittenSlice]] = []
        for images, root, facts in ((volume, folder, {}), (twin, folder / "derivatives" / "twins", TWIN_FACTS)):
            written.append([])
            if images is not None:
                path = root / anat / f"{name}.nii.gz"
                content = sidecar(patient, axial_t2(patient, images is twin), geometry) | facts
                stored = encoding.stored(np.stack([zero_fill(image, size) for image in images]))
                write_volume(path, stored, geometry, content, encoding.slope)
                written[-1] = [WrittenSlice(path, participant, str(row.slice_index)) for row in truth]
        write_labels(folder / "derivatives" / "labels" / anat / name, patient, geometry)
        if options.distractors:
            series = sagittal_t2(patient)
            path = folder / anat / f"{participant}_acq-sag_T2w.nii.gz"
            content = sidecar(patient, series.protocol, series.geometry)
            encoding = encoding_of(series.volume, patient)
            write_volume(path, encoding.stored(series.volume), series.geometry, content, encoding.slope)
    known = record(folder, patient, truth, *written)
    image = written[0][0].path.relative_to(folder).as_posix()
    return Record(
        patient={**known.patient, "patient_id": participant},
        entries=[],
        labels=[keyed_by_image(row, image) for row in known.labels],
        slices=[],
        truth=[keyed_by_image(row, image) for row in known.truth],
        participant=participant_row(participant, patient, truth, known.patient),
    )


def keyed_by_image(row: Mapping[str, Any], image: str) -> dict[str, Any]:
    """Return a slice's row with the NIfTI and the slice's number in place of UIDs."""
    key = {"patient_id": row["series_uid"], "image": image, "slice_index": int(row["sop_uid"])}
    return {**key, **{name: value for name, value in row.items() if name not in (*key, *DICOM_KEYS)}}


def write_volume(path: Path, volume: NDArray[Any], geometry: Geometry, content: Any, slope: float = 1.0) -> None:
    """Write stored values of shape (slices, rows, columns) as NIfTI, and the JSON beside it."""
    affine = geometry.affine()
    image = nibabel.Nifti1Image(volume.transpose(2, 1, 0), affine)
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_slope_inter(slope, 0)
    image.header["descrip"] = SYNTHETIC
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    write_json(path.with_name(f"{path.name.removesuffix('.nii.gz')}.json"), content)


def sidecar(patient: Patient, protocol: Protocol, geometry: Geometry) -> dict[str, Any]:
    """Return what dcm2niix would write of a series' DICOM header; times in s."""
    header = series_header(patient, protocol)

    def number(keyword: str, scale: float = 1.0) -> float | None:
        if keyword not in header:
            return None
        value = round(float(header[keyword].value) * scale, 9)
        return int(value) if value.is_integer() else value

    def word(keyword: str) -> str:
        value = header.get(keyword, "")
        return spaceless(value if isinstance(value, str) else "_".join(value))

    directions = (*geometry.along_row, *geometry.along_column)
    time = header.AcquisitionTime
    content = {
        "Modality": word("Modality"),
        "MagneticFieldStrength": number("MagneticFieldStrength"),
        "ImagingFrequency": number("ImagingFrequency"),
        "Manufacturer": MANUFACTURERS[header.Manufacturer],
        "ManufacturersModelName": word("ManufacturerModelName"),
        "InstitutionName": word("InstitutionName"),
        "BodyPartExamined": word("BodyPartExamined"),
        "PatientPosition": word("PatientPosition"),
        "SoftwareVersions": word("SoftwareVersions"),
        "MRAcquisitionType": word("MRAcquisitionType"),
        "SeriesDescription": word("SeriesDescription"),
        "ProtocolName": word("ProtocolName"),
        "ScanningSequence": word("ScanningSequence"),
        "SequenceVariant": word("SequenceVariant"),
        "ScanOptions": word("ScanOptions"),
        "ImageType": list(header.ImageType),
        "ImageComments": header.ImageComments,
        "SeriesNumber": int(header.SeriesNumber),
        "AcquisitionTime": f"{time[:2]}:{time[2:4]}:{time[4:]}.000000",
        "AcquisitionNumber": int(header.AcquisitionNumber),
        "SliceThickness": round(geometry.thickness_mm, 6),
        "SpacingBetweenSlices": round(geometry.step_mm, 6),
        "NumberOfAverages": number("NumberOfAverages"),
        "EchoTime": number("EchoTime", 0.001),
        "RepetitionTime": number("RepetitionTime", 0.001),
        "InversionTime": number("InversionTime", 0.001),
        "FlipAngle": number("FlipAngle"),
        "EchoTrainLength": int(header.EchoTrainLength),
        "PhaseEncodingAxis": "i" if header.InPlanePhaseEncodingDirection == "ROW" else "j",
        "ImageOrientationPatientDICOM": [round(float(cosine), 6) for cosine in directions],
        "InPlanePhaseEncodingDirectionDICOM": header.InPlanePhaseEncodingDirection,
        "ConversionSoftware": "cervical phantom",
        "ConversionSoftwareVersion": str(VERSION),
    }
    return {name: value for name, value in content.items() if value not in (None, "")}


def write_labels(stem: Path, patient: Patient, geometry: Geometry) -> None:
    """Write the masks of cord and canal and the disc labels of an axial series, each with a sidecar.

    Args:
        stem: path of the labels up to and including the image's suffix, such as ``.../sub-site101_T2w``.
        patient: whose.
        geometry: of the series as written.
    """
    masks = render_masks(patient, patient.scan.written_matrix)
    volumes = {
        "SC_seg": (masks == CORD, "Mask of the spinal cord at each slice's mid-height"),
        "canal_seg": (masks > 0, "Mask of the dural sac, the spinal cord included, at each slice's mid-height"),
        "discs_dlabel": (disc_labels(patient, masks.shape), "Posterior tips of the discs, 3 is C2/C3"),
    }
    for name, (volume, what) in volumes.items():
        path = stem.with_name(f"{stem.name}_label-{name}.nii.gz")
        content = {"SpatialReference": "orig", "GeneratedBy": [generator(what)]}
        write_volume(path, volume.astype(np.uint8), geometry, content)


def disc_labels(patient: Patient, shape: Sequence[int]) -> NDArray[np.uint8]:
    """Mark the posterior tip of each disc, where it meets the sac, in the slice that holds the middle of the disc."""
    labels = np.zeros(shape, np.uint8)
    scan, size = patient.scan, shape[-1]
    for index in range(scan.n_slices):
        z_mm = scan.z_mm(index)
        above, below = (patient.anatomy.level(z_mm + half * scan.step_mm) for half in (0.5, -0.5))
        for disc in range(len(DISCS)):
            if not above < disc + 0.5 <= below:
                continue
            section = cross_section(patient.anatomy, patient.lesions, z_mm)
            canvas = make_canvas(patient, index, size)
            window = canvas.window(0, 0, 20)
            tip_mm = on_pixels(section.dura_front_mm, np.zeros(1))[0]
            distance = np.hypot(canvas.x_true[window], canvas.y_true[window] - tip_mm)
            labels[index][window][np.unravel_index(np.argmin(distance), distance.shape)] = FIRST_DISC + disc
    return labels


def generator(description: str) -> dict[str, str]:
    """Return an item of GeneratedBy."""
    return {"Name": "cervical phantom", "Version": str(VERSION), "Description": f"{SYNTHETIC}. {description}"}


def write_tables(folder: Path, records: Sequence[Record], settings: Settings, recipe: Mapping[str, Any]) -> None:
    """Write participants.tsv, the descriptions of the data set and its derivatives, and the tables of the truth."""
    cells = sorted([str(r.participant.get(name) or "n/a") for name in PARTICIPANTS] for r in records)
    lines = ["\t".join(line) for line in (list(PARTICIPANTS), *cells)]
    write_text(folder / "participants.tsv", "\n".join(lines) + "\n")
    write_json(folder / "participants.json", PARTICIPANTS)
    write_text(folder / "README", README)
    write_description(folder, f"Synthetic cervical spines ({settings.style})", phantom_recipe=dict(recipe))
    derivatives = folder / "derivatives"
    write_description(derivatives / "labels", "Masks and disc labels", "derivative")
    if recipe["twins"]:
        write_description(derivatives / "twins", "The axial series without the lesions", "derivative")
    write_description(folder / TRUTH, "What is true of each participant and axial slice", "derivative")
    truth = [row for r in records for row in r.truth]
    labels = [row for r in records for row in r.labels]
    write_csv(folder / TRUTH / "patients.csv", PATIENT_COLUMNS, [r.patient for r in records])
    write_csv(folder / TRUTH / "truth.csv", list(truth[0]), truth)
    write_csv(folder / TRUTH / "labels.csv", ("image", *(c for c in LABEL_COLUMNS if c not in DICOM_KEYS)), labels)


def write_description(folder: Path, name: str, kind: str = "raw", **more: Any) -> None:
    """Write the description of a data set or of a derivative of it."""
    content = {
        "Name": name,
        "BIDSVersion": "1.2.0",
        "DatasetType": kind,
        "License": "Apache-2.0",
        "Authors": ["The cervical_cord_compression contributors"],
        "GeneratedBy": [generator(name)],
        **more,
    }
    write_json(folder / DESCRIPTION, content)


def describe(folder: Path) -> str:
    """Return how many participants, axial slices and compressed ones a data set holds, by the truth."""
    rows = read_table(folder / TRUTH / "truth.csv", ("patient_id", "label"))
    participants = len({row["patient_id"] for row in rows})
    compressed = sum(row["label"] == "1" for row in rows)
    return f"{participants} participants, {len(rows)} slices, {compressed} compressed"
