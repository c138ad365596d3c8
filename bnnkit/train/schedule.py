"""The learning rate as a function of time; it keeps no state, so a resumed training needs none."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from bnnkit.errors import UsageError
from bnnkit.registry import Registry
from bnnkit.train.config import Config

Schedule: TypeAlias = Callable[[Config, float], float]

SCHEDULES: Registry[Schedule] = Registry("schedule")


@SCHEDULES.register("constant")
def constant(config: Config, epoch: float) -> float:
    """Return lr."""
    return config.lr


@SCHEDULES.register("piecewise")
def piecewise(config: Config, epoch: float) -> float:
    """Return the rate of the last milestone that was reached, before the first one lr."""
    reached = [rate for start, rate in config.milestones if epoch >= start]
    return reached[-1] if reached else config.lr


@SCHEDULES.register("cosine")
def cosine(config: Config, epoch: float) -> float:
    """Return lr * (1 + cos(pi * epoch / epochs)) / 2."""
    return config.lr * (1 + math.cos(math.pi * epoch / config.epochs)) / 2


@SCHEDULES.register("linear")
def linear(config: Config, epoch: float) -> float:
    """Return lr * (1 - epoch / epochs)."""
    return config.lr * (1 - epoch / config.epochs)


def learning_rate(config: Config, epoch: float) -> float:
    """Return the learning rate after `epoch` epochs (a fraction inside an epoch).

    Raises:
        UsageError: unknown schedule, or a piecewise one without milestones.
    """
    schedule = SCHEDULES.get(config.schedule)
    if schedule is piecewise and not config.milestones:
        raise UsageError(
            "schedule piecewise: no milestones; a recipe with milestones was needed", hint="--schedule cosine"
        )
    return schedule(config, epoch)
