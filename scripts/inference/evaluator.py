"""Scoring whole series: several share a batch of slices, and one that breaks does not stop the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from ignite.engine import EventEnum, Events
from monai.data import MetaTensor
from monai.engines import IterationEvents, SupervisedEvaluator
from monai.utils import CommonKeys as Keys
from torch.utils.data import Sampler

from ..errors import root_message
from .series import SeriesDataset


class SeriesEvents(EventEnum):
    """What a `SeriesEvaluator` fires beside ignite's events."""

    LEFT = "left"
    """The run is over, also where it was interrupted."""


class SeriesBatches(Sampler[list[int]]):
    """Give the series of a `SeriesDataset` in their order; those that fit into one batch of slices come together.

    A series of more slices, or one whose slices are not counted before it is read, comes alone. So memory holds one
    batch or one series at a time, whatever there is to score.

    Args:
        dataset: the series.
        slices: of a batch.
    """

    def __init__(self, dataset: SeriesDataset, slices: int) -> None:
        self.groups: list[list[int]] = []
        room = 0
        for index, one in enumerate(dataset.series):
            count = slices if one["stack"] is None else len(one["stack"].slices)
            if count > room:
                self.groups.append([])
                room = slices
            self.groups[-1].append(index)
            room -= count

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.groups)

    def __len__(self) -> int:
        return len(self.groups)


class SeriesEvaluator(SupervisedEvaluator):
    """MONAI's evaluator over lists of series of a `SeriesDataset`, which no series can stop.

    The slices of the series of a list go through the inferer together. Where that fails, each series is tried alone. A
    series that breaks loading, the network or the postprocessing is recorded in the dataset's failures, and is in
    neither batch nor output.

    Args:
        val_handlers: as MONAI's; attached once the evaluator knows `SeriesEvents`.
        kwargs: see MONAI's ``SupervisedEvaluator``.
    """

    def __init__(self, val_handlers: Sequence[Any] = (), **kwargs: Any) -> None:
        super().__init__(decollate=False, **kwargs)
        self.register_events(*SeriesEvents)
        self._register_handlers(val_handlers)

    def run(self, global_epoch: int = 1) -> None:
        """Score all series; ends once, also where there is nothing to score."""
        try:
            if len(self.data_loader):
                super().run(global_epoch)
            else:
                self.fire_event(Events.STARTED)
                self.fire_event(Events.COMPLETED)
        finally:
            self.fire_event(SeriesEvents.LEFT)

    def _iteration(self, engine: SupervisedEvaluator, batchdata: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        for one in batchdata:
            if "reason" in one:
                self.data_loader.dataset.add_failure(one["index"], one["reason"])
        pairs = self.scored([one for one in batchdata if "reason" not in one])
        engine.state.batch = [entry for entry, _ in pairs]
        return [output for _, output in pairs]

    def scored(self, series: Sequence[Mapping[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Return each series that can be scored with its output; record why the others cannot."""
        if not series:
            return []
        try:
            return self.score(series)
        except Exception as error:  # whatever a series provokes, the others are still good
            if len(series) > 1:
                return [pair for one in series for pair in self.scored([one])]
            self.data_loader.dataset.add_failure(series[0]["index"], root_message(error))
            return []

    def score(self, series: Sequence[Mapping[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Return series and their outputs; raises whatever one of them provokes."""
        images = [one["image"].to(self.state.device, non_blocking=self.non_blocking) for one in series]
        slices = torch.cat([image.as_tensor() for image in images], dim=-1)
        with self.mode(self.network):
            scores = self.inferer(slices[None], self.network)[0]
        parts = scores.split([image.shape[-1] for image in images], dim=-1)
        self.state.batch = [dict(one) for one in series]
        self.state.output = [
            {
                Keys.IMAGE: image,
                Keys.PRED: MetaTensor(part, meta=image.meta, applied_operations=image.applied_operations),
            }
            for image, part in zip(images, parts, strict=True)
        ]
        self.fire_event(IterationEvents.FORWARD_COMPLETED)
        self.fire_event(IterationEvents.MODEL_COMPLETED)  # the postprocessing
        return list(zip(self.state.batch, self.state.output, strict=True))
