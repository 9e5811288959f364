"""What happens around training epochs: history, checkpoints, early stopping, resuming.

All attach to the *trainer* and look at the validator's metrics, so that a config needs no circular reference; in the
config they stand after the ``ValidationHandler``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.optim import Optimizer

from .. import checkpoints
from ..console import optional, say
from ..errors import InputError
from ..files import write_csv
from ..inferers import actual_precision
from ..networks import unwrapped
from .figures import training_curve


def keep_in_state(engine: Engine, name: str, value: Any) -> None:
    """Set the engine's state an attribute that checkpoints keep and resuming restores."""
    setattr(engine.state, name, value)
    engine.state_dict_user_keys.append(name)


class History:
    """Keep one row per epoch, print a progress line, write ``history.csv`` and at the end ``training_curve.png``.

    Args:
        validator: the validation engine; its metrics become columns. Where the key metric is not finite, the others
            mean nothing and are NaN.
        output_dir: folder of the two files.
        precision: precision of the training, see `scripts.inferers`.
        device: where the training runs.
    """

    def __init__(self, validator: Engine, output_dir: str, precision: str, device: torch.device | str) -> None:
        self.validator, self.output_dir = validator, Path(output_dir)
        self.precision = actual_precision(precision, device)
        self._started_s, self._loss_sum, self._loss_count = 0.0, torch.zeros(()), 0

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        keep_in_state(engine, "history", [])
        engine.add_event_handler(Events.EPOCH_STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.count)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.finish)

    def start(self, engine: Engine) -> None:
        """Start the clock."""
        self._started_s, self._loss_sum, self._loss_count = time.monotonic(), torch.zeros(()), 0

    def count(self, engine: Engine) -> None:
        """Add up the training loss, on the device, so that no step waits for it."""
        self._loss_sum = engine.state.output["loss"].detach().double() + self._loss_sum
        self._loss_count += 1

    def __call__(self, engine: Engine) -> None:
        """Add this epoch's row."""
        state, validated = engine.state, self.validator.state
        total, count = (float(idist.all_reduce(value)) for value in (self._loss_sum, self._loss_count))
        losses = {"train_loss": total / max(count, 1), **{name: float(v) for name, v in validated.metrics.items()}}
        key = validated.key_metric_name
        if not math.isfinite(losses[key]):
            losses |= {name: math.nan for name in validated.metrics if name != key}
        learning_rate, seconds = engine.optimizer.param_groups[0]["lr"], time.monotonic() - self._started_s
        row = {"epoch": state.epoch, **losses, "learning_rate": learning_rate, "seconds": seconds}
        state.history.append({**row, "precision": self.precision})
        if idist.get_rank() == 0:
            self.report(engine, losses)

    def report(self, engine: Engine, losses: dict[str, float]) -> None:
        """Print this epoch's losses and metrics, and write the table."""
        state, rows = engine.state, engine.state.history
        row = rows[-1]
        left_s = (state.max_epochs - state.epoch) * sum(past["seconds"] for past in rows) / len(rows)
        figures = "  ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in losses.items())
        eta = f"at most {left_s / 60:.0f} min left" if left_s >= 90 else f"at most {left_s:.0f} s left"
        say(f"epoch {state.epoch}/{state.max_epochs}  {figures}  {row['seconds']:.1f} s, {eta}")
        write_csv(self.output_dir / "history.csv", list(row), rows)

    def finish(self, engine: Engine) -> None:
        """Draw the curve."""
        if engine.state.history and idist.get_rank() == 0:
            with optional("training curve"):
                say(f"training curve: {training_curve(engine.state.history, self.output_dir / 'training_curve.png')}")


