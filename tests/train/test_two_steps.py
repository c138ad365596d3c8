"""Recipes of two steps: real weights, then binary ones from them, as one command that can be stopped anywhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bnnkit import checkpoint, runs
from bnnkit.errors import InterruptedRunError, MismatchError
from bnnkit.runs import Run
from bnnkit.train import RECIPES, Outcome, Plan, Recipe, Silent, recipe_for, resolve, resume, start
from bnnkit.train.config import Config, from_run
from bnnkit.train.interrupt import StopRequest

from .stopping import fingerprint

MODEL = "mlp"


@pytest.fixture
def two(tiny: Callable[..., Plan]) -> Callable[..., Plan]:
    """Return a function that resolves a training in two steps of two epochs."""

    def make(**changes: Any) -> Plan:
        return tiny(MODEL, "ab-bnn", **{"epochs": 2, "ao_bit": 1, **changes})

    return make


class StopIn(Silent):
    """Asks to stop in the n-th run, when a piece of work has come so far."""

    def __init__(self, number: int, what: str, done: int) -> None:
        self.stop = StopRequest()
        self._number, self._at, self._runs = number, (what, done), 0

    def log(self, line: str) -> None:
        self._runs += line.startswith("run ")

    def work(self, what: str, done: int, total: int, detail: str = "") -> None:
        if self._runs == self._number and (what, done) == self._at:
            self.stop.signal = "SIGTERM"


def start_and_stop(plan: Plan, root: Path, watcher: StopIn, seeds: Sequence[int] = ()) -> Run:
    """Begin a series, have it stopped, and return the run it was stopped in."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(InterruptedRunError):
        patch.setattr("bnnkit.train.session.stop_on_signals", lambda: nullcontext(watcher.stop))
        start(plan, watcher, argv=[], seeds=seeds, root=root)
    return runs.resolve("latest", root=root)


def bits(outcomes: Sequence[Outcome]) -> list[Any]:
    return [(o.seed, o.step, o.steps, fingerprint(o.run)) for o in outcomes]


def test_the_second_step_starts_from_the_weights_of_the_first(two: Callable[..., Plan], root: Path) -> None:
    first, second = start(two(lr=1e-30), Silent(), argv=["bnnkit"], root=root)
    assert [(o.step, o.steps, o.is_last) for o in (first, second)] == [(1, 2, False), (2, 2, True)]
    configs = [from_run(outcome.run.config) for outcome in (first, second)]
    assert [config.w_bit for config in configs] == ["fp", 1]
    assert [config.init for config in configs] == [None, str(first.run.best)]
    assert "-wfp-" in first.run.name and "-w1-" in second.run.name
    # A rate this low leaves the weights where they are.
    before, after = (checkpoint.read(path).part("model.") for path in (first.run.best, second.run.last))
    assert all(torch.equal(after[name], before[name]) for name in before if name.endswith("weight"))
    for outcome in (first, second):
        assert len(outcome.run.read_metrics()) == 2
        stamp = outcome.run.read_json("stamp.json")
        assert (stamp["step"], stamp["steps"], stamp["argv"]) == (outcome.step, 2, ["bnnkit"])
        assert [Config.from_json(options).w_bit for options in stamp["configs"]] == ["fp", 1]


def test_without_validation_images_it_starts_from_the_last_weights(two: Callable[..., Plan], root: Path) -> None:
    first, second = start(two(val_split=0), Silent(), argv=[], root=root)
    assert from_run(second.run.config).init == str(first.run.last)


def test_the_published_steps(two: Callable[..., Plan], tiny: Callable[..., Plan]) -> None:
    first, second = two(epochs=256, batch=256).steps
    for config in (first, second):
        assert (config.optimizer, config.lr, config.schedule, config.batch) == ("adam", 1e-3, "linear", 256)
        assert (config.clip_factor, config.epochs) == (1e-3, 256)
    assert (first.weight_decay, first.decay_on, second.weight_decay) == (5e-6, "convolutions", 0.0)
    assert (RECIPES.get("ab-bnn").augment, RECIPES.get("fracbnn").augment) == ("reflect-crop-flip", "crop-flip")
    first, second = tiny(MODEL, "fracbnn", epochs=250, batch=128).steps
    assert (first.schedule, first.milestones, first.weight_decay, first.decay_on) == ("linear", (), 1e-5, "all")
    assert (second.schedule, second.weight_decay) == ("piecewise", 0.0)
    assert np.allclose(second.milestones, [(100.0, 1e-4), (150.0, 1e-5), (200.0, 1e-6)], atol=0)
    assert all((config.gate_penalty, config.gate_target) == (1e-5, 0.0) for config in (first, second))
    assert (recipe_for("reactnetA"), recipe_for("fracbnn20")) == ("ab-bnn", "fracbnn")


def test_options_apply_to_both_steps_and_move_milestones(tiny: Callable[..., Plan]) -> None:
    given = {"epochs": 10, "batch": 16, "lr": 0.5, "limit": 60, "max_steps": 4}
    first, second = tiny(MODEL, "fracbnn", **given).steps
    for config in (first, second):
        assert {name: getattr(config, name) for name in given} == given
    assert np.allclose(second.milestones, [(4.0, 0.05), (6.0, 0.005), (8.0, 0.0005)], atol=0)
    # The digits are trained on briefly, in each step.
    short = tiny(MODEL, "fracbnn", epochs=None).steps
    assert [config.epochs for config in short] == [RECIPES.get("fracbnn").short] * 2


