"""What a memory reads instead of a bit that it knows to be faulty: a copy of another bit of the same byte."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bnnkit.errors import UsageError
from bnnkit.registry import Registry

TOP = 7
"""The most significant bit of a byte."""


@dataclass(frozen=True)
class Repair:
    """One repair of one bit.

    Attributes:
        name: as a person writes it, for example "neighbor" or "neighbor:+1".
        source: the bit that is copied; None without a repair.
    """

    name: str
    source: int | None


REPAIRS: Registry[Callable[[int, str], Repair]] = Registry("repair")
"""Functions from the faulty bit and what stands behind the colon to the repair; `parse_repair` checks the result."""


@REPAIRS.register("none")
def none(bit: int, argument: str) -> Repair:
    """Read the faulty bit as it is."""
    _refuse_argument("none", argument)
    return Repair("none", None)


@REPAIRS.register("neighbor")
def neighbor(bit: int, argument: str) -> Repair:
    """Copy the bit `argument` places higher; by default the adjacent lower one, -1."""
    try:
        offset = int(argument or "-1")
    except ValueError:
        raise UsageError(
            f"repair 'neighbor:{argument}': a whole number was needed as offset", hint="--repair neighbor:-1"
        ) from None
    return Repair("neighbor" if offset == -1 else f"neighbor:{offset:+d}", bit + offset)


@REPAIRS.register("msb")
def msb(bit: int, argument: str) -> Repair:
    """Copy the most significant bit, 7."""
    _refuse_argument("msb", argument)
    return Repair("msb", TOP)


def parse_repair(text: str, bit: int) -> Repair:
    """Return the repair of bit `bit` that a person means by NAME or NAME:ARGUMENT.

    Raises:
        UsageError: an unknown repair, or one that would copy a bit outside of the byte or the faulty bit itself.

    >>> parse_repair("neighbor", 6), parse_repair("neighbor:2", 5)
    (Repair(name='neighbor', source=5), Repair(name='neighbor:+2', source=7))
    """
    name, _, argument = text.partition(":")
    repair = REPAIRS.get(name)(bit, argument)
    if repair.source is None:
        return repair
    hint = f"--repair neighbor:{'+1' if bit == 0 else '-1'}"
    if not 0 <= repair.source <= TOP:
        raise UsageError(
            f"repair '{repair.name}' of bit {bit}: would copy bit {repair.source}; a byte has bits 0 to {TOP}",
            hint=hint,
        )
    if repair.source == bit:
        raise UsageError(
            f"repair '{repair.name}' of bit {bit}: would copy the faulty bit itself; another one was needed",
            hint=hint,
        )
    return repair


def _refuse_argument(name: str, argument: str) -> None:
    if argument:
        raise UsageError(f"repair '{name}:{argument}': takes nothing behind a colon", hint=f"--repair {name}")
