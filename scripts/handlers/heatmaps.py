"""Grad-CAM of everything a 2-D evaluator sees."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents
from torch import nn

from ..heatmaps import class_activation, enlarge, split_features


class GradCAM:
    """Add the Grad-CAM map of each slice to the evaluator's output, at the cost of one pass through what follows.

    A forward hook keeps the layer's activation of the evaluator's own forward pass, so nothing is computed twice.

    Args:
        network: a `CordCompressionNet` (not a TorchScript copy: that one takes `scripts.heatmaps.grad_cam`).
        layer: child of ``network.features``.
        target: which logit is explained.
        sign: 1 for what spoke for the class, -1 for what spoke against it.
        key: where in the output the maps go, ``(N, H, W)``, not normalised, at the input's size.
    """

    def __init__(
        self, network: nn.Module, layer: str = "layer4", target: int = 0, sign: int = 1, key: str = "heatmap"
    ) -> None:
        self.network, self.layer, self.target, self.sign, self.key = network, layer, target, sign, key
        self._activation: torch.Tensor | None = None
        self._hook: Any = None

    def attach(self, engine: Engine) -> None:
        """Attach to a supervised evaluator."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self)
        for event in (Events.COMPLETED, Events.EXCEPTION_RAISED):
            engine.add_event_handler(event, self.finish)

    def start(self, engine: Engine) -> None:
        """Place the hook."""
        self.finish(engine)
        module = split_features(self.network, self.layer)[0][-1]
        self._hook = module.register_forward_hook(lambda _, __, output: setattr(self, "_activation", output))

    def __call__(self, engine: Engine) -> None:
        """Compute the maps of this batch."""
        assert self._activation is not None
        _, coarse = class_activation(self.network, self._activation.float(), self.layer, self.target, self.sign)
        height, width = engine.state.output["image"].shape[-2:]
        engine.state.output[self.key] = enlarge(coarse, (int(height), int(width)))
        self._activation = None

    def finish(self, engine: Engine, error: BaseException | None = None) -> None:
        """Remove the hook."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        if error is not None:
            raise error
