"""Training the localiser: the slices it learns from, in two fields of view, and its loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.handlers import from_engine
from monai.losses import DiceLoss
from monai.transforms import MapTransform
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ..augmentation import Augmentation, CentralCropBatchd
from ..console import say
from ..datasets import SliceDataset
from ..errors import InputError
from ..slice_files import TakenSlices
from ..transforms import PERCENTILES, Centre, SquareFieldOfViewd, from_uint8, scale_slices, to_device
from .network import OUTPUTS, centre_of
from .truth import known, read_truth

FIELDS = 3
"""Fields of view of each slice: all of it, a crop around the canal, and one elsewhere."""


class CanalFieldsd(MapTransform):
    """Turn ``(4, H, W, D)`` of `scripts.canal.truth.CanalTruthd` into three fields of view, ``(12, W, W, D)``.

    The first four channels see the whole field of view, as the localiser does at first; the next four a square of
    ``side_mm`` around the canal's true centre (or the middle of the slice), as it does then, and to outline canal and
    cord. The last four see a square midway between the canal and the corner of the slice that is farthest from it, so
    that the localiser learns what is no canal. All have a margin for augmentation.

    Args:
        keys: keys of images.
        image_size: side in pixels of what the network sees.
        side_mm: side of the crop.
        margin: what is kept around each field, as a share of its side.
    """

    def __init__(self, keys: Any, image_size: int, side_mm: float = 60.0, margin: float = 0.25) -> None:
        super().__init__(keys)
        self.image_size, self.side_mm, self.margin = int(image_size), float(side_mm), float(margin)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Frame the images under ``keys``."""
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            longest_mm = max(float(n * mm) for n, mm in zip(image.shape[1:3], image.pixdim[:2], strict=True))
            fields = []
            for side_mm, centres in ((longest_mm, None), (self.side_mm, true_centres), (self.side_mm, elsewhere)):
                framing = SquareFieldOfViewd(
                    "image", self.image_size, side_mm=side_mm, canal=centres, margin_mm=self.margin * side_mm
                )
                framed = framing({"image": image})["image"].as_tensor()
                grey = scale_slices(framed[:1], *PERCENTILES, self.image_size)
                fields += [grey, framed[1:].clamp(0, 1)]
            result[key] = MetaTensor(torch.cat(fields), meta=image.meta, applied_operations=image.applied_operations)
        return result


def true_centres(image: MetaTensor) -> list[Centre]:
    """Return where the Gaussian of channel 1 has its maximum in every slice; no confidence where there is none."""
    drawn = image.as_tensor()[1]
    found = []
    for one in drawn.unbind(2):
        row, column = divmod(int(one.argmax()), one.shape[1])
        found.append(Centre(float(row), float(column), float(one.max() > 0)))
    return found


def elsewhere(image: MetaTensor) -> list[Centre]:
    """Return the place midway between the canal and the farthest corner of every slice."""
    ends = [int(n) - 1 for n in image.shape[1:3]]
    found = []
    for one in true_centres(image):
        corner = [0 if place > end / 2 else end for place, end in zip(one[:2], ends, strict=True)]
        found.append(Centre((one.row_px + corner[0]) / 2, (one.column_px + corner[1]) / 2, 1.0))
    return found


