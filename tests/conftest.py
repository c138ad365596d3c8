"""Where the optional material lies: golden answers and real datasets beside the checkout, never inside it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

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


@pytest.fixture
def origin_state(shared_golden: Path) -> Callable[[str], dict[str, Tensor]]:
    """Return a function from a golden file of a network to the origin's parameters, drawn as its producer drew them."""
    namespace: dict[str, Any] = {}
    exec((shared_golden / "golden_fill.py").read_text(), namespace)

    def draw(name: str) -> dict[str, Tensor]:
        rng = np.random.default_rng(7)
        keys = json.loads(str(np.load(shared_golden / name)["keys"]))
        drawn = [(key, size) for key, size in keys if not key.endswith("placeholder")]  # a derived buffer
        return {key: torch.from_numpy(np.asarray(namespace["fill"](key, size, rng))) for key, size in drawn}

    return draw
