"""What torch must know about the ops besides their kernels: output shapes without data (fake), and gradients.

`x` and `w` of the convolutions are the tensors their bits were packed from. The kernels do not read them and autograd
does not keep them: the gradient flows to them, computed from the bits alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bnnkit.ops.unpack import unpack_bits

_Ints = Sequence[int]


def _words(bits: int) -> int:
    return -(-bits // 64)


def _conv_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _fake_pack_pixels(
    x: Tensor,
    thresholds: Sequence[float],
    strict: bool,
    planes: int,
    thermometer: bool,
    groups: int,
    channels_per_array: int,
) -> Tensor:
    chunks = -(-(x.shape[1] // groups) // channels_per_array)
    row = groups * chunks * _words(channels_per_array) * 8
    return x.new_empty((planes, x.shape[0], *x.shape[2:], row), dtype=torch.uint8)


def _fake_pack_kernels(
    w: Tensor,
    thresholds: Sequence[float],
    strict: bool,
    planes: int,
    thermometer: bool,
    channels_per_array: int,
    tap: bool,
) -> Tensor:
    taps = w.shape[2] * w.shape[3] if w.dim() == 4 else 1
    chunks = -(-w.shape[1] // channels_per_array)
    words = taps * chunks * _words(channels_per_array) if tap else chunks * _words(taps * channels_per_array)
    return w.new_empty((planes, w.shape[0], words * 8), dtype=torch.uint8)


def _fake_output(
    x_bits: Tensor, w_bits: Tensor, kernel: _Ints, stride: _Ints, padding: _Ints, dilation: _Ints
) -> Tensor:
    size = [_conv_size(x_bits.shape[2 + i], kernel[i], stride[i], padding[i], dilation[i]) for i in range(2)]
    return x_bits.new_empty((x_bits.shape[1], w_bits.shape[1], *size), dtype=torch.float32)


def _fake_xnor_conv2d(
    x_bits: Tensor,
    w_bits: Tensor,
    x: Tensor | None,
    w: Tensor | None,
    bias: Tensor | None,
    channels: int,
    kernel: _Ints,
    stride: _Ints,
    padding: _Ints,
    dilation: _Ints,
    groups: int,
) -> Tensor:
    return _fake_output(x_bits, w_bits, kernel, stride, padding, dilation)


def _fake_xnor_conv2d_integers(
    x_bits: Tensor,
    w_bits: Tensor,
    bits: int,
    channels: int,
    kernel: _Ints,
    stride: _Ints,
    padding: _Ints,
    dilation: _Ints,
    groups: int,
) -> Tensor:
    sums = _fake_output(x_bits, w_bits, kernel, stride, padding, dilation)
    return sums.to(torch.int16 if bits == 16 else torch.int32)


def _fake_xnor_conv2d_bits(
    x_bits: Tensor,
    w_bits: Tensor,
    thresholds: Tensor,
    flip: Tensor,
    channels: int,
    kernel: _Ints,
    stride: _Ints,
    padding: _Ints,
    dilation: _Ints,
    groups: int,
) -> Tensor:
    batch, outputs, height, width = _fake_output(x_bits, w_bits, kernel, stride, padding, dilation).shape
    return x_bits.new_empty((1, batch, height, width, 8 * _words(outputs)))


def _fake_adc_conv2d(
    x_bits: Tensor,
    w_bits: Tensor,
    x: Tensor | None,
    w: Tensor | None,
    bias: Tensor | None,
    thresholds: Tensor,
    levels: Tensor,
    slopes: Tensor,
    scale: float,
    offset: float,
    x_unit: float,
    w_unit: float,
    x_thermometer: bool,
    w_thermometer: bool,
    channels: int,
    kernel: _Ints,
    stride: _Ints,
    padding: _Ints,
    dilation: _Ints,
    groups: int,
    channels_per_array: int,
    tap: bool,
) -> Tensor:
    return _fake_output(x_bits, w_bits, kernel, stride, padding, dilation)


def _fake_adc_conv2d_backward(
    gy: Tensor,
    x_bits: Tensor,
    w_bits: Tensor,
    slopes: Tensor | None,
    x_unit: float,
    w_unit: float,
    x_thermometer: bool,
    w_thermometer: bool,
    channels: int,
    kernel: _Ints,
    stride: _Ints,
    padding: _Ints,
    dilation: _Ints,
    groups: int,
    channels_per_array: int,
    tap: bool,
) -> list[Tensor]:
    gx = gy.new_empty((x_bits.shape[1], channels, x_bits.shape[2], x_bits.shape[3]))
    return [gx, gy.new_empty((w_bits.shape[1], channels // groups, kernel[0], kernel[1]))]


def _fake_adc_gradient_factors(
    gy: Tensor,
    x_bits: Tensor,
    w_bits: Tensor,
    slopes: Tensor | None,
    x_thermometer: bool,
    w_thermometer: bool,
    channels: int,
    kernel: _Ints,
    stride: _Ints,
    padding: _Ints,
    dilation: _Ints,
    groups: int,
    channels_per_array: int,
    tap: bool,
    first_array: int,
    arrays: int,
    bfloat16: bool,
) -> list[Tensor]:
    lines = 128 * -(-_words(channels_per_array * (1 if tap else kernel[0] * kernel[1])) // 2)
    matrices, pixels, outputs = groups * arrays, gy.shape[0] * gy.shape[2] * gy.shape[3], w_bits.shape[1] // groups
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    sizes = (matrices, pixels, outputs), (matrices, pixels, lines), (matrices, outputs, lines)
    return [gy.new_empty(size, dtype=dtype) for size in sizes]


def _fake_adc_fold_gradients(
    patches: Tensor,
    rows: Tensor,
    gx: Tensor,
    gw: Tensor,
    x_unit: float,
    w_unit: float,
    kernel: _Ints,
    stride: _Ints,
    padding: _Ints,
    dilation: _Ints,
    groups: int,
    channels_per_array: int,
    tap: bool,
    first_array: int,
) -> None:
    return None


def _fake_bit_serial_conv2d(
    x_bits: Tensor,
    cells: Tensor,
    slice_planes: _Ints,
    plane_weights: _Ints,
    dummies: _Ints,
    codes: Tensor | None,
    low: int,
    gain: Tensor | None,
    shift: Tensor | None,
    top: float,
    factor: Tensor,
    base: Tensor,
    scale: float,
    bias: Tensor | None,
    noise_amplitude: Tensor | None,
    noise_normal: Tensor | None,
    noise_seed: int,
    first_image: int,
    channels: int,
    kernel: _Ints,
    stride: _Ints,
    padding: _Ints,
    dilation: _Ints,
    channels_per_array: int,
    tap: bool,
) -> Tensor:
    return _fake_output(x_bits, cells, kernel, stride, padding, dilation)


def _fake_bit_serial_histogram(
    x_bits: Tensor,
    cells: Tensor,
    slice_planes: _Ints,
    plane_weights: _Ints,
    dummies: _Ints,
    low: int,
    high: int,
    by_column: bool,
    noise_amplitude: Tensor | None,
    noise_normal: Tensor | None,
    noise_seed: int,
    first_image: int,
    channels: int,
    kernel: _Ints,
    stride: _Ints,
    padding: _Ints,
    dilation: _Ints,
    channels_per_array: int,
    tap: bool,
) -> Tensor:
    pairs = x_bits.shape[0] * len(slice_planes)
    return x_bits.new_empty((pairs, cells.shape[1] if by_column else 1, high - low + 1), dtype=torch.int64)


def _fake_slice_weights(w: Tensor, bits: int, cell_bit: int) -> Tensor:
    return w.new_empty((-(-bits // cell_bit), *w.shape), dtype=torch.uint8)


def _fake_merge_slices(slices: Tensor, cell_bit: int) -> Tensor:
    return slices.new_empty(slices.shape[1:], dtype=torch.int32)


def _fake_dense_conv2d(x: Tensor, w: Tensor, bias: Tensor | None, stride: _Ints, padding: _Ints) -> Tensor:
    size = [_conv_size(x.shape[2 + i], w.shape[2 + i], stride[i], padding[i], 1) for i in range(2)]
    return x.new_empty((x.shape[0], w.shape[0], *size))


def _fake_bit_faults(
    bits: Tensor, state: Tensor, channels: int, channels_per_array: int, kind: int, limit: int, plane: int
) -> list[Tensor]:
    return [torch.empty_like(bits), bits.new_empty(2, dtype=torch.int64)]


def _fake_image_faults(
    images: Tensor, place: Tensor, value: Tensor, bit: int, source: int, truth: _Ints, limit: int
) -> list[Tensor]:
    return [torch.empty_like(images), images.new_empty(2, dtype=torch.int64)]


def _keep_xnor(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x_bits, w_bits, _, _, bias, channels, *geometry, groups = inputs
    ctx.save_for_backward(x_bits, w_bits)
    ctx.has_bias = bias is not None
    ctx.groups, ctx.geometry = groups, (channels, *geometry)
    ctx.arguments = (1.0, 1.0, False, False, channels, *geometry, groups, channels // groups, False)


def _keep_adc(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x_bits, w_bits, _, _, bias, _, _, slopes, _, _, *rest = inputs
    ctx.save_for_backward(x_bits, w_bits, slopes)
    ctx.has_bias = bias is not None
    ctx.arguments = tuple(rest)


def _gradients(ctx: Any, gy: Tensor, slopes: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    x_bits, w_bits = ctx.saved_tensors[:2]
    gy = gy.contiguous()
    gx, gw = torch.ops.bnnkit.adc_conv2d_backward(gy, x_bits, w_bits, slopes, *ctx.arguments)
    return gx, gw, gy.sum((0, 2, 3)) if ctx.has_bias else None


def _xnor_backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
    if gy.is_cuda:
        return _xnor_backward_by_torch(ctx, gy)
    return None, None, *_gradients(ctx, gy, None), *[None] * 6


def _xnor_backward_by_torch(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
    by_torch = ctx.groups == 1 and gy.numel() > 0  # torch refuses convolutions without outputs
    return None, None, *(_torch_gradients(ctx, gy) if by_torch else _gradients(ctx, gy, None)), *[None] * 6


def _torch_gradients(ctx: Any, gy: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the gradients of a convolution without converters by torch's own: faster on GPUs and some processors."""
    x_bits, w_bits = ctx.saved_tensors
    channels, kernel, stride, padding, dilation = ctx.geometry
    x = _signs(x_bits[0], channels).permute(0, 3, 1, 2)
    w = _signs(w_bits[0], kernel[0] * kernel[1] * channels).view(-1, *kernel, channels).permute(0, 3, 1, 2)
    none = [0, 0]
    gx, gw, _ = torch.ops.aten.convolution_backward(
        gy, x, w, None, stride, padding, dilation, False, none, 1, [True, True, False]
    )
    return gx, gw, gy.sum((0, 2, 3)) if ctx.has_bias else None


