"""xnor: matrix product and convolution of +-1 values, computed on packed bits.

Of packed operands `torch.ops.bnnkit.xnor_conv2d_integers` returns the sums as int16 or int32, and
`torch.ops.bnnkit.xnor_conv2d_bits` whether they reach a threshold per channel, packed as the next layer reads them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bnnkit.cim import Layout
from bnnkit.ops.pack import check_operands, pack_kernels, pack_pixels
from bnnkit.quantizers import Quantizer

Pair = tuple[int, int]


def xnor_conv2d(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    *,
    a: Quantizer,
    w_quantizer: Quantizer,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Tensor:
    """Convolve the signs of `x` and `w`: sum = valid - 2 * popcount(x ^ w), plus the bias.

    Args:
        x: float32 [N, C, H, W]; quantized by `a` to +-1. Padding contributes 0.
        w: float32 [O, C / groups, kh, kw]; quantized by `w_quantizer` to +-1.
        bias: float32 [O] or None.

    Returns:
        float32 [N, O, H', W'], exact integers plus the bias. Differentiable: gradients pass through the quantizers.

    Raises:
        ValueError: when the channels of x and w do not fit.
        RuntimeError: for NaN, other dtypes or devices, or 2^24 products and more per output.

    >>> import torch
    >>> from bnnkit.quantizers import make
    >>> xnor_conv2d(torch.ones(1, 3, 2, 2), torch.ones(1, 3, 1, 1), a=make(1), w_quantizer=make(1)).flatten()
    tensor([3., 3., 3., 3.])
    """
    channels = w.shape[1]
    layout = Layout(channels, w.shape[2], w.shape[3], channels * w.shape[2] * w.shape[3], channels, False)
    check_operands(x, w, layout, groups)
    x_bits = pack_pixels(x, a, channels_per_array=channels, groups=groups)
    w_bits = pack_kernels(w, w_quantizer, layout=layout)
    geometry = (x.shape[1], list(w.shape[2:]), list(stride), list(padding), list(dilation), groups)
    return torch.ops.bnnkit.xnor_conv2d(x_bits, w_bits, a.carry(x), w_quantizer.carry(w), bias, *geometry)  # type: ignore[no-any-return]


def xnor_linear(x: Tensor, w: Tensor, bias: Tensor | None = None, *, a: Quantizer, w_quantizer: Quantizer) -> Tensor:
    """Multiply the signs of `x` [M, K] and `w` [N, K]: float32 [M, N], exact integers plus the bias.

    Raises and differentiates as `xnor_conv2d`.

    >>> import torch
    >>> from bnnkit.quantizers import make
    >>> xnor_linear(torch.tensor([[1.0, -1.0, 1.0]]), torch.ones(2, 3), a=make(1), w_quantizer=make(1))
    tensor([[1., 1.]])
    """
    return xnor_conv2d(x[:, :, None, None], w[:, :, None, None], bias, a=a, w_quantizer=w_quantizer).flatten(1)
