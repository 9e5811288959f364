"""The ``localise`` command: find the canal in series, outline canal and cord, and measure the error."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import progress, say
from ..errors import InputError, check_seed, exit_status, root_message
from ..files import check_folder, write_csv, write_json

if TYPE_CHECKING:
    from ..canal.localiser import Localiser
    from ..canal.outlines import Located
    from ..records import Failure, Series

COLUMNS = (
    *("patient_id", "series_uid", "sop_uid", "frame", "slice_index", "crop", "confidence"),
    *("canal_row_px", "canal_column_px", "error_mm", "canal_dice", "cord_dice"),
)
RESULTS = ("localised.csv", "localised.png", "localiser.json")
FAR_MM = 5.0
SHOWN = 12
"""Slices of each kind in the picture: those farthest off, and some at random."""


def localise(*inputs: str, weights: str, out: str, table: str = "", side_mm: float = 60.0, seed: int = 0) -> int:
    """Find the spinal canal in every axial T2 or T2* series below INPUTS, and measure the error. Research use only.

    Writes OUT/localised.csv (the centre of the canal in each slice, and the confidence), OUT/localised.png (slices with
    the outlines of canal and cord), OUT/localiser.json (a summary) and OUT/failures.csv (what could not be used).

    Where the true centre is known, from TABLE or from masks beside a NIfTI file (`_label-canal_seg`, `_label-SC_seg`,
    `_seg-manual`), it also measures the distance to it in mm, and the overlap (Dice) with the masks.

    Exit status: 0 everything was read, 1 something could not be read, 2 no series was localised.

    Args:
        inputs: files or folders at any depth (DICOM, NIfTI, zips of them).
        weights: checkpoint of a localiser (configs/canal/train.json), or of a classifier that was trained behind one.
        out: folder of the results.
        table: canal.csv with the true centres, see `python -m scripts canal`.
        side_mm: side of the square around the centre in which canal and cord are outlined, in mm.
        seed: chooses the random slices of the picture.

    Returns:
        0 if everything was read, 1 if something could not be, 2 if no series was localised.
    """
    check_folder(out)
    if not side_mm > 0:
        raise InputError(f"--side_mm must be positive, got {side_mm}")
    check_seed(seed)
    from ..canal.localiser import load_localiser
    from ..canal.truth import read_truth
    from .series import find_series

    localiser = load_localiser(weights)
    if localiser is None:
        raise InputError("--weights names no checkpoint; train one with configs/canal/train.json")
    rows_by_slice = read_truth(table) if table else {}
    found = find_series(inputs)
    failures: list[Failure] = list(found.refused)
    located: list[Located] = []
    for series in progress(found.series, "localising", "series"):
        try:
            located += locate_series(localiser, series, rows_by_slice, Path(table).parent, side_mm)
        except Exception as error:  # whatever a series provokes, the others are still good
            failures.append(found.failure_of(series, "failed", root_message(error)))
    folder = Path(out)
    report(folder, located, failures, side_mm, seed, localiser.sha256)
    return exit_status(len(located), sum(row["status"] in ("unreadable", "failed") for row in failures))


def locate_series(
    localiser: Localiser, series: Series, rows_by_slice: Any, folder: Path, side_mm: float
) -> list[Located]:
    """Localise the slices of one series, and compare them with what is known."""
    from ..canal.outlines import locate
    from ..canal.points import beside
    from ..canal.truth import oriented_image

    image = oriented_image(series["image"])
    masks = [] if series["stack"] is not None else beside(Path(str(series["image"])))
    return locate(localiser, image, series, rows_by_slice, folder, masks, side_mm)


def report(
    folder: Path, located: list[Located], failures: list[Failure], side_mm: float, seed: int, weights_sha256: str
) -> None:
    """Write and print what was found."""
    from .. import records
    from ..canal.outlines import sheet, summary

    for name in RESULTS:  # of an earlier run
        (folder / name).unlink(missing_ok=True)
    write_csv(folder / "failures.csv", records.FAILURE_COLUMNS, failures)
    if not located:
        say(f"no series was localised; see {folder / 'failures.csv'}")
        return
    write_csv(folder / "localised.csv", COLUMNS, [one.row for one in located])
    facts = summary(located, FAR_MM)
    write_json(folder / "localiser.json", {**facts, "side_mm": side_mm, "weights_sha256": weights_sha256})
    sheet(located, folder / "localised.png", SHOWN, seed)
    say(f"{facts['n_series']} series, {facts['n_slices']} slices, {facts['n_flagged']} of them without a canal found")
    if facts["n_known"]:
        far = facts["far"]
        say(
            f"centre error in {facts['n_known']} slices that are known: median {facts['median_error_mm']:.2f} mm, 99th "
            f"percentile {facts['p99_error_mm']:.2f} mm; {100 * far['value']:.1f} % over {FAR_MM:g} mm, "
            f"{facts['n_far_unflagged']} of these slices not flagged"
        )
    for name in ("canal", "cord"):
        if facts[f"{name}_dice"] is not None:
            say(
                f"Dice of the {name}: median {facts[f'{name}_dice']:.3f}, 5th percentile {facts[f'{name}_dice_p5']:.3f}"
            )
    say(f"tables and picture: {folder}")
