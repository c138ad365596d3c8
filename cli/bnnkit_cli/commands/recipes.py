"""`bnnkit recipes`: how networks are trained, by name."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from bnnkit_cli import output

if TYPE_CHECKING:
    from bnnkit.train import Recipe


def recipes(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """List the training recipes; `bnnkit train --recipe NAME` uses one, and so does a config.toml of any run."""
    from bnnkit.train.recipes import RECIPES

    entries = {name: RECIPES.get(name) for name in RECIPES}
    if json:
        output.emit_json("recipes", {"recipes": [{"name": name, **asdict(entry)} for name, entry in entries.items()]})
        return
    rows = [row for name, entry in entries.items() for row in _rows(name, entry)]
    columns = ["recipe", "step", "default of", "weights", "epochs", "batch", "optimizer", "schedule", "description"]
    notes = [
        "with other --epochs the milestones move in proportion; with another --lr their rates do",
        "on the embedded digits every recipe has fewer epochs and smaller batches, which the first line of a run says",
        "of two steps the second starts from the weights of the first",
    ]
    output.result_table(columns, rows, notes=notes)


def _rows(name: str, recipe: Recipe) -> list[tuple[str | None, ...]]:
    """Return one row per step; what holds for the whole recipe stands in the first."""
    rows: list[tuple[str | None, ...]] = []
    steps = recipe.steps()
    for number, step in enumerate(steps, start=1):
        milestones = step["milestones"] if step["schedule"] == "piecewise" else ()
        decay = f", decay {step['weight_decay']:g}" if step["weight_decay"] else ""
        rows.append(
            (
                name if number == 1 else None,
                f"{number}/{len(steps)}" if len(steps) > 1 else None,
                (", ".join(recipe.models) or None) if number == 1 else None,
                step.get("w_bit"),
                str(step["epochs"]),
                str(step["batch"]),
                f"{step['optimizer']} {step['lr']:g}{decay}",
                ", ".join([step["schedule"], *(f"{rate:g} @{start:g}" for start, rate in milestones)]),
                recipe.description if number == 1 else None,
            )
        )
    return rows
