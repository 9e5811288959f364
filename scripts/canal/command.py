"""The ``canal`` command: from masks of cord and canal to canal.csv, the table that the localiser is trained on."""

from __future__ import annotations

from pathlib import Path

from ..console import say
from ..errors import InputError
from ..files import check_output


def canal(cohort: str, masks: str = "", out: str = "") -> int:
    """Find the masks of cord and canal that belong to a cohort's slices, and write their centres as canal.csv.

    Masks are NIfTI files in the grid of their images: those below MASKS whose names begin with the patient_id, and
    beside a NIfTI image those that begin with its name. `canal` in a name means the canal with the cord in it
    (`_label-canal_seg`); `label-SC_`, `_seg` or `cord` mean the cord (`_label-SC_seg`, `_seg-manual`). Any other name
    means both in one file, 1 around the cord and 2 in it, as the phantom writes. The centre is that of the canal, or
    of the cord where there is no mask of the canal. configs/canal/train.json trains on the table.

    Args:
        cohort: folder with a datalist.json, or the datalist itself.
        masks: folder of the masks; default COHORT/masks.
        out: the table to write; default canal.csv beside the datalist. Masks must lie below its folder.

    Returns:
        0 if every slice has a centre or an empty mask, 1 if some have no mask, 2 if none has.
    """
    from ..phantom.default_cohort import find_datalist
    from .points import make_table

    datalist = Path(find_datalist(cohort))
    target = check_output(out or datalist.parent / "canal.csv", keep=[datalist])
    folder = Path(masks) if masks else datalist.parent / "masks"
    if not folder.is_dir() and masks:
        raise InputError(f"{folder} is no folder; give the folder that holds the masks")
    found = make_table(datalist, folder, target)
    say(f"{target}: {found.centres} centres, {found.empty} slices with an empty mask, {found.without} without a mask")
    for reason, count in list(found.reasons.items())[:5]:
        say(f"  left out ({count} series): {reason}")
    return 1 if found.without else 0
