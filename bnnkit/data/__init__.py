"""Datasets: read official archives and image folders, keep them memory-mapped, augment and normalize them.

Everything that needs torch is imported when it is first used, so that listing and preparing datasets does not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from bnnkit.data.record import DATASETS, Record

if TYPE_CHECKING:
    from bnnkit.data import augment
    from bnnkit.data.build import is_prepared, prepare
    from bnnkit.data.dataset import Dataset, Split, fit_shape, load, normalize, validation_split

__all__ = [
    "DATASETS",
    "Dataset",
    "Record",
    "Split",
    "augment",
    "fit_shape",
    "is_prepared",
    "load",
    "normalize",
    "prepare",
    "validation_split",
]

_HOME = {"is_prepared": "build", "prepare": "build"}


def __getattr__(name: str) -> object:
    if name == "augment":
        return importlib.import_module(f"{__name__}.{name}")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME.get(name, 'dataset')}"), name)
