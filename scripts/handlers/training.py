"""What happens around training epochs: seeding, history, checkpoints, early stopping, resuming.

All attach to the *trainer* and look at the validator's metrics, so that a config needs no circular reference; in the
config they stand after the ``ValidationHandler``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.handlers import EarlyStopping
from torch import nn
from torch.optim import Optimizer

from .. import checkpoints
from ..console import say
from ..errors import InputError
from ..figures import training_curve
from ..files import write_csv


def rank() -> int:
    """Give this process's rank, 0 where there is only one."""
    return (
        torch.distributed.get_rank() if torch.distributed.is_available() and torch.distributed.is_initialized() else 0
    )


def move_to(value: Any, device: torch.device) -> Any:
    """Move the tensors of a nested state to ``device``."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: move_to(item, device) for key, item in value.items()}
    return [move_to(item, device) for item in value] if isinstance(value, list) else value


class Together:
    """Attach several handlers, in their order, as one.

    MONAI Label reads a config's list of handlers before references are resolved and expects literal objects in it; so
    handlers that are also referred to elsewhere stand in the config on their own, and one of these in the list.

    Args:
        handlers: handlers with an ``attach``.
    """

    def __init__(self, handlers: Sequence[Any]) -> None:
        self.handlers = list(handlers)

    def attach(self, engine: Engine) -> None:
        """Attach all to an engine."""
        for handler in self.handlers:
            handler.attach(engine)


class SeedEpochs:
    """Seed torch anew at every epoch, so that dropout depends on the seed and the epoch alone, and a run can resume."""

    def __init__(self, seed: int) -> None:
        self.seed = int(seed)

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Seed."""
        torch.manual_seed(self.seed * 1_000_003 + engine.state.epoch * 1_009 + rank())


