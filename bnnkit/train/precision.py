"""The arithmetic of the full-precision layers: first convolution, shortcuts, classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnkit.nn import BitSerial, Operands, ScaledCimConv2d, ScaledConv2d
from bnnkit.nn.evaluation import BatchNorm, MeanPool, normalize, scale_and_shift

PRECISIONS = ("fp32", "bf16")

STANDARDIZED = (ScaledConv2d, ScaledCimConv2d)
"""Layers that do not multiply with their weights as they are."""

Forward: TypeAlias = Callable[[Tensor], Tensor]


def float_layers(model: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    """Return the convolutions and linear layers that neither quantize nor convert anything."""
    return [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear) and not on_arrays(m)]


def on_arrays(layer: nn.Module) -> bool:
    """Return whether a layer quantizes its operands or converts partial sums, and so sees to its own exactness."""
    if isinstance(layer, BitSerial):
        return True
    return isinstance(layer, Operands) and not (layer.ao_bit == layer.w_bit == "fp" and layer.adc is None)


@contextmanager
def reduced_precision(model: nn.Module, precision: str, device: torch.device) -> Iterator[None]:
    """Compute the full-precision layers in bfloat16 inside the block ("bf16"), or change nothing ("fp32").

    Weights stay float32 and so does everything that enters or leaves a layer.
    """
    layers = float_layers(model) if precision == "bf16" else []
    with _replaced(layers, lambda layer: _in_bfloat16(layer.forward, device)):
        yield


@contextmanager
def repeatable(model: nn.Module) -> Iterator[None]:
    """Make the outputs independent of batch size and threads inside the block, for a network on arrays.

    Array layers sum integers. The other layers sum floats in an order that torch chooses by batch size and threads;
    they are computed in double precision, where the order is below what rounding to float32 keeps. Normalizations
    become one product and one sum. A difference in the last bit would otherwise be enough to flip a sign further on.
    Networks without array layers stay as they are.
    """
    layers: list[nn.Module] = []
    if any(on_arrays(m) for m in model.modules()):
        layers += float_layers(model)
        layers += [m for m in model.modules() if isinstance(m, BatchNorm | MeanPool)]
    with _replaced(layers, _repeatably):
        yield


@contextmanager
def _replaced(layers: Sequence[nn.Module], make: Callable[[nn.Module], Forward]) -> Iterator[None]:
    for layer in layers:
        layer.forward = make(layer)
    try:
        yield
    finally:
        for layer in layers:
            # The class's own forward comes back into view.
            del layer.forward


def _in_bfloat16(forward: Forward, device: torch.device) -> Forward:
    def computed(x: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            return forward(x).float()

    return computed


def _repeatably(layer: nn.Module) -> Forward:
    if isinstance(layer, BatchNorm):
        scale, shift = scale_and_shift(layer)
        return lambda x: normalize(x, scale, shift)
    if isinstance(layer, MeanPool):
        return lambda x: x.double().mean((2, 3)).float()
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    return _in_double(layer)


def _in_double(layer: nn.Conv2d | nn.Linear) -> Forward:
    def computed(x: Tensor) -> Tensor:
        used = layer.latent_weight() if isinstance(layer, Operands) else layer.weight
        used = layer.effective_weight() if isinstance(layer, STANDARDIZED) else used
        weight, bias = used.double(), None if layer.bias is None else layer.bias.double()
        if isinstance(layer, nn.Linear):
            return F.linear(x.double(), weight, bias).float()
        y: Tensor = layer._conv_forward(x.double(), weight, bias)
        return y.float()

    return computed
