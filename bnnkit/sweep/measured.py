"""Accuracies in the documents that train, eval and inject print."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Document: TypeAlias = Mapping[str, Any]

CHIP = "chip"
"""The label of one chip among several."""


@dataclass(frozen=True)
class Measured:
    """One accuracy.

    Attributes:
        labels: what it is the accuracy of, besides the labels of its cell.
        accuracy: in percent.
        interval: 95 %, in percent: over images (Wilson), for several fault maps over maps.
        limited: not all images or steps were used.
    """

    labels: dict[str, str]
    accuracy: float
    correct: int
    total: int
    interval: tuple[float, float]
    limited: bool = field(default=False)


def measured(command: str, document: Document) -> list[Measured]:
    """Return the accuracies of what a command printed.

    Raises:
        KeyError, TypeError: it is no document of that command.

    >>> score = {"accuracy": 90.0, "correct": 9, "total": 10, "wilson95": [59.6, 98.2]}
    >>> [found] = measured("eval", {"limited": False, "results": [{"adc_bit": 2, **score}]})
    >>> found.labels, found.accuracy
    ({'adc-bit': '2'}, 90.0)
    """
    return _READERS[command](document)


def _train(document: Document) -> list[Measured]:
    last = [run for run in document["runs"] if run["step"] == run["steps"]]
    many = len(last) > 1
    return [_score({"seed": str(run["seed"])} if many else {}, run["test"], run["limited"]) for run in last]


def _eval(document: Document) -> list[Measured]:
    limited = bool(document["limited"])
    if "software" not in document:
        return [_score({"adc-bit": str(row["adc_bit"])}, row, limited) for row in document["results"]]
    none = {"cell": "none", "cell-bit": "none", "adc-bit": "none"}
    rows = [_score(none, document["software"], limited)]
    for row in document["results"]:
        labels = {"cell": row["cell"], "cell-bit": str(row["cell_bit"]), "adc-bit": str(row["adc_bit"])}
        chips = row["chips"]
        rows += [
            _score(labels | ({CHIP: str(place)} if len(chips) > 1 else {}), chip, limited)
            for place, chip in enumerate(chips)
        ]
    return rows


def _inject(document: Document) -> list[Measured]:
    limited = bool(document["limited"])
    several = len(document["tables"]) > 1
    rows = [_map_score({"row": "golden"}, document["golden"], limited)]
    for table in document["tables"]:
        # A single amount is that of the whole command, and no name of a row.
        alone = len(table["rows"]) == 1
        for row in table["rows"]:
            labels = {"fault": table["table"]} if several else {}
            rows.append(_map_score({**labels, "row": "faulty" if alone else row["row"]}, row, limited))
    return rows


def _score(labels: dict[str, str], score: Document, limited: bool) -> Measured:
    low, high = score["wilson95"]
    return Measured(labels, score["accuracy"], score["correct"], score["total"], (low, high), limited)


def _map_score(labels: dict[str, str], row: Document, limited: bool) -> Measured:
    low, high = row["interval95"]
    return Measured(labels, row["accuracy"], row["correct"], row["total"], (low, high), limited)


_READERS: dict[str, Callable[[Document], list[Measured]]] = {"train": _train, "eval": _eval, "inject": _inject}