def test_bits_or_weights_given_leave_the_last_step_only(two: Callable[..., Plan], root: Path) -> None:
    plan = two(w_bit="2")
    assert plan.steps == (plan.config,) and plan.config.w_bit == 2 and plan.config.clip_factor == 1e-3
    assert plan.notices == ("recipe ab-bnn: with --w-bit only the last of its 2 steps, from random weights",)
    (outcome,) = start(plan, Silent(), argv=[], root=root)
    assert (outcome.step, outcome.steps) == (1, 1)
    plan = two(init=str(outcome.run.best))
    assert plan.first is None and plan.config.w_bit == 1
    assert "with --init only the last of its 2 steps, from the weights given" in plan.notices[0]


def test_the_config_of_one_step_is_a_recipe_of_one_step(
    two: Callable[..., Plan], tiny: Callable[..., Plan], root: Path
) -> None:
    for outcome in start(two(), Silent(), argv=[], root=root):
        plan = resolve(None, {}, recipe=str(outcome.run.config))
        assert plan.steps == (from_run(outcome.run.config),)


STOPS = [(1, "epoch 1/2", 2), (1, "validation", 20), (1, "test", 200), (2, "epoch 1/2", 1), (2, "epoch 2/2", 3)]


@pytest.mark.parametrize(("number", "what", "done"), STOPS)
def test_a_stop_in_either_step_changes_nothing(
    two: Callable[..., Plan], root: Path, number: int, what: str, done: int
) -> None:
    whole = start(two(), Silent(), argv=[], root=root)
    stopped = start_and_stop(two(), root, StopIn(number, what, done))
    assert stopped.read_json("stamp.json")["step"] == number and not stopped.finished
    torch.manual_seed(99)
    outcomes = resume("latest", {}, Silent(), argv=[], root=root)
    assert stopped in [outcome.run for outcome in outcomes]
    assert bits(outcomes) == bits(whole)


def test_a_finished_series_is_reported_from_either_step(two: Callable[..., Plan], root: Path) -> None:
    whole = start(two(), Silent(), argv=[], root=root)
    for outcome in whole:
        again = resume(outcome.run.path, {}, Silent(), argv=[], root=root)
        assert [(o.run, o.step, o.results) for o in again] == [(o.run, o.step, o.results) for o in whole]


def test_a_process_that_ended_between_the_steps_goes_on_with_the_second(two: Callable[..., Plan], root: Path) -> None:
    whole = start(two(), Silent(), argv=[], root=root)
    before = fingerprint(whole[1].run)
    shutil.rmtree(whole[1].run.path)
    outcomes = resume(whole[0].run.path, {}, Silent(), argv=[], root=root)
    assert fingerprint(outcomes[1].run) == before


def test_the_first_step_names_an_interrupted_second_and_continues_it(two: Callable[..., Plan], root: Path) -> None:
    whole = start(two(), Silent(), argv=[], root=root)
    stopped = start_and_stop(two(), root, StopIn(2, "epoch 1/2", 1))
    first = Path(str(from_run(stopped.config).init)).parent
    outcomes = resume(first, {}, Silent(), argv=[], root=root)
    assert outcomes[1].run == stopped and bits(outcomes) == bits(whole)


def test_a_second_step_needs_its_first_no_more(two: Callable[..., Plan], root: Path) -> None:
    whole = start(two(), Silent(), argv=[], root=root)
    stopped = start_and_stop(two(), root, StopIn(2, "epoch 1/2", 1))
    shutil.rmtree(Path(str(from_run(stopped.config).init)).parent)
    (outcome,) = resume("latest", {}, Silent(), argv=[], root=root)
    assert outcome.step == 2 and fingerprint(outcome.run) == fingerprint(whole[1].run)


@pytest.mark.parametrize("number", [2, 3])
def test_several_seeds_go_through_both_steps_each(two: Callable[..., Plan], root: Path, number: int) -> None:
    whole = start(two(epochs=1), Silent(), argv=[], seeds=[5, 3], root=root)
    assert [(o.seed, o.step) for o in whole] == [(5, 1), (5, 2), (3, 1), (3, 2)]
    start_and_stop(two(epochs=1), root, StopIn(number, "epoch 1/1", 1), seeds=[5, 3])
    outcomes = resume("latest", {}, Silent(), argv=[], root=root)
    assert bits(outcomes) == bits(whole)


def test_changed_options_are_refused_in_the_second_step(two: Callable[..., Plan], root: Path) -> None:
    start_and_stop(two(), root, StopIn(2, "epoch 1/2", 1))
    with pytest.raises(MismatchError, match="--w-bit: the run has 1, given fp"):
        resume("latest", {"w_bit": "fp"}, Silent(), argv=[], root=root)


def test_options_from_json_come_back_and_others_are_refused(two: Callable[..., Plan]) -> None:
    config = two().config
    assert Config.from_json(json.loads(json.dumps(config.as_json()))) == config
    with pytest.raises(MismatchError, match="not of this bnnkit"):
        Config.from_json({**config.as_json(), "epochz": 1})


def test_a_recipe_says_in_what_its_first_step_differs() -> None:
    one = Recipe("x", epochs=3, short=1, lr=1.0, schedule="constant")
    assert one.steps() == (one.options(),)
    two = Recipe("x", epochs=3, short=1, lr=1.0, schedule="constant", first={"lr": 2.0, "w_bit": "fp"})
    assert two.steps() == ({**two.options(), "lr": 2.0, "w_bit": "fp"}, two.options())
