"""Fixtures that several test files share."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# each of pytest-xdist's processes, and what it starts, takes its share of the cores; set before torch is imported
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    share = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))

# what shrinks a shipped config to seconds; never another config
SMALL: dict[str, Any] = {
    "architecture": "resnet18",
    "weights": None,
    "head": [16],
    "image_size": 64,
    "crop_fraction": 0.5,
    "batch_size": 8,
    "num_workers": 0,
    "precision": "fp32",
}

# a folder's name that URLs, shells, templates, patterns and MONAI's config language would read as something else
HOSTILE = "a b#c$d@e%20f'ü[g];h{i}&j~" + ("" if os.name == "nt" else '?k::l*m"n<o>')


@pytest.fixture(autouse=True)
def no_other_processes() -> Iterator[None]:
    """Let commands that take one process per core do their work in the process of the tests."""
    from scripts.cluster import workers

    # a patch of its own: a test's patches must be gone before its folder is removed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "cores", lambda: 1)
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    """The bundle's root folder."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real images, from $CORD_REAL_DATA or ../shared/data."""
    folder = Path(os.environ.get("CORD_REAL_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real images: neither $CORD_REAL_DATA nor {folder} is a folder")
    return folder


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small phantom cohort: 10 patients, 6 slices each, all vendors' encodings at 128 pixels."""
    from scripts.phantom.cohort import make_cohort

    folder = tmp_path_factory.mktemp("cohort") / "phantom"
    make_cohort(folder, patients=10, seed=3, slices=6, matrix=128)
    return folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go, a place whose name no output may hold."""
    folder = tmp_path / "TEMPORARY"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture(scope="session")
def axial_series(cohort: Path) -> Path:
    """Folder of one axial T2 series of the cohort, one file per slice."""
    entries = json.loads((cohort / "datalist.json").read_text())["training"]
    return (cohort / next(entry["image"] for entry in entries if not entry["frame"])).parent


@pytest.fixture(scope="session")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom cohort with twins of whole necks: patient 7 has an enhanced file, patient 8 disc-angled stacks."""
    from scripts.phantom.cohort import make_cohort

    folder = tmp_path_factory.mktemp("layouts") / "phantom"
    make_cohort(folder, patients=8, seed=3, matrix=128, twins=True, distractors=False)
    return folder


@pytest.fixture(scope="session")
def chain() -> Callable[..., Any]:
    """Build the deterministic preprocessing of inference.json for some image size."""
    from monai.bundle import ConfigParser

    def build(image_size: int = 64, crop_fraction: float = 1.0) -> Any:
        parser = ConfigParser()
        parser.read_config(str(ROOT / "configs" / "inference.json"))
        parser["image_size"], parser["crop_fraction"] = image_size, crop_fraction
        return parser.get_parsed_content("preprocessing")

    return build


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a small random network, with the settings of ``SMALL``."""
    import torch

    from scripts import checkpoints
    from scripts.networks import CordCompressionNet

    torch.manual_seed(2)  # one of those whose heat map is not all zero
    network = CordCompressionNet(SMALL["head"], architecture=SMALL["architecture"])
    own = {name: value for name, value in SMALL.items() if name in checkpoints.SETTINGS}
    settings = checkpoints.describe(**own, profile="imagenet")
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    checkpoints.save(path, network, settings, trained_on={"phantom": True})
    return path
