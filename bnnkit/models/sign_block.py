"""The building block of A&B BNN: signs, a binary convolution, a shortcut, an activation with power-of-two slopes."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnkit.models.base import Settings
from bnnkit.nn.activations import ShiftRPReLU
from bnnkit.nn.scaled import ScaledCimConv2d

ALPHA = 0.25
"""Weight of a block's convolution beside its shortcut; a shift by two bits."""

Shortcut: TypeAlias = Literal["identity", "pool", "pool-conv", "duplicate"]


class SignBlock(nn.Module):
    """x -> activation(alpha * conv(sign(beta * (x + offset / beta))) + shortcut(x)).

    The multiplication by beta, the mask layer, changes no sign: it shapes gradients in training, and evaluation drops
    it. The shortcut is x itself, its mean over 2 x 2 pixels, that mean through binary 1x1 weights (sums of values with
    signs), or x twice.
    """

    def __init__(
        self,
        settings: Settings,
        in_channels: int,
        out_channels: int,
        *,
        beta: float,
        kernel: int = 3,
        stride: int = 1,
        shortcut: Shortcut = "identity",
    ) -> None:
        super().__init__()
        self.beta = beta
        self.shortcut = shortcut
        self.offset = nn.Parameter(torch.zeros(in_channels))
        self.conv = settings.scaled_conv(in_channels, out_channels, kernel, stride)
        self.shortcut_conv: ScaledCimConv2d | None = None
        if shortcut == "pool-conv":
            self.shortcut_conv = settings.scaled_conv(in_channels, out_channels, 1, binary_input=False)
        self.activation = ShiftRPReLU(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        masked = (x + self.offset.view(1, -1, 1, 1) / self.beta) * self.beta
        y: Tensor = self.activation(self.conv(masked) * ALPHA + self._shortcut(x))
        return y

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.shortcut == "duplicate":
            return torch.cat([x, x], 1)
        if self.shortcut == "identity":
            return x
        pooled = F.avg_pool2d(x, 2)
        return pooled if self.shortcut_conv is None else self.shortcut_conv(pooled)