def _signs(packed: Tensor, count: int) -> Tensor:
    """Return the first `count` bits of each row of bytes as float32 signs."""
    return unpack_bits(packed, count).float().mul_(2).sub_(1)


def _adc_backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
    return None, None, *_gradients(ctx, gy, ctx.saved_tensors[2]), *[None] * 17


def register(*, kernel_gradients: bool) -> None:
    """Tell torch; called once, after the extension is loaded.

    Args:
        kernel_gradients: whether the gradients of a convolution without converters are the kernel's too, not torch's.
    """
    for fake in (
        _fake_pack_pixels,
        _fake_pack_kernels,
        _fake_xnor_conv2d,
        _fake_xnor_conv2d_integers,
        _fake_xnor_conv2d_bits,
        _fake_adc_conv2d,
        _fake_adc_conv2d_backward,
        _fake_adc_gradient_factors,
        _fake_adc_fold_gradients,
        _fake_bit_serial_conv2d,
        _fake_bit_serial_histogram,
        _fake_slice_weights,
        _fake_merge_slices,
        _fake_dense_conv2d,
        _fake_bit_faults,
        _fake_image_faults,
    ):
        torch.library.register_fake(f"bnnkit::{fake.__name__.removeprefix('_fake_')}", fake)
    xnor_backward = _xnor_backward if kernel_gradients else _xnor_backward_by_torch
    torch.library.register_autograd("bnnkit::xnor_conv2d", xnor_backward, setup_context=_keep_xnor)
    torch.library.register_autograd("bnnkit::adc_conv2d", _adc_backward, setup_context=_keep_adc)
