"""pack: float tensors to bit planes, laid out for the arrays that will read them."""

from __future__ import annotations

import torch
from torch import Tensor

from bnnkit.cim import Layout
from bnnkit.ops.extension import load
from bnnkit.quantizers import Quantizer


def pack_pixels(x: Tensor, quantizer: Quantizer, *, channels_per_array: int, groups: int = 1) -> Tensor:
    """Quantize activations and pack them, each chunk of channels in a slot of whole words.

    Plane p of a value's code is bit p (for a thermometer quantizer: whether it passes threshold p); bit i of a slot is
    channel i of its chunk; unused bits are 0.

    Args:
        x: float32 [N, C, H, W] in either memory format, or [N, C].
        quantizer: with at least one plane.
        channels_per_array: channels of a chunk; the last chunk of a group keeps the remainder.
        groups: convolution groups; each is chunked on its own.

    Returns:
        uint8 [planes, N, H, W, groups * chunks * 8 * ceil(channels_per_array / 64)] (without H, W for [N, C]).

    Raises:
        RuntimeError: for NaN, another dtype or device, or a group count that does not divide C.

    >>> import torch
    >>> from bnnkit.quantizers import make
    >>> pack_pixels(torch.tensor([[1.0, -1.0, 0.5]]), make(1), channels_per_array=3)
    tensor([[[5, 0, 0, 0, 0, 0, 0, 0]]], dtype=torch.uint8)
    """
    load()
    if x.dim() != 4 or not x.is_contiguous(memory_format=torch.channels_last):
        x = x.contiguous()
    return torch.ops.bnnkit.pack_pixels(x.detach(), *levels_of(quantizer), groups, channels_per_array)  # type: ignore[no-any-return]


def pack_kernels(w: Tensor, quantizer: Quantizer, *, layout: Layout) -> Tensor:
    """Quantize weights and pack each output channel into one row, array after array, every array on a word boundary.

    Args:
        w: float32 [O, C, kh, kw] or [O, C], C being the channels of one group.
        quantizer: with at least one plane.
        layout: how the reduction is cut into arrays.

    Returns:
        uint8 [planes, O, bytes].

    Raises:
        RuntimeError: for NaN, or another dtype or device.
    """
    load()
    return torch.ops.bnnkit.pack_kernels(  # type: ignore[no-any-return]
        w.detach().contiguous(), *levels_of(quantizer), layout.channels_per_array, layout.tap
    )


def levels_of(quantizer: Quantizer) -> tuple[list[float], bool, int, bool]:
    """Return the quantizer as the pack ops take it: thresholds, strict, planes, thermometer."""
    return list(quantizer.thresholds), quantizer.strict, quantizer.planes, quantizer.thermometer


def check_operands(x: Tensor, w: Tensor, layout: Layout, groups: int) -> None:
    """Raise `ValueError` unless x [N, C, H, W], w [O, C / groups, kh, kw] and the layout belong together."""
    if groups < 1 or x.shape[1] % groups:
        raise ValueError(f"groups: must divide the channels; {groups} do not divide {x.shape[1]}")
    if x.shape[1] != w.shape[1] * groups:
        raise ValueError(f"x: has {x.shape[1]} channels; {w.shape[1] * groups} needed for w and {groups} groups")
    if (layout.channels, layout.kernel_h, layout.kernel_w) != tuple(w.shape[1:]):
        given = (layout.channels, layout.kernel_h, layout.kernel_w)
        raise ValueError(f"layout: is for channels and kernel {given}; w has {tuple(w.shape[1:])}")
