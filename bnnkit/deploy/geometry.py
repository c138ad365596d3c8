"""How a layer moves over an image, and what shape it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from torch import Tensor, nn

from bnnkit.cim import Layout
from bnnkit.nn import CimConv2d, CimLinear

Shape: TypeAlias = tuple[int, int, int]
"""Channels, height, width."""

ArrayLayer: TypeAlias = CimConv2d | CimLinear


def layout_of(layer: ArrayLayer) -> Layout:
    """Return how a layer is cut into arrays; one array of everything where there is no converter."""
    found = layer.layout()
    if found is not None:
        return found
    height, width = layer.kernel_size if isinstance(layer, CimConv2d) else (1, 1)
    channels = layer.weight.shape[1]
    return Layout(channels, height, width, channels * height * width, channels, False)


def window_of(layer: nn.Module) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return stride and padding."""
    if not isinstance(layer, nn.Conv2d):
        return (1, 1), (0, 0)
    assert layer.groups == 1 and tuple(layer.dilation) == (1, 1) and not isinstance(layer.padding, str)
    (sh, sw), (ph, pw) = layer.stride, layer.padding
    return (sh, sw), (ph, pw)


def conv_shape(
    shape: Shape, channels: int, kernel: Sequence[int], stride: tuple[int, int], padding: tuple[int, int], pool: bool
) -> Shape:
    """Return the shape after a convolution, and after pooling 2 x 2 pixels if `pool`."""
    sizes = [(shape[i + 1] + 2 * padding[i] - kernel[i]) // stride[i] + 1 for i in range(2)]
    height, width = (size // 2 if pool else size for size in sizes)
    return channels, height, width


def kernel_of(weight: Tensor, shape: Shape) -> Tensor:
    """Return the weight of a convolution, or of a linear layer as that of a convolution over all its pixels."""
    return weight if weight.dim() == 4 else weight.reshape(len(weight), *shape)
