"""Slices for training and evaluation: decoded once, kept as 8 bits, given in batches, augmented on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from monai.data import DistributedSampler
from torch.utils.data import DataLoader, Dataset

from .augmentation import Augmentation
from .console import progress, say
from .dicom.archives import is_archive
from .dicom.listings import is_volume_file
from .errors import InputError, root_message
from .losses import counted_pos_weight
from .slice_files import ImageFiles, Levels, ReadSlices, SliceCache, TakenSlices, mask_labels
from .tasks import DEFAULT_TASKS, labels_of, tasks_of
from .transforms import from_uint8, to_device, to_network_input

Index = int | tuple[int, int, int]
"""Which slice; ``(seed, epoch, index)`` from `SeededSampler` asks for it augmented."""


CPU = torch.device("cpu")


def one_thread(_: int) -> None:
    """Keep a loader worker to one thread; more would fight over the cores."""
    torch.set_num_threads(1)


class SliceDataset(Dataset[dict[str, Any]]):
    """Labelled slices of a datalist, or of ``{"image", "label"}`` volume pairs as MONAI Label gives them.

    The deterministic ``transform`` runs once per file and ends in 8 bits; its result is kept as uint8 ``(C, S, S)``
    without metadata (6588 slices of 299 x 299 take 0.6 GB), on a GPU where they fit. A file that cannot be read is
    reported and left out. torch's ``DataLoader`` asks for whole batches, which its ``collate_fn`` must leave alone.

    Args:
        data: entries of a datalist (`scripts.datalists.load`), or of MONAI Label.
        transform: deterministic chain, from ``{"image": path}`` to ``(C, S, S, D)`` of values k / 255; C is 1, or 3
            with neighbours.
        augmentation: of batches ``{"image": (N, C, S, S)}``; used only for indices that carry a seed. Where the
            channels hold outlines, it gets ``image`` (N, 1, S, S) and ``outlines`` (N, 2, S, S), so that they are
            moved alike and only the slice changes its contrast.
        num_workers: processes that read the files.
        tasks: names of the tasks whose labels are given.
        cache: where the slices are kept for other runs with the same ``transform``; without, nowhere.
        device: where the batches are made.

    Raises:
        InputError: no file could be read, or a task is unknown.
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        transform: Callable[..., Any],
        augmentation: Augmentation | None = None,
        num_workers: int = 0,
        tasks: Sequence[str] = DEFAULT_TASKS,
        cache: SliceCache | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.cache = cache or SliceCache(None, "")
        self.data, self.transform, self.augmentation = data, transform, augmentation
        self.device = torch.device(device)
        self.tasks = tasks_of(tasks)
        self.num_workers = int(num_workers)
        self.failures: list[dict[str, str]] = []
        self._entries: list[dict[str, Any]] | None = None
        self._levels = torch.empty(0, dtype=torch.uint8)
        self._taken: TakenSlices | None = None

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The slices that could be read, in the order of ``data``; reads the files the first time."""
        if self._entries is None:
            self._read()
        assert self._entries is not None
        return self._entries

    @property
    def levels(self) -> torch.Tensor:
        """The slices that could be read, uint8 ``(N, C, S, S)``; reads the files the first time."""
        if self._entries is None:
            self._read()
        return self._levels

    @property
    def labels(self) -> list[int]:
        """Label of every slice."""
        return [int(entry["label"]) for entry in self.entries]

    def pos_weight(self) -> float:
        """Return the weight of compressed slices counted from these, see `counted_pos_weight`."""
        return counted_pos_weight(self.labels)

    def require_both_classes(self) -> SliceDataset:
        """Refuse to train on one class; gives the dataset itself, so that a config can wrap it.

        Raises:
            InputError: all labels are equal.
        """
        counted_pos_weight(self.labels)
        return self

    def counts(self) -> dict[str, Any]:
        """Count these slices and patients, and whether any comes from the phantom."""
        return {
            "patients": len({entry.get("patient_id", entry["image"]) for entry in self.entries}),
            "slices": len(self.entries),
            "compressed_slices": sum(self.labels),
            "unreadable": len(self.failures),
            "phantom": any(entry.get("phantom", False) for entry in self.entries),
        }

    def _expanded(self) -> list[dict[str, Any]]:
        """Turn volume pairs into slices; a label volume that cannot be read is a failure of that pair only."""
        slices: list[dict[str, Any]] = []
        for entry in self.data:
            if not isinstance(entry["label"], str):
                slices.append(dict(entry))
                continue
            try:
                labels = mask_labels(entry["label"])
            except Exception as error:  # any broken label file
                self.failures.append({"image": entry["image"], "reason": f"{entry['label']}: {root_message(error)}"})
                continue
            slices += [{**entry, "label": label, "slice_index": index} for index, label in enumerate(labels)]
        return slices

    def _sees(self, setting: str) -> bool:
        """Return whether ``context`` or ``outlines`` fill the channels beside a slice."""
        return any(getattr(one, setting, False) for one in getattr(self.transform, "transforms", ()))

    def _source(self, entry: dict[str, Any]) -> str:
        """Return what is loaded for a slice: its image, or, where its neighbours are seen, the folder of its series."""
        image = str(entry["image"])
        if not self._sees("context") or not entry.get("sop_uid") or is_volume_file(image) or is_archive(image):
            return image
        return str(Path(image).parent) if Path(image).is_file() else image

    def _read(self) -> None:
        slices = self._expanded()
        first = idist.get_local_rank() == 0
        found = self._kept_or_loaded(slices) if first or self.cache.folder is None else None
        if self.cache.folder is not None:
            idist.barrier()  # one process of a machine decodes, the others map its file
        found = found or self._kept_or_loaded(slices)
        self.failures += found.failures
        if idist.get_rank() == 0:
            for one in found.failures:
                say(f"left out {one['image']}: {one['reason']}")
        if not len(found.levels):
            reason = f"; the first: {self.failures[0]['image']}: {self.failures[0]['reason']}" if self.failures else ""
            raise InputError(f"none of the {len({self._source(one) for one in slices})} images could be read{reason}")
        self._entries = [entry for entry, good in zip(slices, found.kept, strict=True) if good]
        self._levels = torch.from_numpy(found.levels)

    def _kept_or_loaded(self, slices: Sequence[dict[str, Any]]) -> ReadSlices:
        """Return what the cache holds of some slices; what it lacks is loaded and kept."""
        sources = [self._source(one) for one in slices]
        found = self.cache.read(slices, sources)
        if found is None:
            found = self._load(slices, sources)
            self.cache.write(slices, sources, found)
        return found

    def _load(self, slices: Sequence[dict[str, Any]], sources: Sequence[str]) -> ReadSlices:
        """Load every image once and keep the slices that are wanted of it."""
        groups: dict[str, list[int]] = {}
        for number, source in enumerate(sources):
            groups.setdefault(source, []).append(number)
        files = ImageFiles(list(groups), [[slices[n] for n in numbers] for numbers in groups.values()], self.transform)
        loader = DataLoader(files, batch_size=None, num_workers=self.num_workers, worker_init_fn=one_thread)
        levels: Levels = np.empty((0, 0, 0, 0), dtype=np.uint8)
        kept, failures = np.zeros(len(slices), dtype=bool), []
        for number, result in (
            progress(loader, "reading images", "file", len(files)) if idist.get_rank() == 0 else loader
        ):
            image, members = files.images[number], groups[files.images[number]]
            if isinstance(result, str):
                failures.append({"image": image, "reason": result})
                continue
            if not kept.any():
                levels = np.empty((len(slices), *result.shape[1:]), dtype=np.uint8)
            levels[members], kept[members] = result, True
        return ReadSlices(levels if kept.all() else levels[kept[: len(levels)]], kept, failures)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: Index) -> dict[str, torch.Tensor]:
        """Return one slice on the CPU, as `batch` does without its first axis."""
        return {name: one[0] for name, one in self.batch([index], TakenSlices(self.levels, CPU)).items()}

    def __getitems__(self, indices: Sequence[Index]) -> dict[str, torch.Tensor]:
        """Return a whole batch on the device; torch's ``DataLoader`` calls this."""
        if self._taken is None:
            self._taken = TakenSlices(self.levels, self.device)
        return self.batch(indices, self._taken)

    def batch(self, indices: Sequence[Index], taken: TakenSlices) -> dict[str, torch.Tensor]:
        """Return ``image`` (N, C, S, S) float32 in [0, 1], ``label`` (N, T) and ``index`` (N,).

        A label that is missing is NaN.

        Args:
            indices: of the slices; either all or none of them carry a seed.
            taken: gives the 8-bit slices.
        """
        seeds = [index for index in indices if not isinstance(index, int)]
        numbers = [index if isinstance(index, int) else index[-1] for index in indices]
        parts = self.parts(numbers, taken)
        if seeds and self.augmentation is not None:
            parts = self.augmentation(parts, seeds)
        return {**self.joined(parts, numbers), "index": torch.tensor(numbers)}

    def parts(self, numbers: Sequence[int], taken: TakenSlices) -> dict[str, torch.Tensor]:
        """Return what is augmented of some slices."""
        image = from_uint8(taken(numbers))
        return {"image": image[:, 1:2], "outlines": image[:, ::2]} if self._sees("outlines") else {"image": image}

    def joined(self, parts: dict[str, torch.Tensor], numbers: Sequence[int]) -> dict[str, torch.Tensor]:
        """Make ``image`` and ``label`` of what is left of some slices after augmentation."""
        image, outlines = parts["image"], parts.get("outlines")
        if outlines is not None:
            image = torch.cat([outlines[:, :1], image, outlines[:, 1:]], dim=1)
        labels = torch.tensor([labels_of(self.entries[number], self.tasks) for number in numbers])
        return {"image": image, "label": to_device(labels, image.device)}


