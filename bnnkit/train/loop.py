"""The one training loop: steps, validation, saving, until the end or until somebody asks to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from bnnkit import checkpoint
from bnnkit.errors import GateError, InterruptedRunError
from bnnkit.runs import Run
from bnnkit.train import curve
from bnnkit.train.evaluation import Evaluation, Score
from bnnkit.train.gate_report import gates_json, gates_text
from bnnkit.train.interrupt import StopRequest
from bnnkit.train.schedule import learning_rate
from bnnkit.train.training import Training

SECONDS_BETWEEN_SAVES = 300.0
SECONDS_BETWEEN_CURVES = 20.0


class Watcher(Protocol):
    """Whoever shows how a training is going."""

    def log(self, line: str) -> None:
        """Show one line."""

    def work(self, what: str, done: int, total: int, detail: str = "") -> None:
        """Show how far a piece of work is; the last call for it has done == total."""


class Silent:
    """A watcher that shows nothing."""

    def log(self, line: str) -> None:
        return

    def work(self, what: str, done: int, total: int, detail: str = "") -> None:
        return


@dataclass(frozen=True)
class Result:
    """What a training came to; `test` is the checkpoint chosen on validation images, `test_last` the final weights.

    `chosen` names the file of the first, "best-val" or "last"; `gates` is what its precision gates did in the test.
    """

    test: Score
    test_last: Score
    validation: Score | None
    best_epoch: int
    epochs: int
    seconds: float
    limited: bool
    chosen: str
    gates: dict[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the numbers, accuracies in percent."""
        return {
            "test": self.test.as_json(),
            "test_last": self.test_last.as_json(),
            "validation": self.validation.as_json() if self.validation else None,
            "chosen": self.chosen,
            "best_epoch": self.best_epoch,
            "epochs": self.epochs,
            "seconds": self.seconds,
            "limited": self.limited,
            "gates": self.gates,
        }


def fit(training: Training, run: Run, watcher: Watcher, stop: StopRequest) -> Result:
    """Train to the end from wherever the training is, and write everything into the run directory.

    Raises:
        InterruptedRunError: `stop` was set; the state is saved.
        GateError: the loss or a gradient is not finite; the state before it is saved.
        MissingError: no disk space; what was saved last is intact.
    """
    return _Fitting(training, run, watcher, stop).run_to_end()


