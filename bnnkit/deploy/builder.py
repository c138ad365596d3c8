"""Steps of a packed network, made from the layers of a network without parameters and from packed weights."""

from __future__ import annotations

from types import ModuleType
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from bnnkit.cim import Layout
from bnnkit.data import normalize
from bnnkit.deploy.fold import Sums, sum_thresholds
from bnnkit.deploy.weights import PackedWeights, quantized_weight
from bnnkit.nn import CimConv2d, CimLinear
from bnnkit.ops import extension, pack_kernels
from bnnkit.quantizers import Quantizer

Shape: TypeAlias = tuple[int, int, int]
ArrayLayer: TypeAlias = CimConv2d | CimLinear


class Parts:
    """What networks that differ in their converters have in common: steps, and packed weights by layout."""

    def __init__(self) -> None:
        self.steps: dict[object, Any] = {}
        self.weights: dict[object, Any] = {}
        self.arrays: dict[object, Any] = {}
        """The latest step of each layer, whose panels the next one may take over."""


class Builder:
    """Collect steps; buffers have names, and a step may write what no later step of another branch still reads.

    Every method returns nothing and leaves `dst` readable. `norm` is the name of a normalization, `levels` the quantizer
    of the layer that reads the bits, `floats` whether a later step reads the values themselves.
    """

    def __init__(self, weights: PackedWeights, parts: Parts) -> None:
        self.weights = weights
        self.parts = parts
        self.steps: list[Any] = []
        self._native: ModuleType = extension.load()
        self._buffers: dict[str, int] = {}
        self._shapes: dict[str, Shape] = {}

    def image(self, dst: str, *, flatten: bool = False, levels: Quantizer | None = None) -> None:
        """Read the images: normalized values, or their codes."""
        channels, height, width = (int(n) for n in self.weights.config["in_shape"])
        shape = (channels * height * width, 1, 1) if flatten else (channels, height, width)
        bytes_ = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1).expand(256, channels, 1, 1)
        values = normalize(bytes_, self.weights.mean, self.weights.std).view(256, channels).t().contiguous()
        finish = self._finish(dst, floats=levels is None, levels=levels)
        self._shared(
            ("image", dst, _key(levels)),
            lambda: self._native.image_step("images", (channels, height, width), shape, values.numpy(), finish),
        )
        self._shapes[dst] = shape

    def dense(
        self,
        name: str,
        layer: nn.Conv2d | nn.Linear,
        src: str,
        dst: str,
        *,
        norm: str | None = None,
        clamp: bool = False,
        pool: bool = False,
        floats: bool = True,
        levels: Quantizer | None = None,
    ) -> None:
        """Run a layer in full precision."""
        weight, bias = self.weights.tensors[f"{name}.weight"], self.weights.tensors.get(f"{name}.bias")
        stride, padding = _window(layer)
        kernel = weight if weight.dim() == 4 else weight[:, :, None, None]
        shape = self._shapes[src]
        finish = self._finish(dst, norm=norm, clamp=clamp, pool=pool, floats=floats, levels=levels)
        self._shared(
            ("dense", name, src, dst, _key(levels)),
            lambda: self._native.dense_step(
                name, self._buffers[src], shape, kernel.numpy(), _numpy(bias), stride, padding, finish
            ),
        )
        self._shapes[dst] = _conv_shape(shape, len(weight), tuple(kernel.shape[2:]), stride, padding, pool)

    def mean(self, name: str, src: str, dst: str, *, norm: str | None = None, clamp: bool = False) -> None:
        """Average over all pixels."""
        shape = self._shapes[src]
        finish = self._finish(dst, norm=norm, clamp=clamp)
        self._shared(("mean", name), lambda: self._native.mean_step(name, self._buffers[src], shape, finish))
        self._shapes[dst] = (shape[0], 1, 1)

    def array(
        self,
        name: str,
        layer: ArrayLayer,
        src: str,
        dst: str,
        *,
        norm: str | None = None,
        clamp: bool = False,
        pool: bool = False,
        residual: str | None = None,
        floats: bool = False,
        levels: Quantizer | None = None,
    ) -> None:
        """Run a layer on arrays; its input is the bits of `src`, all pixels of it for a linear layer."""
        shape, layout = self._shapes[src], _layout(layer)
        flatten = isinstance(layer, CimLinear) and shape[1:] != (1, 1)
        bias = self.weights.tensors.get(f"{name}.bias")
        sums = _sums(layer, layout, bias)
        folded = {}
        if norm is not None and clamp and levels is not None and not (floats or pool or residual):
            thresholds, direction = sum_thresholds(sums, *self._norm(norm), levels)
            folded = {"sum_thresholds": thresholds.numpy(), "flip": (direction < 0).int().neg().numpy()}
        finish = self._finish(
            dst, norm=norm, clamp=clamp, pool=pool, residual=residual, floats=floats, levels=levels, **folded
        )
        adc = layer.adc
        reach = max(layout.rows_of(s) for s in range(layout.arrays))
        step = self._native.array_step(
            name,
            self._buffers[src],
            shape,
            self._array_weights(name, layer, layout, shape, flatten),
            None if adc is None else adc.thresholds(layer.unit, reach).numpy(),
            None if adc is None else adc.levels.numpy(),
            sums.scale,
            0.0 if adc is None else adc.offset,
            _numpy(bias),
            finish,
            self.parts.arrays.get(name),
        )
        self.parts.arrays[name] = step
        self.steps.append(step)
        stride, padding = _window(layer)
        kernel = (layout.kernel_h, layout.kernel_w)
        from_shape = (layout.channels, 1, 1) if flatten else shape
        self._shapes[dst] = _conv_shape(from_shape, layer.weight.shape[0], kernel, stride, padding, pool)

    def _array_weights(self, name: str, layer: ArrayLayer, layout: Layout, shape: Shape, flatten: bool) -> Any:
        key = (name, layout)
        if key not in self.parts.weights:
            weight = quantized_weight(self.weights, name, layer)
            kernel = weight if weight.dim() == 4 else weight[:, :, None, None]
            stride, padding = _window(layer)
            self.parts.weights[key] = self._native.ArrayWeights(
                rows=pack_kernels(kernel, layer.weight_quantizer, layout=layout).numpy(),
                in_shape=(layout.channels, 1, 1) if flatten else shape,
                kernel=(layout.kernel_h, layout.kernel_w),
                stride=stride,
                padding=padding,
                channels_per_array=layout.channels_per_array,
                tap=layout.tap,
                x_planes=layer.activation.planes,
                x_thermometer=layer.activation.thermometer,
                w_thermometer=layer.weight_quantizer.thermometer,
                flatten=flatten,
            )
        return self.parts.weights[key]

    def _finish(
        self,
        dst: str,
        *,
        norm: str | None = None,
        clamp: bool = False,
        pool: bool = False,
        residual: str | None = None,
        floats: bool = True,
        levels: Quantizer | None = None,
        **folded: Any,
    ) -> Any:
        out = self._buffers.setdefault(dst, len(self._buffers))
        scale, shift = (None, None) if norm is None else (t.numpy() for t in self._norm(norm))
        return self._native.Finish(
            out=out,
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

    def _norm(self, name: str) -> tuple[Tensor, Tensor]:
        return self.weights.tensors[f"{name}.scale"], self.weights.tensors[f"{name}.shift"]

    def _shared(self, key: object, make: Any) -> None:
        if key not in self.parts.steps:
            self.parts.steps[key] = make()
        self.steps.append(self.parts.steps[key])


def _sums(layer: ArrayLayer, layout: Layout, bias: Tensor | None) -> Sums:
    adc = layer.adc
    if adc is None:
        return Sums(1 / layer.unit, 0.0, bias, layout.channels * layout.kernel_h * layout.kernel_w)
    largest = int(adc.levels.abs().max())
    return Sums(adc.scale, adc.offset * layout.arrays, bias, largest * layout.arrays)


def _layout(layer: ArrayLayer) -> Layout:
    found = layer.layout()
    if found is not None:
        return found
    height, width = layer.kernel_size if isinstance(layer, CimConv2d) else (1, 1)
    channels = layer.weight.shape[1]
    return Layout(channels, height, width, channels * height * width, channels, False)


def _window(layer: nn.Module) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return stride and padding."""
    if not isinstance(layer, nn.Conv2d):
        return (1, 1), (0, 0)
    assert layer.groups == 1 and tuple(layer.dilation) == (1, 1) and not isinstance(layer.padding, str)
    (sh, sw), (ph, pw) = layer.stride, layer.padding
    return (sh, sw), (ph, pw)


def _conv_shape(
    shape: Shape,
    channels: int,
    kernel: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int],
    pool: bool,
) -> Shape:
    sizes = [(shape[i + 1] + 2 * padding[i] - kernel[i]) // stride[i] + 1 for i in range(2)]
    height, width = (size // 2 if pool else size for size in sizes)
    return channels, height, width


def _numpy(tensor: Tensor | None) -> Any:
    return None if tensor is None else tensor.numpy()


def _key(levels: Quantizer | None) -> object:
    return None if levels is None else levels.bits
