"""The ``canal`` command: from masks of cord and canal to canal.csv, the table that the localiser is trained on."""

from __future__ import annotations

from pathlib import Path

from ..console import say
from ..errors import InputError
from ..files import check_output


def canal(cohort: str, masks: str = "", out: str = "") -> int:
    """Write canal.csv, where the spinal canal lies in each slice, from masks of cord and canal.

    The localiser is trained on this table (configs/canal/train.json). Each row has the centre of the canal in one
    slice of the cohort, or of the cord where only the cord is outlined.

    Masks are NIfTI files on the grid of their images. They lie in MASKS under names that begin with the patient_id, or
    beside a NIfTI image under names that begin with its name. The rest of the name says what is outlined: `canal`
    (`_label-canal_seg`) the canal with the cord in it; `label-SC_`, `_seg` or `cord` (`_label-SC_seg`, `_seg-manual`)
    the cord; any other name both, with values 1 around the cord and 2 in it, as in the phantom.

    Args:
        cohort: folder with a datalist.json (see `python -m scripts split`), or the datalist itself.
        masks: folder of the masks; default is `masks` beside the datalist.
        out: the table; default is canal.csv beside the datalist. The masks must lie below the folder of the table.

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
