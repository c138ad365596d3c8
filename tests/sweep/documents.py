"""What train, eval and inject print with --json, as far as a sweep reads it; and cells that come to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bnnkit.sweep import Cell, Entry, State
from bnnkit.sweep.store import Result


def score(accuracy: float, total: int = 100) -> dict[str, Any]:
    correct = round(accuracy * total / 100)
    return {"accuracy": accuracy, "correct": correct, "total": total, "wilson95": [accuracy - 1, accuracy + 1]}


def train_document(*accuracies: float, limited: bool = False, steps: int = 1) -> dict[str, Any]:
    """One run per seed and step, seeds from 1; the accuracies are those of the last step."""
    runs = [
        {"seed": seed, "step": step, "steps": steps, "limited": limited, "run": f"runs/train/mlp-{seed}-{step}",
         "test": score(accuracy if step == steps else 1.0)}
        for seed, accuracy in enumerate(accuracies, start=1)
        for step in range(1, steps + 1)
    ]  # fmt: skip
    return {"schema": "bnnkit.train/1", "runs": runs}


def eval_document(accuracies: Mapping[object, float], *, limited: bool = False) -> dict[str, Any]:
    """Accuracies by the bits of the converters."""
    results = [{"adc_bit": bit, **score(accuracy)} for bit, accuracy in accuracies.items()]
    return {"schema": "bnnkit.eval/1", "limited": limited, "results": results}


def chip_document(software: float, chips: Mapping[int, Sequence[float]], *, adc_bit: int = 6) -> dict[str, Any]:
    """Accuracies of every chip by the bits of a cell."""
    results = []
    for bit, found in chips.items():
        kind = {"cell": "ideal", "cell_bit": bit, "adc_bit": adc_bit}
        results.append({**kind, **score(found[0]), "chips": [score(each) for each in found]})
    return {"schema": "bnnkit.eval/1", "limited": False, "software": score(software), "results": results}


def inject_document(golden: float, *tables: Mapping[str, float]) -> dict[str, Any]:
    """A table per fault, accuracies by the names of its rows."""

    def row(name: str, accuracy: float) -> dict[str, Any]:
        plain = score(accuracy)
        return {"row": name, **plain, "interval95": plain.pop("wilson95")}

    listed = [
        {"table": f"bit {place}", "rows": [row(name, accuracy) for name, accuracy in table.items()]}
        for place, table in enumerate(tables)
    ]
    return {"schema": "bnnkit.inject/1", "limited": False, "golden": row("golden", golden), "tables": listed}


def train_cell(needs: Cell | None = None, **labels: object) -> Cell:
    """A training of mlp whose options are its labels."""
    named = {name.replace("_", "-"): str(value) for name, value in labels.items()}
    words = [word for name, value in named.items() for word in (f"--{name}", value)]
    return Cell("train", ("mlp", *words), named, needs)


def entry(cell: Cell, document: Mapping[str, Any] | None = None, state: State | None = None) -> Entry:
    """A finished cell; without a document one that is not."""
    if document is None:
        return Entry(cell, state or State.waiting)
    return Entry(cell, State.finished, Result(document, 1.0))
