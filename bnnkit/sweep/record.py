"""The run directory of a sweep: options, tables and pictures; the cells themselves are in the store.

runs/sweep/<name>-<time>-<hash6>/
    config.toml  stamp.json
    results.json  table.md  table.csv     rewritten whenever a cell is finished
    heatmap.png or curve.png
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bnnkit.atomic import write_text
from bnnkit.runs import Run, options_toml
from bnnkit.sweep import picture
from bnnkit.sweep.schedule import Entry, State
from bnnkit.sweep.table import Row, as_csv, as_markdown, cells_of, columns_of

COMMENTS = {
    "command": "what every cell runs; left out: as the preset says",
    "preset": "a published table",
    "arguments": "of every cell",
    "grid": "what distinguishes them",
    "only": "cells of the preset that were asked for",
    "seeds": "each cell once per seed",
    "executor": "local or ray",
    "jobs": "cells at a time",
    "device": "cpu or cuda",
}
"""Every option, in the order of config.toml."""


def to_toml(options: Mapping[str, Any]) -> str:
    """Return the text of config.toml, a comment per option.

    >>> to_toml({**dict.fromkeys(COMMENTS), "command": "train"}).splitlines()[1]
    'command = "train"                   # what every cell runs; left out: as the preset says'
    """
    return options_toml("bnnkit sweep, as resolved", COMMENTS, options)


@dataclass(frozen=True)
class Report:
    """What is known about a sweep.

    Attributes:
        across: label of the columns of the published table, where there is one.
        notes: what must be said beside the table.
    """

    title: str
    rows: Sequence[Row]
    entries: Sequence[Entry]
    notes: Sequence[str]
    across: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        columns, lines = cells_of(self.rows, columns_of(self.rows))
        return {
            "title": self.title,
            "columns": columns,
            "rows": lines,
            "notes": list(self.notes),
            "table": [row.as_json() for row in self.rows],
            "cells": [_cell(entry) for entry in self.entries],
            "limited": any(row.limited for row in self.rows),
            "finished": all(entry.state is State.finished for entry in self.entries),
        }


def write(run: Run, report: Report) -> None:
    """Write the tables.

    Raises:
        MissingError: no space; what was written before stays.
    """
    run.write_json("results.json", report.as_json())
    write_text(run.path / "table.md", as_markdown(report.title, report.rows, report.notes))
    write_text(run.path / "table.csv", as_csv(report.rows))


def draw(run: Run, report: Report) -> list[str]:
    """Draw the picture and return its path, if there is anything to draw."""
    return [str(path) for path in picture.draw(run.path, report.title, report.rows, across=report.across)]


def _cell(entry: Entry) -> dict[str, Any]:
    seconds = None if entry.result is None else entry.result.seconds
    document = {**entry.cell.as_json(), "line": entry.cell.line, "state": entry.state.value, "seconds": seconds}
    return document | {"found": entry.found, "said": entry.said if entry.state is State.failed else ""}
