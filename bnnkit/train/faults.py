"""The faults that a network is trained with, as a config says them."""

from __future__ import annotations

from collections.abc import Iterable

from bnnkit.cim import Fault, parse_fault
from bnnkit.nn import check_trained


def trained_faults(texts: Iterable[str]) -> tuple[Fault, ...]:
    """Return the faults that a person means, in their order.

    Raises:
        UsageError: one that is not written like a fault, or that training does not know.

    >>> [fault.amount for fault in trained_faults(["weight:flip@1e-2"])]
    [0.01]
    """
    faults = tuple(parse_fault(text) for text in texts)
    for fault in faults:
        check_trained(fault)
    return faults


def as_in_config(texts: Iterable[str]) -> tuple[str, ...]:
    """Return faults as a config writes them: one way for all ways to write the same fault.

    >>> as_in_config(["weight:flip@1e-2"])
    ('weight:flip@0.01',)
    """
    return tuple(str(fault) for fault in trained_faults(texts))
