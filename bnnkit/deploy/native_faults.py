"""Faults as the compiled steps take them: in fixed point, in units of the integer partial sum, and checked."""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bnnkit.cim import Layout
from bnnkit.cim.curves import Curve
from bnnkit.deploy.faulty import ConverterFaults, InputFaults, LayerFaults
from bnnkit.deploy.fold import smallest
from bnnkit.deploy.geometry import ArrayLayer
from bnnkit.errors import UsageError
from bnnkit.nn import GatedConv2d

ONE = 1 << 16
"""1 in fixed point."""

QUANTILES = 4096
LARGEST = 2**15 - 1
"""Of gains, and of a noise's sigma in integer units; offsets may be 2^16 times larger."""


def native_faults(
    native: ModuleType, name: str, layer: ArrayLayer, layout: Layout, planes: int, faults: LayerFaults
) -> Any:
    """Return `_C.ArrayFaults` of a layer.

    Args:
        native: `bnnkit._C`.
        name: of the layer, for messages.
        planes: of the activations that it reads.

    Raises:
        UsageError: the layer has no such bit, no converter, or other arrays and outputs.
    """
    found, converter = faults.input, faults.converter
    return native.ArrayFaults(
        input=None if found is None else _input(native, name, planes, found),
        converter=None if converter is None else _converter(native, name, layer, layout, converter),
    )


def _input(native: ModuleType, name: str, planes: int, faults: InputFaults) -> Any:
    if faults.bit is not None and faults.bit >= planes:
        raise UsageError(f"layer {name}: bit {faults.bit} of its input; it reads {planes}", hint="use bit=0")
    return _bits(native, faults.kind, faults.below, faults.state, faults.bit)


def _converter(native: ModuleType, name: str, layer: ArrayLayer, layout: Layout, faults: ConverterFaults) -> Any:
    if isinstance(layer, GatedConv2d):
        raise UsageError(
            f"layer {name}: it converts the planes of its activations one after the other; "
            "faults in converters are for layers without precision gates",
            hint="choose another network or site",
        )
    if layer.adc is None:
        raise UsageError(f"layer {name}: it has no converter, hence no partial sums", hint="use --adc-bit 1")
    levels, shape = len(layer.adc.levels), (layout.arrays, layer.weight.shape[0])
    if faults.flip_bit is not None and 2**faults.flip_bit >= levels:
        raise UsageError(f"layer {name}: bit {faults.flip_bit} of a code; it has {levels} codes", hint="use bit=0")
    for part in ("gain", "offset", "stuck"):
        value = getattr(faults, part)
        if value is not None and value.shape != shape:
            raise UsageError(
                f"layer {name}: {part} of {list(value.shape)}; {list(shape)} was needed, arrays and outputs",
                hint="draw it for this layer's layout",
            )
    if faults.stuck is not None and not bool(((faults.stuck >= -1) & (faults.stuck < levels)).all()):
        raise UsageError(f"layer {name}: stuck codes; -1 to {levels - 1} was needed", hint="use -1 for none")
    sigma = faults.noise * layer.unit
    if sigma > LARGEST:
        raise UsageError(f"layer {name}: noise of sigma {faults.noise:g}", hint=f"use at most {LARGEST // layer.unit}")
    return native.ConverterFaults(
        thresholds=fixed_thresholds(layer.adc.curve, layer.unit).numpy(),
        gain=_fixed(name, "gain", faults.gain, 1, LARGEST, np.int32),
        offset=_fixed(name, "offset", faults.offset, layer.unit, LARGEST * ONE, np.int64),
        noise=(_normal_table() * round(sigma * ONE) + ONE // 2 >> 16).numpy() if sigma > 0 else None,
        state=faults.state,
        stuck=None if faults.stuck is None else faults.stuck.int().numpy(),
        bits=None
        if faults.flip_kind is None
        else _bits(native, faults.flip_kind, faults.below, faults.state, faults.flip_bit),
    )


def _bits(native: ModuleType, kind: str, below: int, state: int, bit: int | None) -> Any:
    found = getattr(native.BitKind, kind)
    return native.BitFaults(kind=found, below=below, state=state, bit=-1 if bit is None else bit)


def _fixed(name: str, part: str, value: Tensor | None, unit: int, largest: int, dtype: Any) -> Any:
    """Return numbers in fixed point, rounded to nearest, ties to even."""
    if value is None:
        return None
    value = value.double() * unit
    if not bool((value.abs() <= largest).all()):
        raise UsageError(f"layer {name}: {part} is not a number, or beyond {largest // unit}", hint="check its spread")
    return (value * ONE).round().numpy().astype(dtype)


@cache
@torch.inference_mode(False)
def fixed_thresholds(curve: Curve, unit: int) -> Tensor:
    """Return the thresholds of a converter in fixed point, int64 [levels - 1]: code = #{j : v >= threshold[j]}.

    Found by asking the curve, so integer sums have the codes they have without faults. (The integer thresholds of the
    converter would not do: they are the next integers, on average half a unit too high for sums that are none.)
    """
    codes, bound = torch.arange(1, len(curve.levels), device="cpu"), LARGEST * ONE * ONE
    return smallest(lambda v: curve.code((v.double() / ONE).float() / unit) >= codes, codes.shape, bound)


@cache
@torch.inference_mode(False)
def _normal_table() -> Tensor:
    """Return equally likely quantiles of the normal distribution in fixed point, int64 [4096]."""
    middles = (torch.arange(QUANTILES, dtype=torch.float64, device="cpu") + 0.5) / QUANTILES
    quantiles: Tensor = torch.special.ndtri(middles)
    return (quantiles * ONE).round().long()
