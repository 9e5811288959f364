"""Applying the bundle to a volume: its own transforms and inferer, taken from the exported model, not rewritten."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.deploy.core import Operator
from monai.deploy.operators.monai_bundle_inference_operator import DISALLOW_LOAD_SAVE, filter_compose, get_bundle_config
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.processing import apply_rescale

from scripts.canal.localiser import Localiser
from scripts.console import printable
from scripts.dicom.stacks import Stack
from scripts.errors import InputError
from scripts.heatmaps.montages import Sides
from scripts.inference.heatmap_files import sides_of_slices
from scripts.inference.results import add_identity, findings_in_words, result_facts
from scripts.inference.series import series_of_stack
from scripts.readers import metadata_of
from scripts.records import SeriesSummary, SliceResult

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Scored:
    """One series with its result, as the predict command writes it.

    Attributes:
        summary: the series, as in summary.json.
        rows: the slices, most caudal first, as in slices.csv.
        heatmap: ``(columns, rows, slices)`` in [0, 1].
        sides: of the patient, at the edges of each slice.
    """

    summary: SeriesSummary
    rows: list[SliceResult]
    heatmap: Pixels
    sides: list[Sides]


@dataclass(frozen=True)
class Result(Scored):
    """A scored series with the images it came from.

    Attributes:
        series: the SDK's series.
        sources: the slices' datasets, in the order of ``rows``.
        pixels: ``(columns, rows, slices)``.
    """

    series: Any
    sources: list[Dataset]
    pixels: Pixels


def find_model(path: str | Path) -> Path:
    """Find the exported model: a file, a bundle's folder, or the container's ``models/<name>/<file>``.

    Raises:
        InputError: there is none, or several.
    """
    path = Path(path)
    if path.is_file() and path.suffix == ".ts":
        return path
    inside = path / "models" / "model.ts"
    if inside.is_file():
        return inside
    found = sorted(path.rglob("*.ts")) if path.is_dir() else []
    if len(found) != 1:
        raise InputError(
            f"expected one TorchScript model (.ts) with -m, found {len(found)} at {path}; write one with "
            "`python -m bundle export`"
        )
    return found[0]


class SeriesClassifier:
    """The bundle in an exported model.

    Args:
        path: see `find_model`.

    Attributes:
        facts: what every result repeats.
    """

    def __init__(self, path: str | Path) -> None:
        model = find_model(path)
        self.device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
        try:
            self.network = torch.jit.load(str(model), map_location=self.device).eval()
            parser = get_bundle_config(str(model), ["inference"])
            parser.parse()
            metadata, weights = parser["_meta_"], parser["_meta_#weights"]
            threshold = float(parser["displayable_configs#threshold"])
        except (RuntimeError, OSError, KeyError) as error:
            raise InputError(
                f"{model} is no model.ts written by `python -m bundle export`, or was renamed: "
                f"{str(error).splitlines()[0]}"
            ) from error
        if parser.get("side_mm") is not None and hasattr(self.network, "canal"):
            parser["canal"] = Localiser(self.network.canal)
        self.preprocessing = filter_compose(parser.get_parsed_content("preprocessing"), DISALLOW_LOAD_SAVE)
        self.postprocessing = filter_compose(parser.get_parsed_content("postprocessing"), DISALLOW_LOAD_SAVE)
        self.inferer = parser.get_parsed_content("inferer")
        source = str(parser.get("threshold_source", ""))
        patient_level = parser.get_parsed_content("patient_level")
        self.facts = result_facts(
            metadata, weights, threshold, source, self.inferer, self.device, self.network, patient_level
        )

    def __call__(self, pixels: Pixels, stack: Stack) -> Scored:
        """Score a volume.

        Args:
            pixels: ``(columns, rows, slices)`` in the order of ``stack.slices``.
            stack: where the slices lie and whose they are.
        """
        data = self.preprocessing({"image": MetaTensor(torch.from_numpy(pixels), meta=metadata_of(stack))})
        with torch.no_grad():
            data["pred"] = self.inferer(data["image"][None].to(self.device), self.network)[0]
        data = self.postprocessing(data)
        rows, summary = add_identity(series_of_stack(stack), self.facts, data["slice_results"], data["series_findings"])
        heatmap = data["heatmap"]
        return Scored(summary, rows, heatmap.as_tensor()[0].cpu().numpy(), sides_of_slices(heatmap))


def ordered(series: Any, stack: Stack, image: Any) -> tuple[list[Dataset], Pixels]:
    """Bring the SDK's slices into the stack's order, by SOPInstanceUID.

    Returns:
        the datasets, and the pixels ``(columns, rows, slices)``; the SDK has ``(slices, rows, columns)``.

    Raises:
        InputError: the SDK's volume does not hold the pixels of the files.
    """
    datasets = [instance.get_native_sop_instance() for instance in series.get_sop_instances()]
    position = {str(dataset.SOPInstanceUID): number for number, dataset in enumerate(datasets)}
    order = [position[one.sop_uid] for one in stack.slices]
    sources = [datasets[number] for number in order]
    volume = np.asarray(image.asnumpy(), dtype=np.float32)[order]
    for pixels, dataset in zip(volume, sources, strict=True):
        # the operator gives all slices the integer type of the first
        if not np.array_equal(pixels, apply_rescale(dataset.pixel_array, dataset).astype(np.float32)):
            raise InputError(
                f"MONAI Deploy's volume operator changed the pixels of {dataset.SOPInstanceUID}; use the predict "
                "command"
            )
    return sources, np.ascontiguousarray(volume.transpose(2, 1, 0))


class ClassifierOperator(Operator):
    """Selected series with their images in, scored series out.

    Args:
        fragment: the application.
        args: for the base class.
        classifier: the bundle.
        kwargs: for the base class.
    """

    def __init__(self, fragment: Any, *args: Any, classifier: SeriesClassifier, **kwargs: Any) -> None:
        self.classifier = classifier
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: Any) -> None:
        """Name the ports."""
        spec.input("study_selected_series_list")
        spec.output("results")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Score every selected series."""
        results = []
        for study in op_input.receive("study_selected_series_list"):
            for selected in study.selected_series:
                stack: Stack = selected.metadata()["stack"]
                sources, pixels = ordered(selected.series, stack, selected.image)
                scored = self.classifier(pixels, stack)
                results.append(Result(**vars(scored), series=selected.series, sources=sources, pixels=pixels))
                logging.info("series %s: %s", printable(stack.series_uid), findings_in_words(scored.summary))
        op_output.emit(results, "results")
