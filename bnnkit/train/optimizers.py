"""Optimizers by name, and their state as named tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn

from bnnkit.errors import MismatchError
from bnnkit.registry import Registry
from bnnkit.train.config import Config

Factory: TypeAlias = Callable[[list[nn.Parameter], Config], torch.optim.Optimizer]

OPTIMIZERS: Registry[Factory] = Registry("optimizer")

PREFIX = "optimizer."


@OPTIMIZERS.register("adam")
def adam(parameters: list[nn.Parameter], config: Config) -> torch.optim.Optimizer:
    """Return Adam. Paper: Kingma and Ba, 2015."""
    return torch.optim.Adam(parameters, lr=config.lr, weight_decay=config.weight_decay, fused=True)


@OPTIMIZERS.register("adamw")
def adamw(parameters: list[nn.Parameter], config: Config) -> torch.optim.Optimizer:
    """Return AdamW. Paper: Loshchilov and Hutter, 2019."""
    return torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay, fused=True)


@OPTIMIZERS.register("sgd")
def sgd(parameters: list[nn.Parameter], config: Config) -> torch.optim.Optimizer:
    """Return stochastic gradient descent with momentum 0.9."""
    return torch.optim.SGD(parameters, lr=config.lr, weight_decay=config.weight_decay, momentum=0.9, fused=True)


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
    names = [name for name, _ in model.named_parameters()]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, entry = key.rpartition(".")
        if name not in names:
            raise MismatchError(f"optimizer state: {key} belongs to no parameter of this network", hint="train again")
        state.setdefault(names.index(name), {})[entry] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
