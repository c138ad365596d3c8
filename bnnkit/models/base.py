"""What every network offers, and how one is built from its name and options."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from collections.abc import Mapping as Maps
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from bnnkit.cim import Array, Mapping, parse_adc_bits
from bnnkit.cim.adc import AdcBits
from bnnkit.errors import UsageError
from bnnkit.nn import (
    BitSerialConv2d,
    BitSerialLinear,
    CimConv2d,
    CimLinear,
    GatedConv2d,
    ScaledCimConv2d,
    clamp_latent,
    standardize_weights,
)
from bnnkit.quantizers import Bits, parse_bits
from bnnkit.quantizers.base import LOW_BITS, Gradient
from bnnkit.registry import Registry

Shape: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True)
class Family:
    """A kind of network: the options it has, and what they are when not given.

    Attributes:
        bits: what activations and weights may have, besides "fp".
        usual_bits: what activations and weights have.
        mapping: which inputs share an array.
        through_converters: whether it can be trained through converters; otherwise its arrays are chosen when it is
            evaluated, and `adc_bit` is "fp".
        usual_adc_bit: what its converters have.
        value_gradient: estimator of the gradients of its activations.
        weight_quants: names of the weight quantizers, the usual one first; none where `w_bit` decides alone.
        weight_bits: what weights may have, where that is not `bits`.
        standardizes: whether its weights can be standardized before they are quantized.
    """

    bits: tuple[float, ...]
    usual_bits: tuple[int, int]
    mapping: Mapping
    through_converters: bool
    usual_adc_bit: AdcBits = "fp"
    value_gradient: Gradient = "ste"
    weight_quants: tuple[str, ...] = ()
    weight_bits: tuple[float, ...] | None = None
    standardizes: bool = False

    @property
    def usual(self) -> dict[str, Any]:
        """The options that depend on the family."""
        return {
            "ao_bit": self.usual_bits[0],
            "w_bit": self.usual_bits[1],
            "adc_bit": self.usual_adc_bit,
            "value_gradient": self.value_gradient,
            "mapping": self.mapping,
            "weight_quant": self.weight_quants[0] if self.weight_quants else None,
        }


BINARY = Family(LOW_BITS, (1, 1), "channel", True, usual_adc_bit=1, standardizes=True)
"""Trained through the converters of its arrays, as in BNN-IGA."""

BIT_SERIAL = Family((2, 3, 4, 5, 6, 7, 8), (4, 4), "tap", False, weight_quants=("sawb", "dorefa"))
"""PACT activations and SAWB or DoReFa weights, put on arrays of multi-bit cells afterwards."""

ADD_AND_BIT = Family((1,), (1, 1), "channel", True, value_gradient="sigmoid")
"""A&B BNN: no normalization, and nothing but additions and bit operations between the first and the last layer."""

FRACTIONAL = Family((2,), (2, 1), "channel", True, value_gradient="clip", weight_bits=(1,))
"""FracBNN: 2-bit activations whose low bit counts only where a gate opens, binary first layer."""


SIGNS = Family((1,), (1, 1), "channel", True, value_gradient="clip", standardizes=True)
"""Binary networks after FINN: signs with sign(0) = 1, no converters unless asked for."""


@dataclass(frozen=True)
class Settings:
    """All options of a network; `create_model(**asdict(settings))` builds it again."""

    name: str
    ao_bit: Bits
    w_bit: Bits
    adc_bit: AdcBits
    rows: int
    mapping: Mapping
    channels_per_array: int | None
    adc_sigma: float | None
    value_gradient: Gradient
    width: int
    classes: int
    in_shape: Shape
    weight_quant: str | None = None
    weight_standardization: bool = False

    @property
    def array(self) -> Array:
        return Array(self.rows, self.mapping, self.channels_per_array)

    def conv(
        self, in_channels: int, out_channels: int, stride: int = 1, bias: bool = True, binary_input: bool = True
    ) -> CimConv2d:
        """Return a 3x3 convolution on arrays, padded by 1; with inputs in full precision it is on none."""
        return CimConv2d(
            in_channels,
            out_channels,
            3,
            stride,
            padding=1,
            bias=bias,
            ao_bit=self.ao_bit if binary_input else "fp",
            w_bit=self.w_bit,
            adc_bit=self.adc_bit if binary_input else "fp",
            array=self.array,
            adc_sigma=self.adc_sigma,
            value_gradient=self.value_gradient,
        )

    def scaled_conv(
        self, in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, binary_input: bool = True
    ) -> ScaledCimConv2d:
        """Return a convolution of a normalizer-free network, padded to keep the size."""
        return ScaledCimConv2d(
            in_channels,
            out_channels,
            kernel,
            stride,
            kernel // 2,
            ao_bit=self.ao_bit if binary_input else "fp",
            w_bit=self.w_bit,
            adc_bit=self.adc_bit if binary_input else "fp",
            array=self.array,
            adc_sigma=self.adc_sigma,
            value_gradient=self.value_gradient,
        )

    def gated_conv(self, in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
        """Return a precision-gated convolution, padded to keep the size; a plain one where ao_bit is fp."""
        if self.ao_bit == "fp":
            return nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
        return GatedConv2d(
            in_channels,
            out_channels,
            kernel,
            stride,
            kernel // 2,
            w_bit=self.w_bit,
            adc_bit=self.adc_bit,
            array=self.array,
            adc_sigma=self.adc_sigma,
            value_gradient=self.value_gradient,
        )

    def bit_serial_conv(
        self, in_channels: int, out_channels: int, stride: int = 1, kernel: int = 3, quantized_input: bool = True
    ) -> nn.Conv2d:
        """Return a convolution of a low-precision network, padded to keep the size; a plain one where w_bit is fp."""
        padding = kernel // 2
        if self.w_bit == "fp" or self.weight_quant is None:
            return nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False)
        bits = int(self.ao_bit) if quantized_input and self.ao_bit != "fp" else None
        return BitSerialConv2d(
            in_channels,
            out_channels,
            kernel,
            stride,
            padding,
            ao_bit=bits,
            w_bit=int(self.w_bit),
            weight_quant=self.weight_quant,
        )

    def bit_serial_linear(self, in_features: int, out_features: int) -> nn.Linear:
        """Return a linear layer of a low-precision network; a plain one where w_bit is fp."""
        if self.w_bit == "fp" or self.weight_quant is None:
            return nn.Linear(in_features, out_features)
        bits = None if self.ao_bit == "fp" else int(self.ao_bit)
        return BitSerialLinear(
            in_features, out_features, ao_bit=bits, w_bit=int(self.w_bit), weight_quant=self.weight_quant
        )

    def linear(self, in_features: int, out_features: int, bias: bool = True) -> CimLinear:
        """Return a linear layer on arrays."""
        return CimLinear(
            in_features,
            out_features,
            bias,
            ao_bit=self.ao_bit,
            w_bit=self.w_bit,
            adc_bit=self.adc_bit,
            array=self.array,
            adc_sigma=self.adc_sigma,
            value_gradient=self.value_gradient,
        )


def check_halvings(settings: Settings, halvings: int) -> None:
    """Raise `UsageError` unless the image's sides can be halved so often: shortcuts pool pairs of pixels."""
    sides = settings.in_shape[1:]
    if any(side % 2**halvings for side in sides):
        raise UsageError(
            f"model {settings.name}: {sides[0]}x{sides[1]} pixels; multiples of {2**halvings} were needed",
            hint="leave in_shape out for the usual one",
        )


