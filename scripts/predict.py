"""The ``predict`` command: inference.json for people who do not speak MONAI."""

from __future__ import annotations

from pathlib import Path

from . import checkpoints
from .errors import InputError
from .runner import ROOT, run_config


def predict(
    *inputs: str, out: str, weights: str = "", threshold: float = 0.5, batch_size: int = 16, force: bool = False
) -> int:
    """Score every axial T2 series below INPUTS, slice by slice, with a heat map.

    Writes OUT/<series_uid>/slices.csv (one row per slice), summary.json, heatmap.nii.gz (on the grid of the series),
    heatmap.png, and OUT/failures.csv with what was refused or could not be read, and why. Research use only.

    Args:
        inputs: DICOM files or folders at any depth, NIfTI files, or zips of one series.
        out: folder of the results.
        weights: a checkpoint; default models/model.pt. It says itself which network it belongs to.
        threshold: probability from which a slice is called compressed.
        batch_size: slices that go through the network at once.
        force: score series that are not axial T2, too.

    Returns:
        0 if every accepted series was scored, 1 if some failed, 2 if none was scored.
    """
    if not 0 < threshold < 1:
        raise InputError(f"threshold is a probability between 0 and 1, got {threshold}")
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}")
    path = Path(weights) if weights else ROOT / "models" / "model.pt"
    settings = checkpoints.read(path)
    missing = [name for name in checkpoints.SETTINGS if name not in settings]
    if missing:
        raise InputError(
            f"{path} does not say its {', '.join(missing)}; expected a checkpoint written by configs/train.json"
        )
    parser = run_config(
        ["inference.json"],
        dataset_dir=list(inputs),
        output_dir=out,
        ckpt_path=str(path),
        force=force,
        batch_size=batch_size,
        displayable_configs__threshold=threshold,
        **{name: settings[name] for name in checkpoints.SETTINGS},
    )
    dataset, writer = parser.get_parsed_content("dataset"), parser.get_parsed_content("handlers")[0]
    if not writer.summaries:
        return 2
    return 1 if len(writer.summaries) < len(dataset.series) else 0
