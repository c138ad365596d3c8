"""`bnnkit decompose`: integer weights as planes of cells, and the arrays that would hold them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from bnnkit.errors import UsageError
from bnnkit_cli import output

if TYPE_CHECKING:
    from bnnkit.decompose import Decomposition, Found

MOST_SKIPPED = 3


# The parameters are the documentation of the command, which makes the function long.
def decompose(
    subject: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE|CKPT|RUN|MODEL]",
            help="Integer weights (.npy, .npz, .pt, .pth, .safetensors), or a network: checkpoint or packed file, run "
            "(path, name, or latest), or a model: its newest run [default: latest, or without runs the packaged "
            "sample].",
        ),
    ] = None,
    w_bit: Annotated[
        int | None, typer.Option(help="Bits of the weights [default: the layer's own; 4 for a file of tensors].")
    ] = None,
    cell_bit: Annotated[int, typer.Option(help="Bits of one cell; where they do not divide, no bit is lost.")] = 1,
    encode: Annotated[
        str | None,
        typer.Option(
            help="Signed weights: offset (with a dummy column), differential or twos (two's complement) [default: "
            "offset for tensors with a negative value; others are unsigned codes, sliced as they are]. When given, "
            "every tensor of a file is signed."
        ),
    ] = None,
    rows: Annotated[
        int | None, typer.Option(help="Word lines of an array [default: as trained; 128 for a file of tensors].")
    ] = None,
    cols: Annotated[int, typer.Option(help="Bit lines of an array.")] = 128,
    mapping: Annotated[
        str | None, typer.Option(help="channel or tap [default: as trained; tap for a file of tensors].")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            help="Write the planes, uint8, least significant first: .npz or .safetensors, which also say how they "
            "were made, .pt, or .npy for a single tensor.",
        ),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the planes of one layer and the map of its arrays.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option(metavar="NAME", help="The layer to draw [default: the one with the most weights].")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Merge the planes again and compare with the weights.")
    ] = True,
    runs_dir: Annotated[Path, typer.Option(help="Where run directories live.")] = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """Cut integer weights into slices of cells, least significant first, and count the arrays that hold them.

    All cells of a weight lie side by side in one array; with an offset every array has a dummy column per slice.
    Cells and column use include dummy columns. ADC conversions are for one bit of all inputs at one position of the
    kernel: one per row block, output and slice; of a differential pair the difference is converted.
    """
    from bnnkit import decompose as work

    _check_files(subject, out, picture, layer)
    settings = work.Settings(
        w_bit=w_bit, cell_bit=cell_bit, encode=cast(Any, encode), rows=rows, cols=cols, mapping=cast(Any, mapping)
    )
    source, found, outputs = _find(subject, runs_dir)
    if encode is not None and all(weight.signed is False for weight in found.weights):
        raise UsageError(
            f"--encode {encode}: the layers of {source} hold codes that are never negative; signed weights were needed",
            hint="leave --encode out",
        )
    layers = [work.decompose(weight, settings) for weight in found.weights]
    if verify:
        for planes in layers:
            work.verify(planes)
    if out is not None:
        work.save(out, layers)
    if picture is not None:
        work.draw(picture, _chosen(layers, layer))
    entries = [work.as_json(planes, outputs.get(planes.name)) for planes in layers]
    document = {
        "source": source,
        "verified": verify,
        "layers": entries,
        "totals": work.totals(entries),
        "skipped": [{"name": name, "reason": reason} for name, reason in found.skipped.items()],
        "out": out,
        "picture": picture,
    }
    if json:
        output.emit_json("decompose", document)
        return
    _print(document)


def _check_files(subject: str | None, out: Path | None, picture: Path | None, layer: str | None) -> None:
    from bnnkit.decompose import check_name

    if out is not None:
        check_name(out)
        if subject is not None and out.exists() and out.samefile(subject):
            raise UsageError(f"{out}: is the file to be read; another name was needed", hint="give another -o")
    if picture is not None:
        check_name(picture, (".png",))
    elif layer is not None:
        raise UsageError(f"--layer {layer}: chooses what --picture draws; that was not given", hint="--picture a.png")


def _find(subject: str | None, runs_dir: Path) -> tuple[Path, Found, dict[str, int]]:
    """Return the file, what can be decomposed in it, and the kernel positions per image of each layer of a network."""
    from bnnkit import deploy
    from bnnkit.cim import Array
    from bnnkit.decompose import holds_tensors, of_model, read
    from bnnkit.models.shapes import output_shapes
    from bnnkit.train.subject import find_or_sample

    if subject is not None and holds_tensors(Path(subject)):
        return Path(subject), read(Path(subject)), {}
    trained = find_or_sample(subject, root=runs_dir)
    if trained.path == deploy.SAMPLE:
        output.log(f"no run in {runs_dir}: the sample network of the package")
    config = trained.checkpoint.config
    outputs = {name: _positions(shape) for name, shape in output_shapes(config).items()}
    model = trained.model({})
    array = Array(model.config["rows"], model.config["mapping"], model.config["channels_per_array"])
    return trained.path, of_model(model, trained.path, array), outputs


def _positions(shape: Sequence[int]) -> int:
    return shape[1] * shape[2] if len(shape) == 3 else 1


def _chosen(layers: Sequence[Decomposition], name: str | None) -> Decomposition:
    from bnnkit.decompose import largest

    if name is None:
        return largest(layers)
    names = [planes.name for planes in layers]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.3)
        hint = f"did you mean '{near[0]}'?" if near else f"layers: {', '.join(names)}"
        raise UsageError(f"--layer: no decomposed layer is called '{name}'", hint=hint)
    return layers[names.index(name)]


def _print(document: dict[str, Any]) -> None:
    columns = ["layer", "weight", "encoding", "bits", "slices", "matrix", "blocks", "arrays", "rows %", "columns %"]
    columns += ["cells used", "of cells", "ADC conversions"]
    per_image = any(layer["adc_conversions_per_image"] is not None for layer in document["layers"])
    columns += ["per image"] if per_image else []
    rows = [_row(layer)[: len(columns)] for layer in document["layers"]]
    sums = document["totals"]
    counts = (sums["arrays"], None, None, sums["cells_used"], sums["cells_available"], sums["adc_conversions"])
    total = ("total", "", "", None, None, "", "", *counts, sums["adc_conversions_per_image"])
    output.result_table(columns, [*rows, total[: len(columns)]], title=str(document["source"]), notes=_notes(document))


def _row(layer: dict[str, Any]) -> tuple[object, ...]:
    groups = f"{layer['groups']} x " if layer["groups"] > 1 else ""
    return (
        layer["name"],
        _times(layer["weight"]),
        f"{layer['encoding']} {layer['offset']}" if layer["offset"] else layer["encoding"],
        layer["w_bit"],
        layer["slices"],
        f"{groups}{_times(layer['matrix'])}",
        f"{groups}{layer['row_blocks']}x{layer['column_blocks']}",
        layer["arrays"],
        layer["row_utilisation"],
        layer["column_utilisation"],
        layer["cells_used"],
        layer["cells_available"],
        layer["adc_conversions"],
        layer["adc_conversions_per_image"],
    )


def _notes(document: dict[str, Any]) -> list[str]:
    layers = document["layers"]
    cell_bit = layers[0]["cell_bit"]
    sizes = sorted({f"{layer['rows']}x{layer['cols']}" for layer in layers})
    mappings = sorted({f", mapping {layer['mapping']}" for layer in layers if layer["mapping"] is not None})
    arrays = f"arrays of {', '.join(sizes)}{''.join(mappings)}"
    notes = [f"cells of {cell_bit} bit, {arrays}; matrix and blocks: word lines x bit lines"]
    conversions = "ADC conversions: for one bit of all inputs at one position of the kernel"
    if any(layer["adc_conversions_per_image"] is not None for layer in layers):
        conversions += "; per image: for all bits of the activations and all positions"
    notes.append(conversions)
    if any(layer["encoding"] == "offset" for layer in layers):
        notes.append("every array has one dummy column per slice, which holds the offset; it is used, not converted")
    if document["skipped"]:
        notes.append(_skipped(document["skipped"]))
    notes += [f"{what}: {document[key]}" for what, key in (("planes", "out"), ("picture", "picture")) if document[key]]
    notes.append("verified: the merged planes are the weights, all of them" if document["verified"] else "not verified")
    return notes


def _skipped(skipped: Sequence[dict[str, str]]) -> str:
    text = "; ".join(f"{entry['name']} ({entry['reason']})" for entry in skipped[:MOST_SKIPPED])
    more = f"; and {len(skipped) - MOST_SKIPPED} more, see --json" if len(skipped) > MOST_SKIPPED else ""
    return f"not decomposed: {text}{more}"


def _times(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))
