"""The trunk that inference runs: rounded to bfloat16 where the hardware multiplies it, or compiled by OpenVINO.

A network is copied and the copy's trunk replaced; pooling and head stay in float32 in torch, so that heat maps of
``layer4`` are made as before. In the copy, batch normalisation is folded into the convolutions before it.

Rounding a whole ResNet to bfloat16 changed probabilities by up to 0.015. With the layers before ``layer1`` in float32
and folded batch normalisation it is 0.005: the image's own values, and the scale of each channel, are rounded no more.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections import OrderedDict
from importlib.util import find_spec
from typing import Any

import torch
from monai.utils import optional_import
from torch import nn
from torch.fx.experimental.optimization import fuse

from ..errors import InputError
from .averaging import Ensemble, members_of
from .layers import LAYERS

BACKENDS = ("torch", "openvino")
OPENVINO_TYPES = {"fp32": "f32", "bf16": "bf16"}
"""What OpenVINO calls each precision."""


def check_backend(backend: str) -> str:
    """Return a backend, or refuse a name that is none, or one that is not installed.

    Raises:
        InputError: it is none of ``BACKENDS``, or its package is missing.
    """
    if backend not in BACKENDS:
        raise InputError(f"backend must be {' or '.join(BACKENDS)}, got {backend!r}")
    if backend == "openvino" and find_spec("openvino") is None:
        raise InputError("backend openvino needs the package openvino: pip install -e '.[openvino]'")
    return backend


def openvino() -> Any:
    """Import OpenVINO, without the package that tells its vendor of every use."""
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # to import it fails, and nothing is sent
    return optional_import("openvino")[0]


def openvino_rounds() -> bool:
    """Return whether OpenVINO multiplies bfloat16 on this CPU."""
    return "BF16" in openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def is_divisible(network: nn.Module) -> bool:
    """Return whether each network of an ensemble, or the one, has parts that can be replaced: TorchScript has none."""
    return all(
        not isinstance(one, torch.jit.ScriptModule) and isinstance(getattr(one, "features", None), nn.Sequential)
        for one in members_of(network)
    )


def inference_network(network: nn.Module, precision: str, backend: str) -> nn.Module:
    """Make what inference runs of a network or an ensemble, which stay as they are.

    Args:
        network: a `scripts.networks.CordCompressionNet`, or an `Ensemble`, see `is_divisible`.
        precision: ``fp32``, ``tf32`` or ``bf16``.
        backend: one of ``BACKENDS``; ``openvino`` runs on the CPU.

    Returns:
        The network itself for float32 in torch; else a copy in evaluation mode, on the same device, with children of
        the same names; compiled by OpenVINO, ``features`` has ``layer4`` alone, or ``shared`` before it where tasks
        branch off.
    """
    if backend == "torch" and precision != "bf16":
        return network
    # heat maps differentiate the copy's layers, and tensors of inference mode cannot be
    with torch.inference_mode(False), torch.no_grad():
        made = [compiled(one, precision) if backend == "openvino" else rounded(one) for one in members_of(network)]
    return made[0] if len(made) == 1 else Ensemble(made).eval()


def state_of(network: nn.Module) -> tuple[tuple[int, int], ...]:
    """Return a value that changes when a tensor of the network is replaced or written to."""
    tensors = [*network.parameters(), *network.buffers()]
    return tuple((one.data_ptr(), 0 if one.is_inference() else one._version) for one in tensors)


def folded_copy(network: nn.Module) -> Any:
    """Copy a network in evaluation mode, with batch normalisation folded into the convolutions of its layers."""
    made: Any = copy.deepcopy(network).eval().requires_grad_(False)
    for parts in (made.features, *getattr(made, "branches", nn.ModuleDict()).children()):
        for name, part in list(parts.named_children()):
            if name in LAYERS.values():
                setattr(parts, name, folded(part))
    return made


def folded(part: nn.Module) -> nn.Module:
    """Fold batch normalisation into the convolutions before it; a part that torch.fx cannot trace stays as it is."""
    try:
        return fuse(part)
    except Exception:  # whatever the code of a foreign network raises while it is traced
        return part


class Rounded(nn.Module):
    """A layer whose products are of bfloat16, whatever surrounds it; sums of them are of float32.

    Args:
        part: the layer; its convolutions and linear maps are changed.
        last: whether float32 comes out, instead of bfloat16.
    """

    def __init__(self, part: nn.Module, last: bool) -> None:
        super().__init__()
        self.part, self.last = part, last
        for module in part.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.to(torch.bfloat16)

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        """Map ``(N, C, H, W)`` of either type to ``(N, C', H', W')``."""
        with torch.autocast(value.device.type, torch.bfloat16):
            value = self.part(value.to(torch.bfloat16))
        return value.float() if self.last else value


def rounded(network: nn.Module) -> nn.Module:
    """Copy a network, with ``layer1`` to ``layer4`` in bfloat16."""
    made = folded_copy(network)
    for parts in (made.features, *getattr(made, "branches", nn.ModuleDict()).children()):
        for name, part in list(parts.named_children()):
            if name in LAYERS.values():
                setattr(parts, name, Rounded(part, name == LAYERS[32]))
    network_in_eval: nn.Module = made.eval()
    return network_in_eval


class Compiled(nn.Module):
    """Layers that OpenVINO compiles for the CPU when they see their first image.

    Args:
        parts: the layers, in evaluation mode.
        precision: ``fp32`` or ``bf16``.
    """

    def __init__(self, parts: nn.Sequential, precision: str) -> None:
        super().__init__()
        self.parts, self.precision = parts, precision
        self.shape: tuple[int, ...] = ()
        self.request: Any = None

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C', H', W')``, both float32 on the CPU."""
        value = value.detach().float().contiguous()
        if self.shape != tuple(value.shape[1:]):
            self.shape = tuple(value.shape[1:])
            self.request = request(self.parts, value[:1], self.precision)
        return torch.from_numpy(self.request.infer({0: value.numpy()}, share_inputs=True)[0])


def request(parts: nn.Sequential, example: torch.Tensor, precision: str) -> Any:
    """Compile layers for batches of any size of one shape.

    Args:
        parts: the layers.
        example: one image ``(1, C, H, W)``.
        precision: ``fp32`` or ``bf16``.

    Returns:
        OpenVINO's ``InferRequest``.
    """
    ov = openvino()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch advises against TorchScript, which OpenVINO reads fastest
        traced = torch.jit.trace(parts, example, check_trace=False)
        model = ov.convert_model(traced, input=[-1, *example.shape[1:]])
    options = {
        "INFERENCE_PRECISION_HINT": OPENVINO_TYPES[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # processes that share a machine would all take its first cores
    }
    return ov.Core().compile_model(model, "CPU", options).create_infer_request()


def compiled(network: nn.Module, precision: str) -> nn.Module:
    """Copy a network, with the trunk up to ``layer4`` compiled by OpenVINO, and so the layers of each branch."""

    def chain(**parts: list[nn.Module]) -> OrderedDict[str, nn.Module]:
        return OrderedDict((name, Compiled(nn.Sequential(*own), precision)) for name, own in parts.items() if own)

    made = folded_copy(network)
    layers, branches = list(made.features.children()), getattr(made, "branches", nn.ModuleDict())
    whole = not branches or made.shared > len(layers)  # no branch leaves the trunk before its end
    cut = 0 if whole else made.shared
    made.features = nn.Sequential(chain(shared=layers[:cut], layer4=layers[cut:]))
    made.shared = len(made.features) + 1 if whole else int(cut > 0)
    for name, branch in list(branches.named_children()):
        parts = OrderedDict(branch.named_children())
        own = [parts.pop(one) for one in list(parts) if one not in ("pool", "head")]
        branches[name] = nn.Sequential(OrderedDict([*chain(layer4=own).items(), *parts.items()]))
    network_in_eval: nn.Module = made.eval()
    return network_in_eval
