"""`bnnkit models`: which networks can be built, and what a chip would have to hold and to convert for one of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnnkit.errors import UsageError
from bnnkit_cli import output

if TYPE_CHECKING:
    from bnnkit.models import Model

app = typer.Typer(help="List the networks that can be built, or show what one consists of.")

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]


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


@app.command("list")
def list_models(json: JsonFlag = False) -> None:
    """List the networks that can be built."""
    from bnnkit.models import MODELS

    entries = [(name, MODELS.get(name)) for name in MODELS]
    if json:
        models = [
            {"name": name, "description": entry.description, "dataset": entry.dataset, "in_shape": entry.in_shape}
            for name, entry in entries
        ]
        output.emit_json("models-list", {"models": models})
        return
    rows = [(name, "x".join(map(str, entry.in_shape)), entry.dataset, entry.description) for name, entry in entries]
    output.result_table(["model", "input", "usual dataset", "description"], rows)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A network of `bnnkit models list`.")],
    ao_bit: Annotated[
        str | None, typer.Option("--ao-bit", "--a-bit", help="Bits of activations [default: the model's own].")
    ] = None,
    w_bit: Annotated[str | None, typer.Option("--w-bit", help="Bits of weights [default: the model's own].")] = None,
    adc_bit: Annotated[
        str | None,
        typer.Option("--adc-bit", help="Bits of the converters: 1, 2, 3, 4 or fp [default: the model's own]."),
    ] = None,
    rows: Annotated[int, typer.Option("--rows", help="Word lines of an array.")] = 128,
    mapping: Annotated[
        str | None,
        typer.Option("--mapping", help="Inputs that share an array: channel or tap [default: the model's own]."),
    ] = None,
    channels_per_array: Annotated[
        int | None, typer.Option("--channels-per-array", help="Input channels of an array; default: what fits.")
    ] = None,
    width: Annotated[int | None, typer.Option("--width", help="Width multiplier; default: the model's own.")] = None,
    classes: Annotated[int, typer.Option("--classes", help="Number of classes.")] = 10,
    input_shape: Annotated[
        str | None, typer.Option("--input", metavar="CxHxW", help="Shape of an image; default: the model's own.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Show the layers of a network: shapes, bits, arrays, parameters, multiplications and ADC conversions per image."""
    from bnnkit.models import MODELS, create_model

    in_shape = tuple(MODELS.get(name).in_shape) if input_shape is None else parse_shape(input_shape)
    config: dict[str, Any] = {
        "name": name,
        "ao_bit": ao_bit,
        "w_bit": w_bit,
        "adc_bit": adc_bit,
        "rows": rows,
        "mapping": mapping,
        "channels_per_array": channels_per_array,
        "width": width,
        "classes": classes,
        "in_shape": in_shape,
    }
    model = create_model(**config)
    layers = layers_of(model, output_shapes(config, in_shape))
    totals = totals_of(model, layers)
    if json:
        payload = {"config": model.config, "layers": [asdict(layer) for layer in layers], "totals": totals}
        output.emit_json("models-show", payload)
        return
    _print_layers(name, in_shape, layers, totals)


def parse_shape(text: str) -> tuple[int, int, int]:
    """Return (channels, height, width) from "CxHxW".

    >>> parse_shape("3x32x32")
    (3, 32, 32)
    """
    numbers = [int(part) if part.isdecimal() else 0 for part in text.lower().split("x")]
    if len(numbers) != 3 or min(numbers) < 1:
        raise UsageError(f"--input: '{text}' is not an image shape; CxHxW was needed", hint="use for example 3x32x32")
    return numbers[0], numbers[1], numbers[2]


def output_shapes(config: dict[str, Any], in_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return the output shape of each layer for one image, without computing anything.

    Shapes do not depend on the bits, so a full-precision twin is run on torch's meta device: no kernel is needed.
    """
    import torch

    shapes: dict[str, tuple[int, ...]] = {}

    def remember(layer_name: str) -> Any:
        def hook(module: Any, inputs: Any, result: Any) -> None:
            shapes[layer_name] = tuple(result.shape[1:])

        return hook

    from bnnkit.models import create_model

    with torch.device("meta"):
        twin = create_model(**{**config, "ao_bit": "fp", "w_bit": "fp", "adc_bit": "fp"}).eval()
        for layer_name, module in _weighted(twin):
            module.register_forward_hook(remember(layer_name))
        twin(torch.empty(1, *in_shape))
    return shapes


def layers_of(model: Model, shapes: dict[str, tuple[int, ...]]) -> list[Layer]:
    """Return every convolution and linear layer of `model`, in the order of its modules."""
    return [_layer(name, module, shapes[name]) for name, module in _weighted(model)]


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


def _weighted(model: Any) -> Iterator[tuple[str, Any]]:
    for name, module in model.named_modules():
        if getattr(getattr(module, "weight", None), "ndim", 0) in (2, 4):
            yield name, module


def _layer(name: str, module: Any, shape: tuple[int, ...]) -> Layer:
    weight = tuple(module.weight.shape)
    ao_bit, w_bit, adc_bit = (getattr(module, attribute, "fp") for attribute in ("ao_bit", "w_bit", "adc_bit"))
    layout = module.layout() if hasattr(module, "layout") else None
    per_output = 0 if layout is None else layout.arrays
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
        adc_conversions=outputs * per_output,
    )


def _print_layers(name: str, in_shape: Sequence[int], layers: Sequence[Layer], totals: dict[str, Any]) -> None:
    columns = ["layer", "type", "weight", "output", "a/w/adc bits", "arrays", "parameters", "MACs", "ADC conversions"]
    rows: list[tuple[object, ...]] = [
        (
            layer.name,
            layer.type,
            _shape(layer.weight),
            _shape(layer.output),
            f"{layer.ao_bit}/{layer.w_bit}/{layer.adc_bit}",
            layer.arrays or None,
            layer.parameters,
            layer.macs,
            layer.adc_conversions or None,
        )
        for layer in layers
    ]
    sums = (totals["arrays"], totals["parameters"], totals["macs"], totals["adc_conversions"])
    rows.append(("total", "", "", "", "", *sums))
    precisions = ", ".join(
        f"{count:,} {'in full precision' if bits == 'fp' else f'of {bits} bit'}"
        for bits, count in totals["parameters_by_bits"].items()
    )
    notes = (
        "arrays: as many bit lines as the group has output channels; MACs and ADC conversions: for one image",
        f"parameters, in total with those of normalisation: {precisions}",
        f"size with packed weights: {totals['bytes'] / 1e6:.3g} MB",
    )
    output.result_table(columns, rows, title=f"{name}, input {_shape(in_shape)}", notes=notes)


def _shape(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))