class History:
    """Keep one row per epoch, print a progress line, write ``history.csv`` and at the end ``training_curve.png``.

    Args:
        validator: the validation engine; its metrics become columns.
        output_dir: folder of the two files.
    """

    def __init__(self, validator: Engine, output_dir: str) -> None:
        self.validator, self.output_dir = validator, Path(output_dir)
        self.rows: list[dict[str, float]] = []
        self._started_s, self._loss_sum, self._loss_count = 0.0, 0.0, 0

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.count)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.finish)

    def start(self, engine: Engine) -> None:
        """Start the clock."""
        self._started_s, self._loss_sum, self._loss_count = time.monotonic(), 0.0, 0

    def count(self, engine: Engine) -> None:
        """Add up the training loss."""
        self._loss_sum += engine.state.output["loss"].item()
        self._loss_count += 1

    def __call__(self, engine: Engine) -> None:
        """Add this epoch's row."""
        state = engine.state
        row = {"epoch": state.epoch, "train_loss": self._loss_sum / max(self._loss_count, 1)}
        row |= {name: float(value) for name, value in self.validator.state.metrics.items()}
        row |= {"learning_rate": engine.optimizer.param_groups[0]["lr"], "seconds": time.monotonic() - self._started_s}
        self.rows.append(row)
        if rank():
            return
        left_s = (state.max_epochs - state.epoch) * sum(r["seconds"] for r in self.rows) / len(self.rows)
        shown = {name: value for name, value in row.items() if name not in ("epoch", "learning_rate", "seconds")}
        figures = "  ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in shown.items())
        eta = f"at most {left_s / 60:.0f} min left" if left_s >= 90 else f"at most {left_s:.0f} s left"
        say(f"epoch {state.epoch}/{state.max_epochs}  {figures}  {row['seconds']:.1f} s, {eta}")
        write_csv(self.output_dir / "history.csv", list(row), self.rows)

    def finish(self, engine: Engine) -> None:
        """Draw the curve."""
        if self.rows and not rank():
            say(f"training curve: {training_curve(self.rows, self.output_dir / 'training_curve.png')}")

    def state_dict(self) -> dict[str, Any]:
        """Give the rows."""
        return {"rows": self.rows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue after earlier rows."""
        self.rows = list(state["rows"])


class EarlyStop(EarlyStopping):
    """Ignite's early stopping on a validation metric that should fall, after a minimum number of epochs.

    Args:
        validator: the validation engine.
        metric: name of the metric to watch; in several processes ignite has already reduced it, so all stop together.
        patience: epochs without improvement after which to stop.
        min_epochs: epochs before which training never stops; improvements are counted from the first epoch.

    Source: Merali et al. 2021, Methods (50 epochs, then patience 10).
    """

    def __init__(self, validator: Engine, metric: str, patience: int, min_epochs: int) -> None:
        super().__init__(int(patience), lambda engine: -float(validator.state.metrics[metric]), validator)
        self.min_epochs = int(min_epochs)
        self.best_score: float | None = None

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer that is to be stopped."""
        self.trainer = engine
        engine.add_event_handler(Events.STARTED, self.stop_if_due)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Count an epoch; stop where patience and minimum are both over."""
        score = self.score_function(engine)
        if self.best_score is None or score > self.best_score:
            self.best_score, self.counter = score, 0
        else:
            self.counter += 1
        self.stop_if_due(engine)

    def stop_if_due(self, engine: Engine) -> None:
        """Stop a run that is over, also one that was over before it was resumed."""
        if self.counter >= self.patience and engine.state.epoch >= self.min_epochs and self.best_score is not None:
            if not rank():
                say(f"stopping: no improvement for {self.counter} epochs, best {-self.best_score:.4f}")
            engine.terminate()


class BestCheckpoint:
    """Write ``model.pt`` whenever a validation metric reaches a new minimum.

    Args:
        validator: the validation engine.
        metric: name of the metric, lower is better.
        path: the checkpoint.
        network: the network.
        settings: gives what the checkpoint says about itself, see `scripts.checkpoints.describe`.
    """

    def __init__(
        self, validator: Engine, metric: str, path: str, network: nn.Module, settings: Callable[[], dict[str, Any]]
    ) -> None:
        self.validator, self.metric, self.path = validator, metric, Path(path)
        self.network, self.settings = network, settings
        self.best: float | None = None
        self.epoch = 0

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.finish)

    def __call__(self, engine: Engine) -> None:
        """Write, if this epoch is the best one."""
        value = float(self.validator.state.metrics[self.metric])
        if self.best is None or value < self.best:
            self.best, self.epoch = value, engine.state.epoch
            if not rank():
                checkpoints.save(
                    self.path, self.network, self.settings(), epoch=self.epoch, validation={self.metric: value}
                )

    def finish(self, engine: Engine) -> None:
        """Say which epoch was best."""
        if self.best is None:
            raise InputError(f"training saw no finite {self.metric}; no checkpoint was written")
        if not rank():
            say(f"best epoch {self.epoch} ({self.metric.replace('_', ' ')} {self.best:.4f}): {self.path}")

    def state_dict(self) -> dict[str, Any]:
        """Give the best value and its epoch."""
        return {"best": self.best, "epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from an earlier best."""
        self.best, self.epoch = state["best"], state["epoch"]


class LastCheckpoint:
    """Write ``model_last.pt`` after every epoch, with all that resuming needs.

    Args:
        path: the checkpoint.
        network: the network.
        optimizer: its optimizer.
        states: handlers with a ``state_dict``; the same as `Resume` gets.
        settings: gives what the checkpoint says about itself.
    """

    def __init__(
        self,
        path: str,
        network: nn.Module,
        optimizer: Optimizer,
        states: Mapping[str, Any],
        settings: Callable[[], dict[str, Any]],
    ) -> None:
        self.path, self.network, self.optimizer = Path(path), network, optimizer
        self.states, self.settings = states, settings

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, after the handlers whose states are kept."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write."""
        if rank():
            return
        kept = {name: dict(state.state_dict()) for name, state in self.states.items()}
        progress = {"epoch": engine.state.epoch, "iteration": engine.state.iteration}
        checkpoints.save(
            self.path,
            self.network,
            self.settings(),
            optimizer=self.optimizer.state_dict(),
            trainer=progress,
            states=kept,
        )


class Resume:
    """Continue from ``model_last.pt``, or say why that is impossible.

    Args:
        enabled: whether to resume at all.
        path: the checkpoint.
        network: the network.
        optimizer: its optimizer.
        states: handlers with a ``load_state_dict``.
        settings: gives the run's settings; they must equal the checkpoint's.
    """

    def __init__(
        self,
        enabled: bool,
        path: str,
        network: nn.Module,
        optimizer: Optimizer,
        states: Mapping[str, Any],
        settings: Callable[[], dict[str, Any]],
    ) -> None:
        self.enabled, self.path, self.network, self.optimizer = enabled, path, network, optimizer
        self.states, self.settings = states, settings

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        if self.enabled:
            engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Load everything; the run goes on with the next epoch."""
        content = checkpoints.read(self.path, self.settings())
        if not all(name in content for name in ("optimizer", "trainer", "states")):
            raise InputError(f"{self.path} holds weights only; resume from the model_last.pt of the interrupted run")
        module = self.network.module if isinstance(self.network, nn.parallel.DistributedDataParallel) else self.network
        module.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        for name, state in self.states.items():
            state.load_state_dict(content["states"][name])
        engine.state.epoch, engine.state.iteration = content["trainer"]["epoch"], content["trainer"]["iteration"]
        if not rank():
            say(f"resuming after epoch {engine.state.epoch} from {self.path}")
