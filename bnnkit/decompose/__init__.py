"""Integer weights as planes of cells: what every cell holds, and which arrays hold the cells.

from pathlib import Path

from bnnkit import decompose

found = decompose.read(Path("weights.npz"))
settings = decompose.Settings(w_bit=4, cell_bit=2)
for weight in found.weights:
    planes = decompose.decompose(weight, settings)
    planes.plus                               # uint8 [slices, *weight.values.shape], least significant first
    planes.placement.arrays
"""

from bnnkit.decompose.arrays import Placement, place
from bnnkit.decompose.picture import draw, largest
from bnnkit.decompose.planes import Decomposition, Settings, Unsigned, decompose, verify
from bnnkit.decompose.result import as_json, check_name, save, totals
from bnnkit.decompose.source import Found, Weight, holds_tensors, of_model, read

__all__ = [
    "Decomposition",
    "Found",
    "Placement",
    "Settings",
    "Unsigned",
    "Weight",
    "as_json",
    "check_name",
    "decompose",
    "draw",
    "holds_tensors",
    "largest",
    "of_model",
    "place",
    "read",
    "save",
    "totals",
    "verify",
]
