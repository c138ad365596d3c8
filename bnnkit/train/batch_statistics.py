"""Batch normalization of a batch that several processes hold parts of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

Gather: TypeAlias = Callable[[Tensor], Tensor]
"""From a tensor to those of all processes, stacked in the order of their ranks: the same in each of them."""


class WholeBatch(TorchFunctionMode):
    """Normalize by the statistics of the whole batch wherever a network in training mode calls `F.batch_norm`.

    Modules are not touched: their running statistics, momentum and state are those of torch's own layers, and those
    that reshape before they normalize do so. (`torch.nn.SyncBatchNorm` would replace them, and refuses the processor.)

    Args:
        gather: exchanges statistics and their gradients, float64 [1 + 2 * channels] and [2 * channels].
        counts: whether the images of this process are part of the batch.

    >>> alone = WholeBatch(lambda statistics: statistics[None], counts=True)
    >>> norm, x = torch.nn.BatchNorm1d(3), torch.randn(8, 3)
    >>> with alone:
    ...     y = norm(x)
    >>> bool((y - norm(x)).abs().max() < 1e-6)
    True
    """

    def __init__(self, gather: Gather, *, counts: bool) -> None:
        super().__init__()
        self._gather, self._counts = gather, counts

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        if func is F.batch_norm and options.get("training"):
            return self._batch_norm(*args, **options)
        return func(*args, **options)

    def _batch_norm(
        self,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = True,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        mean, var, count = whole_statistics(x.detach(), self._gather, counts=self._counts)
        if running_mean is not None and running_var is not None:
            unbiased = var * (count / (count - 1))
            running_mean.copy_((1 - momentum) * running_mean + momentum * mean)
            running_var.copy_((1 - momentum) * running_var + momentum * unbiased)
        scale = (var + eps).rsqrt().float()
        y: Tensor = _Normalize.apply(  # type: ignore[no-untyped-call]
            x, weight, bias, mean.float(), scale, count, self._gather, self._counts
        )
        return y


def whole_statistics(x: Tensor, gather: Gather, *, counts: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and variance (biased) per channel over all processes, float64 [C], and of how many numbers, [].

        mean = sum of sums_r / n        n * var = sum of squares_r + n_r * (mean_r - mean)^2

    with the squares of differences from mean_r. Sums are in double, as in torch's own layer for images, whose float32
    results they give to the last bit, mostly: behind it signs are taken, also of outputs that are 0 up to rounding.
    Paper: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.

    Args:
        x: float32 [N, C, ...] of this process.

    >>> whole_statistics(torch.tensor([[1.0], [5.0]]), lambda statistics: statistics[None], counts=True)
    (tensor([3.], dtype=torch.float64), tensor([4.], dtype=torch.float64), tensor(2., dtype=torch.float64))
    """
    channels = x.shape[1]
    over, count = [0, *range(2, x.dim())], x.numel() // channels
    sums = x.sum(over, dtype=torch.float64)
    mean = (sums / count).float()
    squares = (x - mean.view(1, -1, *[1] * (x.dim() - 2))).square_().sum(over, dtype=torch.float64)
    squares -= count * (mean - sums / count) ** 2
    own = torch.cat([sums.new_tensor([count]), sums, squares])
    every = gather(own if counts else torch.zeros_like(own))
    counted, sums_of, squares_of = every.split([1, channels, channels], 1)
    total = counted.sum()
    whole = sums_of.sum(0) / total
    apart = torch.where(counted > 0, sums_of / counted, whole) - whole
    var = (squares_of + counted * apart**2).sum(0) / total
    return whole, var, total


class _Normalize(torch.autograd.Function):
    """y = (x - mean) * scale * weight + bias, where mean and scale = 1 / sqrt(var + eps) depend on the x of all.

    The gradients of weight and bias are those of this process: they are summed with all others.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        scale: Tensor,
        count: Tensor,
        gather: Gather,
        counts: bool,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, scale, count)
        ctx.gather, ctx.counts = gather, counts
        factor = scale if weight is None else scale * weight
        # With a variance of 1 torch's layer computes as it does in training with this mean and scale.
        return F.batch_norm(x, mean, torch.ones_like(mean), factor, bias, False, 0.0, 0.0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (dy,) = gradients
        x, weight, mean, scale, count = ctx.saved_tensors
        # The gradients of weight and bias alone: sums of dy * normalized x, and of dy.
        _, sum_product, sum_dy = torch.ops.aten.native_batch_norm_backward(
            dy, x, weight, None, None, mean, scale, True, 0.0, [False, True, True]
        )
        both = ctx.gather(torch.cat([sum_product, sum_dy]).double()).sum(0) / count
        mean_product, mean_dy = both.float().chunk(2)
        factor = scale if weight is None else scale * weight
        shape = (1, -1) + (1,) * (x.dim() - 2)
        dx = dy * factor.view(shape)
        if ctx.counts:
            # Through mean and scale; images that are not counted have no part in them.
            dx.sub_((x - mean.view(shape)).mul_((factor * scale * mean_product).view(shape)))
            dx.sub_((factor * mean_dy).view(shape))
        affine = (None, None) if weight is None else (sum_product, sum_dy)
        return (dx, *affine, None, None, None, None, None)
