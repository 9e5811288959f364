"""Reading what a report is made from.

A *run* is a folder with ``predictions.csv`` and, where they exist, ``predictions_validation.csv`` (same columns),
``operating_points.json``, and ``run.json`` or ``metrics.json`` with the facts in ``facts.FACTS``. A *cohort* is a
folder with ``patients.csv`` and, where they exist, ``labels.csv`` (readers), ``slices.csv`` (geometry, scanner, disc
level) and ``datalist.json``. ``slices.csv`` has ``series_uid, sop_uid, frame`` and any of ``position_mm`` (of the slice
centre along its normal), ``thickness_mm``, ``stack`` (where one series holds several), ``level`` (disc level, e.g.
C5/C6), ``manufacturer`` and others for subgroups.
"""

from .cohorts import Cohort, read_cohort, slice_column
from .columns import CATEGORIES, KEY, UNKNOWN, calls, digest, look_up, numbers, read_table
from .facts import read_facts
from .labels import check_roles
from .predictions import Predictions, check_predictions, read_predictions

__all__ = [
    "CATEGORIES",
    "KEY",
    "UNKNOWN",
    "Cohort",
    "Predictions",
    "calls",
    "check_predictions",
    "check_roles",
    "digest",
    "look_up",
    "numbers",
    "read_cohort",
    "read_facts",
    "read_predictions",
    "read_table",
    "slice_column",
]
