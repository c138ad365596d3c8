"""What run directories hold, as values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnnkit.runs import Run
from bnnkit.train.config import Config


def percentage(value: Any) -> float:
    """Return a number of 0 to 100.

    Raises:
        ValueError: it is none.
        TypeError: it is no number.
    """
    if not 0 <= value <= 100:
        raise ValueError(f"{value} is no percentage")
    return float(value)


def amount(value: Any) -> float:
    """Return a finite number of at least 0.

    Raises:
        ValueError: it is none.
        TypeError: it is no number.
    """
    if not 0 <= value < math.inf:
        raise ValueError(f"{value} is no finite number from 0 on")
    return float(value)


@dataclass(frozen=True)
class Accuracy:
    """An accuracy with its 95 % interval, in percent, and what was counted."""

    value: float
    low: float
    high: float
    correct: int
    total: int

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Accuracy:
        """Read an entry of results.json: of one evaluation (wilson95), or a mean over fault maps (interval95)."""
        low, high = entry["wilson95"] if "wilson95" in entry else entry["interval95"]
        value = percentage(entry["accuracy"])
        return cls(value, percentage(low), percentage(high), int(entry["correct"]), int(entry["total"]))

    @property
    def counted(self) -> str:
        return f"{self.correct:,}/{self.total:,}"

    @property
    def interval(self) -> str:
        return f"{self.low:.2f} to {self.high:.2f}"


@dataclass(frozen=True)
class Epoch:
    """One line of metrics.jsonl of a training; accuracies in percent."""

    number: int
    loss: float | None
    train_accuracy: float | None
    val_accuracy: float | None
    val_loss: float | None
    lr: float | None
    seconds: float | None


@dataclass(frozen=True)
class Picture:
    """A PNG of a run directory."""

    path: Path
    content: bytes
    width: int
    height: int


@dataclass(frozen=True)
class Contents:
    """What every run has.

    Attributes:
        config_text: config.toml as it is.
        stamp: stamp.json; empty if it was not written yet.
        results: results.json; None where nothing came out yet.
    """

    run: Run
    config_text: str
    stamp: dict[str, Any]
    results: dict[str, Any] | None
    pictures: tuple[Picture, ...]

    @property
    def finished(self) -> bool:
        # A sweep writes its results whenever a cell is finished.
        return self.results is not None and self.results.get("finished") is not False

    @property
    def limited(self) -> bool:
        """Whether not all images, or not all steps, were used."""
        return bool(self.results and self.results.get("limited"))


@dataclass(frozen=True)
class Training(Contents):
    """A run of `bnnkit train`.

    Attributes:
        test, test_last, validation: of the chosen weights, of the last ones, and on validation images; None without.
        chosen_epoch: the epoch whose weights were tested.
        gates: what precision gates did in the test, in words.
        seconds: that it took.
    """

    config: Config
    epochs: tuple[Epoch, ...]
    test: Accuracy | None
    test_last: Accuracy | None
    validation: Accuracy | None
    chosen_epoch: int | None
    gates: str | None
    seconds: float | None

    @property
    def limited(self) -> bool:
        return self.config.limited


@dataclass(frozen=True)
class FaultRow:
    """One row of a table of a campaign.

    Attributes:
        maps: evaluated; None where all maps are the same.
        changed: predictions that differ from those without faults, in percent.
        tolerated: maps that lose no more than is tolerated, such as "3/8".
        amount: of the faults, where the table is a curve.
    """

    name: str
    accuracy: Accuracy
    maps: int | None
    change: float | None
    changed: float | None
    tolerated: str | None
    amount: float | None


@dataclass(frozen=True)
class FaultTable:
    """One table of a campaign; `knee` is (low, knee, high) of a curve, `drop` the points that are tolerated."""

    heading: str
    rows: tuple[FaultRow, ...]
    faults: tuple[str, ...] = ()
    knee: tuple[float | None, float | None, float | None] | None = None
    drop: float = 1.0

    @property
    def is_curve(self) -> bool:
        return len(self.rows) > 1 and all(row.amount is not None for row in self.rows)


@dataclass(frozen=True)
class Injection(Contents):
    """A run of `bnnkit inject`.

    Attributes:
        options: of config.toml, see `bnnkit.faults.record.COMMENTS`.
        network: in a few words; while it is not finished the path of its checkpoint.
        golden: without faults; None where not even that evaluation is finished.
        classes: of the network, None while it is not finished.
        images, of_images: that were used, of those there are; 0 while it is not finished.
    """

    options: dict[str, Any]
    network: str
    dataset: str
    classes: int | None
    images: int
    of_images: int
    golden: Accuracy | None
    tables: tuple[FaultTable, ...]


@dataclass(frozen=True)
class Study(Contents):
    """A run of `bnnkit sweep`.

    Attributes:
        failed: command lines of cells that failed, with their last words.
        cells: how many there are, of them `done` finished; 0 where it is not known.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    notes: tuple[str, ...]
    failed: tuple[tuple[str, str], ...] = ()
    cells: int = 0
    done: int = 0
