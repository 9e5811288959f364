"""What flows between the programs of the bundle: typed records, the columns of its tables, and the one sigmoid.

A record is a plain dict at run time, so that JSON, CSV and MONAI's transforms take it as it is; its type is for readers
and mypy. A table's columns are the keys of its record. `SERIES_COLUMNS` keeps an order of its own, and
`scripts.cohort.labels` holds the rows of the tables that people hand in.
"""

from __future__ import annotations

import math
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, TypedDict, get_args, get_origin, get_type_hints, is_typeddict

import numpy as np

if TYPE_CHECKING:
    from .dicom.stacks import Stack

SliceKey = tuple[str, str, str]
"""What identifies a slice: ``(series_uid, sop_uid, frame)``; ``frame`` is empty for single-frame files."""

SECTIONS = ("training", "validation", "testing")
"""Sections of a datalist; the held-out one is ``testing``."""

SCORED = "scored"
"""Status of a slice, or a series, that has a score; any other status says why there is none."""

NO_IMAGE = "no image"
"""Status of a file that was passed over because it is no image."""

RESEARCH_USE = "Research use only, not for diagnosis"
"""What every result says first; by it a heat map is known wherever it lies."""


class DatalistFields(TypedDict):
    """What every labelled slice of a datalist.json has.

    Attributes:
        image: path of the file, relative to the datalist; absolute once loaded.
        label: 1 compressed, 0 not.
        slice_index: position in its stack, 0 most caudal.
    """

    image: str
    label: int
    patient_id: str
    site: str
    series_uid: str
    sop_uid: str
    frame: str
    slice_index: int


class DatalistEntry(DatalistFields, total=False):
    """One labelled slice of a datalist.json.

    Attributes:
        person: who the patient is, where the cohort knows it: the same for all visits of one person.
        grade: Kang-style grade, 0 to 3.
        kind: form of the compression in a word, ``none`` where there is none.
        t2_signal: 1 where the cord is bright on T2, else 0.
    """

    person: str
    grade: int
    kind: str
    t2_signal: int


class Prediction(TypedDict):
    """One row of predictions.csv: a labelled slice and its score; ``probability`` is the sigmoid of ``logit``."""

    patient_id: str
    series_uid: str
    sop_uid: str
    frame: str
    slice_index: int
    label: int
    logit: float
    probability: float


class SliceGeometry(TypedDict):
    """One row of geometry.csv: where a labelled slice lies, and which scanner made it.

    Attributes:
        stack: number of the volume (repeat, echo) in its series, from 1; slices at angles are of one volume.
        position_mm: of the slice's centre along the stack's normal.
        field_t: magnetic field in tesla.
        nominal_spacing_mm: distance that neighbouring slices should have by the header.
    """

    patient_id: str
    series_uid: str
    sop_uid: str
    frame: str
    stack: int
    slice_index: int
    position_mm: float
    thickness_mm: float | None
    manufacturer: str
    model: str
    field_t: float | None
    nominal_spacing_mm: float | None


class Series(TypedDict):
    """One image series to score.

    Attributes:
        image: what the reader takes: the file of a volume, or the DICOM stack itself.
        files: its files, as messages and tables name them; what lies in a zip is named ``study.zip/a/IM0001``.
        name: name of its results' folder.
        phantom: whether the bundle's phantom made it.
        warnings: what is odd about it, in one text; empty if nothing.
        stack: the judged stack with its headers; None for other volumes.
    """

    image: str | Stack
    files: list[str]
    name: str
    series_uid: str
    patient_id: str
    study_uid: str
    phantom: bool
    warnings: str
    stack: Stack | None


class SliceCrop(TypedDict):
    """What the network saw of a slice.

    Attributes:
        crop: ``canal``, a crop around the canal; ``central``, a crop in the middle, because no canal was found;
            ``middle``, one where none was looked for; empty, the field of view.
        canal_confidence: share of the localiser's map within 10 mm of the centre it found.
        canal_row_px: the canal's centre, from 0 at the centre of the file's first pixel; None where none was found.
        canal_column_px: the same for columns.
        canal_offset_mm: distance of the centre, in the slice's plane, from the mean of its neighbours'.
    """

    crop: str
    canal_confidence: float | None
    canal_row_px: float | None
    canal_column_px: float | None
    canal_offset_mm: float | None


