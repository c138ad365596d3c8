"""The specification: every operation on plain tensors, slow and short.

Nothing here is packed, blocked or fused, and nothing here imports a kernel; every kernel is tested against these
functions. A multi-bit layer works on integers (`integers`, value = integer / unit) and divides a partial sum by the
unit once: adding the values n/3, n/7, n/15 as floats would leave 1e-17 where the sum is 0, and 0 is a threshold.
Paper of the definitions: BNN-IGA, "impulse gradient approximation" (origin hpic-lab/BNN_IGA).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

VALUE_SIGMA = {1: 0.05, 1.5: 0.02, 2: 0.05, 3: 0.05, 4: 0.05}
"""Width of the impulse gradient of a value quantizer, in units of the value."""

TERNARY_THRESHOLD = 0.2


Pair: TypeAlias = int | tuple[int, int]
"""One number for both directions, or (vertical, horizontal)."""


class _Slope(torch.autograd.Function):
    """Give `value` as the result and `slope` as its derivative with respect to `x`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        return grad_outputs[0] * slope, None, None


def with_slope(x: Tensor, value: Tensor, slope: Tensor) -> Tensor:
    """Return `value`; in the backward pass the gradient that reaches `x` is the incoming one times `slope`."""
    return cast(Tensor, _Slope.apply(x, value, slope))  # type: ignore[no-untyped-call]


def unit_of(bits: float) -> int:
    """Return the integer that value 1 stands for, which is one less than the number of levels: 1, 2, 3, 7, 15."""
    return 2 if bits == 1.5 else 2 ** int(bits) - 1


def floor_code(x: Tensor, bits: int, lo: float, hi: float) -> Tensor:
    """Return floor((x + D/2 - lo) / D) with D = (hi - lo) / (2^bits - 1), limited to 0 .. 2^bits - 1, as float32.

    The division is torch's floor division (an exact floor of the float32 quotient), as in the origin's code:
    rounding the quotient first would move single inputs that lie on a threshold to the other side.
    """
    step = (hi - lo) / (2**bits - 1)
    code = torch.div(x.float() + step / 2 - lo, step, rounding_mode="floor")
    return code.clamp(0, 2**bits - 1)


def nearest_code(x: Tensor, bits: int) -> Tensor:
    """Return round((clip(x) + 1) / D), D = 2/(2^bits - 1), halves to even, as float32: A&B BNN and FracBNN.

    One bit is the sign with sign(0) = 1 (their code leaves 0, which trained floats do not hit).

    >>> nearest_code(torch.tensor([-0.7, 0.0, 0.7]), 2), nearest_code(torch.tensor([-0.0, 0.1]), 1)
    (tensor([0., 2., 3.]), tensor([1., 1.]))
    """
    x = x.float()
    return (x >= 0).float() if bits == 1 else ((x.clamp(-1, 1) + 1) / (2 / (2**bits - 1))).round()


def value_code(x: Tensor, bits: float, rule: str = "floor") -> Tensor:
    """Return the level index 0 .. levels-1 (float32) of each value of `x`; 1, 1.5, 2, 3 or 4 bits.

    Args:
        rule: what happens halfway between two levels: "floor" as in BNN-IGA, "nearest" as in `nearest_code`.

    >>> value_code(torch.tensor([-1.0, -0.1, 0.0, 0.2, 1.0]), 1.5)
    tensor([0., 1., 1., 2., 2.])
    """
    if rule == "nearest":
        return nearest_code(x, int(bits))
    x = x.float()
    if bits == 1:
        return (x > 0).float()
    if bits == 1.5:
        return 1 + (x >= TERNARY_THRESHOLD).float() - (x <= -TERNARY_THRESHOLD).float()
    return floor_code(x, int(bits), -1.0, 1.0)


def gaussian(distance: Tensor, sigma: float) -> Tensor:
    """Return the normal density of width `sigma` at `distance` from its centre."""
    return torch.exp(-(distance**2) / (2 * sigma * sigma)) / (sigma * math.sqrt(2 * math.pi))


