"""What the arithmetic of a network would take on a chip: counted operations times the energies of a file.

The packaged file, energy.toml, names the source of every figure; a copy of it with other figures can be read instead.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnnkit.deploy.operations import Operations
from bnnkit.errors import MissingError, UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

PACKAGED = Path(__file__).with_name("energy.toml")
"""Published figures, and assumptions where there are none."""

KINDS = (
    "binary_mac",
    "integer_addition",
    "float_addition",
    "shift",
    "comparison",
    "multiplication",
    "conversion",
)
"""What has an energy; additions of integers and of floats differ."""


@dataclass(frozen=True)
class Cost:
    """The energy of one operation.

    Attributes:
        picojoules: of one operation.
        source: where the figure comes from.
        bits: of the converter that the figure is for; None: it holds for all, and for everything but converters.
    """

    picojoules: float
    source: str
    bits: int | None = None

    def at(self, bits: int) -> Cost:
        """Return the cost with a converter of so many bits: every bit less halves it.

        >>> Cost(1.5, "a data sheet", bits=8).at(6).picojoules
        0.375
        """
        if self.bits is None:
            return self
        return Cost(self.picojoules * 2.0 ** (bits - self.bits), self.source, bits)


def by_kind(operations: Operations) -> dict[str, int]:
    """Return the operations of one step by kind.

    A step that multiplies works on floats, so its additions count as those of floats; all others add integers.

    >>> by_kind(Operations(additions=5, shifts=2))["integer_addition"]
    5
    >>> by_kind(Operations(additions=5, multiplications=2))["float_addition"]
    5
    """
    floats = operations.multiplications > 0
    return {
        "binary_mac": operations.binary_macs,
        "integer_addition": 0 if floats else operations.additions,
        "float_addition": operations.additions if floats else 0,
        "shift": operations.shifts,
        "comparison": operations.comparisons,
        "multiplication": operations.multiplications,
        "conversion": operations.conversions,
    }


def picojoules(counts: Mapping[str, int], costs: Mapping[str, Cost]) -> dict[str, float]:
    """Return the energy of counted operations by kind, in picojoules.

    >>> picojoules({"shift": 100}, {"shift": Cost(0.5, "a guess")})
    {'shift': 50.0}
    """
    return {kind: count * costs[kind].picojoules for kind, count in counts.items()}


def read(path: Path = PACKAGED, *, adc_bit: int | None = None) -> dict[str, Cost]:
    """Return the costs of a file, by kind.

    Args:
        path: a TOML file with a table per kind, see the packaged one.
        adc_bit: bits of the network's converters; None leaves the cost of a conversion as it stands in the file.

    Raises:
        MissingError: there is no such file.
        UsageError: it is not TOML, a kind is missing or unknown, or an entry is no energy.

    >>> read()["float_addition"].picojoules
    0.9
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise MissingError(f"{path}: {what}; a TOML file of energies was needed", hint=f"copy {PACKAGED}")
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as failure:
        raise UsageError(f"{path}: cannot be read as TOML ({failure})", hint=f"copy {PACKAGED}") from failure
    for kind in document:
        if kind not in KINDS:
            raise UsageError(f"{path}: [{kind}] is no kind of operation", hint=f"kinds: {', '.join(KINDS)}")
    costs = {kind: _cost(path, kind, document.get(kind)) for kind in KINDS}
    if adc_bit is not None:
        costs["conversion"] = costs["conversion"].at(adc_bit)
    return costs


def _cost(path: Path, kind: str, entry: Any) -> Cost:
    needed = f'needed: [{kind}] with picojoules = NUMBER and source = "TEXT"'
    if not isinstance(entry, dict):
        raise UsageError(f"{path}: [{kind}] is missing; every kind of operation was needed", hint=needed)
    energy, source, bits = entry.get("picojoules"), entry.get("source"), entry.get("bits")
    if isinstance(energy, bool) or not isinstance(energy, int | float) or not 0 <= energy < math.inf:
        raise UsageError(f"{path}: [{kind}] picojoules is {energy!r}; a number from 0 on was needed", hint=needed)
    if not isinstance(source, str) or not source.strip():
        raise UsageError(f"{path}: [{kind}] names no source; a text was needed", hint=needed)
    allowed = {"picojoules", "source"} | ({"bits"} if kind == "conversion" else set())
    if unknown := sorted(entry.keys() - allowed):
        raise UsageError(f"{path}: [{kind}] {unknown[0]} is unknown", hint=f"entries: {', '.join(sorted(allowed))}")
    if bits is not None and (isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 32):
        raise UsageError(f"{path}: [{kind}] bits is {bits!r}; 1 to 32 were needed", hint="leave bits out")
    return Cost(float(energy), source, bits)
