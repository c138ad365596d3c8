"""What the precision gates of a network did, and the penalty that trains them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnnkit.nn.gated import GatedConv2d


@dataclass(frozen=True)
class Gates:
    """How many of a network's gated outputs were computed with both bits of their activations.

    >>> (Gates(1, 4) + Gates(1, 1)).activation_bits
    1.4
    """

    open: int
    outputs: int

    @property
    def activation_bits(self) -> float:
        """Bits of activations that were used on average: 1, and 1 more where the gate was open."""
        return 1 + self.open / self.outputs if self.outputs else 1.0

    def __add__(self, other: Gates) -> Gates:
        return Gates(self.open + other.open, self.outputs + other.outputs)


def gated_layers(module: nn.Module) -> list[GatedConv2d]:
    """Return the layers with a precision gate."""
    return [layer for layer in module.modules() if isinstance(layer, GatedConv2d)]


def take_gates(module: nn.Module) -> Gates | None:
    """Return what was counted in evaluation mode since the last call, and start anew; None without gated layers."""
    layers = gated_layers(module)
    if not layers:
        return None
    counted = Gates(sum(layer.open for layer in layers), sum(layer.outputs for layer in layers))
    for layer in layers:
        layer.open = layer.outputs = 0
    return counted


def gate_sum_of_squares(module: nn.Module, target: float) -> Tensor | None:
    """Return the sum over gated layers of ||threshold - target||^2, differentiable; None without gated layers.

    Times 5e-6 it is the penalty FracBNN adds to its loss: thresholds that drift below all sums would open every gate.
    """
    layers = gated_layers(module)
    if not layers:
        return None
    return torch.stack([(layer.threshold - target).square().sum() for layer in layers]).sum()
