"""A training that was stopped, anywhere and in any way, ends with the same bits as one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bnnkit import runs
from bnnkit.errors import InterruptedRunError, MismatchError, MissingError
from bnnkit.nn import Backend, Operands, backend, set_progress
from bnnkit.train import Plan, Silent, resolve, resume, start
from bnnkit.train.interrupt import StopRequest, stop_on_signals
from bnnkit.train.loop import fit
from bnnkit.train.training import Training

from .stopping import StopAt, fingerprint, start_and_stop


@pytest.mark.parametrize(
    ("what", "done"),
    [("epoch 1/3", 1), ("epoch 2/3", 2), ("epoch 1/3", 3), ("epoch 3/3", 3), ("validation", 20), ("test", 128)],
)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_stop_at_any_step_changes_nothing(
    tiny: Callable[..., Plan], root: Path, what: str, done: int, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tiny(augment="crop-flip", optimizer=optimizer)
    (whole,) = start(plan, Silent(), argv=[], root=root)
    # Evaluations in several batches, so that a stop can come between two; results do not depend on it.
    monkeypatch.setattr("bnnkit.train.training.EVALUATION_BATCH", 64 if what == "test" else 10)
    with pytest.raises(InterruptedRunError) as caught:
        start_and_stop(plan, root, StopAt(what, done))
    assert caught.value.exit_code == 130
    stopped = runs.resolve("latest", root=root)
    assert caught.value.hint == f"bnnkit train --resume {stopped.path}"
    assert not stopped.finished
    torch.manual_seed(99)
    (outcome,) = resume(stopped.path, {}, Silent(), argv=[], root=root)
    assert outcome.run == stopped
    assert fingerprint(stopped) == fingerprint(whole.run)
    assert len(stopped.read_json("stamp.json")["resumed"]) == 1


def test_saving_now_and_then_changes_nothing(
    tiny: Callable[..., Plan], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (rarely,) = start(tiny(), Silent(), argv=[], root=root)
    monkeypatch.setattr("bnnkit.train.loop.SECONDS_BETWEEN_SAVES", 0.0)
    (often,) = start(tiny(), Silent(), argv=[], root=root)
    assert fingerprint(often.run) == fingerprint(rarely.run)


def test_an_epoch_whose_state_was_lost_is_done_again(tiny: Callable[..., Plan], root: Path) -> None:
    plan = tiny()
    (whole,) = start(plan, Silent(), argv=[], root=root)
    training = Training(plan.config, plan.dataset)
    run = runs.create("train", "killed", whole.run.config.read_text(), root=root)
    run.write_json("stamp.json", whole.run.read_json("stamp.json") | {"series": "another", "resumed": []})
    # As if killed after the first epoch's metrics and best weights were written, but not its state.
    training.save(run)
    run.write_metrics(whole.run.read_metrics()[:1])
    run.best.write_bytes(whole.run.best.read_bytes())
    resume(run.path, {}, Silent(), argv=[], root=root)
    assert fingerprint(run) == fingerprint(whole.run)


def test_a_gradient_that_anneals_depends_on_the_position_only(tiny: Callable[..., Plan], root: Path) -> None:
    plan = tiny(value_gradient="ede", ao_bit=1)
    (whole,) = start(plan, Silent(), argv=[], root=root)
    with pytest.raises(InterruptedRunError):
        start_and_stop(plan, root, StopAt("epoch 2/3", 1))
    (outcome,) = resume("latest", {}, Silent(), argv=[], root=root)
    assert fingerprint(outcome.run) == fingerprint(whole.run)


def test_layers_know_how_far_the_training_is(
    tiny: Callable[..., Plan], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []

    def noted(model: nn.Module, share: float) -> None:
        set_progress(model, share)
        layer = model.get_submodule("hidden.0")
        assert isinstance(layer, Operands)
        seen.append(layer.activation.progress)

    monkeypatch.setattr("bnnkit.train.training.set_progress", noted)
    start(tiny(max_steps=4), Silent(), argv=[], root=root)
    assert seen == [0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("used", ["torch", "auto"])
def test_converters_and_ternary_values_resume_too(tiny: Callable[..., Plan], root: Path, used: Backend) -> None:
    plan = tiny(adc_bit=1, ao_bit="1.5", width=1, limit=100, value_gradient="iga")
    with backend(used):
        (whole,) = start(plan, Silent(), argv=[], root=root)
        with pytest.raises(InterruptedRunError):
            start_and_stop(plan, root, StopAt("epoch 2/3", 1))
        (outcome,) = resume("latest", {}, Silent(), argv=[], root=root)
    assert fingerprint(outcome.run) == fingerprint(whole.run)


def test_a_stop_by_max_steps_ends_the_training(tiny: Callable[..., Plan], root: Path) -> None:
    (outcome,) = start(tiny(max_steps=4), Silent(), argv=[], root=root)
    assert outcome.results["limited"]
    assert [record["steps"] for record in outcome.run.read_metrics()] == [3, 1]
    with pytest.raises(InterruptedRunError):
        start_and_stop(tiny(max_steps=4), root, StopAt("test", 200))
    (again,) = resume("latest", {}, Silent(), argv=[], root=root)
    assert fingerprint(again.run) == fingerprint(outcome.run)


def test_changed_options_are_refused_with_a_diff(tiny: Callable[..., Plan], root: Path) -> None:
    with pytest.raises(InterruptedRunError):
        start_and_stop(tiny(), root, StopAt("epoch 1/3", 1))
    run = runs.resolve("latest", root=root)
    before = run.last.read_bytes()
    with pytest.raises(MismatchError) as caught:
        resume("latest", {"lr": 0.5, "seed": 1, "adc_bit": "3", "model": "vgg9"}, Silent(), argv=[], root=root)
    assert caught.value.exit_code == 4
    for line in (
        "--lr: the run has 0.001, given 0.5",
        "--adc-bit: the run has fp, given 3",
        "--model: the run has mlp",
    ):
        assert line in caught.value.message
    assert "--seed" not in caught.value.message
    assert run.last.read_bytes() == before
    resume("latest", {"lr": 1e-3, "model": "mlp", "adc_bit": "fp", "val_split": 0.1}, Silent(), argv=[], root=root)


def test_other_data_or_a_damaged_state_are_refused(tiny: Callable[..., Plan], root: Path) -> None:
    with pytest.raises(InterruptedRunError):
        start_and_stop(tiny(), root, StopAt("epoch 1/3", 1))
    run = runs.resolve("latest", root=root)
    stamp = run.read_json("stamp.json")
    run.write_json("stamp.json", {**stamp, "dataset": {**stamp["dataset"], "fingerprint": "0" * 64}})
    with pytest.raises(MismatchError, match="not the one the run was begun with"):
        resume("latest", {}, Silent(), argv=[], root=root)
    run.write_json("stamp.json", stamp)
    run.last.write_bytes(run.last.read_bytes()[:-7])
    with pytest.raises(MismatchError, match="truncated"):
        resume("latest", {}, Silent(), argv=[], root=root)
    with run.held(), pytest.raises(MissingError, match="another process"):
        resume("latest", {}, Silent(), argv=[], root=root)


def test_a_finished_run_is_left_as_it_is(tiny: Callable[..., Plan], root: Path) -> None:
    (first,) = start(tiny(epochs=1), Silent(), argv=[], root=root)
    before = {path.name: path.read_bytes() for path in first.run.path.iterdir()}
    (again,) = resume("latest", {}, Silent(), argv=[], root=root)
    assert again.results == first.results
    assert {path.name: path.read_bytes() for path in first.run.path.iterdir()} == before


def test_a_series_is_continued_with_its_remaining_seeds(tiny: Callable[..., Plan], root: Path) -> None:
    plan = tiny(epochs=1)
    whole = start(plan, Silent(), argv=[], seeds=[4, 2, 9], root=root)

    class StopSecond(StopAt):
        def log(self, line: str) -> None:
            self._runs = getattr(self, "_runs", 0) + line.startswith("run ")

        def work(self, what: str, done: int, total: int, detail: str = "") -> None:
            if self._runs == 2:
                self.stop.signal = "SIGTERM"

    watcher = StopSecond("", 0)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(InterruptedRunError):
        from contextlib import nullcontext

        patch.setattr("bnnkit.train.session.stop_on_signals", lambda: nullcontext(watcher.stop))
        start(plan, watcher, argv=[], seeds=[4, 2, 9], root=root)
    outcomes = resume("latest", {}, Silent(), argv=[], root=root)
    assert [outcome.seed for outcome in outcomes] == [4, 2, 9]
    assert [fingerprint(outcome.run) for outcome in outcomes] == [fingerprint(outcome.run) for outcome in whole]


def test_a_full_disk_leaves_the_run_resumable(
    tiny: Callable[..., Plan], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (whole,) = start(tiny(), Silent(), argv=[], root=root)
    kept, saves = os.fsync, []

    def full_after_a_while(descriptor: int) -> None:
        saves.append(descriptor)
        if len(saves) > 18:
            raise OSError(28, "No space left on device")
        kept(descriptor)

    monkeypatch.setattr(os, "fsync", full_after_a_while)
    with pytest.raises(MissingError, match="no space to save it"):
        start(tiny(), Silent(), argv=[], root=root)
    monkeypatch.undo()
    (outcome,) = resume("latest", {}, Silent(), argv=[], root=root)
    assert outcome.run != whole.run
    assert fingerprint(outcome.run) == fingerprint(whole.run)


def test_the_first_signal_is_a_request_and_the_second_an_end() -> None:
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), stop_on_signals() as stop:
        assert not stop
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert stop.signal == "SIGTERM"
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
    assert signal.getsignal(signal.SIGTERM) is handler


KILLED = {"dataset": "digits", "width": 1, "epochs": 12, "batch": 16, "limit": 200, "threads": 1}
KILLED |= {"ao_bit": "fp", "adc_bit": "fp"}


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Fingerprint of the training that the next test kills."""
    (outcome,) = start(resolve("mlp", KILLED), Silent(), argv=[], root=tmp_path_factory.mktemp("runs"))
    return fingerprint(outcome.run)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 130), (signal.SIGINT, 130)])
