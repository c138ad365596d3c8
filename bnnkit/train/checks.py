"""Whether the options of a training are possible."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from bnnkit import ops
from bnnkit.errors import UsageError
from bnnkit.quantizers import GRADIENTS
from bnnkit.train.config import Config, flag
from bnnkit.train.faults import trained_faults
from bnnkit.train.images import AUGMENTATIONS
from bnnkit.train.losses import LOSSES
from bnnkit.train.optimizers import DECAY_ON, OPTIMIZERS
from bnnkit.train.precision import PRECISIONS
from bnnkit.train.schedule import learning_rate

_AT_LEAST = {"epochs": 1, "batch": 2, "threads": 1, "limit": 3, "max_steps": 1, "rows": 1, "width": 1}

# Each is false for NaN.
_NUMBERS: dict[str, tuple[Callable[[float], bool], str]] = {
    "lr": (lambda x: x > 0, "a positive number"),
    "weight_decay": (lambda x: x >= 0, "0 or a positive number"),
    "clip_factor": (lambda x: x >= 0, "0 (off) or a positive number"),
    "margin": (lambda x: 0 < x < math.inf, "a positive number"),
    "label_smoothing": (lambda x: 0 <= x < 1, "a number from 0 to below 1"),
    "distill": (lambda x: 0 <= x <= 1, "a number from 0 to 1"),
    "temperature": (lambda x: 0 < x < math.inf, "a positive number"),
    "gate_penalty": (lambda x: 0 <= x < math.inf, "0 or a positive number"),
    "gate_target": (math.isfinite, "a number"),
}

_CHOICES = {"precision": PRECISIONS, "device": ("cpu", "cuda"), "decay_on": DECAY_ON}


def check(config: Config) -> None:
    """Raise `UsageError` for an impossible option, `MissingError` for a GPU that is not there."""
    for name, least in _AT_LEAST.items():
        value = getattr(config, name)
        if value is not None and value < least:
            raise UsageError(f"{flag(name)} {value}: at least {least} was needed", hint="bnnkit train --help")
    for name, (possible, needed) in _NUMBERS.items():
        value = getattr(config, name)
        if not possible(value):
            raise UsageError(f"{flag(name)} {value}: {needed} was needed", hint="leave it out")
    for name, allowed in _CHOICES.items():
        if getattr(config, name) not in allowed:
            raise UsageError(f"{flag(name)} {getattr(config, name)}: unknown", hint=f"one of {', '.join(allowed)}")
    GRADIENTS.get(config.value_gradient)
    OPTIMIZERS.get(config.optimizer)
    LOSSES.get(config.loss)
    trained_faults(config.faults)
    AUGMENTATIONS.get(config.augment)
    learning_rate(config, 0.0)
    _check_teacher(config)
    _check_loss(config)
    ops.check_device(config.device)


def _check_teacher(config: Config) -> None:
    if config.teacher is not None:
        return
    without_effect: dict[str, Any] = {"distill": 1.0, "temperature": 1.0}
    for name, usual in without_effect.items():
        if getattr(config, name) != usual:
            raise UsageError(f"{flag(name)} {getattr(config, name)}: a teacher was needed", hint="give --teacher")


def _check_loss(config: Config) -> None:
    of_other_losses: dict[str, tuple[str, Any]] = {"margin": ("margin", 1.0), "label_smoothing": ("cross-entropy", 0.0)}
    for name, (loss, usual) in of_other_losses.items():
        if config.loss != loss and getattr(config, name) != usual:
            raise UsageError(
                f"{flag(name)} {getattr(config, name)}: the loss {loss} was needed, it is {config.loss}",
                hint=f"give --loss {loss}",
            )
