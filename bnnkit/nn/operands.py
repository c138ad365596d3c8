"""What a CIM layer knows about its operands and its converter, apart from its shape."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import cache, partial
from typing import Literal, TypeAlias, TypedDict

from torch import Tensor

from bnnkit import reference
from bnnkit.cim import Adc, Array, make_adc, parse_adc_bits
from bnnkit.cim.adc import AdcBits, AdcGradient
from bnnkit.errors import UsageError
from bnnkit.nn.backends import current_backend
from bnnkit.nn.perturbation import Perturbation
from bnnkit.nn.standardized import Standardized
from bnnkit.quantizers import Bits, Quantizer, make
from bnnkit.quantizers.base import Gradient

Pair: TypeAlias = tuple[int, int]

Path: TypeAlias = Literal["reference", "torch", "loop", "adc", "xnor"]
"""`bnnkit.reference`; a torch convolution of quantized values; one of them per array; the packed kernels."""


class Quantizers(TypedDict):
    """The two quantizers as the packed operations call them."""

    a: Quantizer
    w_quantizer: Quantizer


class Operands:
    """Bit widths, array and gradients of one layer; mixed into the layers.

    Attributes:
        activation: quantizer of the input ("ao", activation of the previous layer's output).
        weight_quantizer: quantizer of the latent weight.
        array: mapping of inputs to word lines.
        adc: the converter, or None. Assign an `Adc` (for example a measured table) or set `adc_bit`; both may be
            changed on an existing layer, the weights stay.
        clamps_latent: whether training keeps the latent weights in [-1, 1].
        perturbation: faults it trains with; evaluation is without.
        perturbable: whether it can train with faults.
    """

    clamps_latent = True
    perturbable = True
    perturbation: Perturbation | None = None

    activation: Quantizer
    weight_quantizer: Quantizer
    array: Array
    training: bool

    def _setup(
        self,
        ao_bit: Bits,
        w_bit: Bits,
        adc_bit: AdcBits,
        array: Array,
        adc_sigma: float | None,
        adc_gradient: AdcGradient,
        value_gradient: Gradient,
    ) -> None:
        self.activation = make(ao_bit, value_gradient)
        self.weight_quantizer = make(w_bit, value_gradient)
        self.array = array
        self.adc_sigma = adc_sigma
        self.adc_gradient = adc_gradient
        self.adc_bit = adc_bit

    @property
    def ao_bit(self) -> Bits:
        return self.activation.bits

    @property
    def w_bit(self) -> Bits:
        return self.weight_quantizer.bits

    @property
    def adc_bit(self) -> AdcBits | None:
        """Bits of the converter, "fp" without one; None when `adc` was assigned directly."""
        return self._adc_bit

    @adc_bit.setter
    def adc_bit(self, bits: AdcBits) -> None:
        self._adc_bit: AdcBits | None = parse_adc_bits(bits)
        self._adc = _shared_adc(self._adc_bit, self.array.rows, self.adc_sigma, self.adc_gradient)

    @property
    def adc(self) -> Adc | None:
        return self._adc

    @adc.setter
    def adc(self, adc: Adc | None) -> None:
        self._adc = adc
        self._adc_bit = "fp" if adc is None else None

    def path(self) -> Path:
        """Return which implementation computes this layer under the backend in force.

        Raises:
            UsageError: under "packed", for a layer that has a converter or a low-bit operand but nothing to pack.
        """
        backend, adc = current_backend(), self.adc is not None
        if backend == "reference":
            return "reference"
        if not (self.activation.planes and self.weight_quantizer.planes):
            if backend == "packed" and (adc or self.activation.planes or self.weight_quantizer.planes):
                raise UsageError(
                    f"{type(self).__name__}: ao_bit is {self.ao_bit} and w_bit {self.w_bit}; the packed kernels need "
                    "two low-bit operands",
                    hint="use the backend auto",
                )
            return "reference" if adc else "torch"
        if adc:
            return "loop" if backend == "torch" else "adc"
        one_bit = (self.activation.bits, self.weight_quantizer.bits) == (1, 1)
        return "xnor" if backend != "torch" and one_bit else "torch"

    @property
    def latent_quantizer(self) -> Quantizer:
        """Quantizer of what `latent_weight` returns."""
        quantizer = self.weight_quantizer
        return quantizer.base if isinstance(quantizer, Standardized) else quantizer

    def latent_weight(self) -> Tensor:
        """Return the weights as they are quantized, standardized if the layer does that: float32, differentiable."""
        return self._standardized(self.weight)  # type: ignore[attr-defined]

    def _standardized(self, weight: Tensor) -> Tensor:
        quantizer = self.weight_quantizer
        return quantizer.standardize(weight) if isinstance(quantizer, Standardized) else weight

    def _quantizers(self) -> Quantizers:
        return {"a": self.activation, "w_quantizer": self.latent_quantizer}

    def _operands(self, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Quantizers]:
        """Return input and latent weight as the layer computes with them, and their quantizers.

        With faults they are values that were read, with the gradients of quantization behind them.
        """
        quantizers, faults = self._quantizers(), self.perturbation
        if faults is None or not self.training:
            return x, self._standardized(weight), quantizers
        low_bit = self.weight_quantizer.planes > 0
        weight = self._standardized(faults.noisy(weight) if low_bit else weight)
        if faults.faults["weight"] and low_bit:
            weight = faults.read("weight", weight, quantizers["w_quantizer"])
            quantizers["w_quantizer"] = _straight_through(quantizers["w_quantizer"])
        if faults.faults["activation"] and self.activation.planes:
            x = faults.read("activation", x, self.activation)
            quantizers["a"] = _straight_through(self.activation)
        return x, weight, quantizers

    def reference_curve(self) -> Callable[[Tensor], Tensor]:
        """Return the converter as `bnnkit.reference` evaluates it (the converter's own curve for a table)."""
        adc, bits = self.adc, self.adc_bit
        assert adc is not None
        if not isinstance(bits, int):
            return adc.convert
        sigma = adc.sigma if adc.gradient == "iga" else None
        return partial(reference.adc, bits=bits, rows=adc.rows, sigma=sigma)

    def reference_integers(self, x: Tensor, quantizer: Quantizer) -> Tensor:
        """Return `quantizer.unit` times the quantized `x` by the reference, float64, differentiable.

        Raises:
            UsageError: a quantizer of somebody else, which the reference does not know.
        """
        if quantizer.bits == "fp":
            return x.double()
        if not type(quantizer).__module__.startswith("bnnkit.quantizers."):
            raise UsageError(
                f"backend reference: bnnkit.reference has no {type(quantizer).__name__}; one of bnnkit was needed",
                hint="use the backend torch",
            )
        if quantizer.gradient in ("ste", "iga"):
            return reference.integers(
                x, quantizer.bits, gradient=quantizer.gradient, sigma=quantizer.sigma, rule=quantizer.rule
            )
        slope = quantizer.slope(x)
        assert slope is not None
        value = reference.integers(x.detach(), quantizer.bits, rule=quantizer.rule)
        return reference.with_slope(x, value, slope * quantizer.unit)

    @property
    def unit(self) -> int:
        """Integer units of one unit of the partial sum."""
        return self.activation.unit * self.weight_quantizer.unit

    def grid(self) -> tuple[float, float]:
        """Return scale and offset of the converter's levels."""
        assert self.adc is not None
        return self.adc.scale, self.adc.offset

    def describe(self) -> str:
        """Return the options that differ between layers, for `repr`."""
        adc = self.adc_bit if self.adc_bit is not None else self.adc
        standardized = ", standardized" if isinstance(self.weight_quantizer, Standardized) else ""
        return f"ao_bit={self.ao_bit}, w_bit={self.w_bit}, adc_bit={adc}, {self.array}{standardized}"


def _straight_through(quantizer: Quantizer) -> Quantizer:
    other = copy(quantizer)
    other.gradient = "ste"
    return other


@cache
def _shared_adc(bits: AdcBits, rows: int, sigma: float | None, gradient: AdcGradient) -> Adc | None:
    return make_adc(bits, rows, sigma, gradient)
