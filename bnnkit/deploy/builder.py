"""Steps of a packed network, made from the layers of a network and from packed weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from bnnkit.cim import Layout
from bnnkit.data import normalize
from bnnkit.deploy.faulty import LayerFaults
from bnnkit.deploy.fold import gate_thresholds, gates_open, sum_thresholds, sums_of
from bnnkit.deploy.geometry import ArrayLayer, Shape, conv_shape, kernel_of, layout_of, window_of
from bnnkit.deploy.native_faults import native_faults
from bnnkit.deploy.stored import weight_of
from bnnkit.deploy.weights import PackedWeights
from bnnkit.errors import UsageError
from bnnkit.models.cnv import ScalarNorm
from bnnkit.nn import CimConv2d, CimLinear, GatedConv2d
from bnnkit.quantizers import Quantizer

Remake: TypeAlias = Callable[[Tensor | None, LayerFaults], Any]
"""(other weight codes or None, faults) -> a step in place of the one that was built."""
Integers: TypeAlias = dict[str, Any]
"""Arguments of `_C.IntegerFinish`."""
Activation: TypeAlias = tuple[str | None, str | float]
"""A normalization or None, then an RPReLU, a PReLU, or the slope of negative values; 1 leaves them as they are."""


class Parts:
    """What networks that differ in arrays and converters have in common.

    Attributes:
        steps: steps in full precision, by name and by the integer that 1 is (0 for floats).
        weights: packed weights, by layer and layout.
        arrays: the latest step of each layer on arrays, whose panels the next one may take over.
    """

    def __init__(self) -> None:
        self.steps: dict[tuple[str, float], Any] = {}
        self.weights: dict[tuple[str, Layout], Any] = {}
        self.arrays: dict[str, Any] = {}


class Builder:
    """Collect the steps of a network. Layers are named as in the network, buffers as the plan likes.

    `norm` is the normalization of the values, `reader` the layer on arrays that reads their bits, `floats` whether a
    later step reads the values themselves. A buffer may be written again once nothing reads it any more.
    `pool` comes before all else, `activation` before the shortcut `residual` is added, `norm` and `clamp` after it.

    `integers` says how integer values end, see `IntegerFinish` in csrc/deploy/step.h; with thresholds among them their
    bits are kept.

    Attributes:
        steps: in the order in which they run.
        remakes: by name, how the step of each layer with weight codes is made with other codes or with faults.

    Args:
        native: what steps are made by: the compiled module, or `bnnkit.deploy.description` for steps as plain data.
    """

    def __init__(
        self, skeleton: nn.Module, weights: PackedWeights, parts: Parts, *, gate_skips: bool, native: ModuleType
    ) -> None:
        self.skeleton = skeleton
        self.gate_skips = gate_skips
        self.weights = weights
        self.parts = parts
        self.steps: list[Any] = []
        self.remakes: dict[str, Remake] = {}
        self._native = native
        self._buffers: dict[str, int] = {}
        self._shapes: dict[str, Shape] = {}

    def image(
        self,
        dst: str,
        *,
        flatten: bool = False,
        floats: bool = False,
        reader: str | None = None,
        encode: Callable[[Tensor], Tensor] = lambda values: values,
    ) -> None:
        """Read the images: normalized values, encoded one by one, or their codes."""
        channels, height, width = self.weights.config["in_shape"]
        shape = (channels * height * width, 1, 1) if flatten else (channels, height, width)
        every_byte = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1).expand(256, channels, 1, 1)
        values = encode(normalize(every_byte, self.weights.mean, self.weights.std))
        table = values.view(256, channels).t().contiguous().numpy()
        finish = self._finish(dst, floats=floats or reader is None, reader=reader)
        images = (channels, height, width)
        self._shared(lambda: self._native.image_step("images", images, shape, table, finish), "images")
        self._shapes[dst] = shape

    def thermometer(self, dst: str, resolution: int) -> None:
        """Read the images as +-1 planes, see `bnnkit.reference.thermometer`."""
        channels, height, width = self.weights.config["in_shape"]
        planes = round(255 / resolution)
        set_bits = [min(planes, round(byte / resolution)) for byte in range(256)]
        finish = self._native.Finish(out=self._buffer(dst), floats=False, planes=1)
        self._shared(
            lambda: self._native.thermometer_step("images", (channels, height, width), planes, set_bits, finish),
            "images",
        )
        self._shapes[dst] = (channels * planes, height, width)

    def window(
        self,
        name: str,
        src: str,
        dst: str,
        *,
        size: int = 1,
        stride: int = 1,
        pad: int = 0,
        repeats: int = 1,
        maximum: bool = False,
        quantizer: Quantizer | None = None,
        norm: str | None = None,
        clamp: bool = False,
        residual: str | None = None,
        floats: bool = True,
        reader: str | None = None,
        activation: Activation | None = None,
        integers: Integers | None = None,
    ) -> None:
        """Pool values, or repeat their channels, or quantize them first; integers where `integers` is given."""
        (channels, height, width), codes = self._shapes[src], torch.arange(0 if quantizer is None else quantizer.levels)
        before = self._activation(activation, channels)
        levels = [] if quantizer is None else ((2 * codes - (quantizer.levels - 1)).float() / quantizer.unit).tolist()
        step = self._native.window_step(
            name,
            self._buffers[src],
            (channels, height, width),
            self._finish(dst, norm, clamp, False, residual, floats, reader, before, integers),
            size=size,
            stride=stride,
            pad=pad,
            repeats=repeats,
            maximum=maximum,
            integers=integers is not None,
            level_thresholds=[] if quantizer is None else list(quantizer.thresholds),
            level_values=levels,
        )
        self.steps.append(step)
        window = (size, size), (stride, stride), (pad, pad)
        self._shapes[dst] = conv_shape((channels, height, width), channels * repeats, *window, False)

    def signed_sum(self, name: str, src: str, dst: str, *, drop: int, integers: Integers) -> None:
        """Add integer values with the signs of a layer's binary 1x1 weights."""
        layer, codes = self._array_layer(name), self.weights.tensors[f"{name}.codes"]
        shape, buffer, finish = self._shapes[src], self._buffers[src], self._finish(dst, integers=integers)

        def make(codes: Tensor) -> Any:
            signs = weight_of(codes, layer).to(torch.int8).flatten(1)
            return self._native.signed_sum_step(name, buffer, shape, signs.numpy(), drop, finish)

        self.steps.append(make(codes))
        self.remakes[name] = _without_faults(name, make, codes)
        self._shapes[dst] = (layer.weight.shape[0], *shape[1:])

    def dense(
        self,
        name: str,
        src: str,
        dst: str,
        *,
        norm: str | None = None,
        clamp: bool = False,
        pool: bool = False,
        residual: str | None = None,
        floats: bool = True,
        reader: str | None = None,
        activation: Activation | None = None,
        integers: Integers | None = None,
    ) -> None:
        """Run a layer in full precision; a linear one takes all values of an image, in the order of torch."""
        layer = self.skeleton.get_submodule(name)
        bias = self.weights.tensors.get(f"{name}.bias")
        stride, padding = window_of(layer)
        shape, buffer = self._shapes[src], self._buffers[src]
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        before = self._activation(activation, layer.weight.shape[0])
        finish = self._finish(dst, norm, clamp, pool, residual, floats, reader, before, integers)

        def make(weight: Tensor) -> Any:
            kernel = kernel_of(weight, shape).numpy()
            return self._native.dense_step(name, buffer, shape, kernel, _numpy(bias), stride, padding, finish)

        if isinstance(layer, CimConv2d | CimLinear):  # binary weights on values
            codes = self.weights.tensors[f"{name}.codes"]
            weight = weight_of(codes, layer)
            self.remakes[name] = _without_faults(name, lambda codes: make(weight_of(codes, layer)), codes)
        else:
            weight = self.weights.tensors[f"{name}.weight"]
        self._shared(lambda: make(weight), name, 0.0 if integers is None else integers["one"])
        self._shapes[dst] = conv_shape(shape, len(weight), kernel_of(weight, shape).shape[2:], stride, padding, pool)

    def mean(
        self,
        name: str,
        src: str,
        dst: str,
        *,
        norm: str | None = None,
        clamp: bool = False,
        floats: bool = True,
        reader: str | None = None,
        one: float = 0.0,
    ) -> None:
        """Average over all pixels; with `one` the values are integers that stand for value / one."""
        shape, finish = self._shapes[src], self._finish(dst, norm, clamp, floats=floats, reader=reader)
        self._shared(lambda: self._native.mean_step(name, self._buffers[src], shape, one, finish), name, one)
        self._shapes[dst] = (shape[0], 1, 1)

    def array(
        self,
        name: str,
        src: str,
        dst: str,
        *,
        norm: str | None = None,
        clamp: bool = False,
        pool: bool = False,
        residual: str | None = None,
        floats: bool = False,
        reader: str | None = None,
        activation: Activation | None = None,
        integers: Integers | None = None,
    ) -> None:
        """Run a layer on arrays; its input is the bits of `src`, all pixels of it for a linear layer."""
        layer, shape = self._array_layer(name), self._shapes[src]
        layout = layout_of(layer)
        flatten = isinstance(layer, CimLinear) and shape[1:] != (1, 1)
        bias = self.weights.tensors.get(f"{name}.bias")
        sums, before = sums_of(layer, layout, bias), self._activation(activation, layer.weight.shape[0])
        folded: dict[str, Any] = {}
        if norm and clamp and reader and not (floats or pool or residual or activation):
            thresholds, direction = sum_thresholds(sums, *self._norm(norm), self.reading(reader))
            folded = {"sum_thresholds": thresholds.numpy(), "flip": (direction < 0).int().neg().numpy()}
        adc, reach = layer.adc, max(layout.rows_of(s) for s in range(layout.arrays))
        gate, scale = None, sums.scale
        if isinstance(layer, GatedConv2d):
            opens = partial(gates_open, threshold=self.weights.tensors[f"{name}.threshold"])
            gate, scale = gate_thresholds(sums, opens, layer.out_channels), sums.scale / 3
        make = partial(
            self._native.array_step,
            name=name,
            in_buffer=self._buffers[src],
            in_shape=shape,
            thresholds=None if adc is None else adc.thresholds(layer.unit, reach).numpy(),
            levels=None if adc is None else adc.levels.numpy(),
            scale=scale,
            offset=0.0 if adc is None else adc.offset,
            bias=_numpy(bias),
            gate=None if gate is None else gate.numpy(),
            gate_skips=self.gate_skips,
            finish=self._finish(dst, norm, clamp, pool, residual, floats, reader, before, integers, **folded),
        )
        weights = self._array_weights(name, layer, layout, shape, flatten)
        step = make(weights=weights, like=self.parts.arrays.get(name))
        self.parts.arrays[name] = step
        self.steps.append(step)

        def remake(codes: Tensor | None, faults: LayerFaults) -> Any:
            own = weights if codes is None else weights.with_bits(codes.numpy())
            planes = self.reading(name).planes
            return make(weights=own, like=step, faults=native_faults(self._native, name, layer, layout, planes, faults))

        self.remakes[name] = remake
        stride, padding = window_of(layer)
        kernel, read = (layout.kernel_h, layout.kernel_w), (layout.channels, 1, 1) if flatten else shape
        self._shapes[dst] = conv_shape(read, layer.weight.shape[0], kernel, stride, padding, pool)

    def _array_layer(self, name: str) -> ArrayLayer:
        layer = self.skeleton.get_submodule(name)
        assert isinstance(layer, CimConv2d | CimLinear), f"{name} is no layer on arrays"
        return layer

    def _array_weights(self, name: str, layer: ArrayLayer, layout: Layout, shape: Shape, flatten: bool) -> Any:
        key = (name, layout)
        if key not in self.parts.weights:
            stride, padding = window_of(layer)
            self.parts.weights[key] = self._native.ArrayWeights(
                bits=self.weights.tensors[f"{name}.codes"].numpy(),
                planes=layer.weight_quantizer.planes,
                outputs=layer.weight.shape[0],
                in_shape=(layout.channels, 1, 1) if flatten else shape,
                kernel=(layout.kernel_h, layout.kernel_w),
                stride=stride,
                padding=padding,
                channels_per_array=layout.channels_per_array,
                tap=layout.tap,
                x_planes=self.reading(name).planes,
                x_thermometer=self.reading(name).thermometer,
                w_thermometer=layer.weight_quantizer.thermometer,
                flatten=flatten,
            )
        return self.parts.weights[key]

    def _finish(
        self,
        dst: str,
        norm: str | None = None,
        clamp: bool = False,
        pool: bool = False,
        residual: str | None = None,
        floats: bool = True,
        reader: str | None = None,
        activation: Any = None,
        integers: Integers | None = None,
        **folded: Any,
    ) -> Any:
        if integers is not None:
            return self._native.Finish(
                out=self._buffer(dst),
                residual=-1 if residual is None else self._buffers[residual],
                planes=1 if "thresholds" in integers else 0,
                integers=self._native.IntegerFinish(**integers),
            )
        scale, shift = (None, None) if norm is None else (t.numpy() for t in self._norm(norm))
        levels = None if reader is None else self.reading(reader)
        return self._native.Finish(
            out=self._buffer(dst),
            activation=activation,
            residual=-1 if residual is None else self._buffers[residual],
            pool=pool,
            scale=scale,
            shift=shift,
            clamp=clamp,
            floats=floats,
            planes=0 if levels is None else levels.planes,
            thermometer=levels is not None and levels.thermometer,
            strict=levels is None or levels.strict,
            thresholds=[] if levels is None else list(levels.thresholds),
            **folded,
        )

    def reading(self, name: str) -> Quantizer:
        """Return the quantizer whose bits a layer on arrays reads."""
        layer = self._array_layer(name)
        return layer.fraction if isinstance(layer, GatedConv2d) else layer.activation

    def _activation(self, activation: Activation | None, channels: int) -> Any:
        if activation is None:
            return None
        norm, slope = activation
        scale, shift = (None, None) if norm is None else self._norm(norm)
        zero, tensors = torch.zeros(channels), self.weights.tensors
        parts = {"bias_in": zero, "bias_out": zero}
        if isinstance(slope, float):
            parts["slope"] = torch.full((channels,), slope)
        elif f"{slope}.slope" in tensors:
            parts = {part: tensors[f"{slope}.{part}"] for part in ("bias_in", "slope", "bias_out")}
        else:
            parts["slope"] = tensors[f"{slope}.weight"].expand(channels).contiguous()
        arrays = {part: values.numpy() for part, values in parts.items()}
        return self._native.Activation(scale=_numpy(scale), shift=_numpy(shift), **arrays)

    def _buffer(self, name: str) -> int:
        return self._buffers.setdefault(name, len(self._buffers))

    def _norm(self, name: str) -> tuple[Tensor, Tensor]:
        scale, shift = self.weights.tensors[f"{name}.scale"], self.weights.tensors[f"{name}.shift"]
        if isinstance(self.skeleton.get_submodule(name), ScalarNorm):
            classes = self.weights.config["classes"]
            return scale.repeat(classes), shift.repeat(classes)
        return scale, shift

    def _shared(self, make: Callable[[], Any], name: str, one: float = 0.0) -> None:
        """Add a step that does not depend on converters: networks of the same parts have it in common.

        Args:
            one: the integer that 1 is in this network, which does depend on them; 0 for floats.
        """
        if (name, one) not in self.parts.steps:
            self.parts.steps[name, one] = make()
        self.steps.append(self.parts.steps[name, one])


def _without_faults(name: str, make: Callable[[Tensor], Any], codes: Tensor) -> Remake:
    def remake(other: Tensor | None, faults: LayerFaults) -> Any:
        if faults != LayerFaults():
            adds = f"layer {name}: it adds values with signs; its weights alone can be faulty"
            raise UsageError(adds, hint="leave the layer out")
        return make(codes if other is None else other)

    return remake


def _numpy(tensor: Tensor | None) -> Any:
    return None if tensor is None else tensor.numpy()
