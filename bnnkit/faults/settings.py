"""What a campaign evaluates: the rows of its tables."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

from bnnkit.cim.fault import RATES, SITES, Fault
from bnnkit.errors import UsageError
from bnnkit.faults.images import NO_REPAIR
from bnnkit.faults.repairs import Repair, parse_repair


@dataclass(frozen=True)
class Setting:
    """One row of a table: what is faulty, and what the memory of the images makes of it.

    Attributes:
        table: heading of the table.
        row: what the row is called in it.
        faults: all of them at once.
        repair: of the images.
        layers: those that faults of layers are in.
        amount: of the faults, where the table is a curve.
    """

    table: str
    row: str
    faults: tuple[Fault, ...]
    repair: Repair = NO_REPAIR
    layers: tuple[str, ...] = ()
    amount: float | None = None

    @property
    def varies(self) -> bool:
        """Whether two fault maps can differ."""
        return any(_varies(fault, self.repair) for fault in self.faults)

    @property
    def image_faults(self) -> tuple[Fault, ...]:
        """The faults of the memory that holds the images."""
        return tuple(fault for fault in self.faults if not SITES.get(fault.site).in_layers)

    @property
    def layer_faults(self) -> tuple[Fault, ...]:
        """The faults of the network."""
        return tuple(fault for fault in self.faults if SITES.get(fault.site).in_layers)


def _varies(fault: Fault, repair: Repair) -> bool:
    if fault.amount == 0:
        return False
    whole = fault.is_rate and fault.amount == 1
    repaired = fault.site == "input" and repair.source is not None
    return not whole or (fault.kind == "random" and not repaired)


def matching(layers: Sequence[str], pattern: str | None) -> tuple[str, ...]:
    """Return the layers whose names match a pattern such as "stages.2.*", or one of several; None matches all.

    Raises:
        UsageError: none does.

    >>> matching(["hidden.0", "hidden.1"], "*.1")
    ('hidden.1',)
    """
    if pattern is None:
        return tuple(layers)
    parts = [part.strip() for part in pattern.split(",")]
    found = tuple(name for name in layers if any(fnmatch.fnmatchcase(name, part) for part in parts))
    if not found:
        shown = ", ".join(layers[:4]) + (f", ... ({len(layers)} layers)" if len(layers) > 4 else "")
        raise UsageError(f"--layers '{pattern}': matches none of {shown}", hint=f"--layers '{layers[0]}'")
    return found


def of_faults(
    faults: Sequence[Fault],
    layers: Sequence[str],
    amounts: Sequence[float] = (),
    *,
    per_layer: bool = False,
    bits: int = 0,
) -> list[Setting]:
    """Return the rows for faults that a person combined: one, or one per amount, per layer or per bit.

    Args:
        layers: those that are meant.
        amounts: instead of the faults' own: a curve.
        bits: how many there are to be faulty one after the other; 0: as the faults say.

    Raises:
        UsageError: several of these at once.
    """
    named = [name for name, given in (("--rate", amounts), ("--per-layer", per_layer), ("--per-bit", bits)) if given]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)}: a table has rows of one kind", hint=f"leave out {named[1]}")
    heading, every = " and ".join(map(str, faults)), tuple(layers)
    if per_layer:
        return [Setting(heading, name, tuple(faults), layers=(name,)) for name in layers]
    if bits:
        rows = [tuple(fault.with_option("bit", str(bit)) for fault in faults) for bit in range(bits)]
        return [Setting(heading, f"bit {bit}", row, layers=every) for bit, row in enumerate(rows)]
    if amounts:
        heading = " and ".join(str(fault).replace(f"@{fault.amount:g}", "", 1) for fault in faults)
        rows = [tuple(fault.at(amount) for fault in faults) for amount in amounts]
        return [
            Setting(heading, f"{amount:.3g}", row, layers=every, amount=amount)
            for amount, row in zip(amounts, rows, strict=True)
        ]
    return [Setting(heading, "faulty", tuple(faults), layers=every)]


def of_images(bits: Sequence[int], kind: str, amounts: Sequence[float], repairs: Sequence[str]) -> list[Setting]:
    """Return the rows for a faulty bit of the image memory: a table per bit, without repair and with each.

    With several amounts the tables are curves, one per bit and repair.

    Raises:
        UsageError: no bit of a byte, an impossible amount or repair.
    """
    found = []
    for bit in bits:
        means = [NO_REPAIR, *(parse_repair(name, bit) for name in repairs)]
        for repair in dict.fromkeys(means):
            for amount in amounts:
                fault = Fault("input", kind, amount, (("bit", str(bit)),))
                name = "faulty" if repair.source is None else f"repair {repair.name}"
                if len(amounts) == 1:
                    found.append(Setting(describe(fault), name, (fault,), repair))
                    continue
                heading = f"bit {bit} of some pixels {RATES[kind]}"
                heading += "" if repair.source is None else f", repaired by {repair.name}"
                found.append(Setting(heading, f"{amount:.3g}", (fault,), repair, amount=amount))
    return found


def describe(fault: Fault) -> str:
    """Say in a few words what is faulty in the images.

    >>> describe(Fault("input", "flip", 0.01, (("bit", "6"),)))
    'bit 6 of 1 % of all pixels flipped'
    """
    where = "every pixel" if fault.amount == 1 else f"{100 * fault.amount:g} % of all pixels"
    return f"bit {fault.bit} of {where} {RATES[fault.kind]}"