def impulse_gradient(x: Tensor, step: float, sigma: float) -> Tensor:
    """Return step * N(distance of x to the nearest multiple of step; sigma): the IGA derivative of a staircase."""
    x = x.float()
    return step * gaussian(torch.remainder(x + step / 2, step) - step / 2, sigma)


def value_gradient(x: Tensor, bits: float, sigma: float | None = None) -> Tensor:
    """Return the IGA derivative of the value quantizer at `x`, float32, `sigma` in units of the value."""
    width = VALUE_SIGMA[bits] if sigma is None else sigma
    if bits == 1.5:
        return gaussian(x.float() - TERNARY_THRESHOLD, width) + gaussian(x.float() + TERNARY_THRESHOLD, width)
    return impulse_gradient(x, 2 / (2 ** int(bits) - 1), width)


def integers(
    x: Tensor, bits: float, *, gradient: str = "ste", sigma: float | None = None, rule: str = "floor"
) -> Tensor:
    """Quantize values in [-1, 1] to integers 2*code - unit, float64; outside they saturate.

    Args:
        x: any shape, float.
        bits: 1, 1.5, 2, 3, 4; 5 or more is the identity.
        gradient: "ste" (of slope `unit`) or "iga".
        sigma: width of the impulses; None takes `VALUE_SIGMA`.
        rule: see `value_code`.

    >>> integers(torch.tensor([-0.3, 0.0, 0.3]), 2)
    tensor([-1.,  1.,  1.], dtype=torch.float64)
    """
    if bits >= 5:
        return x.double()
    unit = unit_of(bits)
    slope = torch.ones_like(x) if gradient == "ste" else value_gradient(x, bits, sigma)
    return with_slope(x, 2 * value_code(x, bits, rule).double() - unit, slope.to(x.dtype) * unit)


def quantize(x: Tensor, bits: float, *, gradient: str = "ste", sigma: float | None = None) -> Tensor:
    """Quantize values in [-1, 1] to `integers` / unit, float32; 5 bits and more return `x` itself.

    >>> quantize(torch.tensor([-0.3, 0.0, 0.3]), 1)
    tensor([-1., -1.,  1.])
    """
    if bits >= 5:
        return x
    return (integers(x, bits, gradient=gradient, sigma=sigma) / unit_of(bits)).float()


def adc_code(ps: Tensor, bits: int, rows: int) -> Tensor:
    """Return the output code of a 1- to 4-bit converter of full scale +-rows at each partial sum, float32."""
    return (ps.float() > 0).float() if bits == 1 else floor_code(ps, bits, -float(rows), float(rows))


def adc_gradient(ps: Tensor, bits: int, rows: int, sigma: float) -> Tensor:
    """Return the impulse gradient d adc / d ps; `sigma` in units of the partial sum."""
    return impulse_gradient(ps, 2 * rows / (2**bits - 1), sigma)


def adc(ps: Tensor, bits: int, rows: int, sigma: float | None = None) -> Tensor:
    """Convert partial sums: -R + D*code, D = 2R/(2^bits - 1); 1 bit is a sense amplifier with 0 -> -R.

    5 bits and more return `ps`. With `sigma` the gradient is the impulse one, without it straight-through.

    >>> adc(torch.tensor([-3.0, 0.0, 3.0]), 1, 128)
    tensor([-128., -128.,  128.])
    """
    if bits >= 5:
        return ps
    step = 2 * rows / (2**bits - 1)
    value = adc_code(ps, bits, rows).to(ps.dtype) * step - rows
    slope = torch.ones_like(ps) if sigma is None else adc_gradient(ps, bits, rows, sigma).to(ps.dtype)
    return with_slope(ps, value, slope)