class SliceMeasures(TypedDict):
    """Measures of cord and canal in one slice, as `scripts.canal.measures.measure_slice` defines them.

    None where the slice shows no cord, or no canal, or not all of it.

    Attributes:
        cord_ap_mm: anteroposterior diameter.
        cord_rl_mm: right-left diameter.
        cord_ap_rl_ratio: compression ratio.
        cord_solidity: share of its convex hull that the cord fills; 1 where nothing dents it.
        cord_orientation_deg: angle of the RL axis; above 0 where the patient's left lies further back.
        canal_area_mm2: with the cord.
        cord_canal_area_ratio: share of the canal that the cord fills.
    """

    cord_ap_mm: float | None
    cord_rl_mm: float | None
    cord_ap_rl_ratio: float | None
    cord_area_mm2: float | None
    cord_solidity: float | None
    cord_orientation_deg: float | None
    canal_area_mm2: float | None
    cord_canal_area_ratio: float | None


class SliceResult(SliceCrop, SliceMeasures):
    """One row of slices.csv.

    Attributes:
        slice_index: 0 most caudal.
        logit: of the network, uncalibrated; None where the slice cannot be evaluated.
        probability: calibrated, see `probability`; None where the slice cannot be evaluated.
        compressed: 1 if ``probability`` reaches ``threshold``, else 0; None where the slice cannot be evaluated.
        status: ``scored``, or ``not evaluable: `` and the reason.
        position_mm: of the slice's centre along the stack's normal.
        mscc_percent: maximum spinal cord compression against the nearest slices that are not called compressed.
        notice: what the result is for, and which weights and threshold made it.
    """

    patient_id: str
    series_uid: str
    sop_uid: str
    frame: str
    slice_index: int
    logit: float | None
    probability: float | None
    compressed: int | None
    threshold: float
    status: str
    position_mm: float
    thickness_mm: float
    notice: str
    mscc_percent: float | None


class NetworkWeights(TypedDict):
    """Where a network's weights come from.

    Attributes:
        weights_sha256: of the checkpoint; of an ensemble, of its ``ensemble_sha256``, one a line.
        training_precision: ``bf16``, ``fp32`` or ``tf32``; None where the checkpoint does not say.
    """

    weights_sha256: str
    trained_on_phantom: bool
    epoch: int | None
    pos_weight: float | None
    training_precision: str | None


class Weights(NetworkWeights, total=False):
    """Where weights come from, as every result made with them repeats it.

    Attributes:
        ensemble_sha256: of the checkpoints of an ensemble, sorted; absent where there is one network. What these differ
            in, is None above.
    """

    ensemble_sha256: list[str]


class TaskFindings(TypedDict, total=False):
    """What the further tasks found in a series; a key is there only where the network has its task.

    Attributes:
        highest_grade: highest grade that a slice was called; None where no slice was scored.
        highest_grade_slice: slice_index of that slice; of several, the one whose grade is likeliest as high or higher.
        n_partial: slices whose kind of compression was called partial.
        n_circumferential: slices whose kind of compression was called circumferential.
        n_t2_signal: slices whose cord was called bright on T2.
        n_contradictory: slices whose tasks contradict their call, see `scripts.tasks.contradiction`.
    """

    highest_grade: int | None
    highest_grade_slice: int | None
    n_partial: int
    n_circumferential: int
    n_t2_signal: int
    n_contradictory: int


class SeriesFindings(TaskFindings):
    """What was found in a series; a slice that cannot be evaluated ends a run of compressed slices.

    Attributes:
        smallest_cord_ap_mm: None where no cord was measured.
        largest_mscc_percent: of the slices that are called compressed; None where there is none, or none was measured.
        patient_score: by ``patient_rule``, see `scripts.evaluation.patient_rules`; None where no slice was scored.
        patient_compressed: 1 if ``patient_score`` reaches ``patient_threshold``, else 0; None where either is missing.
    """

    n_slices: int
    n_evaluated: int
    n_compressed: int
    longest_run_slices: int
    longest_run_mm: float
    max_probability: float | None
    smallest_cord_ap_mm: float | None
    largest_mscc_percent: float | None
    patient_score: float | None
    patient_compressed: int | None


class RunFacts(TypedDict, total=False):
    """What a run records about itself, and its datalist of the cohort; what is not known is absent.

    Attributes:
        phantom: whether the patients are synthetic.
        architecture: what kind of model it is, where it is no network of this bundle.
        datalist: path of the datalist whose slices were scored.
        n_slices: slices that were scored.
        n_unreadable: images that the evaluation could not read.
        predictions_sha256: of the predictions.csv that was written with it.
    """

    phantom: bool
    trained_on_phantom: bool
    model_version: str
    architecture: str
    weights_sha256: str
    ensemble_sha256: list[str]
    datalist: str
    datalist_sha256: str
    seed: int
    pos_weight: float
    versions: dict[str, str]
    n_slices: int
    n_unreadable: int
    predictions_sha256: str


