"""Where a run's slices come from: the cohort the user names, or a phantom made on the spot."""

from __future__ import annotations

from pathlib import Path

import ignite.distributed as idist

from ..console import say
from ..errors import InputError, check_named
from .cohort import make_cohort

SEEDS = 2**31
"""Seeds that the phantom has; larger seeds of a run are taken modulo this."""


def datalist_path(dataset_dir: str | None, output_dir: str, phantom_patients: int, seed: int) -> str:
    """Return the datalist of a cohort; without a cohort, make a phantom one below ``output_dir`` and say so.

    Args:
        dataset_dir: folder with a datalist.json, or the datalist itself; None for the phantom.
        output_dir: folder of the run.
        phantom_patients: size of the phantom cohort.
        seed: its seed.

    Raises:
        InputError: ``dataset_dir`` does not exist or holds no datalist.
    """
    if dataset_dir is None:
        folder = Path(output_dir) / "phantom"
        if idist.get_rank() == 0:
            say(f"no --dataset_dir given: using a synthetic phantom cohort of {phantom_patients} patients in {folder}")
            make_cohort(folder, patients=phantom_patients, seed=seed % SEEDS, reuse=True)
        idist.barrier()
        return str(folder / "datalist.json")
    return find_datalist(dataset_dir)


def find_datalist(dataset_dir: str) -> str:
    """Return the datalist of a cohort, given by its folder or by the datalist itself.

    Raises:
        InputError: ``dataset_dir`` is empty, does not exist or holds no datalist.
    """
    check_named(dataset_dir)
    path = Path(dataset_dir)
    if path.suffix == ".json" and path.is_file():
        return str(path)
    if not path.is_dir():
        raise InputError(f"dataset_dir {path} is no folder; give the folder that holds datalist.json")
    if not (path / "datalist.json").is_file():
        raise InputError(
            f"dataset_dir {path} holds no datalist.json; make one with `python -m scripts split`, or omit "
            "--dataset_dir to train on a synthetic phantom"
        )
    return str(path / "datalist.json")
