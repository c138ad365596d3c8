"""`bnnkit recipes`: how networks are trained, by name."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from bnnkit_cli import output


def recipes(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """List the training recipes; `bnnkit train --recipe NAME` uses one, and so does a config.toml of any run."""
    from bnnkit.train.recipes import RECIPES

    entries = {name: RECIPES.get(name) for name in RECIPES}
    if json:
        output.emit_json("recipes", {"recipes": [{"name": name, **asdict(entry)} for name, entry in entries.items()]})
        return
    rows = [
        (
            name,
            ", ".join(entry.models) or None,
            str(entry.epochs),
            str(entry.batch),
            f"{entry.optimizer} {entry.lr:g}",
            ", ".join([entry.schedule, *(f"{rate:g} @{start:g}" for start, rate in entry.milestones)]),
            entry.description,
        )
        for name, entry in entries.items()
    ]
    columns = ["recipe", "default of", "epochs", "batch", "optimizer", "schedule", "description"]
    notes = ["with other --epochs the milestones move in proportion; with another --lr their rates do"]
    output.result_table(columns, rows, notes=notes)