class ResultFacts(Weights):
    """What every result of inference repeats: the model, its weights, and the settings that change results.

    Attributes:
        threshold: probability, after calibration, from which a slice is called compressed.
        threshold_source: where it was chosen.
        patient_rule: by which a whole series is scored and called.
        patient_threshold: score from which it is called compressed; None where no such threshold was chosen.
        patient_threshold_source: where it was chosen, or why there is none.
        slope: of the calibration.
        intercept: of the calibration.
        heatmap: whether heat maps were computed.
        heatmap_task: name of the task that they explain, see `scripts.heatmaps.targets.explained`.
        test_time_average: whether the logit is the mean over several views of a slice.
        hotspots: whether the heat map is.
        precision: in which the network ran: ``fp32``, ``bf16`` or ``tf32``.
        backend: what ran it: ``torch``, or ``openvino`` for the layers before pooling and head.
    """

    model_name: str
    model_version: str
    research_use_only: bool
    threshold: float
    threshold_source: str
    patient_rule: str
    patient_threshold: float | None
    patient_threshold_source: str
    slope: float
    intercept: float
    heatmap: bool
    heatmap_layer: str
    heatmap_task: str
    test_time_average: bool
    hotspots: bool
    precision: str
    backend: str


class SeriesSummary(ResultFacts, SeriesFindings):
    """summary.json: a series, what was found in it, and what found it.

    Attributes:
        warnings: what is odd about the series, in one text; empty if nothing.
    """

    patient_id: str
    study_uid: str
    series_uid: str
    phantom: bool
    warnings: str


class SeriesInput(TypedDict):
    """What a result was made of: it can be checked against its source, and ``--resume`` compares the hashes.

    Attributes:
        input_files: the files, as they were found below what the user named.
        content_sha256: of the file; where there are several, of their SHA-256s as hexadecimal, sorted, one a line.
        slices_sha256: of the slices' ``sop_uid,frame``, sorted, one a line; empty for files without such identity.
    """

    input_files: list[str]
    content_sha256: str
    slices_sha256: str


class WrittenSummary(SeriesSummary, SeriesInput):
    """summary.json as `predict` writes it.

    Attributes:
        folder: of the results, below the output folder.
        files: what was written there; everything else in the folder is the user's.
        file_sha256: of these files but summary.json.
        problems: what is odd about the results, or could not be written and why; they are among the warnings, too.
        summary_sha256: of all else here but ``input_files``, which change where a study is moved; ``--resume`` scores a
            series again where one of the hashes differs.
    """

    folder: str
    files: list[str]
    file_sha256: dict[str, str]
    problems: list[str]
    summary_sha256: str


class Failure(TypedDict):
    """One row of failures.csv: what has no result, and why.

    Attributes:
        input: file or folder; what lies in a zip is named ``study.zip/a/IM0001``.
        patient_id: PatientID of a DICOM series; empty where it is not known.
        status: ``refused`` (not axial T2, or not fit for these weights), ``unreadable`` (a file or folder that could
            not be read or was not opened), ``no image`` (text, a picture, a table of contents) or ``failed``.
    """

    input: str
    patient_id: str
    series_uid: str
    status: str
    reason: str


class SeriesRecord(SeriesFindings):
    """One row of series.csv: a series and what became of it.

    Attributes:
        status: ``scored``, ``kept`` (from an earlier run), or that of its `Failure`.
        folder: of its results, below the output folder; of a failure, its input.
        patient_rule: see `ResultFacts`.
        patient_threshold: see `ResultFacts`.
    """

    patient_id: str
    study_uid: str
    series_uid: str
    status: str
    folder: str
    reason: str
    patient_rule: str
    patient_threshold: float | None


