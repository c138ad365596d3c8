"""Activations of ReActNet's kind: a PReLU between two learned shifts, one of each per channel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnkit.reference import with_slope


class RPReLU(nn.Module):
    """y = prelu(x + bias_in) + bias_out with a learned slope per channel for negative values, initially 0.25.

    Shape: [N, C, H, W] float32, unchanged.

    Paper: Liu et al., "ReActNet", ECCV 2020.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias_in = nn.Parameter(torch.zeros(channels))
        self.slope = nn.Parameter(torch.full((channels,), 0.25))
        self.bias_out = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation of `x`."""
        y = F.prelu(x + self.bias_in.view(1, -1, 1, 1), self.slope)
        return y + self.bias_out.view(1, -1, 1, 1)


class ShiftRPReLU(nn.Module):
    """The same with slopes 2^round(log2_slope), which a chip computes by shifting; log2_slope is initially -3.

    Rounding passes gradients on unchanged.

    Shape: [N, C, H, W] float32, unchanged.

    Paper: A&B BNN, CVPR 2024 (origin Ruichen0424/AB-BNN, Q_PReLU).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias_in = nn.Parameter(torch.zeros(channels))
        self.log2_slope = nn.Parameter(torch.full((channels,), -3.0))
        self.bias_out = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation of `x`."""
        exponent = with_slope(self.log2_slope, self.log2_slope.round(), torch.ones_like(self.log2_slope))
        y = F.prelu(x + self.bias_in.view(1, -1, 1, 1), torch.exp2(exponent))
        return y + self.bias_out.view(1, -1, 1, 1)
