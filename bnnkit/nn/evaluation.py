"""Layers whose arithmetic in evaluation is part of their definition, so that every backend gives the same bits."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

__all__ = ["BatchNorm", "MaxPool", "MeanPool", "largest_of_four", "normalize", "scale_and_shift"]


class MeanPool(nn.Module):
    """Mean over all pixels: [N, C, H, W] -> [N, C]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class MaxPool(nn.MaxPool2d):
    """Maximum over 2 x 2 pixels: [N, C, H, W] -> [N, C, H // 2, W // 2].

    In evaluation as two comparisons of halves, a tenth of the time torch's pooling takes on a processor.
    """

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            pooled: Tensor = super().forward(x)
            return pooled
        return largest_of_four(x)


def largest_of_four(x: Tensor) -> Tensor:
    """Return the maximum over 2 x 2 pixels: [N, C, H, W] -> [N, C, H // 2, W // 2]."""
    height, width = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
    rows = torch.maximum(x[:, :, 0:height:2], x[:, :, 1:height:2])
    return torch.maximum(rows[..., 0:width:2], rows[..., 1:width:2])


@torch.no_grad()
def scale_and_shift(norm: BatchNorm) -> tuple[Tensor, Tensor]:
    """Return a trained batch normalization as y = scale * x + shift: two float32 [C], computed in double.

    >>> scale, shift = scale_and_shift(nn.BatchNorm1d(2))
    >>> scale.tolist(), shift.tolist()
    ([0.9999949932098389, 0.9999949932098389], [0.0, 0.0])
    """
    assert norm.running_mean is not None and norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    if norm.bias is not None:
        shift = shift + norm.bias.double()
    return scale.float(), shift.float()


def normalize(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return scale * x + shift per channel (dimension 1): a product and a sum, each rounded to float32.

    torch's own kernel may or may not fuse the two, depending on how it was built.
    """
    shape = (1, -1) + (1,) * (x.dim() - 2)
    return (x * scale.view(shape)).add_(shift.view(shape))