class EarlyStop:
    """Stop when a validation metric has not fallen for some epochs, but not before a minimum of epochs.

    Ignite's own ``EarlyStopping`` knows no minimum. Improvements are counted from the first epoch on.

    Args:
        validator: the validation engine.
        metric: name of the metric to watch; in several processes ignite has already reduced it, so all stop together.
        patience: epochs without improvement after which to stop.
        min_epochs: epochs before which training never stops.

    Source: Merali et al. 2021, Methods (50 epochs, then patience 10).
    """

    def __init__(self, validator: Engine, metric: str, patience: int, min_epochs: int) -> None:
        self.validator, self.metric = validator, metric
        self.patience, self.min_epochs = int(patience), int(min_epochs)

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer that is to be stopped."""
        keep_in_state(engine, "patience", {"lowest": float("inf"), "epochs_without": 0})
        engine.add_event_handler(Events.STARTED, self.stop_if_due)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Count an epoch; stop where patience and minimum are both over."""
        value, state = float(self.validator.state.metrics[self.metric]), engine.state.patience
        improved = value < state["lowest"]
        state["lowest"] = min(value, state["lowest"])
        state["epochs_without"] = 0 if improved else state["epochs_without"] + 1
        self.stop_if_due(engine)

    def stop_if_due(self, engine: Engine) -> None:
        """Stop a run that is over, also one that was over before it was resumed."""
        state = engine.state.patience
        if state["epochs_without"] >= self.patience and engine.state.epoch >= self.min_epochs:
            if idist.get_rank() == 0:
                say(f"stopping: no improvement for {state['epochs_without']} epochs, best {state['lowest']:.4f}")
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

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        keep_in_state(engine, "best", {"value": float("inf"), "epoch": 0})
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.finish)

    def __call__(self, engine: Engine) -> None:
        """Write, if this epoch is the best one."""
        value, epoch = float(self.validator.state.metrics[self.metric]), engine.state.epoch
        if value < engine.state.best["value"]:
            engine.state.best = {"value": value, "epoch": epoch}
            if idist.get_rank() == 0:
                network, about = unwrapped(self.network), self.settings()
                checkpoints.save(self.path, network, about, epoch=epoch, validation={self.metric: value})

    def finish(self, engine: Engine) -> None:
        """Report which epoch was best."""
        best = engine.state.best
        if not best["epoch"]:
            raise InputError(
                f"training saw no finite {self.metric}; no checkpoint was written; try a lower learning rate"
            )
        if idist.get_rank() == 0:
            say(f"best epoch {best['epoch']} ({self.metric.replace('_', ' ')} {best['value']:.4f}): {self.path}")


class LastCheckpoint:
    """Write ``model_last.pt`` after every epoch, with all that resuming needs.

    Args:
        path: the checkpoint.
        network: the network.
        optimizer: its optimizer.
        settings: gives what the checkpoint says about itself.
    """

    def __init__(
        self, path: str, network: nn.Module, optimizer: Optimizer, settings: Callable[[], dict[str, Any]]
    ) -> None:
        self.path, self.network, self.optimizer, self.settings = Path(path), network, optimizer, settings

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, after the handlers that keep something in its state."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write."""
        if idist.get_rank():
            return
        names = ("epoch", "iteration", *engine.state_dict_user_keys)
        trainer = {name: getattr(engine.state, name) for name in names}
        network, optimizer = unwrapped(self.network), self.optimizer.state_dict()
        checkpoints.save(self.path, network, self.settings(), optimizer=optimizer, trainer=trainer)


class Resume:
    """Continue from ``model_last.pt``, or say why that is impossible.

    Args:
        enabled: whether to resume at all.
        path: the checkpoint.
        network: the network.
        optimizer: its optimizer.
        settings: gives the run's settings; they must equal the checkpoint's.
    """

    def __init__(
        self, enabled: bool, path: str, network: nn.Module, optimizer: Optimizer, settings: Callable[[], dict[str, Any]]
    ) -> None:
        self.enabled, self.path, self.network, self.optimizer = enabled, path, network, optimizer
        self.settings = settings

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, before all other handlers."""
        if self.enabled:
            engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Load everything; the run goes on with the next epoch."""
        content = checkpoints.read_resumable(self.path, self.settings())
        unwrapped(self.network).load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        for name, value in content["trainer"].items():
            setattr(engine.state, name, value)
        if idist.get_rank() == 0:
            say(f"resuming after epoch {engine.state.epoch} from {self.path}")
