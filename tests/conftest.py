"""Fixtures that several test files share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


@pytest.fixture(scope="session")
def root() -> Path:
    """The bundle's root folder."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real images, from $CORD_REAL_DATA or ../shared/data."""
    folder = Path(os.environ.get("CORD_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real images: neither $CORD_REAL_DATA nor {folder} is a folder")
    return folder