class SeededSampler(DistributedSampler):
    """Shuffle by seed and epoch, and send both along with every index.

    The random state of a sample travels with its index, so that augmentation depends neither on the number of workers
    nor on whether a run was interrupted. MONAI's engines set the epoch, in one process as in many.

    Args:
        dataset: the dataset.
        seed: seed of the run.
        shuffle: whether to shuffle.
        even_divisible: in several processes, whether all get the same number by repeating a few slices.

    Raises:
        InputError: there are fewer slices than processes.
    """

    def __init__(self, dataset: Dataset[Any], seed: int = 0, shuffle: bool = True, even_divisible: bool = True) -> None:
        slices, processes = len(dataset), idist.get_world_size()  # type: ignore[arg-type]
        if slices < processes:
            raise InputError(
                f"{slices} slice{'s' * (slices != 1)} for {processes} processes; start at most {slices} of them"
            )
        super().__init__(dataset, even_divisible, processes, idist.get_rank(), shuffle=shuffle, seed=seed)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """Yield ``(seed, epoch, index)``."""
        return ((self.seed, self.epoch, int(index)) for index in super().__iter__())


class PrepareSlices:
    """Move a batch to the device and make it what the network takes; the engines' ``prepare_batch``.

    Args:
        profile: normalisation, see `scripts.transforms.to_network_input`.
    """

    def __init__(self, profile: str) -> None:
        self.profile = profile

    def __call__(
        self, batch: dict[str, torch.Tensor], device: torch.device, non_blocking: bool = False, **_: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images ``(N, 3, S, S)`` and labels ``(N, T)``."""
        image = batch["image"].to(device, non_blocking=non_blocking)
        return to_network_input(image, self.profile), batch["label"].to(device, non_blocking=non_blocking)
