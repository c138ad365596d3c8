"""Layers of a network for `bnnkit models show`: shapes, bits, arrays, parameters and what one image takes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bnnkit_cli import output

if TYPE_CHECKING:
    from bnnkit.models import Model


@dataclass(frozen=True)
class Layer:
    """One convolution or linear layer; counts are for one image, `arrays` and `adc_conversions` 0 without a converter.

    Bits are numbers or "fp"; `weight` is [out, in/groups, kh, kw] or [out, in], `output` is [channels, height, width]
    or [features]. `bits_per_weight` is what a stored weight occupies: its planes, or 32 for full precision.
    """

    name: str
    type: str
    weight: tuple[int, ...]
    output: tuple[int, ...]
    ao_bit: int | float | str
    w_bit: int | float | str
    adc_bit: int | str
    arrays: int
    parameters: int
    bits_per_weight: int
    macs: int
    adc_conversions: int


def layers_of(model: Model) -> list[Layer]:
    """Return every convolution and linear layer of `model`, in the order of its modules."""
    from bnnkit.models.shapes import output_shapes, weighted_layers

    shapes = output_shapes(model.config)
    return [_layer(name, module, shapes[name]) for name, module in weighted_layers(model)]


def totals_of(model: Model, layers: Sequence[Layer]) -> dict[str, Any]:
    """Return the sums over the layers; everything that is no weight of a quantized layer counts as full precision."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    weights: Counter[str] = Counter()
    weight_bits = 0
    for layer in layers:
        if layer.w_bit != "fp":
            count = math.prod(layer.weight)
            weights[str(layer.w_bit)] += count
            weight_bits += count * layer.bits_per_weight
    full_precision = parameters - sum(weights.values())
    return {
        "parameters": parameters,
        "parameters_by_bits": {**weights, "fp": full_precision},
        "bytes": -(-weight_bits // 8) + 4 * full_precision,
        "macs": sum(layer.macs for layer in layers),
        "arrays": sum(layer.arrays for layer in layers),
        "adc_conversions": sum(layer.adc_conversions for layer in layers),
    }


def print_layers(title: str, layers: Sequence[Layer], totals: dict[str, Any]) -> None:
    """Print a line per layer and the totals; columns about converters only where there are any."""
    on_arrays = totals["arrays"] > 0
    columns = ["layer", "weight", "output", "a/w/adc\nbits", "parameters", "MACs"]
    columns += ["arrays", "ADC\nconversions"] if on_arrays else []
    rows = [_row(layer)[: len(columns)] for layer in layers]
    sums = ("total", "", "", "", *(totals[key] for key in ("parameters", "macs", "arrays", "adc_conversions")))
    precisions = ", ".join(
        f"{count:,} {'in full precision' if bits == 'fp' else f'of {bits} bit'}"
        for bits, count in totals["parameters_by_bits"].items()
    )
    notes = [
        f"types: {_types(layers)}",
        f"parameters: {precisions}; the total has those between the layers, too",
        f"size with packed weights: {_size(totals['bytes'])}",
        f"{'MACs and ADC conversions' if on_arrays else 'MACs'}: for one image",
    ]
    if on_arrays:
        notes.append("arrays: as many bit lines as the group has output channels")
    output.result_table(columns, [*rows, sums[: len(columns)]], title=title, notes=notes)


def _row(layer: Layer) -> tuple[object, ...]:
    return (
        layer.name,
        times(layer.weight),
        times(layer.output),
        f"{layer.ao_bit}/{layer.w_bit}/{layer.adc_bit}",
        layer.parameters,
        layer.macs,
        layer.arrays or None,
        layer.adc_conversions or None,
    )


def _types(layers: Sequence[Layer]) -> str:
    """Return the most frequent type, and which layers have another."""
    counts = Counter(layer.type for layer in layers)
    usual = counts.most_common(1)[0][0]
    others = (f"{kind} ({', '.join(a.name for a in layers if a.type == kind)})" for kind in counts if kind != usual)
    return ", ".join([usual, *others])


def times(sizes: Sequence[int]) -> str:
    """Return a shape in text.

    >>> times((3, 32, 32))
    '3x32x32'
    """
    return "x".join(map(str, sizes))


def _size(count: int) -> str:
    scale, unit = (1e6, "MB") if count >= 1e6 else (1e3, "kB")
    return f"{count / scale:.3g} {unit}"


def _layer(name: str, module: Any, shape: tuple[int, ...]) -> Layer:
    from bnnkit.nn import GatedConv2d

    weight = tuple(module.weight.shape)
    ao_bit, w_bit, adc_bit = (getattr(module, attribute, "fp") for attribute in ("ao_bit", "w_bit", "adc_bit"))
    layout = module.layout() if hasattr(module, "layout") else None
    per_output = 0 if layout is None else layout.arrays
    # High and low bits of a gated layer are converted one after the other.
    turns = module.fraction.planes if isinstance(module, GatedConv2d) else 1
    outputs = math.prod(shape)
    return Layer(
        name=name,
        type=type(module).__name__,
        weight=weight,
        output=shape,
        ao_bit=ao_bit,
        w_bit=w_bit,
        adc_bit=adc_bit,
        arrays=per_output * getattr(module, "groups", 1),
        parameters=sum(parameter.numel() for parameter in module.parameters(recurse=False)),
        bits_per_weight=32 if w_bit == "fp" else math.ceil(float(w_bit)),
        macs=outputs * math.prod(weight[1:]),
        adc_conversions=outputs * per_output * turns,
    )
