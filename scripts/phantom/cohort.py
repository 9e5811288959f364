"""A cohort of synthetic patients on disk: images, labels, attributes and truth, in the layout of a real cohort."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from ..cluster.spread import Spread, in_this_process
from ..cohort import geometry, looks
from ..cohort.divisions import split_patients
from ..cohort.labels import read_labels
from ..cohort.rulings import dispute, dispute_columns, open_slices
from ..console import progress
from ..datalists import write
from ..errors import InputError, check_seed, check_whole, naming
from ..files import check_folder, drafting, read_json, write_csv, write_json
from ..records import GEOMETRY_COLUMNS, LABEL_COLUMNS, LEVEL_COLUMNS, PATIENT_COLUMNS, SECTIONS, slice_key
from . import bids
from .findings import FINDING_COLUMNS
from .labels import SliceTruth
from .participants import participant_ids
from .patients import VERSION, Settings
from .readings import RATERS
from .scanners import STYLES
from .writing import Options, Record, write_patient

KEY_COLUMNS = ("patient_id", "series_uid", "sop_uid", "frame", "stack", "stack_slice", "image", "twin_image")
MEASURED_COLUMNS = tuple(name for name in SliceTruth.__dataclass_fields__ if name not in FINDING_COLUMNS)
CANAL_COLUMNS = ("canal_column_px", "canal_row_px")
RECIPE = "phantom.json"
TABLES = ("patients.csv", "labels.csv", "rulings.csv", geometry.FILE, "truth.csv")
WRITTEN = {
    "dicom": {*TABLES, RECIPE, "datalist.json", "dicom", "twins", "masks", "contact_sheet.png", looks.FILE, looks.LOCK},
    "bids": {"README", "dataset_description.json", "participants.tsv", "participants.json", "derivatives"},
}
"""What the top folder of a cohort holds, besides the ``sub-*`` of BIDS."""
RATER_COLUMNS = tuple(rater.name for rater in RATERS)
TRUTH_COLUMNS = (*KEY_COLUMNS, *MEASURED_COLUMNS, *CANAL_COLUMNS, *RATER_COLUMNS, *FINDING_COLUMNS)


def make_cohort(
    out: str | Path,
    patients: int = 40,
    seed: int = 0,
    style: str = "tse",
    twins: bool = False,
    slices: int | None = None,
    matrix: int | None = None,
    distractors: bool = True,
    rle: bool = False,
    reuse: bool = False,
    force: bool = False,
    layout: str = "dicom",
    spread: Spread = in_this_process,
) -> Path:
    """Make a cohort of synthetic cervical patients.

    The folder appears whole or not at all: it is made under another name beside ``out`` and renamed at the end. The
    same arguments give the same bytes in every file, for any number of processes; patient i is the same in cohorts of
    any size.

    Args:
        out: the cohort's folder; new, empty, or (with ``reuse`` or ``force``) a phantom cohort.
        patients: number of patients; 8 are enough to try things, 40 to learn from.
        seed: a whole number from 0 to 2^63 - 1.
        style: ``tse`` (T2 turbo spin echo) or ``gre`` (T2*-weighted gradient echo, a domain shift).
        twins: also write the lesion-free twin of each axial series under ``twins/``, in files of the same names.
        slices: keep only this many neighbouring axial slices about the most compressed one, of one straight stack;
            None for the whole neck.
        matrix: pixels along a side instead of the scanner's own 256 to 384 (zero-filled series have twice as many).
        distractors: also write each study's sagittal T2, axial T1 and axial fat-suppressed T2.
        rle: compress the axial series losslessly (RLE; slow to write).
        reuse: return an existing cohort with the same arguments instead of refusing.
        force: replace an existing phantom cohort.
        layout: ``dicom``, or ``bids`` for NIfTI in the layout of the spine-generic data set.
        spread: what shares the patients, see `scripts.cluster.workers`.

    Returns:
        path of ``datalist.json``, or in BIDS of ``dataset_description.json``.

    Raises:
        InputError: an argument out of range, or ``out`` holds something else.
    """
    out = Path(out).absolute()
    settings = Settings(seed=seed, style=style, slices=slices, matrix=matrix, layout=layout)
    options = Options(twins=twins, distractors=distractors, rle=rle)
    check(settings, patients)
    if layout == "bids" and rle:
        raise InputError("--rle compresses DICOM; leave it out with --layout bids, whose NIfTI is always compressed")
    recipe = {"version": VERSION, "patients": patients, **asdict(settings), **asdict(options)}
    if not vacant(out, recipe, reuse, force):
        return out / bids.INDEX[layout]
    check_folder(out.parent)
    with naming(out), drafting(out) as folder:
        records = list(render_patients(folder, settings, options, patients, spread))
        (bids.write_tables if layout == "bids" else write_tables)(folder, records, settings, recipe)
        try:
            if force and out.exists():
                shutil.rmtree(out)
            elif out.is_dir() and not any(out.iterdir()):
                out.rmdir()  # Windows renames onto nothing
            folder.rename(out)
        except OSError as error:
            if not (reuse and recipe_of(out) == recipe):  # else another process made the same cohort meanwhile
                raise InputError(f"the cohort is ready but {out} cannot be replaced ({error.strerror})") from error
    return out / bids.INDEX[layout]


def check(settings: Settings, patients: int) -> None:
    """Refuse arguments out of range."""
    if settings.style not in STYLES:
        raise InputError(f"style must be {' or '.join(STYLES)}, got {settings.style!r}")
    if settings.layout not in bids.INDEX:
        raise InputError(f"layout must be {' or '.join(bids.INDEX)}, got {settings.layout!r}")
    check_seed(settings.seed)
    limits: tuple[tuple[str, int | None, int, int], ...] = (
        ("patients", patients, 1, 9999),
        ("slices", settings.slices, 1, 45),
        ("matrix", settings.matrix, 64, 512),
    )
    for name, value, low, high in limits:
        if value is not None:
            check_whole(f"--{name}", value, low, high)


def recipe_of(folder: Path) -> dict[str, Any] | None:
    """Read what the phantom cohort in a folder was made with; None where there is none.

    `RECIPE` says it also where ``split`` has replaced the datalist; versions before 0.4.0 wrote the datalist alone.
    """
    for name in (RECIPE, *bids.INDEX.values()):
        content = read_json(folder / name) if (folder / name).is_file() else None
        recipe = content.get("phantom_recipe") if isinstance(content, Mapping) else None
        if recipe:
            return {"layout": "dicom", **recipe}  # the only one there was when recipes did not name it
    return None


def vacant(out: Path, recipe: Mapping[str, Any], reuse: bool, force: bool) -> bool:
    """Return whether a cohort must be made at ``out``; False where the same one may be reused.

    Raises:
        InputError: something is there that must not be replaced.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return True
    found = recipe_of(out) if out.is_dir() else None
    if found is None:
        raise InputError(f"{out} exists and is no phantom cohort; choose a new or empty folder for --out")
    if force:
        refuse_foreign(out, found["layout"])
        return True
    if reuse and found == recipe:
        refuse_incomplete(out, recipe)
        return False
    differences = [
        f"{name} {found.get(name)}, not {value}" for name, value in recipe.items() if found.get(name) != value
    ]
    what = f"another phantom cohort ({'; '.join(differences)})" if differences else "this phantom cohort already"
    raise InputError(f"{out} holds {what}; choose another --out, or replace it with --force")