class Model(nn.Module):
    """A network that remembers how to build itself.

    Attributes:
        settings: its options.

    Shape: [N, *in_shape] float32, normalized -> logits [N, classes] float32 (before log-softmax).
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings

    @property
    def config(self) -> dict[str, Any]:
        """The options as JSON-able values, such that `create_model(**model.config)` builds the same network."""
        config = {**asdict(self.settings), "in_shape": list(self.settings.in_shape)}
        # Files that do not name the option are read by every version.
        return {name: value for name, value in config.items() if name != "weight_standardization" or value}

    def clamp_latent(self) -> None:
        """Clamp latent weights and biases of the layers with low-bit weights to [-1, 1], in place."""
        clamp_latent(self)

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError


@torch.no_grad()
def initialise_by_outputs(model: nn.Module, kind: type[nn.Conv2d]) -> None:
    """Draw the weights of a kind of convolution as He et al. (2015), counted over the outputs like the origins."""
    for layer in model.modules():
        if isinstance(layer, kind):
            layer.weight.normal_(0, math.sqrt(2 / (math.prod(layer.kernel_size) * layer.out_channels)))


@dataclass(frozen=True)
class ModelEntry:
    """One architecture: how to build it, and what it is usually used with.

    `normalized`: its input are images normalized as their dataset asks for; otherwise pixel / 255.
    """

    build: Callable[[Settings], Model]
    description: str
    dataset: str
    in_shape: Shape
    width: int
    family: Family = BINARY
    normalized: bool = True


MODELS: Registry[ModelEntry] = Registry("model")

UNPARSED = ("mapping", "weight_quant", "value_gradient")
"""Options that depend on the family and are names."""


def parse_options(name: str, given: Maps[str, Any]) -> dict[str, Any]:
    """Return the options among `given` that depend on the kind of network, text turned into what `Settings` holds.

    Raises:
        UsageError: an option that the network does not have, or a value that it cannot have.

    >>> parse_options("vgg7", {"w_bit": "4", "width": 1})
    {'w_bit': 4}
    """
    family = MODELS.get(name).family
    allowed = {"ao_bit": family.bits, "w_bit": family.weight_bits or family.bits}
    parsed = {option: parse_bits(given[option], bits) for option, bits in allowed.items() if option in given}
    if "adc_bit" in given:
        parsed["adc_bit"] = parse_adc_bits(given["adc_bit"])
        if parsed["adc_bit"] != "fp" and not family.through_converters:
            raise UsageError(
                f"model {name}: adc bits {given['adc_bit']}; it is trained without converters",
                hint="give --adc-bit to bnnkit eval",
            )
    if given.get("weight_quant") is not None and given["weight_quant"] not in family.weight_quants:
        known = ", ".join(family.weight_quants) or "none, its bits decide"
        raise UsageError(
            f"model {name}: weight quantizer '{given['weight_quant']}'; it has {known}", hint="leave it out"
        )
    if given.get("weight_standardization"):
        _check_standardization(name, parsed.get("w_bit", family.usual_bits[1]))
    return parsed | {option: given[option] for option in UNPARSED if option in given}


def _check_standardization(name: str, w_bit: Bits) -> None:
    if not MODELS.get(name).family.standardizes:
        raise UsageError(
            f"model {name}: its weights are not standardized on request; mlp, vgg9, res18, res20 or cnv was needed",
            hint="leave --weight-standardization out",
        )
    if w_bit not in (1, "fp"):
        # Standardized weights are about 1 / sqrt(fan_in), which is one level to all other quantizers.
        raise UsageError(f"model {name}: {w_bit}-bit standardized weights; 1 or fp was needed", hint="--w-bit 1")


def create_model(
    name: str,
    *,
    ao_bit: Bits | str | None = None,
    w_bit: Bits | str | None = None,
    adc_bit: AdcBits | str | None = None,
    rows: int = 128,
    mapping: Mapping | None = None,
    channels_per_array: int | None = None,
    adc_sigma: float | None = None,
    value_gradient: Gradient | None = None,
    width: int | None = None,
    classes: int = 10,
    in_shape: Sequence[int] | None = None,
    weight_quant: str | None = None,
    weight_standardization: bool = False,
) -> Model:
    """Build a network by name with fresh parameters.

    Args:
        name: "mlp", "vgg9", "res18", "res20" (binary); "vgg7", "resnet20", "resnet18" (bit-serial); "reactnet18",
            "reactnet34", "reactnetA" (A&B BNN); "fracbnn20", "fracbnn_imagenet" (FracBNN); "cnv".
        ao_bit, w_bit: bits of activations and weights: 1, 1.5, 2, 3, 4 or "fp", usually 1; bit-serial networks: 2 to 8
            or "fp", usually 4; A&B BNN and cnv: 1 or "fp"; FracBNN: 2 and 1, or "fp".
        adc_bit: bits of the converters: 1, 2, 3, 4, or "fp" for none; bit-serial networks have none while they are
            trained.
        rows, mapping, channels_per_array: the array, see `bnnkit.cim.Array`.
        adc_sigma: width of the converter's impulse gradient; None takes the published value for its bits.
        value_gradient: name in `bnnkit.quantizers.GRADIENTS`; None: the published one.
        width: multiplier of the channel counts; None: the published network.
        classes: outputs.
        in_shape: (channels, height, width) of the images; None: those of the usual dataset.
        weight_quant: "sawb" or "dorefa", bit-serial networks only.
        weight_standardization: of layers on arrays, see `bnnkit.nn.Standardized`; binary networks and "cnv" only.

    Raises:
        UsageError: for an unknown name or an impossible option.

    >>> model = create_model("res20", width=1, adc_bit=2)
    >>> model.config["width"], sum(p.numel() for p in model.parameters())
    (1, 273166)
    """
    entry = MODELS.get(name)
    shape = tuple(int(n) for n in (entry.in_shape if in_shape is None else in_shape))
    if len(shape) != 3 or min(shape) < 1:
        raise UsageError(
            f"model {name}: in_shape {shape}; three positive numbers (channels, height, width) were needed",
            hint=f"the usual shape is {entry.in_shape}",
        )
    multiplier = entry.width if width is None else width
    if multiplier < 1:
        raise UsageError(f"model {name}: width {multiplier}; at least 1 was needed", hint="leave width out")
    if classes < 2:
        raise UsageError(f"model {name}: {classes} classes; at least 2 were needed", hint="use 10 classes")
    asked = {
        "ao_bit": ao_bit,
        "w_bit": w_bit,
        "adc_bit": adc_bit,
        "mapping": mapping,
        "weight_quant": weight_quant,
        "value_gradient": value_gradient,
        "weight_standardization": weight_standardization,
    }
    given = {option: value for option, value in asked.items() if value is not None}
    chosen = {**entry.family.usual, **parse_options(name, given)}
    model = entry.build(
        Settings(
            **chosen,
            name=name,
            rows=rows,
            channels_per_array=channels_per_array,
            adc_sigma=adc_sigma,
            width=multiplier,
            classes=classes,
            in_shape=(shape[0], shape[1], shape[2]),
            weight_standardization=weight_standardization,
        )
    )
    if weight_standardization:
        standardize_weights(model)
    return model
