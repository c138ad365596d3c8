"""Layers of low-precision networks whose inputs reach the arrays one bit at a time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnkit.cim.chip import Chip
from bnnkit.errors import UsageError
from bnnkit.nn.arrays import Bounds, ProgrammedLayer
from bnnkit.nn.operands import Pair
from bnnkit.quantizers.pact import Pact
from bnnkit.quantizers.weights import WEIGHT_QUANTS, WeightQuantizer

EXACT_FLOAT = 2**24
"""Integers up to here are exact in float32, and so are their sums in any order."""


class BitSerial:
    """Operands of one layer; mixed into the layers.

    In training, values are quantized and multiplied in float32. In evaluation, codes and integer weights are
    multiplied exactly and scaled once, so that the result does not depend on batch size, threads or order.

    Attributes:
        activation: quantizer of the input; None leaves it in full precision (a network's first layer).
        weight_quantizer: of the latent weight.
        arrays: the chip that computes the layer in evaluation, see `bnnkit.nn.program`; None: software.
    """

    activation: Pact | None
    weight_quantizer: WeightQuantizer
    arrays: ProgrammedLayer | None
    weight: Tensor

    def _setup(self, ao_bit: int | None, w_bit: int, weight_quant: str) -> None:
        self.activation = None if ao_bit is None else Pact(ao_bit)
        self.weight_quantizer = WEIGHT_QUANTS.get(weight_quant)(w_bit)
        self.arrays = None

    @property
    def ao_bit(self) -> int | str:
        return "fp" if self.activation is None else self.activation.bits

    @property
    def w_bit(self) -> int:
        return self.weight_quantizer.bits

    @torch.no_grad()
    def program(self, chip: Chip, bounds: Bounds, number: int) -> None:
        """Put the layer on a chip, see `bnnkit.nn.ProgrammedLayer`; weights trained later stay in software.

        Raises:
            UsageError: its inputs are in full precision, or the chip cannot hold its weights.
        """
        if self.activation is None:
            raise UsageError("program: inputs in full precision; low-bit ones were needed", hint="leave the layer out")
        self.arrays = ProgrammedLayer(
            chip,
            bounds,
            number,
            weight=self.weight,
            weight_quantizer=self.weight_quantizer,
            activation=self.activation,
            bias=getattr(self, "bias", None),
            **self._geometry(),
        )

    def _geometry(self) -> dict[str, Pair]:
        return {}

    @torch.no_grad()
    def integer_weight(self) -> Tensor:
        """Return the weights as cells would store them: signed int32, shape of `weight`.

        DoReFa's odd integers n are stored as (n + 1) / 2.
        """
        integers, _ = self.weight_quantizer.integers(self.weight)
        stored = integers if self.weight_quantizer.step == 1 else (integers + 1) / 2
        return stored.int()

    def _exact(self, x: Tensor, terms: int) -> Tensor:
        """Return the layer's output in software, exactly; `terms` products are added per output."""
        integers, unit = self.weight_quantizer.integers(self.weight)
        if self.activation is None:
            # Sums of floats: in double, the order is below what rounding to float32 keeps.
            return self._finish(self._multiply(x.double(), (integers / unit).double()))
        bound = terms * (2**self.activation.bits - 1) * (2**self.weight_quantizer.bits - 1)
        dtype = torch.float32 if bound <= EXACT_FLOAT else torch.float64
        sums = self._multiply(self.activation.code(x).to(dtype), integers.to(dtype))
        return self._finish(sums.double() / (self.activation.unit.double() * unit.double()))

    def _finish(self, y: Tensor) -> Tensor:
        bias: Tensor | None = getattr(self, "bias", None)
        if bias is not None:
            y = y + bias.double().view(-1, *[1] * (y.dim() - 2))
        return y.float()

    def _multiply(self, x: Tensor, w: Tensor) -> Tensor:
        raise NotImplementedError

    def describe(self) -> str:
        return f"ao_bit={self.ao_bit}, w_bit={self.w_bit}, {self.weight_quantizer!r}"


class BitSerialConv2d(BitSerial, nn.Conv2d):
    """Convolve PACT activations with SAWB or DoReFa weights, in software or on a programmed chip.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, bias: as `torch.nn.Conv2d`, padding in pixels.
        ao_bit: 2 to 8 bits of the input, None for full precision.
        w_bit: 2 to 8.
        weight_quant: "sawb" or "dorefa".

    Shape: [N, in_channels, H, W] float32 -> [N, out_channels, H', W'] float32.

    Raises:
        UsageError: for impossible bit widths or an unknown quantizer.

    Source: mengjian0502/TorchInference_RRAM, after DNN+NeuroSim.

    >>> layer = BitSerialConv2d(16, 8, 3, padding=1, ao_bit=4, w_bit=4).eval()
    >>> layer(torch.ones(1, 16, 4, 4)).shape
    torch.Size([1, 8, 4, 4])
    """

    stride: Pair
    kernel_size: Pair

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        bias: bool = False,
        *,
        ao_bit: int | None,
        w_bit: int,
        weight_quant: str = "sawb",
    ) -> None:
        nn.Conv2d.__init__(self, in_channels, out_channels, kernel_size, stride, padding, bias=bias)
        self._setup(ao_bit, w_bit, weight_quant)

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of the quantized `x`."""
        if self.training:
            value = x if self.activation is None else self.activation(x)
            return F.conv2d(value, self.weight_quantizer(self.weight), self.bias, self.stride, self.padding)
        if self.arrays is not None:
            return self.arrays(x)
        return self._exact(x, self.weight[0].numel())

    def _multiply(self, x: Tensor, w: Tensor) -> Tensor:
        return F.conv2d(x, w, None, self.stride, self.padding)

    def _geometry(self) -> dict[str, Pair]:
        assert not isinstance(self.padding, str)
        rows, cols = self.padding
        return {"stride": self.stride, "padding": (rows, cols)}

    def extra_repr(self) -> str:
        shape: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{shape}, {self.describe()}"


class BitSerialLinear(BitSerial, nn.Linear):
    """Multiply PACT activations with SAWB or DoReFa weights; options as `BitSerialConv2d`.

    Shape: [N, in_features] float32 -> [N, out_features] float32.

    >>> BitSerialLinear(300, 10, ao_bit=4, w_bit=4).eval()(torch.ones(2, 300)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        ao_bit: int | None,
        w_bit: int,
        weight_quant: str = "sawb",
    ) -> None:
        nn.Linear.__init__(self, in_features, out_features, bias)
        self._setup(ao_bit, w_bit, weight_quant)

    def forward(self, x: Tensor) -> Tensor:
        """Return the product of the quantized `x` and the transposed weight."""
        if self.training:
            value = x if self.activation is None else self.activation(x)
            return F.linear(value, self.weight_quantizer(self.weight), self.bias)
        if self.arrays is not None:
            return self.arrays(x)
        return self._exact(x, self.in_features)

    def _multiply(self, x: Tensor, w: Tensor) -> Tensor:
        return F.linear(x, w)

    def extra_repr(self) -> str:
        shape: str = super().extra_repr()
        return f"{shape}, {self.describe()}"
