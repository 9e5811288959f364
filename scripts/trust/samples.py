"""Slices of a phantom cohort, their lesion-free twins, and where the two differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from numpy.typing import NDArray

from ..canal.localiser import make_localiser
from ..canal.truth import load_mask
from ..checkpoints import SEEN
from ..cluster.workers import Workers
from ..console import progress
from ..datalists import load
from ..dicom.loaded import identities
from ..errors import InputError
from ..files import ROOT
from ..phantom.cohort import make_cohort, recipe_of
from ..records import slice_key
from ..runner import literals
from ..tables import read_table
from ..transforms import Centre, crops_of

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Sample:
    """Slices and what is known of them.

    Attributes:
        images: ``(S, C, H, W)`` in [0, 1]; the middle channel is the slice itself.
        twins: the same slices without lesions.
        truth: where they differ, ``(S, H, W)``.
        labels: 1 compressed, 0 not, shape (S,).
        patients: shape (S,).
        middle: centre of the cord as row and column in pixels, shape (S, 2).
        side: side of a lateral lesion, ``left`` or ``right`` of the patient, else empty; shape (S,).
    """

    images: Floats
    twins: Floats
    truth: NDArray[np.bool_]
    labels: NDArray[np.int64]
    patients: NDArray[np.str_]
    middle: NDArray[np.float64]
    side: NDArray[np.str_]

    @property
    def pictures(self) -> Floats:
        """The slices themselves, ``(S, H, W)``."""
        return self.images[:, self.images.shape[1] // 2]

    def where(self, chosen: NDArray[Any]) -> Sample:
        """Keep some of the slices."""
        return Sample(**{name: getattr(self, name)[chosen] for name in self.__dataclass_fields__})


def recipe_of_cohort(cohort: Path) -> dict[str, Any]:
    """Read what a phantom cohort was made with.

    Raises:
        InputError: ``cohort`` is no phantom cohort.
    """
    recipe = recipe_of(cohort)
    if not recipe:
        raise InputError(f"{cohort} is no phantom cohort; the truth of heat maps is known on the phantom alone")
    return recipe


def cohort_with_twins(cohort: Path, out: Path) -> Path:
    """Make the phantom cohort again, with twins; the same patients in the same sections.

    Raises:
        InputError: ``cohort`` is no phantom cohort of this version.
    """
    recipe = recipe_of_cohort(cohort)
    if recipe.get("twins"):
        return cohort
    names = ("patients", "seed", "style", "slices", "matrix")
    options = {name: recipe[name] for name in names if name in recipe}
    with Workers() as workers:
        made = make_cohort(out, twins=True, distractors=False, reuse=True, spread=workers.spread, **options).parent
    before, after = ({slice_key(row) for row in load(one / "datalist.json", "testing")} for one in (cohort, made))
    if before != after:
        raise InputError(f"{cohort} was made by another version of the phantom; run quickstart again in a new folder")
    return made


class SameSquares:
    """Finds the squares of another image, whatever this one shows; canal and cord are outlined in this one.

    Args:
        crops: of the other image, see `scripts.transforms.crops_of`.
        settings: the checkpoint's content.
    """

    def __init__(self, crops: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> None:
        self.centres = [Centre(one["centre_px"][0], one["centre_px"][1], 1.0) for one in crops]
        self.settings = settings

    def __call__(self, _: MetaTensor) -> list[Centre]:
        """Return the centre of every square."""
        return self.centres

    def outlines(self, image: MetaTensor) -> list[NDArray[np.float64] | None]:
        """Outline canal and cord, see `scripts.canal.localiser.Localiser.outlines`."""
        return make_localiser(self.settings["canal"], "the checkpoint").outlines(image)


def preprocessing(settings: Mapping[str, Any], canal: Callable[[Any], Any] | None = None) -> Any:
    """Return the preprocessing of inference.json for a checkpoint.

    Args:
        settings: the checkpoint's content.
        canal: finds the canal instead of the checkpoint's localiser.
    """
    parser = ConfigParser()
    parser.read_config(str(ROOT / "configs" / "inference.json"))
    for name, value in literals({name: settings[name] for name in SEEN}).items():
        parser[name] = value
    kept = settings.get("canal")
    parser["canal"] = canal or (None if kept is None else make_localiser(kept, "the checkpoint"))
    return parser.get_parsed_content("preprocessing")


def read_sample(
    cohort: Path, section: str, settings: Mapping[str, Any], count: int, seed: int, difference: float
) -> Sample:
    """Read slices of one section, half of them compressed where there are enough.

    Args:
        cohort: a phantom cohort with twins.
        section: section of its datalist.
        settings: the checkpoint's, for the preprocessing.
        count: most slices to read.
        seed: seed of their choice.
        difference: how much a pixel in [0, 1] must differ from its twin to belong to the truth.
    """
    chain = preprocessing(settings)
    known = {row.key(): row for row in read_table(cohort / "truth.csv", ("series_uid", "sop_uid"))}
    entries = load(cohort / "datalist.json", section)
    rng = np.random.default_rng(seed)
    chosen: list[dict[str, Any]] = []
    for label in (1, 0):
        members = [entry for entry in entries if entry["label"] == label]
        chosen += [members[index] for index in rng.permutation(len(members))[: count // 2]]

    @cache
    def volume(path: Path) -> Any:
        return chain({"image": str(path)})["image"]

    @cache
    def twin_volume(path: Path, image: Path) -> Any:
        """The twin, in the squares of its image: a lesion must not move them."""
        return preprocessing(settings, SameSquares(crops_of(volume(image)), settings))({"image": str(path)})["image"]

    def picture(found: Any, frame: str) -> Floats:
        levels: Floats = found.as_tensor().numpy()
        return levels[..., place_of(found, frame)]

    rows: list[tuple[Any, ...]] = []
    for entry in progress(chosen, f"reading {section} slices and their twins", "slice", len(chosen)):
        row = known[slice_key(entry)]
        path, frame = Path(entry["image"]), row["frame"]
        found = volume(path)
        image, twin = picture(found, frame), picture(twin_volume(cohort / row["twin_image"], path), frame)
        patient = str(entry["patient_id"])
        place = place_of(found, frame)
        mask = mask_path(cohort, patient, row["stack"]), int(row["stack_slice"] or row["slice_index"])
        centre = cord_centre(*mask, settings, crops_of(found)[place : place + 1])
        side = row["side"] if row["lesion"] == "lateral" and row["side"] in ("left", "right") else ""
        truth = np.abs(image - twin)[len(image) // 2] > difference
        rows.append((image, twin, truth, entry["label"], patient, centre, side))
    columns = list(zip(*rows, strict=True))
    return Sample(*(np.stack(column) if np.ndim(column[0]) else np.array(column) for column in columns))


def mask_path(cohort: Path, patient: str, stack: str) -> Path:
    """Return the file with the masks of a patient's stack; a series of one stack has no number in its name."""
    whole = cohort / "masks" / f"{patient}.nii.gz"
    return whole if whole.exists() else whole.with_name(f"{patient}_stack-{stack}.nii.gz")


def place_of(image: Any, frame: str) -> int:
    """Return which slice of a loaded image a frame is."""
    return [name for _, name in identities(image)].index(frame)


def cord_centre(
    path: Path, number: int, settings: Mapping[str, Any], crops: Sequence[Mapping[str, Any]]
) -> tuple[float, float]:
    """Return row and column of the cord's centre in a preprocessed slice; NaN where the slice shows no cord.

    Args:
        path: masks of the slice's stack.
        number: of the slice in them.
        settings: the checkpoint's.
        crops: the slice's square, see `scripts.transforms.crops_of`.
    """
    mask, affine = load_mask(str(path))
    chain = preprocessing(settings, SameSquares(crops, settings))
    (framing,) = [one for one in chain.transforms if hasattr(one, "margin_mm")]
    one = MetaTensor(torch.from_numpy(mask[None, ..., number : number + 1].astype(np.float32)), affine=affine)
    rows, columns = np.nonzero(
        framing({"image": one})["image"].as_tensor()[0, ..., 0].numpy() > 1.5
    )  # of canal 1, cord 2
    return (float(rows.mean()), float(columns.mean())) if len(rows) else (np.nan, np.nan)
