"""Trainings begun by one command: several seeds, and for each the steps of a recipe."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bnnkit.errors import UsageError
from bnnkit.runs import Run
from bnnkit.train.config import Config


@dataclass(frozen=True)
class Outcome:
    """A finished run and what is in its results.json; it is step `step` (from 1) of the `steps` of its recipe."""

    run: Run
    seed: int
    results: dict[str, Any]
    step: int = 1
    steps: int = 1

    @property
    def accuracy(self) -> float:
        """Test accuracy in percent."""
        return float(self.results["test"]["accuracy"])

    @property
    def is_last(self) -> bool:
        """Whether it is what the recipe ends with, and not a step on the way."""
        return self.step == self.steps


@dataclass(frozen=True)
class Summary:
    """Mean of several numbers, and their sample standard deviation (None for a single one)."""

    mean: float
    spread: float | None

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Summary:
        """
        >>> Summary.of([90.0, 92.0]).mean
        91.0
        """
        return cls(statistics.fmean(numbers), statistics.stdev(numbers) if len(numbers) > 1 else None)


@dataclass(frozen=True)
class Series:
    """Trainings that differ in their seed, and for each seed in the options of the steps.

    Attributes:
        configs: one per step; the seed and the checkpoint a later step starts from are filled in by `config`.
        teacher: sha256 of the checkpoint they imitate; None without a teacher.
    """

    name: str
    seeds: tuple[int, ...]
    configs: tuple[Config, ...]
    teacher: str | None = None

    @property
    def places(self) -> list[tuple[int, int]]:
        """Return (seed, step) of every training, in their order."""
        return [(seed, step) for seed in self.seeds for step in range(1, len(self.configs) + 1)]

    def config(self, seed: int, step: int, init: Path | None) -> Config:
        """Return the options of one training; `init` is the checkpoint the step before it ended with."""
        config = replace(self.configs[step - 1], seed=seed)
        return config if init is None else replace(config, init=str(init))

    def stamp(self, seed: int, step: int) -> dict[str, Any]:
        """Return what stamp.json has to say for the series to be continued from this run."""
        steps = len(self.configs)
        document: dict[str, Any] = {"seed": seed, "seeds": list(self.seeds), "series": self.name}
        document |= {"step": step, "steps": steps, "teacher": self.teacher}
        if steps > 1:
            document["configs"] = [config.as_json() for config in self.configs]
        return document

    @classmethod
    def of(cls, stamp: Mapping[str, Any], config: Config) -> Series:
        """Read what `stamp` returned; `config` are the options of a run that has only one step.

        Raises:
            MismatchError: options of another version of bnnkit.
        """
        configs = tuple(Config.from_json(options) for options in stamp.get("configs", ())) or (config,)
        return cls(stamp["series"], tuple(stamp["seeds"]), configs, stamp.get("teacher"))

    def runs(self, folder: Path) -> dict[tuple[int, int], Run]:
        """Return the runs of the series in `folder` by (seed, step): those that are finished or can be continued."""
        found: dict[tuple[int, int], Run] = {}
        for path in sorted(folder.iterdir()):
            run = Run(path)
            usable = run.finished or run.last.exists()
            if path.is_symlink() or not (usable and (path / "stamp.json").exists()):
                continue
            stamp = run.read_json("stamp.json")
            if stamp.get("series") != self.name:
                continue
            place = (int(stamp["seed"]), int(stamp.get("step", 1)))
            if place not in found or not found[place].finished:
                found[place] = run
        return found

    def outcome(self, run: Run, seed: int, step: int) -> Outcome:
        """Return what a finished run came to."""
        return Outcome(run, seed, run.read_json("results.json"), step, len(self.configs))


def parse_seeds(text: str, first: int) -> list[int]:
    """Return the seeds of "1,2,3" (those) or "3" (so many, from `first` on).

    Raises:
        UsageError: neither form, none, or one twice.

    >>> parse_seeds("3", 1), parse_seeds("4,9", 1)
    ([1, 2, 3], [4, 9])
    """
    parts = [part for part in text.split(",") if part.strip()]
    try:
        numbers = [int(part) for part in parts]
    except ValueError:
        numbers = []
    seeds = list(range(first, first + numbers[0])) if len(numbers) == 1 and "," not in text else numbers
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise UsageError(f"--seeds {text}: a count or different numbers were needed", hint="--seeds 3 or --seeds 1,2,3")
    return seeds
