"""What a trained network occupies: parameters, arrays, conversions and converters."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from bnnkit.cim import Adc
from bnnkit.decompose import Placement, Settings, Weight, of_model, place
from bnnkit.errors import MismatchError
from bnnkit.models import Model
from bnnkit.models.shapes import output_shapes, weighted_layers
from bnnkit.nn import GatedConv2d, Operands
from bnnkit.train.subject import Subject

COLS = 128
"""Bit lines of an array, which no training depends on; as `bnnkit decompose` has it."""


@dataclass(frozen=True)
class ArrayLayer:
    """One layer on arrays.

    Attributes:
        bits: of activations, weights and converter.
        conversions: per image.
        converted: whether the layer was trained through converters.
    """

    name: str
    weight: tuple[int, ...]
    bits: str
    placement: Placement
    conversions: int
    converted: bool


@dataclass(frozen=True)
class Hardware:
    """One network.

    Attributes:
        digital: layers on no array, and why.
        parameters: by bits, those in full precision and those between the layers under "fp".
        stored: bytes with packed weights.
        converters: the different ones, and how many layers have each.
    """

    layers: tuple[ArrayLayer, ...]
    digital: dict[str, str]
    parameters: dict[str, int]
    stored: int
    converters: tuple[tuple[Adc, int], ...]

    @property
    def arrays(self) -> int:
        return sum(layer.placement.arrays for layer in self.layers)

    @property
    def conversions(self) -> int:
        return sum(layer.conversions for layer in self.layers)


def of(subject: Subject) -> Hardware:
    """Return what the network of a checkpoint occupies.

    Raises:
        MismatchError: its options are not those of this bnnkit.
    """
    model = subject.model({})
    settings = model.settings
    try:
        found = of_model(model, subject.path, settings.array)
        weights, digital = found.weights, dict(found.skipped)
    except MismatchError:
        # All of it is in full precision.
        weights, digital = [], {name: "in full precision" for name, _ in weighted_layers(model)}
    digital |= {weight.name: "its inputs are in full precision" for weight in weights if weight.input_bits is None}
    order = [name for name, _ in weighted_layers(model)]
    positions = {name: math.prod(shape[1:]) for name, shape in output_shapes(model.config).items()}
    layers = [_layer(model, weight, positions[weight.name]) for weight in weights if weight.input_bits is not None]
    layers.sort(key=lambda layer: order.index(layer.name))
    adcs = Counter(module.adc for _, module in weighted_layers(model) if isinstance(module, Operands) and module.adc)
    parameters, stored = _parameters(model, weights)
    return Hardware(tuple(layers), digital, parameters, stored, tuple(adcs.items()))


def _layer(model: Model, weight: Weight, positions: int) -> ArrayLayer:
    module: Any = model.get_submodule(weight.name)
    settings = Settings(cols=COLS)
    scheme = settings.scheme(weight)
    operands = isinstance(module, Operands)
    placement = place(
        weight.values.shape,
        settings.array(weight),
        cols=COLS,
        columns=scheme.columns,
        dummies=scheme.slices if scheme.encoding == "offset" else 0,
        # A layer that was trained on arrays converts whole values; others slice by slice.
        slices=1 if operands else scheme.slices,
        groups=weight.groups,
    )
    if operands:
        # High and low bits of a gated layer are converted one after the other.
        turns = module.fraction.planes if isinstance(module, GatedConv2d) else 1
    else:
        turns = weight.input_bits or 1
    adc = getattr(module, "adc_bit", None)
    bits = "/".join(str(bit) for bit in (module.ao_bit, module.w_bit, "-" if adc is None else adc))
    converted = operands and module.adc is not None
    conversions = placement.conversions * positions * turns
    return ArrayLayer(weight.name, tuple(weight.values.shape), bits, placement, conversions, converted)


def _parameters(model: Model, weights: list[Weight]) -> tuple[dict[str, int], int]:
    by_bits: Counter[str] = Counter()
    bits = 0
    for weight in weights:
        module: Any = model.get_submodule(weight.name)
        by_bits[str(module.w_bit)] += weight.values.numel()
        bits += weight.values.numel() * (weight.w_bit or 32)
    rest = sum(parameter.numel() for parameter in model.parameters()) - sum(by_bits.values())
    return {**by_bits, "fp": rest}, math.ceil(bits / 8) + 4 * rest
