"""Parameter groups, and an optimizer's state that comes back whatever the groups are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from bnnkit import runs
from bnnkit.errors import MismatchError
from bnnkit.models import create_model
from bnnkit.train import Plan
from bnnkit.train.optimizers import load_state_tensors, make_optimizer, parameter_groups, state_tensors
from bnnkit.train.training import Training


class Mixed(nn.Module):
    """Decayed and other parameters in turns, so that the order in the groups is not that of the network."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.second = nn.Conv2d(2, 2, 1, bias=False)
        self.classifier = nn.Linear(2, 2)


def names(model: nn.Module, parameters: list[nn.Parameter]) -> set[str]:
    return {name for name, p in model.named_parameters() if any(p is other for other in parameters)}


def test_convolutions_decay_alone(tiny: Callable[..., Plan]) -> None:
    model = Mixed()
    decayed, others = parameter_groups(model, tiny(decay_on="convolutions").config)
    assert names(model, decayed["params"]) == {"conv.weight", "second.weight"}
    assert "weight_decay" not in decayed and others["weight_decay"] == 0.0
    assert len(decayed["params"]) + len(others["params"]) == len(list(model.parameters()))
    (every,) = parameter_groups(model, tiny().config)
    assert every == {"params": list(model.parameters())}


def test_layers_on_arrays_count_as_convolutions_and_empty_groups_are_left_out(tiny: Callable[..., Plan]) -> None:
    config = tiny(decay_on="convolutions").config
    network = create_model("res20", width=1)
    decayed, _ = parameter_groups(network, config)
    convolutions = {f"{name}.weight" for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)}
    assert names(network, decayed["params"]) == convolutions
    (others,) = parameter_groups(create_model("mlp", width=1), config)
    assert others["weight_decay"] == 0.0


@pytest.mark.parametrize("optimizer", ["adam", "amsgrad", "adamw", "sgd"])
def test_only_the_decayed_weights_shrink(tiny: Callable[..., Plan], optimizer: str) -> None:
    model = Mixed()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    config = tiny(decay_on="convolutions", weight_decay=0.1, optimizer=optimizer).config
    used = make_optimizer(model, config)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    used.step()
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"conv.weight", "second.weight"}


@pytest.mark.parametrize("decay_on", ["all", "convolutions"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_state_comes_back_by_name(tiny: Callable[..., Plan], decay_on: str, optimizer: str) -> None:
    config = tiny(decay_on=decay_on, weight_decay=0.1, optimizer=optimizer).config
    model, other = Mixed(), Mixed()
    first, second = make_optimizer(model, config), make_optimizer(other, config)
    for number, parameter in enumerate(model.parameters()):
        parameter.grad = torch.full_like(parameter, number + 1.0)
    first.step()
    stored = state_tensors(first, model)
    load_state_tensors(second, other, {name.removeprefix("optimizer."): t for name, t in stored.items()})
    again = state_tensors(second, other)
    assert stored.keys() == again.keys() and all(torch.equal(stored[name], again[name]) for name in stored)
    assert [group["weight_decay"] for group in second.param_groups] == [g["weight_decay"] for g in first.param_groups]
    with pytest.raises(MismatchError, match="belongs to no parameter"):
        load_state_tensors(second, other, {"third.weight.step": torch.zeros(())})


def test_a_training_with_groups_continues_bit_for_bit(tiny: Callable[..., Plan], tmp_path: Path) -> None:
    changes = {"decay_on": "convolutions", "weight_decay": 0.1, "limit": 24, "batch": 8, "epochs": 1, "val_split": 0}
    plan = tiny("res20", ao_bit="fp", w_bit="fp", **changes)
    run = runs.create("train", "x", "", root=tmp_path)
    whole, first, second = (Training(plan.config, plan.dataset) for _ in range(3))
    for training, steps in ((whole, 3), (first, 2)):
        for _ in range(steps):
            training.step()
    first.save(run)
    second.restore(run)
    second.step()
    assert len(second.optimizer.param_groups) == 2
    assert {group["lr"] for group in second.optimizer.param_groups} == {whole.optimizer.param_groups[0]["lr"]}
    for name, value in whole.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], value), name