def convolve(x: Tensor, w: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> Tensor:
    """Return the plain convolution in double precision; padding taps contribute 0."""
    return F.conv2d(x.double(), w.double(), None, stride, padding, dilation, groups)


def array_slices(
    channels: int, kernel_h: int, kernel_w: int, mapping: str, rows: int, channels_per_array: int | None
) -> list[tuple[slice, slice, slice]]:
    """List what each array holds as (channels of one group, kernel rows, kernel columns).

    "channel": floor(rows / (kernel_h*kernel_w)) input channels with all their taps, the remainder last.
    "tap": for every tap, chunks of at most `rows` input channels.

    >>> array_slices(17, 3, 3, "channel", 128, None)[1]
    (slice(14, 17, None), slice(0, 3, None), slice(0, 3, None))
    """
    if mapping == "channel":
        size = channels_per_array or rows // (kernel_h * kernel_w)
        everything = (slice(0, kernel_h), slice(0, kernel_w))
        return [(slice(c, min(c + size, channels)), *everything) for c in range(0, channels, size)]
    taps = [(slice(i, i + 1), slice(j, j + 1)) for i in range(kernel_h) for j in range(kernel_w)]
    return [(slice(c, min(c + rows, channels)), *tap) for tap in taps for c in range(0, channels, rows)]


def adc_conv2d(
    x_q: Tensor,
    w_q: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    mapping: str,
    rows: int,
    channels_per_array: int | None,
    curve: Callable[[Tensor], Tensor],
    unit: int = 1,
    grid: tuple[float, float] | None = None,
) -> Tensor:
    """Convolve array by array, pass each array's partial sum through `curve`, and add up: the meaning of a CIM layer.

        y = bias + sum over arrays s of curve(conv(x_q[s], w_q[s]) / unit)

    Args:
        x_q: [N, C, H, W] quantized activations; for 1.5 bits and more their `integers`.
        w_q: [M, C/groups, kh, kw] quantized weights, or their integers.
        bias: [M] or None, full precision.
        mapping, rows, channels_per_array: which inputs share an array, see `array_slices`.
        curve: maps partial sums (float32 numbers held in float64) to converted values, differentiable.
        unit: product of the units of x_q and w_q where they are integers.
        grid: (scale, offset) when converted values are offset + scale * integer: the integers are then added, exactly,
            and scaled once. Without it, or with scale 0 (a constant), the values are added in double, where a sum that
            should be 0 may miss it.

    Returns:
        [N, M, H', W'] float32, differentiable in x_q, w_q and bias.
    """
    per_group, kernel_h, kernel_w = w_q.shape[1:]
    x_groups = x_q.reshape(len(x_q), groups, per_group, *x_q.shape[2:])
    total: Tensor | None = None
    arrays = 0
    if grid is not None and grid[0] == 0:
        grid = None
    for channels, tap_rows, tap_cols in array_slices(per_group, kernel_h, kernel_w, mapping, rows, channels_per_array):
        held = torch.zeros_like(w_q[:, channels])
        held[:, :, tap_rows, tap_cols] = w_q[:, channels, tap_rows, tap_cols]
        inputs = x_groups[:, :, channels].flatten(1, 2)
        ps = (convolve(inputs, held, stride, padding, dilation, groups) / unit).float().double()
        value = curve(ps)
        if grid is not None:
            level = (value - grid[1]) / grid[0]
            value = with_slope(level, level.round(), torch.ones_like(level))
        total = value if total is None else total + value
        arrays += 1
    assert total is not None
    if grid is not None:
        total = total * grid[0] + grid[1] * arrays
    if bias is not None:
        total = total + bias.double().view(1, -1, 1, 1)
    return total.float()


def adc_gemm(
    x_q: Tensor,
    w_q: Tensor,
    bias: Tensor | None,
    rows: int,
    curve: Callable[[Tensor], Tensor],
    unit: int = 1,
    grid: tuple[float, float] | None = None,
) -> Tensor:
    """Multiply [M, K] by [N, K] transposed with `rows` inputs per array: a 1x1 convolution of one pixel. [M, N]."""
    image, kernel = x_q[:, :, None, None], w_q[:, :, None, None]
    return adc_conv2d(image, kernel, bias, 1, 0, 1, 1, "channel", rows, None, curve, unit, grid).flatten(1)


def xnor_gemm(x: Tensor, w: Tensor) -> Tensor:
    """Return the int32 product [M, N] of sign values: x [M, K] and w [N, K] are compared against 0 (0 -> -1)."""
    signs = [2 * (t > 0).long() - 1 for t in (x, w)]
    return (signs[0] @ signs[1].T).int()


def pack_bits(values: Tensor) -> Tensor:
    """Pack rows of 0/1 (or of +-1) values: value i is bit i%8 of byte i//8, rows padded to 8-byte words with 0.

    >>> pack_bits(torch.tensor([[1, 0, 0, 1]]))[0, 0].item()
    9
    """
    bits = (values > 0).cpu().numpy().astype(np.uint8)
    words = -(-bits.shape[-1] // 64)
    padded = np.zeros((*bits.shape[:-1], 64 * words), np.uint8)
    padded[..., : bits.shape[-1]] = bits
    return torch.from_numpy(np.packbits(padded, axis=-1, bitorder="little"))


def slice_weights(w: Tensor, bits: int, cell_bit: int) -> Tensor:
    """Cut integers 0 .. 2^bits-1 into slices of `cell_bit` bits, least significant first: [slices, ...] uint8.

    >>> slice_weights(torch.tensor([7, 8]), 4, 1).tolist()
    [[1, 0], [1, 0], [1, 0], [0, 1]]
    """
    mask = 2**cell_bit - 1
    return torch.stack([(w.long() >> shift) & mask for shift in range(0, bits, cell_bit)]).to(torch.uint8)


def merge_slices(slices: Tensor, cell_bit: int) -> Tensor:
    """Undo `slice_weights`: int32 tensor of the shape of one slice."""
    weights = [slices[c].int() << (cell_bit * c) for c in range(len(slices))]
    return torch.stack(weights).sum(0, dtype=torch.int32)


SAWB_COEFFICIENTS = {
    2: (2.535, 1.619),
    3: (6.937, 6.287),
    4: (1 / 0.077, 1.013 / 0.077),
    5: (16.838, 17.567),
    6: (22.018, 23.595),
    7: (27.118, 29.562),
    8: (1 / 0.027, 1.114 / 0.027),
}
"""Bits to (a, b) of the clipping range a * std - b * mean|w|; 4 and 8 bits are the origin's, the others fitted."""


def pact_code(x: Tensor, alpha: Tensor, bits: int) -> Tensor:
    """Return round(min(max(x, 0), alpha) * (2^bits - 1) / alpha), ties to even, as float32.

    >>> pact_code(torch.tensor([-1.0, 1.0, 5.0]), torch.tensor(3.0), 2)
    tensor([0., 1., 3.])
    """
    codes: Tensor = (torch.minimum(x.clamp(min=0), alpha) * ((2**bits - 1) / alpha)).round()
    return codes


def dorefa_code(w: Tensor, bits: int) -> Tensor:
    """Return round((2^bits - 1) * (w / (2 max|w|) + 1/2)) of weights clipped to [-1, 1], as float32."""
    w = w.clamp(-1, 1)
    codes: Tensor = ((w / 2 / w.abs().max() + 0.5) * (2**bits - 1)).round()
    return codes


def sawb_range(w: Tensor, bits: int) -> Tensor:
    """Return SAWB's clipping range of a weight tensor, a float32 scalar.

    Where the regression does not hold (weights of one magnitude, too few of them) it is the largest magnitude.
    """
    a, b = SAWB_COEFFICIENTS[bits]
    spread = w.std() if w.numel() > 1 else torch.zeros_like(w).sum()
    alpha, largest = a * spread - b * w.abs().mean(), w.abs().max().clamp(min=1e-30)
    return torch.where(alpha > 0, alpha, largest)


def bit_serial_conv2d(
    codes: Tensor,
    cells: Tensor,
    bits: int,
    factors: Tensor,
    base: Tensor | float = 0.0,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    mapping: str = "tap",
    rows: int = 128,
    channels_per_array: int | None = None,
    convert: Callable[[Tensor, int, int], Tensor] = lambda v, z, c: v,
) -> Tensor:
    """Convolve unsigned codes with sliced weights, every partial sum through a converter: the meaning of a chip.

        y = base + sum over slices c, input bits z of
            factors[z, c] * sum over arrays s of convert(conv(bit z of codes, cells[c][s]))

    Where input bits share their factors, the sums are added first, 2^z times each.

    Args:
        bits: of the codes.
        codes: [N, C, H, W] unsigned integers.
        cells: [slices, M, C, kh, kw]; for ideal cells the differences of levels, otherwise any numbers.
        factors: float64 [bits or 1, slices, M or 1].
        base: float64 [M or 1].
        convert: (partial sums, input bit, slice) -> output codes.

    Returns:
        float64 [N, M, H', W'].
    """
    channels, kernel_h, kernel_w = cells.shape[2:]
    slices = array_slices(channels, kernel_h, kernel_w, mapping, rows, channels_per_array)
    total = torch.as_tensor(base, dtype=torch.float64).reshape(1, -1, 1, 1)
    for c in range(len(cells)):
        of_all_bits: Tensor | float = 0.0
        for z in range(bits):
            sums: Tensor | float = 0.0
            for held_channels, tap_rows, tap_cols in slices:
                held = torch.zeros_like(cells[c, :, held_channels])
                held[:, :, tap_rows, tap_cols] = cells[c, :, held_channels, tap_rows, tap_cols]
                inputs = (codes[:, held_channels].long() >> z) & 1
                sums = sums + convert(convolve(inputs, held, stride, padding, 1, 1), z, c)
            of_all_bits = of_all_bits + 2**z * sums
            if len(factors) > 1:
                total = total + factors[z, c].view(1, -1, 1, 1) * sums
        if len(factors) == 1:
            total = total + factors[0, c].view(1, -1, 1, 1) * of_all_bits
    return total


def batch_converter(v: Tensor, bits: int) -> Tensor:
    """Convert partial sums between their own smallest and largest, as the origin does: depends on the batch.

    step = (max - min) / 2^bits, code = clamp(round((v - min) / step), 0, 2^bits - 1), value = code * step + min.
    """
    low, high = v.min(), v.max()
    step = (high - low) / 2**bits
    if float(step) == 0:
        return v
    value: Tensor = ((v - low) / step).round().clamp(0, 2**bits - 1) * step + low
    return value


def gated_sums(high: Tensor, low: Tensor, opens: Tensor) -> Tensor:
    """Return 2 * high + low where `opens`, else 2 * high: FracBNN's precision gate on integer sums.

    Args:
        high, low: sums of +-1 products with the high and the low bits of the activations, whose value is
            (2 * high bit + low bit) / 3.
        opens: bool of the same shape, (2/3) * high > threshold.

    Returns:
        Three times the gated convolution, of the type of `high`.
    """
    return 2 * high + torch.where(opens, low, torch.zeros_like(low))


def thermometer(images: Tensor, resolution: int = 8) -> Tensor:
    """Return +-1 planes of uint8 images [N, C, H, W]: plane i of a channel is 1 where i < round(x / resolution).

    Halves are rounded to even. The round(255 / resolution) planes of a channel lie together: float32 [N, C * b, H, W].

    >>> thermometer(torch.tensor([[[[20]]]], dtype=torch.uint8), 100).flatten().tolist()   # 20 is less than half of it
    [-1.0, -1.0, -1.0]
    """
    planes = round(255 / resolution)
    level = (images.float() / resolution).round()
    set_bits = torch.arange(planes, device=images.device).view(1, 1, -1, 1, 1) < level.unsqueeze(2)
    return (2 * set_bits.float() - 1).flatten(1, 2)


def shift_add(sums: Tensor, exponents: Tensor, signs: Tensor, lift: int) -> Tensor:
    """Return sum over digits d of signs[d] * floor(sums * 2^lift / 2^shift[d]): a constant factor without a product.

    Args:
        sums: int64 [..., C].
        exponents, signs: [digits, C]; right shifts, and 1, -1 or 0.

    >>> shift_add(torch.tensor([[10]]), torch.tensor([[1], [3]]), torch.tensor([[1], [-1]]), 1)      # 20/2 - 20/8
    tensor([[8]])
    """
    lifted = sums.long() * 2**lift
    terms = [
        sign * torch.div(lifted, 2 ** shift.long(), rounding_mode="floor")
        for shift, sign in zip(exponents, signs, strict=True)
    ]
    return torch.stack(terms).sum(0)
