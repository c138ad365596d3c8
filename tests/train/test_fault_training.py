"""Training with faults: what a config says, and that nothing but the steps themselves sees them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bnnkit import checkpoint, runs
from bnnkit.errors import InterruptedRunError, MismatchError, UsageError
from bnnkit.nn import Operands, backend
from bnnkit.train import Plan, Silent, resolve, resume, start
from bnnkit.train.config import Config, from_run, read_toml, to_toml
from bnnkit.train.training import Training

from .stopping import StopAt, fingerprint, start_and_stop

FAULTS = ("weight:flip@0.02", "latent:gauss@0.4")


def steps(plan: Plan, count: int) -> dict[str, torch.Tensor]:
    """Return the network's tensors after some steps."""
    training = Training(plan.config, plan.dataset)
    for _ in range(count):
        training.step()
    return training.model.state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in b)


@pytest.mark.parametrize("ao_bit", ["fp", 1])
def test_no_faults_and_faults_of_no_share_train_the_same(tiny: Callable[..., Plan], ao_bit: Any) -> None:
    none = ["weight:flip@0", "latent:gauss@0", "latent:lognormal@0"] + ["activation:random@0"] * (ao_bit == 1)
    with backend("torch"):
        expected = steps(tiny(ao_bit=ao_bit), 3)
        assert same(steps(tiny(ao_bit=ao_bit, faults=none), 3), expected)
        assert not same(steps(tiny(ao_bit=ao_bit, faults=FAULTS), 3), expected)


@pytest.mark.parametrize("used", ["torch", "auto"])
def test_a_stopped_training_continues_with_the_same_faults(tiny: Callable[..., Plan], root: Path, used: Any) -> None:
    plan = tiny("cnv", faults=[*FAULTS, "activation:flip@0.01"], ao_bit=1, limit=40, batch=16)
    with backend(used):
        (whole,) = start(plan, Silent(), argv=[], root=root)
        with pytest.raises(InterruptedRunError):
            start_and_stop(plan, root, StopAt("epoch 2/3", 1))
        torch.manual_seed(99)
        (outcome,) = resume(
            "latest", {"faults": ["weight:flip@2e-2", *plan.config.faults[1:]]}, Silent(), argv=[], root=root
        )
    assert fingerprint(outcome.run) == fingerprint(whole.run)


def test_seeds_draw_other_faults(tiny: Callable[..., Plan]) -> None:
    def drawn(seed: int) -> torch.Tensor:
        plan = tiny(faults=FAULTS, seed=seed)
        layer = Training(plan.config, plan.dataset).model.get_submodule("hidden.0")
        assert isinstance(layer, Operands) and layer.perturbation is not None
        return layer.perturbation.read("weight", torch.ones(50, 50), layer.weight_quantizer)

    assert not torch.equal(drawn(1), drawn(2))


def test_evaluations_are_without_faults(tiny: Callable[..., Plan], root: Path) -> None:
    (outcome,) = start(tiny(faults=["weight:flip@0.5"], epochs=1), Silent(), argv=[], root=root)
    plan = tiny(epochs=1)
    training = Training(plan.config, plan.dataset)
    checkpoint.load_weights(checkpoint.read(outcome.run.last), training.model)
    assert training.test(lambda done: None).score.as_json() == outcome.results["test_last"]
    assert "faults" not in checkpoint.read_metadata(outcome.run.last)["model"]


def test_a_run_says_what_it_was_trained_with(tiny: Callable[..., Plan], root: Path) -> None:
    class Lines(Silent):
        def __init__(self) -> None:
            self.lines: list[str] = []

        def log(self, line: str) -> None:
            self.lines.append(line)

    watcher = Lines()
    (outcome,) = start(
        tiny(faults=["weight:flip@2e-2", "latent:gauss@0.4,std=plain"], epochs=1), watcher, argv=[], root=root
    )
    text = outcome.run.config.read_text()
    assert 'faults = ["weight:flip@0.02", "latent:gauss@0.4,std=plain"]' in text
    assert "in all, with faults weight:flip@0.02, latent:gauss@0.4,std=plain\n" in text
    assert "faults in every step, none in evaluations: weight:flip@0.02, latent:gauss@0.4,std=plain" in watcher.lines
    config = from_run(outcome.run.config)
    assert config.faults == ("weight:flip@0.02", "latent:gauss@0.4,std=plain")
    assert Config.from_json(config.as_json()) == config
    assert resolve(None, {}, recipe=str(outcome.run.config)).config.faults == config.faults


def test_other_faults_are_refused_on_resume(tiny: Callable[..., Plan], root: Path) -> None:
    with pytest.raises(InterruptedRunError):
        start_and_stop(tiny(faults=FAULTS), root, StopAt("epoch 1/3", 1))
    for given, shown in ((["weight:flip@0.03"], "weight:flip@0.03"), ([], "none")):
        with pytest.raises(MismatchError) as caught:
            resume("latest", {"faults": given}, Silent(), argv=[], root=root)
        assert f"--fault: the run has weight:flip@0.02 latent:gauss@0.4, given {shown}" in caught.value.message
    assert not runs.resolve("latest", root=root).finished


def test_runs_from_before_there_were_faults_are_read(tiny: Callable[..., Plan], tmp_path: Path) -> None:
    config = tiny().config
    later = ("faults", "loss", "margin", "weight_standardization")
    path = tmp_path / "config.toml"
    path.write_text("".join(line for line in to_toml(config).splitlines(True) if line.split(" =")[0] not in later))
    assert from_run(path) == config
    old = {name: value for name, value in config.as_json().items() if name not in later}
    assert Config.from_json(old) == config


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        (["weight"], "SITE:KIND@RATE[,key=value] was needed"),
        (["weight:flip@0.7"], "rate 0.7; flip takes 0 to 0.5"),
        (["adc:flip@0.1"], "training has no faults of the site adc"),
        (["weight:burst@0.1"], "training has no kind 'burst' of weight"),
    ],
)
def test_impossible_faults_are_refused_before_anything_is_written(
    tiny: Callable[..., Plan], faults: list[str], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        tiny(faults=faults)
    assert message in caught.value.message


def test_networks_without_such_bits_are_refused(tiny: Callable[..., Plan]) -> None:
    plan = tiny(faults=["activation:flip@0.1"])
    with pytest.raises(UsageError, match="no layer of the network trains with such bits"):
        Training(plan.config, plan.dataset)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('faults = "weight:flip@0.1"', "needed a list of texts"),
        ("faults = [0.1]", "needed a list of texts"),
        ("loss = true", "needed str"),
    ],
)
def test_wrong_types_in_a_recipe_file(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(f"[training]\n{line}\n")
    with pytest.raises(UsageError) as caught:
        read_toml(path)
    assert message in caught.value.message
