"""The field's formulation of a layer on arrays, as plainly as published code has it: the opponent to beat.

Per array: take its channels, convolve the quantized values in float32, quantize the partial sum, add. Nothing counts
in integers, so a multi-bit partial sum on a threshold may round to either side; of 1-bit values all sums are exact.
Paper: BNN-IGA, impulse gradient approximation (origin hpic-lab/BNN_IGA).
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnkit.models import Model
from bnnkit.nn import CimConv2d, CimLinear


class QuantizedValue(torch.autograd.Function):
    """Quantize values in [-1, 1] to `bits` bits; straight-through gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bits: int) -> Tensor:
        return _sign(x, 1.0) if bits == 1 else _staircase(x, bits, 1.0)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        return grad_outputs[0], None


class ConvertedSum(torch.autograd.Function):
    """Convert a partial sum with `bits` bits over -rows .. +rows; impulse gradient of width `sigma`."""

    @staticmethod
    def forward(ctx: Any, ps: Tensor, bits: int, rows: int, sigma: float) -> Tensor:
        ctx.save_for_backward(ps)
        ctx.step = 2 * rows / (2**bits - 1)
        ctx.sigma = sigma
        return _sign(ps, float(rows)) if bits == 1 else _staircase(ps, bits, float(rows))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (ps,) = ctx.saved_tensors
        step, sigma = ctx.step, ctx.sigma
        distance = (ps + step / 2) % step - step / 2
        density = torch.exp(-(distance**2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
        return grad_outputs[0] * (step * density), None, None, None


def _sign(x: Tensor, size: float) -> Tensor:
    signs: Tensor = torch.where(x > 0, size, -size)
    return signs


def _staircase(x: Tensor, bits: int, top: float) -> Tensor:
    step = 2 * top / (2**bits - 1)
    levels: Tensor = (step * ((x + step / 2 + top) // step) - top).clamp(-top, top)
    return levels


class LoopLayer(nn.Module):
    """One product and one quantization per array, with the parameters of `layer` (shared, not copied).

    Args:
        layer: with a converter, mapping "channel", one group, and 1, 2, 3 or 4 bits.
    """

    def __init__(self, layer: CimConv2d | CimLinear) -> None:
        super().__init__()
        layout, adc = layer.layout(), layer.adc
        assert layout is not None and adc is not None and not layout.tap
        self.weight, self.bias = layer.weight, layer.bias
        self.channels = layout.channels_per_array
        self.rows, self.sigma = adc.rows, adc.sigma
        self.ao_bit, self.w_bit, self.adc_bit = layer.ao_bit, layer.w_bit, layer.adc_bit

    def forward(self, x: Tensor) -> Tensor:
        """Return the converted product of `x`."""
        values = QuantizedValue.apply(x, self.ao_bit)  # type: ignore[no-untyped-call]
        weights = QuantizedValue.apply(self.weight, self.w_bit)  # type: ignore[no-untyped-call]
        total: Any = 0
        for v, w in zip(values.split(self.channels, 1), weights.split(self.channels, 1), strict=True):
            ps = self.product(v, w)
            total = total + ConvertedSum.apply(ps, self.adc_bit, self.rows, self.sigma)  # type: ignore[no-untyped-call]
        result: Tensor = total if self.bias is None else total + self.bias.view(1, -1, *(1,) * (x.dim() - 2))
        return result

    def product(self, x: Tensor, w: Tensor) -> Tensor:
        """Return the partial sums of one array."""
        return F.linear(x, w)


class LoopConv2d(LoopLayer):
    """A convolution. Shape: [N, C, H, W] float32 -> [N, O, H', W'] float32."""

    def __init__(self, layer: CimConv2d) -> None:
        super().__init__(layer)
        assert layer.groups == 1
        self.stride, self.padding, self.dilation = layer.stride, layer.padding, layer.dilation

    def product(self, x: Tensor, w: Tensor) -> Tensor:
        """Return the partial sums of one array."""
        return F.conv2d(x, w, None, self.stride, self.padding, self.dilation)


def loop_network(model: Model) -> Model:
    """Return a copy of `model` whose layers on arrays are loops."""
    network = copy.deepcopy(model)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, CimConv2d):
                setattr(parent, name, LoopConv2d(child))
            elif isinstance(child, CimLinear):
                setattr(parent, name, LoopLayer(child))
    return network


@torch.no_grad()
def clamp_loop(network: nn.Module) -> None:
    """Clamp the latent weights and biases of all loops to [-1, 1], in place."""
    for layer in network.modules():
        if isinstance(layer, LoopLayer):
            layer.weight.clamp_(-1, 1)
            if layer.bias is not None:
                layer.bias.clamp_(-1, 1)
