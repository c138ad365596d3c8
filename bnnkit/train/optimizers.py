"""Optimizers by name, and their state as named tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from bnnkit.errors import MismatchError
from bnnkit.registry import Registry
from bnnkit.train.config import Config

Groups: TypeAlias = list[dict[str, Any]]
Factory: TypeAlias = Callable[[Groups, Config], torch.optim.Optimizer]

OPTIMIZERS: Registry[Factory] = Registry("optimizer")

PREFIX = "optimizer."

DECAY_ON = ("all", "convolutions")


def make_optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """Return the optimizer of a training.

    Raises:
        UsageError: there is none of that name.
    """
    return OPTIMIZERS.get(config.optimizer)(parameter_groups(model, config), config)


def parameter_groups(model: nn.Module, config: Config) -> Groups:
    """Return the parameters of a network in groups that differ in their weight decay, none of them empty."""
    every = list(model.parameters())
    if config.decay_on == "all":
        return [{"params": every}]
    weights = {id(layer.weight) for layer in model.modules() if isinstance(layer, nn.Conv2d)}
    decayed = [p for p in every if id(p) in weights]
    others = [p for p in every if id(p) not in weights]
    groups: Groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


@OPTIMIZERS.register("adam")
def adam(groups: Groups, config: Config) -> torch.optim.Optimizer:
    """Return Adam. Paper: Kingma and Ba, 2015."""
    return torch.optim.Adam(groups, lr=config.lr, weight_decay=config.weight_decay, fused=True)


@OPTIMIZERS.register("amsgrad")
def amsgrad(groups: Groups, config: Config) -> torch.optim.Optimizer:
    """Return Adam with the largest second moment seen so far. Paper: Reddi et al., 2018."""
    return torch.optim.Adam(groups, lr=config.lr, weight_decay=config.weight_decay, amsgrad=True, fused=True)


@OPTIMIZERS.register("adamw")
def adamw(groups: Groups, config: Config) -> torch.optim.Optimizer:
    """Return AdamW. Paper: Loshchilov and Hutter, 2019."""
    return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=True)


@OPTIMIZERS.register("sgd")
def sgd(groups: Groups, config: Config) -> torch.optim.Optimizer:
    """Return stochastic gradient descent with momentum 0.9."""
    return torch.optim.SGD(groups, lr=config.lr, weight_decay=config.weight_decay, momentum=0.9, fused=True)


def state_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Return the optimizer's state, "optimizer.<parameter>.<entry>" -> tensor; empty before the first step."""
    return {
        f"{PREFIX}{name}.{entry}": value
        for name, parameter in model.named_parameters()
        for entry, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def load_state_tensors(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `state_tensors` returned, without that prefix in the names.

    Raises:
        MismatchError: a tensor belongs to no parameter.
    """
    numbers = _numbers(optimizer, model)
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, entry = key.rpartition(".")
        if name not in numbers:
            raise MismatchError(f"optimizer state: {key} belongs to no parameter of this network", hint="train again")
        state.setdefault(numbers[name], {})[entry] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _numbers(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, int]:
    """Return the number an optimizer has given each parameter: it counts through its groups."""
    every = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    number = {id(parameter): index for index, parameter in enumerate(every)}
    return {name: number[id(parameter)] for name, parameter in model.named_parameters()}
