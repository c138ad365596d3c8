"""Where the optional material lies: golden answers and real datasets beside the checkout, never inside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("BNNKIT_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def _folder(name: str) -> Path:
    path = SHARED / name
    if not path.is_dir():
        pytest.skip(f"{name} files are not present (looked in {path}; set BNNKIT_SHARED)")
    return path


@pytest.fixture(scope="session")
def shared_golden() -> Path:
    """Folder of answers computed by the origin projects, or a skip that says where it was looked for."""
    return _folder("golden")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real datasets, or a skip that says where it was looked for."""
    return _folder("data")
