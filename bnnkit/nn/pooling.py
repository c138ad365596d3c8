"""Average pooling whose result in evaluation does not depend on the order of a sum."""

from __future__ import annotations

from torch import Tensor, nn


class AvgPool2d(nn.AvgPool2d):
    """`torch.nn.AvgPool2d`; in evaluation means are computed in double and rounded once.

    >>> import torch
    >>> AvgPool2d(2).eval()(torch.ones(1, 3, 4, 4)).shape
    torch.Size([1, 3, 2, 2])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the means of `x`."""
        return super().forward(x) if self.training else super().forward(x.double()).float()


class AdaptiveAvgPool2d(nn.AdaptiveAvgPool2d):
    """`torch.nn.AdaptiveAvgPool2d`; in evaluation means are computed in double and rounded once.

    >>> import torch
    >>> AdaptiveAvgPool2d(1).eval()(torch.ones(1, 3, 4, 4)).shape
    torch.Size([1, 3, 1, 1])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the means of `x`."""
        return super().forward(x) if self.training else super().forward(x.double()).float()
