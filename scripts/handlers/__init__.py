"""Ignite handlers; each is a thin adapter between an engine and functions that know nothing of engines."""

from .heatmaps import GradCAM, WriteHeatmaps
from .predictions import WritePredictions
from .steps import SeedIterations, ShareStatistics, TrainingPrecision
from .training import BestCheckpoint, EarlyStop, History, LastCheckpoint, Resume

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
