"""Training in several processes under ``torchrun``; with one process everything here is a no-op."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import nn


def is_on() -> bool:
    """Return whether this process is one of a group."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Return this process's rank, 0 where there is only one."""
    return dist.get_rank() if is_on() else 0


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if is_on() else 1


def local_device() -> torch.device:
    """Return this process its own GPU, or the CPU where there is none."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def start() -> None:
    """Join the group that ``torchrun`` describes: NCCL between GPUs, gloo between CPUs."""
    if is_on():
        return
    device = local_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def stop() -> None:
    """Leave the group."""
    if is_on():
        dist.destroy_process_group()


def wrap(network: nn.Module, device: torch.device) -> nn.Module:
    """Let the processes train one network; on GPUs batch normalisation sees the batches of all of them."""
    if device.type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    network = network.to(device).to(memory_format=torch.channels_last)
    return nn.parallel.DistributedDataParallel(network, device_ids=[device] if device.type == "cuda" else None)


def unwrapped(network: nn.Module) -> nn.Module:
    """Return the network itself, without the wrapper of distributed training."""
    module = network.module if isinstance(network, nn.parallel.DistributedDataParallel) else network
    return module


def share_of_batch(batch_size: int) -> int:
    """Divide a batch between the processes, so that a config's ``batch_size`` means the same in one as in many."""
    return max(batch_size // world_size(), 1)


def mean_of_all(total: float, count: int) -> float:
    """Return ``total / count`` over all processes."""
    sums = torch.tensor([total, float(count)], dtype=torch.float64)
    if is_on():
        sums = sums.to(local_device())
        dist.all_reduce(sums)
    return float(sums[0] / max(float(sums[1]), 1))
