"""Small trainings on the embedded digits; with activations in full precision they need no compiled extension."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnnkit.train import Plan, resolve

TINY = {
    "dataset": "digits",
    "width": 1,
    "epochs": 3,
    "batch": 64,
    "limit": 200,
    "threads": 1,
    "ao_bit": "fp",
    "adc_bit": "fp",
}


@pytest.fixture
def tiny() -> Callable[..., Plan]:
    """Return a function that resolves a training of less than a second, with some options changed."""

    def make(model: str | None = "mlp", recipe: str | None = None, **changes: Any) -> Plan:
        options = {name: value for name, value in {**TINY, **changes}.items() if value is not None}
        return resolve(model, options, recipe=recipe)

    return make


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Folder of run directories."""
    return tmp_path / "runs"
