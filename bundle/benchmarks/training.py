"""What surrounds the network's step adds to a training: batches, augmentation, MONAI's engine and its handlers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from scripts.cuda_graph import GraphedStep
from scripts.datasets import SliceDataset
from scripts.files import ROOT
from scripts.runner import literals

from .materials import silence
from .rows import Options, Row
from .timing import Work, cost_ratio

STEPS = {"cuda": 20, "cpu": 2}
"""Steps of each run, by the kind of device."""
HANDLERS = ("TrainingPrecision", "SeedIterations", "TensorBoardStatsHandler")
"""The handlers of train.json that do something at a step, but for History, which needs a validation."""


class RandomSlices(SliceDataset):
    """Labelled slices of noise, which no file holds.

    Args:
        number: of slices.
        image_size: side in pixels.
        settings: further arguments of `SliceDataset`.
    """

    def __init__(self, number: int, image_size: int, **settings: Any) -> None:
        super().__init__([], lambda data: data, **settings)
        self._entries = [{"image": "", "label": index % 2} for index in range(number)]
        self._levels = torch.randint(0, 256, (number, 1, image_size, image_size), dtype=torch.uint8)


def parsed(options: Options, batch_size: int, steps: int, step: GraphedStep | None) -> ConfigParser:
    """Return train.json with slices of noise in place of a cohort, and without validation."""
    parser = ConfigParser()
    parser.read_config(str(ROOT / "configs" / "train.json"))
    changes: dict[str, Any] = {"bundle_root": str(ROOT), "output_dir": str(options.folder), "device": options.device}
    changes |= {"architecture": options.architecture, "image_size": options.image_size, "weights": None}
    changes |= {"batch_size": batch_size, "max_epochs": 1, "class_weights": None}
    for name, value in literals(changes).items():
        parser[name] = value
    augmentation = parser.get_parsed_content("train#augmentation")
    dataset = RandomSlices(steps * batch_size, options.image_size, augmentation=augmentation, device=options.device)
    parser["train#dataset"] = dataset
    parser["train#handlers"] = [
        one for one in parser["train#handlers"] if one["_target_"].rpartition(".")[2] in HANDLERS
    ]
    if step is not None:
        parser["train#trainer#iteration_update"] = step
    return parser


def trainer_of(parser: ConfigParser) -> Any:
    """Return the trainer of a config."""
    return parser.get_parsed_content("train#trainer")


def run(trainer: Any) -> None:
    """Train one epoch, also after others."""
    with silence():
        trainer.run()


def bare_steps(trainer: Any, batch_size: int, image_size: int, steps: int) -> Work:
    """Return steps of a trainer's network on one batch that lies on the device, with nothing around them."""
    device = trainer.state.device
    images = torch.rand(batch_size, 3, image_size, image_size, device=device).to(memory_format=torch.channels_last)
    labels = torch.arange(batch_size, device=device)[:, None].remainder(2).float()

    def work() -> None:
        trainer.network.train()
        for _ in range(steps):
            trainer.optimizer.zero_grad(set_to_none=True)
            trainer.loss_function(trainer.inferer(images, trainer.network), labels).backward()
            trainer.optimizer.step()

    return work


def replays(step: GraphedStep, steps: int) -> Work:
    """Return replays of a step that was captured, with nothing around them."""
    graph = step.graph
    assert graph is not None  # a training with more than its warm-up has captured one

    def work() -> None:
        for _ in range(steps):
            graph.replay()

    return work


def shares(options: Options, batch_size: int) -> Iterator[Row]:
    """Yield how near a training comes to the speed of its bare steps, on a GPU also of the replays of its graph."""
    kind = options.device.type
    steps = STEPS[kind]
    options = options._replace(folder=Path(options.folder) / f"training-{batch_size}")

    def row(label: str, trainer: Any, plain: Work, against: str) -> Row:
        ratio, plain_s = cost_ratio(partial(run, trainer), plain, options.pairs, options.device)
        speed = steps * batch_size / plain_s
        note = f"{speed / ratio:.1f} images/s against {speed:.1f} of {against}"
        return Row(label, 1 / ratio, f"of the speed of {against}", note)

    eager = trainer_of(parsed(options, batch_size, steps, None))
    bare = bare_steps(eager, batch_size, options.image_size, steps)
    if kind != "cuda":
        yield row(f"training on a CPU, batch {batch_size}", eager, bare, "bare steps")
        return
    step = GraphedStep()
    graphed = trainer_of(parsed(options, batch_size, steps, step))
    run(graphed)
    ceiling = replays(step, steps)
    yield row(f"training, batch {batch_size}, bare steps", eager, bare, "bare steps")
    yield row(f"training, batch {batch_size}, step by step", eager, ceiling, "the graph alone")
    yield row(f"training, batch {batch_size}", graphed, ceiling, "the graph alone")


def training(options: Options) -> Iterator[Row]:
    """Compare a training with its bare steps: on a CPU in batches of as many slices, on a GPU of 16 and of 64."""
    for batch_size in (16, 64) if options.device.type == "cuda" else (options.slices,):
        yield from shares(options, batch_size)
