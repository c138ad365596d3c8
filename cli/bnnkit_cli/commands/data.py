"""`bnnkit data`: prepare datasets and list them."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from bnnkit_cli import output

app = typer.Typer(help="Prepare datasets from archives, folders or their official sites, and list them.")

DataDir = Annotated[
    Path | None,
    typer.Option(help="Where prepared datasets live [default: $BNNKIT_DATA, else the user cache directory]."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]


@app.command("prepare")
def prepare_dataset(
    name: Annotated[
        str, typer.Argument(help="digits, mnist, cifar10, cifar100, tiny-imagenet, or a new name for image folders.")
    ],
    source: Annotated[
        Path | None,
        typer.Option(
            help="Official archive, image folders <split>/<class>/*.png|jpg, or an archive of such folders "
            "(.tar, .tar.gz, .tar.xz, .zip). Without it: keep what is prepared and intact, else download."
        ),
    ] = None,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """Read a dataset, check its counts and hashes, and store it memory-mapped."""
    from bnnkit.data import prepare
    from bnnkit.data.catalogue import catalogue

    start = time.perf_counter()
    with _Stages() as stages:
        path = prepare(name, source, data_dir, stages)
    seconds = time.perf_counter() - start
    entry = next(entry for entry in catalogue(data_dir) if entry.name == name)
    if json:
        output.emit_json("data-prepare", {**asdict(entry), "path": path, "seconds": round(seconds, 3)})
        return
    rows = [
        ("images", f"{entry.train:,} train + {entry.test:,} test, {'x'.join(map(str, entry.shape))}"),
        ("classes", str(entry.classes)),
        ("size", _size(entry.bytes)),
        ("path", str(path)),
        ("fingerprint", entry.fingerprint),
        ("time", f"{seconds:.1f} s"),
    ]
    output.result_table(("dataset", name), rows, notes=[f"note: {entry.note}"] if entry.note else [])


@app.command("list")
def list_datasets(data_dir: DataDir = None, json: AsJson = False) -> None:
    """List the known datasets and the prepared ones."""
    from bnnkit.data.cache import data_root
    from bnnkit.data.catalogue import catalogue

    entries = catalogue(data_dir)
    if json:
        output.emit_json("data-list", {"data_dir": data_root(data_dir), "datasets": [asdict(e) for e in entries]})
        return
    rows = [
        (
            entry.name,
            f"{entry.train:,} + {entry.test:,}",
            entry.classes,
            "x".join(map(str, entry.shape)),
            entry.state,
            _size(entry.bytes) if entry.bytes else None,
            entry.note,
        )
        for entry in entries
    ]
    columns = ("name", "images (train + test)", "classes", "shape", "state", "size", "note")
    output.result_table(columns, rows, notes=[f"data directory: {data_root(data_dir)}"])


def _size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"


class _Stages(ExitStack):
    """One progress display after the other, for work that reports (stage, done, total)."""

    def __init__(self) -> None:
        super().__init__()
        self._stage = ""
        self._display: output.Progress | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self._display is None or stage != self._stage:
            self.close()
            self._stage = stage
            self._display = self.enter_context(output.progress(stage, total or None))
        self._display.update(done, total or None)