class _Fitting:
    def __init__(self, training: Training, run: Run, watcher: Watcher, stop: StopRequest) -> None:
        self.training, self.run, self.watcher, self.stop = training, run, watcher, stop
        self.config = training.config
        # A process killed after it wrote an epoch's metrics and before its state does that epoch again.
        self.records = [r for r in run.read_metrics() if r["epoch"] <= training.position.recorded]
        self.earlier = curve.Earlier.of(run, self.config)
        self.saved = self.drawn = time.monotonic()

    def run_to_end(self) -> Result:
        training = self.training
        while not training.training_is_over:
            self._epoch()
        return self._finish()

    def _epoch(self) -> None:
        training, position = self.training, self.training.position
        end = training.epoch_end
        what = f"epoch {position.epoch + 1}/{self.config.epochs}"
        while position.step < end:
            self.stop.signal = training.workers.agreed(self.stop.signal)
            self._check_stop()
            try:
                training.step()
            except GateError as failure:
                self.run.log(failure.message)
                training.save_broken(self.run)
                raise
            loss, rate = position.loss / position.seen, position.seen / position.step_seconds
            self.watcher.work(what, position.step, end, f"loss {loss:.3f}, {rate:,.0f} images/s")
            if time.monotonic() - self.saved > SECONDS_BETWEEN_SAVES:
                self._save()
        self._end_epoch()

    def _end_epoch(self) -> None:
        training, position = self.training, self.training.position
        training.workers.check_same(training.model)
        start = time.perf_counter()
        found = training.validate(self._evaluating("validation", len(training.images.validation)))
        position.epoch_seconds = position.step_seconds + time.perf_counter() - start
        position.total_seconds += position.epoch_seconds
        record = self._record(found)
        best = found is not None and found.score.correct > position.best_correct
        if found is not None and best:
            position.best_correct, position.best_epoch = found.score.correct, position.epoch + 1
            training.save_best(self.run)
        self.records.append(record)
        self.run.write_metrics(self.records)
        self._say(self._line(record))
        training.end_epoch()
        self._save()
        if time.monotonic() - self.drawn > SECONDS_BETWEEN_CURVES:
            self._draw(None)

    def _finish(self) -> Result:
        training, position, run = self.training, self.training.position, self.run
        # The state is saved; from here on the model may hold other weights than it says.
        testing = self._evaluating("test", len(training.test_indices), save=False)
        last = training.test(testing)
        chosen, best = "last", last
        if position.best_epoch is not None:
            chosen = "best-val"
            checkpoint.load_weights(checkpoint.read(run.best), training.model)
            best = training.test(testing)
        counts = len(training.images.validation)
        result = Result(
            test=best.score,
            test_last=last.score,
            validation=Score(position.best_correct, counts) if counts else None,
            best_epoch=position.best_epoch or len(self.records),
            epochs=len(self.records),
            seconds=position.total_seconds,
            limited=self.config.limited,
            chosen=chosen,
            gates=gates_json(best.gates, best.score.total, len(training.dataset.test)),
        )
        self._draw(result)
        run.write_json("results.json", result.as_json())
        self._say(f"test {result.test} with the {chosen} weights{' (limited)' if result.limited else ''}")
        if result.gates is not None:
            self._say(gates_text(result.gates))
        return result

    def _record(self, found: Evaluation | None) -> dict[str, Any]:
        position, held_out = self.training.position, len(self.training.images.validation)
        return {
            "epoch": position.epoch + 1,
            "steps": position.step,
            "lr": learning_rate(self.config, position.epoch),
            "loss": position.loss / position.seen,
            "train_accuracy": 100 * position.correct / position.seen,
            "val_loss": found.loss if found and math.isfinite(found.loss) else None,
            "val_accuracy": 100 * found.score.accuracy if found else None,
            "val_gates": gates_json(found.gates, found.score.total, held_out) if found else None,
            "seconds": position.epoch_seconds,
            "images_per_second": position.seen / position.step_seconds,
        }

    def _line(self, record: Mapping[str, Any]) -> str:
        epochs, gates = self.config.epochs, record["val_gates"]
        bits = "" if gates is None else f"  {gates['activation_bits']:.2f} bits"
        val = "" if record["val_accuracy"] is None else f"  val {record['val_accuracy']:6.2f} %"
        remaining = (self.training.steps_total - self.training.steps_done) / self.training.images.steps
        recent = [r["seconds"] / r["steps"] for r in self.records[-5:]]
        eta = remaining * self.training.images.steps * sum(recent) / len(recent)
        return (
            f"epoch {record['epoch']:>{len(str(epochs))}}/{epochs}  loss {record['loss']:.4f}  "
            f"train {record['train_accuracy']:6.2f} %{val}{bits}  lr {record['lr']:.2g}  "
            f"{record['seconds']:.2f} s/epoch  {record['images_per_second']:,.0f} images/s  ETA {duration(eta)}"
        )

    def _check_stop(self, *, save: bool = True) -> None:
        if not self.stop:
            return
        if save:
            self._save()
        training = self.training
        progress = f"stopped by {self.stop.signal} after {training.steps_done:,} of {training.steps_total:,} steps"
        self.run.log(progress)
        raise InterruptedRunError(
            f"train {self.config.model}: {progress}; the state is saved in {self.run.path}",
            hint=f"bnnkit train --resume {self.run.path}",
        )

    def _evaluating(self, what: str, total: int, *, save: bool = True) -> Callable[[int], None]:
        def each(done: int) -> None:
            self._check_stop(save=save)
            self.watcher.work(what, done, total)

        return each

    def _save(self) -> None:
        self.training.save(self.run)
        self.saved = time.monotonic()

    def _draw(self, result: Result | None) -> None:
        found = None if result is None else result.as_json()
        curve.draw(self.run.curve, self.config, self.records, found, self.earlier)
        self.drawn = time.monotonic()

    def _say(self, line: str) -> None:
        self.run.log(line)
        self.watcher.log(line)


def duration(seconds: float) -> str:
    """Return a time in the two largest units.

    >>> duration(3720), duration(61), duration(4)
    ('1 h 02 min', '1 min 01 s', '4 s')
    """
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{whole} s"
