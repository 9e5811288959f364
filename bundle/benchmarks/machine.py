"""The name of this machine, as far as it decides how fast the network runs."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import torch

BF16_FLAGS = ("amx_bf16", "avx512_bf16")
"""Instructions with which a CPU multiplies bfloat16, as Linux calls them."""


def machine(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return CPU model, threads, instructions for bfloat16 and GPU.

    Args:
        cpuinfo: Linux's description of the CPU; without it, Python's shorter one is taken.
    """
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.is_file() else ""
    named = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    flags = [flag for flag in BF16_FLAGS if re.search(rf"\b{flag}\b", text)]
    model = named[1].strip() if named else platform.processor() or platform.machine()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{model}, {torch.get_num_threads()} threads, {' and '.join(flags) or 'no bf16 instructions known'}; {gpu}"
