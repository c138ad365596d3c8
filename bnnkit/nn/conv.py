"""A convolution computed by compute-in-memory arrays."""

from __future__ import annotations

from typing import TypedDict

import torch.nn.functional as F
from torch import Tensor, nn

from bnnkit import ops, reference
from bnnkit.cim import Array, Layout
from bnnkit.cim.adc import AdcBits, AdcGradient
from bnnkit.errors import UsageError
from bnnkit.nn.loop import array_loop, as_integers
from bnnkit.nn.operands import Operands, Pair, Quantizers
from bnnkit.quantizers import Bits
from bnnkit.quantizers.base import Gradient


class Geometry(TypedDict):
    """How a kernel moves over an image."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int


class CimConv2d(Operands, nn.Conv2d):
    """Convolve quantized values array by array, converting each partial sum before adding:

        y = bias + sum over arrays s of ADC(conv(Q_a(x)[s], Q_w(weight)[s]))

    `weight` and `bias` are the latent float parameters of `torch.nn.Conv2d` (same names, shapes and
    initialisation); the bias is added in full precision. Padding contributes 0.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias: as `torch.nn.Conv2d`
            (zero padding given in pixels).
        ao_bit, w_bit: 1, 1.5, 2, 3, 4 or "fp"; inputs are expected in [-1, 1] and saturate outside.
        adc_bit: 1, 2, 3, 4, or "fp" (also any number from 5 on) for no converter.
        array: rows and mapping.
        adc_sigma: width of the converter's impulse gradient in units of the partial sum; None: the published one.
        adc_gradient: "iga" or "ste".
        value_gradient: a name in `bnnkit.quantizers.GRADIENTS`, for activations and weights.

    Shape: [N, in_channels, H, W] float32 -> [N, out_channels, H', W'] float32.

    Raises:
        UsageError: for impossible bit widths, or when one channel's taps do not fit into the rows.
        MissingError: when a packed kernel is needed and the compiled extension is missing.

    Paper: BNN-IGA, impulse gradient approximation.

    >>> import torch
    >>> layer = CimConv2d(16, 8, 3, padding=1, ao_bit=1, w_bit=1, adc_bit=1)
    >>> from bnnkit.nn import backend
    >>> with backend("reference"):
    ...     layer(torch.zeros(1, 16, 4, 4)).shape
    torch.Size([1, 8, 4, 4])
    """

    kernel_size: Pair
    stride: Pair
    dilation: Pair

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        ao_bit: Bits,
        w_bit: Bits,
        adc_bit: AdcBits,
        array: Array | None = None,
        adc_sigma: float | None = None,
        adc_gradient: AdcGradient = "iga",
        value_gradient: Gradient = "ste",
    ) -> None:
        nn.Conv2d.__init__(
            self, in_channels, out_channels, kernel_size, stride, padding, dilation, groups=groups, bias=bias
        )
        used = Array() if array is None else array
        if isinstance(self.padding, str):
            raise UsageError(f"CimConv2d: padding '{padding}'; a number of pixels was needed", hint="use padding=1")
        self._setup(ao_bit, w_bit, adc_bit, used, adc_sigma, adc_gradient, value_gradient)
        self.layout()

    def layout(self) -> Layout | None:
        """Return how the reduction is cut into arrays; None without a converter, where arrays do not matter."""
        if self.adc is None:
            return None
        return self.array.layout(self.in_channels // self.groups, *self.kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """Return the converted convolution of `x`."""
        x, weight, quantizers = self._operands(x, self.weight)
        return self.convolve(x, weight, self.bias, quantizers)

    def convolve(
        self, x: Tensor, weight: Tensor, bias: Tensor | None = None, quantizers: Quantizers | None = None
    ) -> Tensor:
        """Return the converted convolution of `x` with other latent weights, or quantizers, than the layer's."""
        path, used = self.path(), self._quantizers() if quantizers is None else quantizers
        if path == "reference":
            return self._by_reference(x, weight, bias, used)
        if path == "torch":
            return self._by_torch(x, weight, bias, used)
        if path == "xnor":
            return ops.xnor_conv2d(x, weight, bias, **self._geometry(), **used)
        adc, layout = self.adc, self.layout()
        assert adc is not None and layout is not None
        convolve = array_loop if path == "loop" else ops.adc_conv2d
        return convolve(x, weight, bias, adc=adc, layout=layout, **self._geometry(), **used)

    def sums(self, x: Tensor, weight: Tensor) -> tuple[Tensor, float, float]:
        """Return the convolution of low-bit operands as integers: (sums, unit, offset).

        Args:
            x, weight: as for `convolve`.

        Returns:
            sums int64 [N, out_channels, H', W'] with convolve(x, weight) = unit * sums + offset.
        """
        values, adc, layout = self.convolve(x, weight).double(), self.adc, self.layout()
        if adc is None or layout is None:
            return (values * self.unit).round().long(), 1 / self.unit, 0.0
        offset = adc.offset * layout.arrays
        return ((values - offset) / adc.scale).round().long(), adc.scale, offset

    def _geometry(self) -> Geometry:
        return {
            "stride": self.stride,
            "padding": self._padding(),
            "dilation": self.dilation,
            "groups": self.groups,
        }

    def _padding(self) -> Pair:
        assert not isinstance(self.padding, str)
        rows, cols = self.padding
        return rows, cols

    def _by_torch(self, x: Tensor, weight: Tensor, bias: Tensor | None, quantizers: Quantizers) -> Tensor:
        a, w_quantizer = quantizers["a"], quantizers["w_quantizer"]
        if not (a.planes and w_quantizer.planes):
            return F.conv2d(a(x), w_quantizer(weight), bias, **self._geometry())
        # Integers are exact in float32, so the result does not depend on the order of summation.
        x_int, w_int = as_integers(x, a), as_integers(weight, w_quantizer)
        y = F.conv2d(x_int, w_int, None, **self._geometry()).double() / self.unit
        return (y if bias is None else y + bias.double().view(-1, 1, 1)).float()

    def _by_reference(self, x: Tensor, weight: Tensor, bias: Tensor | None, quantizers: Quantizers) -> Tensor:
        x_q = self.reference_integers(x, quantizers["a"])
        w_q = self.reference_integers(weight, quantizers["w_quantizer"])
        if self.adc is None:
            y = F.conv2d(x_q, w_q, None, **self._geometry()) / self.unit
            return (y if bias is None else y + bias.double().view(-1, 1, 1)).float()
        array = self.array
        return reference.adc_conv2d(
            x_q,
            w_q,
            bias,
            **self._geometry(),
            mapping=array.mapping,
            rows=array.rows,
            channels_per_array=array.channels_per_array,
            curve=self.reference_curve(),
            grid=self.grid(),
            unit=self.unit,
        )

    def extra_repr(self) -> str:
        shape: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{shape}, {self.describe()}"
