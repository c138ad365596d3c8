"""How long a training will take, from a few steps of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

from bnnkit.data import Dataset
from bnnkit.train.config import Config
from bnnkit.train.evaluation import evaluate
from bnnkit.train.training import EVALUATION_BATCH, Training

TIMED_STEPS = 3
MOST_SECONDS = 20.0


@dataclass(frozen=True)
class Estimate:
    """Measured: seconds per step and per evaluated image; computed: everything else, for one seed."""

    steps_per_epoch: int
    steps: int
    parameters: int
    step_seconds: float
    image_seconds: float
    seconds: float

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


def estimate(config: Config, dataset: Dataset) -> Estimate:
    """Time a few steps and one evaluation batch of a fresh network; nothing is written.

    The first step, which also allocates, is not counted unless it alone takes very long.
    """
    training = Training(config, dataset)
    times: list[float] = []
    start = time.perf_counter()
    while len(times) <= TIMED_STEPS and time.perf_counter() - start < MOST_SECONDS:
        before = training.position.step_seconds
        training.position.step %= training.images.steps
        training.step()
        times.append(training.position.step_seconds - before)
    step = min(times[1:] or times)
    some = torch.arange(min(EVALUATION_BATCH, len(dataset.test)))
    image = evaluate(training.model, training.test_images, some, training.preparation).seconds / len(some)
    epochs = training.steps_total / training.images.steps
    evaluated = epochs * len(training.images.validation) + 2 * len(training.test_indices)
    return Estimate(
        steps_per_epoch=training.images.steps,
        steps=training.steps_total,
        parameters=sum(p.numel() for p in training.parameters),
        step_seconds=step,
        image_seconds=image,
        seconds=training.steps_total * step + evaluated * image,
    )
