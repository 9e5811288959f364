"""The training step as one CUDA graph: launched at once, where else the CPU launches hundreds of kernels one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ignite.distributed as idist
import torch
from monai.engines import SupervisedTrainer
from monai.utils.enums import CommonKeys

WARM_UP = 3
"""Steps that run as ever before one is captured: they choose algorithms and make the optimizer's state."""


class GraphedStep:
    """Train one batch; an ``iteration_update`` of MONAI's trainer.

    The first steps run as ever. Then forward pass, loss, backward pass and optimizer are captured, and each further
    batch of the same shape replays them on its own images and labels. Other batches, such as the last of an epoch, run
    as ever, and so does all of a training on a CPU or in several processes. Dropout takes its numbers from CUDA's
    default generator, which belongs to every graph: a seed set between two steps works as ever.

    ignite's events around a step stay. MONAI's ``IterationEvents`` within a step fire only where it runs as ever. Of
    the output, images, labels and logits are overwritten by the next step; the loss is a copy.

    Not supported: an optimizer that is not fused, gradient accumulation, MONAI's ``amp`` (use ``precision``), a
    ``prepare_batch`` that gives more than images and labels, a learning rate that changes during a run (the graph keeps
    the one it was captured with), and code in network or loss that asks the GPU for a value.
    """

    def __init__(self) -> None:
        self.warm = 0
        self.stream: torch.cuda.Stream | None = None
        self.graph: torch.cuda.CUDAGraph | None = None
        self.output: dict[str, torch.Tensor] = {}

    def __call__(self, engine: SupervisedTrainer, batch: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Run one step, and return what MONAI's trainer returns."""
        device = engine.state.device
        full = len(batch[CommonKeys.LABEL]) == engine.state.dataloader.batch_size
        if device.type != "cuda" or idist.get_world_size() > 1 or not full:
            return step_as_ever(engine, batch)
        self.stream = self.stream or torch.cuda.Stream(device)
        if self.warm < WARM_UP:
            self.warm += 1
            return self.warmed(engine, batch, self.stream)
        images, labels = engine.prepare_batch(batch, device, engine.non_blocking)
        if self.graph is None:
            self.graph = self.captured(engine, images, labels, self.stream)
        else:
            self.output[CommonKeys.IMAGE].copy_(images)
            self.output[CommonKeys.LABEL].copy_(labels)
        self.graph.replay()
        return {**self.output, CommonKeys.LOSS: self.output[CommonKeys.LOSS].clone()}

    def warmed(
        self, engine: SupervisedTrainer, batch: Mapping[str, Any], stream: torch.cuda.Stream
    ) -> dict[str, torch.Tensor]:
        """Run a step as ever, on the stream that will be captured."""
        before = torch.cuda.current_stream(stream.device)
        stream.wait_stream(before)
        with torch.cuda.stream(stream):
            output = step_as_ever(engine, batch)
        before.wait_stream(stream)
        # whatever knows the way back to the parameters would bind them to streams of its own
        return {name: value.detach() for name, value in output.items()}

    def captured(
        self, engine: SupervisedTrainer, images: torch.Tensor, labels: torch.Tensor, stream: torch.cuda.Stream
    ) -> torch.cuda.CUDAGraph:
        """Record a step on a batch, without running it."""
        self.output = {CommonKeys.IMAGE: images.clone(), CommonKeys.LABEL: labels.clone()}
        engine.state.output = None
        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=True)  # so that the graph makes gradients of its own
        groups = engine.optimizer.param_groups
        kept = [group["capturable"] for group in groups]
        graph = torch.cuda.CUDAGraph()
        try:
            for group in groups:
                group["capturable"] = True
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                logits = engine.inferer(self.output[CommonKeys.IMAGE], engine.network)
                loss = engine.loss_function(logits, self.output[CommonKeys.LABEL]).mean()
                loss.backward()
                engine.optimizer.step()
        finally:
            for group, capturable in zip(groups, kept, strict=True):
                group["capturable"] = capturable  # a checkpoint shall say nothing of the graph
        self.output |= {CommonKeys.PRED: logits.detach(), CommonKeys.LOSS: loss.detach()}
        return graph


def step_as_ever(engine: SupervisedTrainer, batch: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Run the step of MONAI's trainer."""
    output: dict[str, torch.Tensor] = engine._iteration(engine, batch)
    return output
