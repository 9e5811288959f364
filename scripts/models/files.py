"""Files of `torch.save`, read without running code; this module needs no torchvision, which MONAI Deploy lacks."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError, root_message

UNPICKLER = re.compile(r"WeightsUnpickler error: (.+)")
"""Where torch says what is wrong with a file, after it advised to run it as a program."""


def load_safely(path: Path) -> Any:
    """Load a file of `torch.save` without running any code in it and without more memory than it has bytes.

    Raises:
        InputError: it holds other things than tensors and plain values, is compressed, which `torch.save` never does,
            or has tensors that are no plain numbers or claim more than the file holds.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if any(member.file_size != member.compress_size for member in archive.infolist()):
                    raise InputError(f"{path} is compressed, which PyTorch never does; take the original file")
        content = torch.load(path, map_location="cpu", weights_only=True)
        n_bytes, known = 0, set[int]()
        for tensor in tensors_in(content):
            if kind := odd_kind(tensor):
                raise InputError(f"{path} holds a {kind} tensor; expected plain numbers, as training writes them")
            storage = tensor.untyped_storage()
            n_bytes += 0 if storage.data_ptr() in known else storage.nbytes()
            known.add(storage.data_ptr())
            if tensor.numel() * tensor.element_size() > storage.nbytes() or n_bytes > path.stat().st_size:
                raise InputError(f"{path} claims a tensor of shape {tuple(tensor.shape)}, more than the file holds")
    except InputError:
        raise
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}; change its permissions, or name another file"
        ) from error
    except Exception as error:  # torch raises many kinds for a file that is no checkpoint
        said = root_message(error)
        unsafe = UNPICKLER.search(said)
        reason = unsafe[1] if unsafe else said.splitlines()[0].partition(". ")[0]
        raise InputError(f"{path} is no checkpoint that can be loaded safely (weights only): {reason}") from error
    return content


def odd_kind(tensor: torch.Tensor) -> str:
    """Return what a tensor is that holds no plain numbers: without values, quantised or sparse; else empty."""
    if tensor.is_meta:
        return "meta"
    if tensor.is_quantized:
        return "quantised"
    return "" if tensor.layout == torch.strided else "sparse"


def weights_sha256(state: Mapping[str, torch.Tensor]) -> str:
    """Hash the names and values of tensors, whatever file they are in."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu()
        digest.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        digest.update(value.flatten().clone().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def tensors_in(content: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors of nested mappings, lists and tuples."""
    if isinstance(content, torch.Tensor):
        yield content
    elif isinstance(content, Mapping | list | tuple):
        for part in content.values() if isinstance(content, Mapping) else content:
            yield from tensors_in(part)