class CanalDataset(SliceDataset):
    """The slices of a datalist that canal.csv knows, each in three fields of view.

    Its batches hold ``image`` (N, 1, S, S) in [0, 1], and ``label`` (N, 3, S, S): centre, canal and cord, NaN where not
    known. An index is three times the number of a slice, plus that of the field.

    Args:
        data: entries of a datalist (`scripts.datalists.load`).
        table: canal.csv.
        transform: chain from ``{"image": path}`` to ``(12, W, W, D)``, see `CanalFieldsd`.
        image_size: side in pixels of the central square that the network sees.
        augmentation: of batches ``{"image": (N, 1, W, W), "target": (N, 3, W, W)}``; used for indices with a seed.
        num_workers: processes that read the files.
        device: where the batches are made.

    Raises:
        InputError: canal.csv knows no slice of them.
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        table: str,
        transform: Callable[..., Any],
        image_size: int,
        augmentation: Augmentation | None = None,
        num_workers: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        rows = read_truth(table)
        found = []
        for entry in data:
            row = rows.get((str(entry.get("series_uid", "")), str(entry["sop_uid"]), str(entry.get("frame", ""))))
            if row is not None:
                found.append({**entry, "known": known(row)})
        if not found:
            raise InputError(f"{table} knows none of the {len(data)} slices of the datalist; make it anew")
        if len(found) < len(data):
            say(f"{len(data) - len(found)} of {len(data)} slices are not in {table} and are left out")
        super().__init__(found, transform, augmentation, num_workers, device=device)
        self.crop = CentralCropBatchd(("image", "target"), image_size)

    def __len__(self) -> int:
        return FIELDS * len(self.entries)

    def parts(self, numbers: Sequence[int], taken: TakenSlices) -> dict[str, torch.Tensor]:
        """Return the fields of view and what is to be found in them."""
        fields = from_uint8(taken([number // FIELDS for number in numbers]))
        fields = fields.view(len(numbers), FIELDS, 1 + len(OUTPUTS), *fields.shape[2:])
        wanted = to_device(torch.tensor([number % FIELDS for number in numbers]), fields.device)
        own = fields[torch.arange(len(numbers), device=fields.device), wanted]
        return {"image": own[:, :1], "target": own[:, 1:]}

    def joined(self, parts: dict[str, torch.Tensor], numbers: Sequence[int]) -> dict[str, torch.Tensor]:
        """Crop, and set to NaN what is not known."""
        image, target = map(self.crop(parts).__getitem__, ("image", "target"))
        is_known = torch.tensor([self.entries[number // FIELDS]["known"] for number in numbers])
        target = target.where(to_device(is_known, target.device)[..., None, None], math.nan)
        return {"image": image.clamp(0, 1), "label": target}


class PrepareCanal:
    """Move a batch to the device; the engines' ``prepare_batch``."""

    def __call__(
        self, batch: dict[str, torch.Tensor], device: torch.device, non_blocking: bool = False, **_: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images ``(N, 1, S, S)`` and targets ``(N, 3, S, S)``."""
        return tuple(batch[name].to(device, non_blocking=non_blocking) for name in ("image", "label"))  # type: ignore[return-value]


class CanalLoss(nn.Module):
    """Cross-entropy of the centre's map, and binary cross-entropy plus Dice of the masks; NaN gives no gradient.

    Where the centre lies outside the picture, or is not in it, the map shall be even, so that nothing is found there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dice = DiceLoss(sigmoid=True, reduction="none")

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Compute the mean loss of logits ``(N, 3, S, S)`` and targets of the same shape."""
        is_known = ~target.isnan().flatten(2).any(2)  # (N, 3)
        target = target.nan_to_num(0)
        drawn = target[:, 0].flatten(1)
        total = drawn.sum(1, keepdim=True)
        even = torch.full_like(drawn, 1 / drawn.shape[1])
        wanted = torch.where(total > 1, drawn / total.clamp_min(1), even)
        centre = -(logits[:, 0].flatten(1).log_softmax(1) * wanted).sum(1) / math.log(drawn.shape[1])
        masks = binary_cross_entropy_with_logits(logits[:, 1:], target[:, 1:], reduction="none").flatten(2).mean(2)
        masks = masks + self.dice(logits[:, 1:], target[:, 1:]).flatten(2).mean(2)
        losses = torch.cat([centre[:, None], masks], dim=1)
        return (losses * is_known).sum() / is_known.sum().clamp_min(1)


def centre_error(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Compute the distance of found and true centre as a share of the picture's side, ``(N,)``; NaN where unknown."""
    found, _ = centre_of(logits[:, 0])
    true = target[:, 0].double()
    total = true.sum((1, 2))
    rows, columns = (torch.arange(n, dtype=true.dtype, device=true.device) for n in true.shape[1:])
    wanted = torch.stack([(true.sum(2) * rows).sum(1), (true.sum(1) * columns).sum(1)], 1) / total[:, None]
    distance = (found - wanted).norm(dim=1) / true.shape[1]
    return torch.where(total > 1, distance, math.nan)


def known_errors(output: Any) -> torch.Tensor:
    """Return the errors of the centres that are known in an engine's output, for ignite's ``Average``."""
    logits, target = from_engine(["pred", "label"])(output)
    errors = centre_error(torch.as_tensor(logits), torch.as_tensor(target))
    return errors[~errors.isnan()][:, None]  # of a vector, Average would take the mean of each element
