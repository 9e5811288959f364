"""What can be checked before any image is read: settings, weights, checkpoints and datalists.

The configs run these first, so that a mistake costs seconds instead of the minutes of reading a cohort.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ignite.distributed as idist

from . import datalists
from .checkpoints import network_of, read_resumable
from .console import say
from .errors import InputError, check_seed
from .inferers import check_precision
from .losses import counted_pos_weight, weighted_bce
from .models.trunks import make_trunk
from .phantom.default_cohort import find_datalist
from .tasks import class_weights, labels_of, tasks_of


def check_run(seed: int, precision: str, score_precision: str) -> None:
    """Refuse a seed or a precision that no training can have."""
    check_seed(seed, "seed")
    check_precision(precision)
    check_precision(score_precision, "score_precision")


def check_training(
    dataset_dir: str | None,
    ckpt_dir: str,
    resume: bool,
    settings: Mapping[str, Any],
    dropout: float,
    weights: str | None,
    pos_weight: float,
    seed: int,
    precision: str,
    score_precision: str,
) -> None:
    """Refuse a training that cannot succeed.

    Args:
        dataset_dir: the cohort; None for a phantom that is not made yet.
        ckpt_dir: folder of the checkpoint to resume from.
        resume: whether to resume.
        settings: `scripts.checkpoints.describe`'s.
        dropout: of the head.
        weights: of the trunk; they are loaded, or downloaded.
        pos_weight: of the loss.
        seed: of the run.
        precision: of the training.
        score_precision: of the validation.

    Raises:
        InputError: one of them cannot be used.
    """
    check_run(seed, precision, score_precision)
    weighted_bce(pos_weight)
    if dataset_dir is not None:
        path = find_datalist(dataset_dir)
        entries = datalists.load(path, "training")
        counted_pos_weight([int(entry["label"]) for entry in entries])
        class_weights(settings["tasks"], entries)
        tasks = tasks_of(settings["tasks"])
        for entry in datalists.load(path, "validation"):
            labels_of(entry, tasks)
    if settings["canal_sha256"] and settings["side_mm"] is None:
        raise InputError(
            "canal_weights finds the canal for a crop, but side_mm is null: give --side_mm 60, or no localiser"
        )
    if resume:
        read_resumable(f"{ckpt_dir}/model_last.pt", settings)
    network_of(settings, dropout)
    matched = make_trunk(settings["architecture"], weights).matched
    if matched and idist.get_rank() == 0:
        say(matched)


def check_evaluation(dataset_dir: str | None, section: str, threshold: float, seed: int, score_precision: str) -> None:
    """Refuse an evaluation that cannot succeed.

    Args:
        dataset_dir: the cohort; None for a phantom that may not be made yet.
        section: of the datalist.
        threshold: probability from which a slice is called compressed.
        seed: of the choice of figures.
        score_precision: of the scores.

    Raises:
        InputError: one of them cannot be used.
    """
    check_seed(seed, "seed")
    check_precision(score_precision, "score_precision")
    if not (isinstance(threshold, int | float) and 0 <= threshold <= 1):
        raise InputError(f"threshold must be a number from 0 to 1, got {threshold}")
    if dataset_dir is not None:
        datalists.load(find_datalist(dataset_dir), section)
