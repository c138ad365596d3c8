"""How torch's modules, functions and methods are read as operations of a packed network."""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.dropout import _DropoutNd as AnyDropout

from bnnkit.deploy.geometry import Shape, conv_shape
from bnnkit.deploy.graph import Graph, Reader, UnsupportedError, Value, Vocabulary
from bnnkit.nn import CimConv2d, CimLinear, GatedConv2d
from bnnkit.nn.activations import RPReLU
from bnnkit.nn.convertible import is_plain
from bnnkit.nn.evaluation import BatchNorm, MeanPool

BATCH = object()
"""The number of images, whatever it is."""

_FUNCTIONS: dict[Any, Reader] = {}

R = TypeVar("R", bound=Reader)


def _reads(*targets: Any) -> Callable[[R], R]:
    """Return a decorator that files a reader under functions, and under names of methods."""

    def file(reader: R) -> R:
        _FUNCTIONS.update(dict.fromkeys(targets, reader))
        return reader

    return file


@_reads(F.hardtanh, F.hardtanh_)
def _hardtanh(graph: Graph, input: Value, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Value:
    return _clamp(graph, input, min_val, max_val)


@_reads(torch.clamp, torch.clip, "clamp", "clamp_", "clip", "clip_")
def _clamp(graph: Graph, input: Value, min: float | None = None, max: float | None = None) -> Value:
    if (min, max) != (-1, 1):
        raise UnsupportedError(f"values from {min} to {max}; -1 to 1 were needed")
    return graph.add("clamp", (input,), input.node.shape)


@_reads(F.relu, torch.relu, "relu", "relu_")
def _relu(graph: Graph, input: Value, inplace: bool = False) -> Value:
    return _leaky_relu(graph, input, 0.0)


@_reads(F.leaky_relu)
def _leaky_relu(graph: Graph, input: Value, negative_slope: float = 0.01, inplace: bool = False) -> Value:
    return graph.add("slope", (input,), input.node.shape, slope=float(negative_slope))


@_reads(operator.add, operator.iadd, torch.add, "add", "add_", "__iadd__")
def _add(graph: Graph, input: Any, other: Any, alpha: float = 1) -> Value:
    if not isinstance(input, Value) or not isinstance(other, Value):
        raise UnsupportedError("a sum with something else than values of the network")
    shapes = (input.node.shape, input.flat), (other.node.shape, other.flat)
    if shapes[0] != shapes[1] or alpha != 1:
        raise UnsupportedError(f"a sum of {input.node.shape} and {other.node.shape}; equal shapes were needed")
    return graph.add("add", (input, other), input.node.shape)


@_reads(F.max_pool2d, torch.max_pool2d)
def _max_pool(
    graph: Graph,
    input: Value,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Value:
    size, pad = _one(kernel_size, "kernel"), _one(padding, "padding")
    step = size if stride in (None, ()) or stride == [] else _one(stride, "stride")
    if _one(dilation, "dilation") != 1 or return_indices:
        raise UnsupportedError("dilated windows, or indices of the largest values")
    return _window(graph, input, (size, step, pad), True, ceil_mode)


@_reads(F.avg_pool2d)
def _avg_pool(
    graph: Graph,
    input: Value,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Value:
    pixels = _pixels(input)
    sizes, pad = _pair(kernel_size), _one(padding, "padding")
    if pad == 0 and divisor_override is None and sizes == pixels:
        return graph.add("mean", (input,), (input.node.shape[0], 1, 1))
    size = _one(kernel_size, "kernel")
    step = size if stride is None else _one(stride, "stride")
    if (size, step, pad, divisor_override) != (2, 2, 0, None):
        raise UnsupportedError(
            f"means of {size} x {size} of {pixels[0]} x {pixels[1]} pixels; 2 x 2 or all were needed"
        )
    return _window(graph, input, (2, 2, 0), False, ceil_mode)


@_reads(F.adaptive_avg_pool2d)
def _adaptive_avg_pool(graph: Graph, input: Value, output_size: Any) -> Value:
    pixels = _pixels(input)
    wanted = tuple(p if size is None else size for p, size in zip(pixels, _pair(output_size), strict=True))
    if wanted == pixels:
        return input
    if wanted == (1, 1):
        return graph.add("mean", (input,), (input.node.shape[0], 1, 1))
    if pixels != (2 * wanted[0], 2 * wanted[1]):
        leave = f"means that leave {wanted[0]} x {wanted[1]} of {pixels[0]} x {pixels[1]} pixels"
        raise UnsupportedError(f"{leave}; means of 2 x 2 or of all pixels were needed")
    return _window(graph, input, (2, 2, 0), False, False)


@_reads(torch.mean, "mean")
def _mean(graph: Graph, input: Value, dim: Any = None, keepdim: bool = False) -> Value:
    _pixels(input)
    dims = {d % 4 for d in dim} if isinstance(dim, list | tuple) else set()
    if dims != {2, 3}:
        raise UnsupportedError(f"a mean over the dimensions {dim}; (2, 3) was needed")
    mean = graph.add("mean", (input,), (input.node.shape[0], 1, 1))
    return mean if keepdim else Value(mean.node, True)


@_reads(torch.flatten, "flatten")
def _flatten(graph: Graph, input: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    dims = 2 if input.flat else 4
    if start_dim % dims != 1 or end_dim % dims != dims - 1:
        raise UnsupportedError(f"flattened from dimension {start_dim} to {end_dim}; 1 to the last was needed")
    return _flat(graph, input)


@_reads("view", "reshape", torch.reshape)
def _view(graph: Graph, input: Value, *sizes: Any) -> Value:
    shape = tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], list | tuple) else sizes
    features = input.features
    if shape in ((BATCH, -1), (BATCH, features), (-1, features)):
        return _flat(graph, input)
    channels, height, width = input.node.shape
    if len(shape) == 4 and not input.flat and tuple(shape[1:]) == (channels, height, width):
        return input
    shown = ["N" if size is BATCH else size for size in shape]
    raise UnsupportedError(f"a view as {shown}; [N, {features}] was needed")


@_reads("contiguous")
def _unchanged(graph: Graph, input: Value) -> Value:
    return input


@_reads(F.dropout, F.dropout2d)
def _dropout(graph: Graph, input: Value, p: float = 0.5, training: bool = True, inplace: bool = False) -> Value:
    if training and p:
        raise UnsupportedError("it drops values in evaluation, too; training=self.training was needed")
    return input


@_reads("size")
def _size(graph: Graph, input: Value, dim: int | None = None) -> Any:
    sizes = (BATCH, input.features) if input.flat else (BATCH, *input.node.shape)
    return sizes if dim is None else sizes[dim]


@_reads(builtins.getattr)
def _attribute(graph: Graph, input: Value, name: str) -> Any:
    if name != "shape":
        raise UnsupportedError(f"the attribute {name} of a tensor")
    return _size(graph, input)


@_reads(operator.getitem)
def _item(graph: Graph, sizes: Any, at: Any) -> Any:
    if isinstance(sizes, tuple) and isinstance(at, int | slice):
        return sizes[at]
    raise UnsupportedError("a part of a tensor; parts of its shape are supported")


@_reads(operator.mul)
def _product(graph: Graph, left: Any, right: Any) -> int:
    if isinstance(left, int) and isinstance(right, int):
        return left * right
    raise UnsupportedError("products of tensors; products of sizes are supported")


def _flat(graph: Graph, value: Value) -> Value:
    if value.node.kind != "image" or value.flat:
        return Value(value.node, True)
    # A flat image has one pixel of many channels, so that it can be normalized, too.
    shape = (value.features, 1, 1)
    known = [node for node in graph.nodes if node.kind == "image" and node.shape == shape and node is not value.node]
    return Value(known[0] if known else graph.add("image", (), shape, "images").node, True)


def _window(graph: Graph, value: Value, window: tuple[int, int, int], maximum: bool, ceil_mode: bool) -> Value:
    size, stride, pad = window
    pixels = _pixels(value)
    if ceil_mode and any((p + 2 * pad - size) % stride for p in pixels):
        raise UnsupportedError(f"windows that pass the border of {pixels[0]} x {pixels[1]} pixels (ceil_mode)")
    shape = conv_shape(value.node.shape, value.node.shape[0], (size, size), (stride, stride), (pad, pad), False)
    return graph.add("window", (value,), _checked(shape), window=window, maximum=maximum)


def _checked(shape: Shape) -> Shape:
    if min(shape) < 1:
        raise UnsupportedError(f"it leaves {'x'.join(map(str, shape))}; larger images were needed")
    return shape


def _pixels(value: Value) -> tuple[int, int]:
    if value.flat:
        raise UnsupportedError("its input is flat; pixels were needed")
    return value.node.shape[1:]


def _pair(sizes: Any) -> tuple[Any, Any]:
    if isinstance(sizes, list | tuple):
        if len(sizes) == 1:
            return sizes[0], sizes[0]
        rows, cols = sizes
        return rows, cols
    return sizes, sizes


def _one(sizes: Any, what: str) -> int:
    rows, cols = _pair(sizes)
    if rows != cols:
        raise UnsupportedError(f"a {what} of {rows} x {cols}; squares are supported")
    return int(rows)


def _conv(graph: Graph, layer: nn.Module, name: str, value: Value) -> Value:
    assert isinstance(layer, nn.Conv2d)
    _pixels(value)
    if layer.groups != 1 or tuple(layer.dilation) != (1, 1):
        raise UnsupportedError(f"groups {layer.groups}, dilation {tuple(layer.dilation)}; 1 was needed")
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        raise UnsupportedError(f"padding '{layer.padding}' of {layer.padding_mode}; zeros by numbers were needed")
    if layer.in_channels != value.node.shape[0]:
        raise UnsupportedError(f"{layer.in_channels} input channels; it gets {value.node.shape[0]}")
    (sh, sw), (ph, pw) = layer.stride, layer.padding
    shape = conv_shape(value.node.shape, layer.out_channels, layer.kernel_size, (sh, sw), (ph, pw), False)
    return _layer(graph, layer, name, value, _checked(shape))


def _linear(graph: Graph, layer: nn.Module, name: str, value: Value) -> Value:
    assert isinstance(layer, nn.Linear)
    if not value.flat or layer.in_features != value.features:
        got = f"{'flat' if value.flat else 'pixels'} {'x'.join(map(str, value.node.shape))}"
        raise UnsupportedError(f"{layer.in_features} inputs; it gets {got}")
    return _layer(graph, layer, name, value, (layer.out_features, 1, 1))


def _layer(graph: Graph, layer: nn.Conv2d | nn.Linear, name: str, value: Value, shape: Shape) -> Value:
    if graph.calls(name):
        raise UnsupportedError("it is called twice; a layer for each call was needed")
    on_arrays = type(layer) in (CimConv2d, CimLinear, GatedConv2d)
    if not on_arrays and not is_plain(layer):
        raise UnsupportedError(f"a {type(layer).__name__}, which is neither plain nor on arrays")
    # Low-bit weights on values are sums with signs, and on no array.
    reads_bits = isinstance(layer, CimConv2d | CimLinear) and layer.activation.planes > 0
    return graph.add("array" if reads_bits else "dense", (value,), shape, name, layer=name)


def _norm(graph: Graph, norm: nn.Module, name: str, value: Value) -> Value:
    assert isinstance(norm, BatchNorm)
    if norm.running_mean is None or norm.running_var is None:
        raise UnsupportedError("it has no running statistics; track_running_stats=True was needed")
    if norm.num_features != value.node.shape[0]:
        raise UnsupportedError(f"{norm.num_features} features; it gets {'x'.join(map(str, value.node.shape))}")
    return graph.add("norm", (value,), value.node.shape, layer=name)


def _max_pool_module(graph: Graph, pool: nn.Module, name: str, value: Value) -> Value:
    assert isinstance(pool, nn.MaxPool2d)
    arguments = (pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode, pool.return_indices)
    return _max_pool(graph, value, *arguments)


def _avg_pool_module(graph: Graph, pool: nn.Module, name: str, value: Value) -> Value:
    assert isinstance(pool, nn.AvgPool2d)
    arguments = (pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode, True, pool.divisor_override)
    return _avg_pool(graph, value, *arguments)


def _adaptive_avg_pool_module(graph: Graph, pool: nn.Module, name: str, value: Value) -> Value:
    assert isinstance(pool, nn.AdaptiveAvgPool2d)
    return _adaptive_avg_pool(graph, value, pool.output_size)


def _hardtanh_module(graph: Graph, layer: nn.Module, name: str, value: Value) -> Value:
    assert isinstance(layer, nn.Hardtanh)
    return _clamp(graph, value, layer.min_val, layer.max_val)


def _flatten_module(graph: Graph, layer: nn.Module, name: str, value: Value) -> Value:
    assert isinstance(layer, nn.Flatten)
    return _flatten(graph, value, layer.start_dim, layer.end_dim)


def _mean_pool(graph: Graph, pool: nn.Module, name: str, value: Value) -> Value:
    return _mean(graph, value, (2, 3))


def _slope(graph: Graph, layer: nn.Module, name: str, value: Value) -> Value:
    slope: float | str = name
    if isinstance(layer, nn.ReLU | nn.LeakyReLU):
        slope = float(getattr(layer, "negative_slope", 0.0))
    return graph.add("slope", (value,), value.node.shape, slope=slope)


VOCABULARY = Vocabulary(
    functions=_FUNCTIONS,
    modules=(
        ((nn.Conv2d,), _conv),
        ((nn.Linear,), _linear),
        ((BatchNorm,), _norm),
        ((nn.ReLU, nn.LeakyReLU, nn.PReLU, RPReLU), _slope),
        ((nn.Hardtanh,), _hardtanh_module),
        ((nn.MaxPool2d,), _max_pool_module),
        ((nn.AvgPool2d,), _avg_pool_module),
        ((nn.AdaptiveAvgPool2d,), _adaptive_avg_pool_module),
        ((MeanPool,), _mean_pool),
        ((nn.Flatten,), _flatten_module),
        ((nn.Identity, AnyDropout), lambda graph, m, name, value: value),
    ),
)
