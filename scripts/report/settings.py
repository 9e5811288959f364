"""The settings of the very run beside those of the paper, from the run's own record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError
from ..files import read_json
from ..tables import read_cells

NOT_RECORDED = "not recorded"
NOT_STATED = "not stated"
DIFFERS = "differs between the networks of the ensemble"


class Setting(NamedTuple):
    """One row of the table.

    Attributes:
        title: what people call it.
        names: keys of the record that it is made of; all must be there.
        words: writes their values.
        paper: the paper's, in the same words; `NOT_STATED` where it does not say.
    """

    title: str
    names: tuple[str, ...]
    words: Callable[..., str]
    paper: str


def plain(value: Any) -> str:
    """Write a number or a text."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def listed(values: Any) -> str:
    """Write several values."""
    return ", ".join(map(plain, values))


def changes(augmentation: Any) -> str:
    """Write the random transforms."""
    return "; ".join(augmentation) or "none named"


def beginning(pretrained: str) -> str:
    """Write which weights a training began with."""
    return "ImageNet" if pretrained.upper().startswith("IMAGENET") else pretrained


def normalisation(profile: str) -> str:
    """Write what becomes of the grey values before the network."""
    return "0 to 1" if profile == "paper" else "0 to 1, then ImageNet's mean and standard deviation"


def region(crop_fraction: float, side_mm: float | None) -> str:
    """Write what part of a slice the network sees."""
    if side_mm is not None:
        return f"{side_mm:g} mm around the canal"
    return "the whole slice" if crop_fraction == 1 else f"the middle {100 * crop_fraction:g} % of its side"


def channels(context: int, outlines: bool) -> str:
    """Write what fills the three channels."""
    if outlines:
        return "the slice, outlines of canal and cord"
    return "the slice between its neighbours" if context else "the slice, three times"


def stopping(min_epochs: int, patience: int) -> str:
    """Write when a training ends."""
    return f"after {min_epochs} epochs at least, once {patience} bring no lower validation loss"


# Merali et al. 2021, Methods
SETTINGS = (
    Setting("network", ("architecture",), plain, "resnet50"),
    Setting("hidden layers of the head", ("head",), listed, "512, 512"),
    Setting("dropout", ("dropout",), plain, "0.3"),
    Setting("weights to begin with", ("pretrained",), beginning, "ImageNet"),
    Setting("side of the image (pixels)", ("image_size",), plain, "299"),
    Setting("what it shows", ("crop_fraction", "side_mm"), region, "the whole slice"),
    Setting("channels", ("context", "outlines"), channels, "the slice, three times"),
    Setting("grey values", ("profile",), normalisation, "0 to 1"),
    Setting("augmentation", ("augmentation",), changes, "none named"),
    Setting("tasks", ("tasks",), listed, "compressed"),
    Setting("weight of compressed slices in the loss", ("pos_weight",), plain, "3.8"),
    Setting("optimiser", ("optimizer",), plain, "Adam"),
    Setting("learning rate", ("learning_rate",), plain, "0.0001"),
    Setting("beta1", ("beta1",), plain, "0.9"),
    Setting("slices in a batch", ("batch_size",), plain, "16"),
    Setting(
        *("end of the training", ("min_epochs", "patience"), stopping),
        "after 50 epochs at least, once 10 bring no lower validation loss",
    ),
    Setting("epochs at most", ("max_epochs",), plain, NOT_STATED),
    Setting("epochs run", ("epochs_run",), plain, NOT_STATED),
    Setting("epoch of the weights, with the lowest validation loss", ("epoch",), plain, NOT_STATED),
    Setting("precision of the training", ("precision",), plain, NOT_STATED),
)


def run_settings(run: Path) -> list[dict[str, Any]]:
    """Return the settings that a run was trained with.

    Args:
        run: folder with metrics.json and history.csv, as far as they exist.

    Returns:
        ``setting``, ``this`` (`NOT_RECORDED` where the record lacks it), ``paper`` and whether both differ
        (``departs``; None where one of them is not known).

    Raises:
        InputError: what metrics.json records is not what an evaluation writes.
    """
    path = run / "metrics.json"
    content = read_json(path) if path.is_file() else {}
    record = (content.get("settings") or {}) if isinstance(content, dict) else {}
    if not isinstance(record, dict):
        raise InputError(f"{path}: settings must be an object, got {record!r:.60}; evaluate the run anew")
    record = {name: value for name, value in record.items() if value is not None or name == "side_mm"}
    history = run / "history.csv"
    if history.is_file():
        record["epochs_run"] = len(read_cells(history, ("epoch",))[1])
    return [row_of(one, record, path) for one in SETTINGS]


def row_of(setting: Setting, record: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Write one setting of a run beside the paper's."""
    values = [record.get(name, NOT_RECORDED) for name in setting.names]
    if NOT_RECORDED in values:
        text = NOT_RECORDED
    elif "differs" in values:
        text = DIFFERS
    else:
        try:
            text = setting.words(*values)
        except (TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{path}: {', '.join(setting.names)} of settings cannot be {values!r:.60}; evaluate the run anew"
            ) from error
    unknown = text in (NOT_RECORDED, DIFFERS) or setting.paper == NOT_STATED
    departs = None if unknown else text != setting.paper
    return {"setting": setting.title, "this": text, "paper": setting.paper, "departs": departs}


def in_words(rows: Sequence[Mapping[str, Any]]) -> str:
    """Sum the settings up in a sentence: what departs from the paper, and that something is not recorded."""
    departing = [row["setting"] for row in rows if row["departs"]]
    missing = [row["setting"] for row in rows if row["this"] == NOT_RECORDED]
    sentences = []
    if departing:
        sentences.append(f"Other than in the paper: {', '.join(departing)}.")
    if len(missing) == len(rows):
        sentences.append("The run records nothing of its training: evaluate it anew with configs/evaluate.json.")
    elif missing:
        sentences.append(f"Not recorded in the run: {', '.join(missing)}.")
    return " ".join(sentences)
