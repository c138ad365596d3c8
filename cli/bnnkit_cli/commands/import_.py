"""`bnnkit import`: a checkpoint of an origin project as one that bnnkit evaluates."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnnkit.errors import UsageError
from bnnkit_cli import output
from bnnkit_cli.commands.models import parse_shape

if TYPE_CHECKING:
    from bnnkit.importers import Architecture
    from bnnkit.importers.origin import Match
    from bnnkit.models import Model


# The parameters are the documentation of the command, which makes the function long.
def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What the origin saved: a state dictionary, or one inside another.")
    ],
    origin: Annotated[str, typer.Option("--from", metavar="ORIGIN", help="bnn-iga, rram, ab-bnn, fracbnn or cnv.")],
    out: Annotated[
        Path, typer.Option("-o", "--output", "--out", metavar="OUT.safetensors", help="Checkpoint to write.")
    ],
    model: Annotated[str | None, typer.Option(help="Network of the origin [default: what the keys tell].")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="What it was trained on [default: the usual one with as many classes].")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where prepared datasets live [default: $BNNKIT_DATA].")] = None,
    width: Annotated[int | None, typer.Option(help="Width multiplier [default: what the weights tell].")] = None,
    classes: Annotated[int | None, typer.Option(help="Number of classes [default: what the weights tell].")] = None,
    in_shape: Annotated[
        str | None,
        typer.Option(
            "--in-shape", "--input", metavar="CxHxW", help="Shape of an image [default: what weights and dataset tell]."
        ),
    ] = None,
    ao_bit: Annotated[
        str | None, typer.Option("--ao-bit", "--a-bit", help="Bits of activations [default: the model's own].")
    ] = None,
    w_bit: Annotated[str | None, typer.Option(help="Bits of weights [default: the model's own].")] = None,
    adc_bit: Annotated[
        str | None, typer.Option(help="Bits of the converters it was trained with, or fp [default: the model's own].")
    ] = None,
    weight_quant: Annotated[
        str | None, typer.Option(help="Weight quantizer of bit-serial networks: sawb or dorefa [default: sawb].")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """Turn a checkpoint of an origin project, a file of torch.save, into one that eval, pack and train read.

    The network, its width, classes and images follow from keys and shapes; bits and converters are in no checkpoint and
    are the model's own unless given. Nothing in the file is run: what is not tensors and plain containers is refused.
    """
    from bnnkit import checkpoint, importers, runs
    from bnnkit.importers import images
    from bnnkit.models import create_model

    importers.ORIGINS.get(origin)
    if out.exists() and file.exists() and out.samefile(file):
        raise UsageError(f"--output {out}: is the file to import, which stays as it is", hint="name another file")
    options = {
        "name": model,
        "width": width,
        "classes": classes,
        "in_shape": None if in_shape is None else parse_shape(in_shape),
        "ao_bit": ao_bit,
        "w_bit": w_bit,
        "adc_bit": adc_bit,
        "weight_quant": weight_quant,
    }
    given = {name: value for name, value in options.items() if value is not None}
    trained_on = None if dataset is None else images.of_dataset(dataset, origin, data_dir)
    content = importers.read(file)
    found = importers.infer(origin, importers.unwrap(content)[0], given, trained_on)
    network = create_model(**found.options)
    match = importers.match(origin, network, content)
    network.load_state_dict(match.parameters)
    preparation = _preparation(network, found)
    provenance: dict[str, Any] = {"origin": origin, "file": file.name, "sha256": runs.file_digest(file)}
    if found.images is not None:
        provenance["dataset"] = found.images.name
    checkpoint.save(out, network, metadata={"preparation": preparation, "provenance": provenance})
    document: dict[str, Any] = {
        "origin": origin,
        "file": file,
        "sha256": provenance["sha256"],
        "output": out,
        "model": network.config,
        "dataset": provenance.get("dataset"),
        "preparation": preparation,
        "parameters": {"tensors": len(match.parameters), "numbers": _numbers(match)},
        "ignored": [{"key": key, "reason": reason} for key, reason in match.ignored.items()],
        "inferred": found.inferred,
        "assumed": found.assumed,
        "next": f"bnnkit eval {shlex.quote(str(out))}" + ("" if found.images is not None else " --dataset NAME"),
    }
    if json:
        output.emit_json("import", document)
        return
    output.result_table(["imported", ""], _rows(document, match))


def _preparation(network: Model, found: Architecture) -> dict[str, list[float]]:
    from bnnkit.importers.images import unnormalized
    from bnnkit.models import MODELS

    settings = network.settings
    if found.images is not None:
        return found.images.preparation(settings.name, settings.in_shape[0])
    if not MODELS.get(settings.name).normalized:
        return unnormalized(settings.in_shape[0])
    raise UsageError(
        f"import: no known dataset has {settings.classes} classes and fits {settings.name}, and the network needs the "
        "normalization of its images",
        hint="give --dataset NAME, of a dataset that `bnnkit data prepare` made",
    )


def _numbers(match: Match) -> int:
    return sum(tensor.numel() for tensor in match.parameters.values())


def _rows(document: dict[str, Any], match: Match) -> list[tuple[str, str]]:
    from bnnkit.checkpoint import describe

    counts, prepared = document["parameters"], document["preparation"]
    rows = [
        ("network", describe(document["model"])),
        ("from", f"{document['file']} ({document['origin']})"),
        ("parameters", f"{counts['tensors']:,} tensors, {counts['numbers']:,} numbers: all of the network's"),
    ]
    rows += [("inferred", _listed(document["inferred"]))] if document["inferred"] else []
    rows += [("assumed", f"{_listed(document['assumed'])}: the file does not tell")] if document["assumed"] else []
    means, stds = ("/".join(f"{value:.4g}" for value in prepared[name]) for name in ("mean", "std"))
    rows += [("images", f"{document['dataset'] or 'of an unknown dataset'}, mean {means}, std {stds}")]
    rows += [("ignored", f"{keys}: {reason}") for reason, keys in _by_reason(match)]
    return [*rows, ("written", str(document["output"])), ("evaluate", document["next"])]


def _listed(options: dict[str, Any]) -> str:
    def text(value: Any) -> str:
        return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)

    return ", ".join(f"{name} {text(value)}" for name, value in options.items())


def _by_reason(match: Match) -> list[tuple[str, str]]:
    from bnnkit.importers.origin import first_few

    reasons = dict.fromkeys(match.ignored.values())
    return [(why, first_few([key for key, reason in match.ignored.items() if reason == why])) for why in reasons]
