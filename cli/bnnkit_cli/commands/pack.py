"""`bnnkit pack`: a trained network as a packed file, bits instead of latent weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bnnkit_cli import output, warnings


def pack(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="[CKPT|RUN|MODEL]",
            help="Checkpoint file, run (path, name, or latest), or a model: its newest run.",
        ),
    ] = "latest",
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="Packed file [default: beside the checkpoint].")
    ] = None,
    runs_dir: Annotated[Path, typer.Option(help="Where run directories live.")] = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """Pack a trained network into one file of bits, which eval and bench read like a checkpoint.

    The file holds the quantized weights, normalizations as scale and shift, the layers in full precision, and where
    all of it comes from. Its predictions are those of the checkpoint; it cannot be trained further.
    """
    from bnnkit import deploy
    from bnnkit.atomic import check_target
    from bnnkit.checkpoint import describe
    from bnnkit.train.subject import find

    if out is not None:
        check_target(out)
    found = find(subject, root=runs_dir)
    warnings.of_unfinished(found)
    weights = found.packed_weights()
    path = out if out is not None else found.path.with_name(f"{found.path.stem}.packed.safetensors")
    deploy.save(weights, path)
    size, needed = path.stat().st_size, weights.needed_bits // 8
    document: dict[str, Any] = {
        "checkpoint": found.path,
        "packed": path,
        "model": weights.config,
        "bytes": size,
        "bytes_needed": needed,
        "checkpoint_bytes": found.path.stat().st_size,
    }
    if json:
        output.emit_json("pack", document)
        return
    rows = [
        ("network", describe(weights.config)),
        ("from", found.path),
        ("packed file", path),
        ("size", f"{size:,} bytes, {100 * (size / needed - 1):.1f} % above its content"),
        ("checkpoint", f"{document['checkpoint_bytes']:,} bytes"),
    ]
    output.result_table(["packed", ""], rows)
