"""What can be checked of a localiser's training before any image is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import datalists
from ..checkpoints import read_resumable
from ..checks import check_run
from ..phantom.default_cohort import find_datalist
from .network import CanalNet
from .truth import read_truth


def check_canal_training(
    dataset_dir: str | None,
    ckpt_dir: str,
    resume: bool,
    settings: Mapping[str, Any],
    seed: int,
    precision: str,
    score_precision: str,
) -> None:
    """Refuse a training that cannot succeed.

    Args:
        dataset_dir: the cohort, with its canal.csv; None for a phantom that is not made yet.
        ckpt_dir: folder of the checkpoint to resume from.
        resume: whether to resume.
        settings: see `scripts.canal.localiser.describe`.
        seed: of the run.
        precision: of the training.
        score_precision: of the validation.

    Raises:
        InputError: one of them cannot be used.
    """
    check_run(seed, precision, score_precision)
    if dataset_dir is not None:
        path = find_datalist(dataset_dir)
        for section in ("training", "validation"):
            datalists.load(path, section)
        table = Path(path).parent / "canal.csv"
        if table.exists() or not (table.parent / "masks").is_dir():
            read_truth(table)
    if resume:
        read_resumable(f"{ckpt_dir}/model_last.pt", settings)
    CanalNet(settings["channels"], settings["image_size"], settings["side_mm"])
