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

from scripts.dicom import Stack
from scripts.errors import InputError
from scripts.readers import metadata_of

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Scored:
    """One series with its result.

    Attributes:
        result: what result.json says of the series.
        series: the SDK's series.
        sources: the slices' datasets, most caudal first, as ``result["slices"]``.
        pixels: ``(slices, rows, columns)``.
        heatmap: in [0, 1], of the same shape.
    """

    result: dict[str, Any]
    series: Any
    sources: list[Dataset]
    pixels: Pixels
    heatmap: Pixels


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
    """

    def __init__(self, path: str | Path) -> None:
        model = find_model(path)
        self.device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
        try:
            self.network = torch.jit.load(str(model), map_location=self.device).eval()
            parser = get_bundle_config(str(model), ["inference"])
        except (RuntimeError, OSError, KeyError) as error:
            raise InputError(
                f"{model} is no model written by `python -m bundle export`: {str(error).splitlines()[0]}"
            ) from error
        parser["device"] = str(self.device)
        self.metadata = dict(parser["_meta_"])
        self.preprocessing = filter_compose(parser.get_parsed_content("preprocessing"), DISALLOW_LOAD_SAVE)
        self.postprocessing = filter_compose(parser.get_parsed_content("postprocessing"), DISALLOW_LOAD_SAVE)
        self.inferer = parser.get_parsed_content("inferer")

    @property
    def about(self) -> dict[str, Any]:
        """What every result says of the model."""
        weights = self.metadata.get("weights", {})
        return {
            "model_name": self.metadata["name"],
            "model_version": self.metadata["version"],
            "weights_sha256": weights.get("weights_sha256"),
            "trained_on_phantom": weights.get("trained_on_phantom"),
            "research_use_only": True,
        }

    def __call__(self, volume: Pixels, stack: Stack) -> tuple[dict[str, Any], Pixels]:
        """Score a volume.

        Args:
            volume: ``(slices, rows, columns)`` in the order of ``stack.slices``.
            stack: where the slices lie and whose they are.

        Returns:
            the bundle's ``result`` and the heat map in the shape of ``volume``.
        """
        pixels = torch.from_numpy(np.ascontiguousarray(volume.transpose(2, 1, 0), dtype=np.float32))
        data = self.preprocessing({"image": MetaTensor(pixels, meta=metadata_of(stack))})
        with torch.no_grad():
            data["pred"] = self.inferer(data["image"][None].to(self.device), self.network)[0]
        data = self.postprocessing(data)
        heatmap = data["heatmap"].as_tensor()[0].cpu().numpy().transpose(2, 1, 0)
        return dict(data["result"]), np.ascontiguousarray(heatmap, dtype=np.float32)


def ordered(series: Any, stack: Stack, image: Any) -> tuple[list[Dataset], Pixels]:
    """Bring the SDK's slices into the stack's order, by SOPInstanceUID.

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
    return sources, volume


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
        spec.output("scored")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Score every selected series."""
        scored = []
        for study in op_input.receive("study_selected_series_list"):
            for selected in study.selected_series:
                stack: Stack = selected.metadata()["stack"]
                sources, volume = ordered(selected.series, stack, selected.image)
                result, heatmap = self.classifier(volume, stack)
                keys = {
                    "patient_id": stack.patient_id,
                    "study_uid": stack.study_uid,
                    "series_uid": stack.series_uid,
                    "warnings": "; ".join(stack.warnings),
                }
                scored.append(
                    Scored({**keys, **self.classifier.about, **result}, selected.series, sources, volume, heatmap)
                )
                logging.info("series %s: %d slices compressed", stack.series_uid, result["n_compressed"])
        op_output.emit(scored, "scored")
