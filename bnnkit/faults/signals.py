"""Faults of what passes through a layer on arrays: the bits it reads, its partial sums, the codes of its converters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bnnkit.cim import Fault
from bnnkit.counter import hash32, normal, uniform
from bnnkit.deploy.faulty import ConverterFaults, InputFaults, LayerFaults
from bnnkit.errors import UsageError
from bnnkit.faults.sites import Map, Memory

SITES = ("activation", "partial-sum", "adc")
"""Those this file is about."""

_ACTIVATION, _CONVERSION, _OFFSET, _GAIN, _STUCK, _AMPLIFIER = range(0x1FA21, 0x1FA27)


def layer_faults(memory: Memory, faults: Sequence[Fault], key: Map) -> LayerFaults | None:
    """Return the faults of one layer in one map; None without any.

    Every column, an output of an array, has an offset and a gain of its own, fixed for the map; noise and flipped bits
    are new for every image. Offsets and noise of several faults add up, gains multiply.

    Raises:
        UsageError: two faults that flip bits in the same place.
    """
    mine = [fault for fault in faults if fault.site in SITES]
    bits = [fault for fault in mine if fault.site == "activation"]
    codes = [fault for fault in mine if fault.site == "adc" and fault.kind in ("flip", "random")]
    for several in (bits, codes):
        if len(several) > 1:
            raise UsageError(
                f"faults '{several[0]}' and '{several[1]}': at most one of them can be in the same bits",
                hint="leave one out",
            )
    columns = [fault for fault in mine if fault.site != "activation"]
    read = _bits_read(memory, bits[0], key) if bits else None
    converter = _converter(memory, columns, codes, key) if columns else None
    return LayerFaults(read, converter) if mine else None


def _bits_read(memory: Memory, fault: Fault, key: Map) -> InputFaults:
    state = int(hash32(*key, _ACTIVATION, memory.key))
    return InputFaults(fault.kind, fault.amount, state, fault.bit)  # type: ignore[arg-type]  # one of Fault's kinds


def _converter(memory: Memory, faults: Sequence[Fault], codes: Sequence[Fault], key: Map) -> ConverterFaults:
    arrays, _ = memory.columns()
    column = torch.arange(arrays * memory.outputs).view(arrays, memory.outputs)
    offset, gain = torch.zeros(column.shape, dtype=torch.float64), torch.ones(column.shape, dtype=torch.float64)
    stuck = torch.full(column.shape, -1, dtype=torch.int32)
    variance = 0.0
    for fault in faults:
        if fault.kind == "gauss":
            variance += fault.amount**2
        elif fault.kind == "offset":
            # What is added to the threshold of a sense amplifier is missing in the sum.
            site, sign = (_OFFSET, 1) if fault.site == "partial-sum" else (_AMPLIFIER, -1)
            offset += sign * fault.amount * normal(*key, site, memory.key, column)
        elif fault.kind == "gain":
            gain *= (1 + fault.amount * normal(*key, _GAIN, memory.key, column)).clamp(min=0)
        elif fault.kind in ("stuck0", "stuck1"):
            _stick(stuck, fault, memory, uniform(*key, _STUCK, memory.key, column))
    flip = codes[0] if codes else None
    return ConverterFaults(
        gain=gain,
        offset=offset,
        noise=variance**0.5,
        stuck=stuck,
        flip_kind=None if flip is None else flip.kind,  # type: ignore[arg-type]  # one of Fault's kinds
        flip_rate=0.0 if flip is None else flip.amount,
        flip_bit=None if flip is None else flip.bit,
        state=int(hash32(*key, _CONVERSION, memory.key)),
    )


def _stick(stuck: Tensor, fault: Fault, memory: Memory, drawn: Tensor) -> None:
    """Give the columns whose number is below the rate one code for ever: the lowest, or the highest."""
    adc = memory.layer.adc
    assert adc is not None, "checked by Network"
    highest = len(adc.levels) - 1
    stuck[drawn < fault.amount] = 0 if fault.kind == "stuck0" else highest
