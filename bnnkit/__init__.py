"""bnnkit: binary and low-bit neural networks for compute-in-memory chips.

    import bnnkit

    model = bnnkit.create_model("res20", ao_bit=1, w_bit=1, adc_bit=1)
    model = bnnkit.load("runs/train/latest/best-val.safetensors")
    net = bnnkit.convert(any_torch_network, adc_bit=2)

Submodules and torch are loaded on first use, so `import bnnkit` is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnnkit import cim, data, deploy, importers, nn, ops, reference
    from bnnkit.checkpoint import load
    from bnnkit.models import create_model
    from bnnkit.nn.convert import convert

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "cim",
    "convert",
    "create_model",
    "data",
    "deploy",
    "importers",
    "load",
    "nn",
    "ops",
    "reference",
]

_MODULES = ("cim", "data", "deploy", "importers", "nn", "ops", "reference")
_FUNCTIONS = {"convert": "bnnkit.nn", "create_model": "bnnkit.models", "load": "bnnkit.checkpoint"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"bnnkit.{name}")
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(_FUNCTIONS[name]), name)
    raise AttributeError(f"module 'bnnkit' has no attribute '{name}'")
