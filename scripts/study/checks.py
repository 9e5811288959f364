"""What can be known before the first training of a study begins: settings, weights, folders and labels, not pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.bundle import ConfigParser

from .. import checkpoints, runner
from ..datalists import load, require_both_classes
from ..errors import InputError, check_seed, check_whole, root_error
from ..files import ROOT, check_folder
from ..tasks import class_weights
from ..transforms import to_network_input
from .experiments import Experiment, check_unchanged, datalist_path

# whole numbers of train.json and the smallest that will do
WHOLE = {
    **{"max_epochs": 1, "min_epochs": 0, "patience": 1, "val_interval": 1},
    **{"batch_size": 1, "val_batch_size": 1, "image_size": 32},
}
# parts of train.json that can be made without reading an image
PARTS = (
    *("network", "checkpoint_settings", "loss", "optimizer", "train#inferer", "validate#inferer", "prepare_batch"),
    *("train#preprocessing", "train#augmentation"),
)


def check_experiments(experiments: Sequence[Experiment]) -> None:
    """Refuse experiments that cannot succeed before the first of them begins; no image is read, nothing is written.

    Raises:
        InputError: a folder that cannot be written or that holds another experiment, settings that no network or
            optimizer can be made of, weights that are not available, a checkpoint that cannot be continued, or a
            section with one class.
    """
    for cohort, sections in {one.cohort: one.sections for one in experiments}.items():
        require_both_classes(datalist_path(cohort), dict.fromkeys(("training", "validation", *sections)))
    for experiment in experiments:
        check_folder(experiment.folder)
        check_unchanged(experiment)
        check_settings(experiment)


def check_settings(experiment: Experiment, resume: bool = True) -> None:
    """Make what train.json describes, as far as it goes without images; and read the checkpoint to continue from.

    Args:
        experiment: what to train.
        resume: whether a checkpoint in its folder will be continued.

    Raises:
        InputError: a setting is impossible, weights are not available, or the checkpoint does not fit.
    """
    runner.prepare([])
    parser = ConfigParser()
    parser.read_config([str(ROOT / "configs" / name) for name in experiment.configs])
    # they are counted in the cohort, which need not exist yet; without one, train.json would make it
    without_cohort = {"class_weights": None}
    for name, value in runner.literals({**experiment.overrides, **without_cohort}).items():
        parser[name] = value
    try:
        for name, low in WHOLE.items():
            check_whole(name, parser.get_parsed_content(name), low)
        check_whole("num_workers", parser.get_parsed_content("num_workers"), 0)
        check_seed(parser.get_parsed_content("seed"), "seed")
        for name in PARTS:
            parser.get_parsed_content(name)
        to_network_input(torch.zeros(1, 1, 1, 1), parser.get_parsed_content("profile"))
    except Exception as error:  # MONAI wraps whatever a setting provokes
        raise InputError(f"{experiment.folder.name} cannot be trained: {root_error(error)}") from error
    names = parser.get_parsed_content("tasks")
    if datalist_path(experiment.cohort).is_file() and len(names) > 1:
        class_weights(names, load(datalist_path(experiment.cohort), "training"))
    last = experiment.folder / "models" / "model_last.pt"
    if resume and last.is_file():
        checkpoints.read(last, parser.get_parsed_content("checkpoint_settings"))
