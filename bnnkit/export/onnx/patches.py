"""The pixels that every tap of a kernel reads, as ONNX nodes that only copy: exact in every runtime."""

from __future__ import annotations

from numpy.typing import DTypeLike

from bnnkit.deploy.geometry import Shape, conv_shape
from bnnkit.export.onnx.graph import Graph, Value


def patches(
    graph: Graph,
    value: Value,
    in_shape: Shape,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dtype: DTypeLike,
    prefix: str = "",
) -> Value:
    """Add what a convolution multiplies with its weights: [N, taps * channels, out_height, out_width], padded with 0.

    Args:
        value: of `dtype`, [N, *in_shape].
        prefix: of the names of the nodes.
    """
    _, height, width = conv_shape(in_shape, in_shape[0], kernel, stride, padding, False)
    if any(padding):
        pads = graph.integers(0, 0, *padding, 0, 0, *padding)
        value = graph.add("Pad", f"{prefix}padded", value, pads, graph.number(0, dtype))
    if kernel == (1, 1) and stride == (1, 1):
        return value
    axes, steps = graph.integers(2, 3), graph.integers(*stride)
    taps = []
    for y in range(kernel[0]):
        for x in range(kernel[1]):
            ends = graph.integers(y + (height - 1) * stride[0] + 1, x + (width - 1) * stride[1] + 1)
            taps.append(graph.add("Slice", f"{prefix}tap.{y}.{x}", value, graph.integers(y, x), ends, axes, steps))
    return taps[0] if len(taps) == 1 else graph.add("Concat", f"{prefix}taps", *taps, axis=1)
