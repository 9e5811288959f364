"""Slices of image files, as datasets hold them, and a folder that keeps them for other runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImage, Orientation
from numpy.typing import NDArray
from torch.utils.data import Dataset

from .console import say
from .dicom.archives import is_archive
from .dicom.listings import is_volume_file
from .dicom.loaded import identities
from .dicom.sources import only_stack, stacks_at
from .errors import InputError, root_message
from .files import replacing
from .transforms import to_device, to_uint8

Levels = NDArray[np.uint8]
SHARE_OF_DEVICE = 0.25
"""Slices stay on a GPU if they fill at most this share of the memory that is free there."""
SUFFIXES = (".json", "-levels.npy", "-kept.npy")


def mask_labels(path: str) -> list[int]:
    """Reduce a label volume to one label per axial slice, 1 where any voxel is set, the most caudal slice first."""
    mask = Orientation(axcodes="PLS", labels=None)(LoadImage(ensure_channel_first=True)(path))
    return [int(flag) for flag in (mask.as_tensor() > 0).any(0).any(0).any(0)]


class ImageFiles(Dataset[tuple[int, Levels | str]]):
    """Load each image once and give the 8-bit slices that are wanted of it, or the reason why it cannot be used."""

    def __init__(self, images: Sequence[str], wanted: Sequence[list[dict[str, Any]]], transform: Callable[..., Any]):
        self.images, self.wanted, self.transform = images, wanted, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> tuple[int, Levels | str]:
        try:
            return number, self.levels(self.images[number], self.wanted[number])
        except Exception as error:  # whatever a broken file provokes, the other files are still good
            return number, root_message(error)

    def levels(self, image: str, wanted: Sequence[dict[str, Any]]) -> Levels:
        """Load the slices of an image that are wanted, in their order.

        Raises:
            InputError: one of them is not there.
        """
        found: dict[int, Levels] = {}
        n_slices = 0
        for part in parts_of(image, wanted):
            volume = self.transform({"image": part})["image"]
            places = {number: position(volume, entry) for number, entry in enumerate(wanted)}
            here = {number: place for number, place in places.items() if place is not None}
            # arrays, because every tensor sent between processes would hold a file descriptor
            slices = to_uint8(volume.as_tensor()[..., list(here.values())]).permute(3, 0, 1, 2).contiguous().numpy()
            found |= dict(zip(here, slices, strict=True))
            n_slices += int(volume.shape[-1])
        for number, entry in enumerate(wanted):
            if number not in found:
                name = " frame ".join(filter(None, (str(entry.get("sop_uid") or ""), str(entry.get("frame") or ""))))
                raise InputError(
                    f"{image} holds no slice with SOPInstanceUID {name}"
                    if name
                    else f"{image} has {n_slices} axial slices, the datalist wants slice {entry.get('slice_index')}"
                )
        return np.stack([found[number] for number in range(len(wanted))])


def parts_of(image: str, wanted: Sequence[dict[str, Any]]) -> list[Any]:
    """Return what the reader is to load for some slices of an image: the image, or those of its stacks that hold them.

    A multi-frame file may hold several stacks, of other angles or echoes; a slice names its own by UID and frame.

    Raises:
        InputError: it holds several stacks and a slice does not name its own, or it cannot be read.
    """
    if is_volume_file(image) or is_archive(image):
        return [image]
    stacks = stacks_at(image)
    keys = {(str(entry.get("sop_uid") or ""), str(entry.get("frame") or "")) for entry in wanted}
    if len(stacks) == 1 or ("", "") in keys:
        return [only_stack(stacks, image)]
    holding = [stack for stack in stacks if keys & {(one.sop_uid, one.frame) for one in stack.slices}]
    return [only_stack([stack], image) for stack in holding]


def position(volume: MetaTensor, entry: dict[str, Any]) -> int | None:
    """Find the slice an entry means, by its SOPInstanceUID and frame, else by its index; None where it is not."""
    known = identities(volume)
    if entry.get("sop_uid"):
        wanted = (str(entry["sop_uid"]), str(entry.get("frame") or ""))
        return known.index(wanted) if wanted in known else None
    index = int(entry.get("slice_index") or 0)
    return index if 0 <= index < len(known) else None


class TakenSlices:
    """Gives batches of 8-bit slices on a device: from there, where they fit, else from the memory that holds them.

    Args:
        levels: uint8 ``(N, C, S, S)``, which all processes of a machine may share.
        device: where the batches are wanted.
    """

    def __init__(self, levels: torch.Tensor, device: torch.device) -> None:
        self.device = device
        self.stay = device.type == "cuda" and levels.nbytes <= SHARE_OF_DEVICE * torch.cuda.mem_get_info(device)[0]
        self.levels = levels.to(device) if self.stay else levels

    def __call__(self, numbers: Sequence[int]) -> torch.Tensor:
        """Return slices by their numbers, uint8 ``(n, C, S, S)``."""
        chosen = to_device(torch.tensor(numbers), self.levels.device)
        taken = self.levels.index_select(0, chosen)
        return taken if self.stay else to_device(taken, self.device)


class ReadSlices(NamedTuple):
    """What was read of the images of a dataset.

    Attributes:
        levels: the slices that could be read, uint8 ``(N, C, S, S)``.
        kept: which of the slices that were asked for these are, bool.
        failures: ``image`` and ``reason`` of each image that could not be read.
    """

    levels: Levels
    kept: NDArray[np.bool_]
    failures: list[dict[str, str]]


class SliceCache:
    """Keeps preprocessed slices in a folder; the file is mapped into memory, which all processes share.

    Whoever names the folder makes sure that one preprocessing fills it. An entry belongs to a list of slices and to
    the size and time of the files that hold them: where an image has changed, it is read again.

    Args:
        folder: the folder; None or empty keeps nothing.
        kind: what else the slices depend on, e.g. whether they have a margin.
    """

    def __init__(self, folder: str | None, kind: str) -> None:
        self.folder = Path(folder) / kind if folder else None

    def read(self, slices: Sequence[Mapping[str, Any]], sources: Sequence[str]) -> ReadSlices | None:
        """Return what was read of these slices before; None where nothing was, or where it is damaged.

        Args:
            slices: entries of a datalist.
            sources: what is loaded for each: a file, or the folder of its series.
        """
        if self.folder is None:
            return None
        about, levels_file, kept_file = self.places(slices, sources)
        try:
            failures = json.loads(about.read_text(encoding="utf-8"))["failures"]
            levels = np.load(levels_file, mmap_mode="c", allow_pickle=False)
            kept = np.load(kept_file, allow_pickle=False)
        except (OSError, ValueError, KeyError, EOFError):
            return None
        if levels.dtype != np.uint8 or kept.shape != (len(slices),) or len(levels) != kept.sum():
            return None
        return ReadSlices(levels, kept, failures)

    def write(self, slices: Sequence[Mapping[str, Any]], sources: Sequence[str], found: ReadSlices) -> None:
        """Keep what was read of these slices; that the disk is full ends no training."""
        if self.folder is None:
            return
        about, levels_file, kept_file = self.places(slices, sources)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path, array in ((levels_file, found.levels), (kept_file, found.kept)):
                with replacing(path) as temporary, temporary.open("wb") as stream:
                    np.save(stream, array, allow_pickle=False)
            with replacing(about) as temporary:  # last: it says that the others are whole
                temporary.write_text(json.dumps({"failures": found.failures}), encoding="utf-8")
        except (OSError, InputError) as error:
            say(f"the slices are not kept: {root_message(error)}")

    def places(self, slices: Sequence[Mapping[str, Any]], sources: Sequence[str]) -> tuple[Path, Path, Path]:
        """Return the files of an entry."""
        assert self.folder is not None
        stats = {source: stat_of(Path(source)) for source in sources}
        names = ("image", "sop_uid", "frame", "slice_index")
        wanted = [[str(one.get(name, "")) for name in names] for one in slices]
        content = json.dumps([wanted, stats], sort_keys=True)
        digest = hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()[:32]
        about, levels, kept = (self.folder / f"{digest}{suffix}" for suffix in SUFFIXES)
        return about, levels, kept


def stat_of(image: Path) -> list[Any]:
    """Return size and time of an image: of its file, or of all files of its folder."""
    try:
        files = [image] if image.is_file() else sorted(path for path in image.rglob("*") if path.is_file())
        return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    except OSError:
        return []
