"""A linear layer computed by compute-in-memory arrays."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from bnnkit import ops, reference
from bnnkit.cim import Adc, Array, Layout
from bnnkit.cim.adc import AdcBits, AdcGradient
from bnnkit.nn.loop import array_loop, as_integers
from bnnkit.nn.operands import Operands, Quantizers
from bnnkit.quantizers import Bits
from bnnkit.quantizers.base import Gradient


class CimLinear(Operands, nn.Linear):
    """Multiply quantized values, `array.rows` inputs per array, converting each partial sum before adding.

    Args:
        in_features, out_features, bias: as `torch.nn.Linear`.
        ao_bit, w_bit, adc_bit, array, adc_sigma, adc_gradient, value_gradient: as `CimConv2d`; a linear layer puts
            `rows` inputs on one array with either mapping and whatever `channels_per_array` says.

    Shape: [..., in_features] float32 -> [..., out_features] float32.

    Raises:
        UsageError: for impossible bit widths.
        MissingError: when a packed kernel is needed and the compiled extension is missing.

    Paper: BNN-IGA, impulse gradient approximation.

    >>> import torch
    >>> from bnnkit.nn import backend
    >>> layer = CimLinear(300, 10, ao_bit=1, w_bit=1, adc_bit=2)
    >>> with backend("reference"):
    ...     layer(torch.zeros(4, 300)).shape
    torch.Size([4, 10])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
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
        nn.Linear.__init__(self, in_features, out_features, bias)
        used = Array() if array is None else array
        self._setup(ao_bit, w_bit, adc_bit, used, adc_sigma, adc_gradient, value_gradient)

    def layout(self) -> Layout | None:
        """Return how the inputs are cut into arrays; None without a converter, where arrays do not matter."""
        return None if self.adc is None else self.array.linear_layout(self.in_features)

    def forward(self, x: Tensor) -> Tensor:
        """Return the converted product of `x` and the transposed weight."""
        return self._forward_rows(x.reshape(-1, self.in_features)).reshape(*x.shape[:-1], self.out_features)

    def _forward_rows(self, x: Tensor) -> Tensor:
        path, (x, weight, quantizers) = self.path(), self._operands(x, self.weight)
        if path == "reference":
            return self._by_reference(x, weight, quantizers)
        if path == "torch":
            return self._by_torch(x, weight, quantizers)
        if path == "xnor":
            return ops.xnor_linear(x, weight, self.bias, **quantizers)
        adc, layout = self.adc, self.layout()
        assert adc is not None and layout is not None
        if path == "loop":
            return self._by_loop(x, weight, quantizers, adc, layout)
        return ops.adc_linear(x, weight, self.bias, adc=adc, layout=layout, **quantizers)

    def _by_torch(self, x: Tensor, weight: Tensor, quantizers: Quantizers) -> Tensor:
        a, w_quantizer = quantizers["a"], quantizers["w_quantizer"]
        if not (a.planes and w_quantizer.planes):
            return F.linear(a(x), w_quantizer(weight), self.bias)
        # Integers are exact in float32, so the result does not depend on the order of summation.
        x_int, w_int = as_integers(x, a), as_integers(weight, w_quantizer)
        y = F.linear(x_int, w_int).double() / self.unit
        return (y if self.bias is None else y + self.bias.double()).float()

    def _by_loop(self, x: Tensor, weight: Tensor, quantizers: Quantizers, adc: Adc, layout: Layout) -> Tensor:
        image, kernel = x[:, :, None, None], weight[:, :, None, None]
        one_pixel = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
        y = array_loop(image, kernel, self.bias, adc=adc, layout=layout, groups=1, **one_pixel, **quantizers)
        return y.flatten(1)

    def _by_reference(self, x: Tensor, weight: Tensor, quantizers: Quantizers) -> Tensor:
        x_q = self.reference_integers(x, quantizers["a"])
        w_q = self.reference_integers(weight, quantizers["w_quantizer"])
        if self.adc is None:
            y = F.linear(x_q, w_q) / self.unit
            return (y if self.bias is None else y + self.bias.double()).float()
        return reference.adc_gemm(x_q, w_q, self.bias, self.array.rows, self.reference_curve(), self.unit, self.grid())

    def extra_repr(self) -> str:
        shape: str = super().extra_repr()
        return f"{shape}, {self.describe()}"
