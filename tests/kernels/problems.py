"""Random CIM layers: operands, geometry, mapping and converter, and what the specification says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from bnnkit import ops, reference
from bnnkit.cim import Adc, Array, Layout
from bnnkit.nn.loop import array_loop
from bnnkit.quantizers import Quantizer, make

WIDTHS: list[Any] = [1, 1.5, 2, 3, 4]


@dataclass(frozen=True)
class Problem:
    """One call of `ops.adc_conv2d`; `adc_bit` is None for a converter given by its table."""

    x: Tensor
    w: Tensor
    bias: Tensor | None
    a: Quantizer
    w_quantizer: Quantizer
    adc: Adc
    adc_bit: int | None
    array: Array
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def layout(self) -> Layout:
        return self.array.layout(*self.w.shape[1:])

    def geometry(self) -> dict[str, Any]:
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}

    def _call(self, function: Callable[..., Tensor]) -> Tensor:
        converter = {"adc": self.adc, "layout": self.layout}
        return function(
            self.x, self.w, self.bias, a=self.a, w_quantizer=self.w_quantizer, **converter, **self.geometry()
        )

    def packed(self) -> Tensor:
        return self._call(ops.adc_conv2d)

    def loop(self) -> Tensor:
        return self._call(array_loop)

    def reference(self) -> Tensor:
        """Return the specification's answer, computed in double without any packing."""
        adc = self.adc
        sigma = adc.sigma if adc.gradient == "iga" else None
        curve: Callable[[Tensor], Tensor] = adc.convert
        if self.adc_bit is not None:
            curve = partial(reference.adc, bits=self.adc_bit, rows=adc.rows, sigma=sigma)
        integers = [
            reference.integers(t, q.bits, gradient=q.gradient, sigma=q.sigma)  # type: ignore[arg-type]
            for t, q in ((self.x, self.a), (self.w, self.w_quantizer))
        ]
        return reference.adc_conv2d(
            *integers,
            self.bias,
            **self.geometry(),
            mapping=self.array.mapping,
            rows=self.array.rows,
            channels_per_array=self.array.channels_per_array,
            curve=curve,
            unit=self.a.unit * self.w_quantizer.unit,
            grid=(adc.scale, adc.offset),
        )

    def gradients(self, compute: Callable[[Problem], Tensor], direction: Tensor) -> list[Tensor]:
        """Return the gradients of x, w and the bias for the output gradient `direction`."""
        leaves = [t.clone().requires_grad_() for t in (self.x, self.w)]
        bias = None if self.bias is None else self.bias.clone().requires_grad_()
        y = compute(replace(self, x=leaves[0], w=leaves[1], bias=bias))
        inputs = leaves if bias is None else [*leaves, bias]
        return list(torch.autograd.grad(y, inputs, direction))


def values(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return numbers in [-1, 1], many of them on the thresholds of one quantizer or another, or next to them."""
    anywhere = torch.rand(shape, generator=generator) * 2 - 1
    grid = torch.tensor([0.0, -0.0, 0.2, -0.2, 1 / 3, 2 / 3, -2 / 3, 1 / 7, -3 / 7, 1 / 15, -2 / 15, 1.0, -1.0])
    exact = grid[torch.randint(len(grid), shape, generator=generator)]
    near = torch.nextafter(exact, anywhere)
    kind = torch.randint(4, shape, generator=generator)
    return torch.where(kind == 0, exact, torch.where(kind == 1, near, anywhere))


@st.composite
def converters(draw: st.DrawFn, rows: int) -> tuple[Adc, int | None]:
    """Draw a uniform converter or a table (levels in any order, thresholds within reach or not)."""
    gradient = draw(st.sampled_from(["iga", "ste"]))
    bits = draw(st.sampled_from([1, 1, 2, 3, 4, None]))
    if bits is not None:
        return Adc(bits, rows, gradient=gradient), bits
    # Multiples of 1/4 convert exactly, on the table's grid as in the reference.
    edges = draw(st.lists(st.integers(-5 * rows, 5 * rows), min_size=1, max_size=20, unique=True))
    sizes = {"min_size": len(edges) + 1, "max_size": len(edges) + 1}
    outputs = draw(st.lists(st.integers(-60, 60), **sizes).filter(lambda levels: len(set(levels)) > 1))
    thresholds = [edge / 4 for edge in sorted(edges)]
    return Adc.from_table(thresholds, [v / 4 for v in outputs], rows, sigma=3.0, gradient=gradient), None


@st.composite
def arrays(draw: st.DrawFn, channels: int, taps: int) -> Array:
    """Draw an array of which a convolution needs at most 40 (each costs the specification a convolution)."""
    sizes = (1, 2, 7, 9, 31, 64, 127, 128, 128, 129, 256, 1024)
    if draw(st.booleans()):
        return Array(draw(st.sampled_from([r for r in sizes if -(-channels // r) * taps <= 40])), "tap")
    rows = draw(st.sampled_from([r for r in sizes if r >= taps and channels <= 40 * (r // taps)]))
    most = min(rows // taps, channels)
    per_array = draw(st.one_of(st.none(), st.integers(-(-channels // 40), most)))
    return Array(rows, "channel", per_array)


@st.composite
def problems(draw: st.DrawFn, *, gradient: str = "ste", work: int = 200_000) -> Problem:
    """Draw a convolution of up to 3 images and of at most about `work` products, which bounds the scalar reference."""
    kernel = draw(st.sampled_from([(1, 1), (1, 1), (3, 3), (3, 3), (2, 2), (5, 5), (1, 3), (4, 2)]))
    taps = kernel[0] * kernel[1]
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    channels = draw(st.one_of(st.integers(1, 40), st.sampled_from([64, 65, 127, 128, 130])))
    array = draw(arrays(channels, taps))
    dilation = draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (1, 3)]))
    padding = draw(st.sampled_from([(0, 0), (1, 1), (1, 1), (2, 0), (3, 3)]))
    smallest = [max(1, dilation[i] * (kernel[i] - 1) + 1 - 2 * padding[i]) for i in range(2)]
    size = [low + draw(st.integers(0, 5)) for low in smallest]
    pixels = (size[0] + 2 * padding[0]) * (size[1] + 2 * padding[1])
    outputs = groups * min(draw(st.sampled_from([1, 2, 3, 5, 8, 17])), 1 + work // (channels * taps * pixels * 3))
    adc, adc_bit = draw(converters(array.rows))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    return Problem(
        values((draw(st.integers(1, 3)), channels * groups, *size), generator),
        values((outputs, channels, *kernel), generator),
        values((outputs,), generator) if draw(st.booleans()) else None,
        make(draw(st.sampled_from(WIDTHS)), gradient),  # type: ignore[arg-type]
        make(draw(st.sampled_from(WIDTHS)), gradient),  # type: ignore[arg-type]
        adc,
        adc_bit,
        array,
        draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (1, 3)])),
        padding,
        dilation,
        groups,
    )


def every_variant(threads: int = 1) -> Iterator[str]:
    """Iterate over the names of all usable variants, with each in force on so many threads."""
    torch.set_num_threads(threads)
    for name in ops.usable_variants():
        with ops.variant(name):
            yield name
