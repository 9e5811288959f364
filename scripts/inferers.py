"""How the network is applied: to batches of slices in training, to whole series in inference."""

from __future__ import annotations

from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer, SimpleInferer
from torch import nn

from .heatmaps import enlarge, grad_cam, normalise
from .transforms import to_network_input


def bfloat16_is_fast(device_type: str) -> bool:
    """Tell whether the device multiplies bfloat16 matrices in hardware."""
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
        """Give float32 logits ``(N, 1)`` of ``(N, 3, H, W)``."""
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
        heatmap: whether to compute heat maps; without, the second channel is 0.
        layer: layer of the heat map, see `grad_cam`.
    """

    def __init__(
        self, profile: str = "imagenet", batch_size: int = 16, heatmap: bool = True, layer: str = "layer4"
    ) -> None:
        super().__init__()
        self.profile, self.batch_size, self.heatmap, self.layer = profile, int(batch_size), heatmap, layer

    def __call__(self, inputs: torch.Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Score a volume.

        Args:
            inputs: ``(B, 1, H, W, D)`` in [0, 1], as the preprocessing leaves it.
            network: the classifier.
            args: not used.
            kwargs: not used.

        Returns:
            ``(B, 2, H, W, D)``: channel 0 is the slice's logit, constant over the slice; channel 1 the Grad-CAM map,
            each slice's maximum scaled to that slice's probability, so that only compressed slices look hot.
        """
        volume = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        count, _, height, width, depth = volume.shape
        slices = volume.permute(0, 4, 1, 2, 3).reshape(count * depth, 1, height, width)
        scored = [self.score(batch, network) for batch in slices.split(self.batch_size)]
        output = torch.cat(scored).reshape(count, depth, 2, height, width).permute(0, 2, 3, 4, 1).contiguous()
        if not isinstance(inputs, MetaTensor):
            return output
        result = MetaTensor(output, meta=inputs.meta, applied_operations=inputs.applied_operations)
        result.is_batch = inputs.is_batch
        return result

    def score(self, slices: torch.Tensor, network: nn.Module) -> torch.Tensor:
        """Give logit and heat map ``(N, 2, H, W)`` of slices ``(N, 1, H, W)``."""
        image = to_network_input(slices, self.profile)
        size = (slices.shape[2], slices.shape[3])
        if self.heatmap:
            logits, coarse = grad_cam(network, image, self.layer)
            heat = normalise(enlarge(coarse, size)) * torch.sigmoid(logits)[:, :, None]
        else:
            with torch.no_grad():
                logits = network(image)
            heat = torch.zeros_like(slices[:, 0])
        return torch.stack([logits[:, :, None].expand(-1, *size), heat], dim=1)
