"""Grad-CAM of everything a 2-D evaluator sees, and its figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents
from monai.utils import evenly_divisible_all_gather
from torch import nn

from ..console import optional, say
from ..datasets import SliceDataset
from ..errors import InputError
from ..heatmaps.grad_cam import (
    check_sign,
    enlarge,
    layer_activation,
    mean_map,
    rectified,
    signed_activation,
    split_features,
)
from ..heatmaps.panels import Floats, save_raw, write_panels, write_sheets
from ..inferers import running_in
from ..models.averaging import members_of
from ..networks import unwrapped
from ..records import section_path
from ..transforms import own_slices

FEW_PATIENTS = 40
"""Patients up to which an evaluation draws all their slices without being asked."""


class GradCAM:
    """Add the Grad-CAM map of each slice to the evaluator's output, at the cost of one pass through what follows.

    A forward hook keeps the layer's activation of the evaluator's own forward pass, so nothing is computed twice. A
    TorchScript copy runs no hooks: there, the layers up to the map's are run once more. Maps are computed in float32.
    Those of an ensemble are averaged before rectification, so that they explain the mean logit.

    Args:
        network: a `CordCompressionNet`, on any device; a TorchScript copy, a distributed wrapper of one, or an
            `Ensemble` will do.
        layer: child of ``network.features``; earlier layers give finer maps at a higher cost.
        sign: 1 for what spoke for compression, -1 for what spoke against it, 0 for both in one map (negative: against).
        key: where in the output the maps ``(N, H, W)`` go, not normalised.
        resize: whether maps are enlarged to the input's size; else they stay at the layer's.
        output: number of the logit to explain; 0 is ``compressed``.
    """

    def __init__(
        self,
        network: nn.Module,
        layer: str = "layer4",
        sign: int = 1,
        key: str = "heatmap",
        resize: bool = True,
        output: int = 0,
    ) -> None:
        self.members, self.layer, self.sign = members_of(unwrapped(network)), layer, check_sign(sign)
        self.key, self.resize, self.output = key, resize, int(output)
        for member in self.members:
            split_features(member, layer, self.output)  # refuses a wrong name at once
        self._activations: dict[int, torch.Tensor] = {}
        self._hooks: list[Any] = []

    def attach(self, engine: Engine) -> None:
        """Attach to a supervised evaluator."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self)
        for event in (Events.COMPLETED, Events.EXCEPTION_RAISED):
            engine.add_event_handler(event, self.finish)

    def start(self, engine: Engine) -> None:
        """Place the hooks."""
        self.finish(engine)
        for number, member in enumerate(self.members):
            if not isinstance(member, torch.jit.ScriptModule):
                self._hooks.append(self.hook(number, split_features(member, self.layer, self.output)[0][-1]))

    def hook(self, number: int, module: nn.Module) -> Any:
        """Keep what a network's layer makes of each batch."""
        return module.register_forward_hook(lambda _, __, output: self._activations.update({number: output}))

    def signed_map(self, number: int, image: torch.Tensor) -> torch.Tensor:
        """Return one network's map of this batch before rectification."""
        member, kept = self.members[number], self._activations.pop(number, None)
        if kept is None:
            kept = layer_activation(member, image, self.layer, self.output)
        return signed_activation(member, kept.float(), self.layer, self.output)[1]

    def __call__(self, engine: Engine) -> None:
        """Compute the maps of this batch."""
        image = engine.state.output["image"]
        with running_in("fp32", image.device):
            signed = mean_map([self.signed_map(number, image) for number in range(len(self.members))])
        maps = rectified(signed, self.sign)
        engine.state.output[self.key] = enlarge(maps, image.shape[-2:]) if self.resize else maps

    def finish(self, engine: Engine, error: BaseException | None = None) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        if error is not None:
            raise error


