"""Write the network for programs without this code, and check on slices that it computes the same."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from monai.bundle import ConfigParser
from monai.bundle.scripts import save_net_with_metadata
from monai.networks import convert_to_onnx, convert_to_torchscript
from torch import nn

from scripts import checkpoints
from scripts.console import say
from scripts.errors import InputError
from scripts.files import read_json, replacing, write_json
from scripts.inference.series import SeriesDataset, find_series
from scripts.phantom.cohort import make_cohort
from scripts.runner import literals, prepare
from scripts.transforms import to_network_input

TOLERANCE = 1e-4
REPEATS = 5
Run = Callable[[torch.Tensor], torch.Tensor]


def write_all(bundle: str, weights: str, out: str, images: str) -> int:
    """Write and compare all exports, see `bundle.export.export`."""
    root = Path(bundle).resolve()
    if not (root / "configs" / "inference.json").is_file():
        raise InputError(f"{bundle} is no packed bundle; make one with `python -m bundle assemble`")
    folder = Path(out).resolve() if out else root.parent / "exports"
    prepare([str(folder)])
    checkpoint = Path(weights) if weights else root / "models" / "model.pt"
    parser = ConfigParser(read_json(root / "configs" / "inference.json"))
    changes = {"bundle_root": str(root), "device": torch.device("cpu"), "ckpt_path": str(checkpoint)}
    for name, value in literals(changes).items():
        parser[name] = value
    network: nn.Module = parser.get_parsed_content("network_def").eval()
    facts = checkpoints.load_network(checkpoint, network, parser.get_parsed_content("checkpoint_settings"))
    slices = load_slices(images, parser)
    localiser = parser.get_parsed_content("canal")
    if localiser is not None:
        network.add_module("canal", localiser.network)  # so that model.ts alone suffices
    metadata = {**read_json(root / "configs" / "metadata.json"), "weights": facts}
    scripted = write_torchscript(network, folder / "model.ts", metadata, root / "configs" / "inference.json")
    runs = {
        "eager": network.__call__,
        "model.ts": scripted.__call__,
        "model.onnx": write_onnx(network, folder / "model.onnx", slices),
        "model.pt2": write_exported_program(network, folder / "model.pt2", slices),
    }
    report = compare(runs, slices)
    if localiser is not None:
        grey = torch.rand(len(slices), 1, localiser.image_size, localiser.image_size)
        canal = localiser.network
        runs = {
            "canal": canal.__call__,
            "canal in model.ts": scripted.canal,
            "canal.onnx": write_onnx(canal, folder / "canal.onnx", grey),
            "canal.pt2": write_exported_program(canal, folder / "canal.pt2", grey),
        }
        report |= compare(runs, grey)
    write_json(folder / "exports.json", {**facts, "n_slices": len(slices), "tolerance": TOLERANCE, "exports": report})
    for name, entry in report.items():
        agrees = "" if name in ("eager", "canal") else f", largest difference {entry['largest_difference']:.1e}"
        say(f"{name:10}  {entry['ms_per_slice']:7.2f} ms per slice{agrees}")
    bad = [name for name, entry in report.items() if not entry["largest_difference"] < TOLERANCE]
    say(f"{', '.join(bad)} differ by {TOLERANCE} or more" if bad else f"all agree on {len(slices)} slices: {folder}")
    return 1 if bad else 0


def load_slices(images: str, parser: ConfigParser) -> torch.Tensor:
    """Load slices through the bundle's own preprocessing.

    Returns:
        Network input ``(N, 3, S, S)``, at least two slices.
    """
    with tempfile.TemporaryDirectory() as folder:
        if not images:
            make_cohort(Path(folder) / "phantom", patients=1, slices=8)
            images = str(Path(folder) / "phantom" / "dicom")
        dataset = SeriesDataset(find_series(images), parser.get_parsed_content("preprocessing"))
        entries = [dataset[index] for index in range(len(dataset))]
        reasons = [*(row["reason"] for row in dataset.failures), *(one["reason"] for one in entries if "reason" in one)]
    volumes = [one["image"].as_tensor() for one in entries if "image" in one]
    if not volumes:
        raise InputError(f"{images} holds no axial T2 series to compare on: {'; '.join(reasons)}")
    slices = torch.cat([volume.permute(3, 0, 1, 2) for volume in volumes])
    if len(slices) < 2:
        raise InputError(f"{images} holds one slice; at least two are needed to try batches")
    return to_network_input(slices, parser.get_parsed_content("profile"))


def write_torchscript(network: nn.Module, path: Path, metadata: dict[str, Any], config: Path) -> Any:
    """Write TorchScript with its metadata and inference config inside, and load it again.

    The archive's root folder has the file's name, and MONAI Deploy looks for the config below the name the file has
    then; so it is written under its own name in another folder, and must keep that name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*deprecated")
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            temporary = Path(folder) / path.name
            save_net_with_metadata(
                convert_to_torchscript(network),
                str(temporary),
                include_config_vals=False,
                meta_values=metadata,
                more_extra_files={config.name: json.dumps(read_json(config)).encode()},
            )
            temporary.replace(path)
        loaded = torch.jit.load(str(path)).eval()
    return loaded


def write_onnx(network: nn.Module, path: Path, slices: torch.Tensor) -> Run:
    """Write ONNX with a dynamic batch, and load it into ONNX Runtime."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter deprecates parts of itself
        model = convert_to_onnx(
            network,
            inputs=[slices[:2].contiguous()],
            input_names=["image"],
            output_names=["pred"],
            dynamic_axes={"image": {0: "batch"}, "pred": {0: "batch"}},
            use_trace=True,
            verbose=False,
        )
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda image: torch.from_numpy(session.run(["pred"], {"image": np.ascontiguousarray(image.numpy())})[0])


def write_exported_program(network: nn.Module, path: Path, slices: torch.Tensor) -> Run:
    """Write torch.export's format with a dynamic batch, and load it again."""
    batch = torch.export.Dim("batch", min=1, max=1024)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(network, (slices[:2].contiguous(),), dynamic_shapes=({0: batch},))
        with replacing(path) as temporary:
            torch.export.save(program, temporary)
        return torch.export.load(path).module().__call__


def compare(runs: dict[str, Run], slices: torch.Tensor) -> dict[str, dict[str, float]]:
    """Compare logits with the first run's, all slices in one batch and one alone, and time the batch.

    Returns:
        ``largest_difference`` of a logit, and ``ms_per_slice``, the median of some repetitions.
    """
    slices = slices.contiguous()
    report = {}
    with torch.no_grad():
        wanted = next(iter(runs.values()))(slices)
        for name, run in runs.items():
            both = [run(slices) - wanted, run(slices[:1]) - wanted[:1]]
            seconds = []
            for _ in range(REPEATS):
                started_s = time.perf_counter()
                run(slices)
                seconds.append(time.perf_counter() - started_s)
            report[name] = {
                "largest_difference": max(float(difference.abs().max()) for difference in both),
                "ms_per_slice": 1000 * statistics.median(seconds) / len(slices),
            }
    return report
