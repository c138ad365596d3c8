"""`bnnkit models`: which networks can be built, and what a chip would have to hold and to do for one of them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from bnnkit.errors import UsageError
from bnnkit_cli import output
from bnnkit_cli.commands.models_layers import layers_of, print_layers, totals_of

app = typer.Typer(help="List the networks that can be built, or show what one consists of.")

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]


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


# The parameters are the documentation of the command, which makes the function long.
@app.command("show")
def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A network of `bnnkit models list`; or a trained one: checkpoint or packed file, or run (path, name, "
            "or latest).",
        ),
    ],
    ops: Annotated[
        bool, typer.Option("--ops", help="Count the operations on one image and estimate their energy.")
    ] = False,
    energy: Annotated[
        Path | None,
        typer.Option(
            "--energy", metavar="FILE", help="With --ops: energies of operations [default: energy.toml of bnnkit]."
        ),
    ] = None,
    ao_bit: Annotated[
        str | None, typer.Option("--ao-bit", "--a-bit", help="Bits of activations [default: the model's own].")
    ] = None,
    w_bit: Annotated[str | None, typer.Option("--w-bit", help="Bits of weights [default: the model's own].")] = None,
    adc_bit: Annotated[
        str | None,
        typer.Option("--adc-bit", help="Bits of the converters: 1, 2, 3, 4 or fp [default: the model's own]."),
    ] = None,
    rows: Annotated[
        int | None, typer.Option("--rows", help="Word lines of an array [default: as trained, else 128].")
    ] = None,
    mapping: Annotated[
        str | None,
        typer.Option("--mapping", help="Inputs that share an array: channel or tap [default: the model's own]."),
    ] = None,
    channels_per_array: Annotated[
        int | None,
        typer.Option("--channels-per-array", help="Input channels of an array [default: as trained, else what fits]."),
    ] = None,
    width: Annotated[int | None, typer.Option("--width", help="Width multiplier [default: the model's own].")] = None,
    classes: Annotated[int | None, typer.Option("--classes", help="Number of classes [default: 10].")] = None,
    input_shape: Annotated[
        str | None, typer.Option("--input", metavar="CxHxW", help="Shape of an image [default: the model's own].")
    ] = None,
    runs_dir: Annotated[Path, typer.Option(help="Where run directories live.")] = Path("runs"),
    json: JsonFlag = False,
) -> None:
    """Show the layers of a network: shapes, bits, arrays, parameters, multiplications and ADC conversions per image.

    With --ops instead: binary MACs, additions, shifts, comparisons, multiplications and ADC conversions of one image,
    by layer and for the body of the network, and an estimate of their energy. For other energies copy energy.toml of
    the package, which names the sources of its figures.

    Of a trained network, arrays and converters can change.
    """
    from bnnkit_cli.commands.models_network import find_network
    from bnnkit_cli.commands.models_ops import count
    from bnnkit_cli.commands.models_ops_report import as_json, notes_on, print_ops

    if energy is not None and not ops:
        raise UsageError(f"--energy {energy}: changes what --ops shows; that was not given", hint="add --ops")
    in_shape = None if input_shape is None else parse_shape(input_shape)
    network = find_network(
        name,
        runs_dir,
        {"ao_bit": ao_bit, "w_bit": w_bit, "width": width, "classes": classes, "in_shape": in_shape},
        {"adc_bit": adc_bit, "rows": rows, "mapping": mapping, "channels_per_array": channels_per_array},
    )
    layers = layers_of(network.model)
    totals = totals_of(network.model, layers)
    counted = count(network.model, layers, energy) if ops else None
    notes = [] if counted is None else notes_on(network, counted)
    if json:
        document: dict[str, Any] = {"config": network.model.config, "checkpoint": network.path}
        document |= {"layers": [asdict(layer) for layer in layers], "totals": totals}
        if counted is not None:
            document["operations"] = as_json(counted, notes)
        output.emit_json("models-show", document)
    elif counted is None:
        print_layers(network.title, layers, totals)
    else:
        print_ops(network, counted, notes)


def parse_shape(text: str) -> tuple[int, int, int]:
    """Return (channels, height, width) from "CxHxW".

    >>> parse_shape("3x32x32")
    (3, 32, 32)
    """
    numbers = [int(part) if part.isdecimal() else 0 for part in text.lower().split("x")]
    if len(numbers) != 3 or min(numbers) < 1:
        raise UsageError(f"--input: '{text}' is not an image shape; CxHxW was needed", hint="use for example 3x32x32")
    return numbers[0], numbers[1], numbers[2]
