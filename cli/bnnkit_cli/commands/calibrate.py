"""`bnnkit calibrate`: choose the ranges of a chip's converters from training images, in one pass."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bnnkit.errors import UsageError
from bnnkit_cli import output


def calibrate(
    subject: Annotated[
        str | None,
        typer.Argument(
            metavar="[CKPT|RUN|MODEL]", help="A bit-serial network, as for `bnnkit eval` [default: latest]."
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.json", help="Calibration file to write.")] = Path(
        "calibration.json"
    ),
    method: Annotated[str, typer.Option(help="max, percentile:P, mse or sigma:K.")] = "mse",
    per: Annotated[str, typer.Option(help="What has a range of its own: layer, slice, input-bit or column.")] = "slice",
    images: Annotated[int, typer.Option(help="Training images.")] = 128,
    adc_bit: Annotated[int, typer.Option(help="Bits of the converters.")] = 6,
    cell_bit: Annotated[int, typer.Option(help="Bits of a cell.")] = 1,
    cell: Annotated[str, typer.Option(help="NAME[:key=value,...], such as rram:sigma=0.05.")] = "ideal",
    encode: Annotated[str, typer.Option(help="offset, differential or twos.")] = "offset",
    rows: Annotated[int, typer.Option(help="Word lines of an array.")] = 128,
    mapping: Annotated[str, typer.Option(help="channel or tap.")] = "tap",
    seed: Annotated[int, typer.Option(help="Of the chip.")] = 0,
    dataset: Annotated[str | None, typer.Option(help="Dataset [default: the one it was trained on].")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where prepared datasets live [default: $BNNKIT_DATA].")] = None,
    runs_dir: Annotated[Path, typer.Option(help="Where run directories live.")] = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """Choose the ranges of a chip's converters, and write them to a file that `bnnkit eval --adc-range` reads.

    The partial sums of all layers are counted in one pass over training images; the ranges follow from the counts. They
    hold for the arrays, bits of a cell and encoding they were chosen with, and are the best for its kind of cell and
    bits of converters.
    """
    from bnnkit.atomic import check_target
    from bnnkit.cim import Chip, Method, parse_cell
    from bnnkit.nn import chip_layers
    from bnnkit.runs import file_digest
    from bnnkit.train.calibration import calibrate as choose
    from bnnkit.train.subject import find_or_sample

    check_target(out)
    arrays: dict[str, Any] = {"rows": rows, "mapping": mapping, "cell_bit": cell_bit, "encoding": encode}
    chip = Chip(**arrays, adc_bit=adc_bit, cell=parse_cell(cell), seed=seed)
    trained = find_or_sample(subject, root=runs_dir)
    model = trained.model({})
    if not chip_layers(model):
        raise UsageError(
            f"calibrate: {trained.checkpoint.config['name']} has no bit-serial layers; some were needed",
            hint="bnnkit train vgg7",
        )
    data = trained.dataset(dataset, data_dir)
    noted: dict[str, Any] = {"checkpoint": file_digest(trained.path), "cell": cell, "seed": seed}
    ranges = choose(
        model,
        chip,
        data,
        trained.preparation,
        method=Method.parse(method),
        scope=per,  # type: ignore[arg-type]
        count=images,
        metadata=noted,
    )
    ranges.save(out)
    if json:
        layers = {name: {"low": low.tolist(), "high": high.tolist()} for name, (low, high) in ranges.bounds.items()}
        output.emit_json("calibrate", {"file": out, **ranges.metadata, "layers": layers})
        return
    rows_of_table = []
    for name, (low, high) in ranges.bounds.items():
        step = (high - low) / 2**adc_bit
        for c in range(low.shape[1]):
            # A level of 0 is one to rounding only.
            highest = float((high - step)[:, c].max())
            highest = 0.0 if abs(highest) < 1e-9 * float(step[:, c].max()) else highest
            spans = (f"{float(low[:, c].min()):g} to {highest:g}", _span(step[:, c]))
            rows_of_table.append([name if c == 0 else "", c, low.shape[0] * low.shape[2], *spans])
    columns = ["layer", "slice", "ranges", "levels reach from", "step"]
    notes = [
        f"{images} training images of {data.name}, {method} per {per}, {adc_bit}-bit converters",
        f"written: {out}",
    ]
    output.result_table(columns, rows_of_table, title=f"{trained.path}: ranges in cell steps", notes=notes)


def _span(values: Any) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
