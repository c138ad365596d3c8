"""What a sweep came to: a row per combination, seeds put together, published values beside."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bnnkit.errors import MismatchError
from bnnkit.sweep.grid import SEED
from bnnkit.sweep.measured import CHIP, Measured, measured
from bnnkit.sweep.schedule import Entry, State

CSV_NUMBERS = ("accuracy", "spread", "correct", "total", "published", "difference", "limited", "state")
"""Columns of table.csv that are no labels."""


@dataclass(frozen=True)
class Published:
    """A published accuracy in percent, and the labels of the row it belongs to."""

    labels: Mapping[str, str]
    accuracy: float

    def belongs_to(self, labels: Mapping[str, str]) -> bool:
        """Return whether a row has all its labels."""
        return all(labels.get(name) == value for name, value in self.labels.items())


@dataclass(frozen=True)
class Row:
    """One combination.

    Attributes:
        labels: by column; "" where the column means nothing for it.
        accuracies: in percent, one per seed and chip.
        interval: 95 %, of a single accuracy; None for several.
        limited: not all images or steps were used.
        state: of the cell, where it has no accuracy yet.
    """

    labels: Mapping[str, str]
    accuracies: tuple[float, ...] = ()
    correct: int = 0
    total: int = 0
    interval: tuple[float, float] | None = None
    published: float | None = None
    limited: bool = False
    state: State = State.finished

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.accuracies) if self.accuracies else None

    @property
    def spread(self) -> float | None:
        """Sample standard deviation of the accuracies, None for fewer than two."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else None

    @property
    def difference(self) -> float | None:
        """Points above the published value."""
        return None if self.mean is None or self.published is None else self.mean - self.published

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "labels": dict(self.labels),
            "accuracy": self.mean,
            "accuracies": list(self.accuracies),
            "spread": self.spread,
            "interval95": None if self.interval is None else list(self.interval),
            "correct": self.correct,
            "total": self.total,
            "published": self.published,
            "difference": self.difference,
            "limited": self.limited,
            "state": self.state.value,
        }


HIDDEN = (SEED, CHIP)
"""Labels that are no columns: a row has the mean over them."""


def rows_of(entries: Sequence[Entry], published: Sequence[Published] = ()) -> list[Row]:
    """Return the rows of cells: those with the same labels, apart from the `HIDDEN` ones, are one row.

    What several cells have measured alike, such as a network in software beside its chips, counts once.

    Raises:
        MismatchError: a finished cell holds something else than its command prints.
    """
    groups: dict[frozenset[tuple[str, str]], dict[tuple[str | None, ...], tuple[Measured | None, State]]] = {}
    names: dict[str, None] = {}
    for entry in entries:
        for found in _found(entry):
            labels = {**entry.cell.labels, **(found.labels if found else {})}
            visible = {name: value for name, value in labels.items() if name not in HIDDEN}
            names |= dict.fromkeys(visible)
            group = groups.setdefault(frozenset(visible.items()), {})
            group.setdefault(tuple(labels.get(name) for name in HIDDEN), (found, entry.state))
    return [
        _row({**dict.fromkeys(names, ""), **dict(labels)}, list(group.values()), published)
        for labels, group in groups.items()
    ]


def columns_of(rows: Sequence[Row]) -> list[str]:
    """Return the headings of a table of rows: labels that every row has alike are left out."""
    names = list(rows[0].labels) if rows else []
    return [name for name in names if len({row.labels[name] for row in rows}) > 1 or len(rows) == 1]


def cells_of(rows: Sequence[Row], columns: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Return headings and the text of every cell of a table."""
    several = any(len(row.accuracies) > 1 for row in rows)
    beside = any(row.published is not None for row in rows)
    heads = [*columns, "test %", *["mean of"] * several, "95 % interval", "correct"]
    heads += ["published", "difference"] * beside
    lines = []
    for row in rows:
        line = [row.labels[name] for name in columns]
        line.append(row.state.value if row.mean is None else f"{row.mean:.2f}")
        line += [str(len(row.accuracies) or "")] * several
        line += [_interval(row), f"{row.correct:,}/{row.total:,}" if row.accuracies else ""]
        line += [_number(row.published, ".2f"), _number(row.difference, "+.2f")] * beside
        lines.append(line)
    return heads, lines


def as_markdown(title: str, rows: Sequence[Row], notes: Sequence[str]) -> str:
    """Return a table in Markdown, notes below."""
    heads, lines = cells_of(rows, columns_of(rows))
    text = [f"# {title}", "", _bar(heads), _bar(["---"] * len(heads)), *map(_bar, lines), ""]
    return "\n".join([*text, *(f"- {note}" for note in notes)]) + "\n"


def as_csv(rows: Sequence[Row]) -> str:
    """Return a table as comma-separated values: numbers are not rounded, what is unknown is empty."""
    names = list(rows[0].labels) if rows else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, *CSV_NUMBERS])
    for row in rows:
        plain = row.as_json()
        writer.writerow([*(row.labels[name] for name in names), *(plain[name] for name in CSV_NUMBERS)])
    return text.getvalue()


def _found(entry: Entry) -> Sequence[Measured | None]:
    if entry.result is None:
        return [None]
    try:
        return measured(entry.cell.command, entry.result.document)
    except (KeyError, TypeError, ValueError) as failure:
        raise MismatchError(
            f"cell {entry.cell.key}: no document of `bnnkit {entry.cell.command}` ({failure!r})",
            hint="remove its folder in runs/sweep/cells",
        ) from failure


def _row(
    labels: Mapping[str, str], group: Sequence[tuple[Measured | None, State]], published: Sequence[Published]
) -> Row:
    beside = next((value.accuracy for value in published if value.belongs_to(labels)), None)
    known = [found for found, _ in group if found is not None]
    if not known:
        return Row(labels, published=beside, state=group[0][1])
    return Row(
        labels,
        tuple(found.accuracy for found in known),
        sum(found.correct for found in known),
        sum(found.total for found in known),
        known[0].interval if len(known) == 1 else None,
        beside,
        any(found.limited for found in known),
    )


def _interval(row: Row) -> str:
    if row.spread is not None:
        return f"+- {row.spread:.2f} (std)"
    return "" if row.interval is None else f"{row.interval[0]:.2f} to {row.interval[1]:.2f}"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _bar(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
