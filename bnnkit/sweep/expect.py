"""A sweep against what is expected of it: a table of an earlier sweep, or one written by hand."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bnnkit.errors import MissingError, UsageError
from bnnkit.sweep.table import CSV_NUMBERS, Published, Row

ROUNDING = 1e-9
"""Of differences of percentages, far below what an image counts."""


@dataclass(frozen=True)
class Difference:
    """An expected accuracy and what was found instead, in percent; None: the sweep has no such row."""

    labels: Mapping[str, str]
    expected: float
    found: float | None

    def within(self, tolerance: float) -> bool:
        """Return whether it is at most `tolerance` points off."""
        return self.found is not None and abs(self.found - self.expected) <= tolerance + ROUNDING


def read_expected(path: Path) -> list[Published]:
    """Read expected accuracies: the results.json or table.csv of a sweep, or a CSV file with a column "accuracy".

    All other columns of a CSV file are labels, except those that table.csv has for numbers; rows without an accuracy
    are left out.

    Raises:
        MissingError: there is no such file.
        UsageError: neither of the two forms.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            entries = json.loads(text)["table"]
            found = [(entry["labels"], entry["accuracy"]) for entry in entries]
        else:
            lines = list(csv.DictReader(io.StringIO(text)))
            if any(None in line for line in lines):
                raise ValueError("a line has more values than the first line has names")
            found = [({k: v for k, v in line.items() if k not in CSV_NUMBERS}, line["accuracy"]) for line in lines]
        expected = [
            Published({name: value for name, value in labels.items() if value}, float(accuracy))
            for labels, accuracy in found
            if accuracy not in ("", None)
        ]
    except FileNotFoundError as failure:
        raise MissingError(f"--expect {path}: does not exist", hint="give a table.csv of a sweep") from failure
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as failure:
        raise UsageError(
            f"--expect {path}: cannot be read ({failure}); a sweep's results.json or table.csv was needed",
            hint="the first line of a CSV file names the columns, one of them accuracy",
        ) from failure
    if not expected:
        raise UsageError(f"--expect {path}: holds no accuracy", hint="one column must be named accuracy")
    return expected


def compare(rows: Sequence[Row], expected: Sequence[Published]) -> list[Difference]:
    """Return every expected accuracy beside the one found.

    Raises:
        UsageError: the labels of an expected accuracy are those of several rows.
    """
    return [Difference(each.labels, each.accuracy, _found(rows, each)) for each in expected]


def _found(rows: Sequence[Row], expected: Published) -> float | None:
    found = [row for row in rows if expected.belongs_to(row.labels)]
    # Where one row has no more labels than these, it is the one that is meant.
    exact = [row for row in found if {name for name, value in row.labels.items() if value} <= set(expected.labels)]
    if len(found) > 1 and len(exact) != 1:
        labels = ", ".join(f"{name} {value}" for name, value in expected.labels.items())
        raise UsageError(
            f"--expect: {len(found)} rows of the sweep have {labels or 'no labels'}; one was needed",
            hint=f"columns: {', '.join(rows[0].labels)}",
        )
    return next((row.mean for row in exact or found), None)