PATIENT_RULES = {"max": "logit", "top_3_mean": "logit", "expected_count": "slices", "longest_run_mm": "mm"}
"""Rules by which a whole patient or series is scored, and the unit of the score; `scripts.evaluation.patient_rules`."""
DEFAULT_PATIENT_RULE = "top_3_mean"
"""By it one bright slice alone does not decide; it was fixed before any result was seen."""
DATALIST_FIELDS = tuple(DatalistFields.__annotations__)
OPTIONAL_FIELDS = ("person", "grade", "kind", "t2_signal")
"""What a datalist says of a slice only where it is known."""
PREDICTION_COLUMNS = tuple(Prediction.__annotations__)
GEOMETRY_COLUMNS = tuple(SliceGeometry.__annotations__)
LEVEL_COLUMNS = ("level", "vertebra", "disc")
"""Columns that people, or the phantom, add to geometry.csv: what a slice passes through; nearest body; nearest disc."""
MEASURE_COLUMNS = tuple(SliceMeasures.__annotations__)
CROP_COLUMNS = tuple(SliceCrop.__annotations__)
SLICE_COLUMNS = (
    *(name for name in SliceResult.__annotations__ if name not in (*CROP_COLUMNS, *MEASURE_COLUMNS, "mscc_percent")),
    *(*CROP_COLUMNS, *MEASURE_COLUMNS, "mscc_percent"),
)
LABEL_COLUMNS = (
    *("patient_id", "series_uid", "sop_uid", "frame", "slice_index", "rater", "reading", "role", "status"),
    *("label", "grade", "kind", "t2_signal"),
)
"""Columns of labels.csv; `scripts.cohort.labels.Label` is one row."""
PATIENT_COLUMNS = (
    *("patient_id", "person", "site", "region", "age", "sex", "weight", "height", "mjoa", "pathology", "implants"),
)
"""Columns of patients.csv; `scripts.cohort.labels.Patient` is one row."""
TASK_FINDINGS = tuple(TaskFindings.__annotations__)
"""What series.csv has beside SERIES_COLUMNS, as far as the network has these tasks."""
FAILURE_COLUMNS = tuple(Failure.__annotations__)
WORKLIST_COLUMNS = (
    *("rank", "patient_id", "study_uid", "series_uid", "patient_score", "patient_rule", "patient_threshold"),
    *("patient_compressed", "n_evaluated", "n_compressed", "folder"),
)
"""Columns of worklist.csv: the scored series, the highest patient-level score first."""
SERIES_COLUMNS = (
    *("patient_id", "study_uid", "series_uid", "status", "n_slices", "n_evaluated", "n_compressed"),
    *("max_probability", "longest_run_slices", "longest_run_mm", "folder", "reason"),
    *("smallest_cord_ap_mm", "largest_mscc_percent"),
    *("patient_score", "patient_rule", "patient_threshold", "patient_compressed"),
)


def section_path(folder: str | Path, name: str, section: str) -> Path:
    """Return the path of a section's file: ``metrics.json`` of the held-out section, else ``metrics_validation.json``.

    Args:
        folder: folder of the run.
        name: name of the held-out section's file, or folder.
        section: section of the datalist.
    """
    path = Path(folder) / name
    return path if section == "testing" else path.with_name(f"{path.stem}_{section}{path.suffix}")


def probability(logit: float, slope: float = 1.0, intercept: float = 0.0) -> float:
    """Compute P(compressed) of a slice: sigmoid(intercept + slope * logit).

    Args:
        logit: of the network.
        slope: of the calibration; 1 as trained.
        intercept: of the calibration; 0 as trained.
    """
    value = intercept + slope * logit
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))


def fits(value: Any, kind: Any) -> bool:
    """Return whether a value read from JSON is of the kind that a record's annotation says.

    Args:
        value: what was read.
        kind: a typed record of this module, or the type of one of its fields.
    """
    if is_typeddict(kind):
        fields = get_type_hints(kind)
        return isinstance(value, dict) and all(
            fits(value[name], own) if name in value else name not in kind.__required_keys__
            for name, own in fields.items()
        )
    origin, parts = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return any(fits(value, part) for part in parts)
    if origin is list:
        return isinstance(value, list) and all(fits(one, parts[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(one, parts[1]) for one in value.values())
    if kind in (int, float):  # JSON writes 3.0 and 3 alike elsewhere
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    return isinstance(value, kind)


def slice_key(record: Any) -> SliceKey:
    """Return what identifies the slice of a record, or of a row of a table."""
    return str(record["series_uid"]), str(record["sop_uid"]), str(record.get("frame", ""))


def derive_seed(*parts: int) -> int:
    """Derive a seed of 32 bits, which is all that scikit-learn, Optuna and numpy's older generators take.

    Args:
        parts: whole numbers from 0, such as a seed of any size and the number of a trial.
    """
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
