"""What a layer with faults computes, bit by bit and sum by sum in torch: the oracle of packed networks with faults."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from bnnkit import reference
from bnnkit.counter import hash32
from bnnkit.deploy import ConverterFaults, InputFaults, LayerFaults
from bnnkit.models import Model
from bnnkit.nn import CimConv2d, CimLinear

ONE = 65536


def step(state: int | Tensor, *keys: int | Tensor) -> int | Tensor:
    """Continue a chain of the counter."""
    for key in keys:
        state = hash32(state ^ key)
    return state


def with_faults(model: Model, layers: Mapping[str, LayerFaults], indices: Tensor) -> Model:
    """Let layers of a network in torch compute with faults, for images of these numbers, from now on."""
    for name, faults in layers.items():
        layer = model.get_submodule(name)
        layer.forward = partial(_forward, layer, faults, indices)  # type: ignore[method-assign]
    return model


def _forward(layer: nn.Module, faults: LayerFaults, indices: Tensor, x: Tensor) -> Tensor:
    assert isinstance(layer, CimConv2d | CimLinear)
    linear = isinstance(layer, CimLinear)
    pixels = x[:, :, None, None] if linear else x
    weight = layer.weight[:, :, None, None] if linear else layer.weight
    stride, padding = (1, 0) if linear else (layer.stride, layer.padding)
    numbers = indices.view(-1, 1, 1, 1)
    quantizer = layer.weight_quantizer
    w = 2 * quantizer.code(weight).double() - (quantizer.levels - 1)
    inputs = _integers(layer, pixels, faults.input, numbers)
    bias = 0 if layer.bias is None else layer.bias.double().view(-1, 1, 1)
    if layer.adc is None:
        y = reference.convolve(inputs, w, stride, padding, 1, 1) / layer.unit + bias
        return (y.flatten(1) if linear else y).float()
    mapping = "channel" if linear else layer.array.mapping
    slices = reference.array_slices(*w.shape[1:], mapping, layer.array.rows, layer.array.channels_per_array)
    total = torch.zeros((), dtype=torch.float64)
    for s, (channels, rows, columns) in enumerate(slices):
        held = torch.zeros_like(w[:, channels])
        held[:, :, rows, columns] = w[:, channels, rows, columns]
        sums = reference.convolve(inputs[:, channels], held, stride, padding, 1, 1).long()
        total = total + layer.adc.levels.long()[_codes(layer, sums, faults.converter, s, len(slices), numbers)]
    y = layer.adc.scale * total + layer.adc.offset * len(slices) + bias
    return (y.flatten(1) if linear else y).float()


def _integers(layer: CimConv2d | CimLinear, x: Tensor, faults: InputFaults | None, numbers: Tensor) -> Tensor:
    """Return the integers of the activations, float64, from their bits."""
    quantizer = layer.activation
    code, total = quantizer.code(x).long(), torch.zeros_like(x, dtype=torch.float64)
    element = torch.arange(x[0].numel()).view(1, *x.shape[1:])
    for p in range(quantizer.planes):
        bit = (code > p).long() if quantizer.thermometer else code >> p & 1
        if faults is not None and faults.bit in (None, p):
            h = step(faults.state, numbers, p, element)
            bit = _hit(bit, faults.kind, h, faults.rate)
        total += (2 * bit - 1) * (1 if quantizer.thermometer else 2**p)
    return total


def _hit(bit: Tensor, kind: str, h: Tensor, rate: float) -> Tensor:
    after = {"flip": 1 - bit, "stuck0": 0 * bit, "stuck1": 0 * bit + 1, "random": step(h, 1) & 1}[kind]
    return torch.where(h < rate * 2**32 - 0.5, after, bit)


def _codes(
    layer: CimConv2d | CimLinear, sums: Tensor, f: ConverterFaults | None, s: int, arrays: int, numbers: Tensor
) -> Tensor:
    adc = layer.adc
    assert adc is not None
    if f is None:
        return adc.curve.code(sums.float() / layer.unit)
    outputs, (height, width) = sums.shape[1], sums.shape[2:]
    place = torch.arange(height * width).view(1, 1, height, width) * arrays + s
    output = torch.arange(outputs).view(1, -1, 1, 1)
    v = sums * ONE
    if f.gain is not None:
        v = sums * (f.gain[s] * ONE).round().long().view(1, -1, 1, 1)
    if f.offset is not None:
        v = v + (f.offset[s] * layer.unit * ONE).round().long().view(1, -1, 1, 1)
    if f.noise:
        quantile = torch.special.ndtri((torch.arange(4096, dtype=torch.float64) + 0.5) / 4096)
        amplitude = round(f.noise * layer.unit * ONE)
        noise = ((quantile * ONE).round().long() * amplitude + ONE // 2).div(ONE, rounding_mode="floor")
        v = v + noise[step(f.state, numbers, place, output) >> 20]
    code = adc.curve.code((v.double() / ONE).float() / layer.unit)
    bits = (len(adc.levels) - 1).bit_length()
    for b in range(bits):
        if f.flip_kind is not None and f.flip_bit in (None, b):
            h = step(f.state, 2**32 - 1, numbers, place, output * bits + b)
            changed = _hit(code >> b & 1, f.flip_kind, h, f.flip_rate)
            code = code - (code & 2**b) + changed * 2**b
    code = code.clamp(max=len(adc.levels) - 1)
    if f.stuck is None:
        return code
    stuck = f.stuck[s].long().view(1, -1, 1, 1)
    return torch.where(stuck >= 0, stuck, code)