def refuse_foreign(out: Path, layout: str) -> None:
    """Refuse to replace a cohort whose folder also holds what the phantom did not write."""
    foreign = sorted(
        path.name
        for path in out.iterdir()
        if path.name not in WRITTEN[layout] and not (layout == "bids" and path.name.startswith("sub-"))
    )
    if foreign:
        names = ", ".join(foreign[:5]) + (f" and {len(foreign) - 5} more" if len(foreign) > 5 else "")
        raise InputError(f"--force would also delete {names} in {out}; move that away, or choose another --out")


def refuse_incomplete(out: Path, recipe: Mapping[str, Any]) -> None:
    """Refuse to reuse a cohort of which something is gone, or whose datalist is no longer the phantom's own."""
    advice = "make it again with --force, or choose another --out"
    if recipe["layout"] == "bids":
        missing = [name for name in sorted(WRITTEN["bids"]) if not (out / name).exists()]
        n_people = len(list(out.glob("sub-*")))
        missing += [f"{recipe['patients'] - n_people} of the participants"] if n_people < recipe["patients"] else []
    else:
        content = read_json(out / "datalist.json") if (out / "datalist.json").is_file() else {}
        if content and content.get("phantom_recipe") is None:
            raise InputError(f"{out / 'datalist.json'} is no longer the phantom's own (`split` replaces it); {advice}")
        entries = [entry for section in SECTIONS for entry in content.get(section, ())]
        needed = [*TABLES, "datalist.json", "masks", *dict.fromkeys(str(entry["image"]) for entry in entries)]
        missing = [name for name in needed if not (out / name).exists()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise InputError(f"{out} is incomplete: {', '.join(missing[:3])}{more} missing; {advice}")


def render_patients(
    folder: Path, settings: Settings, options: Options, patients: int, spread: Spread
) -> Iterator[Record]:
    """Write every patient's images, and yield the records in the patients' order.

    Raises:
        InputError: a patient ends every process that draws it.
    """
    names = list(participant_ids(settings, patients)) if settings.layout == "bids" else [""] * patients
    made: dict[int, Record] = {}
    drawn = spread(partial(draw, folder, settings, options), [[one] for one in enumerate(names)])
    for ((index, _),), records in progress(drawn, "making the phantom cohort", "patient", patients):
        if records is None:
            raise InputError(
                "every process that draws a patient was killed, probably for want of memory; start again with fewer "
                "--workers, or with less else running"
            )
        (made[index],) = records
    yield from (made[index] for index in sorted(made))


def draw(folder: Path, settings: Settings, options: Options, numbered: Sequence[tuple[int, str]]) -> list[Record]:
    """Write patients, given by their numbers, and in BIDS by their names, too."""
    if settings.layout == "bids":
        return [bids.write_participant(folder, settings, options, index, name) for index, name in numbered]
    return [write_patient(folder, settings, options, index) for index, _ in numbered]


def split(records: list[Record], seed: int) -> dict[str, str]:
    """Divide the persons within each site, as in a real cohort; a small one so that every section has both labels."""
    sites = {r.patient["patient_id"]: r.patient["site"] for r in records}
    persons = {r.patient["patient_id"]: r.patient["person"] for r in records}
    labels = {r.patient["patient_id"]: {entry["label"] for entry in r.entries} for r in records}
    together = dict.fromkeys(sites, "")
    candidates = [
        split_patients({name: f"{site} {max(labels[name])}" for name, site in sites.items()}, seed, persons=persons),
        split_patients(sites, seed, persons=persons),
        *(split_patients(together, seed + attempt, persons=persons) for attempt in range(50)),
    ]

    def labels_found(section_of: Mapping[str, str]) -> int:
        return len({(section, label) for name, section in section_of.items() for label in labels[name]})

    return max(candidates, key=labels_found)  # the first of the best


def write_rulings(folder: Path, records: list[Record]) -> None:
    """Write rulings.csv: where the reference raters disagree, an adjudicator rules by the truth."""
    true = {slice_key(row): row["label"] for r in records for row in r.truth}
    labels = read_labels(folder / "labels.csv")
    rows = [dispute(group) | {"ruling": true[group[0].key], "ruled_by": "truth"} for group in open_slices(labels)]
    write_csv(folder / "rulings.csv", dispute_columns(labels), rows)


def write_tables(folder: Path, records: list[Record], settings: Settings, recipe: Mapping[str, Any]) -> None:
    """Write patients.csv, labels.csv, rulings.csv, geometry.csv, truth.csv, datalist.json and phantom.json."""
    write_csv(folder / "patients.csv", PATIENT_COLUMNS, [r.patient for r in records])
    write_csv(folder / "labels.csv", LABEL_COLUMNS, [row for r in records for row in r.labels])
    write_csv(folder / geometry.FILE, (*GEOMETRY_COLUMNS, *LEVEL_COLUMNS), [row for r in records for row in r.slices])
    write_csv(folder / "truth.csv", TRUTH_COLUMNS, [row for r in records for row in r.truth])
    write_rulings(folder, records)
    section_of = split(records, settings.seed)
    sections: dict[str, list[dict[str, Any]]] = {name: [] for name in SECTIONS}
    for r in records:
        sections[section_of[r.patient["patient_id"]]] += r.entries
    write_json(folder / RECIPE, {"phantom_recipe": dict(recipe)})
    facts = {"phantom": True, "style": settings.style, "phantom_recipe": dict(recipe)}
    write(folder / "datalist.json", sections, settings.seed, **facts)
