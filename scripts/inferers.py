"""How the network is applied, and in which precision: to batches of slices in training, to whole series in inference.

Training runs in what ``precision`` says. Validation and evaluation run in float32 with TensorFloat-32 off, unless their
own setting says otherwise. Inference on series runs in bfloat16 where the hardware multiplies it, by a copy of the
network that rounds less than autocast does, see `scripts.models.inference_trunk`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer, SimpleInferer
from torch import nn

from .errors import InputError
from .heatmaps.grad_cam import enlarge, maps_of_members, normalise, rectified
from .heatmaps.targets import explained
from .heatmaps.views import all_views, map_back
from .models.inference_trunk import check_backend, inference_network, is_divisible, openvino_rounds, state_of
from .tasks import COMPRESSED, DEFAULT_TASKS, columns_of, task_named, tasks_of
from .transforms import to_network_input

PRECISIONS = ("auto", "bf16", "fp32", "tf32")


def bfloat16_is_fast(device_type: str) -> bool:
    """Return whether the device multiplies bfloat16 matrices in hardware."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type != "cpu":
        return False
    try:
        supported = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return bool(supported and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()))
    except (AttributeError, RuntimeError):  # torch without oneDNN, as on Apple silicon
        return False


def check_precision(precision: str, key: str = "precision") -> str:
    """Return a precision, or refuse a name that is none.

    Args:
        precision: one of ``PRECISIONS``.
        key: the setting, for the message.

    Raises:
        InputError: it is none of them.
    """
    if precision not in PRECISIONS:
        raise InputError(
            f"{key} must be {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}, got {precision!r}; auto is bf16 where "
            "the hardware multiplies it, else fp32"
        )
    return precision


def actual_precision(precision: str, device: torch.device | str) -> str:
    """Return what a precision means on a device: ``bf16``, ``fp32`` or ``tf32``; TensorFloat-32 exists on GPUs only."""
    kind = torch.device(device).type
    if check_precision(precision) == "auto":
        return "bf16" if bfloat16_is_fast(kind) else "fp32"
    return "fp32" if precision == "tf32" and kind != "cuda" else precision


@contextmanager
def tensor_float_32(allowed: bool) -> Iterator[None]:
    """Allow or forbid GPUs to round float32 factors to TensorFloat-32 within the block."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


@contextmanager
def running_in(precision: str, device: torch.device | str) -> Iterator[None]:
    """Run the block in a precision: sets autocast and TensorFloat-32, and puts both back."""
    actual, kind = actual_precision(precision, device), torch.device(device).type
    with tensor_float_32(actual == "tf32"), torch.autocast(kind, torch.bfloat16, enabled=actual == "bf16"):
        yield


class PrecisionInferer(SimpleInferer):
    """Run the network in one precision, on the CPU too, where MONAI's ``amp`` does nothing.

    Args:
        precision: one of ``PRECISIONS``.
    """

    def __init__(self, precision: str = "fp32") -> None:
        super().__init__()
        self.precision = check_precision(precision)

    def __call__(self, inputs: torch.Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return float32 logits ``(N, K)`` of ``(N, 3, H, W)``."""
        with running_in(self.precision, inputs.device):
            logits: torch.Tensor = super().__call__(inputs, network, *args, **kwargs)
        return logits.float()


