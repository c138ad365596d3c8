"""Trainings as runs: a directory each, begun, continued, and several steps and seeds in a row."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bnnkit import runs
from bnnkit.data import Dataset, load
from bnnkit.errors import MismatchError
from bnnkit.models import parse_options
from bnnkit.runs import Run
from bnnkit.train.checks import check
from bnnkit.train.config import Config, differences, from_run, to_toml
from bnnkit.train.faults import as_in_config
from bnnkit.train.follow import task
from bnnkit.train.interrupt import stop_on_signals
from bnnkit.train.loop import Watcher, fit
from bnnkit.train.plan import Plan, validation_count
from bnnkit.train.series import Outcome, Series
from bnnkit.train.subject import find, weights_of
from bnnkit.train.training import Training
from bnnkit.train.workers import ALONE, Workers


def start(
    plan: Plan,
    watcher: Watcher,
    *,
    argv: Sequence[str],
    seeds: Sequence[int] = (),
    root: Path = runs.ROOT,
    workers: Workers = ALONE,
) -> list[Outcome]:
    """Train each seed, every step of the plan in a new run directory.

    Args:
        argv: the command line, for the stamp.
        seeds: None are needed for one training with the seed of the plan.
        workers: the processes that compute it; this is the first of them, the others call `bnnkit.train.follow.follow`.

    Returns:
        All runs in their order: seed by seed, for each step by step.

    Raises:
        InterruptedRunError, GateError, MissingError: as `fit`; MismatchError from the checkpoint to start from.
    """
    teacher = None if plan.config.teacher is None else runs.file_digest(Path(plan.config.teacher))
    series = Series(uuid.uuid4().hex, tuple(seeds) or (plan.config.seed,), plan.steps, teacher)
    return _Session(series, plan.dataset, watcher, argv, root, workers).complete({})


def resume(
    reference: str | Path,
    given: Mapping[str, Any],
    watcher: Watcher,
    *,
    argv: Sequence[str],
    root: Path = runs.ROOT,
    workers: Workers = ALONE,
) -> list[Outcome]:
    """Continue a run in place, then the steps and seeds that were to follow it; finished runs are left as they are.

    Args:
        reference: see `bnnkit.runs.resolve`.
        given: options the person repeats; all must be those of the run.
        workers: as for `start`; there may be more or fewer than before.

    Returns:
        All finished runs of the series, in their order.

    Raises:
        MismatchError: an option, the dataset, the teacher, or the saved state is not that of the run.
        MissingError: there is no such run, or another process works on it.
    """
    run = runs.resolve(reference, root=root)
    config = from_run(run.config)
    dataset = load(config.dataset, data_dir=given.get("data_dir", config.data_dir))
    changed = differences(config, _as_in_config(given, config, dataset, root))
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
    # What follows belongs beside the run, wherever the person stands.
    home = run.path.parent.parent if run.path.parent.name == "train" else root
    session = _Session(Series.of(stamp, config), dataset, watcher, argv, home, workers)
    if run.finished:
        watcher.log(f"run {run.path} is finished")
    else:
        session.proceed(run)
    return session.complete(session.series.runs(run.path.parent))


@dataclass(frozen=True)
class _Session:
    """Works through the runs of a series."""

    series: Series
    dataset: Dataset
    watcher: Watcher
    argv: Sequence[str]
    root: Path
    workers: Workers

    def complete(self, found: Mapping[tuple[int, int], Run]) -> list[Outcome]:
        """Finish every training of the series; `found` are the runs there are, by (seed, step)."""
        outcomes: list[Outcome] = []
        for seed, step in self.series.places:
            run = found.get((seed, step))
            if run is None and any((seed, later) in found for later in range(step + 1, len(self.series.configs) + 1)):
                # Its weights have been taken over, and the run removed or put elsewhere.
                continue
            if run is None:
                run = self._begin(seed, step, weights_of(outcomes[-1].run) if step > 1 else None)
            elif not run.finished:
                self.proceed(run)
            outcomes.append(self.series.outcome(run, seed, step))
        return outcomes

    def proceed(self, run: Run) -> None:
        """Continue a run to its end."""
        with run.held():
            training = self._training(from_run(run.config), {"run": run.name})
            training.restore(run)
            stamp = run.read_json("stamp.json")
            if stamp["torch"] != torch.__version__:
                self.watcher.log(f"note: begun with torch {stamp['torch']}, now {torch.__version__}: bits may differ")
            now = runs.stamp(self.argv)
            again = {key: now[key] for key in ("started", "argv", "torch", "commit", "platform")}
            stamp["resumed"].append({**again, "processes": self.workers.world_size})
            run.write_json("stamp.json", stamp)
            line = f"continued after {training.steps_done:,} of {training.steps_total:,} steps"
            run.log(line)
            self.watcher.log(f"run {run.path}{self._place(stamp.get('step', 1))}, {line}")
            self._fit(training, run)

    def _begin(self, seed: int, step: int, init: Path | None) -> Run:
        training = self._training(self.series.config(seed, step, init))
        training.initialise()
        text = to_toml(training.config, heading=_heading(training))
        run = runs.create("train", training.config.label, text, root=self.root)
        training.labels["run"] = run.name
        with run.held():
            stamp = {**runs.stamp(self.argv), "processes": self.workers.world_size, **self.series.stamp(seed, step)}
            run.write_json("stamp.json", {**stamp, "dataset": _dataset_stamp(self.dataset), "resumed": []})
            epochs, batch = training.config.epochs, training.config.batch
            what = f"{epochs} {'epoch' if epochs == 1 else 'epochs'} on {self.dataset.name}, {batch} images a step"
            self.watcher.log(f"run {run.path}{self._place(step)}: {what}")
            for notice in training.notices:
                self.watcher.log(notice)
            training.save(run)
            self._fit(training, run)
        return run

    def _training(self, config: Config, labels: Mapping[str, Any] | None = None) -> Training:
        training = Training(config, self.dataset, labels, self.workers)
        found = None if training.teacher is None else training.teacher.digest
        if found != self.series.teacher:
            raise MismatchError(
                f"{config.teacher}: is not the teacher the series was begun with (sha256 {str(found)[:12]} instead of "
                f"{str(self.series.teacher)[:12]})",
                hint="put the old file back, or start a new run without --resume",
            )
        return training

    def _fit(self, training: Training, run: Run) -> None:
        if self.workers.world_size > 1:
            self.workers.announce(task(training))
        with stop_on_signals() as stop:
            result = fit(training, run, self.watcher, stop)
        stamp = run.read_json("stamp.json")
        files = [path for path in (run.last, run.best) if path.exists()]
        stamp["wall_seconds"] = result.seconds
        stamp["peak_memory_bytes"] = runs.peak_memory()
        stamp["checkpoints"] = {path.name: runs.file_digest(path) for path in files}
        run.write_json("stamp.json", stamp)

    def _place(self, step: int) -> str:
        steps = len(self.series.configs)
        return f", step {step} of {steps}" if steps > 1 else ""


def _as_in_config(given: Mapping[str, Any], config: Config, dataset: Dataset, root: Path) -> dict[str, Any]:
    options = {name: value for name, value in given.items() if name != "data_dir"}
    if "val_split" in options:
        used = min(len(dataset.train), config.limit or len(dataset.train))
        options["val_split"] = validation_count(options["val_split"], used)
    if "teacher" in options:
        options["teacher"] = str(find(options["teacher"], root=root).path)
    if "faults" in options:
        options["faults"] = as_in_config(options["faults"])
    return {**options, **parse_options(config.model, options)}


def _dataset_stamp(dataset: Dataset) -> dict[str, Any]:
    counts = {"train": len(dataset.train), "test": len(dataset.test)}
    return {"name": dataset.name, "fingerprint": dataset.fingerprint, **counts, "note": dataset.note}


def _heading(training: Training) -> str:
    images, model = training.images, training.model
    shape = "x".join(map(str, training.preparation.shape))
    faults = ", ".join(training.config.faults)
    counts = f"{len(images.train):,} training, {len(images.validation):,} validation"
    return (
        "bnnkit train, as resolved; this file is also a recipe: bnnkit train --recipe config.toml\n"
        f"{counts} and {len(training.test_indices):,} test images as {shape}, {model.config['classes']} classes\n"
        f"{sum(p.numel() for p in training.parameters):,} parameters; {images.steps:,} steps per epoch, "
        f"{training.steps_total:,} in all{f', with faults {faults}' if faults else ''}"
    )
