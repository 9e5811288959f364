"""Ignite handlers; each is a thin adapter between an engine and functions that know nothing of engines."""

from .heatmaps import GradCAM, WriteHeatmaps
from .predictions import WritePredictions
from .training import (
    BestCheckpoint,
    EarlyStop,
    History,
    LastCheckpoint,
    Resume,
    SeedIterations,
    ShareStatistics,
    TrainingPrecision,
)

__all__ = [
    "BestCheckpoint",
    "EarlyStop",
    "GradCAM",
    "History",
    "LastCheckpoint",
    "Resume",
    "SeedIterations",
    "ShareStatistics",
    "TrainingPrecision",
    "WriteHeatmaps",
    "WritePredictions",
]
