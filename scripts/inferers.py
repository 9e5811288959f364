"""How the network is applied: to batches of slices in training, to whole series in inference."""

from __future__ import annotations

from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer, SimpleInferer
from torch import nn

from .heatmaps.grad_cam import enlarge, grad_cam, normalise
from .heatmaps.views import all_views, map_back
from .transforms import to_network_input


def bfloat16_is_fast(device_type: str) -> bool:
    """Return whether the device multiplies bfloat16 matrices in hardware."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return (
        device_type == "cpu"
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        and bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    )


class AutocastInferer(SimpleInferer):
    """Run the network under bfloat16 autocast, on the CPU too, where MONAI's ``amp`` does nothing.

    Args:
        enabled: True, False, or ``"auto"`` for wherever bfloat16 runs in hardware.
    """

    def __init__(self, enabled: bool | str = "auto") -> None:
        super().__init__()
        self.enabled = enabled

    def __call__(self, inputs: torch.Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return float32 logits ``(N, 1)`` of ``(N, 3, H, W)``."""
        device = inputs.device.type
        enabled = bfloat16_is_fast(device) if self.enabled == "auto" else bool(self.enabled)
        with torch.autocast(device, torch.bfloat16, enabled=enabled):
            logits: torch.Tensor = super().__call__(inputs, network, *args, **kwargs)
        return logits.float()


class SeriesInferer(Inferer):
    """Score every slice of a whole series and say where the score came from.

    Args:
        profile: normalisation of the network's input, see `to_network_input`.
        batch_size: slices that go through the network at once.
        heatmap: whether to compute heat maps; without, the other channels are 0.
        layer: layer of the heat map, see `grad_cam`.
        sign: 1 maps what spoke for compression, -1 what spoke against it.
        test_time_average: whether the logit is the mean over the 18 views of `scripts.heatmaps.views`.
        hotspots: whether the heat map is the mean over those views, each mapped back (evidence hotspots).
    """

    def __init__(
        self,
        profile: str = "imagenet",
        batch_size: int = 16,
        heatmap: bool = True,
        layer: str = "layer4",
        sign: int = 1,
        test_time_average: bool = False,
        hotspots: bool = False,
        slope: float = 1.0,
        intercept: float = 0.0,
    ) -> None:
        super().__init__()
        self.slope, self.intercept = float(slope), float(intercept)
        self.profile, self.batch_size = profile, int(batch_size)
        self.heatmap, self.layer, self.sign = heatmap, layer, int(sign)
        self.test_time_average, self.hotspots = test_time_average, hotspots

    @property
    def n_views(self) -> int:
        """How many times each slice goes through the network."""
        return len(all_views(1, 1)) if self.test_time_average or self.hotspots else 1

    def __call__(self, inputs: torch.Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Score a volume.

        Args:
            inputs: ``(B, 1, H, W, D)`` in [0, 1], as the preprocessing leaves it.
            network: the classifier.
            args: not used.
            kwargs: not used.

        Returns:
            ``(B, 3, H, W, D)``: channel 0 is the slice's logit, constant over the slice; channel 1 the Grad-CAM map,
            each slice's maximum scaled to that slice's probability, so that only compressed slices look hot; channel 2
            the map as it is, in units of the logit, comparable between slices.
        """
        volume = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        count, _, height, width, depth = volume.shape
        slices = volume.permute(0, 4, 1, 2, 3).reshape(count * depth, 1, height, width)
        scored = [self.score(batch, network) for batch in slices.split(self.batch_size)]
        output = torch.cat(scored).reshape(count, depth, 3, height, width).permute(0, 2, 3, 4, 1).contiguous()
        if not isinstance(inputs, MetaTensor):
            return output
        result = MetaTensor(output, meta=inputs.meta, applied_operations=inputs.applied_operations)
        result.is_batch = inputs.is_batch
        return result

    def score(self, slices: torch.Tensor, network: nn.Module) -> torch.Tensor:
        """Return logit, scaled and raw heat map ``(N, 3, H, W)`` of slices ``(N, 1, H, W)``."""
        size = (slices.shape[2], slices.shape[3])
        views = all_views(*size)[: self.n_views]  # the first is the slice itself
        seen = [self.view(view.apply(slices), network) for view in views]
        logits, raw = seen[0]
        if self.test_time_average:
            logits = torch.stack([one for one, _ in seen]).mean(0)
        if self.hotspots:
            raw = map_back([heat for _, heat in seen], views)
        calibrated = self.intercept + self.slope * logits
        probability = torch.sigmoid(calibrated if self.sign > 0 else -calibrated)[:, :, None]
        return torch.stack([logits[:, :, None].expand(-1, *size), normalise(raw) * probability, raw], dim=1)

    def view(self, slices: torch.Tensor, network: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits ``(N, 1)`` and raw heat maps ``(N, H, W)`` of one view of the slices."""
        image = to_network_input(slices, self.profile)
        if self.heatmap:
            logits, coarse = grad_cam(network, image, self.layer, sign=self.sign)
            return logits, enlarge(coarse, (slices.shape[2], slices.shape[3]))
        with torch.no_grad():
            return network(image), torch.zeros_like(slices[:, 0])
