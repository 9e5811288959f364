"""Ignite handlers; each is a thin adapter between an engine and functions that know nothing of engines."""

from .evaluation import WritePredictions
from .heatmaps import GradCAM
from .series import WriteSeries
from .training import BestCheckpoint, EarlyStop, History, LastCheckpoint, Resume, SeedEpochs, Together

__all__ = [
    "BestCheckpoint",
    "EarlyStop",
    "GradCAM",
    "History",
    "LastCheckpoint",
    "Resume",
    "SeedEpochs",
    "Together",
    "WritePredictions",
    "WriteSeries",
]
