"""adc: convolution whose reduction is cut into arrays, each array's partial sum read by a converter."""

from __future__ import annotations

import torch
from torch import Tensor

from bnnkit.cim import Adc, Layout
from bnnkit.ops.pack import check_operands, pack_kernels, pack_pixels
from bnnkit.quantizers import Quantizer

Pair = tuple[int, int]


def adc_conv2d(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    *,
    a: Quantizer,
    w_quantizer: Quantizer,
    adc: Adc,
    layout: Layout,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Tensor:
    """Convolve quantized values array by array, converting every partial sum before adding:

        y = bias + sum over arrays s of ADC(conv(Q_a(x)[s], Q_w(w)[s]))

    Planes of multi-bit operands are combined before the converter. Partial sums are never stored, forward or backward:
    the backward pass recomputes them from the packed bits, so memory does not grow with the number of arrays.

    Args:
        x: float32 [N, C, H, W]; padding contributes 0.
        w: float32 [O, C / groups, kh, kw].
        bias: float32 [O] or None.
        a, w_quantizer: quantizers with at least one plane.
        adc: the converter; its gradient table stands in for the staircase's derivative.
        layout: how one group's reduction is cut (`Array.layout`).

    Returns:
        float32 [N, O, H', W']: the exact integer sum of converter levels, scaled in double and rounded once, so it
        does not depend on batch, threads or variant.

    Raises:
        ValueError: when x, w and layout do not belong together.
        RuntimeError: for NaN, other dtypes or devices.

    Paper: BNN-IGA, impulse gradient approximation.

    >>> import torch
    >>> from bnnkit.cim import Array
    >>> from bnnkit.quantizers import make
    >>> layout = Array(128).layout(28, 3, 3)        # two arrays of 14 channels
    >>> x, w = torch.ones(1, 28, 3, 3), torch.ones(1, 28, 3, 3)
    >>> adc_conv2d(x, w, a=make(1), w_quantizer=make(1), adc=Adc(1), layout=layout).item()
    256.0
    """
    check_operands(x, w, layout, groups)
    x_bits = pack_pixels(x, a, channels_per_array=layout.channels_per_array, groups=groups)
    w_bits = pack_kernels(w, w_quantizer, layout=layout)
    unit = a.unit * w_quantizer.unit
    reach = max(layout.rows_of(s) for s in range(layout.arrays))
    return torch.ops.bnnkit.adc_conv2d(  # type: ignore[no-any-return]
        x_bits,
        w_bits,
        a.carry(x),
        w_quantizer.carry(w),
        bias,
        adc.thresholds(unit, reach),
        adc.levels,
        adc.gradient_table(unit, reach, x.device),
        adc.scale,
        adc.offset,
        1 / a.unit,
        1 / w_quantizer.unit,
        a.thermometer,
        w_quantizer.thermometer,
        x.shape[1],
        list(w.shape[2:]),
        list(stride),
        list(padding),
        list(dilation),
        groups,
        layout.channels_per_array,
        layout.tap,
    )


def adc_linear(
    x: Tensor, w: Tensor, bias: Tensor | None = None, *, a: Quantizer, w_quantizer: Quantizer, adc: Adc, layout: Layout
) -> Tensor:
    """Multiply quantized `x` [M, K] and `w` [N, K] array by array: float32 [M, N]; see `adc_conv2d`.

    >>> import torch
    >>> from bnnkit.cim import Array
    >>> from bnnkit.quantizers import make
    >>> layout = Array(128).layout(130, 1, 1)       # 128 rows, and 2 left for the second array
    >>> adc_linear(torch.ones(1, 130), torch.ones(1, 130), a=make(1), w_quantizer=make(1), adc=Adc(1), layout=layout)
    tensor([[256.]])
    """
    pixels, kernels = x[:, :, None, None], w[:, :, None, None]
    return adc_conv2d(pixels, kernels, bias, a=a, w_quantizer=w_quantizer, adc=adc, layout=layout).flatten(1)
