"""What every network offers, and how one is built from its name and options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from torch import Tensor, nn

from bnnkit.cim import Array, Mapping, parse_adc_bits
from bnnkit.cim.adc import AdcBits
from bnnkit.errors import UsageError
from bnnkit.nn import CimConv2d, CimLinear, clamp_latent
from bnnkit.quantizers import Bits, parse_bits
from bnnkit.quantizers.base import Gradient
from bnnkit.registry import Registry

Shape: TypeAlias = tuple[int, int, int]


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

    @property
    def array(self) -> Array:
        return Array(self.rows, self.mapping, self.channels_per_array)

    def conv(self, in_channels: int, out_channels: int, stride: int = 1) -> CimConv2d:
        """Return a 3x3 convolution on arrays, padded by 1."""
        return CimConv2d(
            in_channels,
            out_channels,
            3,
            stride,
            padding=1,
            ao_bit=self.ao_bit,
            w_bit=self.w_bit,
            adc_bit=self.adc_bit,
            array=self.array,
            adc_sigma=self.adc_sigma,
            value_gradient=self.value_gradient,
        )

    def linear(self, in_features: int, out_features: int) -> CimLinear:
        """Return a linear layer on arrays."""
        return CimLinear(
            in_features,
            out_features,
            ao_bit=self.ao_bit,
            w_bit=self.w_bit,
            adc_bit=self.adc_bit,
            array=self.array,
            adc_sigma=self.adc_sigma,
            value_gradient=self.value_gradient,
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
        return {**asdict(self.settings), "in_shape": list(self.settings.in_shape)}

    def clamp_latent(self) -> None:
        """Clamp latent weights and biases of the layers with low-bit weights to [-1, 1], in place."""
        clamp_latent(self)

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class ModelEntry:
    """One architecture: how to build it, and what it is usually used with."""

    build: Callable[[Settings], Model]
    description: str
    dataset: str
    in_shape: Shape
    width: int


MODELS: Registry[ModelEntry] = Registry("model")


def create_model(
    name: str,
    *,
    ao_bit: Bits | str = 1,
    w_bit: Bits | str = 1,
    adc_bit: AdcBits | str = 1,
    rows: int = 128,
    mapping: Mapping = "channel",
    channels_per_array: int | None = None,
    adc_sigma: float | None = None,
    value_gradient: Gradient = "ste",
    width: int | None = None,
    classes: int = 10,
    in_shape: Sequence[int] | None = None,
) -> Model:
    """Build a network by name with fresh parameters.

    Args:
        name: "mlp", "vgg9", "res18" or "res20".
        ao_bit, w_bit: bits of activations and weights: 1, 1.5, 2, 3, 4 or "fp".
        adc_bit: bits of the converters: 1, 2, 3, 4, or "fp" for none.
        rows, mapping, channels_per_array: the array, see `bnnkit.cim.Array`.
        adc_sigma: width of the converter's impulse gradient; None takes the published value for its bits.
        value_gradient: "ste" or "iga".
        width: multiplier of the channel counts; None: the published network.
        classes: outputs.
        in_shape: (channels, height, width) of the images; None: those of the usual dataset.

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
    return entry.build(
        Settings(
            name=name,
            ao_bit=parse_bits(ao_bit),
            w_bit=parse_bits(w_bit),
            adc_bit=parse_adc_bits(adc_bit),
            rows=rows,
            mapping=mapping,
            channels_per_array=channels_per_array,
            adc_sigma=adc_sigma,
            value_gradient=value_gradient,
            width=multiplier,
            classes=classes,
            in_shape=(shape[0], shape[1], shape[2]),
        )
    )
