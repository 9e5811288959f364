"""The command ``python -m scripts phantom``."""

from __future__ import annotations

from pathlib import Path

from ..cluster.workers import Workers
from ..console import say
from ..datalists import datalist_info
from ..errors import InputError
from ..records import SECTIONS


def phantom(
    out: str,
    patients: int = 40,
    seed: int = 0,
    style: str = "tse",
    workers: int = 0,
    scheduler: str = "",
    twins: bool = False,
    slices: int = 0,
    matrix: int = 0,
    distractors: bool = True,
    rle: bool = False,
    contact_sheet: bool = False,
    reuse: bool = False,
    force: bool = False,
    layout: str = "dicom",
) -> None:
    """Make a cohort of synthetic cervical patients as DICOM or BIDS, with known answers.

    Of every ten patients one has the axial T2 as a single enhanced multi-frame file, and one as several stacks, each
    along a disc; the others have one straight stack of single-frame files.

    About 3 s of one CPU and 10 MB a patient. The same arguments give the same bytes, whatever the number of workers.

    Args:
        out: folder of the cohort; new or empty.
        patients: number of patients; 8 are enough to try things, 40 to learn from.
        seed: a whole number from 0 to 2^63 - 1; another seed gives other patients.
        style: tse (T2 turbo spin echo) or gre (T2*-weighted gradient echo, a domain shift).
        workers: processes; 0 for one per core.
        scheduler: address of a dask scheduler whose workers draw the patients instead, see docs/many_machines.md.
        twins: also write each series without its lesions, under twins/ (the truth for heat maps).
        slices: keep only this many axial slices about the most compressed one; 0 for the whole neck. With a number,
            nobody has stacks along the discs.
        matrix: pixels along a side; 0 for the scanner's own (GE's series, zero-filled, have twice as many).
        distractors: also write the sagittal T2, axial T1 and fat-suppressed axial T2 of each study.
        rle: compress the axial series losslessly; slow to write.
        contact_sheet: also draw the cohort as contact_sheet.png.
        reuse: keep an existing cohort that was made with the same arguments.
        force: replace an existing phantom cohort, in whose folder nothing else may lie.
        layout: dicom, or bids for NIfTI with the file names of the spine-generic data set; bids has neither a
            datalist.json nor a contact sheet.
    """
    from .bids import TRUTH, describe
    from .cohort import make_cohort
    from .contact_sheets import draw_contact_sheet
    from .rule_sensitivity import sensitivity_of_rule

    if layout == "bids" and contact_sheet:
        raise InputError("--contact_sheet draws DICOM; leave it out with --layout bids")
    kept = reuse and not force and Path(out).is_dir() and any(Path(out).iterdir())
    with Workers(workers, scheduler) as several:
        path = make_cohort(
            out,
            patients=patients,
            seed=seed,
            style=style,
            twins=twins,
            slices=slices or None,
            matrix=matrix or None,
            distractors=distractors,
            rle=rle,
            reuse=reuse,
            force=force,
            layout=layout,
            spread=several.spread,
        )
    if layout == "bids":
        say(describe(path.parent))
        verb = "kept the BIDS data set in" if kept else "wrote a BIDS data set to"
        say(f"{verb} {path.parent}; the answers are in {path.parent / TRUTH}")
        return
    counts = datalist_info(path)["counts"]
    for section in SECTIONS:
        n = counts[section]
        say(f"{section}: {n['patients']} patients, {n['slices']} slices, {n['compressed_slices']} compressed")
    say(sensitivity_of_rule(path.parent))
    say(f"{'kept' if kept else 'wrote'} {path}")
    if contact_sheet:
        say(f"wrote {draw_contact_sheet(path.parent)}")
