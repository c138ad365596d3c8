"""The steps of a packed network as ONNX nodes: standard operators that give the same numbers, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bnnkit.deploy.description import (
    ArrayStep,
    DenseStep,
    Description,
    ImageStep,
    MeanStep,
    SignedSumStep,
    ThermometerStep,
    WindowStep,
)
from bnnkit.deploy.geometry import conv_shape
from bnnkit.export.onnx.arrays import array_values
from bnnkit.export.onnx.finish import Buffers, finish, staircase
from bnnkit.export.onnx.graph import Graph, Value
from bnnkit.export.onnx.patches import patches

INPUT, OUTPUT = "images", "logits"


def graph_of(description: Description) -> Graph:
    """Return a network as nodes from "images", uint8 [N, *in_shape], to "logits", float32 [N, classes].

    >>> from bnnkit import create_model, deploy
    >>> packed = deploy.compile(create_model("mlp", in_shape=(1, 8, 8)).eval(), (0.5,), (0.25,))
    >>> [node.name for node in graph_of(packed.describe()).nodes][:3]
    ['images/index', 'images/values', 'images/flat']
    """
    graph, buffers = Graph(), Buffers()
    for step in description.steps:
        graph.layer = step.name
        if isinstance(step, ThermometerStep):
            buffers.codes[step.finish.out] = _thermometer(graph, step)
        else:
            finish(graph, step.finish, _VALUES[type(step)](graph, step, buffers), buffers)
    last = buffers.values[description.steps[-1].finish.out]
    graph.layer = ""
    graph.add("Reshape", OUTPUT, last, graph.integers(0, description.classes))
    return graph


def _image(graph: Graph, step: ImageStep, _: Buffers) -> Value:
    """Every byte of every channel has its value in a table."""
    channels = step.in_shape[0]
    index = graph.cast("index", INPUT, np.int32)
    if channels > 1:
        first = graph.per_channel("first_of_channel", 256 * np.arange(channels), np.int32)
        index = graph.add("Add", "index_of_channel", index, first)
    value = graph.add("Gather", "values", graph.constant("value_of_byte", step.values.reshape(-1)), index)
    return value if step.shape == step.in_shape else graph.reshape("flat", value, step.shape)


def _thermometer(graph: Graph, step: ThermometerStep) -> Value:
    channels, height, width = step.in_shape
    bits = np.where(np.asarray(step.set_bits)[:, None] > np.arange(step.planes), 1, -1).astype(np.float32)
    index = graph.cast("index", INPUT, np.int32)
    planes = graph.add("Gather", "planes_last", graph.constant("planes_of_byte", bits), index)
    planes = graph.add("Transpose", "planes", planes, perm=[0, 1, 4, 2, 3])
    return graph.reshape("bits", planes, (channels * step.planes, height, width))


def _window(graph: Graph, step: WindowStep, buffers: Buffers) -> Value:
    value = buffers.values[step.in_buffer]
    if step.level_values:
        thresholds = np.asarray(step.level_thresholds, np.float32).reshape(-1, 1, 1, 1)
        value = staircase(graph, "levels", value, thresholds, step.level_values)
    if step.maximum:
        size, stride, pad = [step.size] * 2, [step.stride] * 2, [step.pad] * 4
        value = graph.add("MaxPool", "maximum", value, kernel_shape=size, strides=stride, pads=pad)
    elif step.size > 1:
        value = _mean_of_four(graph, step, value)
    if step.repeats > 1:
        value = graph.add("Concat", "repeated", *[value] * step.repeats, axis=1)
    return value


def _mean_of_four(graph: Graph, step: WindowStep, value: Value) -> Value:
    """Add four neighbours in float64, rounded once; integers are float64 already, and rounded down."""
    channels, height, width = step.in_shape[0], step.in_shape[1] // 2, step.in_shape[2] // 2
    if step.in_shape[1:] != (2 * height, 2 * width):
        ends = graph.integers(2 * height, 2 * width)
        value = graph.add("Slice", "even", value, graph.integers(0, 0), ends, graph.integers(2, 3))
    value = value if step.integers else graph.cast("wide", value, np.float64)
    fours = graph.reshape("fours", value, (channels, height, 2, width, 2))
    sums = graph.add("ReduceSum", "sums", fours, graph.integers(3, 5), keepdims=0)
    mean = graph.add("Div", "mean", sums, graph.number(4, np.float64))
    return graph.add("Floor", "rounded_down", mean) if step.integers else graph.cast("rounded", mean, np.float32)


def _signed_sum(graph: Graph, step: SignedSumStep, buffers: Buffers) -> Value:
    channels, height, width = step.in_shape
    value = buffers.values[step.in_buffer]
    if step.drop:
        scaled = graph.add("Mul", "dropped.scaled", value, graph.number(2.0**-step.drop, np.float64))
        value = graph.add("Floor", "dropped", scaled)
    signs = graph.cast("signs.wide", graph.constant("signs", step.signs), np.float64)
    pixels = graph.reshape("pixels", value, (channels, height * width))
    return graph.reshape("sums", graph.add("MatMul", "product", signs, pixels), (len(step.signs), height, width))


def _dense(graph: Graph, step: DenseStep, buffers: Buffers) -> Value:
    """A convolution as a product of matrices in float64: runtimes have Conv in float32 only, which rounds every sum."""
    outputs, channels, *kernel = step.weights.shape
    window = (kernel[0], kernel[1]), step.stride, step.padding
    _, height, width = conv_shape(step.in_shape, outputs, *window, False)
    wide, weights = graph.cast("wide", buffers.values[step.in_buffer], np.float64), step.weights
    if (height, width) != (1, 1) or window[0] != step.in_shape[1:]:
        wide = patches(graph, wide, step.in_shape, *window, np.float64)
        weights = weights.transpose(0, 2, 3, 1)  # patches are taps of all channels
    columns = graph.reshape("columns", wide, (kernel[0] * kernel[1] * channels, height * width))
    rows = graph.constant("weight", weights.reshape(outputs, -1))
    value = graph.add("MatMul", "product", graph.cast("weight.wide", rows, np.float64), columns)
    if step.bias is not None:
        bias = graph.constant("bias", step.bias.astype(np.float64)[:, None])
        value = graph.add("Add", "with_bias", value, bias)
    rounded = graph.cast("rounded", value, np.float32)
    return graph.reshape("sums", rounded, (outputs, height, width))


def _mean(graph: Graph, step: MeanStep, buffers: Buffers) -> Value:
    value = buffers.values[step.in_buffer]
    value = value if step.one else graph.cast("wide", value, np.float64)
    sums = graph.add("ReduceSum", "sums", value, graph.integers(2, 3), keepdims=1)
    pixels = step.in_shape[1] * step.in_shape[2]
    mean = graph.add("Div", "mean", sums, graph.number(pixels * (step.one or 1.0), np.float64))
    return graph.cast("rounded", mean, np.float32)


def _array(graph: Graph, step: ArrayStep, buffers: Buffers) -> Value:
    return array_values(graph, step, buffers.codes[step.in_buffer])


_VALUES: dict[type, Callable[[Graph, Any, Buffers], Value]] = {
    ImageStep: _image,
    WindowStep: _window,
    SignedSumStep: _signed_sum,
    DenseStep: _dense,
    MeanStep: _mean,
    ArrayStep: _array,
}