def test_a_process_that_is_killed_resumes_bit_for_bit(
    never_stopped: dict[str, Any], root: Path, number: signal.Signals, code: int
) -> None:
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in KILLED.items()]
    command = [sys.executable, "-m", "bnnkit_cli.main", "train", "--runs-dir", str(root), "mlp", *flags]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch  3/12"):
            break
    process.send_signal(number)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == code, printed
    run = runs.resolve("latest", root=root)
    assert not run.finished and len(run.read_metrics()) < 12
    if code == 130:
        message, hint = printed.splitlines()[-2:]
        assert message.startswith(f"interrupted: train mlp: stopped by {number.name} after ")
        assert hint == f"hint: bnnkit train --resume {run.path}"
    (outcome,) = resume(run.path, {}, Silent(), argv=[], root=root)
    assert fingerprint(outcome.run) == never_stopped


def test_training_in_pieces_by_hand(tiny: Callable[..., Plan], root: Path) -> None:
    plan = tiny()
    run = runs.create("train", "x", "", root=root)
    whole, first, second = (Training(plan.config, plan.dataset) for _ in range(3))
    for training, steps in ((whole, 3), (first, 2)):
        for _ in range(steps):
            training.step()
    first.save(run)
    second.restore(run)
    second.step()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], value), name
    assert fit(second, run, Silent(), StopRequest()).epochs == 3