class Running(NamedTuple):
    """What a network really runs in: ``bf16``, ``fp32`` or ``tf32``, and by ``torch`` or ``openvino``."""

    precision: str
    backend: str


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
        slope: of the calibration, see `scripts.records.probability`.
        intercept: of the calibration.
        precision: one of ``PRECISIONS``.
        backend: one of `scripts.models.inference_trunk.BACKENDS`; `running` says where torch takes OpenVINO's place.
        tasks: names of the network's tasks.
        heatmap_task: the one that the heat map explains, see `scripts.heatmaps.targets.explained`.

    Raises:
        InputError: the precision, the backend or the task is unknown, or the backend is not installed.
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
        precision: str = "fp32",
        backend: str = "torch",
        tasks: Sequence[str] = DEFAULT_TASKS,
        heatmap_task: str = COMPRESSED,
    ) -> None:
        super().__init__()
        known = tasks_of(tasks)
        self.task = task_named(heatmap_task, known)
        self.columns = columns_of(known)[heatmap_task]
        self.precision, self.backend = check_precision(precision), check_backend(backend)
        self.made: tuple[Any, nn.Module] | None = None
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
            inputs: ``(B, C, H, W, D)`` in [0, 1], as the preprocessing leaves it; C is 1, or 3 with neighbours.
            network: the classifier, or an `Ensemble` of several.
            args: not used.
            kwargs: not used.

        Returns:
            ``(B, 3, H, W, D)``: channel 0 is the slice's logit, constant over the slice; channel 1 the Grad-CAM map,
            each slice's maximum scaled to that slice's probability, so that only compressed slices look hot (or those
            with a finding of ``heatmap_task``); channel 2 the map as it is, in units of the logit, comparable between
            slices. The logits of further tasks follow, as channel 0 is.
        """
        volume = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        count, channels, height, width, depth = volume.shape
        slices = volume.permute(0, 4, 1, 2, 3).reshape(count * depth, channels, height, width)
        running = self.running(network, slices.device)
        made = self.made_of(network, running)
        # what is made for bfloat16 rounds its own layers
        with running_in("fp32" if running.precision == "bf16" else running.precision, slices.device):
            scored = [self.score(batch, made) for batch in slices.split(self.batch_size)]
        output = torch.cat(scored).reshape(count, depth, -1, height, width).permute(0, 2, 3, 4, 1).contiguous()
        if not isinstance(inputs, MetaTensor):
            return output
        result = MetaTensor(output, meta=inputs.meta, applied_operations=inputs.applied_operations)
        result.is_batch = inputs.is_batch
        return result

    def without_openvino(self, device: torch.device | str) -> str:
        """Return why torch runs what OpenVINO was asked for, whatever the network; empty where OpenVINO can."""
        if self.backend != "openvino":
            return ""
        if torch.device(device).type != "cpu":
            return f"OpenVINO is used on the CPU only, and the device is {device}"
        if self.n_views > 1:
            return "the 18 views of test_time_average and hotspots run in torch"
        if self.heatmap and self.layer != "layer4":
            return f"OpenVINO's trunk ends with layer4, and the heat maps are of {self.layer}"
        return ""

    def running(self, network: nn.Module, device: torch.device | str) -> Running:
        """Return what a network runs in on a device; TorchScript runs as it is, without bfloat16, in torch.

        Raises:
            InputError: OpenVINO is to multiply bfloat16 on a CPU where it cannot.
        """
        precision, divisible = actual_precision(self.precision, device), is_divisible(network)
        if not divisible:
            return Running("tf32" if precision == "tf32" else "fp32", "torch")
        if self.backend != "openvino" or self.without_openvino(device):
            return Running(precision, "torch")
        if precision == "bf16" and not openvino_rounds():
            raise InputError("OpenVINO does not multiply bfloat16 on this CPU; take precision fp32, or backend torch")
        return Running(precision, "openvino")

    def made_of(self, network: nn.Module, running: Running) -> nn.Module:
        """Return what runs of a network; it is made once, and again where the network's weights have changed."""
        if running.backend == "torch" and running.precision != "bf16":
            return network
        key = (network, running, state_of(network))
        if self.made is None or self.made[0] != key:
            self.made = (key, inference_network(network, *running))
        return self.made[1]

    def score(self, slices: torch.Tensor, network: nn.Module) -> torch.Tensor:
        """Return logit, scaled and raw heat map, and further logits ``(N, 2 + K, H, W)`` of slices ``(N, C, H, W)``."""
        size = (slices.shape[2], slices.shape[3])
        views = all_views(*size)[: self.n_views]  # the first is the slice itself
        seen = [self.view(view.apply(slices), network) for view in views]
        logits = torch.stack([one for one, _ in seen]).mean(0) if self.test_time_average else seen[0][0]
        weights, probability = explained(logits[:, self.columns], self.task)
        heats = [self.heat(maps, weights, size) for _, maps in (seen if self.hotspots else seen[:1])]
        raw = map_back(heats, views) if self.hotspots else heats[0]
        if self.task.name == COMPRESSED:
            calibrated = self.intercept + self.slope * logits[:, 0]
            probability = torch.sigmoid(calibrated if self.sign > 0 else -calibrated)
        elif self.sign < 0:
            probability = 1 - probability
        scores = logits[:, :, None, None].expand(-1, -1, *size)
        heat = torch.stack([normalise(raw) * probability[:, None, None], raw], dim=1)
        return torch.cat([scores[:, :1], heat, scores[:, 1:]], dim=1)

    def view(self, slices: torch.Tensor, network: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits ``(N, K)`` of one view, and the signed map of each logit of the explained task."""
        image = to_network_input(slices, self.profile)
        if self.heatmap:
            logits, maps = maps_of_members(network, image, self.layer, self.task.name)
            return logits.float(), maps.float()
        with torch.no_grad():
            return network(image).float(), slices.new_zeros(len(slices), 1, 1, 1)

    def heat(self, maps: torch.Tensor, weights: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Add up the maps ``(N, k, h, w)`` of the logits that are explained, rectify and enlarge to ``(N, *size)``."""
        if not self.heatmap:
            return maps.new_zeros(len(maps), *size)
        signed = maps[:, 0] if maps.shape[1] == 1 else (weights[:, :, None, None] * maps).sum(1)
        return enlarge(rectified(signed, self.sign), size)
