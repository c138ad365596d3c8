"""Trainings as runs: a directory each, begun, continued, and several seeds in a row."""

from __future__ import annotations

import statistics
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bnnkit import runs
from bnnkit.data import Dataset, load
from bnnkit.errors import MismatchError, UsageError
from bnnkit.models import parse_options
from bnnkit.runs import Run
from bnnkit.train.config import Config, differences, from_run, to_toml
from bnnkit.train.interrupt import stop_on_signals
from bnnkit.train.loop import Watcher, fit
from bnnkit.train.plan import Plan, check, validation_count
from bnnkit.train.training import Training


@dataclass(frozen=True)
class Outcome:
    """A finished run and what is in its results.json."""

    run: Run
    seed: int
    results: dict[str, Any]

    @property
    def accuracy(self) -> float:
        """Test accuracy in percent."""
        return float(self.results["test"]["accuracy"])


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


def start(
    plan: Plan, watcher: Watcher, *, argv: Sequence[str], seeds: Sequence[int] = (), root: Path = runs.ROOT
) -> list[Outcome]:
    """Train each seed in a new run directory.

    Args:
        argv: the command line, for the stamp.
        seeds: None are needed for one training with the seed of the plan.

    Raises:
        InterruptedRunError, GateError, MissingError: as `fit`; MismatchError from the checkpoint to start from.
    """
    series = Series(uuid.uuid4().hex, tuple(seeds) or (plan.config.seed,))
    return [_start(plan, seed, series, watcher, argv, root) for seed in series.seeds]


def resume(
    reference: str | Path, given: Mapping[str, Any], watcher: Watcher, *, argv: Sequence[str], root: Path = runs.ROOT
) -> list[Outcome]:
    """Continue a run in place, then the seeds that were to follow it; a finished run is left as it is.

    Args:
        reference: see `bnnkit.runs.resolve`.
        given: options the person repeats; all must be those of the run.

    Returns:
        All finished runs of the series, in the order of its seeds.

    Raises:
        MismatchError: an option, the dataset, or the saved state is not that of the run.
        MissingError: there is no such run, or another process works on it.
    """
    run = runs.resolve(reference, root=root)
    config = from_run(run.config)
    dataset = load(config.dataset, data_dir=given.get("data_dir", config.data_dir))
    changed = differences(config, _as_in_config(given, config, dataset))
    if changed:
        raise MismatchError(
            "\n  ".join([f"{run.path}: --resume continues a run as it was begun; changed options:", *changed]),
            hint="leave them out, or start a new run without --resume",
        )
    check(config)
    stamp = run.read_json("stamp.json")
    if dataset.fingerprint != stamp["dataset"]["fingerprint"]:
        raise MismatchError(
            f"{run.path}: dataset {config.dataset} is not the one the run was begun with (fingerprint "
            f"{dataset.fingerprint[:12]} instead of {stamp['dataset']['fingerprint'][:12]})",
            hint=f"bnnkit data prepare {config.dataset}",
        )
    if run.finished:
        watcher.log(f"run {run.path} is finished")
    else:
        with run.held():
            _continue(run, Training(config, dataset, {"run": run.name}), stamp, watcher, argv)
    series = Series(stamp["series"], tuple(stamp["seeds"]))
    done = series.outcomes(run.path.parent)
    for seed in series.seeds:
        if seed not in done:
            done[seed] = _start(Plan(config, dataset, ()), seed, series, watcher, argv, root)
    return [done[seed] for seed in series.seeds]


@dataclass(frozen=True)
class Series:
    """Trainings that differ in their seed only, begun by one command."""

    name: str
    seeds: tuple[int, ...]

    def outcomes(self, folder: Path) -> dict[int, Outcome]:
        """Return the finished runs of the series in `folder`, by seed."""
        found = {}
        for path in folder.iterdir():
            run = Run(path)
            if path.is_symlink() or not run.finished:
                continue
            stamp = run.read_json("stamp.json")
            if stamp.get("series") == self.name:
                found[int(stamp["seed"])] = Outcome(run, int(stamp["seed"]), run.read_json("results.json"))
        return found


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


def _start(plan: Plan, seed: int, series: Series, watcher: Watcher, argv: Sequence[str], root: Path) -> Outcome:
    config = replace(plan.config, seed=seed)
    training = Training(config, plan.dataset)
    training.initialise()
    run = runs.create("train", config.label, to_toml(config, heading=_heading(training)), root=root)
    training.labels["run"] = run.name
    with run.held():
        stamp = {**runs.stamp(argv), "seed": seed, "seeds": list(series.seeds), "series": series.name}
        run.write_json("stamp.json", {**stamp, "dataset": _dataset_stamp(plan.dataset), "resumed": []})
        watcher.log(f"run {run.path}")
        training.save(run)
        return _fit(training, run, watcher)


def _continue(run: Run, training: Training, stamp: dict[str, Any], watcher: Watcher, argv: Sequence[str]) -> Outcome:
    training.restore(run)
    if stamp["torch"] != torch.__version__:
        watcher.log(f"note: begun with torch {stamp['torch']}, now {torch.__version__}: bits may differ")
    now = runs.stamp(argv)
    stamp["resumed"].append({key: now[key] for key in ("started", "argv", "torch", "commit", "platform")})
    run.write_json("stamp.json", stamp)
    line = f"continued after {training.steps_done:,} of {training.steps_total:,} steps"
    run.log(line)
    watcher.log(f"run {run.path}, {line}")
    return _fit(training, run, watcher)


def _fit(training: Training, run: Run, watcher: Watcher) -> Outcome:
    with stop_on_signals() as stop:
        result = fit(training, run, watcher, stop)
    stamp = run.read_json("stamp.json")
    files = [path for path in (run.last, run.best) if path.exists()]
    stamp["wall_seconds"] = result.seconds
    stamp["peak_memory_bytes"] = runs.peak_memory()
    stamp["checkpoints"] = {path.name: runs.file_digest(path) for path in files}
    run.write_json("stamp.json", stamp)
    return Outcome(run, training.config.seed, result.as_json())


def _as_in_config(given: Mapping[str, Any], config: Config, dataset: Dataset) -> dict[str, Any]:
    options = {name: value for name, value in given.items() if name != "data_dir"}
    if "val_split" in options:
        used = min(len(dataset.train), config.limit or len(dataset.train))
        options["val_split"] = validation_count(options["val_split"], used)
    return {**options, **parse_options(config.model, options)}


def _dataset_stamp(dataset: Dataset) -> dict[str, Any]:
    counts = {"train": len(dataset.train), "test": len(dataset.test)}
    return {"name": dataset.name, "fingerprint": dataset.fingerprint, **counts, "note": dataset.note}


def _heading(training: Training) -> str:
    images, model = training.images, training.model
    shape = "x".join(map(str, training.preparation.shape))
    counts = f"{len(images.train):,} training, {len(images.validation):,} validation"
    return (
        "bnnkit train, as resolved; this file is also a recipe: bnnkit train --recipe config.toml\n"
        f"{counts} and {len(training.test_indices):,} test images as {shape}, {model.config['classes']} classes\n"
        f"{sum(p.numel() for p in training.parameters):,} parameters; {images.steps:,} steps per epoch, "
        f"{training.steps_total:,} in all"
    )
