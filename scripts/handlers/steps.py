"""What every step of training and validation runs under: the seed, the precision, the shared statistics."""

from __future__ import annotations

from contextlib import ExitStack

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import nn

from ..inferers import actual_precision, tensor_float_32
from ..networks import unwrapped


def iteration_seed(seed: int, rank: int, iteration: int) -> int:
    """Return torch's seed for one iteration; no two of them share one by more than a chance of 2^-64.

    Args:
        seed: of the run; below 2^24 it has bits of its own, larger ones do not fit beside the others and are hashed.
        rank: of the process.
        iteration: from 1.
    """
    if seed < 2**24:
        return (seed << 40) + (rank << 32) + iteration
    return int(np.random.SeedSequence([seed, rank, iteration]).generate_state(1, np.uint64)[0])


class SeedIterations:
    """Seed torch anew at every iteration, so that dropout depends on the seed and the iteration alone.

    Neither the number of loader workers nor an interruption changes it then.

    Args:
        seed: of the run, from 0 to 2^63 - 1.
    """

    def __init__(self, seed: int) -> None:
        self.seed = int(seed)

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Seed."""
        torch.manual_seed(iteration_seed(self.seed, idist.get_rank(), engine.state.iteration))


class TrainingPrecision:
    """Let TensorFloat-32 follow the precision of the training, in the backward pass too, which no inferer covers.

    Args:
        precision: see `scripts.inferers`.
        device: where the training runs.
    """

    def __init__(self, precision: str, device: torch.device | str) -> None:
        self.tf32 = actual_precision(precision, device) == "tf32"
        self._until_end = ExitStack()

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.STARTED, self)
        for event in (Events.COMPLETED, Events.EXCEPTION_RAISED):
            engine.add_event_handler(event, self.finish)

    def __call__(self, engine: Engine) -> None:
        """Set what the training wants."""
        self._until_end.enter_context(tensor_float_32(self.tf32))

    def finish(self, engine: Engine, error: BaseException | None = None) -> None:
        """Put back what was set before."""
        self._until_end.close()
        if error is not None:
            raise error


class ShareStatistics:
    """Give every process the first one's statistics of batch normalisation before it validates.

    The validator runs the network without its wrapper, whose forward pass waits for the other processes and would wait
    for ever for one that has a batch less.

    Args:
        network: the network, wrapped or not.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = unwrapped(network)

    def attach(self, engine: Engine) -> None:
        """Attach to a validator."""
        if idist.get_world_size() > 1:
            engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Copy."""
        for buffer in self.network.buffers():
            buffer.copy_(idist.broadcast(buffer, src=0))
