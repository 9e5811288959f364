"""The localiser's outlines of canal and cord in the channels, so that the network sees shape apart from contrast."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform

from ..errors import InputError
from ..transforms import central, from_uint8, resize_slices, to_uint8
from .localiser import Localiser


class OutlineChannelsd(MapTransform):
    """Turn ``(1, S, S, D)`` into ``(3, S, S, D)``: the probability of the canal, the slice itself, that of the cord.

    Where no canal was found, both probabilities are 0, and also in the margin that training has around the square.

    Args:
        keys: keys of preprocessed images: squares around the canal, values k / 255.
        canal: outlines canal and cord.
        image_size: side of the square in pixels, without margin.
        outlines: False leaves the images as they are.

    Raises:
        InputError: outlines are wanted, but there is no localiser.
    """

    def __init__(self, keys: Any, canal: Localiser | None, image_size: int, outlines: bool = False) -> None:
        super().__init__(keys)
        if outlines and canal is None:
            raise InputError("outlines needs a square around the canal: set side_mm, and canal_weights for training")
        self.canal, self.image_size, self.outlines = canal, int(image_size), bool(outlines)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the outlines to the images under ``keys``."""
        result = dict(data)
        for key in self.key_iterator(result) if self.outlines else ():
            assert self.canal is not None  # as was checked
            image = result[key]
            grey = image.as_tensor()
            found = self.canal.outlines(MetaTensor(central(grey, self.image_size), meta=image.meta))
            masks = torch.zeros(2, *grey.shape[1:])
            inner = central(masks, self.image_size)
            for number, one in enumerate(found):
                if one is not None:
                    drawn = resize_slices(torch.from_numpy(one)[..., None].float(), (inner.shape[1], inner.shape[2]))
                    inner[..., number] = from_uint8(to_uint8(drawn[..., 0]))
            channels = torch.cat([masks[:1], grey, masks[1:]])
            result[key] = MetaTensor(channels, meta=image.meta, applied_operations=image.applied_operations)
        return result
