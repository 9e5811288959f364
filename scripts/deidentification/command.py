"""``python -m scripts deidentify``: checks its arguments and tables; what needs images is imported after that."""

from __future__ import annotations

from pathlib import Path

from ..console import say
from ..errors import InputError
from ..files import check_expanded, check_folder, resolved
from .linkage import NO_MODES, Linkage, read_private


def deidentify(source: str, out: str, linkage: str, dates: str = "shift", tables: str = "") -> int:
    """Copy MR images without identity, so that pixels and geometry stay bit for bit.

    The command keeps only listed attributes (image, geometry, acquisition) and removes all others. It replaces each UID
    by the same new UID everywhere. It does not copy objects that are not MR images or have text burned into their
    pixels. It refuses a whole series if one slice is damaged, or if two files with one SOPInstanceUID differ. It counts
    the images whose header does not state whether text is burned in: look at some. Faces can be recognised in head
    images; crop or deface them if yours show one.

    OUT/dicom/<pseudonym>/… holds the images, under names made from the new UIDs; OUT/ holds the tables. Neither OUT nor
    the printed text holds an original identifier; each written header is searched for names, numbers, places and dates
    of its source. Tables are read before any image and checked before any is copied. LINKAGE holds the secret key and
    the pseudonym of each patient. Do not share it (only you can read it; on Windows, put it into a folder that only you
    can open). With the same LINKAGE a later run gives the same pseudonyms and adds new patients. LINKAGE_refused.csv,
    also private, lists the files that were not copied, also in earlier runs.

    Exit status: 0 everything that may hold images was copied or refused, 1 something could not be read, 2 nothing was
    copied.

    Args:
        source: the folder with the originals; zips below it are copied from, too.
        out: a new or empty folder.
        linkage: CSV with the secret key and the pseudonyms; made if absent, extended if there. Not inside OUT.
        dates: shift (each patient's dates move back by their own number of days, intervals stay) or remove.
        tables: labels and patients to rename too, with commas between them, e.g. labels.csv,patients.csv. Rows about
            patients or images that are not copied are left out and counted.
    """
    if dates not in ("shift", "remove"):
        raise InputError(f"--dates must be shift or remove, got {dates!r}")
    target, secret = check_expanded(out, "OUT").absolute(), check_expanded(linkage, "LINKAGE").absolute()
    refusals = secret.with_name(f"{secret.stem}_refused.csv")
    try:
        target, secret = resolved(target), resolved(secret)
        check_places(resolved(source), target, secret)
        check_folder(target.parent, "OUT")
        check_folder(secret.parent, "LINKAGE")
        earlier = read_private(refusals)
    except OSError as error:
        raise InputError(f"{error.filename or secret} cannot be used: {error.strerror or error}") from error
    linkage_table = Linkage.read(secret)
    if NO_MODES:
        say(f"note: this system has no file modes that hide {secret} from others; keep it where only you can read")
    from .copying import copy_images
    from .tables import read_all

    return copy_images(source, target, secret, linkage_table, refusals, earlier, read_all(tables), dates == "shift")


def check_places(source: Path, out: Path, linkage: Path) -> None:
    """Refuse places where originals, copies and the key would mix."""
    if not source.exists():
        raise InputError(f"{source} does not exist; expected the folder with the original images")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not an empty folder; choose a new one")
    if linkage.is_relative_to(out):
        raise InputError(f"the linkage table {linkage} lies inside {out}; put it elsewhere, do not share it")
    if out.is_relative_to(source) or source.is_relative_to(out):
        raise InputError(f"{out} and {source} lie within each other; keep originals and copies apart")