class WriteHeatmaps:
    """Write the maps of an evaluation: raw as heatmaps.npz, panels.png as in the paper, a sheet for every patient.

    Needs ``GradCAM(sign=0, resize=False)`` before it: maps stay small until they are drawn.

    Args:
        dataset: the evaluated slices.
        output_dir: folder of the files.
        section: section of the datalist; names other than ``testing`` are added to the file names.
        threshold: probability from which a slice is called compressed.
        facts: what the results were made with, see `scripts.checkpoints.load_network`.
        key: where in the output the maps are.
        panels: slices of each kind (true positive, false negative, false positive) in panels.png.
        choose: ``random`` slices of each kind, or those of the highest ``confidence``.
        seed: seed of the random choice.
        sheets: whether to draw every patient's slices; ``auto`` draws them where there are at most `FEW_PATIENTS`.
    """

    def __init__(
        self,
        dataset: SliceDataset,
        output_dir: str,
        section: str,
        threshold: float,
        facts: dict[str, Any],
        key: str = "heatmap",
        panels: int = 6,
        choose: str = "random",
        seed: int = 0,
        sheets: bool | str = "auto",
    ) -> None:
        if choose not in ("random", "confidence"):
            raise InputError(f"choose must be random or confidence, got {choose!r}")
        if sheets not in (True, False, "auto"):
            raise InputError(f"sheets must be True, False or auto, got {sheets!r}")
        self.dataset, self.output_dir, self.section, self.key = dataset, Path(output_dir), section, key
        self.threshold, self.facts = float(threshold), facts
        self.panels, self.choose, self.seed, self.sheets = int(panels), choose, int(seed), sheets
        self._rows: list[tuple[torch.Tensor, torch.Tensor]] = []

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator whose batches carry ``index`` and which does not decollate."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda _: self._rows.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self)

    def collect(self, engine: Engine) -> None:
        """Keep index, logit and map of a batch."""
        index = torch.as_tensor(engine.state.batch["index"]).double().reshape(-1, 1)
        logit = engine.state.output["pred"].double().cpu().reshape(len(index), -1)[:, :1]
        self._rows.append((torch.cat([index, logit], dim=1), engine.state.output[self.key].float().cpu()))

    def __call__(self, engine: Engine) -> None:
        """Gather the maps of all processes, and write them in the first."""
        table, maps = (
            evenly_divisible_all_gather(torch.cat(parts), concat=True) for parts in zip(*self._rows, strict=True)
        )
        if idist.get_rank():
            return
        # several processes may have seen a slice twice
        order = {int(index): number for number, index in enumerate(table[:, 0].tolist())}
        numbers = [order[index] for index in sorted(order)]
        self.write(sorted(order), table[numbers, 1].numpy(), maps[numbers].numpy())

    def write(self, indices: list[int], logits: Floats, raw: Floats) -> None:
        """Write the files, given the logit and the map of each index."""
        entries = [self.dataset.entries[index] for index in indices]

        def picture(number: int) -> Floats:
            """Return one slice; those of a whole cohort would fill gigabytes as floats."""
            return own_slices(self.dataset[indices[number]]["image"])[0].numpy()

        name = section_path(self.output_dir, "heatmaps.npz", self.section)
        save_raw(entries, logits, raw, name)
        about = {**self.facts, "threshold": self.threshold}
        panels = section_path(self.output_dir, "panels.png", self.section)
        with optional("panels"):
            write_panels(entries, picture, logits, raw, about, self.panels, self.choose, self.seed, panels)
            say(f"panels: {panels}")
        n_patients = len({str(entry["patient_id"]) for entry in entries})
        if self.sheets == "auto" and n_patients > FEW_PATIENTS:
            say(f"no sheets of heat maps, because there are {n_patients} patients; --sheets True draws them")
        elif self.sheets:
            folder = section_path(self.output_dir, "heatmaps", self.section)
            with optional("sheets of heat maps"):
                write_sheets(entries, picture, logits, raw, about, folder)
                say(f"heat maps of every slice: {folder} (raw: {name})")
