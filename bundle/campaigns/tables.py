"""The functions that the commands read tables and JSON with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .samples import Sample


def read_sections(path: Path, _: Sample) -> None:
    """Read a datalist as training and testing do."""
    from scripts.datalists import datalist_info, load, require_both_classes
    from scripts.records import SECTIONS

    for section in SECTIONS:
        load(path, section)
    require_both_classes(path, SECTIONS)
    datalist_info(path)


def read_labels(path: Path, _: Sample) -> None:
    """Read labels as ``split`` does."""
    from scripts.cohort.labels import read_labels

    read_labels(path)


def read_patients(path: Path, _: Sample) -> None:
    """Read patients as ``split`` does."""
    from scripts.cohort.labels import read_patients

    read_patients(path)


def read_geometry(path: Path, _: Sample) -> None:
    """Read geometry as ``report`` does."""
    from scripts.cohort import geometry

    geometry.read(path.parent)


def read_rulings(path: Path, sample: Sample) -> None:
    """Read rulings as ``consensus`` does."""
    from scripts.cohort.rulings import read_lenient, read_rulings

    read_rulings(str(path), {row.key() for row in read_lenient(sample.path)})


def read_predictions(path: Path, _: Sample) -> None:
    """Read predictions as ``report`` does."""
    from scripts.report.inputs.predictions import read_predictions

    read_predictions(path)


def read_linkage(path: Path, _: Sample) -> None:
    """Read a linkage table as ``deidentify`` does."""
    from scripts.deidentification.linkage import Linkage

    Linkage.read(path)


def read_points(path: Path, _: Sample) -> None:
    """Read operating points as ``predict`` does."""
    from scripts.report.operating_points_file import read_operating_point

    read_operating_point(str(path), "youden")


TABLES: dict[str, Callable[[Path, Sample], None]] = {
    "labels.csv": read_labels,
    "patients.csv": read_patients,
    "geometry.csv": read_geometry,
    "rulings.csv": read_rulings,
    "predictions.csv": read_predictions,
    "linkage.csv": read_linkage,
    "datalist.json": read_sections,
    "operating_points.json": read_points,
}
